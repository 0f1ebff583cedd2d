//! `config ddns`: servers at which hosts of the home register their names by themselves (T1).

use std::net::Ipv4Addr;

use crate::fields::{Fields, Report};
use crate::name::DomainName;
use crate::uci::Section;

const OPTIONS: [&str; 3] = ["server", "zone", "enabled"];
const SERVER: &str = "the IPv4 address of a DNS server";

/// Whose consent makes which names count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DdnsRow {
    /// The servers; never empty.
    pub servers: Vec<Ipv4Addr>,
    /// The zones; names below them count. Never empty.
    pub zones: Vec<DomainName>,
    /// Whether registrations are looked at.
    pub enabled: bool,
    /// The line of the row in the file.
    pub line: u32,
}

impl DdnsRow {
    /// Reads a row; None if it has no usable server or zone, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let servers = fields.many("server", SERVER, |text| {
            text.parse().ok().filter(|address: &Ipv4Addr| {
                !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
            })
        });
        let zones = fields.many("zone", DomainName::ACCEPTED, |text| text.parse().ok());
        for name in ["server", "zone"] {
            if !section.options.iter().any(|option| option.name == name && !option.value.is_empty()) {
                fields.section_error(format!("list {name} is missing; without it no name is ever learned"));
            }
        }
        let enabled = fields.flag("enabled").unwrap_or(true);
        let servers: Vec<_> = servers.into_iter().map(|(server, _)| server).collect();
        let zones: Vec<_> = zones.into_iter().map(|(zone, _)| zone).collect();
        let usable = !servers.is_empty() && !zones.is_empty();
        usable.then_some(DdnsRow { servers, zones, enabled, line: section.line })
    }
}
