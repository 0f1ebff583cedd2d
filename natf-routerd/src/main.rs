//! `natf-routerd`: the NAT-f router daemon and its commands.

use std::process::ExitCode;

use natf_routerd::cli;

fn main() -> ExitCode {
    natf_daemon::logger::init();
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("natf-routerd: {error}");
            ExitCode::FAILURE
        }
    }
}
