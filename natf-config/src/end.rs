//! `config end`: the settings of the external node, also where the router plays it for its LAN (N12).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use crate::fields::{DEVICE, Fields, Report, device};
use crate::uci::Section;

const OPTIONS: [&str; 9] =
    ["enabled", "virtual", "listen", "port", "upstream", "resolver", "lan", "silent", "quarantine"];
const VIRTUAL: &str = "a network such as 240.0.0.0/8 (length 8-16, not 0/8, 127/8, 224/4 or 255/8)";
const UPSTREAM: &str = "the address of a DNS server, such as 192.0.2.53, 192.0.2.53:5353 or 192.0.2.53#5353";

/// The settings of the external node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndSettings {
    /// Whether names of homes are rewritten and their flows negotiated.
    pub enabled: bool,
    /// The block of the virtual addresses (N3).
    pub virtual_net: VirtualNet,
    /// The address of the DNS proxy.
    pub listen: Ipv4Addr,
    /// The port of the DNS proxy.
    pub port: u16,
    /// The DNS servers that are asked; empty: those of the system.
    pub upstream: Vec<SocketAddr>,
    /// How the system is told about the DNS proxy.
    pub resolver: Resolver,
    /// The devices of the LAN that the router serves; empty: this node only (N12).
    pub lan: Vec<String>,
    /// What becomes of a held packet when the router does not answer.
    pub silent: Silent,
    /// How long a virtual address is not given to another name.
    pub quarantine: Duration,
}

/// An IPv4 network of length 8 to 16; its text is `240.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VirtualNet {
    /// The network address.
    pub network: Ipv4Addr,
    /// The prefix length.
    pub length: u8,
}

/// How the system is told about the DNS proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// Whichever of the others fits the system.
    Auto,
    /// By `/etc/resolv.conf`.
    Resolvconf,
    /// By a drop-in of systemd-resolved.
    Resolved,
    /// Not at all.
    None,
}

/// What becomes of a held packet when the router does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silent {
    /// The application gets a refusal.
    Refuse,
    /// The packet goes to the router itself.
    Release,
}

impl Default for EndSettings {
    fn default() -> Self {
        EndSettings {
            enabled: true,
            virtual_net: VirtualNet { network: Ipv4Addr::new(240, 0, 0, 0), length: 8 },
            listen: Ipv4Addr::new(127, 0, 0, 153),
            port: 53,
            upstream: Vec::new(),
            resolver: Resolver::Auto,
            lan: Vec::new(),
            silent: Silent::Refuse,
            quarantine: Duration::from_secs(86_400),
        }
    }
}

impl EndSettings {
    pub(crate) fn read(section: &Section, report: &mut Report) -> Self {
        let default = EndSettings::default();
        let mut fields = Fields::new(section, report, &OPTIONS);
        let resolver = fields.one("resolver", "auto, resolvconf, resolved or none", |text| match text {
            "auto" => Some(Resolver::Auto),
            "resolvconf" => Some(Resolver::Resolvconf),
            "resolved" => Some(Resolver::Resolved),
            "none" => Some(Resolver::None),
            _ => None,
        });
        let silent = fields.one("silent", "refuse or release", |text| match text {
            "refuse" => Some(Silent::Refuse),
            "release" => Some(Silent::Release),
            _ => None,
        });
        let upstream = fields.many("upstream", UPSTREAM, server);
        let lan = fields.many("lan", DEVICE, device);
        EndSettings {
            enabled: fields.flag("enabled").unwrap_or(default.enabled),
            virtual_net: fields
                .one("virtual", VIRTUAL, |text| text.parse().ok())
                .unwrap_or(default.virtual_net),
            listen: fields.one("listen", "an IPv4 address", listen).unwrap_or(default.listen),
            port: fields.number("port", 1..=65_535).unwrap_or(default.port),
            upstream: upstream.into_iter().map(|(server, _)| server).collect(),
            resolver: resolver.unwrap_or(default.resolver),
            lan: lan.into_iter().map(|(device, _)| device).collect(),
            silent: silent.unwrap_or(default.silent),
            quarantine: fields
                .number("quarantine", 0..=31_536_000)
                .map_or(default.quarantine, Duration::from_secs),
        }
    }
}

/// The text is not a network for virtual addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a virtual network; use {VIRTUAL}")]
pub struct VirtualNetError;

impl FromStr for VirtualNet {
    type Err = VirtualNetError;

    fn from_str(text: &str) -> Result<Self, VirtualNetError> {
        let (network, length) = text.split_once('/').ok_or(VirtualNetError)?;
        let network: Ipv4Addr = network.parse().map_err(|_| VirtualNetError)?;
        let length = match length {
            "8" => 8,
            "9" => 9,
            _ => length
                .parse()
                .ok()
                .filter(|n| (10..=16).contains(n) && length.len() == 2)
                .ok_or(VirtualNetError)?,
        };
        let [first, ..] = network.octets();
        let usable = !matches!(first, 0 | 127 | 224..=239 | 255);
        let aligned = u32::from(network) & (u32::MAX >> length) == 0;
        if usable && aligned { Ok(VirtualNet { network, length }) } else { Err(VirtualNetError) }
    }
}

impl fmt::Display for VirtualNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.length)
    }
}

fn listen(text: &str) -> Option<Ipv4Addr> {
    text.parse().ok().filter(|address: &Ipv4Addr| !address.is_broadcast() && !address.is_multicast())
}

/// An address with or without port; `#` before the port is dnsmasq's way.
fn server(text: &str) -> Option<SocketAddr> {
    let address = match text.split_once('#') {
        Some((address, port)) => SocketAddr::new(address.parse().ok()?, port.parse().ok()?),
        None => match text.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, 53),
            Err(_) => text.parse().ok()?,
        },
    };
    (address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast()).then_some(address)
}
