//! `config home`: a home that the external node reaches by name.

use std::fmt;
use std::num::NonZeroU16;

use crate::fields::{Fields, Report};
use crate::name::{DomainName, is_section_name};
use crate::peer::{Hosts, key_id};
use crate::router::udp_port;
use crate::uci::Section;

const OPTIONS: [&str; 4] = ["domain", "id", "udp_port", "host"];
const DOMAIN: &str = "a domain name such as home.example.net, or * for all names";

/// One home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeRow {
    /// The section's name, also the name of the key.
    pub name: String,
    /// The names that belong to the home.
    pub domain: HomeDomain,
    /// The key id; None: the node has no key there and asks as anyone.
    pub id: Option<NonZeroU16>,
    /// The port of the router's UDP carrier; None: ICMP only.
    pub udp_port: Option<u16>,
    /// The hosts that are looked for there.
    pub hosts: Hosts,
    /// The line of the row in the file.
    pub line: u32,
}

/// The names of a home.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HomeDomain {
    /// Every name that no other home claims, with the fallback to an ordinary router (N10).
    Any,
    /// The names below this one.
    Name(DomainName),
}

impl HomeRow {
    /// Reads a row; None if it has no usable name or domain, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let name = section.name.clone().filter(|name| is_section_name(name));
        if name.is_none() {
            fields
                .section_error("the home has no usable name; use config home 'NAME' (at most 64 characters)");
        }
        let domain = fields.one("domain", DOMAIN, |text| match text {
            "*" => Some(HomeDomain::Any),
            _ => text.parse().ok().map(HomeDomain::Name),
        });
        if domain.is_none() && fields.single("domain").is_none() {
            fields.section_error(format!("option domain is missing; use {DOMAIN}"));
        }
        let id = key_id(&mut fields);
        if let (Some(HomeDomain::Any), Some(option)) = (&domain, fields.single("id")) {
            fields.error(option, "a home for all names (domain '*') has no key; remove option id");
        }
        let udp_port = udp_port(&mut fields);
        let hosts = Hosts::read(&mut fields);
        Some(HomeRow { name: name?, domain: domain?, id, udp_port, hosts, line: section.line })
    }
}

impl fmt::Display for HomeDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HomeDomain::Any => f.write_str("*"),
            HomeDomain::Name(name) => name.fmt(f),
        }
    }
}
