//! Virtual addresses: what an application sees in place of a private host.
//!
//! ```text
//!      8 bits     8 bits     8 bits     8 bits
//!    +----------+----------+----------+----------+
//!    | A = 240  |    B     |    C     |    D     |      C = 1 + FNV-1a(domain) mod 254
//!    +----------+----------+----------+----------+      D = 1 + FNV-1a(private host name) mod 254
//!     \_prefix_/ \_0, or the next one on a collision
//! ```
//!
//! (N3) A prefix longer than /8 takes bits away from B. The hashes are FNV-1a (32 bit) over the lower-case
//! name without a final dot, so that every implementation comes to the same first candidate.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use thiserror::Error;

/// Values of C and D: 1..=254, so that no virtual address ends in .0 or .255.
const HASH_VALUES: u32 = 254;

/// The block that virtual addresses are taken from: a network of length 8 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VirtualPrefix {
    network: u32,
    length: u8,
}

/// Why a text is not a usable virtual prefix.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PrefixError {
    /// Not of the form `a.b.c.d/length`.
    #[error("virtual prefix {0:?} is not a network: accepted is an IPv4 network such as 240.0.0.0/8")]
    Syntax(String),
    /// The length leaves no room, or takes more than one class A.
    #[error("virtual prefix {0:?} has length {1}: accepted are 8 to 16")]
    Length(String, u8),
    /// Address bits are set right of the length.
    #[error("virtual prefix {0:?} has bits set behind its length: accepted is {1}/{2}")]
    HostBits(String, Ipv4Addr, u8),
    /// The network has a meaning of its own on every host.
    #[error("virtual prefix {0:?} overlaps addresses in use on every host (0/8, 127/8, 224/4, 255/8)")]
    Reserved(String),
}

impl VirtualPrefix {
    /// 240.0.0.0/8, the prefix of the paper (N3).
    pub const DEFAULT: Self = Self { network: 0xf000_0000, length: 8 };

    /// Whether `address` is a virtual one.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == self.network
    }

    /// The network address.
    pub fn network(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.network)
    }

    /// The prefix length, 8 to 16.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// All addresses that a name may get, best first: B rises from 0; only when every B is taken (at once for
    /// a /16, which has no B), D and then C step on, so that a free address is found while there is one.
    pub fn candidates(&self, host: &str, domain: &str) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (network, spare) = (self.network, 1_u32 << (16 - self.length.min(16)));
        let (c, d) = (fnv1a(domain) % HASH_VALUES, fnv1a(host) % HASH_VALUES);
        (0..HASH_VALUES * HASH_VALUES).flat_map(move |step| {
            let d_step = d + step;
            let c_step = c + step / HASH_VALUES;
            let low = (1 + c_step % HASH_VALUES) << 8 | (1 + d_step % HASH_VALUES);
            (0..spare).map(move |b| Ipv4Addr::from(network | b << 16 | low))
        })
    }

    fn mask(&self) -> u32 {
        u32::MAX << (32 - u32::from(self.length))
    }
}

impl Default for VirtualPrefix {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for VirtualPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length)
    }
}

impl FromStr for VirtualPrefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let syntax = || PrefixError::Syntax(text.to_owned());
        let (address, length) = text.trim().split_once('/').ok_or_else(syntax)?;
        let address: Ipv4Addr = address.parse().map_err(|_| syntax())?;
        let length: u8 = length.parse().map_err(|_| syntax())?;
        if !(8..=16).contains(&length) {
            return Err(PrefixError::Length(text.to_owned(), length));
        }
        let prefix = Self { network: u32::from(address), length };
        let network = prefix.network & prefix.mask();
        if network != prefix.network {
            return Err(PrefixError::HostBits(text.to_owned(), Ipv4Addr::from(network), length));
        }
        match address.octets() {
            [0 | 127 | 224..=239 | 255, ..] => Err(PrefixError::Reserved(text.to_owned())),
            _ => Ok(prefix),
        }
    }
}

/// FNV-1a, 32 bit, over the lower-case name.
fn fnv1a(name: &str) -> u32 {
    name.trim_end_matches('.').bytes().fold(0x811c_9dc5, |hash: u32, byte| {
        (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn hash_is_fnv1a_of_the_lower_case_name() {
        assert_eq!(fnv1a(""), 0x811c_9dc5);
        assert_eq!(fnv1a("a"), 0xe40c_292c);
        assert_eq!(fnv1a("foobar"), 0xbf9c_f968);
        assert_eq!(fnv1a("Home.Example.NET."), fnv1a("home.example.net"));
    }

    #[test]
    fn n3_first_candidate_is_a_b0_c_d() {
        let mut candidates = VirtualPrefix::DEFAULT.candidates("alice", "home.example.net");
        let [a, b, c, d] = candidates.next().unwrap().octets();
        assert_eq!((a, b), (240, 0));
        assert_eq!(u32::from(c), 1 + fnv1a("home.example.net") % 254);
        assert_eq!(u32::from(d), 1 + fnv1a("alice") % 254);
        assert_eq!(candidates.next().unwrap().octets(), [240, 1, c, d]);
    }

    #[test]
    fn n3_candidates_stay_inside_the_prefix_and_never_repeat() {
        for prefix in ["240.0.0.0/8", "198.18.0.0/15", "10.99.0.0/16"] {
            let prefix: VirtualPrefix = prefix.parse().unwrap();
            let mut seen = HashSet::new();
            for address in prefix.candidates("bob", "home.example.net").take(70_000) {
                assert!(prefix.contains(address), "{address} in {prefix}");
                assert!(seen.insert(address), "{address} twice in {prefix}");
                assert!(!matches!(address.octets(), [.., 0 | 255, _] | [.., 0 | 255]));
            }
        }
    }

    #[test]
    fn prefix_prints_what_it_parsed() {
        for text in ["240.0.0.0/8", "10.64.0.0/10", "198.18.0.0/15", "172.16.0.0/16"] {
            assert_eq!(text.parse::<VirtualPrefix>().unwrap().to_string(), text);
        }
        assert_eq!("240.0.0.0/8".parse(), Ok(VirtualPrefix::DEFAULT));
    }

    #[test]
    fn prefix_refuses_what_cannot_work() {
        let error = |text: &str| text.parse::<VirtualPrefix>().unwrap_err();
        assert!(matches!(error("240.0.0.0"), PrefixError::Syntax(_)));
        assert!(matches!(error("x/8"), PrefixError::Syntax(_)));
        assert!(matches!(error("240.0.0.0/7"), PrefixError::Length(_, 7)));
        assert!(matches!(error("240.0.0.0/17"), PrefixError::Length(_, 17)));
        assert!(matches!(error("240.1.0.0/8"), PrefixError::HostBits(_, _, 8)));
        assert!(matches!(error("127.0.0.0/8"), PrefixError::Reserved(_)));
        assert!(matches!(error("224.0.0.0/8"), PrefixError::Reserved(_)));
    }
}
