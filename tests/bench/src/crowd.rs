//! Thousands of flows of hundreds of peers to as many hosts at once: set up, used, ended, each phase with its times.
//!
//! ```text
//!   peer 0  S+0:40000 ──┐                            ┌── h0     peer p asks for hosts (HOSTS/PEERS)·p, ·p + 1, …:
//!   peer 1  S+1:40000 ──┼── router, 1 request each ──┼── h1     each flow has a pair of its own, each host as many
//!   …                   │   then datagrams           │   …      flows as every other
//!   one more peer: probes, one request or datagram at a time
//! ```
//!
//! After each phase it prints a line of JSON and waits for a line of input: time for others to look at the router.

use std::{
    error::Error,
    io::{BufRead as _, ErrorKind, stdin},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use natf_kernel::{
    packet::PacketBatch,
    raw::{EchoSocket, RawSender},
};
use natf_proto::{
    Body, Direction, EndRequest, EndResponse, Envelope, KeyId, Kind, MAGIC, MappingRequest, MappingResponse,
    Message, PeerKeys, Transaction, Transport,
};
use serde_json::{Value, json};

use crate::{
    Outcome, at_share, median,
    requests::{Nonces, key_bytes},
    window::{UNPACED, ask_all},
};

/// The key id of the first peer; the probing one is behind the last.
const FIRST_ID: u16 = 1000;
const SOURCE_PORT: u16 = 40_000;
/// Datagrams per second over all flows while the probes run.
const LOAD: u64 = 10_000;
const LOAD_TURN: Duration = Duration::from_millis(1);
/// Probes of each kind in a phase.
const PROBES: u16 = 1_000;
const PATIENCE: Duration = Duration::from_millis(500);

type Fallible<T> = Result<T, Box<dyn Error>>;

/// Whom to ask for what, as how many.
pub struct Settings {
    router: Ipv4Addr,
    sources: Ipv4Addr,
    hosts: u16,
    peers: u16,
    flows: usize,
    key: [u8; 32],
    port: u16,
}

impl Settings {
    /// Reads `ROUTER SOURCES HOSTS PEERS FLOWS KEY-HEX PORT`; a host has a name `h` and its number.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [router, sources, hosts, peers, flows, key, port] = words else { return None };
        Some(Self {
            router: router.parse().ok()?,
            sources: sources.parse().ok()?,
            hosts: hosts.parse().ok().filter(|hosts| *hosts > 0)?,
            peers: peers.parse().ok().filter(|peers| *peers > 0)?,
            flows: flows.parse().ok()?,
            key: key_bytes(key)?,
            port: port.parse().ok()?,
        })
    }
}

/// An enrolled peer with the one socket that all its flows share.
struct Peer {
    address: Ipv4Addr,
    keys: PeerKeys,
    socket: UdpSocket,
}

/// All of them.
struct Crowd {
    settings: Settings,
    peers: Vec<Peer>,
    probe: Peer,
    /// The counter of the next message; one for all peers, so that it rises for each.
    counter: u64,
}

/// Prints the phases one after the other.
pub fn run(settings: Settings) -> Outcome {
    let mut crowd = Crowd::new(settings)?;
    pause("idle", crowd.probes(0)?)?;
    let (mapped, up) = crowd.set_up()?;
    pause("up", up)?;
    let busy = crowd.probes_under_load(&mapped)?;
    pause("load", busy)?;
    let down = crowd.tear_down(&mapped)?;
    pause("down", down)
}

/// Prints the phase with its figures and waits for a line of input.
fn pause(phase: &str, mut figures: Value) -> Outcome {
    if let Some(fields) = figures.as_object_mut() {
        fields.insert("phase".into(), phase.into());
    }
    println!("{figures}");
    stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

impl Peer {
    fn new(settings: &Settings, number: u16) -> Fallible<Self> {
        let address = Ipv4Addr::from_bits(settings.sources.to_bits() + u32::from(number));
        let socket = UdpSocket::bind((address, SOURCE_PORT))?;
        socket.set_nonblocking(true)?;
        Ok(Self { address, keys: PeerKeys::derive(KeyId(FIRST_ID + number), &settings.key), socket })
    }

    fn seal(&self, kind: Kind, counter: u64, body: &Body) -> (Ipv4Addr, Message) {
        (self.address, self.keys.seal(Direction::ToRouter, kind, counter, body, &mut Nonces(counter)))
    }

    fn open(&self, payload: &[u8]) -> Option<(Kind, Body)> {
        let envelope = Envelope::parse(payload).ok()?;
        Some((envelope.header.kind, self.keys.open(Direction::ToEnd, &envelope).ok()?))
    }

    /// Where the router maps the flow to, if this is a grant.
    fn grant(&self, payload: &[u8]) -> Option<SocketAddrV4> {
        let (_, body) = self.open(payload).filter(|(kind, _)| *kind == Kind::MappingResponse)?;
        MappingResponse::parse(&body).ok()?.outcome.ok().map(|grant| grant.mapped)
    }

    fn is_end(&self, payload: &[u8]) -> bool {
        let body = self.open(payload).filter(|(kind, _)| *kind == Kind::EndResponse);
        body.and_then(|(_, body)| EndResponse::parse(&body).ok()).is_some_and(|response| response.ended)
    }

    /// How many datagrams waited.
    fn drain(&self) -> usize {
        let mut bytes = [0; 64];
        std::iter::from_fn(|| self.socket.recv_from(&mut bytes).ok()).count()
    }
}

impl Crowd {
    fn new(settings: Settings) -> Fallible<Self> {
        let peers =
            (0..settings.peers).map(|number| Peer::new(&settings, number)).collect::<Fallible<_>>()?;
        let probe = Peer::new(&settings, settings.peers)?;
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_micros();
        Ok(Self { peers, probe, counter: u64::try_from(micros)? << 4, settings })
    }

    fn next_counter(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    /// The request of flow number `flow`: the peers take turns, and each goes from host to host.
    fn request(&self, flow: usize) -> Fallible<MappingRequest> {
        let peers = usize::from(self.settings.peers);
        let (peer, turn) = (flow % peers, flow / peers);
        let host = (peer * usize::from(self.settings.hosts / self.settings.peers).max(1) + turn)
            % usize::from(self.settings.hosts);
        let peer = self.peers.get(peer).ok_or("no such peer")?;
        self.mapping(u64::try_from(flow)?, peer, SOURCE_PORT, host)
    }

    fn mapping(&self, number: u64, peer: &Peer, source: u16, host: usize) -> Fallible<MappingRequest> {
        Ok(MappingRequest {
            transaction: Transaction(number + 1),
            source: SocketAddrV4::new(peer.address, source),
            destination: SocketAddrV4::new(self.settings.router, self.settings.port),
            transport: Transport::Udp,
            host: format!("h{host}").parse()?,
        })
    }

    fn peer_of(&self, flow: usize) -> Option<&Peer> {
        self.peers.get(flow % self.peers.len())
    }

    /// Asks for every flow and sends a datagram through each as soon as it is granted; where each was mapped to.
    fn set_up(&mut self) -> Fallible<(Vec<Option<SocketAddrV4>>, Value)> {
        let first = self.counter;
        self.counter += u64::try_from(self.settings.flows)?;
        let message = |(flow, counter)| {
            let peer = self.peer_of(flow).ok_or("no such peer")?;
            Ok(peer.seal(Kind::MappingRequest, counter, &self.request(flow)?.emit()))
        };
        let messages =
            (0..self.settings.flows).zip(first + 1..).map(message).collect::<Fallible<Vec<_>>>()?;
        let mut mapped = vec![None; messages.len()];
        let answered = ask_all(self.settings.router, &messages, UNPACED, |flow, payload| {
            let Some(peer) = self.peer_of(flow) else { return };
            if let (Some(to), Some(place)) = (peer.grant(payload), mapped.get_mut(flow)) {
                *place = Some(to);
                let _lost = peer.socket.send_to(b"first", to);
            }
        })?;
        thread::sleep(PATIENCE);
        let echoed: usize = self.peers.iter().map(Peer::drain).sum();
        let figures = json!({"asked": messages.len(), "answered": answered.count,
            "granted": mapped.iter().flatten().count(), "echoed": echoed, "flows_per_s": answered.per_second()});
        Ok((mapped, figures))
    }

    /// Requests for new mappings and datagrams of theirs, one at a time: how long each takes.
    fn probes(&mut self, round: u16) -> Fallible<Value> {
        let (mut requests, mut echoes, mut lost) = (Vec::new(), Vec::new(), 0u32);
        let (mut socket, sender) = (EchoSocket::open(MAGIC)?, RawSender::open()?);
        for at in 0..PROBES {
            let counter = self.next_counter();
            let host = usize::from(at) % usize::from(self.settings.hosts);
            let source = 10_000 + round * PROBES + at;
            let request = self.mapping(u64::from(source), &self.probe, source, host)?;
            let (own, message) = self.probe.seal(Kind::MappingRequest, counter, &request.emit());
            let mut batch = PacketBatch::new();
            batch.push_echo_request(own, self.settings.router, 0xffff, at, &message);
            let start = Instant::now();
            sender.send_batch(&batch);
            let mapped = answer(&mut socket, at, start)?.and_then(|payload| self.probe.grant(&payload));
            let took = start.elapsed();
            let Some(to) = mapped else {
                lost += 1;
                continue;
            };
            requests.push(took.as_secs_f64() * 1e6);
            match round_trip(own, source, to)? {
                Some(took) => echoes.push(took.as_secs_f64() * 1e6),
                None => lost += 1,
            }
        }
        let (request_us, echo_us) = (median(&mut requests), median(&mut echoes));
        Ok(json!({"request_us": request_us, "request_p99_us": at_share(&requests, 99),
            "echo_us": echo_us, "echo_p99_us": at_share(&echoes, 99), "lost": lost}))
    }

    /// The same while datagrams go through all flows in turn.
    fn probes_under_load(&mut self, mapped: &[Option<SocketAddrV4>]) -> Fallible<Value> {
        let flows: Vec<(usize, SocketAddrV4)> =
            mapped.iter().enumerate().filter_map(|(flow, to)| Some((flow, (*to)?))).collect();
        let sockets = self.peers.iter().map(|peer| peer.socket.try_clone()).collect::<Result<Vec<_>, _>>()?;
        let (over, sent, echoed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let mut figures = thread::scope(|scope| {
            scope.spawn(|| load(&flows, &sockets, &over, &sent, &echoed));
            let figures = self.probes(1);
            over.store(true, Ordering::Relaxed);
            figures
        })?;
        if let Some(fields) = figures.as_object_mut() {
            fields.insert("sent".into(), sent.into_inner().into());
            fields.insert("echoed".into(), echoed.into_inner().into());
        }
        Ok(figures)
    }

    /// Says of every flow that it is over.
    fn tear_down(&mut self, mapped: &[Option<SocketAddrV4>]) -> Fallible<Value> {
        let mut messages = Vec::new();
        let mut flows = Vec::new();
        for (flow, to) in mapped.iter().enumerate() {
            let (Some(to), counter, request) = (to, self.next_counter(), self.request(flow)?) else {
                continue;
            };
            let Some(peer) = self.peer_of(flow) else { continue };
            let end = EndRequest {
                transaction: request.transaction,
                source: request.source,
                mapped: *to,
                transport: Transport::Udp,
            };
            messages.push(peer.seal(Kind::EndRequest, counter, &end.emit()));
            flows.push(flow);
        }
        let mut ended = 0u32;
        let answered = ask_all(self.settings.router, &messages, UNPACED, |at, payload| {
            let peer = flows.get(at).and_then(|flow| self.peer_of(*flow));
            ended += u32::from(peer.is_some_and(|peer| peer.is_end(payload)));
        })?;
        Ok(json!({"answered": answered.count, "ended": ended, "ends_per_s": answered.per_second()}))
    }
}

/// Sends through one flow after the other until it is over, and takes what comes back.
fn load(
    flows: &[(usize, SocketAddrV4)],
    sockets: &[UdpSocket],
    over: &AtomicBool,
    sent: &AtomicU64,
    echoed: &AtomicU64,
) {
    let per_turn = LOAD * u64::try_from(LOAD_TURN.as_millis()).unwrap_or(1) / 1000;
    let mut turn = flows.iter().cycle();
    let drain = |socket: &UdpSocket| {
        let mut bytes = [0; 64];
        let count = std::iter::from_fn(|| socket.recv_from(&mut bytes).ok()).count();
        echoed.fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
    };
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        for _ in 0..per_turn {
            let Some((flow, to)) = turn.next() else { return };
            let Some(socket) = sockets.get(flow % sockets.len()) else { return };
            drain(socket);
            sent.fetch_add(u64::from(socket.send_to(b"load", to).is_ok()), Ordering::Relaxed);
        }
        next += LOAD_TURN;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    thread::sleep(PATIENCE);
    sockets.iter().for_each(drain);
}

fn answer(socket: &mut EchoSocket, sequence: u16, start: Instant) -> Fallible<Option<Vec<u8>>> {
    while start.elapsed() < PATIENCE {
        match socket.recv_from()? {
            Some(reply) if reply.ident == 0xffff && reply.sequence == sequence => {
                return Ok(Some(reply.payload.to_vec()));
            }
            _ => std::hint::spin_loop(),
        }
    }
    Ok(None)
}

/// How long a datagram of the flow takes to its host and back.
fn round_trip(own: Ipv4Addr, source: u16, to: SocketAddrV4) -> Fallible<Option<Duration>> {
    let socket = UdpSocket::bind((own, source))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let start = Instant::now();
    socket.send_to(b"probe", to)?;
    match socket.recv_from(&mut [0; 64]) {
        Ok(_) => Ok(Some(start.elapsed())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
