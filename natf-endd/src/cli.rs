//! The command line.

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use lexopt::prelude::*;
use natf_proto::Transport;

use crate::error::Error;

/// What `--help` says.
pub const HELP: &str = "\
natf-endd: reach hosts behind a NAT-f router by name

    natf-endd [OPTIONS]                       run in the foreground; log to stdout, warnings to stderr (RUST_LOG)
    natf-endd check [--json]                  read the configuration and say what is wrong with it
    natf-endd status [--json]                 names, flows, counters and times of the running daemon
    natf-endd ping NAME[:PORT[/udp]] [--json] negotiate for NAME, explain each step, connect nothing
    natf-endd enroll URI [--name HOME]        add the home and its key that 'natf-routerd peer add' printed
    natf-endd reload                          as SIGHUP, and say what is wrong
    natf-endd dnsmasq                         the lines by which a dnsmasq on port 53 asks natf-endd for homes' names
    natf-endd --print-ruleset                 show the nftables table
    natf-endd --version | --help

    -c, --config FILE     configuration           (/etc/config/natf)
    -k, --keys FILE       keys of the homes       (/etc/natf/keys)
        --run-dir DIR     control socket          (/var/run/natf)
        --state-dir DIR   names and their virtual addresses (/var/lib/natf)

'ping' exits with 0 if the router maps the host, with 1 if it refuses or does not answer, and with 3 if it runs no NAT-f
and the home has no key: applications then reach the router itself, as without natf.
";

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Places {
    /// UCI configuration.
    pub config: PathBuf,
    /// Keys of the homes.
    pub keys: PathBuf,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory of the name relation table.
    pub state_dir: PathBuf,
}

impl Places {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("endd.sock")
    }

    /// The name relation table.
    pub fn relations(&self) -> PathBuf {
        self.state_dir.join("relations.json")
    }
}

/// Whom to ping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The whole name.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// TCP, unless `/udp` is written behind the port.
    pub transport: Transport,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let usage = || Error::Usage(format!("'{text}' is not NAME, NAME:PORT or NAME:PORT/udp"));
        let (name, service) = text.split_once(':').unwrap_or((text, "22"));
        let (port, transport) = match service.split_once('/') {
            None | Some((_, "tcp")) => (service.trim_end_matches("/tcp"), Transport::Tcp),
            Some((port, "udp")) => (port, Transport::Udp),
            Some(_) => return Err(usage()),
        };
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(usage)?;
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if name.is_empty() {
            return Err(usage());
        }
        Ok(Self { name, port, transport })
    }
}

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Be the daemon.
    Run,
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Print the nftables table.
    PrintRuleset,
    /// Check the configuration.
    Check,
    /// Show the daemon's state.
    Status,
    /// Make the daemon read its configuration anew.
    Reload,
    /// Print what dnsmasq is told.
    Dnsmasq,
    /// Negotiate and explain.
    Ping(Target),
    /// Add a home.
    Enroll {
        /// `natf://…`.
        uri: String,
        /// Name of the home's section.
        name: Option<String>,
    },
}

/// The command line, read.
#[derive(Debug)]
pub struct Arguments {
    /// What to do.
    pub command: Command,
    /// Where the files are.
    pub places: Places,
    /// Write JSON.
    pub json: bool,
}

/// Reads the command line.
///
/// # Errors
/// Words that have no meaning.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, Error> {
    let mut parser = lexopt::Parser::from_iter(words);
    let mut places = Places {
        config: "/etc/config/natf".into(),
        keys: "/etc/natf/keys".into(),
        run_dir: "/var/run/natf".into(),
        state_dir: "/var/lib/natf".into(),
    };
    let (mut json, mut special, mut name, mut values) = (false, None, None, Vec::new());
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => places.config = parser.value()?.into(),
            Short('k') | Long("keys") => places.keys = parser.value()?.into(),
            Long("run-dir") => places.run_dir = parser.value()?.into(),
            Long("state-dir") => places.state_dir = parser.value()?.into(),
            Long("name") => name = Some(parser.value()?.string()?),
            Long("json") => json = true,
            Short('h') | Long("help") => special = Some(Command::Help),
            Short('V') | Long("version") => special = Some(Command::Version),
            Long("print-ruleset") => special = Some(Command::PrintRuleset),
            Value(value) => values.push(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let command = match special {
        Some(command) => command,
        None => command(&values, name)?,
    };
    Ok(Arguments { command, places, json })
}

fn command(values: &[String], name: Option<String>) -> Result<Command, Error> {
    let words: Vec<&str> = values.iter().map(String::as_str).collect();
    match *words.as_slice() {
        [] => Ok(Command::Run),
        ["check"] => Ok(Command::Check),
        ["status"] => Ok(Command::Status),
        ["reload"] => Ok(Command::Reload),
        ["dnsmasq"] => Ok(Command::Dnsmasq),
        ["ping", target] => Ok(Command::Ping(target.parse()?)),
        ["ping", ..] => Err(Error::Usage("'ping' needs one NAME[:PORT]".into())),
        ["enroll", uri] => Ok(Command::Enroll { uri: uri.into(), name }),
        ["enroll", ..] => Err(Error::Usage("'enroll' needs the one URI that begins with natf://".into())),
        [other, ..] => Err(Error::Usage(format!(
            "'{other}' is no command; accepted are check, status, ping, enroll, reload and dnsmasq"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Arguments, Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn ping_takes_a_name_with_or_without_a_service() {
        let target = |text: &str| text.parse::<Target>().map(|it| (it.name, it.port, it.transport)).ok();
        assert_eq!(target("Alice.home."), Some(("alice.home".into(), 22, Transport::Tcp)));
        assert_eq!(target("alice.home:80"), Some(("alice.home".into(), 80, Transport::Tcp)));
        assert_eq!(target("alice.home:53/udp"), Some(("alice.home".into(), 53, Transport::Udp)));
        for bad in ["", ":80", "alice:", "alice:0", "alice:80/sctp", "alice:70000"] {
            assert_eq!(target(bad), None, "{bad}");
        }
    }

    #[test]
    fn options_stand_anywhere() {
        let arguments = parsed("natf-endd -c /tmp/natf status --json --run-dir /tmp").unwrap();
        assert!(matches!(arguments.command, Command::Status) && arguments.json);
        assert_eq!(arguments.places.socket(), PathBuf::from("/tmp/endd.sock"));
        assert_eq!(arguments.places.config, PathBuf::from("/tmp/natf"));
    }

    #[test]
    fn unknown_words_are_named() {
        assert!(parsed("natf-endd statsu").unwrap_err().to_string().contains("'statsu' is no command"));
        assert!(parsed("natf-endd --jsn").unwrap_err().to_string().contains("--jsn"));
    }
}
