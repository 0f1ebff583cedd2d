//! A kernel's connection table, as far as NAT-f depends on it: one entry per flow and direction, idle timeouts, a limit.

use std::{
    collections::BTreeMap,
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use natf_proto::{KeyId, Transport};

use crate::packet::{Part, Tuple};

/// A TCP connection of which only the first segment was seen.
const SYN_SENT: Duration = Duration::from_secs(120);
/// An established TCP connection; short, so that a run sees the end of forgotten ones.
pub const ESTABLISHED: Duration = Duration::from_secs(110);
/// A TCP connection that is over.
const OVER: Duration = Duration::from_secs(30);
/// UDP without an answer.
const UNREPLIED: Duration = Duration::from_secs(30);
/// UDP with an answer.
pub const STREAM: Duration = Duration::from_secs(120);

/// A flow that the kernel knows.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    /// As its first packet has it.
    pub original: Tuple,
    /// As its answers have it.
    pub reply: Tuple,
    /// An answer was seen, or is taken for granted.
    pub replied: bool,
    /// TCP: both sides agreed.
    pub established: bool,
    /// TCP: closed.
    pub over: bool,
    /// When it is forgotten.
    pub expires: Instant,
    /// Whose mapping it is, on a router.
    pub label: Option<KeyId>,
}

/// Why an entry was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEntry {
    /// Somebody has one of the tuples.
    Exists,
    /// There is no room.
    Full,
}

/// The table.
#[derive(Debug)]
pub struct Conntrack {
    connections: BTreeMap<Tuple, Connection>,
    replies: BTreeMap<Tuple, Tuple>,
    most: usize,
}

impl Conntrack {
    /// An empty table with room for so many.
    pub fn new(most: usize) -> Self {
        Self { connections: BTreeMap::new(), replies: BTreeMap::new(), most }
    }

    /// All that live.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = &Connection> {
        self.connections.values().filter(move |connection| connection.expires > now)
    }

    /// Forgets what has timed out.
    pub fn expire(&mut self, now: Instant) {
        let gone: Vec<_> =
            self.connections.values().filter(|it| it.expires <= now).map(|it| it.original).collect();
        for tuple in gone {
            self.delete(&tuple);
        }
    }

    /// The flow with this original direction.
    pub fn original(&self, now: Instant, tuple: &Tuple) -> Option<&Connection> {
        self.connections.get(tuple).filter(|connection| connection.expires > now)
    }

    /// The flow with this reply direction.
    pub fn reply(&self, now: Instant, tuple: &Tuple) -> Option<&Connection> {
        self.original(now, self.replies.get(tuple)?)
    }

    /// Makes an entry.
    ///
    /// # Errors
    /// [`NoEntry`] where it is in somebody's way, or one too many.
    pub fn insert(&mut self, now: Instant, connection: Connection) -> Result<(), NoEntry> {
        self.expire(now);
        let Connection { original, reply, .. } = connection;
        let taken = |tuple: &Tuple| self.connections.contains_key(tuple) || self.replies.contains_key(tuple);
        if taken(&original) || taken(&reply) {
            return Err(NoEntry::Exists);
        }
        if self.connections.len() >= self.most {
            return Err(NoEntry::Full);
        }
        self.connections.insert(original, connection);
        self.replies.insert(reply, original);
        Ok(())
    }

    /// Makes the entry of a flow that a packet opens.
    ///
    /// # Errors
    /// As [`Self::insert`].
    pub fn open(&mut self, now: Instant, original: Tuple, reply: Tuple) -> Result<(), NoEntry> {
        let expires = now + if original.transport == Transport::Tcp { SYN_SENT } else { UNREPLIED };
        let (replied, established, over, label) = (false, false, false, None);
        self.insert(now, Connection { original, reply, replied, established, over, expires, label })
    }

    /// Deletes an entry.
    pub fn delete(&mut self, original: &Tuple) -> Option<Connection> {
        let connection = self.connections.remove(original)?;
        self.replies.remove(&connection.reply);
        Some(connection)
    }

    /// Lets it wait for so long from now on, if it would not anyway.
    pub fn prolong(&mut self, original: &Tuple, until: Instant) {
        if let Some(connection) = self.connections.get_mut(original) {
            connection.expires = connection.expires.max(until);
        }
    }

    /// A packet of the flow passes; `back` says that it is an answer.
    pub fn see(&mut self, now: Instant, original: &Tuple, part: &Part, back: bool) {
        let Some(connection) = self.connections.get_mut(original) else { return };
        connection.replied |= back;
        if original.transport == Transport::Udp {
            connection.expires = now + if connection.replied { STREAM } else { UNREPLIED };
            return;
        }
        match part {
            Part::Syn | Part::SynAck(_) if !connection.established => connection.expires = now + SYN_SENT,
            Part::Reset => (connection.over, connection.expires) = (true, now + OVER),
            Part::Fin | Part::FinAck => (connection.over, connection.expires) = (true, now + OVER),
            Part::Ask(_) | Part::Answer(..) if !connection.over => {
                (connection.established, connection.expires) = (true, now + ESTABLISHED);
            }
            _ => {}
        }
    }

    /// A SYN on a connection that is over begins a new one.
    pub fn make_way(&mut self, original: &Tuple, part: &Part) {
        let is_over = self.connections.get(original).is_some_and(|connection| connection.over);
        if is_over && *part == Part::Syn {
            self.delete(original);
        }
    }
}

/// A socket with another port.
pub fn with_port(socket: SocketAddrV4, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(*socket.ip(), port)
}
