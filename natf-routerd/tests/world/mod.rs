//! A router's core with a kernel that keeps its tables in maps, for the scripted tests.
#![allow(dead_code, reason = "each test program uses its part")]

pub mod guided;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use natf_proto::*;
use natf_routerd::core::{
    access::{AccessTable, HostAddress, HostRow},
    forcing::Inserted,
    output::{Arrival, Carrier, Entry, FirstFlow, FirstPacket, Handled, Now, Output, Shown},
    peer::{PeerSetting, Role},
    router::{Lifetimes, Limits, Router},
};

pub const G1: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub const G2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
pub const P1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
pub const LAPTOP: KeyId = KeyId(7);
pub const KEY: [u8; 32] = [42; 32];

pub struct Seeded(pub u64);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 33) as u8;
        }
    }
}

/// A router with a kernel that keeps entries in a set, and an EN that knows the key.
pub struct World {
    pub router: Router,
    pub now: Now,
    pub keys: PeerKeys,
    pub counter: u64,
    pub entries: BTreeMap<(u8, SocketAddrV4, SocketAddrV4), Entry>,
    pub taken: BTreeSet<u16>,
    pub full: bool,
    pub sent: Vec<(Arrival, Message)>,
    pub released: Vec<u32>,
    pub dropped: Vec<u32>,
    pub awaited: BTreeSet<(Ipv4Addr, SocketAddrV4)>,
    pub answers: Vec<(Arrival, NoticeMessage)>,
    /// Sources whose first packets are caught.
    pub caught: BTreeSet<Ipv4Addr>,
    /// UDP flows that are not caught any more.
    pub passing: BTreeSet<FirstFlow>,
    /// Flows that conntrack knows though they are not ours.
    pub known: BTreeSet<FirstFlow>,
    /// The ports that flows within the LAN show the host.
    pub shown: Vec<Shown>,
}

pub fn limits() -> Limits {
    Limits {
        port_first: 16384,
        port_last: 32767,
        pending: Duration::from_secs(5),
        max_mappings: 100,
        max_per_peer: 64,
        max_per_host: 40,
        max_anyone: 4,
        max_guide: 20,
        guide_lifetime: Duration::from_secs(30),
        learned_lifetime: Duration::from_secs(86_400),
    }
}

pub fn row(address: Ipv4Addr) -> HostRow {
    HostRow {
        address: HostAddress::Ip(address),
        allow: true,
        services: vec![],
        peers: None,
        anyone: false,
        until: None,
    }
}

pub fn table(anyone: bool) -> AccessTable {
    let alice =
        HostRow { anyone, services: vec!["tcp:80".parse().unwrap(), "udp:*".parse().unwrap()], ..row(P1) };
    let bob = row(Ipv4Addr::new(192, 168, 1, 11));
    let mallory = HostRow { allow: false, ..row(Ipv4Addr::new(192, 168, 1, 66)) };
    let rows = [("alice", alice), ("bob", bob), ("mallory", mallory)];
    AccessTable::new(rows.into_iter().map(|(name, row)| (name.parse().unwrap(), row)).collect())
}

pub fn laptop() -> PeerSetting {
    PeerSetting {
        name: "laptop".into(),
        role: Role::Node,
        hosts: BTreeSet::new(),
        keys: PeerKeys::derive(LAPTOP, &KEY),
        fingerprint: [1; 8],
    }
}

impl World {
    pub fn new() -> Self {
        Self::with(table(false))
    }

    pub fn with(access: AccessTable) -> Self {
        let now = Now { instant: Instant::now(), unix: 1_795_000_000 };
        let lifetimes = Lifetimes { tcp: Duration::from_secs(7440), udp: Duration::from_secs(120) };
        let mut router = Router::new(now, limits(), lifetimes, Box::new(Seeded(1)));
        router.handle_config(now, limits(), access, vec![laptop()], &BTreeMap::new());
        Self {
            router,
            now,
            keys: PeerKeys::derive(LAPTOP, &KEY),
            counter: 1000,
            entries: BTreeMap::new(),
            taken: BTreeSet::new(),
            full: false,
            sent: Vec::new(),
            released: Vec::new(),
            dropped: Vec::new(),
            awaited: BTreeSet::new(),
            answers: Vec::new(),
            caught: BTreeSet::new(),
            passing: BTreeSet::new(),
            known: BTreeSet::new(),
            shown: Vec::new(),
        }
    }

    pub fn arrival(&self) -> Arrival {
        Arrival { from: G1, to: G2, inside: false, carrier: Carrier::Icmp { id: 1, sequence: 2 } }
    }

    pub fn sealed(&mut self, kind: Kind, body: &Body) -> Message {
        self.counter += 1;
        self.keys.seal(Direction::ToRouter, kind, self.counter, body, &mut Seeded(self.counter))
    }

    pub fn ask(&mut self, request: &MappingRequest) -> Option<MappingResponse> {
        let message = self.sealed(Kind::MappingRequest, &request.emit());
        self.deliver(self.arrival(), &message);
        self.answer()
    }

    pub fn deliver(&mut self, arrival: Arrival, message: &[u8]) -> Handled {
        let handled = self.router.handle_message(self.now, &arrival, message);
        self.work();
        handled
    }

    /// Plays the kernel until nothing is to be done.
    pub fn work(&mut self) {
        self.work_until(|_| false);
    }

    /// Plays it until it would have to insert an entry, which is then inserted without a word to the router.
    pub fn work_until_insert(&mut self) {
        self.work_until(|output| matches!(output, Output::Insert { .. }));
    }

    fn work_until(&mut self, stop: impl Fn(&Output) -> bool) {
        while let Some(output) = self.router.poll_output() {
            if stop(&output) {
                if let Output::Insert { entry, .. } = output {
                    self.entries.insert(key(&entry), entry);
                }
                return;
            }
            match output {
                Output::Insert { id, entry, shown, .. } => {
                    self.shown.push(shown);
                    let result = self.insert(entry, shown);
                    self.router.handle_inserted(self.now, id, &entry, result);
                }
                Output::Renew { id, entry, .. } => {
                    self.router.handle_inserted(self.now, id, &entry, Inserted::Done);
                }
                Output::Await { id, element, .. } => {
                    self.awaited.insert((element.source, element.mapped));
                    self.router.handle_awaiting(self.now, id, &element, true);
                }
                Output::Unawait(element) => {
                    self.awaited.remove(&(element.source, element.mapped));
                }
                Output::Delete(entry) => {
                    self.entries.remove(&key(&entry));
                }
                Output::Check { id, entry } => {
                    let remaining =
                        self.entries.contains_key(&key(&entry)).then_some(Duration::from_secs(100));
                    self.router.handle_checked(self.now, id, remaining);
                }
                Output::Send { arrival, message } => self.sent.push((arrival, message)),
                Output::SendNotice { arrival, message } => self.answers.push((arrival, message)),
                Output::Release(packet) => self.released.push(packet),
                Output::Drop(packet) => self.dropped.push(packet),
                Output::Catch { source, .. } => {
                    if !self.full {
                        self.caught.insert(source);
                    }
                    self.router.handle_caught(self.now, source, !self.full);
                }
                Output::Uncatch(source) => {
                    self.caught.remove(&source);
                }
                Output::Look(flow) => {
                    let known = self.known.contains(&flow) || self.entries.contains_key(&flow_key(&flow));
                    self.router.handle_looked(self.now, flow, known);
                }
                Output::Pass(flow) => {
                    self.passing.insert(flow);
                }
                Output::Unpass(flow) => {
                    self.passing.remove(&flow);
                }
                Output::Reserve { .. } => {}
            }
        }
    }

    pub fn insert(&mut self, entry: Entry, shown: Shown) -> Inserted {
        let reply = |entry: &Entry| (entry.transport, entry.inside, entry.source);
        if self.full {
            return Inserted::Refused;
        }
        let clash =
            shown == Shown::Source && self.entries.values().any(|other| reply(other) == reply(&entry));
        if clash || self.taken.contains(&entry.mapped.port()) || self.entries.contains_key(&key(&entry)) {
            return Inserted::Taken;
        }
        self.entries.insert(key(&entry), entry);
        Inserted::Done
    }

    /// A caught packet.
    pub fn first_packet(
        &mut self,
        packet: u32,
        transport: Transport,
        source: SocketAddrV4,
        to: SocketAddrV4,
    ) {
        self.queue_packet(packet, transport, source, to);
        self.work();
    }

    /// A caught packet in the same batch as what comes next.
    pub fn queue_packet(
        &mut self,
        packet: u32,
        transport: Transport,
        source: SocketAddrV4,
        to: SocketAddrV4,
    ) {
        let flow = FirstFlow { transport, source, destination: to };
        self.router.handle_first_packet(self.now, &FirstPacket { packet, flow, inside: false });
    }

    pub fn answer(&mut self) -> Option<MappingResponse> {
        let (_, message) = self.sent.pop()?;
        let body = self.keys.open(Direction::ToEnd, &Envelope::parse(&message).unwrap()).unwrap();
        Some(MappingResponse::parse(&body).unwrap())
    }

    pub fn counter(&self, name: &str) -> u32 {
        self.router.counters().iter().find(|(one, _)| one == name).unwrap().1
    }
}

pub fn flow_key(flow: &FirstFlow) -> (u8, SocketAddrV4, SocketAddrV4) {
    (flow.transport as u8, flow.source, flow.destination)
}

pub fn key(entry: &Entry) -> (u8, SocketAddrV4, SocketAddrV4) {
    (entry.transport as u8, entry.source, entry.mapped)
}
