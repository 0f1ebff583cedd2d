//! Which address a router is going to see when a client connects (T4: G3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use natf_config::ClientRow;

/// What the notification names as its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// This address.
    Address(Ipv4Addr),
    /// The one that the notification itself comes from: client and server are behind the same NAT.
    Sender,
}

impl Origin {
    /// As the notification carries it.
    pub fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Sender => None,
        }
    }
}

/// What was configured about clients; the first network that fits counts.
#[derive(Debug, Clone, Default)]
pub struct Origins(Vec<ClientRow>);

impl Origins {
    /// With these rows.
    pub fn new(rows: Vec<ClientRow>) -> Self {
        Self(rows)
    }

    /// The origin of a client; `None` where nothing tells its IPv4 address.
    pub fn of(&self, client: IpAddr) -> Option<Origin> {
        let client = client.to_canonical();
        let stands_in = |row: &&ClientRow| row.networks.iter().any(|network| network.contains(client));
        let configured = self.0.iter().find(stands_in).and_then(|row| row.origin);
        configured.map(Origin::Address).or_else(|| own(client))
    }
}

/// Without configuration, a public client is seen as it is, and a local one where this server is seen.
fn own(client: IpAddr) -> Option<Origin> {
    match client {
        IpAddr::V4(address) if is_local(address) => Some(Origin::Sender),
        IpAddr::V4(address) => Some(Origin::Address(address)),
        IpAddr::V6(address) => is_local_v6(address).then_some(Origin::Sender),
    }
}

/// Loopback, private (RFC 1918), shared (RFC 6598), link-local.
fn is_local(address: Ipv4Addr) -> bool {
    let is_shared = address.to_bits() >> 22 == Ipv4Addr::new(100, 64, 0, 0).to_bits() >> 22;
    address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn t4_a_public_client_is_its_own_origin_and_a_private_one_the_servers() {
        let origins = Origins::default();
        assert_eq!(origins.of(ip("198.51.100.7")), Some(Origin::Address(Ipv4Addr::new(198, 51, 100, 7))));
        assert_eq!(
            origins.of(ip("::ffff:198.51.100.7")),
            Some(Origin::Address(Ipv4Addr::new(198, 51, 100, 7)))
        );
        for local in [
            "192.168.1.7",
            "10.0.0.1",
            "172.31.0.1",
            "100.127.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
        ] {
            assert_eq!(origins.of(ip(local)), Some(Origin::Sender), "{local}");
        }
        assert_eq!(origins.of(ip("2001:db8::1")), None);
    }

    #[test]
    fn t4_the_configured_origin_of_a_network_counts() {
        let outside = Ipv4Addr::new(203, 0, 113, 9);
        let row =
            |network: &str, origin| ClientRow { networks: vec![network.parse().unwrap()], origin, line: 1 };
        let origins = Origins::new(vec![
            row("2001:db8:1::/48", Some(outside)),
            row("10.9.0.0/16", None),
            row("10.0.0.0/8", Some(outside)),
        ]);
        assert_eq!(origins.of(ip("2001:db8:1::7")), Some(Origin::Address(outside)));
        assert_eq!(origins.of(ip("10.1.1.1")), Some(Origin::Address(outside)));
        assert_eq!(origins.of(ip("10.9.1.1")), Some(Origin::Sender));
        assert_eq!(origins.of(ip("192.168.1.1")), Some(Origin::Sender));
    }
}
