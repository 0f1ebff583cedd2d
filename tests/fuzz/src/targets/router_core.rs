//! natf-routerd's core behind a model of its kernel: stories of messages, packets, changes of mind, restarts.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{
    Body, Cookie, Direction, EndRequest, Envelope, HostName, KeyId, Kind, MappingRequest, NOTICE_BODY_LEN,
    NoticeKind, Notification, PeerKeys, Transaction, Transport, assemble_anonymous,
};
use natf_sim::{
    dice::Dice,
    packet::{Data, Load, Packet, Part, Tuple},
    plan::{HOSTS, PORTS, Plan, SERVER, domain, end_key, secret},
    policy::{Policy, TRANSPORTS},
    router_node::{Deed, RouterNode, UDP_PORT},
};

use crate::script::{Script, seeds};

/// How many kinds of steps there are.
const STEPS: u8 = 13;
const SOURCES: [Ipv4Addr; 3] =
    [Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 51, 100, 11), Ipv4Addr::new(192, 0, 2, 1)];
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11)];

struct Story<'a> {
    script: Script<'a>,
    node: RouterNode,
    now: Instant,
    policy: Policy,
    counter: u64,
    sent: Vec<Packet>,
    cookie: Cookie,
    dice: Dice,
}

/// Any story.
pub fn router_core(data: &[u8]) {
    let mut script = Script::new(data);
    let plan = Plan::draw(&mut Dice::new(script.byte().into()));
    let (now, policy) = (Instant::now(), plan.homes[0].clone());
    let name = (OWN[0], domain(0));
    let mut node = RouterNode::new(now, name, policy.clone(), plan.limits, Dice::new(1), None);
    node.start(now);
    let (sent, dice) = (Vec::new(), Dice::new(2));
    let mut story = Story { script, node, now, policy, counter: 1000, sent, cookie: [0; 24], dice };
    while let Some(step) = story.script.step() {
        story.play(step % STEPS);
        story.check();
    }
}

/// A bit of everything.
pub fn router_core_seeds() -> Vec<Vec<u8>> {
    seeds(STEPS)
}

impl Story<'_> {
    fn play(&mut self, step: u8) {
        match step {
            0 | 1 => {
                let request = self.request();
                self.send_message(Kind::MappingRequest, request.emit());
            }
            2 => {
                let end = self.end();
                self.send_message(Kind::EndRequest, end.emit());
            }
            3 => self.notify(),
            4 | 5 => self.send_data(),
            6 => self.wait(),
            7 => self.decide(),
            8 => self.restart(),
            9 => self.send_again(),
            10 => self.send_bytes(),
            11 => self.disturb(),
            _ => self.node.clock = u64::from(self.script.word()) << (self.script.byte() % 24),
        }
    }

    fn host(&mut self) -> HostName {
        let name = self.script.pick(&["alice", "bob", "carol", "dave", "mallory", "nobody"]);
        name.parse().unwrap()
    }

    fn transport(&mut self) -> Transport {
        self.script.pick(&TRANSPORTS)
    }

    fn socket(&mut self) -> SocketAddrV4 {
        SocketAddrV4::new(self.script.pick(&SOURCES), 30_000 + u16::from(self.script.byte() % 4))
    }

    fn mapped(&mut self) -> SocketAddrV4 {
        let mapped: Vec<_> = self.node.table.iter(self.now).map(|one| one.original.destination).collect();
        let own = SocketAddrV4::new(self.script.pick(&OWN), self.script.pick(&PORTS));
        if mapped.is_empty() { own } else { self.script.pick(&[mapped.as_slice(), &[own]].concat()) }
    }

    fn request(&mut self) -> MappingRequest {
        MappingRequest {
            transaction: Transaction((self.script.byte() % 8).into()),
            source: self.socket(),
            destination: SocketAddrV4::new(OWN[0], self.script.pick(&PORTS)),
            transport: self.transport(),
            host: self.host(),
        }
    }

    fn end(&mut self) -> EndRequest {
        EndRequest {
            transaction: Transaction((self.script.byte() % 8).into()),
            source: self.socket(),
            mapped: self.mapped(),
            transport: self.transport(),
        }
    }

    /// Counters rise, and sometimes they do not.
    fn next_counter(&mut self) -> u64 {
        let step = u64::from(self.script.byte());
        self.counter = if step > 240 { self.counter.saturating_sub(step << 3) } else { self.counter + step };
        self.counter
    }

    fn send_message(&mut self, kind: Kind, body: Body) {
        let (who, counter) = (usize::from(self.script.byte() % 5), self.next_counter());
        let message = match who {
            4 => assemble_anonymous(kind, counter, &self.cookie, &body),
            who => {
                let (key, number) = if who == 3 { (SERVER, 99) } else { (end_key(who), who) };
                let keys = PeerKeys::derive(key, &secret(0, number));
                keys.seal(Direction::ToRouter, kind, counter, &body, &mut self.dice)
            }
        };
        self.carry(message.to_vec());
    }

    fn notify(&mut self) {
        let origin = Some(self.script.pick(&SOURCES)).filter(|_| !self.script.byte().is_multiple_of(3));
        let name = format!("{}.{}", self.script.pick(&HOSTS), domain(0));
        let id = (self.script.byte() % 8).into();
        let body: [u8; NOTICE_BODY_LEN] = Notification { id, origin, name: name.parse().unwrap() }.emit();
        let counter = self.next_counter();
        let keys = PeerKeys::derive(SERVER, &secret(0, 99));
        let message = keys.seal_notice(NoticeKind::Notification, counter, &body, &mut self.dice);
        self.carry(message.to_vec());
    }

    fn carry(&mut self, mut message: Vec<u8>) {
        self.script.spoil(&mut message);
        let (from, to) = (self.script.pick(&SOURCES), self.script.pick(&OWN));
        let bytes: Rc<[u8]> = message.into();
        let load = match self.script.byte() % 4 {
            0 => Load::Data(Data {
                transport: Transport::Udp,
                source: 33_333,
                destination: UDP_PORT,
                part: Part::Message(bytes),
                flow: None,
            }),
            _ => Load::Echo { reply: false, id: 1, sequence: 1, bytes },
        };
        let packet = Packet { from, to, load };
        self.sent.push(packet.clone());
        self.node.handle_packet(self.now, packet);
    }

    fn send_again(&mut self) {
        let at = usize::from(self.script.byte());
        if let Some(mut packet) = self.sent.get(at % self.sent.len().max(1)).cloned() {
            packet.from = self.script.pick(&SOURCES);
            self.node.handle_packet(self.now, packet);
        }
    }

    fn send_bytes(&mut self) {
        let length = usize::from(self.script.byte());
        let mut bytes = natf_proto::MAGIC.to_vec();
        bytes.extend(self.script.take(length));
        bytes.resize(self.script.pick(&[184, 128, bytes.len()]), 0);
        self.carry(bytes);
    }

    fn send_data(&mut self) {
        let (transport, source, destination) = (self.transport(), self.socket(), self.mapped());
        let part = self.script.pick(&[0, 0, 1, 2, 3]);
        let part = match (transport, part) {
            (Transport::Tcp, 0) => Part::Syn,
            (Transport::Tcp, 1) => Part::Fin,
            (Transport::Tcp, 2) => Part::Reset,
            _ => Part::Ask(0),
        };
        let tuple = Tuple { transport, source, destination };
        self.node.handle_packet(self.now, Packet::data(tuple, part, None));
    }

    fn wait(&mut self) {
        let (long, short) = (self.script.byte(), self.script.byte());
        let end = self.now + Duration::from_millis(u64::from(short) << (long % 11));
        while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.check();
        }
        self.now = end;
    }

    fn decide(&mut self) {
        let unix = self.node.clocks(self.now).unix;
        let (name, what, wait) = (self.script.pick(&HOSTS), self.script.byte(), self.script.byte());
        let wanted = &mut self.node.wanted;
        let host = wanted.hosts.get_mut(name).unwrap();
        match what % 7 {
            0 => host.allow = !host.allow,
            1 => host.port = if host.port.is_some() { None } else { Some(PORTS[0]) },
            2 => host.until = Some(unix.saturating_add(wait.into())),
            3 => host.anyone = !host.anyone,
            4 => host.address = Ipv4Addr::new(192, 168, 1, wait),
            5 => drop(wanted.peers.pop_first()),
            _ => *wanted = self.policy.clone(),
        }
        self.node.reload(self.now);
        // The owner's new word counts at once.
        self.check_entries();
    }

    fn restart(&mut self) {
        self.node.kill();
        self.send_data();
        self.node.start(self.now);
    }

    fn disturb(&mut self) {
        match self.script.byte() % 4 {
            0 => self.node.flush_sets(self.now),
            1 => self.node.full_until = Some(self.now + Duration::from_millis(self.script.word().into())),
            2 => self.node.address = self.script.pick(&OWN),
            _ => self.node.limits.max_mappings = (self.script.byte() % 16).into(),
        }
    }

    /// What every event has to leave behind.
    fn check(&mut self) {
        for deed in std::mem::take(&mut self.node.deeds) {
            match deed {
                Deed::Maps(entry, message) => {
                    // A row that the clock has just closed is seen by the timer task.
                    let unix = if message.is_some() { self.node.clocks(self.now).unix } else { 0 };
                    let (inside, port) = (*entry.inside.ip(), entry.inside.port());
                    assert!(self.node.policy.allows_address(entry.peer, inside, port, unix), "{entry:?}");
                }
                Deed::Reserves(key, ceiling) => drop(self.node.floors.insert(key, ceiling)),
                Deed::Sends(packet) => self.note_cookie(&packet),
                Deed::Delivers(packet, connection) => {
                    let answer =
                        packet.tuple().map(|tuple| Packet::data(tuple.inverse(), Part::Ask(0), None));
                    assert!(connection.label.is_some());
                    answer.into_iter().for_each(|answer| self.node.handle_answer(self.now, &answer));
                }
                Deed::Keeps(_) | Deed::Awaits(..) => {}
            }
        }
        assert_eq!(self.node.held(), 0, "packets wait");
        let core = self.node.core.as_ref().unwrap();
        assert!(core.mappings().len() <= self.node.limits.max_mappings.max(200).max(self.node.restored));
        assert!(core.guide_rows(self.node.clocks(self.now)).count() <= self.node.limits.max_guide);
    }

    fn check_entries(&self) {
        for connection in self.node.table.iter(self.now).filter(|connection| !connection.over) {
            let (Some(peer), inside) = (connection.label, connection.reply.source) else { continue };
            let unix = self.node.clocks(self.now).unix;
            let allowed = self.node.policy.allows_address(peer, *inside.ip(), inside.port(), unix);
            assert!(allowed, "{connection:?} stands after a change");
        }
    }

    /// Strangers use the cookie that they get.
    fn note_cookie(&mut self, packet: &Packet) {
        let Some(envelope) = packet.message().and_then(|bytes| Envelope::parse(bytes).ok()) else { return };
        if envelope.header.key == KeyId::ANONYMOUS && envelope.header.kind == Kind::Cookie {
            let body = envelope.anonymous_body().unwrap();
            self.cookie = natf_proto::CookieOffer::parse(body).cookie;
        }
    }
}
