//! A world with a clock of its own: the engine, a lossy network, scripted routers, and a kernel that does as it is told.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_end::{
    Carrier, Dial, Engine, Flow, Home, KernelFlow, Limits, Output, PacketId, PingReport, Refusal, Role,
    Settings, Silent, Translated,
};
use natf_proto::{
    CookieJar, CookieOffer, Direction, EndRequest, EndResponse, Envelope, Freshness, Grant, KeyId, Kind,
    MappingKind, MappingRequest, MappingResponse, PeerKeys, Random, Reason, ReplayWindow, Stale, Transaction,
    Transport, assemble_anonymous,
};

pub const G1: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
pub const G2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub const ALICE: Ipv4Addr = Ipv4Addr::new(240, 0, 17, 93);
pub const BOB: Ipv4Addr = Ipv4Addr::new(240, 0, 17, 94);
pub const KEY: [u8; 32] = [42; 32];

/// SplitMix64.
#[derive(Clone)]
pub struct Seeded(pub u64);

impl Seeded {
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }
}

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let z = (z ^ (z >> 31)).to_be_bytes();
            chunk.copy_from_slice(&z[..chunk.len()]);
        }
    }
}

/// What stands at an address.
pub enum Peer {
    /// A NAT-f router.
    Router(Box<Router>),
    /// Answers pings.
    Mirror,
    /// Answers nothing.
    Dark,
}

/// A NAT-f router that keeps to the protocol, and to what the test says.
pub struct Router {
    pub keys: Option<PeerKeys>,
    pub window: ReplayWindow,
    pub refuses: BTreeMap<&'static str, Reason>,
    pub by_icmp: bool,
    /// Says that every counter is stale.
    pub never_content: bool,
    pub mapped: BTreeMap<(Transaction, Transport, u16), u16>,
    pub next_port: u16,
    pub kind: MappingKind,
    pub jar: CookieJar,
    pub requests: u32,
    pub ended: BTreeSet<Transaction>,
    pub sources: BTreeSet<SocketAddrV4>,
    pub map_to: Option<SocketAddrV4>,
}

impl Router {
    pub fn new(key: Option<u16>, now: Instant) -> Self {
        Self {
            keys: key.map(|id| PeerKeys::derive(KeyId(id), &KEY)),
            window: ReplayWindow::above(0),
            refuses: BTreeMap::new(),
            by_icmp: true,
            never_content: false,
            mapped: BTreeMap::new(),
            next_port: 20_000,
            kind: MappingKind::Exact,
            jar: CookieJar::new(now, &mut Seeded(9)),
            requests: 0,
            ended: BTreeSet::new(),
            sources: BTreeSet::new(),
            map_to: None,
        }
    }

    fn handle(&mut self, here: Ipv4Addr, from: Ipv4Addr, carrier: Carrier, bytes: &[u8]) -> Option<Vec<u8>> {
        if carrier == Carrier::Icmp && !self.by_icmp {
            return None;
        }
        let mirror = (carrier == Carrier::Icmp).then(|| bytes.to_vec());
        let envelope = Envelope::parse(bytes).unwrap();
        let header = envelope.header;
        let body = match &self.keys {
            Some(keys) if header.key == keys.id() => match keys.open(Direction::ToRouter, &envelope) {
                Ok(body) => body,
                Err(_) => return mirror,
            },
            None if header.key == KeyId::ANONYMOUS => *envelope.anonymous_body().unwrap(),
            _ => return mirror,
        };
        let transaction = MappingRequest::parse(&body).map(|it| it.transaction);
        let answer = |kind, body: &natf_proto::Body| match &self.keys {
            Some(keys) => {
                keys.seal(Direction::ToEnd, kind, header.counter, body, &mut Seeded(header.counter)).to_vec()
            }
            None => assemble_anonymous(kind, header.counter, &[0; 24], body).to_vec(),
        };
        if self.keys.is_some() {
            let lie = Freshness::Stale { floor: header.counter + 1 };
            match if self.never_content { lie } else { self.window.judge(header.counter) } {
                Freshness::Replayed => return mirror,
                Freshness::Stale { floor } => {
                    let transaction =
                        transaction.unwrap_or_else(|_| EndRequest::parse(&body).unwrap().transaction);
                    return Some(answer(Kind::Stale, &Stale { transaction, floor }.emit()));
                }
                Freshness::Fresh => self.window.accept(header.counter),
            }
        }
        if header.kind == Kind::EndRequest {
            let request = EndRequest::parse(&body).unwrap();
            let ended = self.ended.insert(request.transaction);
            return Some(answer(Kind::EndResponse, &EndResponse { request, ended }.emit()));
        }
        let request = MappingRequest::parse(&body).unwrap();
        if self.keys.is_none() && !self.jar.check(from, request.transaction, envelope.cookie()) {
            let cookie = self.jar.bake(from, request.transaction);
            let offer = CookieOffer { transaction: request.transaction, cookie };
            return Some(answer(Kind::Cookie, &offer.emit()));
        }
        assert_eq!(*request.destination.ip(), here);
        let outcome = match self.refuses.get(request.host.as_str()) {
            Some(reason) => Err(*reason),
            None => {
                let key = (request.transaction, request.transport, request.source.port());
                let next = self.next_port;
                let port = *self.mapped.entry(key).or_insert(next);
                self.next_port += u16::from(port == next);
                Ok(Grant {
                    kind: self.kind,
                    mapped: self.map_to.unwrap_or(SocketAddrV4::new(here, port)),
                    pending: Duration::from_secs(5),
                    lifetime: Duration::from_secs(60),
                })
            }
        };
        let response = answer(Kind::MappingResponse, &MappingResponse::to(&request, from, outcome).emit());
        self.requests += 1;
        self.sources.insert(request.source);
        Some(response)
    }
}

/// How bad the network is.
#[derive(Clone, Copy, Default)]
pub struct Link {
    pub loss: u32,
    pub duplication: u32,
    pub jitter_ms: u32,
}

enum Travelling {
    ToRouter { to: Ipv4Addr, from: Ipv4Addr, carrier: Carrier, bytes: Vec<u8> },
    ToEnd { from: Ipv4Addr, carrier: Carrier, bytes: Vec<u8> },
}

pub struct World {
    pub now: Instant,
    pub start: Instant,
    pub engine: Engine,
    pub boxes: BTreeMap<Ipv4Addr, Peer>,
    pub link: Link,
    pub random: Seeded,
    wire: BTreeMap<(Instant, u64), Travelling>,
    sequence: u64,
    pub released: Vec<(PacketId, Instant)>,
    pub refused: Vec<(PacketId, Refusal, Instant)>,
    pub dropped: Vec<PacketId>,
    pub vat: BTreeMap<Flow, (SocketAddrV4, Option<SocketAddrV4>)>,
    pub kernel: BTreeMap<Flow, KernelFlow>,
    pub kernel_says: Vec<Translated>,
    pub forgotten: Vec<Flow>,
    pub resolves: Vec<Ipv4Addr>,
    pub pings: Vec<PingReport>,
    pub sends: Vec<(Duration, Ipv4Addr, Carrier, Vec<u8>)>,
    pub watched: u32,
}

pub fn home(key: Option<u16>) -> Home {
    let keys = key.map(|id| PeerKeys::derive(KeyId(id), &KEY));
    Home { name: Rc::from("home"), keys, udp_port: None, wildcard: false }
}

pub fn dial(host: &str) -> Dial {
    Dial {
        name: Rc::from(format!("{host}.home.example.net")),
        host: host.parse().unwrap(),
        home: Rc::from("home"),
        targets: vec![G2],
        fresh: true,
    }
}

pub fn tcp(source: u16, to: Ipv4Addr, port: u16) -> Flow {
    Flow {
        transport: Transport::Tcp,
        source: SocketAddrV4::new(G1, source),
        destination: SocketAddrV4::new(to, port),
    }
}

pub fn udp(source: u16, to: Ipv4Addr, port: u16) -> Flow {
    Flow { transport: Transport::Udp, ..tcp(source, to, port) }
}

impl World {
    pub fn new(seed: u64, home: Home) -> Self {
        Self::with(seed, home, Role::Host, Silent::Refuse)
    }

    pub fn with(seed: u64, home: Home, role: Role, silent: Silent) -> Self {
        Self::limited(seed, home, role, silent, Limits::default())
    }

    pub fn limited(seed: u64, home: Home, role: Role, silent: Silent, limits: Limits) -> Self {
        let start = Instant::now();
        let key = home.keys.as_ref().map(|keys| keys.id().0);
        let settings = Settings {
            role,
            limits,
            homes: vec![home],
            silent,
            unix_seconds: 1_700_000_000,
            random: Box::new(Seeded(seed)),
        };
        let router = Router::new(key, start);
        Self {
            now: start,
            start,
            engine: Engine::new(settings),
            boxes: BTreeMap::from([(G2, Peer::Router(Box::new(router)))]),
            link: Link::default(),
            random: Seeded(seed ^ 0x5555),
            wire: BTreeMap::new(),
            sequence: 0,
            released: Vec::new(),
            refused: Vec::new(),
            dropped: Vec::new(),
            vat: BTreeMap::new(),
            kernel: BTreeMap::new(),
            kernel_says: Vec::new(),
            forgotten: Vec::new(),
            resolves: Vec::new(),
            pings: Vec::new(),
            sends: Vec::new(),
            watched: 0,
        }
    }

    pub fn router(&mut self) -> &mut Router {
        self.router_at(G2)
    }

    pub fn router_at(&mut self, address: Ipv4Addr) -> &mut Router {
        match self.boxes.get_mut(&address) {
            Some(Peer::Router(router)) => router,
            _ => panic!("no router at {address}"),
        }
    }

    pub fn packet(&mut self, id: u32, flow: Flow, host: &str) {
        self.packet_of(id, flow, false, Some(dial(host)));
    }

    pub fn packet_of(&mut self, id: u32, flow: Flow, start: bool, dial: Option<Dial>) {
        self.engine.handle_first_packet(self.now, PacketId(id), flow, start, dial);
        self.drain();
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let timeout = self.engine.poll_timeout();
            let next = [arrival, timeout].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, travelling) = self.wire.pop_first().unwrap();
                self.arrive(travelling);
            } else {
                self.engine.handle_timeout(self.now);
            }
            self.drain();
        }
        self.now = end;
    }

    pub fn run_ms(&mut self, milliseconds: u64) {
        self.run(Duration::from_millis(milliseconds));
    }

    pub fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    /// An answer as an attacker makes it.
    pub fn inject(&mut self, from: Ipv4Addr, carrier: Carrier, bytes: &[u8]) {
        self.engine.handle_datagram(self.now, from, carrier, bytes);
        self.drain();
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.engine.counters().iter().find(|(known, _)| *known == name).expect(name).1
    }

    fn arrive(&mut self, travelling: Travelling) {
        match travelling {
            Travelling::ToEnd { from, carrier, bytes } => {
                self.engine.handle_datagram(self.now, from, carrier, &bytes);
            }
            Travelling::ToRouter { to, from, carrier, bytes } => {
                let answer = match self.boxes.get_mut(&to) {
                    Some(Peer::Router(router)) => router.handle(to, from, carrier, &bytes),
                    Some(Peer::Mirror) if carrier == Carrier::Icmp => Some(bytes),
                    _ => None,
                };
                if let Some(bytes) = answer {
                    self.travel(|| Travelling::ToEnd { from: to, carrier, bytes: bytes.clone() });
                }
            }
        }
    }

    fn travel(&mut self, make: impl Fn() -> Travelling) {
        let copies = 1 + u32::from(self.random.chance(self.link.duplication));
        for _ in 0..copies {
            if self.random.chance(self.link.loss) {
                continue;
            }
            let jitter = self.random.below(self.link.jitter_ms.max(1) * 1000);
            self.sequence += 1;
            let at = self.now + Duration::from_micros(5000 + u64::from(jitter));
            self.wire.insert((at, self.sequence), make());
        }
    }

    pub fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Send { carrier, from, to, bytes } => {
                    self.sends.push((self.elapsed(), to, carrier, bytes.to_vec()));
                    self.travel(|| Travelling::ToRouter { to, from, carrier, bytes: bytes.to_vec() });
                }
                Output::Translate { flow, to, source } => {
                    let result = self.kernel_says.pop().unwrap_or(Translated::Confirmed);
                    if result == Translated::Confirmed {
                        self.vat.insert(flow, (to, source));
                    }
                    self.engine.handle_translated(self.now, &flow, result);
                }
                Output::Withdraw { flow, to } => {
                    if self.vat.get(&flow).is_some_and(|(stands, _)| *stands == to) {
                        self.vat.remove(&flow);
                    }
                }
                Output::Release { packets } => {
                    let now = self.now;
                    self.released.extend(packets.into_iter().map(|packet| (packet, now)));
                }
                Output::Refuse { packets, why } => {
                    let now = self.now;
                    self.refused.extend(packets.into_iter().map(|packet| (packet, why, now)));
                }
                Output::Drop { packet } => self.dropped.push(packet),
                Output::Watch { flow } => {
                    self.watched += 1;
                    let state = self.kernel.get(&flow).copied();
                    self.engine.handle_flow_state(self.now, &flow, state);
                }
                Output::Forget { flow } => {
                    self.kernel.remove(&flow);
                    self.forgotten.push(flow);
                }
                Output::Resolve { address } => self.resolves.push(address),
                Output::Pinged(report) => self.pings.push(report),
            }
        }
    }
}
