//! `config peer`: an enrolled node. Its key is in the key file, under the same name.

use std::collections::BTreeSet;
use std::fmt;
use std::num::NonZeroU16;

use crate::fields::{Fields, Report};
use crate::host::ANYONE;
use crate::name::{PrivateHostName, is_section_name};
use crate::uci::Section;

const OPTIONS: [&str; 4] = ["id", "role", "host", "enabled"];

/// One enrolled node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRow {
    /// The section's name, also the name of the key.
    pub name: String,
    /// The key id in its messages.
    pub id: NonZeroU16,
    /// What kind of node it is.
    pub role: Role,
    /// The hosts that it may ask for, as far as their rows allow.
    pub hosts: Hosts,
    /// Whether its requests are served.
    pub enabled: bool,
    /// The line of the row in the file.
    pub line: u32,
}

/// The kind of an enrolled node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An external node (NAT-f).
    Node,
    /// A TSN server.
    Tsn,
    /// A SIP proxy.
    Sip,
}

/// A choice of private host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hosts {
    /// All: there is no `list host`.
    All,
    /// Only these.
    Named(BTreeSet<PrivateHostName>),
}

impl PeerRow {
    /// Reads a row; None if it has no usable name or id, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let name = name(&mut fields);
        let id = key_id(&mut fields);
        if id.is_none() && fields.single("id").is_none() {
            fields.section_error("option id is missing; use a number from 1 to 65535");
        }
        let role = fields.one("role", "node, tsn or sip", |text| match text {
            "node" => Some(Role::Node),
            "tsn" => Some(Role::Tsn),
            "sip" => Some(Role::Sip),
            _ => None,
        });
        let hosts = Hosts::read(&mut fields);
        let enabled = fields.flag("enabled").unwrap_or(true);
        let role = role.unwrap_or(Role::Node);
        Some(PeerRow { name: name?, id: id?, role, hosts, enabled, line: section.line })
    }
}

impl Hosts {
    /// Tells whether the choice contains a name, which is given in lower case.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Hosts::All => true,
            Hosts::Named(names) => names.contains(name),
        }
    }

    pub(crate) fn read(fields: &mut Fields<'_>) -> Self {
        let found = fields.many("host", PrivateHostName::ACCEPTED, |text| text.parse().ok());
        if found.is_empty() {
            Hosts::All
        } else {
            Hosts::Named(found.into_iter().map(|(name, _)| name).collect())
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Node => "node",
            Role::Tsn => "tsn",
            Role::Sip => "sip",
        })
    }
}

/// `option id`: the key id, 0 being the anonymous one.
pub(crate) fn key_id(fields: &mut Fields<'_>) -> Option<NonZeroU16> {
    fields.number("id", 1..=65_535).and_then(NonZeroU16::new)
}

fn name(fields: &mut Fields<'_>) -> Option<String> {
    let problem = match fields.section.name.as_deref() {
        None => "the peer has no name; use config peer 'NAME'",
        Some(ANYONE) => "'anyone' means the nodes without a key; use another name",
        Some(name) if !is_section_name(name) => "the name is longer than 64 characters",
        Some(name) => return Some(name.to_owned()),
    };
    fields.section_error(problem);
    None
}
