//! `check` and `--print-ruleset`: what the daemon would do with the files, without doing it.

use std::process::ExitCode;

use natf_end::io::{ruleset, service::QUEUE, settings::Configured};
use serde_json::json;

use crate::{cli::Places, error::Error};

/// Reads the configuration and the keys.
///
/// # Errors
/// Everything that is wrong.
pub fn configured(places: &Places) -> Result<Configured, Error> {
    let config = natf_config::load_end(&places.config).map_err(Error::Config)?;
    Ok(Configured::new(&config, &places.keys)?)
}

/// Says what is wrong, or what there is.
///
/// # Errors
/// Everything that is wrong.
pub fn check(places: &Places, json: bool) -> Result<ExitCode, Error> {
    let found = match configured(places) {
        Err(error) if json => {
            println!("{}", json!({"ok": false, "errors": errors(&error)}));
            return Ok(ExitCode::FAILURE);
        }
        other => other?,
    };
    let domains: Vec<&str> = found.names.domains().collect();
    if json {
        println!("{}", json!({"ok": true, "homes": domains, "virtual": found.prefix.to_string()}));
    } else {
        println!("{}: ok", places.config.display());
        println!("homes: {}", if domains.is_empty() { "none".into() } else { domains.join(", ") });
        println!("virtual addresses: {}", found.prefix);
    }
    Ok(ExitCode::SUCCESS)
}

fn errors(error: &Error) -> Vec<String> {
    match error {
        Error::Config(errors) => errors.iter().map(ToString::to_string).collect(),
        other => vec![other.to_string()],
    }
}

/// Prints the lines for dnsmasq's `conf-dir`.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn print_dnsmasq(places: &Places) -> Result<ExitCode, Error> {
    print!("{}", natf_config::load_end(&places.config).map_err(Error::Config)?.dnsmasq());
    Ok(ExitCode::SUCCESS)
}

/// Prints the nftables table.
///
/// # Errors
/// Everything that is wrong with the configuration.
pub fn print_ruleset(places: &Places) -> Result<ExitCode, Error> {
    print!("{}", ruleset::render(&configured(places)?.rules()));
    println!("# chain {} gets one rule: queue num {} bypass", ruleset::QUEUE_CHAIN, QUEUE);
    Ok(ExitCode::SUCCESS)
}
