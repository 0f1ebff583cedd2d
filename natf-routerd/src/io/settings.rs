//! From what the user wrote (UCI and key file) to what the core works with.

use std::{collections::BTreeSet, ops::RangeInclusive, path::Path};

use natf_config::{
    Access, Enrolled, HostAddress as Place, Hosts, KeyFile, RouterConfig, RouterSettings, Service,
};
use natf_end::io::settings::Configured;
use natf_proto::{HostName, KeyId, PeerKeys};

use super::{end_role::Wanted, ruleset::Rules};
use crate::{
    core::{
        access::{AccessTable, HostAddress, HostRow},
        peer::{PeerSetting, Role},
        registration::Ddns,
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
    /// Where hosts register their names by themselves (T1).
    pub ddns: Vec<Ddns>,
    /// The external node that the router plays for its LAN (N12), if it does.
    pub end: Option<Wanted>,
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
        let (mut limits, mut end) = (limits(&router), None);
        if let Some(configured) = end_role(&config, keys)? {
            let ports = share_ports(&mut limits)?;
            end = Some(Wanted { configured, ports });
        }
        let keys = if config.peers.is_empty() && !keys.exists() { None } else { Some(KeyFile::load(keys)?) };
        if !router.enabled {
            log::warn!("{}: option enabled is '0': nobody is served", config_path.display());
        }
        let peers = config.peers.values().filter(|peer| router.enabled && peer.enabled);
        let peers = peers.map(|peer| peer_setting(peer, keys.as_ref())).collect::<Result<_, _>>()?;
        let rows =
            config.hosts.values().filter(|_| router.enabled).map(host_row).collect::<Result<_, _>>()?;
        let ddns =
            config.ddns.iter().filter(|ddns| router.enabled && ddns.enabled).map(ddns_setting).collect();
        Ok(Self { limits, router, access: AccessTable::new(rows), peers, ddns, end })
    }

    /// What the nftables table depends on.
    pub fn rules(&self) -> Rules {
        let RouterSettings { udp_port, lan, max_guide, .. } = &self.router;
        let ddns = self.ddns.iter().flat_map(|ddns| ddns.servers.iter().copied()).collect();
        let services = self.access.services().collect();
        Rules { udp_port: *udp_port, lan: lan.clone(), max_guide: *max_guide, ddns, services }
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
        max_guide: usize::try_from(router.max_guide).unwrap_or(usize::MAX),
        guide_lifetime: router.guide_lifetime,
        learned_lifetime: router.learned_lifetime,
    }
}

/// The router plays the external node where the section `config end` names the LAN's devices.
fn end_role(config: &RouterConfig, keys: &Path) -> Result<Option<Configured>, Error> {
    match &config.end.end {
        Some(end) if end.enabled && !end.lan.is_empty() => Ok(Some(Configured::new(&config.end, keys)?)),
        _ => Ok(None),
    }
}

/// The upper half of the ports is for flows of the LAN to other homes: two owners never choose the same one.
fn share_ports(limits: &mut Limits) -> Result<RangeInclusive<u16>, Error> {
    let (first, last) = (limits.port_first, limits.port_last);
    let middle = first + last.saturating_sub(first) / 2;
    if middle >= last {
        return Err(Error::Refused(format!(
            "port_min {first} and port_max {last} leave no port for the LAN's own flows (config end); use two ports or more"
        )));
    }
    limits.port_last = middle;
    Ok(middle + 1..=last)
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

fn ddns_setting(row: &natf_config::DdnsRow) -> Ddns {
    let zones = row.zones.iter().map(|zone| zone.as_str().into()).collect();
    Ddns { servers: row.servers.clone(), zones }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n12_the_router_and_its_lan_never_choose_the_same_port() {
        let mut limits = limits(&RouterSettings { port_min: 16384, port_max: 32767, ..Default::default() });
        assert_eq!(share_ports(&mut limits).unwrap(), 24576..=32767);
        assert_eq!((limits.port_first, limits.port_last), (16384, 24575));

        let mut two = limits;
        (two.port_first, two.port_last) = (2000, 2001);
        assert_eq!((share_ports(&mut two).unwrap(), two.port_last), (2001..=2001, 2000));

        let mut one = limits;
        (one.port_first, one.port_last) = (2000, 2000);
        assert!(share_ports(&mut one).unwrap_err().to_string().contains("port_min 2000 and port_max 2000"));
    }

    fn load(router: &str) -> Settings {
        let directory = std::env::temp_dir().join(format!("natf-settings-{}-{router}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let config = directory.join("natf");
        let text = format!(
            "config router 'router'\n\toption enabled '{router}'\nconfig host 'alice'\n\toption ip '192.168.1.10'\n\toption access 'allow'\n\tlist peer 'anyone'\n"
        );
        std::fs::write(&config, text).unwrap();
        let settings = Settings::load(&config, &directory.join("keys")).unwrap();
        std::fs::remove_dir_all(directory).unwrap();
        settings
    }

    #[test]
    fn a_router_that_is_switched_off_serves_nobody() {
        assert!(load("1").access.open_to_anyone());
        let off = load("0");
        assert!(!off.access.open_to_anyone() && off.access.rows().count() == 0 && off.peers.is_empty());
    }
}
