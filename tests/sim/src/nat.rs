//! A carrier's NAT before external nodes and clients: changes address and port, forgets idle flows and, when it
//! restarts, all of them.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use natf_proto::Transport;

use crate::{
    dice::Dice,
    packet::{Load, Packet, Part, Tuple},
};

/// How long an idle flow keeps its port.
const IDLE: Duration = Duration::from_secs(60);
/// The same for a TCP connection.
const IDLE_TCP: Duration = Duration::from_secs(600);

#[derive(Debug, Clone, Copy)]
struct Binding {
    inside: SocketAddrV4,
    /// The only one who may answer.
    remote: SocketAddrV4,
    used: Instant,
}

/// The NAT.
#[derive(Debug)]
pub struct Nat {
    /// Its address in the internet.
    pub address: Ipv4Addr,
    flows: BTreeMap<(Transport, u16), Binding>,
    /// Identifiers of pings, by the one outside.
    echoes: BTreeMap<u16, (Ipv4Addr, u16)>,
    dice: Dice,
}

impl Nat {
    /// A NAT at this address.
    pub fn new(address: Ipv4Addr, dice: Dice) -> Self {
        Self { address, flows: BTreeMap::new(), echoes: BTreeMap::new(), dice }
    }

    /// It restarts: all flows get other ports.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.echoes.clear();
    }

    /// A packet from within goes out.
    pub fn outward(&mut self, now: Instant, mut packet: Packet) -> Packet {
        let inside = packet.from;
        match (packet.tuple(), &mut packet.load) {
            (Some(tuple), _) => {
                let port = self.port(now, &tuple);
                return packet.translated(Tuple { source: SocketAddrV4::new(self.address, port), ..tuple });
            }
            (None, Load::Echo { id, .. }) => *id = self.echo_id(inside, *id),
            (None, Load::Data(_)) => {}
        }
        packet.from = self.address;
        packet
    }

    /// A packet from outside comes in; `None` where it belongs to nobody.
    pub fn inward(&mut self, now: Instant, mut packet: Packet) -> Option<Packet> {
        if let Some(tuple) = packet.tuple() {
            let binding = self.flows.get_mut(&(tuple.transport, tuple.destination.port()))?;
            if binding.remote != tuple.source {
                return None;
            }
            binding.used = now;
            return Some(packet.translated(Tuple { destination: binding.inside, ..tuple }));
        }
        let Load::Echo { id, reply: true, .. } = &mut packet.load else { return None };
        let (inside, own) = *self.echoes.get(id)?;
        *id = own;
        packet.to = inside;
        Some(packet)
    }

    fn port(&mut self, now: Instant, tuple: &Tuple) -> u16 {
        let idle = if tuple.transport == Transport::Tcp { IDLE_TCP } else { IDLE };
        self.flows
            .retain(|(transport, _), binding| *transport != tuple.transport || now < binding.used + idle);
        let own = |((transport, _), binding): &(&(Transport, u16), &mut Binding)| {
            *transport == tuple.transport
                && binding.inside == tuple.source
                && binding.remote == tuple.destination
        };
        if let Some(((_, port), binding)) = self.flows.iter_mut().find(own) {
            binding.used = now;
            return *port;
        }
        let port = self.free_port(tuple.transport);
        let binding = Binding { inside: tuple.source, remote: tuple.destination, used: now };
        self.flows.insert((tuple.transport, port), binding);
        port
    }

    fn free_port(&mut self, transport: Transport) -> u16 {
        loop {
            let port = self.dice.between(1024, 65_535) as u16;
            if !self.flows.contains_key(&(transport, port)) {
                return port;
            }
        }
    }

    fn echo_id(&mut self, inside: Ipv4Addr, id: u16) -> u16 {
        let known = self.echoes.iter().find(|(_, own)| **own == (inside, id)).map(|(outside, _)| *outside);
        known.unwrap_or_else(|| {
            let outside = self.dice.between(1, 65_535) as u16;
            self.echoes.insert(outside, (inside, id));
            outside
        })
    }
}

/// Whether this opens a flow by itself.
pub fn is_first(part: &Part, transport: Transport) -> bool {
    transport == Transport::Udp || *part == Part::Syn
}
