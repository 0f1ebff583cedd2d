//! From the files to what the daemon runs with, or to everything that is wrong with them.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use natf_config::{ConfigError, DnsdConfig, KeyFile, TsnRouterRow};
use natf_proto::{KeyId, PeerKeys};

use super::{notifier::Directory, tsig_secrets, zone_files::unix_now, zone_settings};
use crate::{
    announce::{Origins, RouterRow, Routers},
    core::{announced::Domains, cache::CacheLimits, received::Lifetimes, settings::Settings},
    error::Error,
    zone::Zones,
};

/// Bytes of cache per answer: most are smaller.
const ANSWER_BYTES: usize = 512;
/// As many servers as `list upstream` may have.
const UPSTREAM_MAX: usize = 8;
/// The smallest cache in bytes.
const CACHE_MIN: usize = 1 << 16;

/// Where the daemon finds and puts its files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// UCI configuration.
    pub config: PathBuf,
    /// Keys of the routers.
    pub keys: PathBuf,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory of what updates brought.
    pub state_dir: PathBuf,
    /// The DNS servers that the network told OpenWrt; elsewhere there is no such file.
    pub servers: PathBuf,
}

impl Paths {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("dnsd.sock")
    }

    /// The secrets of the TSIG keys, beside the keys of the routers.
    pub fn tsig(&self) -> PathBuf {
        self.keys.with_file_name("tsig")
    }
}

/// What was read.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration as the user wrote it.
    pub config: DnsdConfig,
    /// For the core.
    pub settings: Settings,
    /// Own zones, without what updates brought.
    pub zones: Zones,
    /// For the announcer.
    pub directory: Directory,
}

impl Loaded {
    /// Reads configuration, keys and secrets.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(paths: &Paths) -> Result<Self, Error> {
        let mut config = natf_config::load_dnsd(&paths.config).map_err(Error::Config)?;
        if config.server.upstream.is_empty() {
            config.server.upstream = told_servers(&fs::read_to_string(&paths.servers).unwrap_or_default());
        }
        let secrets = tsig_secrets::read(&paths.tsig())?;
        let zones =
            zone_settings::zones(&paths.config, &config, &secrets, unix_now()).map_err(Error::Config)?;
        let routers = routers(&paths.config, &paths.keys, &config)?;
        let directory =
            Directory { routers: Routers::new(routers), origins: Origins::new(config.clients.clone()) };
        Ok(Self { settings: settings(&config), config, zones, directory })
    }
}

/// Lines of `nameserver ADDRESS`; never this machine, which might ask us in turn.
fn told_servers(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let address: IpAddr = line.strip_prefix("nameserver")?.trim().parse().ok()?;
        let usable = !address.is_loopback() && !address.is_unspecified() && !address.is_multicast();
        usable.then_some(SocketAddr::new(address, 53))
    };
    text.lines().filter_map(server).take(UPSTREAM_MAX).collect()
}

fn settings(config: &DnsdConfig) -> Settings {
    let server = &config.server;
    let entries = usize::try_from(server.cache_size).unwrap_or(usize::MAX);
    let seconds = |time: std::time::Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
    let announced = enabled(config).flat_map(|row| &row.domains).map(|domain| domain.as_str());
    Settings {
        allow: server.allow.clone(),
        rate: server.rate,
        cache: CacheLimits {
            entries,
            bytes: entries.saturating_mul(ANSWER_BYTES).max(CACHE_MIN),
            stale: seconds(server.serve_stale),
        },
        lifetimes: Lifetimes {
            min: seconds(server.ttl.0),
            max: seconds(server.ttl.1),
            negative_max: seconds(server.negative_ttl_max),
        },
        announced: Domains::new(announced),
        announce_ttl: seconds(server.announce_ttl),
        forwards: !server.upstream.is_empty(),
        query_log: server.query_log,
    }
}

fn enabled(config: &DnsdConfig) -> impl Iterator<Item = &TsnRouterRow> {
    config.routers.values().filter(|row| row.enabled)
}

fn routers(file: &Path, keys: &Path, config: &DnsdConfig) -> Result<Vec<RouterRow>, Error> {
    let entries = KeyFile::load(keys)?;
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for row in enabled(config) {
        match entries.key(&row.name, row.id) {
            Ok(key) => rows.push(RouterRow {
                name: row.name.clone(),
                domains: row.domains.iter().map(ToString::to_string).collect(),
                keys: PeerKeys::derive(KeyId(row.id.get()), key.as_bytes()),
                address: row.address,
                without: row.without,
            }),
            Err(error) => errors.push(ConfigError {
                file: file.to_owned(),
                line: row.line,
                section: Some(format!("router '{}'", row.name)),
                option: None,
                value: None,
                problem: format!("{error}; see 'tsn-dnsd enroll'"),
            }),
        }
    }
    if errors.is_empty() { Ok(rows) } else { Err(Error::Config(errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_servers_are_taken_and_never_this_machine() {
        let text = "# Interface wan\nnameserver 192.0.2.53\nnameserver 127.0.0.1\nnameserver fe80::1%wan\n\
                    nameserver 2001:db8::53\nsearch lan\n";
        let expected = ["192.0.2.53:53", "[2001:db8::53]:53"].map(|server| server.parse().unwrap());
        assert_eq!(told_servers(text), expected);
        assert_eq!(told_servers(&"nameserver 192.0.2.1\n".repeat(100)).len(), UPSTREAM_MAX);
        assert!(told_servers("").is_empty());
    }
}
