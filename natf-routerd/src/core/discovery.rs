//! Who is on the LAN, and which row of the access control table covers it (N13).
//!
//! ```text
//!   DHCP leases ──────┐
//!   neighbour table ──┼─▶ discover ─▶ address, MAC, names, rows, a proposal ─▶ the user, who decides
//!   NetBIOS names ────┤
//!   updates (T1) ─────┘
//! ```
//!
//! All of it is hearsay: a host chooses its name, and on a LAN it can take another one's address for a while. So a
//! proposal binds the new row to the MAC, nothing is ever allowed by itself, and a host that calls itself by the name
//! of somebody else's row is marked.

use std::{collections::BTreeMap, net::Ipv4Addr};

use natf_proto::HostName;

use super::access::{AccessTable, HostAddress};

/// Most hosts that are shown; leases come first.
pub const MAX_FOUND: usize = 512;
/// Most names of one host.
const MAX_NAMES: usize = 8;

/// A link-layer address.
pub type Mac = [u8; 6];

/// A DHCP lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// To whom.
    pub mac: Mac,
    /// Which address.
    pub address: Ipv4Addr,
    /// What the client calls itself.
    pub name: Option<HostName>,
}

/// Where something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A DHCP lease.
    Lease,
    /// The kernel's neighbour table.
    Neighbour,
    /// The host's answer to a NetBIOS node status request.
    NetBios,
    /// A dynamic update (T1).
    Update,
}

impl Source {
    /// The source's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Neighbour => "neighbour",
            Self::NetBios => "netbios",
            Self::Update => "update",
        }
    }
}

/// A host that was seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Where it was seen, in the order of [`Source`].
    pub seen: Vec<Source>,
    /// What it calls itself, and where.
    pub names: Vec<(HostName, Source)>,
}

impl Found {
    fn add(&mut self, source: Source, name: Option<HostName>) {
        if !self.seen.contains(&source) {
            self.seen.push(source);
        }
        self.names.extend(name.filter(|_| self.names.len() < MAX_NAMES).map(|name| (name, source)));
    }
}

/// Everything that was seen, by address and link-layer address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Discovered(BTreeMap<(Ipv4Addr, Option<Mac>), Found>);

impl Discovered {
    /// Puts together what is known; beyond [`MAX_FOUND`] hosts nobody is added.
    pub fn new(
        leases: impl IntoIterator<Item = Lease>,
        neighbours: impl IntoIterator<Item = (Mac, Ipv4Addr)>,
        netbios: impl IntoIterator<Item = (Ipv4Addr, HostName)>,
        updates: impl IntoIterator<Item = (Ipv4Addr, HostName)>,
    ) -> Self {
        let mut found = Self::default();
        for lease in leases {
            found.add(lease.address, Some(lease.mac), Source::Lease, lease.name);
        }
        for (mac, address) in neighbours {
            found.add(address, Some(mac), Source::Neighbour, None);
        }
        let netbios = netbios.into_iter().map(|it| (it, Source::NetBios));
        let updates = updates.into_iter().map(|it| (it, Source::Update));
        for ((address, name), source) in netbios.chain(updates) {
            found.name(address, name, source);
        }
        found
    }

    fn add(&mut self, address: Ipv4Addr, mac: Option<Mac>, source: Source, name: Option<HostName>) {
        let key = (address, mac);
        if self.0.len() < MAX_FOUND || self.0.contains_key(&key) {
            self.0.entry(key).or_default().add(source, name);
        }
    }

    /// Names come by address only: they belong to whoever has it, and to all where two claim it.
    fn name(&mut self, address: Ipv4Addr, name: HostName, source: Source) {
        let mut known = false;
        for (_, found) in self.0.range_mut((address, None)..=(address, Some([0xff; 6]))) {
            found.add(source, Some(name));
            known = true;
        }
        if !known {
            self.add(address, None, source, Some(name));
        }
    }

    /// The hosts in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, Option<Mac>, &Found)> {
        self.0.iter().map(|((address, mac), found)| (*address, *mac, found))
    }
}

/// The rows that cover a host: of its address, or bound to its link-layer address.
pub fn rows_of(access: &AccessTable, address: Ipv4Addr, mac: Option<Mac>) -> impl Iterator<Item = &HostName> {
    let covers = move |place: HostAddress| match place {
        HostAddress::Ip(ip) => ip == address,
        HostAddress::Mac(bound) => Some(bound) == mac,
    };
    access.rows().filter(move |(_, row)| covers(row.address)).map(|(name, _)| name)
}

/// The first label of a name that the host has, if no row has that name.
pub fn proposal(access: &AccessTable, found: &Found) -> Option<HostName> {
    let free = |name: &HostName| access.rows().all(|(row, _)| row != name);
    found.names.iter().filter_map(|(name, _)| first_label(name)).find(free)
}

/// Rows whose names the host takes, though they are bound to others.
pub fn claims<'a>(
    access: &'a AccessTable,
    address: Ipv4Addr,
    mac: Option<Mac>,
    found: &Found,
) -> Vec<&'a HostName> {
    let own: Vec<_> = rows_of(access, address, mac).collect();
    let taken = |row: &HostName| found.names.iter().any(|(name, _)| first_label(name).as_ref() == Some(row));
    access.rows().map(|(row, _)| row).filter(|row| !own.contains(row) && taken(row)).collect()
}

fn first_label(name: &HostName) -> Option<HostName> {
    name.as_str().split('.').next()?.parse().ok()
}

/// A name of hearsay as a private host name: spaces and signs become `-`; none if nothing is left.
pub fn clean_name(text: &[u8]) -> Option<HostName> {
    let sign = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => char::from(*byte),
        _ => '-',
    };
    let name: String = text.iter().map(sign).collect();
    name.trim_matches(['-', '.']).parse().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::core::access::HostRow;

    const MAC: Mac = [2, 0, 0, 0, 0, 0x50];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 242);

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    fn table(rows: &[(&str, HostAddress)]) -> AccessTable {
        let row = |address| HostRow {
            address,
            allow: true,
            services: vec![],
            peers: None,
            anyone: false,
            until: None,
        };
        AccessTable::new(rows.iter().map(|(host, address)| (name(host), row(*address))).collect())
    }

    fn lease(text: Option<&str>) -> Lease {
        Lease { mac: MAC, address: ADDRESS, name: text.map(name) }
    }

    fn one(discovered: &Discovered) -> (Ipv4Addr, Option<Mac>, Found) {
        let all: Vec<_> =
            discovered.iter().map(|(address, mac, found)| (address, mac, found.clone())).collect();
        assert_eq!(all.len(), 1, "{all:?}");
        all.into_iter().next().unwrap()
    }

    #[test]
    fn n13_what_is_seen_of_one_host_becomes_one_row() {
        let found = Discovered::new(
            [lease(Some("gamebox"))],
            [(MAC, ADDRESS)],
            [(ADDRESS, name("GAMEBOX"))],
            [(ADDRESS, name("alice.dyn.example.net"))],
        );
        let (address, mac, found) = one(&found);
        assert_eq!((address, mac), (ADDRESS, Some(MAC)));
        assert_eq!(found.seen, [Source::Lease, Source::Neighbour, Source::NetBios, Source::Update]);
        let names: Vec<_> = found.names.iter().map(|(name, source)| (name.as_str(), source.name())).collect();
        assert_eq!(
            names,
            [("gamebox", "lease"), ("gamebox", "netbios"), ("alice.dyn.example.net", "update")]
        );
    }

    #[test]
    fn n13_a_host_that_is_only_named_is_shown_without_a_mac() {
        let (address, mac, found) =
            one(&Discovered::new([], [], [], [(ADDRESS, name("alice.dyn.example.net"))]));
        assert_eq!((address, mac, found.seen), (ADDRESS, None, vec![Source::Update]));
    }

    #[test]
    fn n13_two_hosts_that_claim_one_address_are_two_rows() {
        let other = [6; 6];
        let found = Discovered::new([lease(None)], [(other, ADDRESS)], [(ADDRESS, name("who"))], []);
        let macs: BTreeSet<_> = found.iter().map(|(_, mac, _)| mac.unwrap()).collect();
        assert_eq!(macs, [MAC, other].into());
        assert!(found.iter().all(|(_, _, found)| found.names == [(name("who"), Source::NetBios)]));
    }

    #[test]
    fn n13_rows_cover_hosts_by_address_and_by_mac() {
        let access = table(&[
            ("alice", HostAddress::Mac(MAC)),
            ("bob", HostAddress::Ip([192, 168, 1, 11].into())),
            ("game", HostAddress::Ip(ADDRESS)),
        ]);
        let rows: Vec<_> = rows_of(&access, ADDRESS, Some(MAC)).map(HostName::as_str).collect();
        assert_eq!(rows, ["alice", "game"]);
        assert_eq!(rows_of(&access, ADDRESS, None).map(HostName::as_str).collect::<Vec<_>>(), ["game"]);
    }

    #[test]
    fn n13_a_name_is_proposed_where_no_row_has_it() {
        let found = Found { seen: vec![], names: vec![(name("gamebox.lan"), Source::Lease)] };
        assert_eq!(proposal(&table(&[]), &found), Some(name("gamebox")));
        assert_eq!(proposal(&table(&[("gamebox", HostAddress::Mac([9; 6]))]), &found), None);
    }

    #[test]
    fn n13_who_takes_the_name_of_another_hosts_row_is_marked_and_gets_nothing() {
        let mac = HostAddress::Mac([9; 6]);
        let access = table(&[("alice", mac), ("bob", HostAddress::Ip(ADDRESS))]);
        let names = vec![(name("alice"), Source::Lease), (name("bob"), Source::NetBios)];
        let found = Found { seen: vec![Source::Lease], names };
        assert_eq!(claims(&access, ADDRESS, Some(MAC), &found), [&name("alice")]);
        assert_eq!(rows_of(&access, ADDRESS, Some(MAC)).map(HostName::as_str).collect::<Vec<_>>(), ["bob"]);
        // Discovery changes nothing of the table: alice is still where her row says.
        assert_eq!(access.rows().find(|(row, _)| row.as_str() == "alice").unwrap().1.address, mac);
    }

    #[test]
    fn n13_a_flood_of_hosts_and_names_is_bounded() {
        let many = (0..10_000u32).map(|n| {
            let [.., high, low] = n.to_be_bytes();
            ([0, 0, 0, 0, high, low], Ipv4Addr::from(0x0a00_0000 + n))
        });
        let names = (0..100).map(|n| (ADDRESS, name(&format!("name{n}"))));
        let found = Discovered::new([lease(Some("gamebox"))], many, names, []);
        assert_eq!(found.iter().count(), MAX_FOUND);
        let (.., host) = found.iter().find(|(address, ..)| *address == ADDRESS).unwrap();
        assert_eq!(host.names.len(), MAX_NAMES);
    }

    #[test]
    fn n13_names_of_hearsay_hold_no_signs() {
        let clean = |text: &[u8]| clean_name(text).map(|name| name.as_str().to_owned());
        assert_eq!(clean(b"Anna's iPad   ").as_deref(), Some("anna-s-ipad"));
        assert_eq!(clean(b"\x1b]0;x\x07").as_deref(), Some("0-x"));
        assert_eq!(clean(b"  "), None);
        assert_eq!(clean(b"a..b"), None);
        assert_eq!(clean(&[b'a'; 65]), None);
    }
}
