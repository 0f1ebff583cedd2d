//! The configuration of `tsn-dnsd`: `/etc/config/tsn-dnsd`, from a file to a configuration or to everything that is
//! wrong with it.
//!
//! ```text
//! config server                     listeners, upstream servers, cache, limits
//! config router 'home'              who is told about which names (T4)
//! config client 'lan'               which address the routers see for which clients
//! config zone, record, tsigkey      own records and who may update them (RFC 2136, RFC 8945)
//! ```

mod client;
mod network;
mod record;
mod router;
mod server;
mod zone;

use std::collections::BTreeMap;
use std::path::Path;

pub use client::ClientRow;
pub use network::{Network, NetworkError};
pub use record::{RecordName, RecordRow};
pub use router::{TsnRouterRow, Without};
pub use server::ServerSettings;
pub use zone::{TsigAlgorithm, TsigKeyRow, ZoneRow};

use crate::error::{ConfigError, shown};
use crate::fields::{Fields, Report, check_section_names, nearest};
use crate::uci::{self, Section, UciFile};

const KINDS: [&str; 6] = ["server", "router", "client", "zone", "record", "tsigkey"];

/// What `tsn-dnsd` reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsdConfig {
    /// The server's settings; the defaults where there is no `config server`.
    pub server: ServerSettings,
    /// The enrolled routers by name; their ids and domains differ.
    pub routers: BTreeMap<String, TsnRouterRow>,
    /// The address that routers see for clients.
    pub clients: Vec<ClientRow>,
    /// The own zones by section name; their names differ.
    pub zones: BTreeMap<String, ZoneRow>,
    /// The own records in the order of the file.
    pub records: Vec<RecordRow>,
    /// The keys for updates by name.
    pub tsig_keys: BTreeMap<String, TsigKeyRow>,
    /// What is accepted, but hardly wanted.
    pub warnings: Vec<ConfigError>,
}

/// Reads the configuration of `tsn-dnsd`; on failure returns everything that is wrong.
pub fn load_dnsd(path: &Path) -> Result<DnsdConfig, Vec<ConfigError>> {
    let text = uci::read_text(path)?;
    parse_dnsd(path, &text)
}

/// Reads the configuration from a text; `path` only appears in messages.
pub fn parse_dnsd(path: &Path, text: &str) -> Result<DnsdConfig, Vec<ConfigError>> {
    let (file, errors) = UciFile::parse(path, text);
    let mut loader = Loader { config: DnsdConfig::default(), report: Report::new(path, errors) };
    check_section_names(&file, &["server"], &mut loader.report);
    for section in &file.sections {
        loader.section(section);
    }
    loader.check_duplicates(&file);
    loader.check_update_keys(&file);
    loader.warn(&file);
    let Loader { mut config, report } = loader;
    config.warnings = report.finish()?;
    Ok(config)
}

struct Loader {
    config: DnsdConfig,
    report: Report,
}

impl Loader {
    fn section(&mut self, section: &Section) {
        let (config, report) = (&mut self.config, &mut self.report);
        match section.kind.as_str() {
            "server" => config.server = ServerSettings::read(section, report),
            "router" => {
                if let Some(row) = TsnRouterRow::read(section, report) {
                    config.routers.insert(row.name.clone(), row);
                }
            }
            "client" => config.clients.extend(ClientRow::read(section, report)),
            "zone" => {
                if let Some(row) = ZoneRow::read(section, report) {
                    config.zones.insert(row.section.clone(), row);
                }
            }
            "record" => config.records.extend(RecordRow::read(section, report)),
            "tsigkey" => {
                if let Some(row) = TsigKeyRow::read(section, report) {
                    config.tsig_keys.insert(row.name.as_str().to_owned(), row);
                }
            }
            other => {
                let problem =
                    format!("the section type {} is unknown; {}", shown(other), nearest(other, &KINDS));
                report.section(section, problem);
            }
        }
    }

    /// A key id stands for one router, a domain for one router or one zone.
    fn check_duplicates(&mut self, file: &UciFile) {
        let (mut ids, mut domains, mut zones) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for section in &file.sections {
            let name = section.name.as_deref().unwrap_or_default();
            match section.kind.as_str() {
                "router" => {
                    let Some(row) = self.config.routers.get(name) else { continue };
                    if let Some(first) = ids.insert(row.id, name) {
                        self.duplicate(section, "id", &row.id.to_string(), first);
                    }
                    let row = self.config.routers.get(name).cloned();
                    for domain in row.into_iter().flat_map(|row| row.domains) {
                        if let Some(first) = domains.insert(domain.clone(), name) {
                            self.duplicate(section, "domain", domain.as_str(), first);
                        }
                    }
                }
                "zone" => {
                    let Some(row) = self.config.zones.get(name) else { continue };
                    let zone = row.name.clone();
                    if let Some(first) = zones.insert(zone.clone(), name) {
                        self.duplicate(section, "name", zone.as_str(), first);
                    }
                }
                _ => {}
            }
        }
    }

    fn duplicate(&mut self, section: &Section, option: &str, value: &str, first: &str) {
        let problem = format!("{option} '{value}' is already used by {} '{first}'", section.kind);
        match section.options.iter().find(|found| found.name == option) {
            Some(found) => Fields { section, report: &mut self.report }.error(found, problem),
            None => self.report.section(section, problem),
        }
    }

    /// An update key that does not exist is a misspelt one: unlike a missing peer, nobody can want it.
    fn check_update_keys(&mut self, file: &UciFile) {
        for section in file.sections.iter().filter(|section| section.kind == "zone") {
            for option in section.options.iter().filter(|option| option.name == "update_key") {
                for name in option.value.split_whitespace() {
                    let known = name
                        .parse::<RecordName>()
                        .is_ok_and(|name| self.config.tsig_keys.contains_key(name.as_str()));
                    if !known {
                        let problem = format!(
                            "list update_key '{}': there is no config tsigkey of that name",
                            shown(name)
                        );
                        Fields { section, report: &mut self.report }.error(option, problem);
                    }
                }
            }
        }
    }

    fn warn(&mut self, file: &UciFile) {
        for section in file.sections.iter().filter(|section| section.kind == "server") {
            for option in section.options.iter().filter(|option| option.name == "allow") {
                if option.value.split_whitespace().any(|network| network.ends_with("/0")) {
                    let problem =
                        "list allow: the whole internet may ask; such servers are used to attack others";
                    self.report.warn(section, option, problem);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
