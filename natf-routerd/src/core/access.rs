//! ACT, the access control table (N6): who may reach which service of which internal node, and where that node is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use natf_config::Service;
use natf_proto::{HostName, Reason, Transport};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requester<'a> {
    /// An enrolled peer.
    Peer {
        /// The name of its `config peer` section.
        name: &'a str,
        /// The hosts that its section names; empty = all that the host rows allow.
        hosts: &'a BTreeSet<HostName>,
    },
    /// Nobody known, but answers reach him (N15).
    Anyone,
}

/// Where an internal node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostAddress {
    /// A static address.
    Ip(Ipv4Addr),
    /// Bound to a link-layer address; follows its lease.
    Mac([u8; 6]),
}

/// One row: `alice := (P1, allow)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRow {
    /// Where the host is.
    pub address: HostAddress,
    /// `allow` or `deny`.
    pub allow: bool,
    /// Which services; empty = all.
    pub services: Vec<Service>,
    /// Which enrolled peers; `None` = every one.
    pub peers: Option<BTreeSet<String>>,
    /// Open to peers that are not enrolled, too.
    pub anyone: bool,
    /// Unix seconds from which on the row is closed.
    pub until: Option<u64>,
}

/// The access control table.
#[derive(Debug, Clone, Default)]
pub struct AccessTable {
    rows: BTreeMap<HostName, HostRow>,
    neighbours: BTreeMap<[u8; 6], Ipv4Addr>,
}

impl AccessTable {
    /// A table of these rows.
    pub fn new(rows: BTreeMap<HostName, HostRow>) -> Self {
        Self { rows, neighbours: BTreeMap::new() }
    }

    /// All rows in the order of their names.
    pub fn rows(&self) -> impl Iterator<Item = (&HostName, &HostRow)> {
        self.rows.iter()
    }

    /// Sets where link-layer addresses are at present (leases, neighbour table).
    pub fn set_neighbours(&mut self, neighbours: BTreeMap<[u8; 6], Ipv4Addr>) {
        self.neighbours = neighbours;
    }

    /// Where link-layer addresses are at present.
    pub fn neighbours(&self) -> &BTreeMap<[u8; 6], Ipv4Addr> {
        &self.neighbours
    }

    /// True where at least one host is open to `anyone`: else the unauthenticated get nothing of ours.
    pub fn open_to_anyone(&self) -> bool {
        self.rows.values().any(|row| row.allow && row.anyone)
    }

    /// What is allowed of any host, whoever asks.
    pub fn services(&self) -> impl Iterator<Item = Service> {
        let allowed = self.rows.values().filter(|row| row.allow);
        allowed
            .flat_map(|row| if row.services.is_empty() { vec![Service::ALL] } else { row.services.clone() })
    }

    /// True where a row is bound to a link-layer address.
    pub fn follows_leases(&self) -> bool {
        self.rows.values().any(|row| matches!(row.address, HostAddress::Mac(_)))
    }

    /// The next moment, in unix seconds, at which a row closes.
    pub fn next_expiry(&self, unix: u64) -> Option<u64> {
        self.rows.values().filter_map(|row| row.until).filter(|until| *until > unix).min()
    }

    /// The address of the row's host, if it is known.
    pub fn address(&self, row: &HostRow) -> Option<Ipv4Addr> {
        match row.address {
            HostAddress::Ip(ip) => Some(ip),
            HostAddress::Mac(mac) => self.neighbours.get(&mac).copied(),
        }
    }

    /// The names of the rows whose host has this address, in their order.
    pub fn names_of(&self, address: Ipv4Addr) -> impl Iterator<Item = &HostName> + Clone {
        self.rows.iter().filter(move |(_, row)| self.address(row) == Some(address)).map(|(name, _)| name)
    }

    /// Decides (paper 001, 3.2 Step5; N6): the inside address of an allowed host, or why not.
    ///
    /// # Errors
    /// The [`Reason`] of the first check that fails, in the order: known, allowed, not expired, peer, service, address.
    pub fn decide(
        &self,
        requester: Requester<'_>,
        host: &HostName,
        transport: Transport,
        port: u16,
        unix: u64,
    ) -> Result<Ipv4Addr, Reason> {
        let row = self.admit(requester, host, unix)?;
        if !row.services.is_empty()
            && !row.services.iter().any(|service| service.allows(transport as u8, port))
        {
            return Err(Reason::ServiceNotAllowed);
        }
        self.address(row).ok_or(Reason::HostAway)
    }

    /// Decides without a service: the row that is open to the requester.
    ///
    /// # Errors
    /// The [`Reason`] of the first check that fails, in the order: known, allowed, not expired, peer.
    pub fn admit(&self, requester: Requester<'_>, host: &HostName, unix: u64) -> Result<&HostRow, Reason> {
        let row = self.rows.get(host).ok_or(Reason::UnknownHost)?;
        if !row.allow {
            return Err(Reason::Denied);
        }
        if row.until.is_some_and(|until| unix >= until || unix < CLOCK_IS_SET) {
            return Err(Reason::Expired);
        }
        if !row.is_open_to(requester, host) {
            return Err(Reason::PeerNotAllowed);
        }
        Ok(row)
    }
}

/// A clock before 2025 has not been set yet: rows with an end stay closed until it is.
const CLOCK_IS_SET: u64 = 1_735_689_600;

impl HostRow {
    fn is_open_to(&self, requester: Requester<'_>, host: &HostName) -> bool {
        match requester {
            Requester::Anyone => self.anyone,
            Requester::Peer { name, hosts } => {
                let named = self.anyone || self.peers.as_ref().is_none_or(|peers| peers.contains(name));
                named && (hosts.is_empty() || hosts.contains(host))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: u64 = 1_795_000_000;
    const P1: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);

    fn row() -> HostRow {
        let address = HostAddress::Ip(P1);
        HostRow { address, allow: true, services: vec![], peers: None, anyone: false, until: None }
    }

    fn decide(row: HostRow, requester: Requester<'_>, port: u16) -> Result<Ipv4Addr, Reason> {
        let alice = "alice".parse().unwrap();
        AccessTable::new([(alice, row)].into()).decide(requester, &alice, Transport::Tcp, port, UNIX)
    }

    fn laptop(hosts: &BTreeSet<HostName>) -> Requester<'_> {
        Requester::Peer { name: "laptop", hosts }
    }

    #[test]
    fn n6_only_a_known_and_allowed_host_is_mapped() {
        let all = BTreeSet::new();
        assert_eq!(decide(row(), laptop(&all), 22), Ok(P1));
        assert_eq!(decide(HostRow { allow: false, ..row() }, laptop(&all), 22), Err(Reason::Denied));
        let table = AccessTable::default();
        let nobody = "nobody".parse().unwrap();
        assert_eq!(table.decide(laptop(&all), &nobody, Transport::Tcp, 22, UNIX), Err(Reason::UnknownHost));
    }

    #[test]
    fn n6_services_peers_and_end_are_checked() {
        let all = BTreeSet::new();
        let ssh = HostRow { services: vec!["tcp:22".parse().unwrap()], ..row() };
        assert_eq!(decide(ssh.clone(), laptop(&all), 22), Ok(P1));
        assert_eq!(decide(ssh, laptop(&all), 23), Err(Reason::ServiceNotAllowed));
        let phone_only = HostRow { peers: Some(["phone".to_owned()].into()), ..row() };
        assert_eq!(decide(phone_only, laptop(&all), 22), Err(Reason::PeerNotAllowed));
        let over = HostRow { until: Some(UNIX), ..row() };
        assert_eq!(decide(over, laptop(&all), 22), Err(Reason::Expired));
        let bob_only = ["bob".parse().unwrap()].into();
        assert_eq!(decide(row(), laptop(&bob_only), 22), Err(Reason::PeerNotAllowed));
    }

    #[test]
    fn n15_strangers_reach_only_what_is_open_to_anyone() {
        assert_eq!(decide(row(), Requester::Anyone, 22), Err(Reason::PeerNotAllowed));
        assert_eq!(decide(HostRow { anyone: true, ..row() }, Requester::Anyone, 22), Ok(P1));
    }

    #[test]
    fn rows_with_an_end_stay_closed_while_the_clock_is_not_set() {
        let (alice, all) = ("alice".parse().unwrap(), BTreeSet::new());
        let table = AccessTable::new([(alice, HostRow { until: Some(UNIX), ..row() })].into());
        assert_eq!(table.decide(laptop(&all), &alice, Transport::Tcp, 22, 30), Err(Reason::Expired));
    }

    #[test]
    fn a_host_bound_to_a_mac_follows_its_lease() {
        let (alice, all) = ("alice".parse().unwrap(), BTreeSet::new());
        let mac = HostRow { address: HostAddress::Mac([2; 6]), ..row() };
        let mut table = AccessTable::new([(alice, mac)].into());
        assert_eq!(table.decide(laptop(&all), &alice, Transport::Tcp, 22, UNIX), Err(Reason::HostAway));
        table.set_neighbours([([2; 6], P1)].into());
        assert_eq!(table.decide(laptop(&all), &alice, Transport::Tcp, 22, UNIX), Ok(P1));
    }
}
