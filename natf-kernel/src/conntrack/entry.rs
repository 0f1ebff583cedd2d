//! What stands in the connection tracking table, and what is asked to be put there.

use std::net::SocketAddrV4;
use std::time::Duration;

/// Status bit: packets were seen in both directions.
pub const STATUS_SEEN_REPLY: u32 = 1 << 1;
/// Status bit: the entry may not be evicted when the table is full.
pub const STATUS_ASSURED: u32 = 1 << 2;
/// Status bit: the entry is in the table.
pub const STATUS_CONFIRMED: u32 = 1 << 3;
/// Status bit: the entry's source is translated.
pub const STATUS_SRC_NAT: u32 = 1 << 4;
/// Status bit: the entry's destination is translated.
pub const STATUS_DST_NAT: u32 = 1 << 5;

/// A conntrack label: 128 bits, as bytes in the kernel's own order.
pub type Label = [u8; 16];

/// A tuple: one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// IP protocol number (6 or 17; for ICMP the ports are 0).
    pub proto: u8,
    /// Where its packets come from.
    pub source: SocketAddrV4,
    /// Where they go to.
    pub destination: SocketAddrV4,
}

impl Flow {
    /// The opposite direction without any translation.
    pub fn inverse(self) -> Self {
        Self { proto: self.proto, source: self.destination, destination: self.source }
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.proto {
            6 => "tcp",
            17 => "udp",
            1 => "icmp",
            other => return write!(f, "proto {other} {} -> {}", self.source, self.destination),
        };
        write!(f, "{protocol} {} -> {}", self.source, self.destination)
    }
}

/// An entry to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The tuple of the first packet, as it arrives.
    pub original: Flow,
    /// Where its destination is translated to.
    pub dnat: Option<SocketAddrV4>,
    /// What its source is translated to. None keeps the source unless the answers' tuple is taken: then
    /// the kernel gives it another port of its own choice. To be refused (EEXIST) instead, name the
    /// source itself here.
    pub snat: Option<SocketAddrV4>,
    /// Lifetime; the kernel's own timeouts apply from the first packet on. Whole seconds, at least one.
    pub timeout: Duration,
    /// Label of the entry.
    pub label: Option<Label>,
    /// Name of a conntrack helper, such as `ftp`.
    pub helper: Option<&'a str>,
}

/// Why the kernel did not insert an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The original or the reply tuple is taken (EEXIST): try another port.
    #[error("the tuple is taken by another flow")]
    Exists,
    /// The table is full and nothing can be evicted (ENOMEM).
    #[error("the connection tracking table is full")]
    Full,
    /// Anything else, with the errno.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Kernel(i32),
}

impl InsertError {
    pub(super) fn from_errno(errno: i32) -> Result<(), Self> {
        match errno {
            0 => Ok(()),
            libc::EEXIST => Err(Self::Exists),
            libc::ENOMEM => Err(Self::Full),
            other => Err(Self::Kernel(other)),
        }
    }
}

/// Packets and bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP header included.
    pub bytes: u64,
}

/// State of a TCP flow as conntrack sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Nothing was seen yet; so are inserted entries until their first packet.
    None,
    /// SYN seen.
    SynSent,
    /// SYN and SYN-ACK seen.
    SynReceived,
    /// Open.
    Established,
    /// The first FIN was seen.
    FinWait,
    /// The first FIN was acknowledged.
    CloseWait,
    /// The second FIN was seen.
    LastAck,
    /// Closed in order.
    TimeWait,
    /// Closed by a reset.
    Close,
    /// Both sides sent a SYN.
    SimultaneousOpen,
    /// A value that this program does not know.
    Other(u8),
}

impl TcpState {
    pub(super) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SimultaneousOpen,
            other => Self::Other(other),
        }
    }

    /// Whether the connection is over and only its entry is left.
    pub fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Close)
    }
}

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Tuple of the direction that was seen first.
    pub original: Flow,
    /// Tuple of the answers, translations included.
    pub reply: Flow,
    /// Remaining lifetime, whole seconds. While a flow is offloaded the kernel tells none and keeps the entry: a day.
    pub timeout: Duration,
    /// Status bits, see the `STATUS_` constants.
    pub status: u32,
    /// TCP state, if it is a TCP flow.
    pub tcp_state: Option<TcpState>,
    /// Label, if the entry has one.
    pub label: Option<Label>,
    /// Counters of the original and of the reply direction, if nf_conntrack_acct is on.
    pub counters: Option<(Counters, Counters)>,
    /// Original tuple of the flow that a helper expected this one for: FTP's control connection, say.
    pub master: Option<Flow>,
}
