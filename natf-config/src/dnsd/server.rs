//! `config server`: where `tsn-dnsd` listens, whom it asks, whom it answers, and how much of everything.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::network::Network;
use crate::fields::{Fields, Report};
use crate::uci::Section;

const OPTIONS: [&str; 14] = [
    "enabled",
    "listen",
    "port",
    "upstream",
    "allow",
    "cache_size",
    "ttl_min",
    "ttl_max",
    "negative_ttl_max",
    "serve_stale",
    "rate",
    "announce_wait",
    "announce_ttl",
    "query_log",
];
const LISTEN: &str = "an address such as 127.0.0.1, ::1 or 0.0.0.0, or with a port: 127.0.0.1#5353";
const UPSTREAM: &str = "the address of a DNS server, such as 192.0.2.53 or 192.0.2.53#5353";
const DAY: u64 = 86_400;

/// The settings of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Whether it serves at all.
    pub enabled: bool,
    /// Where it listens, UDP and TCP.
    pub listen: Vec<SocketAddr>,
    /// Whether `listen` is the default, whose IPv6 half a system may lack.
    pub listen_is_default: bool,
    /// The servers that are asked, first one first.
    pub upstream: Vec<SocketAddr>,
    /// Who may ask.
    pub allow: Vec<Network>,
    /// Answers in the cache.
    pub cache_size: u32,
    /// Shortest and longest lifetime of a record.
    pub ttl: (Duration, Duration),
    /// Longest lifetime of "there is no such thing" (RFC 2308).
    pub negative_ttl_max: Duration,
    /// How long after its end an answer may still serve (RFC 8767); zero: not at all.
    pub serve_stale: Duration,
    /// Questions per second of one client; None: no limit.
    pub rate: Option<u32>,
    /// How long an answer waits for a router (T4).
    pub announce_wait: Duration,
    /// The lifetime of announced answers, so that each connection is announced.
    pub announce_ttl: Duration,
    /// Whether questions are logged.
    pub query_log: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        ServerSettings {
            enabled: true,
            listen: default_listen(53),
            listen_is_default: true,
            upstream: Vec::new(),
            allow: default_allow(),
            cache_size: 10_000,
            ttl: (Duration::ZERO, Duration::from_secs(DAY)),
            negative_ttl_max: Duration::from_secs(3_600),
            serve_stale: Duration::from_secs(DAY),
            rate: Some(200),
            announce_wait: Duration::from_millis(300),
            announce_ttl: Duration::from_secs(2),
            query_log: false,
        }
    }
}

impl ServerSettings {
    pub(crate) fn read(section: &Section, report: &mut Report) -> Self {
        let default = ServerSettings::default();
        let mut fields = Fields::new(section, report, &OPTIONS);
        let port = fields.number("port", 1..=65_535).unwrap_or(53);
        let listen = values(&mut fields, "listen", LISTEN, |text| address(text, port));
        let upstream = values(&mut fields, "upstream", UPSTREAM, |text| {
            address(text, 53).filter(|server| !server.ip().is_unspecified() && !server.ip().is_multicast())
        });
        let allow = values(&mut fields, "allow", Network::ACCEPTED, |text| text.parse().ok());
        ServerSettings {
            enabled: fields.flag("enabled").unwrap_or(default.enabled),
            listen_is_default: listen.is_empty(),
            listen: if listen.is_empty() { default_listen(port) } else { listen },
            upstream,
            allow: if allow.is_empty() { default.allow } else { allow },
            cache_size: fields.number("cache_size", 0..=1_000_000).unwrap_or(default.cache_size),
            ttl: lifetimes(&mut fields, default.ttl),
            negative_ttl_max: seconds(&mut fields, "negative_ttl_max", 0..=7 * DAY)
                .unwrap_or(default.negative_ttl_max),
            serve_stale: seconds(&mut fields, "serve_stale", 0..=7 * DAY).unwrap_or(default.serve_stale),
            rate: fields
                .number("rate", 0..=1_000_000)
                .map_or(default.rate, |rate: u32| (rate != 0).then_some(rate)),
            announce_wait: fields
                .number("announce_wait", 10..=3_000)
                .map_or(default.announce_wait, Duration::from_millis),
            announce_ttl: seconds(&mut fields, "announce_ttl", 0..=60).unwrap_or(default.announce_ttl),
            query_log: fields.flag("query_log").unwrap_or(default.query_log),
        }
    }
}

/// Loopback, private and link-local networks, and those of carriers' NATs (RFC 1918, 6598, 4193, 4291).
fn default_allow() -> Vec<Network> {
    [
        "127.0.0.0/8",
        "::1",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "fe80::/10",
    ]
    .iter()
    .filter_map(|text| text.parse().ok())
    .collect()
}

fn default_listen(port: u16) -> Vec<SocketAddr> {
    let addresses = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])];
    addresses.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

fn values<T>(
    fields: &mut Fields<'_>,
    name: &str,
    accepted: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Vec<T> {
    fields.many(name, accepted, parse).into_iter().map(|(value, _)| value).collect()
}

fn seconds(fields: &mut Fields<'_>, name: &str, range: std::ops::RangeInclusive<u64>) -> Option<Duration> {
    fields.number(name, range).map(Duration::from_secs)
}

fn lifetimes(fields: &mut Fields<'_>, default: (Duration, Duration)) -> (Duration, Duration) {
    let shortest = seconds(fields, "ttl_min", 0..=DAY).unwrap_or(default.0);
    let longest = seconds(fields, "ttl_max", 1..=7 * DAY).unwrap_or(default.1);
    if shortest > longest
        && let Some(option) = fields.single("ttl_min")
    {
        let problem =
            format!("option ttl_min {} is more than ttl_max {}", shortest.as_secs(), longest.as_secs());
        fields.error(option, problem);
    }
    (shortest, longest)
}

/// `ADDR`, `ADDR#PORT`, `IPV4:PORT` or `[IPV6]:PORT`.
fn address(text: &str, port: u16) -> Option<SocketAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, port));
    }
    if let Some((address, port)) = text.split_once('#') {
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port: &u16| digits && *port != 0)?;
        return address.parse().ok().map(|address| SocketAddr::new(address, port));
    }
    text.parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}
