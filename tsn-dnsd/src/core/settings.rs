//! What is configured, as the core needs it.

use std::net::IpAddr;

use natf_config::Network;

use super::{announced::Domains, cache::CacheLimits, received::Lifetimes};

/// The settings of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who may ask.
    pub allow: Vec<Network>,
    /// Questions per second of one client; None: no limit.
    pub rate: Option<u32>,
    /// Bounds of the cache.
    pub cache: CacheLimits,
    /// Bounds of TTLs.
    pub lifetimes: Lifetimes,
    /// Names that are announced.
    pub announced: Domains,
    /// TTL of announced answers, in seconds.
    pub announce_ttl: u32,
    /// Whether there is somebody to ask.
    pub forwards: bool,
    /// Whether questions are logged.
    pub query_log: bool,
}

impl Settings {
    /// Whether a client may ask.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.allow.iter().any(|network| network.contains(client))
    }
}
