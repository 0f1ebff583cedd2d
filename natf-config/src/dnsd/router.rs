//! `config router`: an enrolled router that is told who is about to connect (T4). Its key is in the key file, under the
//! section's name.

use std::net::Ipv4Addr;
use std::num::NonZeroU16;

use crate::fields::{Fields, Report};
use crate::name::{DomainName, is_section_name};
use crate::peer::key_id;
use crate::uci::Section;

const OPTIONS: [&str; 5] = ["domain", "id", "address", "without", "enabled"];

/// One router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsnRouterRow {
    /// The section's name, also the name of the key.
    pub name: String,
    /// These names and all below them are announced.
    pub domains: Vec<DomainName>,
    /// The key id.
    pub id: NonZeroU16,
    /// Where the router is; None: at the address of the answer.
    pub address: Option<Ipv4Addr>,
    /// What a client gets while the router takes no notifications.
    pub without: Without,
    /// Whether its names are announced.
    pub enabled: bool,
    /// The line of the row in the file.
    pub line: u32,
}

/// What a client gets while a router takes no notifications (T6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// No address, so that nobody ends up at the router's own services.
    Refuse,
    /// The address, as from any other DNS server.
    Answer,
}

impl TsnRouterRow {
    /// Reads a row; None if it has no usable name, domain or id, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let name = section.name.clone().filter(|name| is_section_name(name));
        if name.is_none() {
            fields.section_error(
                "the router has no usable name; use config router 'NAME' (at most 64 characters)",
            );
        }
        let domains: Vec<_> = fields
            .many("domain", DomainName::ACCEPTED, |text| text.parse().ok())
            .into_iter()
            .map(|(domain, _)| domain)
            .collect();
        if !section.options.iter().any(|option| option.name == "domain") {
            fields.section_error(format!("list domain is missing; use {}", DomainName::ACCEPTED));
        }
        let id = key_id(&mut fields);
        if id.is_none() && fields.single("id").is_none() {
            fields.section_error("option id is missing; use a number from 1 to 65535");
        }
        let address = fields.one("address", "an IPv4 address such as 203.0.113.1", |text| text.parse().ok());
        let without = fields.one("without", "refuse or answer", |text| match text {
            "refuse" => Some(Without::Refuse),
            "answer" => Some(Without::Answer),
            _ => None,
        });
        Some(TsnRouterRow {
            name: name?,
            domains: (!domains.is_empty()).then_some(domains)?,
            id: id?,
            address,
            without: without.unwrap_or(Without::Refuse),
            enabled: fields.flag("enabled").unwrap_or(true),
            line: section.line,
        })
    }
}
