//! From what the user wrote (UCI and key file) to what the core works with.

use std::{collections::BTreeSet, path::Path};

use natf_config::{
    Access, Enrolled, HostAddress as Place, Hosts, KeyFile, RouterConfig, RouterSettings, Service,
};
use natf_proto::{HostName, KeyId, PeerKeys};

use super::ruleset::Rules;
use crate::{
    core::{
        access::{AccessTable, HostAddress, HostRow},
        peer::{PeerSetting, Role},
        router::Limits,
    },
    error::Error,
};

/// Everything that the daemon takes from its files.
pub struct Settings {
    /// The section `config router`.
    pub router: RouterSettings,
    /// Bounds and times.
    pub limits: Limits,
    /// The access control table.
    pub access: AccessTable,
    /// The enrolled peers with their keys.
    pub peers: Vec<PeerSetting>,
    /// The whole file, for the EN role (N12).
    pub config: RouterConfig,
}

impl Settings {
    /// Reads both files.
    ///
    /// # Errors
    /// Everything that is wrong, with file, line, option and value; a peer without key is named, too.
    pub fn load(config: &Path, keys: &Path) -> Result<Self, Error> {
        let config_path = config;
        let config = natf_config::load_router(config).map_err(Error::Config)?;
        for warning in &config.warnings {
            log::warn!("{warning}");
        }
        let router = config.router.clone().ok_or_else(|| {
            Error::Refused(format!(
                "{}: no section 'config router': this is no router's file",
                config_path.display()
            ))
        })?;
        let keys = if config.peers.is_empty() && !keys.exists() { None } else { Some(KeyFile::load(keys)?) };
        let peers = config.peers.values().filter(|peer| peer.enabled);
        let peers = peers.map(|peer| peer_setting(peer, keys.as_ref())).collect::<Result<_, _>>()?;
        let rows = config.hosts.values().map(host_row).collect::<Result<_, _>>()?;
        Ok(Self { limits: limits(&router), router, access: AccessTable::new(rows), peers, config })
    }

    /// What the nftables table depends on.
    pub fn rules(&self) -> Rules {
        Rules { udp_port: self.router.udp_port }
    }
}

fn limits(router: &RouterSettings) -> Limits {
    Limits {
        port_first: router.port_min,
        port_last: router.port_max,
        pending: router.pending,
        max_mappings: usize::try_from(router.max_mappings).unwrap_or(usize::MAX),
        max_per_peer: router.max_per_peer,
        max_per_host: router.max_per_host,
        max_anyone: router.max_anyone,
    }
}

fn host_row(row: &natf_config::HostRow) -> Result<(HostName, HostRow), Error> {
    let name = host_name(row.name.as_str())?;
    let address = match row.address {
        Place::Ip(ip) => HostAddress::Ip(ip),
        Place::Mac(mac) => HostAddress::Mac(mac),
    };
    let peers = match &row.peers.enrolled {
        Enrolled::Any => None,
        Enrolled::Named(names) => Some(names.clone()),
    };
    // "Everything" is the core's empty list.
    let services = if row.services == [Service::ALL] { Vec::new() } else { row.services.clone() };
    let (allow, anyone, until) = (row.access == Access::Allow, row.peers.anyone, row.until);
    Ok((name, HostRow { address, allow, services, peers, anyone, until }))
}

fn host_name(name: &str) -> Result<HostName, Error> {
    name.parse().map_err(|error| Error::Refused(format!("host '{name}': {error}")))
}

fn peer_setting(peer: &natf_config::PeerRow, keys: Option<&KeyFile>) -> Result<PeerSetting, Error> {
    let id = KeyId(peer.id.get());
    let missing =
        || Error::Refused(format!("peer '{}': there is no key file; use 'natf-routerd peer add'", peer.name));
    let key = keys.ok_or_else(missing)?.key(&peer.name, peer.id)?;
    let hosts = match &peer.hosts {
        Hosts::All => BTreeSet::new(),
        Hosts::Named(names) => names.iter().map(|name| host_name(name.as_str())).collect::<Result<_, _>>()?,
    };
    let role = match peer.role {
        natf_config::Role::Node => Role::Node,
        natf_config::Role::Tsn => Role::Tsn,
        natf_config::Role::Sip => Role::Sip,
    };
    let keys = PeerKeys::derive(id, key.as_bytes());
    let fingerprint = natf_proto::fingerprint(key.as_bytes());
    Ok(PeerSetting { name: peer.name.clone(), role, hosts, keys, fingerprint })
}
