//! `natf-endd`: the external node of NAT-f, a daemon and its commands.
//!
//! ```text
//!   natf-endd            daemon ── service (natf-end): DNS proxy, engine, kernel
//!                          │
//!   natf-endd status ──▶ control socket ──▶ answers in JSON
//!   natf-endd ping …
//! ```

mod cli;
mod error;

mod daemon;

mod control;

mod check;
mod enroll;
mod ping;
mod status;

use std::process::ExitCode;

use cli::Command;

fn main() -> ExitCode {
    natf_daemon::logger::init();
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("natf-endd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode, error::Error> {
    let arguments = cli::parse(std::env::args_os())?;
    let places = arguments.places;
    if !matches!(arguments.command, Command::Run) {
        natf_kernel::process::end_with_reader();
    }
    match arguments.command {
        Command::Run => daemon::run(places),
        Command::Help => print(cli::HELP),
        Command::Version => print(&format!("natf-endd {}\n", env!("CARGO_PKG_VERSION"))),
        Command::PrintRuleset => check::print_ruleset(&places),
        Command::Check => check::check(&places, arguments.json),
        Command::Reload => status::reload(&places),
        Command::Dnsmasq => check::print_dnsmasq(&places),
        Command::Status => status::show(&places, arguments.json),
        Command::Ping(target) => ping::ping(&places, &target, arguments.json),
        Command::Enroll { uri, name } => enroll::enroll(&places, &uri, name.as_deref()),
    }
}

fn print(text: &str) -> Result<ExitCode, error::Error> {
    print!("{text}");
    Ok(ExitCode::SUCCESS)
}
