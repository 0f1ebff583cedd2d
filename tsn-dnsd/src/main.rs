//! `tsn-dnsd`: the DNS server of TSN and its commands.

use std::process::ExitCode;

use tsn_dnsd::cli;

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp(None)
        .init();
    match cli::run(std::env::args_os()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tsn-dnsd: {error}");
            ExitCode::FAILURE
        }
    }
}
