//! Which address a router is going to see when a client connects (T4: G3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// Addresses with the same first bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Number of bits that count; more than an address has are all of them.
    pub length: u8,
}

impl Network {
    /// Whether an address stands in it; IPv4 and IPv6 are never in each other's networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (ours, theirs, bits) = match (self.address, address) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => (left_aligned(ours), left_aligned(theirs), 32),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => (ours.to_bits(), theirs.to_bits(), 128),
            _ => return false,
        };
        match self.length.min(bits) {
            0 => true,
            length => (ours ^ theirs) >> (128 - u32::from(length)) == 0,
        }
    }
}

fn left_aligned(address: Ipv4Addr) -> u128 {
    u128::from(address.to_bits()) << 96
}

/// What was configured about clients; the first network that fits counts.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    rows: Vec<(Network, Ipv4Addr)>,
}

impl Origins {
    /// With these networks.
    pub fn new(rows: Vec<(Network, Ipv4Addr)>) -> Self {
        Self { rows }
    }

    /// The origin of a client; `None` where nothing tells its IPv4 address.
    pub fn of(&self, client: IpAddr) -> Option<Origin> {
        let client = client.to_canonical();
        if let Some((_, origin)) = self.rows.iter().find(|(network, _)| network.contains(client)) {
            return Some(Origin::Address(*origin));
        }
        match client {
            IpAddr::V4(address) if is_local(address) => Some(Origin::Sender),
            IpAddr::V4(address) => Some(Origin::Address(address)),
            IpAddr::V6(address) => is_local_v6(address).then_some(Origin::Sender),
        }
    }
}

/// Loopback, private (RFC 1918), shared (RFC 6598), link-local.
fn is_local(address: Ipv4Addr) -> bool {
    let shared = Network { address: Ipv4Addr::new(100, 64, 0, 0).into(), length: 10 };
    address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || shared.contains(address.into())
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
    fn networks_contain_their_addresses_only() {
        let contains =
            |network: &str, length, address| Network { address: ip(network), length }.contains(ip(address));
        assert!(contains("10.1.2.3", 8, "10.255.0.1") && !contains("10.0.0.0", 8, "11.0.0.1"));
        assert!(contains("192.0.2.1", 32, "192.0.2.1") && !contains("192.0.2.1", 32, "192.0.2.0"));
        assert!(contains("0.0.0.0", 0, "255.255.255.255") && !contains("0.0.0.0", 0, "::1"));
        assert!(
            contains("2001:db8::", 32, "2001:db8:ffff::1") && !contains("2001:db8::", 33, "2001:db8:ffff::1")
        );
        assert!(contains("::1", 200, "::1") && !contains("::1", 200, "::2"));
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
        let networks = [("2001:db8:1::", 48), ("10.0.0.0", 8)];
        let origins = Origins::new(
            networks.map(|(address, length)| (Network { address: ip(address), length }, outside)).to_vec(),
        );
        assert_eq!(origins.of(ip("2001:db8:1::7")), Some(Origin::Address(outside)));
        assert_eq!(origins.of(ip("10.1.1.1")), Some(Origin::Address(outside)));
        assert_eq!(origins.of(ip("192.168.1.1")), Some(Origin::Sender));
    }
}
