//! The command line: what was asked, and who does it.

mod enroll;
mod show;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use lexopt::prelude::*;
use serde_json::json;

use crate::{
    error::Error,
    io::{
        daemon,
        settings::{Loaded, Paths},
    },
};

const HELP: &str = "\
tsn-dnsd: a DNS server that tells NAT routers who is about to connect to which of their hosts (TSN)

usage: tsn-dnsd [OPTION]... [COMMAND]

Without a command the daemon runs in the foreground; it logs to stdout, what is wrong to stderr (RUST_LOG=debug for more).
SIGHUP: read the configuration anew, the cache is kept; SIGTERM: stop.

commands:
  check                       read the configuration and say what is wrong with it
  status                      how the daemon is
  counters                    what was asked, answered, refused and dropped
  routers                     the routers that are told, and whether they listen
  cache flush                 forget all answers of upstream servers
  zone list                   the own zones
  reload                      as SIGHUP, and say what is wrong
  dnsmasq                     the lines by which a dnsmasq on port 53 asks this server for announced and own names
  enroll URI [--name NAME]    take the key that a router's 'natf-routerd peer add NAME --role tsn' printed

options:
  -c, --config FILE           configuration (UCI syntax) [/etc/config/tsn-dnsd]
  -k, --keys FILE             keys of the routers, mode 0600 [/etc/tsn-dnsd/keys]; TSIG secrets in 'tsig' beside it
      --run-dir DIR           control socket [/var/run/natf]
      --state-dir DIR         what dynamic updates brought [/var/lib/tsn-dnsd]
      --json                  answers for programs
  -V, --version
  -h, --help
";

const VERSION: &str = concat!("tsn-dnsd ", env!("CARGO_PKG_VERSION"), "\n");

/// The words of a call.
#[derive(Debug)]
struct Call {
    paths: Paths,
    json: bool,
    name: Option<String>,
    words: Vec<String>,
    /// To be printed instead of doing anything.
    text: Option<&'static str>,
}

impl Call {
    fn is_daemon(&self) -> bool {
        self.words.is_empty() && self.text.is_none()
    }
}

/// Does what the command line says.
///
/// # Errors
/// What went wrong, in words for the user.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<ExitCode, Error> {
    let call = parse(arguments)?;
    if !call.is_daemon() {
        natf_kernel::process::end_with_reader();
    }
    if let Some(text) = call.text {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let words: Vec<_> = call.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => daemon::run(call.paths).map(|()| ExitCode::SUCCESS),
        ["check"] => check(&call),
        ["status"] => show::status(&call),
        ["counters"] => show::counters(&call),
        ["routers"] => show::routers(&call),
        ["cache", "flush"] => show::flush(&call),
        ["zone", "list"] => show::zones(&call),
        ["reload"] => show::reload(&call),
        ["dnsmasq"] => dnsmasq(&call),
        ["enroll", uri] => enroll::enroll(&call, uri),
        other => Err(Error::Usage(format!("'{}' is no command", other.join(" ")))),
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, Error> {
    let mut call = Call {
        paths: Paths {
            config: "/etc/config/tsn-dnsd".into(),
            keys: "/etc/tsn-dnsd/keys".into(),
            run_dir: "/var/run/natf".into(),
            state_dir: "/var/lib/tsn-dnsd".into(),
            servers: "/tmp/resolv.conf.d/resolv.conf.auto".into(),
        },
        json: false,
        name: None,
        words: Vec::new(),
        text: None,
    };
    let mut parser = lexopt::Parser::from_iter(arguments);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('c') | Long("config") => call.paths.config = PathBuf::from(parser.value()?),
            Short('k') | Long("keys") => call.paths.keys = PathBuf::from(parser.value()?),
            Long("run-dir") => call.paths.run_dir = PathBuf::from(parser.value()?),
            Long("state-dir") => call.paths.state_dir = PathBuf::from(parser.value()?),
            Long("json") => call.json = true,
            Long("name") => call.name = Some(parser.value()?.string()?),
            Short('V') | Long("version") => call.text = Some(VERSION),
            Short('h') | Long("help") => call.text = Some(HELP),
            Value(word) => call.words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(call)
}

/// Where the configuration is wrong, dnsmasq is told nothing.
fn dnsmasq(call: &Call) -> Result<ExitCode, Error> {
    print!("{}", Loaded::read(&call.paths)?.config.dnsmasq());
    Ok(ExitCode::SUCCESS)
}

fn check(call: &Call) -> Result<ExitCode, Error> {
    let loaded = Loaded::read(&call.paths)?;
    let config = &loaded.config;
    let file = call.paths.config.display();
    if call.json {
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        println!("{}", json!({"good": true, "file": file.to_string(), "warnings": warnings}));
        return Ok(ExitCode::SUCCESS);
    }
    for warning in &config.warnings {
        println!("{warning}");
    }
    let (routers, zones, records) = (config.routers.len(), config.zones.len(), config.records.len());
    println!("{file}: good ({routers} routers, {zones} zones, {records} records)");
    if config.server.upstream.is_empty() {
        println!("no upstream server is configured (list upstream): only own records are answered");
    }
    if routers == 0 {
        println!("no router is enrolled, so no name is announced; see 'tsn-dnsd enroll'");
    }
    Ok(ExitCode::SUCCESS)
}
