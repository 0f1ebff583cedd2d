//! Whose first packets these are: this host's own, or those of a LAN behind this router (N12).

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddrV4},
    ops::RangeInclusive,
};

use natf_proto::{Random, Transport};

use crate::flow::Flow;

/// The role of the engine.
#[derive(Debug)]
pub enum Role {
    /// The source of a flow is its source on the outside.
    Host,
    /// Sources are private; each flow gets a port of the router's own address before the far router is asked, so
    /// that the request names what the far router will see (N12).
    Gateway(Gateway),
}

/// The outside of a router that plays the EN for its LAN.
#[derive(Debug)]
pub struct Gateway {
    address: Ipv4Addr,
    ports: RangeInclusive<u16>,
    used: HashSet<(Transport, u16)>,
}

impl Gateway {
    /// A gateway with this outside address and these ports for flows of its LAN.
    pub fn new(address: Ipv4Addr, ports: RangeInclusive<u16>) -> Self {
        Self { address, ports, used: HashSet::new() }
    }

    /// Takes the first free port from a random place on.
    fn take(&mut self, transport: Transport, random: &mut dyn Random) -> Option<u16> {
        let (low, high) = (u32::from(*self.ports.start()), u32::from(*self.ports.end()));
        let size = (high + 1).checked_sub(low)?;
        let start = random.below(size);
        let mut candidates = (0..size).map(|step| low + (start + step) % size);
        let free = |port: u16| !self.used.contains(&(transport, port));
        let port = candidates.find_map(|port| u16::try_from(port).ok().filter(|port| free(*port)))?;
        self.used.insert((transport, port));
        Some(port)
    }
}

impl Role {
    /// The outside source of a new flow; `None` where no port is left.
    pub(crate) fn take_source(&mut self, flow: &Flow, random: &mut dyn Random) -> Option<SocketAddrV4> {
        match self {
            Self::Host => Some(flow.source),
            Self::Gateway(gateway) => {
                let port = gateway.take(flow.transport, random)?;
                Some(SocketAddrV4::new(gateway.address, port))
            }
        }
    }

    /// Takes a source that a flow of a former run uses.
    pub(crate) fn retake_source(&mut self, flow: &Flow, source: SocketAddrV4) {
        if let Self::Gateway(gateway) = self {
            gateway.used.insert((flow.transport, source.port()));
        }
    }

    pub(crate) fn return_source(&mut self, flow: &Flow, source: SocketAddrV4) {
        if let Self::Gateway(gateway) = self {
            gateway.used.remove(&(flow.transport, source.port()));
        }
    }

    pub(crate) fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_))
    }

    /// The outside address has changed; new flows use it.
    pub(crate) fn set_address(&mut self, address: Ipv4Addr) {
        if let Self::Gateway(gateway) = self {
            gateway.address = address;
        }
    }
}
