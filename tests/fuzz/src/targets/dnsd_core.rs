//! tsn-dnsd's cores: stories of questions, upstream replies, verdicts and updates for the server; of questions, answers
//! and mirrors for the announcer.

use std::{
    hash::RandomState,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_config::Without;
use natf_proto::{
    GuideOutcome, MAGIC, Notice, NoticeKind, Notification, NotificationAnswer, PeerKeys, Reason,
};
use natf_sim::{
    dice::Dice,
    packet::{Load, Packet},
    plan::{HOSTS, SERVER, domain, secret},
    server_node::{Deed, Question as Asked, ServerNode, WAIT},
};
use tsn_dnsd::{
    announce::RouterRow,
    core::{
        announced::{Domains, Verdict},
        asking::{Asking, Manner},
        cache::CacheLimits,
        question::{Key, Question},
        received::{Received, judge},
        responder::{Client, Handled, Held},
        server::Server,
        settings::Settings,
    },
    zone::UpdateOutcome,
};

use super::dnsd::{LIFETIMES, NOW, signed, signed_update_seeds, zones};
use crate::script::{Script, seeds};

/// How many kinds of steps there are.
const SERVER_STEPS: u8 = 7;
const ANNOUNCER_STEPS: u8 = 6;
const CLIENTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 168, 1, 7), Ipv4Addr::new(192, 168, 1, 8), Ipv4Addr::new(203, 0, 113, 7)];
/// Ordinary, announced, own and dynamic names, in the wire's form.
const NAMES: [&[u8]; 5] = [
    b"\x03www\x07example\x03org\0",
    b"\x05alice\x04home\x07example\x03net\0",
    b"\x03BOB\x04Home\x07example\x03net\0",
    b"\x05alice\x03dyn\x07example\x03net\0",
    b"\x03dyn\x07example\x03net\0",
];
const ANNOUNCED: &[u8] = b"\x04home\x07example\x03net\0";
/// A, NS, CNAME, SOA, TXT, AAAA, SVCB, HTTPS, ANY.
const TYPES: [u8; 9] = [1, 2, 5, 6, 16, 28, 64, 65, 255];

struct Waiting {
    client: Client,
    packet: Vec<u8>,
    key: Key,
}

struct Story<'a> {
    script: Script<'a>,
    server: Server,
    now: Instant,
    asking: Vec<Waiting>,
    held: Vec<Held>,
    dice: Dice,
}

/// Any story.
pub fn dnsd_core(data: &[u8]) {
    let (now, script) = (Instant::now(), Script::new(data));
    let server = Server::new(now, settings(64), zones(), RandomState::new());
    let mut story = Story { script, server, now, asking: Vec::new(), held: Vec::new(), dice: Dice::new(1) };
    while let Some(step) = story.script.step() {
        story.play(step % SERVER_STEPS);
        assert!(story.server.cache().len() <= 64 && story.server.cache().bytes() <= 20_000);
    }
}

/// A bit of everything.
pub fn dnsd_core_seeds() -> Vec<Vec<u8>> {
    seeds(SERVER_STEPS)
}

fn settings(entries: usize) -> Settings {
    Settings {
        allow: vec!["192.168.0.0/16".parse().unwrap()],
        rate: Some(1000),
        cache: CacheLimits { entries, bytes: 20_000, stale: 100 },
        lifetimes: LIFETIMES,
        announced: Domains::new(["home.example.net"]),
        announce_ttl: 2,
        forwards: true,
        query_log: false,
    }
}

impl Story<'_> {
    fn play(&mut self, step: u8) {
        match step {
            0 | 1 => self.ask(),
            2 => self.answer(),
            3 => self.fail(),
            4 => self.decide(),
            5 => self.update(),
            _ => {
                self.now += Duration::from_secs(u64::from(self.script.byte()) << (self.script.byte() % 8));
                if self.script.byte() > 200 {
                    self.server.handle_settings(
                        self.now,
                        settings(1 + usize::from(self.script.byte() % 64)),
                        zones(),
                    );
                }
            }
        }
    }

    fn ask(&mut self) {
        let (name, qtype) = (self.script.pick(&NAMES), self.script.pick(&TYPES));
        let has_edns = self.script.byte() & 1 == 0;
        let mut packet =
            vec![self.script.byte(), self.script.byte(), 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(has_edns)];
        packet.extend(name);
        packet.extend([0, qtype, 0, 1]);
        if has_edns {
            packet.extend([
                0,
                0,
                41,
                self.script.byte() % 16,
                0xd0,
                0,
                0,
                self.script.byte() & 0x80,
                0,
                0,
                0,
            ]);
        }
        self.script.spoil(&mut packet);
        let client =
            Client { address: IpAddr::V4(self.script.pick(&CLIENTS)), over_udp: self.script.byte() & 1 == 0 };
        let mut out = Vec::new();
        match self.server.handle_packet(self.now, client, &packet, &mut out) {
            Handled::Replied => {
                check_reply(client, &packet, &out);
                let is_announced = Question::parse(&packet)
                    .is_ok_and(|it| it.qtype().to_int() == 1 && it.key().name().ends_with(ANNOUNCED));
                assert!(!is_announced || out.get(6..8) == Some(&[0, 0]), "nobody was told: {out:02x?}");
            }
            Handled::Silent | Handled::Update => assert!(out.is_empty(), "{out:02x?}"),
            Handled::Ask(key) => self.asking.push(Waiting { client, packet, key: *key }),
            Handled::Announce(held) => self.held.push(*held),
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let at = usize::from(self.script.byte()).checked_rem(self.asking.len())?;
        Some(self.asking.swap_remove(at))
    }

    fn answer(&mut self) {
        let Some(Waiting { client, packet, key }) = self.pop() else { return };
        let asking = Asking::new(&key, Manner { random_case: true, edns: true }, &mut self.dice);
        let count = self.script.byte() % 3;
        let mut reply = asking.as_slice()[..2].to_vec();
        reply.extend([0x81, 0x80 | self.script.pick(&[0, 0, 0, 3, 2]), 0, 1, 0, count, 0, 0, 0, 0]);
        reply.extend(asking.question());
        for _ in 0..count {
            let (rtype, ttl) = (self.script.pick(&TYPES), self.script.byte());
            let rdata = self.script.pick(&[&[203, 0, 113, 2][..], b"\x03www\xc0\x0c", b"\xc0\x0c", b"\x01a"]);
            reply.extend([0xc0, 0x0c, 0, rtype, 0, 1, 0, 0, 0, ttl, 0, rdata.len() as u8]);
            reply.extend(rdata);
        }
        self.script.spoil(&mut reply);
        let Received::Answer(answer, _) = judge(&asking, &key, &reply, LIFETIMES) else {
            return self.asking.push(Waiting { client, packet, key });
        };
        let mut out = Vec::new();
        let handled = self.server.handle_answered(client, &packet, &answer, &mut out);
        self.server.handle_answer(self.now, *answer);
        self.take(handled, client, &packet, &out);
    }

    fn fail(&mut self) {
        let Some(Waiting { client, packet, key }) = self.pop() else { return };
        let mut out = Vec::new();
        self.server.handle_failure(self.now, &key, 23);
        let handled = self.server.handle_unanswered(self.now, client, &packet, 23, &mut out);
        self.take(handled, client, &packet, &out);
    }

    fn take(&mut self, handled: Handled, client: Client, packet: &[u8], out: &[u8]) {
        match handled {
            Handled::Replied => check_reply(client, packet, out),
            Handled::Announce(held) => self.held.push(*held),
            Handled::Silent | Handled::Ask(_) | Handled::Update => {}
        }
    }

    fn decide(&mut self) {
        let Some(at) = usize::from(self.script.byte()).checked_rem(self.held.len()) else { return };
        let held = self.held.swap_remove(at);
        let verdict = match self.script.byte() % 3 {
            0 => Verdict::Refuse(18, "refused".to_owned()),
            1 => Verdict::Send(Vec::new()),
            _ => Verdict::Send(held.announcement.addresses.clone()),
        };
        let mut out = Vec::new();
        self.server.handle_verdict(&held, &verdict, || NOW, &mut out);
        assert!(out.len() >= 12 && out[..2] == held.announcement.id.to_be_bytes());
    }

    fn update(&mut self) {
        let seeds = signed_update_seeds();
        let mut update = seeds[usize::from(self.script.byte()) % seeds.len()].clone();
        self.script.spoil(&mut update);
        if let UpdateOutcome::Save(change) = self.server.zones().handle_update(&signed(&update), NOW) {
            self.server.zones().commit(*change);
        }
    }
}

fn check_reply(client: Client, packet: &[u8], out: &[u8]) {
    assert!(out.len() >= 12 && out.get(..2) == packet.get(..2), "{out:02x?}");
    if let (Ok(question), true) = (Question::parse(packet), client.over_udp) {
        assert!(out.len() <= question.udp_size().max(512), "{} bytes", out.len());
    }
}

struct Announcing<'a> {
    script: Script<'a>,
    node: ServerNode,
    now: Instant,
    keys: PeerKeys,
    sent: Vec<Packet>,
    questions: u16,
    told: usize,
    dice: Dice,
}

/// Any story; in the end everybody was told.
pub fn announcer(data: &[u8]) {
    let (now, keys) = (Instant::now(), PeerKeys::derive(SERVER, &secret(0, 99)));
    let row = RouterRow {
        name: domain(0),
        domains: vec![domain(0)],
        keys: keys.clone(),
        address: None,
        without: if data.first().is_some_and(|byte| byte & 1 == 1) {
            Without::Answer
        } else {
            Without::Refuse
        },
    };
    let mut node = ServerNode::new(now, [192, 0, 2, 200].into(), vec![Rc::new(row)], Dice::new(1));
    node.start(now);
    let (script, dice) = (Script::new(data), Dice::new(2));
    let mut story = Announcing { script, node, now, keys, sent: Vec::new(), questions: 0, told: 0, dice };
    while let Some(step) = story.script.step() {
        story.play(step % ANNOUNCER_STEPS);
        story.check();
    }
    // Each answer of "stale" prolongs by one try.
    story.wait(WAIT * 3);
    assert_eq!(
        (story.told, story.node.waiting.len()),
        (usize::from(story.questions), 0),
        "somebody still waits"
    );
    story.wait(Duration::from_secs(10));
    assert_eq!(story.node.core.as_ref().map(|core| core.under_way()), Some(0));
}

/// A bit of everything.
pub fn announcer_seeds() -> Vec<Vec<u8>> {
    seeds(ANNOUNCER_STEPS)
}

impl Announcing<'_> {
    fn play(&mut self, step: u8) {
        match step {
            0 | 1 => self.ask(),
            2 => self.answer(),
            3 => self.mirror(),
            4 => {
                let time = u64::from(self.script.byte()) << (self.script.byte() % 9);
                self.wait(Duration::from_millis(time));
            }
            _ => self.send_bytes(),
        }
    }

    fn ask(&mut self) {
        let address = Ipv4Addr::new(203, 0, 113, self.script.byte() % 2);
        let (origin, host) = (self.script.pick(&CLIENTS), self.script.pick(&HOSTS));
        let question = Asked { origin, router: 0, address, host, asked: self.now, port: 80 };
        self.questions += 1;
        self.node.handle_question(self.now, 0, self.questions, question);
    }

    fn newest(&mut self) -> Option<Packet> {
        let back = usize::from(self.script.byte() % 6) + 1;
        self.sent.get(self.sent.len().checked_sub(back)?).cloned()
    }

    fn answer(&mut self) {
        let Some(packet) = self.newest() else { return };
        let notice = Notice::parse(packet.message().unwrap()).unwrap();
        let notification = Notification::parse(&self.keys.open_notice(&notice).unwrap()).unwrap();
        let number = self.script.byte();
        let outcome = match number % 5 {
            0 => GuideOutcome::Refused(Some(self.script.pick(&Reason::ALL))),
            1 => GuideOutcome::Refused(None),
            2 => GuideOutcome::Stale { floor: notice.counter + u64::from(self.script.word()) },
            3 if number > 240 => GuideOutcome::Stale { floor: u64::MAX },
            _ => GuideOutcome::Guided { lifetime: Duration::from_secs(30) },
        };
        let (id, origin) = (notification.id ^ u16::from(number >> 7), notification.origin);
        let body = NotificationAnswer { id, origin, outcome }.emit();
        let message = self.keys.seal_notice(NoticeKind::Answer, notice.counter, &body, &mut self.dice);
        self.reply(&packet, message.to_vec());
    }

    fn mirror(&mut self) {
        if let Some(packet) = self.newest() {
            self.reply(&packet, packet.message().unwrap().to_vec());
        }
    }

    fn send_bytes(&mut self) {
        let Some(packet) = self.newest() else { return };
        let length = usize::from(self.script.byte());
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.script.take(length));
        bytes.resize(128, 0);
        self.reply(&packet, bytes);
    }

    fn reply(&mut self, question: &Packet, mut bytes: Vec<u8>) {
        self.script.spoil(&mut bytes);
        let load = Load::Echo { reply: true, id: 7, sequence: 1, bytes: bytes.into() };
        self.node.handle_packet(self.now, &Packet { from: question.to, to: question.from, load });
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.check();
        }
        self.now = end;
        self.check();
    }

    fn check(&mut self) {
        for deed in std::mem::take(&mut self.node.deeds) {
            match deed {
                Deed::Sends(packet) => self.sent.push(packet),
                Deed::Tells(_, question, _) => {
                    let waited = self.now.saturating_duration_since(question.asked);
                    assert!(waited <= WAIT * 2, "a client has waited for {waited:?}");
                    self.told += 1;
                }
            }
        }
    }
}
