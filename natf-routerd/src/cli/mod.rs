//! The command line: what was asked, and who does it.

mod ask;
mod enrol;
mod rpc;
mod show;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use lexopt::prelude::*;

use crate::{
    error::Error,
    io::{
        daemon::{self, Paths},
        ruleset,
        settings::Settings,
    },
};

const HELP: &str = "\
natf-routerd: reach the hosts behind this router by name (NAT-f)

usage: natf-routerd [OPTION]... [COMMAND]

Without a command the daemon runs in the foreground; it logs to stdout, what is wrong to stderr (RUST_LOG=debug for more).
SIGHUP: read the configuration anew; SIGTERM: stop, established flows go on.

commands:
  check                       read the configuration and say what is wrong with it
  status                      how the daemon is
  mappings                    the live mappings
  guide                       clients that TSN servers announced, and to which hosts
  names                       names that hosts of the LAN registered by dynamic update
  counters                    what was asked, mapped, refused and dropped
  hosts                       the access control table
  hosts --discovered          who is on the LAN, and which row covers it; asks the hosts for their NetBIOS names
  why NAME [SERVICE] [--peer PEER]
                              what would become of a request, check by check
  end ID | all                end one mapping, or all
  reload                      as SIGHUP, and say what is wrong
  peer add NAME [--role node|tsn] [--host HOST]... [--domain NAME]
                              enrol an outside node or a TSN server; prints its key once, as text and as QR code
  peer list                   the enrolled peers
  peer rename NAME NEW        give a peer another name; it keeps its key
  peer remove NAME            revoke a peer; its live flows end
  dnsmasq                     the lines by which dnsmasq asks this router for the names of other homes (config end)
  rpc list | call METHOD      for rpcd: the methods, or the answer to one; arguments as JSON on stdin

options:
  -c, --config FILE           configuration (UCI syntax) [/etc/config/natf]
  -k, --keys FILE             keys of the peers, mode 0600 [/etc/natf/keys]
      --run-dir DIR           control socket [/var/run/natf]
      --state-dir DIR         counters of the peers [/etc/natf]
      --leases FILE           DHCP leases of dnsmasq [/tmp/dhcp.leases]
      --json                  answers for programs
      --print-ruleset         print the nftables table and stop
      --measure               have the kernel stamp packets, for 'router_us' in status
  -V, --version
  -h, --help
";

const VERSION: &str = concat!("natf-routerd ", env!("CARGO_PKG_VERSION"), "\n");

/// The words of a call.
#[derive(Debug, Clone)]
struct Call {
    paths: Paths,
    json: bool,
    discovered: bool,
    print_ruleset: bool,
    measure: bool,
    peer: Option<String>,
    role: Option<String>,
    hosts: Vec<String>,
    domain: Option<String>,
    words: Vec<String>,
    /// To be printed instead of doing anything.
    text: Option<&'static str>,
}

impl Call {
    fn is_daemon(&self) -> bool {
        self.words.is_empty() && self.text.is_none() && !self.print_ruleset
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
    if call.print_ruleset {
        let settings = Settings::load(&call.paths.config, &call.paths.keys)?;
        print!("{}", ruleset::render(&settings.rules()));
        return Ok(ExitCode::SUCCESS);
    }
    let words: Vec<_> = call.words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => daemon::run(call.paths, call.measure).map(|()| ExitCode::SUCCESS),
        ["check"] => check(&call),
        ["status"] => show::status(&call),
        ["mappings"] => show::mappings(&call),
        ["guide"] => show::guide(&call),
        ["names"] => show::names(&call),
        ["counters"] => show::counters(&call),
        ["hosts"] if call.discovered => show::discovered(&call),
        ["hosts"] => show::hosts(&call),
        ["why", name] => show::why(&call, name, None),
        ["why", name, service] => show::why(&call, name, Some(service)),
        ["reload"] => show::reload(&call),
        ["end", "all"] => show::end_all(&call),
        ["end", id] => show::end(&call, id),
        ["peer", "add", name] => enrol::add(&call, name),
        ["peer", "list"] => show::peers(&call),
        ["peer", "rename", name, new] => enrol::rename_peer(&call, name, new),
        ["peer", "remove", name] => enrol::remove(&call, name),
        ["dnsmasq"] => dnsmasq(&call),
        ["rpc", "list"] => rpc::list(),
        ["rpc", "call", method] => rpc::call(&call, method),
        other => Err(Error::Usage(format!("'{}' is no command", other.join(" ")))),
    }
}

fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Call, Error> {
    let mut call = Call {
        paths: Paths {
            config: "/etc/config/natf".into(),
            keys: "/etc/natf/keys".into(),
            run_dir: "/var/run/natf".into(),
            state_dir: "/etc/natf".into(),
            leases: "/tmp/dhcp.leases".into(),
        },
        json: false,
        discovered: false,
        print_ruleset: false,
        measure: false,
        peer: None,
        role: None,
        hosts: Vec::new(),
        domain: None,
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
            Long("leases") => call.paths.leases = PathBuf::from(parser.value()?),
            Long("json") => call.json = true,
            Long("discovered") => call.discovered = true,
            Long("print-ruleset") => call.print_ruleset = true,
            Long("measure") => call.measure = true,
            Long("peer") => call.peer = Some(parser.value()?.string()?),
            Long("role") => call.role = Some(parser.value()?.string()?),
            Long("host") => call.hosts.push(parser.value()?.string()?),
            Long("domain") => call.domain = Some(parser.value()?.string()?),
            Short('V') | Long("version") => call.text = Some(VERSION),
            Short('h') | Long("help") => call.text = Some(HELP),
            Value(word) => call.words.push(word.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(call)
}

/// Where the configuration is wrong, dnsmasq is told nothing: there is no daemon that could answer.
fn dnsmasq(call: &Call) -> Result<ExitCode, Error> {
    let config = natf_config::load_router(&call.paths.config).map_err(Error::Config)?;
    print!("{}", config.dnsmasq());
    Ok(ExitCode::SUCCESS)
}

fn check(call: &Call) -> Result<ExitCode, Error> {
    let settings = Settings::load(&call.paths.config, &call.paths.keys)?;
    let (hosts, peers) = (settings.access.rows().count(), settings.peers.len());
    println!("{}: good ({hosts} hosts, {peers} peers)", call.paths.config.display());
    if peers == 0 && !settings.access.open_to_anyone() {
        println!(
            "no peer is enrolled and no host is open to anyone: nobody can get in; see 'natf-routerd peer add'"
        );
    }
    Ok(ExitCode::SUCCESS)
}
