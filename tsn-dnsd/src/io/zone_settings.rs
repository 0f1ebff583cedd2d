//! From the configuration to the zones: rows and secrets in, [`Zones`] or everything that is wrong out.

use std::path::Path;

use natf_config::{ConfigError, DnsdConfig, TsigAlgorithm};

use super::tsig_secrets::{Secrets, key_of};
use crate::zone::{Config, Finding, KeySetting, Origin, RecordSetting, ZoneSetting, Zones};

/// Records that updates may bring into one zone.
const RECORDS_MAX: usize = 10_000;

/// The zones that the configuration in `file` describes, without what updates brought; `now` in Unix seconds.
///
/// # Errors
/// Everything that is wrong with zones, records and keys.
pub fn zones(
    file: &Path,
    config: &DnsdConfig,
    secrets: &Secrets,
    now: u64,
) -> Result<Zones, Vec<ConfigError>> {
    let without = config.tsig_keys.values().filter(|row| !secrets.contains_key(&key_of(row.name.as_str())));
    let mut errors: Vec<ConfigError> = without
        .map(|row| {
            let problem = format!("the file of the TSIG secrets has no line for the key '{}'", row.name);
            error(file, row.line, format!("tsigkey '{}'", row.name), problem)
        })
        .collect();
    let settings = settings(config, secrets);
    match Zones::new(&settings, now) {
        Ok(zones) if errors.is_empty() => return Ok(zones),
        Ok(_) => {}
        // A key without a secret is missing in the zones too; the cause is enough.
        Err(_) if !errors.is_empty() => {}
        Err(findings) => errors.extend(findings.iter().map(|finding| placed(file, config, finding))),
    }
    Err(errors)
}

fn settings(config: &DnsdConfig, secrets: &Secrets) -> Config {
    let zones = config.zones.values().map(|row| ZoneSetting {
        name: row.name.to_string(),
        ttl: row.ttl,
        ns: row.ns.iter().map(ToString::to_string).collect(),
        mail: row.mail.as_ref().map(ToString::to_string),
        update_keys: row.update_keys.iter().map(ToString::to_string).collect(),
        records_max: RECORDS_MAX,
    });
    let records = config.records.iter().map(|row| RecordSetting {
        name: row.name.to_string(),
        rtype: row.kind.clone(),
        value: row.value.clone(),
        ttl: row.ttl,
    });
    let keys = config.tsig_keys.values().filter_map(|row| {
        let secret = secrets.get(&key_of(row.name.as_str()))?.clone();
        Some(KeySetting { name: row.name.to_string(), algorithm: algorithm(row.algorithm).into(), secret })
    });
    Config { zones: zones.collect(), records: records.collect(), keys: keys.collect() }
}

fn algorithm(algorithm: TsigAlgorithm) -> &'static str {
    match algorithm {
        TsigAlgorithm::HmacSha1 => "hmac-sha1",
        TsigAlgorithm::HmacSha256 => "hmac-sha256",
        TsigAlgorithm::HmacSha384 => "hmac-sha384",
        TsigAlgorithm::HmacSha512 => "hmac-sha512",
    }
}

/// Gives a finding its line and section.
fn placed(file: &Path, config: &DnsdConfig, finding: &Finding) -> ConfigError {
    let row = match finding.origin {
        Origin::Zone(number) => {
            config.zones.values().nth(number).map(|row| (row.line, format!("zone '{}'", row.section)))
        }
        Origin::Record(number) => config.records.get(number).map(|row| (row.line, row.title.clone())),
        Origin::Key(number) => {
            config.tsig_keys.values().nth(number).map(|row| (row.line, format!("tsigkey '{}'", row.name)))
        }
    };
    let (line, section) = row.unwrap_or_default();
    error(file, line, section, finding.error.to_string())
}

fn error(file: &Path, line: u32, section: String, problem: String) -> ConfigError {
    let section = Some(section).filter(|section| !section.is_empty());
    ConfigError { file: file.to_owned(), line, section, option: None, value: None, problem }
}

#[cfg(test)]
mod tests {
    use natf_config::parse_dnsd;

    use super::*;

    const FILE: &str = "
config zone 'home'
	option name 'home.example.net'
	list update_key 'alice'

config record
	option name 'www.home.example.net'
	option type 'A'
	option value '192.0.2.1'

config tsigkey 'alice'
";

    fn read(text: &str, secrets: &Secrets) -> Result<Zones, String> {
        let path = Path::new("tsn-dnsd");
        let config = parse_dnsd(path, text).unwrap();
        zones(path, &config, secrets, 1).map_err(|errors| errors[0].to_string())
    }

    #[test]
    fn rows_become_zones() {
        let secrets = Secrets::from([("alice".into(), vec![7; 32].into())]);
        let status: Vec<_> = read(FILE, &secrets).unwrap().list().collect();
        assert_eq!((status[0].name.as_str(), status[0].names), ("home.example.net", 2));
        assert_eq!(status[0].update_keys, ["alice"]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let secrets = Secrets::from([("alice".into(), vec![7; 32].into())]);
        let error = read(&FILE.replace("192.0.2.1", "192.0.2"), &secrets).unwrap_err();
        assert!(error.starts_with("tsn-dnsd:6:") && error.contains("accepted is an IPv4 address"), "{error}");
        let error = read(FILE, &Secrets::new()).unwrap_err();
        assert!(error.starts_with("tsn-dnsd:11: tsigkey 'alice': the file of the TSIG secrets"), "{error}");
    }
}
