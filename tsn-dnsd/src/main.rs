//! `tsn-dnsd`: the DNS server of TSN and its commands.

use std::process::ExitCode;

use tsn_dnsd::cli;

fn main() -> ExitCode {
    natf_daemon::logger::init();
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tsn-dnsd: {error}");
            ExitCode::FAILURE
        }
    }
}
