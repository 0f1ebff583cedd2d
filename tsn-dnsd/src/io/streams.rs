//! TCP: connections of clients, many questions on each, answered as they come (RFC 7766).
//!
//! ```text
//!  accept ─▶ Connection ─ read ─▶ input ─▶ question, question … ─▶ answers ─▶ output ─ write ─▶
//!                 │                                └▶ those that take time are delivered later, in any order
//!                 └ closed: idle, stuck, or one of too many
//! ```
//!
//! The connections are waited for in an epoll set of their own, which the daemon's loop waits for as one descriptor: a
//! pipelined question costs no task and no wake-up.

mod connection;

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, ErrorKind},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    buffer::spare_capacity,
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    net::{self, AddressFamily, SocketFlags, SocketType, sockopt},
};

use self::connection::Connection;
use crate::{core::limit::network_of, error::Error};

/// Connections at once.
const CONNECTIONS_MAX: usize = 128;
/// Connections of one client, which is not this host.
const CONNECTIONS_PER_CLIENT: usize = 16;
/// A connection without a question is closed after this time (RFC 7766, 6.2.3) …
const IDLE: Duration = Duration::from_secs(10);
/// … and sooner while connections are scarce.
const IDLE_SCARCE: Duration = Duration::from_secs(2);
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
    /// Closed for a client that has fewer.
    pub displaced: usize,
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
            if !self.make_room_for(client) {
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

    /// Whether a client may have one more connection. Where all are taken, the client with the most gives one up for a
    /// client that has fewer: the one that is idle for longest (RFC 7766, 6.2.3), so that few cannot keep others out.
    fn make_room_for(&mut self, client: IpAddr) -> bool {
        let mut held: BTreeMap<u64, usize> = BTreeMap::new();
        for connection in self.connections.values() {
            *held.entry(network_of(connection.client)).or_default() += 1;
        }
        let own = held.get(&network_of(client)).copied().unwrap_or(0);
        if !client.is_loopback() && own >= CONNECTIONS_PER_CLIENT {
            return false;
        }
        if self.connections.len() < CONNECTIONS_MAX {
            return true;
        }
        let greediest = held.into_iter().max_by_key(|(_, count)| *count);
        let Some((greedy, _)) = greediest.filter(|(_, most)| *most > own + 1) else { return false };
        let of_greedy = self.connections.iter().filter(|(_, held)| network_of(held.client) == greedy);
        let idle = of_greedy.min_by_key(|(id, held)| (held.pending > 0, held.active, **id));
        let Some(id) = idle.map(|(id, _)| *id) else { return false };
        self.connections.remove(&id);
        self.counts.displaced += 1;
        true
    }

    fn add(&mut self, now: Instant, stream: TcpStream, client: IpAddr) -> io::Result<()> {
        let id = self.id();
        let connection = Connection::open(now, stream, client, &self.epoll, id)?;
        self.connections.insert(id, connection);
        Ok(())
    }

    fn serve(&mut self, now: Instant, id: u64, questions: &impl Questions) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let served = connection.serve(now, ConnectionId(id), &mut self.buffer, questions);
        self.settle(id, served);
    }

    /// Delivers an answer that took time, or that there is none.
    pub fn deliver(&mut self, now: Instant, connection: ConnectionId, answer: Option<&[u8]>) {
        let ConnectionId(id) = connection;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let delivered = connection.deliver(now, answer);
        self.settle(id, delivered);
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

/// Whether the next accept may succeed: nobody waits, or who waited is gone.
fn is_passing(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted | ConnectionReset)
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
mod tests;
