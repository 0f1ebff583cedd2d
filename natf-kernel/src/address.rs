//! Own IPv4 addresses and routes (rtnetlink): which there are, when they change, and routes of our own.
//!
//! The router must notice that its WAN address is another one, the external node that its network is:
//! [`AddressWatch`] becomes readable at each change and tells only that something changed; what is now
//! true is asked from [`Addresses`]. Routes that we add carry a protocol number of ours, by which they
//! are known again after a restart.

use std::ffi::CString;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_bindings::utils::{IterableChunks, parse_u32, push_header};

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

/// struct rtmsg, and struct ifaddrmsg, which is shorter: family, prefix length, flags, scope, index.
const ROUTE_HEADER: usize = 12;
const ADDRESS_HEADER: usize = 8;

const ROUTE_DESTINATION: u16 = 1;
const ROUTE_OUTPUT: u16 = 4;
const ROUTE_GATEWAY: u16 = 5;
const ROUTE_SOURCE: u16 = 7;
const ADDRESS_ADDRESS: u16 = 1;
const ADDRESS_LOCAL: u16 = 2;

const FAMILY: u8 = 2;
const TABLE_MAIN: u8 = 254;
const SCOPE_UNIVERSE: u8 = 0;
const SCOPE_LINK: u8 = 253;
const SCOPE_NOWHERE: u8 = 255;
const TYPE_UNICAST: u8 = 1;
const TYPE_LOCAL: u8 = 2;

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
        let sequence = self.request(GET_ADDRESS, DUMP, &[FAMILY, 0, 0, 0, 0, 0, 0, 0]);
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
        let message = RouteRequest::to(Network { address: destination, prefix_len: 32 });
        let sequence = self.request(GET_ROUTE, 0, &message.emit());
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
        let scope = if route.gateway.is_some() { SCOPE_UNIVERSE } else { SCOPE_LINK };
        let message =
            RouteRequest { kind: TYPE_UNICAST, scope, route: Some(*route), ..RouteRequest::ours(network) };
        let sequence = self.request(NEW_ROUTE, ACK | CREATE | REPLACE, &message.emit());
        let action = || format!("add a route to {network}");
        match self.netlink.acknowledge(sequence, &action)? {
            0 => Ok(()),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Removes our route to a network; false if we have none.
    pub fn remove_route(&mut self, network: Network) -> Result<bool, KernelError> {
        let message = RouteRequest { scope: SCOPE_NOWHERE, ..RouteRequest::ours(network) };
        let sequence = self.request(DELETE_ROUTE, ACK, &message.emit());
        let action = || format!("remove the route to {network}");
        match self.netlink.acknowledge(sequence, &action)? {
            0 => Ok(true),
            libc::ESRCH => Ok(false),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// The networks that we have routes to, from this run or an earlier one.
    pub fn own_routes(&mut self) -> Result<Vec<Network>, KernelError> {
        let sequence = self.request(GET_ROUTE, DUMP, &[FAMILY, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let mut found = Vec::new();
        self.collect(sequence, &|| "list the routes".into(), |message| {
            if message.kind == NEW_ROUTE && is_own_route(message.payload) {
                found.extend(parse_network(message.payload));
            }
        })?;
        Ok(found)
    }

    /// Writes a request into the datagram; returns its sequence number.
    fn request(&mut self, kind: u16, flags: u16, body: &[u8]) -> u32 {
        let sequence = self.netlink.start(1);
        let out = &mut self.netlink.out;
        let start = begin_plain(out, kind, REQUEST | flags, sequence);
        out.extend(body);
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

/// What a request says about a route: struct rtmsg and its attributes.
///
/// Written by hand: `netlink-packet-route` can do far more, which costs flash (docs/adr/0006-footprint.md).
struct RouteRequest {
    network: Network,
    table: u8,
    protocol: u8,
    scope: u8,
    kind: u8,
    route: Option<Route>,
}

impl RouteRequest {
    /// Names a destination, and leaves everything else open.
    fn to(network: Network) -> Self {
        Self { network, table: 0, protocol: 0, scope: SCOPE_UNIVERSE, kind: 0, route: None }
    }

    /// A route of ours in the main table.
    fn ours(network: Network) -> Self {
        Self { table: TABLE_MAIN, protocol: ROUTE_PROTOCOL, ..Self::to(network) }
    }

    fn emit(&self) -> Vec<u8> {
        let Self { network, table, protocol, scope, kind, .. } = *self;
        let mut out = vec![FAMILY, network.prefix_len, 0, 0, table, protocol, scope, kind, 0, 0, 0, 0];
        push_attribute(&mut out, ROUTE_DESTINATION, network.address.octets());
        if let Some(route) = self.route {
            push_attribute(&mut out, ROUTE_OUTPUT, route.oif.to_ne_bytes());
            for (kind, address) in [(ROUTE_GATEWAY, route.gateway), (ROUTE_SOURCE, route.prefsrc)] {
                if let Some(address) = address {
                    push_attribute(&mut out, kind, address.octets());
                }
            }
        }
        out
    }
}

fn push_attribute(out: &mut Vec<u8>, kind: u16, value: [u8; 4]) {
    push_header(out, kind, 4);
    out.extend(value);
}

/// The value of an attribute that holds an IPv4 address.
fn parse_ipv4(value: &[u8]) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?))
}

/// The header's fixed part of a message about IPv4, and its attributes.
fn parse_message<const N: usize>(payload: &[u8]) -> Option<(&[u8; N], IterableChunks<'_>)> {
    let (header, attributes) = payload.split_first_chunk::<N>()?;
    (header.first() == Some(&FAMILY)).then(|| (header, IterableChunks::new(attributes)))
}

fn parse_address(payload: &[u8]) -> Option<LocalAddress> {
    let (header, attributes) = parse_message::<ADDRESS_HEADER>(payload)?;
    let &[_, prefix_len, _, _, ref ifindex @ ..] = header;
    let (mut local, mut address) = (None, None);
    for (attribute, value) in attributes {
        match attribute.r#type {
            ADDRESS_LOCAL => local = parse_ipv4(value),
            // On a point-to-point interface this is the other end.
            ADDRESS_ADDRESS => address = parse_ipv4(value),
            _ => {}
        }
    }
    let ifindex = parse_u32(ifindex)?;
    let interface = sys::interface_name(ifindex).unwrap_or_default();
    Some(LocalAddress { address: local.or(address)?, prefix_len, ifindex, interface })
}

fn parse_route(payload: &[u8]) -> Option<Route> {
    let (header, attributes) = parse_message::<ROUTE_HEADER>(payload)?;
    let &[_, _, _, _, _, _, _, kind, ..] = header;
    let mut route = Route { oif: 0, gateway: None, prefsrc: None, local: kind == TYPE_LOCAL };
    for (attribute, value) in attributes {
        match attribute.r#type {
            ROUTE_OUTPUT => route.oif = parse_u32(value)?,
            ROUTE_GATEWAY => route.gateway = parse_ipv4(value),
            ROUTE_SOURCE => route.prefsrc = parse_ipv4(value),
            _ => {}
        }
    }
    (route.oif != 0).then_some(route)
}

fn parse_network(payload: &[u8]) -> Option<Network> {
    let (header, mut attributes) = parse_message::<ROUTE_HEADER>(payload)?;
    let &[_, prefix_len, ..] = header;
    let destination = attributes.find(|(attribute, _)| attribute.r#type == ROUTE_DESTINATION);
    let address = destination.map_or(Some(Ipv4Addr::UNSPECIFIED), |(_, value)| parse_ipv4(value))?;
    Some(Network { address, prefix_len })
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
    fn reads_back_the_route_that_it_writes() {
        let network = Network { address: Ipv4Addr::new(240, 0, 0, 0), prefix_len: 8 };
        let gateway = Some(Ipv4Addr::new(192, 0, 2, 1));
        let route = Route { oif: 7, gateway, prefsrc: Some(Ipv4Addr::new(192, 0, 2, 2)), local: false };
        for route in [route, Route { gateway: None, prefsrc: None, ..route }] {
            let message =
                RouteRequest { kind: TYPE_UNICAST, route: Some(route), ..RouteRequest::ours(network) };
            let bytes = message.emit();
            assert!(is_own_route(&bytes));
            assert_eq!((parse_network(&bytes), parse_route(&bytes)), (Some(network), Some(route)));
        }
    }

    #[test]
    fn prefers_the_local_address_to_the_other_end() {
        let mut payload = vec![FAMILY, 32, 0, 0];
        payload.extend(1u32.to_ne_bytes());
        push_attribute(&mut payload, ADDRESS_ADDRESS, [192, 0, 2, 9]);
        let address = |payload: &[u8]| parse_address(payload).map(|found| (found.address, found.prefix_len));
        assert_eq!(address(&payload), Some((Ipv4Addr::new(192, 0, 2, 9), 32)));
        push_attribute(&mut payload, ADDRESS_LOCAL, [192, 0, 2, 1]);
        assert_eq!(address(&payload), Some((Ipv4Addr::new(192, 0, 2, 1), 32)));
        payload[0] = 10;
        assert_eq!(address(&payload), None);
    }

    #[test]
    fn survives_a_damaged_answer() {
        for length in 0..40u8 {
            let payload: Vec<u8> = std::iter::once(FAMILY).chain(1..length).collect();
            let _ = (parse_address(&payload), parse_route(&payload), parse_network(&payload));
        }
    }
}
