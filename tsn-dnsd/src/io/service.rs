//! The server at its sockets: takes packets, sends replies, and carries what takes time to its end.
//!
//! ```text
//!  UDP batch ─┐                          ┌─ Replied: sent with the batch ─▶ client
//!             ├─▶ Server::handle_packet ─┤
//!  TCP stream ┘                          ├─ Ask: join a flight ─▶ Resolver ─▶ handle_answered ─▶ client
//!                                        ├─ Announce: Announcer ─▶ handle_verdict ─▶ client
//!                                        └─ Update: ZoneFiles ─▶ client
//! ```
//!
//! A reply that is known is composed in the loop's own turn; a task is started only for what has to wait.

use std::{
    cell::RefCell,
    hash::RandomState,
    net::{IpAddr, SocketAddr},
    pin::pin,
    rc::{Rc, Weak},
    time::{Duration, Instant},
};

use natf_kernel::udp_batch::{UdpInbox, UdpOutbox, UdpPath, UdpSocket};
use smol::{LocalExecutor, Task};

use super::{
    streams::{ConnectionId, Questions, Streams},
    upstream::{Resolver, within_until},
    zone_files::{ZoneFiles, unix_now},
};
use crate::{
    core::{
        announced::Announcer,
        answer::Answer,
        counters::Counters,
        flights::{FlightLimits, Flights, Joined},
        question::Key,
        responder::{Client, Handled, Held},
        room::{Bounds, Place, Room},
        server::Server,
    },
    error::Error,
};

/// Longest question by datagram; this server says that it takes 1232 (EDNS).
const DATAGRAM_MAX: usize = 2048;
/// Batches of one socket before others get their turn.
const BATCHES: usize = 8;
/// Queries under way (with three attempts each, below 1024 descriptors) and questions that wait for them.
const FLIGHTS: FlightLimits = FlightLimits { flights: 256, waiters: 4_096, per_client: 128 };
/// After so long what is stale serves (RFC 8767, 5).
const STALE_PATIENCE: Duration = Duration::from_millis(1_800);
/// Announcements and updates that wait at once.
const HELD_MAX: Bounds = Bounds { places: 4_096, per_client: 512, octets: 4 << 20 };

/// The way back to a client.
#[derive(Clone)]
enum Way {
    /// An address at which this server does not listen any more answers no more, and is free for another socket.
    Udp(Weak<UdpSocket>, UdpPath),
    Tcp(ConnectionId),
}

/// A client whose reply takes time.
struct Waiter {
    client: Client,
    packet: Box<[u8]>,
    way: Way,
}

/// Everything that the tasks share.
pub struct Service {
    /// The core.
    pub server: RefCell<Server>,
    /// The upstream servers.
    pub resolver: Resolver,
    /// Files of own zones.
    pub zone_files: ZoneFiles,
    counters: Rc<Counters>,
    announcer: Rc<dyn Announcer>,
    flights: RefCell<Flights<Waiter>>,
    held: Room,
    udp: RefCell<Vec<Rc<UdpSocket>>>,
    streams: RefCell<Streams>,
    inbox: RefCell<UdpInbox>,
    outbox: RefCell<UdpOutbox>,
    tasks: LocalExecutor<'static>,
}

impl Service {
    /// Without sockets.
    ///
    /// # Errors
    /// Where the operating system has no epoll.
    pub fn new(
        server: Server,
        resolver: Resolver,
        zone_files: ZoneFiles,
        announcer: Rc<dyn Announcer>,
    ) -> Result<Rc<Self>, Error> {
        Ok(Rc::new(Self {
            counters: server.counters().clone(),
            server: RefCell::new(server),
            resolver,
            zone_files,
            announcer,
            flights: RefCell::new(Flights::new(FLIGHTS, RandomState::new())),
            held: Room::new(HELD_MAX),
            udp: RefCell::default(),
            streams: RefCell::new(Streams::new()?),
            inbox: RefCell::new(UdpInbox::new(DATAGRAM_MAX)),
            outbox: RefCell::new(UdpOutbox::new()),
            tasks: LocalExecutor::new(),
        }))
    }

    /// Listens at these addresses, over UDP and TCP; sockets at addresses that stay are kept.
    ///
    /// # Errors
    /// With the first address at which it cannot; then nothing has changed.
    pub fn listen(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let former: Vec<_> = self.udp.borrow().iter().map(|socket| socket.local()).collect();
        let is_in_the_way =
            |old: &SocketAddr| !addresses.contains(old) && addresses.iter().any(|new| exclude(*old, *new));
        if !former.iter().any(is_in_the_way) {
            return self.listen_beside(addresses);
        }
        let kept: Vec<_> = former.iter().copied().filter(|old| addresses.contains(old)).collect();
        self.listen_beside(&kept)?;
        let listening = self.listen_beside(addresses);
        if let (Err(_), Err(error)) = (&listening, self.listen_beside(&former)) {
            log::error!("{error}; until the next reload there is no answer");
        }
        listening
    }

    fn listen_beside(&self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let mut sockets = Vec::new();
        for address in addresses {
            let known = self.udp.borrow().iter().find(|socket| socket.local() == *address).cloned();
            sockets.push(match known {
                Some(socket) => socket,
                None => Rc::new(UdpSocket::bind(*address)?),
            });
        }
        self.streams.borrow_mut().listen(addresses)?;
        *self.udp.borrow_mut() = sockets;
        Ok(())
    }

    /// The UDP sockets, in the order in which [`Self::take_udp`] counts them.
    pub fn udp(&self) -> Vec<Rc<UdpSocket>> {
        self.udp.borrow().clone()
    }

    /// The TCP connections.
    pub fn streams(&self) -> &RefCell<Streams> {
        &self.streams
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Queries under way.
    pub fn flights(&self) -> usize {
        self.flights.borrow().len()
    }

    /// Starts a task, which is polled when something woke it and not for what woke others: polls of sockets that have
    /// nothing would cost an announced name more than its message.
    pub fn start<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> Task<T> {
        self.tasks.spawn(future)
    }

    /// Runs the tasks until this future ends.
    pub async fn run_tasks<T>(&self, until: impl Future<Output = T>) -> T {
        self.tasks.run(until).await
    }

    /// Takes what waits at a UDP socket.
    pub fn take_udp(self: &Rc<Self>, socket: &Rc<UdpSocket>) {
        for _ in 0..BATCHES {
            let mut inbox = self.inbox.borrow_mut();
            let more = inbox.receive(socket);
            let now = Instant::now();
            let mut outbox = self.outbox.borrow_mut();
            for datagram in inbox.datagrams() {
                let Some(packet) = datagram.bytes else {
                    self.counters.too_long.up();
                    continue;
                };
                let client = Client { address: datagram.path.peer.ip(), over_udp: true };
                let way = || Way::Udp(Rc::downgrade(socket), datagram.path);
                outbox.push(datagram.path, |out| self.handle(now, client, packet, way, out));
            }
            self.flush(&mut outbox, socket);
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    log::warn!("cannot receive at {}: {error}", socket.local());
                    break;
                }
            }
        }
    }

    fn flush(&self, outbox: &mut UdpOutbox, socket: &UdpSocket) {
        if outbox.is_empty() {
            return;
        }
        let report = outbox.flush(socket);
        self.counters.unsent.add(report.failed);
        if let Some(error) = report.last_error {
            log::debug!("cannot send from {}: {error}", socket.local());
        }
    }

    /// Takes what happened at the TCP sockets.
    ///
    /// # Errors
    /// Where the operating system cannot tell.
    pub fn take_tcp(self: &Rc<Self>, now: Instant) -> Result<(), Error> {
        let mut streams = self.streams.borrow_mut();
        streams.take(now, &StreamQuestions(self))?;
        let counts = streams.take_counts();
        self.counters.connections.add(counts.accepted);
        self.counters.connections_too_many.add(counts.too_many);
        self.counters.connections_displaced.add(counts.displaced);
        Ok(())
    }

    /// Closes connections that are idle.
    pub fn handle_timeout(&self, now: Instant) {
        self.streams.borrow_mut().handle_timeout(now);
    }

    /// Handles a packet; true where the reply comes later.
    fn handle(
        self: &Rc<Self>,
        now: Instant,
        client: Client,
        packet: &[u8],
        way: impl FnOnce() -> Way,
        out: &mut Vec<u8>,
    ) -> bool {
        let start = out.len();
        let handled = self.server.borrow_mut().handle_packet(now, client, packet, out);
        let later = self.carry_on(handled, client, packet, way, out);
        if !later {
            self.server.borrow_mut().sign_reply(client, packet, unix_now, start, out);
        }
        later
    }

    /// Starts what takes time; true where the reply comes later.
    fn carry_on(
        self: &Rc<Self>,
        handled: Handled,
        client: Client,
        packet: &[u8],
        way: impl FnOnce() -> Way,
        out: &mut Vec<u8>,
    ) -> bool {
        match handled {
            Handled::Replied | Handled::Silent => false,
            Handled::Ask(key) => {
                let waiter = Waiter { client, packet: packet.into(), way: way() };
                self.ask(*key, waiter, out)
            }
            Handled::Announce(held) => match self.held.place(client.address, held.size()) {
                Some(place) => self.spawn(place, announce(self.clone(), *held, way())),
                None => self.too_many(client, packet, out),
            },
            Handled::Update => match self.held.place(client.address, packet.len()) {
                Some(place) => self.spawn(place, update(self.clone(), packet.into(), way())),
                None => self.too_many(client, packet, out),
            },
        }
    }

    fn ask(self: &Rc<Self>, key: Key, waiter: Waiter, out: &mut Vec<u8>) -> bool {
        let (client, packet) = (waiter.client, waiter.packet.clone());
        let joined = self.flights.borrow_mut().join(&key, client.address, waiter);
        match joined {
            Joined::First => self.tasks.spawn(fly(self.clone(), key)).detach(),
            Joined::Waits => self.counters.joined.up(),
            Joined::Full => return self.too_many(client, &packet, out),
        }
        true
    }

    /// Has something take its time in this place; true, for the reply comes later.
    fn spawn(&self, place: Place, work: impl Future<Output = ()> + 'static) -> bool {
        let placed = async move {
            work.await;
            drop(place);
        };
        self.tasks.spawn(placed).detach();
        true
    }

    fn too_many(&self, client: Client, packet: &[u8], out: &mut Vec<u8>) -> bool {
        self.server.borrow().handle_too_many(client, packet, out);
        false
    }

    /// Replies to those who waited; `write` composes each reply.
    fn reply_all(
        self: &Rc<Self>,
        waiters: Vec<Waiter>,
        mut write: impl FnMut(&mut Server, Client, &[u8], &mut Vec<u8>) -> Handled,
    ) {
        for Waiter { client, packet, way } in waiters {
            let mut out = Vec::new();
            let handled = write(&mut self.server.borrow_mut(), client, &packet, &mut out);
            // What is not announced is answered here and now, so that a further wait is for its router.
            let later = self.carry_on(handled, client, &packet, || way.clone(), &mut out);
            if !later {
                self.server.borrow_mut().sign_reply(client, &packet, unix_now, 0, &mut out);
                self.deliver(&way, &out);
            }
        }
    }

    fn deliver(&self, way: &Way, reply: &[u8]) {
        match way {
            Way::Udp(socket, path) => {
                let Some(socket) = socket.upgrade() else { return self.counters.unsent.up() };
                let mut outbox = UdpOutbox::new();
                outbox.push(*path, |out| out.extend_from_slice(reply));
                self.flush(&mut outbox, &socket);
            }
            Way::Tcp(connection) => {
                let reply = (!reply.is_empty()).then_some(reply);
                self.streams.borrow_mut().deliver(Instant::now(), *connection, reply);
            }
        }
    }
}

/// Whether the system lets only one of two addresses be listened at: one of them is the wildcard address.
fn exclude(one: SocketAddr, other: SocketAddr) -> bool {
    one != other
        && one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// Asks upstream servers, and answers all who wait for it.
async fn fly(service: Rc<Service>, key: Key) {
    let lifetimes = service.server.borrow().lifetimes();
    let mut asking = pin!(service.resolver.resolve(&key, lifetimes, &service.counters));
    let stale = Instant::now() + STALE_PATIENCE;
    let resolved = match within_until(stale, asking.as_mut()).await {
        Some(resolved) => resolved,
        None => {
            if service.server.borrow_mut().has_stale(Instant::now(), &key) {
                let waiters = service.flights.borrow_mut().take_waiters(&key);
                service.reply_unanswered(waiters, 0);
            }
            asking.await
        }
    };
    match resolved {
        Ok(answer) => service.finish(&key, answer),
        Err(code) => {
            service.server.borrow_mut().handle_failure(Instant::now(), &key, code);
            let waiters = service.flights.borrow_mut().finish(&key);
            service.reply_unanswered(waiters, code);
        }
    }
}

impl Service {
    fn finish(self: &Rc<Self>, key: &Key, answer: Answer) {
        let waiters = self.flights.borrow_mut().finish(key);
        self.reply_all(waiters, |server, client, packet, out| {
            server.handle_answered(client, packet, &answer, out)
        });
        self.server.borrow_mut().handle_answer(Instant::now(), answer);
    }

    fn reply_unanswered(self: &Rc<Self>, waiters: Vec<Waiter>, code: u16) {
        let now = Instant::now();
        self.reply_all(waiters, |server, client, packet, out| {
            server.handle_unanswered(now, client, packet, code, out)
        });
    }
}

/// Has the router told, then answers (T4).
async fn announce(service: Rc<Service>, held: Held, way: Way) {
    let announcer = service.announcer.clone();
    let verdict = announcer.announce(held.announcement.clone()).await;
    let mut out = Vec::new();
    service.server.borrow_mut().handle_verdict(&held, &verdict, unix_now, &mut out);
    service.deliver(&way, &out);
}

/// Makes a dynamic update and answers when it is saved.
async fn update(service: Rc<Service>, packet: Box<[u8]>, way: Way) {
    let reply = service.zone_files.update(&service.server, &packet).await;
    service.deliver(&way, &reply.unwrap_or_default());
}

/// The questions of TCP connections.
struct StreamQuestions<'a>(&'a Rc<Service>);

impl Questions for StreamQuestions<'_> {
    fn accepts(&self, client: IpAddr) -> bool {
        let accepts = self.0.server.borrow().allows(client);
        if !accepts {
            self.0.counters.client_dropped.up();
        }
        accepts
    }

    fn handle(
        &self,
        client: IpAddr,
        connection: ConnectionId,
        question: &[u8],
        output: &mut Vec<u8>,
    ) -> bool {
        let client = Client { address: client, over_udp: false };
        // The clock costs little beside the system calls of a stream.
        self.0.handle(Instant::now(), client, question, || Way::Tcp(connection), output)
    }
}
