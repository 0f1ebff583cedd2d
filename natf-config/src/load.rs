//! From a file to a configuration, or to everything that is wrong with it.
//!
//! Both daemons read the whole file: a router also plays the external node for its LAN (N12), and a mistake anywhere
//! in the file is worth a message.

use std::collections::BTreeMap;
use std::path::Path;

use crate::end::EndSettings;
use crate::error::{ConfigError, shown};
use crate::fields::{Fields, Report, nearest};
use crate::home::HomeRow;
use crate::host::{ANYONE, HostRow};
use crate::name::PrivateHostName;
use crate::peer::PeerRow;
use crate::router::RouterSettings;
use crate::uci::{self, Section, UciFile};

const KINDS: [&str; 5] = ["router", "host", "peer", "end", "home"];

/// What the router reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// The router's settings; None: there is no `config router`.
    pub router: Option<RouterSettings>,
    /// The access control table (N6).
    pub hosts: BTreeMap<PrivateHostName, HostRow>,
    /// The enrolled nodes by name; their ids differ.
    pub peers: BTreeMap<String, PeerRow>,
    /// The external node's part, for a router that plays it (N12).
    pub end: EndConfig,
    /// What is accepted, but hardly wanted.
    pub warnings: Vec<ConfigError>,
}

/// What the external node reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndConfig {
    /// The external node's settings; None: there is no `config end`.
    pub end: Option<EndSettings>,
    /// The homes by section name; their domains differ.
    pub homes: BTreeMap<String, HomeRow>,
}

/// Reads a router's configuration; on failure returns everything that is wrong.
pub fn load_router(path: &Path) -> Result<RouterConfig, Vec<ConfigError>> {
    let text = uci::read_text(path)?;
    parse_config(path, &text)
}

/// Reads an external node's configuration; on failure returns everything that is wrong.
pub fn load_end(path: &Path) -> Result<EndConfig, Vec<ConfigError>> {
    load_router(path).map(|config| config.end)
}

/// Reads a configuration from a text; `path` only appears in messages.
pub fn parse_config(path: &Path, text: &str) -> Result<RouterConfig, Vec<ConfigError>> {
    let (file, errors) = UciFile::parse(path, text);
    let mut loader = Loader { config: RouterConfig::default(), report: Report::new(path, errors) };
    loader.check_section_names(&file);
    for section in &file.sections {
        loader.section(section);
    }
    loader.check_duplicates(&file);
    loader.warn_about_references(&file);
    let Loader { mut config, mut report } = loader;
    if report.errors.is_empty() {
        config.warnings = report.warnings;
        return Ok(config);
    }
    report.errors.sort_by_key(|error| error.line);
    Err(report.errors)
}

struct Loader {
    config: RouterConfig,
    report: Report,
}

impl Loader {
    fn section(&mut self, section: &Section) {
        let (config, report) = (&mut self.config, &mut self.report);
        match section.kind.as_str() {
            "router" => config.router = Some(RouterSettings::read(section, report)),
            "end" => config.end.end = Some(EndSettings::read(section, report)),
            "host" => {
                if let Some(row) = HostRow::read(section, report)
                    && let Some(first) = config.hosts.insert(row.name.clone(), row)
                {
                    let problem =
                        format!("the host name is already used in line {}; a name has one row", first.line);
                    report.section(section, problem);
                }
            }
            "peer" => {
                if let Some(row) = PeerRow::read(section, report) {
                    config.peers.insert(row.name.clone(), row);
                }
            }
            "home" => {
                if let Some(row) = HomeRow::read(section, report) {
                    config.end.homes.insert(row.name.clone(), row);
                }
            }
            other => {
                let problem =
                    format!("the section type {} is unknown; {}", shown(other), nearest(other, &KINDS));
                report.section(section, problem);
            }
        }
    }

    /// libuci merges sections of the same name, whatever their types.
    fn check_section_names(&mut self, file: &UciFile) {
        let mut seen: BTreeMap<&str, &Section> = BTreeMap::new();
        let mut settings: BTreeMap<&str, &Section> = BTreeMap::new();
        for section in &file.sections {
            let kind = section.kind.as_str();
            if let Some(first) = section.name.as_deref().and_then(|name| seen.insert(name, section)) {
                let problem = format!(
                    "the section name is already used in line {} (by {}); a name is used once in a file",
                    first.line,
                    first.title()
                );
                self.report.section(section, problem);
            } else if matches!(kind, "router" | "end")
                && let Some(first) = settings.insert(kind, section)
            {
                let problem = format!("there is already a config {kind} in line {}; use one", first.line);
                self.report.section(section, problem);
            }
        }
    }

    /// A key id stands for one peer, a domain for one home.
    fn check_duplicates(&mut self, file: &UciFile) {
        let (mut ids, mut domains) = (BTreeMap::new(), BTreeMap::new());
        for section in &file.sections {
            let name = section.name.as_deref().unwrap_or_default();
            let problem = match section.kind.as_str() {
                "peer" => self.config.peers.get(name).and_then(|row| {
                    let first = ids.insert(row.id, name)?;
                    Some(format!("option id {} is already used by peer '{first}'", row.id))
                }),
                "home" => self.config.end.homes.get(name).and_then(|row| {
                    let first = domains.insert(row.domain.clone(), name)?;
                    Some(format!("option domain '{}' is already used by home '{first}'", row.domain))
                }),
                _ => None,
            };
            let option = if section.kind == "peer" { "id" } else { "domain" };
            if let Some(problem) = problem
                && let Some(option) = section.options.iter().find(|found| found.name == option)
            {
                Fields { section, report: &mut self.report }.error(option, problem);
            }
        }
    }

    /// Names of peers or hosts that are not there admit nobody, so they are only worth a warning: a peer that is
    /// removed may not invalidate the rows that name it.
    fn warn_about_references(&mut self, file: &UciFile) {
        let RouterConfig { hosts, peers, .. } = &self.config;
        for section in &file.sections {
            let (list, known): (_, &dyn Fn(&str) -> bool) = match section.kind.as_str() {
                "host" => ("peer", &|name| name == ANYONE || peers.contains_key(name)),
                "peer" => ("host", &|name| hosts.contains_key(name.to_ascii_lowercase().as_str())),
                _ => continue,
            };
            for option in section.options.iter().filter(|option| option.name == list) {
                for name in option.value.split_whitespace().filter(|name| !known(name)) {
                    let problem = format!("list {list} '{}': there is no {list} of that name", shown(name));
                    self.report.warn(section, option, problem);
                }
            }
        }
    }
}
