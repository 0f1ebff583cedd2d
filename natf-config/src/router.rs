//! `config router`: where the router is and what it may spend.

use std::{ops::RangeInclusive, time::Duration};

use crate::fields::{DEVICE, Fields, Report, device};
use crate::name::DomainName;
use crate::uci::Section;

const OPTIONS: [&str; 16] = [
    "enabled",
    "wan",
    "lan",
    "domain",
    "udp_port",
    "port_min",
    "port_max",
    "pending",
    "max_mappings",
    "max_per_peer",
    "max_per_host",
    "max_anyone",
    "max_guide",
    "guide_lifetime",
    "learned_lifetime",
    "queue",
];

/// The settings of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSettings {
    /// Whether the router serves mapping requests.
    pub enabled: bool,
    /// Interfaces or devices towards the internet.
    pub wan: Vec<String>,
    /// Interfaces or devices of the home network.
    pub lan: Vec<String>,
    /// The home's own names (N1); the first one is told to peers.
    pub domains: Vec<DomainName>,
    /// The port of the UDP carrier; None switches it off.
    pub udp_port: Option<u16>,
    /// First external port m that a mapping may take.
    pub port_min: u16,
    /// Last external port m that a mapping may take.
    pub port_max: u16,
    /// Life of a mapping that no packet has used yet.
    pub pending: Duration,
    /// Most mappings in all.
    pub max_mappings: u32,
    /// Most mappings of one peer.
    pub max_per_peer: u32,
    /// Most mappings to one host.
    pub max_per_host: u32,
    /// Most mappings of all anonymous nodes together.
    pub max_anyone: u32,
    /// Most rows of the guide table (T2).
    pub max_guide: u32,
    /// Life of a row of the guide table from its last notification on.
    pub guide_lifetime: Duration,
    /// How long a name that a host registered by dynamic update counts (T1).
    pub learned_lifetime: Duration,
    /// Number of the netfilter queue.
    pub queue: u16,
}

impl Default for RouterSettings {
    fn default() -> Self {
        RouterSettings {
            enabled: true,
            wan: vec!["wan".into()],
            lan: vec!["br-lan".into()],
            domains: Vec::new(),
            udp_port: None,
            port_min: 16_384,
            port_max: 32_767,
            pending: Duration::from_secs(5),
            max_mappings: 32_768,
            max_per_peer: 4_096,
            max_per_host: 8_192,
            max_anyone: 256,
            max_guide: 4_096,
            guide_lifetime: Duration::from_secs(90),
            learned_lifetime: Duration::from_secs(86_400),
            queue: 4_450,
        }
    }
}

impl RouterSettings {
    pub(crate) fn read(section: &Section, report: &mut Report) -> Self {
        let default = RouterSettings::default();
        let mut fields = Fields::new(section, report, &OPTIONS);
        let settings = RouterSettings {
            enabled: fields.flag("enabled").unwrap_or(default.enabled),
            wan: devices(&mut fields, "wan", default.wan),
            lan: devices(&mut fields, "lan", default.lan),
            domains: fields
                .many("domain", DomainName::ACCEPTED, |text| text.parse().ok())
                .into_iter()
                .map(|(domain, _)| domain)
                .collect(),
            udp_port: udp_port(&mut fields),
            port_min: fields.number("port_min", 1_024..=65_535).unwrap_or(default.port_min),
            port_max: fields.number("port_max", 1_024..=65_535).unwrap_or(default.port_max),
            pending: fields.number("pending", 1..=120).map_or(default.pending, Duration::from_secs),
            max_mappings: fields.number("max_mappings", 1..=1_000_000).unwrap_or(default.max_mappings),
            max_per_peer: fields.number("max_per_peer", 1..=1_000_000).unwrap_or(default.max_per_peer),
            max_per_host: fields.number("max_per_host", 1..=1_000_000).unwrap_or(default.max_per_host),
            max_anyone: fields.number("max_anyone", 0..=1_000_000).unwrap_or(default.max_anyone),
            max_guide: fields.number("max_guide", 0..=65_536).unwrap_or(default.max_guide),
            guide_lifetime: seconds(&mut fields, "guide_lifetime", 2..=600, default.guide_lifetime),
            learned_lifetime: seconds(
                &mut fields,
                "learned_lifetime",
                60..=31_536_000,
                default.learned_lifetime,
            ),
            queue: fields.number("queue", 0..=65_535).unwrap_or(default.queue),
        };
        if settings.port_min > settings.port_max {
            let (min, max) = (settings.port_min, settings.port_max);
            fields
                .section_error(format!("option port_min ({min}) is above port_max ({max}); no port is left"));
        }
        settings
    }
}

/// `option udp_port`: 0, like its absence, is off.
pub(crate) fn udp_port(fields: &mut Fields<'_>) -> Option<u16> {
    fields.number("udp_port", 0..=65_535).filter(|port| *port != 0)
}

fn seconds(fields: &mut Fields<'_>, name: &str, range: RangeInclusive<u64>, default: Duration) -> Duration {
    fields.number(name, range).map_or(default, Duration::from_secs)
}

fn devices(fields: &mut Fields<'_>, name: &str, default: Vec<String>) -> Vec<String> {
    let found = fields.many(name, DEVICE, device);
    if found.is_empty() { default } else { found.into_iter().map(|(name, _)| name).collect() }
}
