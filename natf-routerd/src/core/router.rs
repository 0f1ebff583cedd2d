//! The router's side of the negotiation (N5-N8, N15): a message in, a decision, a mapping, an answer.
//!
//! ```text
//! handle_message ─ open, judge counter ─▶ handle_request ─ ACT ─▶ make_mapping … (forcing.rs) ─▶ grant ─▶ Output::Send
//!                └─ not authenticated: Handled::NotOurs            the kernel confirms first
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use natf_proto::{
    CookieJar, CookieOffer, Direction, EndRequest, EndResponse, Envelope, Freshness, Grant, HostName, KeyId,
    Kind, MappingKind, MappingRequest, MappingResponse, NOTICE_LEN, OpenError, PeerKeys, Random, Reason,
    Stale, Transport, assemble_anonymous,
};

use super::{
    access::{AccessTable, Requester},
    counters::{Counter, Counters},
    forcing::{Question, Waiting},
    guide_flow::Guide,
    limit::{Limiter, Rate},
    mapping::{Mapping, MappingId, MappingTable, PortCursor},
    names::Names,
    output::{Arrival, Handled, Now, Output},
    peer::{Peers, Role},
    refusals::{Refusals, Refused},
    registration::Registrations,
    registration_stream::Connections,
};

/// What strangers may cost.
const STRANGER: Rate = Rate { per_second: 20, burst: 40 };
const ALL_STRANGERS: Rate = Rate { per_second: 1000, burst: 2000 };
/// How often replayed or stale messages may make us answer.
const STALE: Rate = Rate { per_second: 2, burst: 10 };
const ALL_STALE: Rate = Rate { per_second: 100, burst: 200 };

/// Bounds and times, from `config router`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// First mapped port.
    pub port_first: u16,
    /// Last mapped port.
    pub port_last: u16,
    /// How long a mapping waits for its first packet.
    pub pending: Duration,
    /// Most mappings in all.
    pub max_mappings: usize,
    /// Most mappings of one peer.
    pub max_per_peer: u32,
    /// Most mappings to one host.
    pub max_per_host: u32,
    /// Most mappings of those who are not enrolled.
    pub max_anyone: u32,
    /// Most rows of the guide table (T2).
    pub max_guide: usize,
    /// How long a row lives from its last notification on.
    pub guide_lifetime: Duration,
    /// How long a name learned from a dynamic update counts (T1).
    pub learned_lifetime: Duration,
}

/// The kernel's idle timeouts, which are the lifetimes that ENs are told (N8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// An established TCP connection.
    pub tcp: Duration,
    /// A UDP flow with packets both ways.
    pub udp: Duration,
}

/// The state of the router: ACT, peers, mappings.
pub struct Router {
    pub(super) limits: Limits,
    pub(super) lifetimes: Lifetimes,
    pub(super) access: AccessTable,
    pub(super) peers: Peers,
    pub(super) mappings: MappingTable,
    pub(super) names: Names,
    pub(super) counters: Counters,
    pub(super) refusals: Refusals,
    pub(super) per_peer: BTreeMap<KeyId, u32>,
    pub(super) per_host: BTreeMap<u16, u32>,
    pub(super) per_source: BTreeMap<Ipv4Addr, u32>,
    pub(super) outputs: VecDeque<Output>,
    pub(super) start: Instant,
    pub(super) next_expiry: Option<u64>,
    /// Both clocks at the last tick.
    pub(super) last_tick: Now,
    pub(super) looked: Option<u32>,
    pub(super) waiting: BTreeMap<MappingId, Waiting>,
    pub(super) guide: Guide,
    pub(super) registrations: Registrations,
    pub(super) connections: Connections,
    pub(super) domains: Vec<Box<str>>,
    pub(super) ports: PortCursor,
    cookies: CookieJar,
    strangers: Limiter,
    stale: Limiter,
    pub(super) random: Box<dyn Random>,
}

impl Router {
    /// A router without rows, peers and mappings.
    pub fn new(now: Now, limits: Limits, lifetimes: Lifetimes, mut random: Box<dyn Random>) -> Self {
        Self {
            limits,
            lifetimes,
            access: AccessTable::default(),
            peers: Peers::default(),
            mappings: MappingTable::default(),
            names: Names::default(),
            counters: Counters::default(),
            refusals: Refusals::default(),
            per_peer: BTreeMap::new(),
            per_host: BTreeMap::new(),
            per_source: BTreeMap::new(),
            outputs: VecDeque::new(),
            start: now.instant,
            next_expiry: None,
            last_tick: now,
            looked: None,
            waiting: BTreeMap::new(),
            guide: Guide::default(),
            registrations: Registrations::default(),
            connections: Connections::default(),
            domains: Vec::new(),
            ports: ports(&limits, random.as_mut()),
            cookies: CookieJar::new(now.instant, random.as_mut()),
            strangers: Limiter::new(now.instant, STRANGER, ALL_STRANGERS, random.u64()),
            stale: Limiter::new(now.instant, STALE, ALL_STALE, random.u64()),
            random,
        }
    }

    /// Takes other bounds; mappings keep their ports.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        let range = |limits: &Limits| (limits.port_first, limits.port_last);
        if range(&limits) != range(&self.limits) {
            self.ports = ports(&limits, self.random.as_mut());
        }
        self.limits = limits;
    }

    /// The next effect to carry out.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Takes a message that came in at `arrival`.
    pub fn handle_message(&mut self, now: Now, arrival: &Arrival, bytes: &[u8]) -> Handled {
        if bytes.len() == NOTICE_LEN {
            return self.handle_notice(now, arrival, bytes);
        }
        let Ok(envelope) = Envelope::parse(bytes) else { return self.ignore(Counter::Malformed) };
        if !matches!(envelope.header.kind, Kind::MappingRequest | Kind::EndRequest) {
            return self.ignore(Counter::UnexpectedKind);
        }
        if envelope.header.key == KeyId::ANONYMOUS {
            return self.handle_stranger(now, arrival, &envelope);
        }
        self.handle_peer(now, arrival, &envelope)
    }

    pub(super) fn ignore(&mut self, why: Counter) -> Handled {
        self.counters.count(why);
        Handled::NotOurs
    }

    fn handle_peer(&mut self, now: Now, arrival: &Arrival, envelope: &Envelope<'_>) -> Handled {
        let header = envelope.header;
        let opened = self.open(header.key, header.counter, |keys| keys.open(Direction::ToRouter, envelope));
        let (body, freshness) = match opened {
            Ok(opened) => opened,
            Err(why) => return self.ignore(why),
        };
        if let Freshness::Stale { floor } = freshness {
            return self.answer_stale(now, arrival, header.key, header.counter, &body, floor);
        }
        self.use_counter(now, header.key, header.counter);
        match header.kind {
            Kind::EndRequest => match EndRequest::parse(&body) {
                Ok(request) => self.handle_end(now, arrival, header.key, header.counter, &request),
                Err(_) => self.counters.count(Counter::Malformed),
            },
            _ => match MappingRequest::parse(&body) {
                Ok(request) => self.handle_request(now, arrival, header.key, header.counter, &request),
                Err(_) => self.counters.count(Counter::Malformed),
            },
        }
        Handled::Consumed
    }

    /// Opens what a peer sealed, if it is no replay; a stale one is opened, too.
    ///
    /// # Errors
    /// The counter of what is wrong with it.
    pub(super) fn open<B>(
        &self,
        peer: KeyId,
        counter: u64,
        open: impl FnOnce(&PeerKeys) -> Result<B, OpenError>,
    ) -> Result<(B, Freshness), Counter> {
        let peer = self.peers.find(peer).ok_or(Counter::UnknownKey)?;
        let freshness = peer.window.judge(counter);
        if freshness == Freshness::Replayed {
            return Err(Counter::Replayed);
        }
        open(&peer.keys).map(|body| (body, freshness)).map_err(|_| Counter::Forged)
    }

    /// Remembers the counter of an authenticated, fresh message.
    pub(super) fn use_counter(&mut self, now: Now, peer: KeyId, counter: u64) {
        let ceiling = self.peers.find_mut(peer).and_then(|peer| peer.accept(counter, now.unix));
        if let Some(ceiling) = ceiling {
            self.outputs.push_back(Output::Reserve { peer, ceiling });
        }
    }

    /// Counts an authenticated message with an old counter; false where it is not even answered.
    pub(super) fn may_answer_stale(&mut self, now: Now, arrival: &Arrival) -> bool {
        self.counters.count(Counter::Stale);
        let allowed = self.stale.allow(now.instant, arrival.from);
        if !allowed {
            self.counters.count(Counter::RateLimited);
        }
        allowed
    }

    /// An authenticated message with an old counter: a peer with a wrong clock, or a replay. Either gets the sealed
    /// floor, which only the peer can use.
    fn answer_stale(
        &mut self,
        now: Now,
        arrival: &Arrival,
        peer: KeyId,
        counter: u64,
        body: &natf_proto::Body,
        floor: u64,
    ) -> Handled {
        if !self.may_answer_stale(now, arrival) {
            return Handled::Consumed;
        }
        // Both requests begin with the transaction.
        let transaction = Stale::parse(body).transaction;
        self.answer(arrival, peer, counter, Kind::Stale, &Stale { transaction, floor }.emit());
        Handled::Consumed
    }

    /// No key (N15): nothing of ours unless a host is open to `anyone`, and then a cookie first.
    fn handle_stranger(&mut self, now: Now, arrival: &Arrival, envelope: &Envelope<'_>) -> Handled {
        if !self.access.open_to_anyone() {
            return self.ignore(Counter::AnonymousIgnored);
        }
        if !self.strangers.allow(now.instant, arrival.from) {
            self.counters.count(Counter::RateLimited);
            return Handled::Consumed;
        }
        let Some(body) = envelope.anonymous_body() else { return self.ignore(Counter::Malformed) };
        let (counter, cookie) = (envelope.header.counter, envelope.cookie());
        // Both requests begin with the transaction.
        let transaction = Stale::parse(body).transaction;
        self.cookies.rotate(now.instant, self.random.as_mut());
        if !self.cookies.check(arrival.from, transaction, cookie) {
            self.counters.count(Counter::Cookies);
            let offer = CookieOffer { transaction, cookie: self.cookies.bake(arrival.from, transaction) };
            self.answer(arrival, KeyId::ANONYMOUS, counter, Kind::Cookie, &offer.emit());
            return Handled::Consumed;
        }
        match (envelope.header.kind, EndRequest::parse(body), MappingRequest::parse(body)) {
            (Kind::EndRequest, Ok(end), _) => self.handle_end(now, arrival, KeyId::ANONYMOUS, counter, &end),
            (Kind::MappingRequest, _, Ok(request)) => {
                self.handle_request(now, arrival, KeyId::ANONYMOUS, counter, &request);
            }
            _ => self.counters.count(Counter::Malformed),
        }
        Handled::Consumed
    }

    fn handle_request(
        &mut self,
        now: Now,
        arrival: &Arrival,
        peer: KeyId,
        counter: u64,
        request: &MappingRequest,
    ) {
        self.counters.count(Counter::Requests);
        let question = Question { arrival: *arrival, request: *request, counter, tries: 0, unix: now.unix };
        if let Some(id) = self.mappings.by_transaction(peer, request.transaction) {
            return self.handle_repeated(id, question);
        }
        let port = request.destination.port();
        let inside = match self.decide_request(peer, &request.host, request.transport, port, now.unix) {
            Ok(inside) => SocketAddrV4::new(inside, request.destination.port()),
            Err(reason) => return self.refuse(peer, &question, hidden_from_strangers(peer, reason)),
        };
        if arrival.inside {
            self.counters.count(Counter::Direct);
            return self.grant(peer, &question, MappingKind::Direct, inside);
        }
        if let Err(reason) = self.make_mapping(now, peer, question, inside) {
            self.refuse(peer, &question, reason);
        }
    }

    /// Only external nodes ask for mappings themselves.
    fn decide_request(
        &self,
        peer: KeyId,
        host: &HostName,
        transport: Transport,
        port: u16,
        unix: u64,
    ) -> Result<Ipv4Addr, Reason> {
        match self.peers.find(peer) {
            Some(peer) if peer.role != Role::Node => Err(Reason::PeerNotAllowed),
            _ => self.decide(peer, host, transport, port, unix),
        }
    }

    /// Decides by the ACT (N6) and changes nothing: the inside address, or why not. Flows of an external node and those
    /// that a TSN server announced are decided alike.
    ///
    /// # Errors
    /// The reason of the first check that fails.
    pub fn decide(
        &self,
        peer: KeyId,
        host: &HostName,
        transport: Transport,
        port: u16,
        unix: u64,
    ) -> Result<Ipv4Addr, Reason> {
        let requester = match self.peers.find(peer) {
            Some(peer) if peer.role != Role::Sip => Requester::Peer { name: &peer.name, hosts: &peer.hosts },
            None if peer == KeyId::ANONYMOUS => Requester::Anyone,
            _ => return Err(Reason::PeerNotAllowed),
        };
        self.access.decide(requester, host, transport, port, unix)
    }

    fn handle_end(&mut self, now: Now, arrival: &Arrival, peer: KeyId, counter: u64, request: &EndRequest) {
        let by_transaction = self.mappings.by_transaction(peer, request.transaction);
        // After a restart transactions are unknown; an enrolled peer may still name its flow.
        let source = SocketAddrV4::new(arrival.from, request.source.port());
        let mapped = SocketAddrV4::new(arrival.to, request.mapped.port());
        let by_flow = || self.mappings.by_outside(request.transport, source, mapped);
        let enrolled = peer != KeyId::ANONYMOUS;
        let found = by_transaction.or_else(|| by_flow().filter(|_| enrolled));
        // A stranger has nothing to prove who he is but his address.
        let may_end =
            |mapping: &Mapping| mapping.peer == peer && (enrolled || mapping.source.ip() == &arrival.from);
        let own = found.filter(|id| self.mappings.find(*id).is_some_and(may_end));
        if let Some(id) = own {
            self.end(now, id, Counter::Ended);
        }
        let response = EndResponse { request: *request, ended: own.is_some() };
        self.answer(arrival, peer, counter, Kind::EndResponse, &response.emit());
    }

    pub(super) fn grant(
        &mut self,
        peer: KeyId,
        question: &Question,
        kind: MappingKind,
        mapped: SocketAddrV4,
    ) {
        let lifetime = match question.request.transport {
            Transport::Tcp => self.lifetimes.tcp,
            Transport::Udp => self.lifetimes.udp,
        };
        // Where a router stands before this one, the EN dialled that one's address.
        let mapped = match kind {
            MappingKind::Direct => mapped,
            _ => SocketAddrV4::new(*question.request.destination.ip(), mapped.port()),
        };
        let grant = Grant { kind, mapped, pending: self.limits.pending, lifetime };
        self.respond(peer, question, Ok(grant));
    }

    pub(super) fn refuse(&mut self, peer: KeyId, question: &Question, reason: Reason) {
        let Question { arrival, request, unix, .. } = *question;
        let service = Some((request.transport, request.destination.port()));
        self.note_refusal(unix, Refused { peer, from: arrival.from, host: request.host, service, reason });
        self.respond(peer, question, Err(reason));
    }

    /// Counts a refusal and remembers it.
    pub(super) fn note_refusal(&mut self, unix: u64, refused: Refused) {
        self.counters.refuse(refused.reason);
        self.refusals.note(refused, unix);
    }

    fn respond(&mut self, peer: KeyId, question: &Question, outcome: Result<Grant, Reason>) {
        let response = MappingResponse::to(&question.request, question.arrival.from, outcome);
        self.answer(&question.arrival, peer, question.counter, Kind::MappingResponse, &response.emit());
    }

    fn answer(&mut self, arrival: &Arrival, peer: KeyId, counter: u64, kind: Kind, body: &natf_proto::Body) {
        let message = match self.peers.find(peer) {
            Some(peer) => peer.keys.seal(Direction::ToEnd, kind, counter, body, self.random.as_mut()),
            None if peer == KeyId::ANONYMOUS => assemble_anonymous(kind, counter, &[0; 24], body),
            // Removed between question and answer.
            None => return,
        };
        self.outputs.push_back(Output::Send { arrival: *arrival, message });
    }

    pub(super) fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }

    pub(super) fn pending_seconds(&self) -> u32 {
        u32::try_from(self.limits.pending.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// From a random port on.
fn ports(limits: &Limits, random: &mut dyn Random) -> PortCursor {
    let span = u32::from(limits.port_last.saturating_sub(limits.port_first)) + 1;
    let offset = u16::try_from(random.below(span)).unwrap_or(0);
    PortCursor::new(limits.port_first, limits.port_last, offset)
}

/// Strangers learn no names: whatever is not open to them is denied alike.
fn hidden_from_strangers(peer: KeyId, reason: Reason) -> Reason {
    match reason {
        Reason::TableFull | Reason::Busy => reason,
        _ if peer == KeyId::ANONYMOUS => Reason::Denied,
        _ => reason,
    }
}
