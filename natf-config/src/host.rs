//! `config host`: one row of the access control table (N6).

use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;

use crate::fields::{Fields, Report};
use crate::name::{PrivateHostName, is_section_name};
use crate::service::Service;
use crate::uci::Section;
use crate::until;

const OPTIONS: [&str; 7] = ["name", "ip", "mac", "access", "service", "peer", "until"];
const IP: &str = "the host's IPv4 address, such as 192.168.1.10";
const MAC: &str = "the host's MAC address, such as 00:11:22:33:44:55";

/// The word in `list peer` that opens a host to nodes without a key.
pub(crate) const ANYONE: &str = "anyone";

/// One host of the home and who may reach what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// The private host name.
    pub name: PrivateHostName,
    /// How the host is found.
    pub address: HostAddress,
    /// Whether the host may be reached at all.
    pub access: Access,
    /// What may be reached; never empty ([`Service::ALL`] if the user named nothing).
    pub services: Vec<Service>,
    /// Who may reach it.
    pub peers: Peers,
    /// The end of the access, in seconds since 1970.
    pub until: Option<u64>,
    /// The line of the row in the file.
    pub line: u32,
}

/// How a host is found on the LAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostAddress {
    /// By its fixed address.
    Ip(Ipv4Addr),
    /// By its MAC address, whatever address it has at the moment.
    Mac([u8; 6]),
}

/// The row's verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The host may be reached.
    Allow,
    /// The host may not be reached; the default.
    Deny,
}

/// Who may reach a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// The enrolled nodes.
    pub enrolled: Enrolled,
    /// Whether nodes without a key may reach the host. It then is open to every enrolled node, too, whatever
    /// `enrolled` says.
    pub anyone: bool,
}

/// The enrolled nodes that a row names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrolled {
    /// All: the row has no `list peer`.
    Any,
    /// These peer sections. Empty if the row says nothing but `anyone`.
    Named(BTreeSet<String>),
}

impl HostRow {
    /// Reads a row; None if it has no usable name or address, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let name = name(&mut fields);
        let address = address(&mut fields);
        let access = fields.one("access", "allow or deny", |text| match text {
            "allow" => Some(Access::Allow),
            "deny" => Some(Access::Deny),
            _ => None,
        });
        let services = fields.many("service", Service::ACCEPTED, |text| text.parse().ok());
        let mut services: Vec<Service> = services.into_iter().map(|(service, _)| service).collect();
        if services.is_empty() {
            services.push(Service::ALL);
        }
        let peers = peers(&mut fields);
        let until = fields.one("until", until::ACCEPTED, until::parse_until);
        let access = access.unwrap_or(Access::Deny);
        Some(HostRow { name: name?, address: address?, access, services, peers, until, line: section.line })
    }
}

impl fmt::Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostAddress::Ip(address) => address.fmt(f),
            HostAddress::Mac([a, b, c, d, e, g]) => {
                write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
            }
        }
    }
}

fn name(fields: &mut Fields<'_>) -> Option<PrivateHostName> {
    if fields.single("name").is_some() {
        return fields.one("name", PrivateHostName::ACCEPTED, |text| text.parse().ok());
    }
    let Some(name) = &fields.section.name else {
        fields.section_error("the host has no name; use config host 'NAME' or option name 'NAME'");
        return None;
    };
    let parsed = name.parse().ok();
    if parsed.is_none() {
        let accepted = PrivateHostName::ACCEPTED;
        fields
            .section_error(format!("the section's name is not a host name; use option name with {accepted}"));
    }
    parsed
}

fn address(fields: &mut Fields<'_>) -> Option<HostAddress> {
    let (has_ip, has_mac) = (fields.single("ip"), fields.single("mac"));
    let ip = fields.one("ip", IP, |text| text.parse().ok().filter(is_host).map(HostAddress::Ip));
    let mac = fields.one("mac", MAC, |text| parse_mac(text).map(HostAddress::Mac));
    match (has_ip, has_mac) {
        (None, None) => fields.section_error("the host has no address; use option ip or option mac"),
        (Some(_), Some(mac)) => fields.error(mac, "the host has option ip and option mac; use one of them"),
        _ => return ip.or(mac),
    }
    None
}

/// Addresses that one host of a LAN can have.
fn is_host(address: &Ipv4Addr) -> bool {
    let [first, ..] = address.octets();
    (1..224).contains(&first) && first != 127
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part =
            parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    let [first, ..] = mac;
    // The lowest bit of the first byte marks a group of stations.
    (parts.next().is_none() && first & 1 == 0 && mac != [0; 6]).then_some(mac)
}

fn peers(fields: &mut Fields<'_>) -> Peers {
    let accepted = "the name of a config peer section, or anyone";
    let found = fields.many("peer", accepted, |text| is_section_name(text).then(|| text.to_owned()));
    if found.is_empty() {
        return Peers { enrolled: Enrolled::Any, anyone: false };
    }
    let mut named: BTreeSet<String> = found.into_iter().map(|(name, _)| name).collect();
    let anyone = named.remove(ANYONE);
    Peers { enrolled: Enrolled::Named(named), anyone }
}
