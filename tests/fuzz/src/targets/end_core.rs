//! natf-end's engine behind a model of its kernel: stories of packets, answers true and false, changes of network.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_end::Home;
use natf_proto::{
    Body, CookieOffer, Direction, EndRequest, EndResponse, Envelope, Grant, Kind, MappingKind,
    MappingRequest, MappingResponse, PeerKeys, Reason, Stale, Transaction, Transport, assemble_anonymous,
};
use natf_sim::{
    dice::Dice,
    end_node::{Cause, Deed, EndNode},
    packet::{Data, Load, Packet, Part, Tuple},
    plan::{HOSTS, PORTS, domain, end_key, secret},
    policy::TRANSPORTS,
    router_node::UDP_PORT,
};

use crate::script::{Script, seeds};

/// How many kinds of steps there are.
const STEPS: u8 = 12;
const OWN: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 51, 100, 11)];
const ROUTERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 10), Ipv4Addr::new(203, 0, 113, 11), Ipv4Addr::new(203, 0, 113, 12)];
/// Longer than any packet may wait.
const PATIENCE: Duration = Duration::from_secs(14);

struct Story<'a> {
    script: Script<'a>,
    node: EndNode,
    now: Instant,
    keys: Option<PeerKeys>,
    asked: Vec<Packet>,
    flows: Vec<Tuple>,
    dice: Dice,
}

/// Any story; in the end nobody waits any more.
pub fn end_core(data: &[u8]) {
    let mut script = Script::new(data);
    let (now, kind) = (Instant::now(), script.byte());
    let keys = (kind & 1 == 0).then(|| PeerKeys::derive(end_key(0), &secret(0, 0)));
    let udp_port = (kind & 2 == 2).then_some(UDP_PORT);
    let home = Home { name: Rc::from(domain(0)), keys: keys.clone(), udp_port, wildcard: kind & 4 == 4 };
    let mut node = EndNode::new(now, OWN[0], kind & 8 == 8, vec![home], Dice::new(1), None);
    node.start(now);
    let (asked, flows, dice) = (Vec::new(), Vec::new(), Dice::new(2));
    let mut story = Story { script, node, now, keys, asked, flows, dice };
    while let Some(step) = story.script.step() {
        story.play(step % STEPS);
        story.check();
    }
    story.wait(PATIENCE);
    assert!(story.node.held.is_empty(), "packets wait at the end");
    assert_eq!(story.node.core.as_ref().map(natf_end::Engine::held), Some(0));
}

/// A bit of everything.
pub fn end_core_seeds() -> Vec<Vec<u8>> {
    seeds(STEPS)
}

impl Story<'_> {
    fn play(&mut self, step: u8) {
        match step {
            0 | 1 => self.dial(),
            2 => self.dial_again(),
            3..=5 => self.answer(),
            6 => self.mirror(),
            7 => self.send_data_back(),
            8 => {
                let (long, short) = (self.script.byte(), self.script.byte());
                self.wait(Duration::from_millis(u64::from(short) << (long % 9)));
            }
            9 => self.change_network(),
            10 => self.restart(),
            _ => self.send_bytes(),
        }
    }

    fn dial(&mut self) {
        let (host, router) = (self.script.pick(&HOSTS), self.script.pick(&ROUTERS));
        let address = self.node.look_up(self.now, host, &Rc::from(domain(0)), router).unwrap();
        let own = if self.node.is_gateway { Ipv4Addr::new(192, 168, 9, 1) } else { self.node.address };
        let source = SocketAddrV4::new(own, 30_000 + u16::from(self.script.byte() % 4));
        let destination = SocketAddrV4::new(address, self.script.pick(&PORTS));
        let tuple = Tuple { transport: self.script.pick(&TRANSPORTS), source, destination };
        self.flows.push(tuple);
        let part = if tuple.transport == Transport::Tcp { Part::Syn } else { Part::Ask(0) };
        self.put(Packet::data(tuple, part, None));
    }

    fn dial_again(&mut self) {
        let at = usize::from(self.script.byte());
        let Some(tuple) = self.flows.get(at % self.flows.len().max(1)).copied() else { return };
        let part = self.script.pick(&[0_u8, 1, 2, 3]);
        let part = [Part::Syn, Part::Ask(0), Part::Fin, Part::Reset][usize::from(part)].clone();
        self.put(Packet::data(tuple, part, None));
    }

    fn put(&mut self, packet: Packet) {
        if let Some(number) = self.node.handle_output(self.now, packet) {
            self.node.handle_queued(self.now, number);
        }
    }

    /// A question that was asked, as its router opens it.
    fn question(&mut self) -> Option<(Packet, Kind, u64, Body)> {
        let newest = usize::from(self.script.byte()) % 8 + 1;
        let packet = self.asked.get(self.asked.len().checked_sub(newest)?).cloned()?;
        let envelope = Envelope::parse(packet.message()?).unwrap();
        let (kind, counter) = (envelope.header.kind, envelope.header.counter);
        let body = match &self.keys {
            Some(keys) => keys.open(Direction::ToRouter, &envelope).unwrap(),
            None => *envelope.anonymous_body().unwrap(),
        };
        Some((packet, kind, counter, body))
    }

    fn answer(&mut self) {
        let Some((packet, kind, counter, body)) = self.question() else { return };
        let transaction = Transaction(Stale::parse(&body).transaction.0 ^ u64::from(self.script.byte() >> 7));
        let (kind, body) = match (self.script.byte() % 8, kind) {
            (0, _) => (Kind::Stale, Stale { transaction, floor: self.floor(counter) }.emit()),
            (1, _) => (Kind::Cookie, CookieOffer { transaction, cookie: [7; 24] }.emit()),
            (_, Kind::EndRequest) => {
                let request = EndRequest::parse(&body).unwrap();
                let ended = self.script.byte() & 1 == 0;
                (Kind::EndResponse, EndResponse { request, ended }.emit())
            }
            _ => {
                let request = MappingRequest::parse(&body).unwrap();
                (Kind::MappingResponse, self.response(&request).emit())
            }
        };
        let message = match &self.keys {
            Some(keys) => keys.seal(Direction::ToEnd, kind, counter, &body, &mut self.dice),
            None => assemble_anonymous(kind, counter, &[0; 24], &body),
        };
        self.reply(&packet, message.to_vec());
    }

    fn floor(&mut self, counter: u64) -> u64 {
        match self.script.byte() % 4 {
            0 => u64::MAX,
            1 => counter,
            _ => counter + u64::from(self.script.word()),
        }
    }

    fn response(&mut self, request: &MappingRequest) -> MappingResponse {
        let seconds = |number: u16| Duration::from_secs(number.into());
        let grant = Grant {
            kind: self.script.pick(&[
                MappingKind::Exact,
                MappingKind::AwaitsFirstPacket,
                MappingKind::Direct,
            ]),
            mapped: SocketAddrV4::new(
                self.script.pick(&[ROUTERS[0], ROUTERS[1], [192, 168, 1, 10].into(), [240, 0, 0, 1].into()]),
                20_000 + u16::from(self.script.byte() % 4),
            ),
            pending: seconds(self.script.byte().into()),
            lifetime: seconds(self.script.word()),
        };
        let refused = self.script.byte().is_multiple_of(4);
        let outcome = if refused { Err(self.script.pick(&Reason::ALL)) } else { Ok(grant) };
        MappingResponse::to(request, OWN[0], outcome)
    }

    fn mirror(&mut self) {
        let Some((packet, ..)) = self.question() else { return };
        let bytes = packet.message().unwrap().to_vec();
        self.reply(&packet, bytes);
    }

    fn reply(&mut self, question: &Packet, mut bytes: Vec<u8>) {
        self.script.spoil(&mut bytes);
        let bytes: Rc<[u8]> = bytes.into();
        let load = match &question.load {
            Load::Echo { id, sequence, .. } => {
                Load::Echo { reply: true, id: *id, sequence: *sequence, bytes }
            }
            Load::Data(data) => Load::Data(Data {
                source: data.destination,
                destination: data.source,
                part: Part::Message(bytes),
                ..data.clone()
            }),
        };
        self.node.handle_packet(self.now, Packet { from: question.to, to: question.from, load });
    }

    fn send_data_back(&mut self) {
        let replies: Vec<_> = self.node.table.iter(self.now).map(|one| one.reply).collect();
        let at = usize::from(self.script.byte());
        if let Some(tuple) = replies.get(at % replies.len().max(1)) {
            let part = [Part::SynAck(ROUTERS[0]), Part::Answer(0, ROUTERS[0]), Part::FinAck, Part::Reset];
            let part = part[usize::from(self.script.byte() % 4)].clone();
            self.node.handle_packet(self.now, Packet::data(*tuple, part, None));
        }
    }

    fn change_network(&mut self) {
        match self.script.byte() % 3 {
            0 => {
                let address = self.script.pick(&OWN);
                self.node.move_to(self.now, address);
            }
            _ => {
                let Some(flow) = self.flows.last().copied() else { return };
                let count = usize::from(self.script.byte() % 3);
                let targets = [self.script.pick(&ROUTERS), self.script.pick(&ROUTERS)];
                self.node.handle_targets(self.now, *flow.destination.ip(), &targets[..count]);
            }
        }
    }

    fn restart(&mut self) {
        self.node.kill();
        self.dial_again();
        self.node.start(self.now);
    }

    fn send_bytes(&mut self) {
        let length = usize::from(self.script.byte());
        let mut bytes = natf_proto::MAGIC.to_vec();
        bytes.extend(self.script.take(length));
        bytes.resize(184, 0);
        if let Some(packet) = self.asked.last().cloned() {
            self.reply(&packet, bytes);
        }
    }

    fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.node.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.check();
        }
        self.now = end;
    }

    /// What every event has to leave behind.
    fn check(&mut self) {
        for deed in std::mem::take(&mut self.node.deeds) {
            match deed {
                Deed::Sends(packet) if packet.message().is_some() => self.asked.push(packet),
                Deed::Sends(packet) => {
                    let is_virtual = packet.to.octets()[0] >= 240;
                    assert!(!is_virtual, "leaves without a translation: {packet}");
                }
                Deed::Rejects(packet, cause) => {
                    assert_ne!(cause, Cause::InVain, "nothing translates {packet}");
                }
                Deed::Delivers(_) | Deed::Resolves(_) => {}
            }
        }
        let oldest = self.node.held.values().map(|(_, since)| *since).min();
        let waited = oldest.map(|since| self.now.saturating_duration_since(since));
        assert!(waited.is_none_or(|waited| waited <= PATIENCE), "a packet waits for {waited:?}");
        assert_eq!(self.node.core.as_ref().map(natf_end::Engine::held), Some(self.node.held.len()));
    }
}
