//! From what the user wrote (UCI and key file) to what a node works with.

use std::{path::Path, rc::Rc};

use natf_config::{EndConfig, EndSettings, HomeDomain, HomeRow, Hosts, KeyFile};
use natf_proto::{KeyId, PeerKeys};

use super::{resolver::Served, ruleset::Rules};
use crate::{
    dns::Homes, engine::Silent, error::Error, flow::Home, relation::Limits, virtual_address::VirtualPrefix,
};

/// Everything that a node takes from its files.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The section `config end`.
    pub end: EndSettings,
    /// The homes, as the engine sees them.
    pub homes: Vec<Home>,
    /// The homes, as the DNS rewriting sees them.
    pub names: Homes,
    /// The block of virtual addresses.
    pub prefix: VirtualPrefix,
}

impl Configured {
    /// Takes the configuration and the keys of its homes.
    ///
    /// # Errors
    /// A home with an id whose key is missing or has another id, a name or a domain that cannot be used.
    pub fn new(config: &EndConfig, keys: &Path) -> Result<Self, Error> {
        let needs_keys = config.homes.values().any(|home| home.id.is_some());
        let keys = if needs_keys { Some(KeyFile::load(keys)?) } else { None };
        let end = config.end.clone().unwrap_or_default();
        let prefix = end.virtual_net.to_string().parse()?;
        let mut names = Homes::new();
        let mut homes = Vec::new();
        for row in config.homes.values() {
            let hosts: Vec<&str> = match &row.hosts {
                Hosts::All => Vec::new(),
                Hosts::Named(named) => named.iter().map(|name| name.as_str()).collect(),
            };
            names.add(&row.name, &row.domain.to_string(), hosts)?;
            homes.push(home(row, keys.as_ref())?);
        }
        Ok(Self { end, homes, names, prefix })
    }

    /// What the nftables table depends on.
    pub fn rules(&self) -> Rules {
        Rules { prefix: self.prefix, lan: self.end.lan.clone(), ftp: true }
    }

    /// Whose names the system's resolver has to ask for here.
    pub fn served(&self) -> Served {
        let has_keys = self.homes.iter().any(|home| home.keys.is_some());
        Served { domains: self.names.domains().map(str::to_owned).collect(), has_keys }
    }

    /// For homes without key.
    pub fn silent(&self) -> Silent {
        match self.end.silent {
            natf_config::Silent::Refuse => Silent::Refuse,
            natf_config::Silent::Release => Silent::Release,
        }
    }

    /// Bounds of the name relation table.
    pub fn relations(&self) -> Limits {
        Limits { quarantine: self.end.quarantine, ..Limits::default() }
    }
}

fn home(row: &HomeRow, keys: Option<&KeyFile>) -> Result<Home, Error> {
    let keys = match (row.id, keys) {
        (Some(id), Some(keys)) => {
            Some(PeerKeys::derive(KeyId(id.get()), keys.key(&row.name, id)?.as_bytes()))
        }
        _ => None,
    };
    let wildcard = matches!(row.domain, HomeDomain::Any);
    Ok(Home { name: Rc::from(row.name.as_str()), keys, udp_port: row.udp_port, wildcard })
}
