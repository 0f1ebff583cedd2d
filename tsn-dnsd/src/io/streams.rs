//! TCP: connections of clients, many questions on each, answered as they come (RFC 7766).
//!
//! ```text
//!  accept ─▶ Connection ─ read ─▶ input ─▶ question, question … ─▶ answers ─▶ output ─ write ─▶
//!                 │                                └▶ those that take time are delivered later, in any order
//!                 └ closed: idle, stuck, malformed, or one of too many
//! ```
//!
//! The connections are waited for in an epoll set of their own, which the daemon's loop waits for as one descriptor: a
//! pipelined question costs no task and no wake-up.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

use crate::{core::limit::network_of, error::Error};

/// Connections at once.
const CONNECTIONS_MAX: usize = 128;
/// Connections of one client, which is not this host.
const CONNECTIONS_PER_CLIENT: usize = 16;
/// A connection without a question is closed after this time (RFC 7766, 6.2.3) …
const IDLE: Duration = Duration::from_secs(10);
/// … and sooner while connections are scarce.
const IDLE_SCARCE: Duration = Duration::from_secs(2);
/// A client that does not take its answers is not read from.
const OUTPUT_MAX: usize = 1 << 16;
/// Answers of one connection under way: those that are delivered together stay until the client takes them.
const PENDING_MAX: usize = 64;
/// Octets that are read at once.
const READ: usize = 1 << 14;
/// Reads of one connection before others get their turn.
const READS: usize = 4;
/// Events that are taken at once.
const EVENTS: usize = 64;
/// After a failed accept (no descriptors left?) the next one is tried so much later: the connection still waits, and
/// epoll would say so at once.
const RETRY: Duration = Duration::from_millis(100);
/// Connections that wait to be accepted.
const BACKLOG: i32 = 256;

/// Names a connection; never used again for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u64);

/// What the owner of the connections makes of them.
pub trait Questions {
    /// Whether to accept a client.
    fn accepts(&self, client: IpAddr) -> bool;

    /// Answers a question by appending to `output`; true where the answer is delivered later.
    fn handle(&self, client: IpAddr, connection: ConnectionId, question: &[u8], output: &mut Vec<u8>)
    -> bool;
}

/// What happened to connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Accepted.
    pub accepted: usize,
    /// Not accepted because there are too many.
    pub too_many: usize,
}

struct Connection {
    stream: TcpStream,
    client: IpAddr,
    /// What has been read of a question that is not whole yet, and questions whose answers find no room yet.
    input: Vec<u8>,
    /// What could not be written yet.
    output: Vec<u8>,
    /// When the last whole question came, or the connection.
    active: Instant,
    /// Answers that are delivered later.
    pending: usize,
    /// The client sends no more.
    ended: bool,
    interest: EventFlags,
}

/// All listening sockets and connections.
pub struct Streams {
    epoll: OwnedFd,
    listeners: Vec<(u64, SocketAddr, TcpListener)>,
    /// When new connections are accepted again.
    paused: Option<Instant>,
    connections: HashMap<u64, Connection>,
    next: u64,
    buffer: Vec<u8>,
    counts: StreamCounts,
}

impl Streams {
    /// None.
    ///
    /// # Errors
    /// Where the operating system has no epoll.
    pub fn new() -> Result<Self, Error> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).map_err(|error| Error::wait(error.into()))?;
        Ok(Self {
            epoll,
            listeners: Vec::new(),
            paused: None,
            connections: HashMap::new(),
            next: 0,
            buffer: Vec::new(),
            counts: StreamCounts::default(),
        })
    }

    /// Listens at these addresses; those at which it does already stay, all others are closed.
    ///
    /// # Errors
    /// With the first address at which it cannot; then nothing has changed.
    pub fn listen(&mut self, addresses: &[SocketAddr]) -> Result<(), Error> {
        let mut added = Vec::new();
        for address in addresses {
            if !self.listeners.iter().any(|(_, known, _)| known == address) {
                let failed = Error::io("cannot listen (TCP) at", address.to_string());
                added.push((*address, listener(*address).map_err(failed)?));
            }
        }
        self.listeners.retain(|(_, address, _)| addresses.contains(address));
        for (address, listener) in added {
            let id = self.id();
            let data = EventData::new_u64(id);
            let added = epoll::add(&self.epoll, &listener, data, EventFlags::IN);
            added.map_err(|error| Error::wait(error.into()))?;
            self.listeners.push((id, address, listener));
        }
        Ok(())
    }

    /// Where it listens.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().filter_map(|(_, _, listener)| listener.local_addr().ok())
    }

    /// Connections at present.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// What happened since the last call.
    pub fn take_counts(&mut self) -> StreamCounts {
        std::mem::take(&mut self.counts)
    }

    /// When [`Self::handle_timeout`] is wanted next.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.connections.values().filter(|connection| connection.pending == 0);
        waiting.map(|connection| connection.active + self.idle()).chain(self.paused).min()
    }

    /// Closes connections that are idle or stuck; one whose answer is under way is neither.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.paused.take_if(|until| *until <= now).is_some() {
            self.set_accepting(EventFlags::IN);
        }
        let idle = self.idle();
        self.connections.retain(|_, connection| connection.pending > 0 || now < connection.active + idle);
    }

    fn idle(&self) -> Duration {
        if self.connections.len() * 2 > CONNECTIONS_MAX { IDLE_SCARCE } else { IDLE }
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Takes what happened at the sockets.
    ///
    /// # Errors
    /// Where the operating system cannot tell.
    pub fn take(&mut self, now: Instant, questions: &impl Questions) -> Result<(), Error> {
        let mut events = Vec::with_capacity(EVENTS);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&none)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::wait(error.into())),
        }
        for event in events {
            let (id, flags) = (event.data.u64(), event.flags);
            if self.listeners.iter().any(|(listener, ..)| *listener == id) {
                self.accept(now, id, questions);
            } else if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                // Nobody takes answers any more. That is reported whether it is waited for or not, again and again.
                self.connections.remove(&id);
            } else {
                self.serve(now, id, questions);
            }
        }
        Ok(())
    }

    fn accept(&mut self, now: Instant, listener: u64, questions: &impl Questions) {
        for _ in 0..EVENTS {
            let found = self.listeners.iter().find(|(id, ..)| *id == listener);
            let Some((_, _, socket)) = found else { return };
            let (stream, client) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_passing(&error) => return,
                Err(error) => return self.pause(now, &error),
            };
            let client = client.ip().to_canonical();
            if !questions.accepts(client) {
                continue;
            }
            if self.is_too_many(client) {
                self.counts.too_many += 1;
                continue;
            }
            self.counts.accepted += 1;
            if let Err(error) = self.add(now, stream, client) {
                log::debug!("DNS connection from {client}: {error}");
            }
        }
    }

    fn pause(&mut self, now: Instant, error: &io::Error) {
        log::debug!("no DNS connection can be accepted: {error}");
        self.paused = Some(now + RETRY);
        self.set_accepting(EventFlags::empty());
    }

    fn set_accepting(&self, interest: EventFlags) {
        for (id, address, listener) in &self.listeners {
            if let Err(error) = epoll::modify(&self.epoll, listener, EventData::new_u64(*id), interest) {
                log::warn!("{address} (TCP): {error}");
            }
        }
    }

    fn is_too_many(&self, client: IpAddr) -> bool {
        let same = |connection: &&Connection| network_of(connection.client) == network_of(client);
        let of_client = || self.connections.values().filter(same).count();
        self.connections.len() >= CONNECTIONS_MAX
            || !client.is_loopback() && of_client() >= CONNECTIONS_PER_CLIENT
    }

    fn add(&mut self, now: Instant, stream: TcpStream, client: IpAddr) -> io::Result<()> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let (id, interest) = (self.id(), EventFlags::IN);
        epoll::add(&self.epoll, &stream, EventData::new_u64(id), interest)?;
        let connection = Connection {
            stream,
            client,
            input: Vec::new(),
            output: Vec::new(),
            active: now,
            pending: 0,
            ended: false,
            interest,
        };
        self.connections.insert(id, connection);
        Ok(())
    }

    /// Reads, answers and writes what a connection wants.
    fn serve(&mut self, now: Instant, id: u64, questions: &impl Questions) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let mut served = connection.write();
        if served.is_ok() && connection.has_question() && connection.has_room() {
            connection.take_input(now, ConnectionId(id), &[], questions);
            served = connection.write();
        }
        if served.is_ok() && connection.wants_input() {
            self.buffer.resize(READ, 0);
            served = connection.read(now, ConnectionId(id), &mut self.buffer, questions);
        }
        self.settle(id, served);
    }

    /// Delivers an answer that took time, or that there is none.
    pub fn deliver(&mut self, connection: ConnectionId, answer: Option<&[u8]>) {
        let ConnectionId(id) = connection;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.pending = connection.pending.saturating_sub(1);
        if let Some(answer) = answer {
            connection.push(|output| output.extend_from_slice(answer));
        }
        let written = connection.write();
        self.settle(id, written);
    }

    /// Closes a connection that is over; else says what is waited for.
    fn settle(&mut self, id: u64, served: io::Result<()>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let settled = served.and_then(|()| connection.settle(&self.epoll, id));
        if let Err(error) = settled {
            log::trace!("DNS connection from {} ends: {error}", connection.client);
            self.connections.remove(&id);
        }
    }
}

impl AsFd for Streams {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Connection {
    fn wants_input(&self) -> bool {
        !self.ended && self.has_room() && !self.has_question()
    }

    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_MAX && self.pending < PENDING_MAX
    }

    /// Whether a whole question waits until there is room for its answer.
    fn has_question(&self) -> bool {
        split(&self.input).is_some()
    }

    fn read(
        &mut self,
        now: Instant,
        id: ConnectionId,
        buffer: &mut [u8],
        questions: &impl Questions,
    ) -> io::Result<()> {
        for _ in 0..READS {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(length) => {
                    self.take_input(now, id, buffer.get(..length).unwrap_or_default(), questions);
                    self.write()?;
                    if length < buffer.len() || !self.wants_input() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Handles whole questions while there is room for their answers; the rest is kept.
    fn take_input(&mut self, now: Instant, id: ConnectionId, fresh: &[u8], questions: &impl Questions) {
        let mut kept = std::mem::take(&mut self.input);
        let input = if kept.is_empty() {
            fresh
        } else {
            kept.extend_from_slice(fresh);
            kept.as_slice()
        };
        let mut rest = input;
        while self.has_room()
            && let Some((question, behind)) = split(rest)
        {
            let client = self.client;
            let mut later = false;
            self.push(|output| later = questions.handle(client, id, question, output));
            self.pending += usize::from(later);
            self.active = now;
            rest = behind;
        }
        // A question that comes octet by octet is not copied for each of them.
        self.input = if rest.len() == kept.len() { kept } else { rest.to_vec() };
    }

    /// Appends one message with its length in front (RFC 1035, 4.2.2); nothing if `write` appends nothing.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.output.len();
        self.output.extend_from_slice(&[0, 0]);
        write(&mut self.output);
        let length = u16::try_from(self.output.len() - start - 2).unwrap_or(0);
        match self.output.get_mut(start..start + 2) {
            Some(place) if length > 0 => place.copy_from_slice(&length.to_be_bytes()),
            _ => self.output.truncate(start),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.output.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..written);
        if self.output.is_empty() && self.output.capacity() > READ {
            self.output = Vec::new();
        }
        Ok(())
    }

    fn settle(&mut self, epoll: &OwnedFd, id: u64) -> io::Result<()> {
        if self.ended && self.pending == 0 && self.output.is_empty() && !self.has_question() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.wants_input());
        interest.set(EventFlags::OUT, !self.output.is_empty() || self.has_room() && self.has_question());
        if interest != self.interest {
            epoll::modify(epoll, &self.stream, EventData::new_u64(id), interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// Whether the next accept may succeed: nobody waits, or who waited is gone.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
}

/// The first whole message, and what follows.
fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// A listening socket; an IPv6 one takes IPv6 only.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers `x…` with `X…` at once, keeps `l…` for later, says nothing to others.
    #[derive(Default)]
    struct Echo {
        later: Cell<Option<ConnectionId>>,
        closed: bool,
    }

    impl Questions for Echo {
        fn accepts(&self, _: IpAddr) -> bool {
            !self.closed
        }

        fn handle(&self, _: IpAddr, connection: ConnectionId, question: &[u8], output: &mut Vec<u8>) -> bool {
            match question.first() {
                Some(b'x') => output.extend(question.to_ascii_uppercase()),
                Some(b'L') => output.extend([0; 60_000]),
                Some(b'l') => {
                    self.later.set(Some(connection));
                    return true;
                }
                _ => {}
            }
            false
        }
    }

    struct Bench {
        streams: Streams,
        echo: Echo,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let mut streams = Streams::new().unwrap();
            streams.listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
            Self { streams, echo: Echo::default(), now: Instant::now() }
        }

        fn connect(&mut self) -> TcpStream {
            let address = self.streams.addresses().next().unwrap();
            let stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            self.turn();
            stream
        }

        fn turn(&mut self) {
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(1));
                self.streams.take(self.now, &self.echo).unwrap();
            }
        }
    }

    fn framed(text: &[u8]) -> Vec<u8> {
        [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
    }

    fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut text = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut text).ok()?;
        Some(text)
    }

    #[test]
    fn pipelined_questions_are_answered_in_one_go() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        let questions: Vec<u8> =
            (0..100).flat_map(|number| framed(format!("x{number}").as_bytes())).collect();
        client.write_all(&questions).unwrap();
        bench.turn();
        for number in 0..100 {
            assert_eq!(read(&mut client).unwrap(), format!("X{number}").as_bytes());
        }
        assert_eq!(bench.streams.take_counts(), StreamCounts { accepted: 1, too_many: 0 });
    }

    #[test]
    fn a_question_may_come_octet_by_octet() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        for octet in framed(b"xyz") {
            client.write_all(&[octet]).unwrap();
            bench.turn();
        }
        assert_eq!(read(&mut client).unwrap(), b"XYZ");
    }

    #[test]
    fn answers_that_take_time_come_after_others() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.write_all(&[framed(b"later"), framed(b"x"), framed(b"nothing")].concat()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        bench.turn();
        assert_eq!(read(&mut client).unwrap(), b"X");
        bench.streams.handle_timeout(bench.now + IDLE);
        assert!(bench.streams.deadline().is_none());
        let connection = bench.echo.later.get().unwrap();
        bench.streams.deliver(connection, Some(b"answer"));
        assert_eq!(read(&mut client).unwrap(), b"answer");
        assert_eq!(read(&mut client), None);
        bench.turn();
        assert!(bench.streams.is_empty());
        bench.streams.deliver(connection, Some(b"nobody"));
    }

    #[test]
    fn connections_are_bounded_and_idle_ones_are_closed() {
        let mut bench = Bench::new();
        let clients: Vec<_> = (0..CONNECTIONS_MAX + 5).map(|_| bench.connect()).collect();
        assert_eq!(bench.streams.len(), CONNECTIONS_MAX);
        assert_eq!(bench.streams.take_counts(), StreamCounts { accepted: CONNECTIONS_MAX, too_many: 5 });
        assert!(bench.streams.deadline().unwrap() <= bench.now + IDLE_SCARCE);
        bench.streams.handle_timeout(bench.now + IDLE_SCARCE);
        assert!(bench.streams.is_empty() && bench.streams.deadline().is_none());
        drop(clients);
    }

    #[test]
    fn a_client_that_takes_no_answers_is_not_read_from_for_ever() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.set_nonblocking(true).unwrap();
        let question = framed(&[b'x'; 60_000]);
        let mut sent = 0;
        for _ in 0..200 {
            while let Ok(count) = client.write(&question) {
                sent += count;
            }
            bench.turn();
            if bench.streams.connections.values().all(|connection| !connection.wants_input()) {
                break;
            }
        }
        let connection = bench.streams.connections.values().next().unwrap();
        assert!(!connection.wants_input() && sent > 0);
        assert!(connection.output.len() < OUTPUT_MAX + 2 * 60_002);
    }

    #[test]
    fn long_answers_to_pipelined_questions_do_not_pile_up() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.write_all(&[framed(b"L").repeat(1_000), framed(b"x")].concat()).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        bench.turn();
        let connection = bench.streams.connections.values().next().unwrap();
        assert!(connection.output.len() < OUTPUT_MAX + 60_002, "{}", connection.output.len());
        let reader = std::thread::spawn(move || {
            let long = (0..1_000).filter(|_| read(&mut client).is_some_and(|it| it.len() == 60_000)).count();
            (long, read(&mut client), read(&mut client))
        });
        while !reader.is_finished() {
            bench.turn();
        }
        assert_eq!(reader.join().unwrap(), (1_000, Some(b"X".to_vec()), None));
        assert!(bench.streams.is_empty());
    }

    #[test]
    fn questions_wait_where_many_answers_are_under_way() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.write_all(&[framed(b"l").repeat(PENDING_MAX + 1), framed(b"x")].concat()).unwrap();
        bench.turn();
        let pending = |bench: &Bench| bench.streams.connections.values().next().unwrap().pending;
        assert_eq!(pending(&bench), PENDING_MAX);
        let mut events = Vec::with_capacity(EVENTS);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&bench.streams.epoll, spare_capacity(&mut events), Some(&none));
        assert_eq!(count, Ok(0), "the loop does not turn for them");
        let connection = bench.echo.later.get().unwrap();
        for _ in 0..2 {
            bench.streams.deliver(connection, Some(b"answer"));
            bench.turn();
        }
        assert_eq!(pending(&bench), PENDING_MAX - 1);
        let answers = [(); 3].map(|()| read(&mut client).unwrap());
        assert_eq!(answers, [&b"answer"[..], b"answer", b"X"]);
    }

    #[test]
    fn a_connection_that_is_reset_ends_although_answers_are_under_way() {
        let mut bench = Bench::new();
        let mut client = bench.connect();
        client.write_all(&framed(b"l").repeat(PENDING_MAX)).unwrap();
        bench.turn();
        sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
        drop(client);
        bench.turn();
        assert!(bench.streams.is_empty());
    }

    #[test]
    fn an_ipv6_host_has_the_connections_of_one_client() {
        let mut streams = Streams::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for last in 0..CONNECTIONS_PER_CLIENT {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let client = format!("2001:db8::{last:x}").parse().unwrap();
            assert!(!streams.is_too_many(client));
            streams.add(Instant::now(), stream, client).unwrap();
        }
        assert!(streams.is_too_many("2001:db8::ffff".parse().unwrap()));
        assert!(!streams.is_too_many("2001:db8:0:1::1".parse().unwrap()));
    }

    #[test]
    fn after_a_failed_accept_the_next_one_is_tried_later() {
        let mut bench = Bench::new();
        bench.streams.pause(bench.now, &ErrorKind::OutOfMemory.into());
        let _waiting = bench.connect();
        assert!(bench.streams.is_empty());
        let mut events = Vec::with_capacity(EVENTS);
        let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let count = epoll::wait(&bench.streams.epoll, spare_capacity(&mut events), Some(&none));
        assert_eq!(count, Ok(0), "the loop does not turn for it");
        bench.now = bench.streams.deadline().unwrap();
        bench.streams.handle_timeout(bench.now);
        bench.turn();
        assert_eq!((bench.streams.len(), bench.streams.paused), (1, None));
    }

    #[test]
    fn strangers_are_not_accepted() {
        let mut bench = Bench::new();
        bench.echo.closed = true;
        let mut client = bench.connect();
        assert_eq!(read(&mut client), None);
        assert!(bench.streams.is_empty());
    }

    #[test]
    fn another_list_of_addresses_keeps_those_that_stay() {
        let mut bench = Bench::new();
        let kept: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let port = bench.streams.addresses().next().unwrap().port();
        bench.streams.listen(&[kept, "127.0.0.2:0".parse().unwrap()]).unwrap();
        assert_eq!(bench.streams.addresses().count(), 2);
        assert_eq!(bench.streams.addresses().next().unwrap().port(), port);
        let error = bench.streams.listen(&["192.0.2.1:53".parse().unwrap()]).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:53"), "{error}");
        assert_eq!(bench.streams.addresses().count(), 2);
        bench.streams.listen(&[kept]).unwrap();
        assert_eq!(bench.streams.addresses().count(), 1);
    }
}
