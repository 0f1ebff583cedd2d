//! `config client`: which address the routers see when these clients connect (T4: the source of the guide row).

use std::net::Ipv4Addr;

use super::network::Network;
use crate::fields::{Fields, Report};
use crate::uci::Section;

const OPTIONS: [&str; 2] = ["network", "origin"];
const ORIGIN: &str = "the IPv4 address under which these clients appear on the internet, such as 203.0.113.7";

/// One group of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientRow {
    /// Where these clients ask from.
    pub networks: Vec<Network>,
    /// Where routers see them; None: a public client's own address, else this server's.
    pub origin: Option<Ipv4Addr>,
    /// The line of the row in the file.
    pub line: u32,
}

impl ClientRow {
    /// Reads a row; None if it has no network, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let networks: Vec<_> = fields
            .many("network", Network::ACCEPTED, |text| text.parse().ok())
            .into_iter()
            .map(|(network, _)| network)
            .collect();
        if networks.is_empty() && !section.options.iter().any(|option| option.name == "network") {
            fields.section_error(format!("list network is missing; use {}", Network::ACCEPTED));
        }
        let origin = fields.one("origin", ORIGIN, |text| {
            text.parse().ok().filter(|origin: &Ipv4Addr| !origin.is_unspecified() && !origin.is_multicast())
        });
        (!networks.is_empty()).then_some(ClientRow { networks, origin, line: section.line })
    }
}
