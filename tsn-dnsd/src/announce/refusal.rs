//! Why a client gets no address, in words of DNS.

use std::fmt;

use natf_proto::Reason;

/// The name exists, its router's host cannot be reached by this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The router says no; without a reason where this program is too old to know it.
    Router(Option<Reason>),
    /// The router takes no notifications: it has no TSN, its daemon is stopped, or the key is a wrong one.
    NotCapable,
    /// The router says nothing.
    Silent,
    /// A name that does not fit a notification.
    Name,
    /// Nothing tells the client's IPv4 address.
    NoOrigin,
    /// Too many notifications are under way.
    Busy,
}

impl Refusal {
    /// The extended DNS error (RFC 8914, 5.2).
    pub fn extended_error(self) -> u16 {
        const PROHIBITED: u16 = 18;
        const NO_REACHABLE_AUTHORITY: u16 = 22;
        const NETWORK_ERROR: u16 = 23;
        match self {
            Self::Router(_) | Self::NoOrigin | Self::Name => PROHIBITED,
            Self::NotCapable => NO_REACHABLE_AUTHORITY,
            Self::Silent | Self::Busy => NETWORK_ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router(Some(reason)) => write!(f, "refused by the router: {reason}"),
            Self::Router(None) => f.write_str("refused by the router"),
            Self::NotCapable => {
                f.write_str("the router takes no notifications (not running, or another key?)")
            }
            Self::Silent => f.write_str("the router does not answer"),
            Self::Name => {
                f.write_str("the name does not fit a notification (64 bytes of letters, digits, '-', '_')")
            }
            Self::NoOrigin => f.write_str("the client's IPv4 address is not known (option origin)"),
            Self::Busy => f.write_str("too many notifications are under way"),
        }
    }
}
