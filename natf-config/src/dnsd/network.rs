//! Networks of IPv4 or IPv6 addresses: `192.168.0.0/16`, `fd00::/8`, or a single address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network; its text is `192.168.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The network address.
    pub address: IpAddr,
    /// The prefix length.
    pub length: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network; use {}", Network::ACCEPTED)]
pub struct NetworkError;

impl Network {
    pub(crate) const ACCEPTED: &str =
        "a network such as 192.168.0.0/16 or fd00::/8 (no bits behind the prefix), or an address";

    /// Tells whether an address belongs to the network; an IPv4 address may come mapped into IPv6.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (address.to_canonical(), self.address) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                behind(u128::from(address.to_bits() ^ network.to_bits()), 32, self.length) == 0
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                behind(address.to_bits() ^ network.to_bits(), 128, self.length) == 0
            }
            _ => false,
        }
    }
}

/// The first `length` of `bits` bits.
fn behind(value: u128, bits: u32, length: u8) -> u128 {
    value.checked_shr(bits.saturating_sub(length.into())).unwrap_or(0)
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let (longest, value) = match address {
            IpAddr::V4(address) => (32, u128::from(address.to_bits())),
            IpAddr::V6(address) => (128, address.to_bits()),
        };
        let length = match length {
            None => longest,
            Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.parse().ok().filter(|length| *length <= longest).ok_or(NetworkError)?
            }
            Some(_) => return Err(NetworkError),
        };
        let host = value.checked_shl(128 - u32::from(longest) + u32::from(length)).unwrap_or(0);
        if host == 0 { Ok(Network { address, length }) } else { Err(NetworkError) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn contains_what_shares_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("0.0.0.0/0", "203.0.113.1", "::1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("fe80::/10", "febf::1", "fec0::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", "::ffff:11.0.0.1"),
        ] {
            let network: Network = network.parse().unwrap();
            assert!(network.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!network.contains(outside.parse().unwrap()), "{network} {outside}");
        }
    }

    #[test]
    fn refuses_what_is_no_network() {
        for text in
            ["", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/", "fd00::1/8", "::/129", "lan", "/8"]
        {
            assert_eq!(text.parse::<Network>(), Err(NetworkError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_writes_and_never_panics(bits: u128, length in 0_u8..=128, text in ".{0,50}") {
            let _ = text.parse::<Network>();
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            let address = std::net::Ipv6Addr::from_bits(bits & mask);
            let network = Network { address: address.into(), length };
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            prop_assert!(network.contains(std::net::Ipv6Addr::from_bits(bits).into()) || address.to_ipv4_mapped().is_some());
        }
    }
}
