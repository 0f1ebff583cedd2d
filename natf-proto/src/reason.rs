//! Why a router refuses an authenticated peer.

use std::fmt;

/// A refusal that a person can act on; only peers that are authenticated, or returned a cookie, get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Reason {
    /// No such name in the access control table.
    UnknownHost = 1,
    /// The access control table says deny.
    Denied = 2,
    /// The host is allowed, this protocol and port is not.
    ServiceNotAllowed = 3,
    /// The host, or the peer, is not open to this peer.
    PeerNotAllowed = 4,
    /// The row was allowed until a moment that has passed.
    Expired = 5,
    /// A limit of the router is reached (per peer, per host, in total).
    TableFull = 6,
    /// The kernel has no room, or something passing went wrong: try again later.
    Busy = 7,
    /// The router does not know the host's address at the moment.
    HostAway = 8,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::UnknownHost,
        Self::Denied,
        Self::ServiceNotAllowed,
        Self::PeerNotAllowed,
        Self::Expired,
        Self::TableFull,
        Self::Busy,
        Self::HostAway,
    ];

    /// Reads a reason's number; `None` where this program is too old to know it.
    pub fn parse(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// A short name for counters and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::UnknownHost => "unknown_host",
            Self::Denied => "denied",
            Self::ServiceNotAllowed => "service_not_allowed",
            Self::PeerNotAllowed => "peer_not_allowed",
            Self::Expired => "expired",
            Self::TableFull => "table_full",
            Self::Busy => "busy",
            Self::HostAway => "host_away",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownHost => "the router knows no host of this name",
            Self::Denied => "access to this host is denied",
            Self::ServiceNotAllowed => "this service of the host is not allowed",
            Self::PeerNotAllowed => "the host is not open to this peer",
            Self::Expired => "access to this host has expired",
            Self::TableFull => "the router's limit of mappings is reached",
            Self::Busy => "the router is busy, try again later",
            Self::HostAway => "the router does not know the host's address at the moment",
        })
    }
}
