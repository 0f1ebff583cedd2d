//! A flow from an application to a virtual address, and what stands behind that address.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{HostName, PeerKeys, Transport};

use crate::relation::Relation;

/// The kernel's number of a held packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub u32);

/// The flow as the application (N12: the LAN host) sees it: `G1:s -> V:d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// TCP or UDP.
    pub transport: Transport,
    /// `G1:s`; in a gateway the LAN host's `P:s`.
    pub source: SocketAddrV4,
    /// `V:d`.
    pub destination: SocketAddrV4,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.transport, self.source, self.destination)
    }
}

/// Who is dialled: what the name relation table knows about a virtual address (N2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dial {
    /// The whole name, for people.
    pub name: Rc<str>,
    /// The private host name.
    pub host: HostName,
    /// Name of the configured home.
    pub home: Rc<str>,
    /// The addresses G2 of the router, in the DNS answer's order.
    pub targets: Vec<Ipv4Addr>,
    /// Whether the targets are covered by the DNS answer's TTL.
    pub fresh: bool,
}

impl Dial {
    /// What a row says; `None` where no router can know such a host name.
    pub fn of(relation: &Relation, now: Instant) -> Option<Self> {
        let name = relation.name();
        Some(Self {
            name: Rc::from(name.full()),
            host: name.host().parse().ok()?,
            home: relation.home().clone(),
            targets: relation.targets().to_vec(),
            fresh: relation.is_fresh(now),
        })
    }
}

/// A configured home as far as negotiating with its router goes.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its name in the configuration.
    pub name: Rc<str>,
    /// The enrolled key; `None` asks anonymously, and then a router without NAT-f is dialled itself (N10).
    pub keys: Option<PeerKeys>,
    /// Port of the second carrier at the router.
    pub udp_port: Option<u16>,
    /// Stands for all names (`*`): nobody vouches for these routers.
    pub wildcard: bool,
}

/// What the kernel's connection tracking says about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFlow {
    /// An answer has been seen.
    pub replied: bool,
    /// TCP is over: TIME_WAIT or CLOSE.
    pub closed: bool,
    /// Until the kernel forgets the flow, if it stays idle.
    pub remaining: Duration,
}

/// A flow found in the kernel after a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoredFlow {
    /// The flow.
    pub flow: Flow,
    /// Where it is translated to: `G2:m`.
    pub mapped: SocketAddrV4,
    /// `G1:s` on the outside of this node; differs from the flow's source in a gateway.
    pub source: SocketAddrV4,
}
