//! What a home's owner wants, and a second opinion on it: the checks decide by this page, not by the router's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use natf_proto::{HostName, KeyId, PeerKeys, Transport};
use natf_routerd::core::{
    access::{AccessTable, HostAddress, HostRow},
    peer::{PeerSetting, Role},
};

/// A host of a home.
#[derive(Debug, Clone)]
pub struct Host {
    /// Where it is.
    pub address: Ipv4Addr,
    /// `allow` or `deny`.
    pub allow: bool,
    /// The port that is served, by TCP and UDP; `None`: every one.
    pub port: Option<u16>,
    /// Whom it is open to; `None`: every enrolled peer.
    pub peers: Option<BTreeSet<KeyId>>,
    /// Open to peers that are not enrolled, too.
    pub anyone: bool,
    /// Unix seconds from which on it is closed.
    pub until: Option<u64>,
}

/// An enrolled peer.
#[derive(Debug, Clone)]
pub struct Peer {
    /// What it is enrolled for.
    pub role: Role,
    /// Its key.
    pub secret: [u8; 32],
}

/// All of a home.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The hosts, by name.
    pub hosts: BTreeMap<&'static str, Host>,
    /// The peers.
    pub peers: BTreeMap<KeyId, Peer>,
}

impl Policy {
    /// Whether a peer may reach a port of a host now.
    pub fn allows(&self, peer: KeyId, host: &str, port: u16, unix: u64) -> bool {
        self.hosts.get(host).is_some_and(|host| {
            host.allow
                && host.port.is_none_or(|served| served == port)
                && host.until.is_none_or(|until| unix < until)
                && self.is_open_to(host, peer)
        })
    }

    fn is_open_to(&self, host: &Host, peer: KeyId) -> bool {
        match self.peers.contains_key(&peer) {
            true => host.anyone || host.peers.as_ref().is_none_or(|peers| peers.contains(&peer)),
            false => host.anyone && peer == KeyId::ANONYMOUS,
        }
    }

    /// Whether a peer may reach this address and port for the sake of any name.
    pub fn allows_address(&self, peer: KeyId, address: Ipv4Addr, port: u16, unix: u64) -> bool {
        let mut names = self.hosts.iter().filter(|(_, host)| host.address == address).map(|(name, _)| *name);
        names.any(|name| self.allows(peer, name, port, unix))
    }

    /// The same for the router.
    pub fn access_table(&self) -> AccessTable {
        let rows = self.hosts.iter().map(|(name, host)| (host_name(name), row(host)));
        AccessTable::new(rows.collect())
    }

    /// The same for the router.
    pub fn peer_settings(&self) -> Vec<PeerSetting> {
        let setting = |(id, peer): (&KeyId, &Peer)| PeerSetting {
            name: peer_name(*id),
            role: peer.role,
            hosts: BTreeSet::new(),
            keys: PeerKeys::derive(*id, &peer.secret),
            fingerprint: natf_proto::fingerprint(&peer.secret),
        };
        self.peers.iter().map(setting).collect()
    }
}

fn row(host: &Host) -> HostRow {
    let services =
        |port| [format!("tcp:{port}"), format!("udp:{port}")].map(|text| text.parse().unwrap()).to_vec();
    HostRow {
        address: HostAddress::Ip(host.address),
        allow: host.allow,
        services: host.port.map(services).unwrap_or_default(),
        peers: host.peers.as_ref().map(|peers| peers.iter().map(|id| peer_name(*id)).collect()),
        anyone: host.anyone,
        until: host.until,
    }
}

fn peer_name(id: KeyId) -> String {
    format!("peer{}", id.0)
}

/// A name as messages carry it.
pub fn host_name(name: &str) -> HostName {
    name.parse().unwrap()
}

/// Every protocol that can be mapped.
pub const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Udp];
