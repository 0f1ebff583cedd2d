//! Own IPv4 addresses and routes (rtnetlink): which there are, when they change, and routes of our own.
//!
//! The router must notice that its WAN address is another one, the external node that its network is:
//! [`AddressWatch`] becomes readable at each change and tells only that something changed; what is now
//! true is asked from [`Addresses`]. Routes that we add carry a protocol number of ours, by which they
//! are known again after a restart.

use std::ffi::CString;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{Emitable, Parseable};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use crate::error::KernelError;
use crate::netlink::{
    ACK, CREATE, DUMP, Message, Messages, NLMSG_DONE, NLMSG_ERROR, Netlink, REPLACE, REQUEST, begin_plain,
    end_message, open as open_netlink,
};
use crate::sys;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const GET_ROUTE: u16 = 26;

const GROUP_LINK: u32 = 0x1;
const GROUP_IPV4_ADDRESS: u32 = 0x10;
const GROUP_IPV4_ROUTE: u32 = 0x40;

/// Protocol number of the routes that we add.
pub const ROUTE_PROTOCOL: u8 = 0x4e;

/// An IPv4 address of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of its network's prefix.
    pub prefix_len: u8,
    /// Index of the interface that has it.
    pub ifindex: u32,
    /// Name of the interface.
    pub interface: String,
}

/// How a destination is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Index of the interface that packets leave by.
    pub oif: u32,
    /// Next router; none if the destination is a neighbour.
    pub gateway: Option<Ipv4Addr>,
    /// Source address of packets that have none yet.
    pub prefsrc: Option<Ipv4Addr>,
    /// Whether the destination is this machine itself.
    pub local: bool,
}

/// A network: address and length of the prefix (32 for one host).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Length of the prefix, 0 to 32.
    pub prefix_len: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_len)
    }
}

/// The name of an interface.
pub fn interface_name(ifindex: u32) -> Result<String, KernelError> {
    sys::interface_name(ifindex)
        .map_err(|e| KernelError::system(format!("find the name of interface {ifindex}"), "", e))
}

/// The index of an interface; none if there is no such interface.
pub fn interface_index(name: &str) -> Option<u32> {
    sys::interface_index(&CString::new(name).ok()?).ok()
}

/// A command socket for addresses and routes.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
}

impl Addresses {
    /// Opens the socket. Only adding and removing routes needs CAP_NET_ADMIN.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { netlink: Netlink::open(libc::NETLINK_ROUTE, "")? })
    }

    /// All IPv4 addresses of this machine, loopback included, in the kernel's order.
    pub fn local(&mut self) -> Result<Vec<LocalAddress>, KernelError> {
        let mut request = AddressMessage::default();
        request.header.family = AddressFamily::Inet;
        let sequence = self.request(GET_ADDRESS, DUMP, &request);
        let mut found = Vec::new();
        self.collect(sequence, &|| "list the local addresses".into(), |message| {
            if message.kind == NEW_ADDRESS {
                found.extend(parse_address(message.payload));
            }
        })?;
        Ok(found)
    }

    /// How `destination` is reached; none if there is no route to it.
    pub fn route_to(&mut self, destination: Ipv4Addr) -> Result<Option<Route>, KernelError> {
        let message = route_message(Network { address: destination, prefix_len: 32 });
        let sequence = self.request(GET_ROUTE, 0, &message);
        let action = || format!("look up the route to {destination}");
        self.netlink.send(&action)?;
        let mut answer = Ok(None);
        self.netlink.receive(&action, |message| {
            let mine = message.sequence == sequence;
            match message.kind {
                NEW_ROUTE if mine => answer = Ok(parse_route(message.payload)),
                NLMSG_ERROR if mine => answer = Err(message.errno()),
                _ => return false,
            }
            true
        })?;
        match answer {
            Ok(route) => Ok(route),
            // No route, or one that says unreachable, prohibit or blackhole.
            Err(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL) => Ok(None),
            Err(errno) => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Adds a route of ours in the main table, or replaces the one that exists.
    pub fn add_route(&mut self, network: Network, route: &Route) -> Result<(), KernelError> {
        let mut message = own_route(network);
        message.header.kind = RouteType::Unicast;
        message.header.scope = if route.gateway.is_some() { RouteScope::Universe } else { RouteScope::Link };
        message.attributes.push(RouteAttribute::Oif(route.oif));
        message.attributes.extend(route.gateway.map(|ip| RouteAttribute::Gateway(RouteAddress::Inet(ip))));
        message.attributes.extend(route.prefsrc.map(|ip| RouteAttribute::PrefSource(RouteAddress::Inet(ip))));
        let sequence = self.request(NEW_ROUTE, ACK | CREATE | REPLACE, &message);
        let action = || format!("add a route to {network}");
        match self.netlink.acknowledge(sequence, &action)? {
            0 => Ok(()),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Removes our route to a network; false if we have none.
    pub fn remove_route(&mut self, network: Network) -> Result<bool, KernelError> {
        let mut message = own_route(network);
        message.header.scope = RouteScope::NoWhere;
        let sequence = self.request(DELETE_ROUTE, ACK, &message);
        let action = || format!("remove the route to {network}");
        match self.netlink.acknowledge(sequence, &action)? {
            0 => Ok(true),
            libc::ESRCH => Ok(false),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// The networks that we have routes to, from this run or an earlier one.
    pub fn own_routes(&mut self) -> Result<Vec<Network>, KernelError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let sequence = self.request(GET_ROUTE, DUMP, &message);
        let mut found = Vec::new();
        self.collect(sequence, &|| "list the routes".into(), |message| {
            if message.kind == NEW_ROUTE && is_own_route(message.payload) {
                found.extend(parse_network(message.payload));
            }
        })?;
        Ok(found)
    }

    /// Writes a request into the datagram; returns its sequence number.
    fn request(&mut self, kind: u16, flags: u16, body: &dyn Emitable) -> u32 {
        let sequence = self.netlink.start(1);
        let out = &mut self.netlink.out;
        let start = begin_plain(out, kind, REQUEST | flags, sequence);
        let place = out.len();
        out.resize(place.saturating_add(body.buffer_len()), 0);
        body.emit(out.get_mut(place..).unwrap_or_default());
        end_message(out, start);
        sequence
    }

    /// Sends a dump request and hands every message of the answer to `each`.
    fn collect(
        &mut self,
        sequence: u32,
        action: &dyn Fn() -> String,
        mut each: impl FnMut(Message<'_>),
    ) -> Result<(), KernelError> {
        self.netlink.send(action)?;
        let mut errno = 0;
        self.netlink.receive(action, |message| {
            let mine = message.sequence == sequence;
            let last = mine && matches!(message.kind, NLMSG_DONE | NLMSG_ERROR);
            if last {
                errno = message.errno();
            } else if mine {
                each(message);
            }
            last
        })?;
        if errno == 0 { Ok(()) } else { Err(self.netlink.refused(action(), errno, None)) }
    }
}

/// What changed since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// An address came or went.
    pub addresses: bool,
    /// A route came or went (ours do not count).
    pub routes: bool,
    /// An interface came, went, or changed its state.
    pub links: bool,
}

impl Changed {
    /// Whether anything changed.
    pub fn any(self) -> bool {
        self.addresses || self.routes || self.links
    }
}

/// Becomes readable when addresses, routes or interfaces change.
#[derive(Debug)]
pub struct AddressWatch {
    fd: OwnedFd,
    input: Vec<u8>,
}

impl AddressWatch {
    /// Starts watching.
    pub fn open() -> Result<Self, KernelError> {
        let groups = GROUP_LINK | GROUP_IPV4_ADDRESS | GROUP_IPV4_ROUTE;
        let fd = open_netlink(libc::NETLINK_ROUTE, groups, "", 1 << 18)?;
        Ok(Self { fd, input: vec![0; 8192] })
    }

    /// Reads all news that wait and tells what they are about.
    pub fn drain(&mut self) -> Result<Changed, KernelError> {
        let mut changed = Changed::default();
        loop {
            match sys::receive(self.fd.as_fd(), &mut self.input) {
                Ok(length) => match self.input.get(..length) {
                    Some(datagram) => Messages::new(datagram).for_each(|message| note(&mut changed, message)),
                    None => changed = Changed { addresses: true, routes: true, links: true },
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // News were lost: anything may have changed.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    changed = Changed { addresses: true, routes: true, links: true };
                }
                Err(error) => return Err(KernelError::system("watch the addresses", "", error)),
            }
        }
    }
}

impl AsFd for AddressWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn note(changed: &mut Changed, message: Message<'_>) {
    match message.kind {
        NEW_ADDRESS | DELETE_ADDRESS => changed.addresses = true,
        NEW_ROUTE | DELETE_ROUTE if !is_own_route(message.payload) => changed.routes = true,
        NEW_LINK | DELETE_LINK => changed.links = true,
        _ => {}
    }
}

/// struct rtmsg: family, destination and source prefix length, tos, table, protocol, scope, type, flags.
fn is_own_route(payload: &[u8]) -> bool {
    payload.get(5) == Some(&ROUTE_PROTOCOL)
}

fn route_message(network: Network) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = network.prefix_len;
    message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(network.address)));
    message
}

fn own_route(network: Network) -> RouteMessage {
    let mut message = route_message(network);
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message
}

fn parse_address(payload: &[u8]) -> Option<LocalAddress> {
    let message = AddressMessage::parse(payload).ok()?;
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(ip)) => local = Some(*ip),
            // On a point-to-point interface this is the other end.
            AddressAttribute::Address(IpAddr::V4(ip)) => address = Some(*ip),
            _ => {}
        }
    }
    let ifindex = message.header.index;
    let interface = sys::interface_name(ifindex).unwrap_or_default();
    Some(LocalAddress {
        address: local.or(address)?,
        prefix_len: message.header.prefix_len,
        ifindex,
        interface,
    })
}

fn parse_route(payload: &[u8]) -> Option<Route> {
    let message = RouteMessage::parse(payload).ok()?;
    let local = message.header.kind == RouteType::Local;
    let mut route = Route { oif: 0, gateway: None, prefsrc: None, local };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.oif = *index,
            RouteAttribute::Gateway(RouteAddress::Inet(ip)) => route.gateway = Some(*ip),
            RouteAttribute::PrefSource(RouteAddress::Inet(ip)) => route.prefsrc = Some(*ip),
            _ => {}
        }
    }
    (route.oif != 0).then_some(route)
}

fn parse_network(payload: &[u8]) -> Option<Network> {
    let message = RouteMessage::parse(payload).ok()?;
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(ip)) => Some(*ip),
        _ => None,
    });
    let prefix_len = message.header.destination_prefix_length;
    Some(Network { address: address.unwrap_or(Ipv4Addr::UNSPECIFIED), prefix_len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_routes_are_no_news() {
        let payload = |protocol: u8| [2, 8, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0];
        let mut changed = Changed::default();
        note(&mut changed, Message { kind: NEW_ROUTE, sequence: 0, payload: &payload(ROUTE_PROTOCOL) });
        assert!(!changed.any());
        note(&mut changed, Message { kind: NEW_ROUTE, sequence: 0, payload: &payload(3) });
        assert!(changed.routes && !changed.addresses);
    }

    #[test]
    fn survives_a_damaged_answer() {
        for length in 0..40u8 {
            let payload: Vec<u8> = (0..length).collect();
            let _ = (parse_address(&payload), parse_route(&payload), parse_network(&payload));
        }
    }
}
