//! `natf-routerd`: the NAT-f router daemon and its commands.

use std::process::ExitCode;

use natf_routerd::cli;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp(None)
        .init();
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("natf-routerd: {error}");
            ExitCode::FAILURE
        }
    }
}
