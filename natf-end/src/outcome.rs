//! What the engine wants done, and how a negotiation can end.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::Duration,
};

use natf_proto::{Grant, Message, Reason};

use crate::flow::{Flow, PacketId};

/// What carries a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// ICMP ECHO (N5).
    Icmp,
    /// UDP to this port of the router.
    Udp(u16),
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.write_str("icmp"),
            Self::Udp(port) => write!(f, "udp/{port}"),
        }
    }
}

/// One thing for the caller to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send a message from `from`, the flow's own outside address.
    Send {
        /// ICMP or UDP.
        carrier: Carrier,
        /// G1.
        from: Ipv4Addr,
        /// G2.
        to: Ipv4Addr,
        /// The message.
        bytes: Box<Message>,
    },
    /// Write the VAT entry (N9) and report by `handle_translated`.
    Translate {
        /// The flow.
        flow: Flow,
        /// Its new destination `G2:m`.
        to: SocketAddrV4,
        /// Its new source `G1:m1`, in a gateway only (N12).
        source: Option<SocketAddrV4>,
    },
    /// Remove the VAT entry, if it still stands.
    Withdraw {
        /// The flow.
        flow: Flow,
        /// Where it was translated to.
        to: SocketAddrV4,
    },
    /// Let these packets pass, in this order (N4).
    Release {
        /// The kernel's numbers.
        packets: Vec<PacketId>,
    },
    /// Let these packets go where the firewall rejects them: the application hears of it at once.
    Refuse {
        /// The kernel's numbers.
        packets: Vec<PacketId>,
        /// Why.
        why: Refusal,
    },
    /// Let this packet vanish, as one that a full queue on its way has no place for.
    Drop {
        /// The kernel's number.
        packet: PacketId,
    },
    /// Look the flow up in the kernel and report by `handle_flow_state`.
    Watch {
        /// The flow.
        flow: Flow,
    },
    /// Delete the flow from the kernel: its next packet starts anew.
    Forget {
        /// The flow.
        flow: Flow,
    },
    /// The DNS answer behind this virtual address is out of date: ask again and report by `handle_targets`.
    Resolve {
        /// V.
        address: Ipv4Addr,
    },
    /// A ping is over.
    Pinged(PingReport),
}

/// Why packets of a flow do not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The virtual address belongs to no name.
    #[error("this virtual address belongs to no name; the name has to be looked up again")]
    UnknownAddress,
    /// The home is not configured any more.
    #[error("its home is not configured any more")]
    UnknownHome,
    /// The name has no address.
    #[error("the name has no address at the moment")]
    NoTarget,
    /// Too many packets wait.
    #[error("too many packets wait for an answer")]
    TooManyHeld,
    /// The table is full of flows that are being negotiated.
    #[error("too many flows are being negotiated")]
    TableFull,
    /// The router said no.
    #[error("the router refused: {}", .0.map_or("for a reason unknown to this version".to_owned(), |reason| reason.to_string()))]
    Router(Option<Reason>),
    /// An enrolled home's router behaves like one without NAT-f.
    #[error("the router at {0} did not recognise our key, or runs no NAT-f")]
    NotRecognised(Ipv4Addr),
    /// Nobody answered.
    #[error("the router at {0} did not answer")]
    Silent(Ipv4Addr),
    /// The router keeps asking for something else.
    #[error("the router at {0} did not accept our counter or cookie")]
    NoAgreement(Ipv4Addr),
    /// The router named an address that no packet may be sent to.
    #[error("the router named {0} for the flow, which is not acceptable")]
    Unacceptable(SocketAddrV4),
    /// The kernel did not take the VAT entry.
    #[error("the kernel did not take the translation")]
    Kernel,
    /// The address of this node that the flow comes from is gone.
    #[error("the address that the flow comes from is gone")]
    SourceGone,
    /// No port is left for the flow, in a gateway.
    #[error("no port is left for the flow")]
    NoPort,
}

impl Refusal {
    /// A short name for JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownAddress => "unknown_address",
            Self::UnknownHome => "unknown_home",
            Self::NoTarget => "no_target",
            Self::TooManyHeld => "too_many_held",
            Self::TableFull => "table_full",
            Self::Router(reason) => reason.map_or("unknown_reason", Reason::name),
            Self::NotRecognised(_) => "not_recognised",
            Self::Silent(_) => "silent",
            Self::NoAgreement(_) => "no_agreement",
            Self::Unacceptable(_) => "unacceptable",
            Self::Kernel => "kernel",
            Self::SourceGone => "source_gone",
            Self::NoPort => "no_port",
        }
    }
}

/// What the kernel did with a VAT entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Translated {
    /// It stands.
    Confirmed,
    /// The port chosen by a gateway is in use for this very peer (N12): choose another.
    PortTaken,
    /// The kernel refused.
    Failed,
}

/// One event of a ping.
#[derive(Debug, Clone, PartialEq)]
pub enum PingEvent {
    /// A request went out.
    Asked {
        /// G2.
        router: Ipv4Addr,
        /// ICMP or UDP.
        carrier: Carrier,
    },
    /// The router asks for a higher counter.
    Stale,
    /// The router asks for a cookie (N15).
    Cookie,
    /// The answer mirrors the question (N10).
    Mirrored(Ipv4Addr),
    /// The router granted a mapping (N8).
    Granted {
        /// The mapping.
        grant: Grant,
        /// Our address as the router sees it.
        observed: Ipv4Addr,
    },
    /// There will be no mapping.
    Refused(Refusal),
    /// The name is not served by NAT-f: applications reach the router itself (N10).
    Plain(SocketAddrV4),
    /// The mapping was ended; false where the router knew of none.
    Ended(bool),
    /// The router did not confirm the end.
    EndUnconfirmed,
}

/// What a ping found out.
#[derive(Debug, Clone, PartialEq)]
pub struct PingReport {
    /// The caller's number.
    pub id: u64,
    /// Who was asked.
    pub name: Rc<str>,
    /// For which flow.
    pub flow: Flow,
    /// Events with the time since the start.
    pub events: Vec<(Duration, PingEvent)>,
}

impl PingReport {
    /// Where applications end up instead, as the name is not served by NAT-f (N10).
    pub fn plain(&self) -> Option<SocketAddrV4> {
        self.events.iter().find_map(|(_, event)| match event {
            PingEvent::Plain(address) => Some(*address),
            _ => None,
        })
    }

    /// Whether a mapping was granted.
    pub fn is_granted(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, PingEvent::Granted { .. }))
    }
}
