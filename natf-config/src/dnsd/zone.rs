//! `config zone` and `config tsigkey`: zones for which this server speaks, and who may update them (RFC 2136, RFC 8945).

use super::record::{RecordName, required};
use crate::fields::{Fields, Report};
use crate::name::DomainName;
use crate::uci::Section;

const ZONE_OPTIONS: [&str; 5] = ["name", "ttl", "ns", "mail", "update_key"];
const KEY_OPTIONS: [&str; 2] = ["name", "algorithm"];
const ALGORITHMS: &str = "hmac-sha256, hmac-sha384, hmac-sha512 or hmac-sha1";
const TTL_MAX: u64 = 604_800;

/// One zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneRow {
    /// The section's name.
    pub section: String,
    /// The zone's apex.
    pub name: DomainName,
    /// The lifetime of its records in seconds, where they say nothing else.
    pub ttl: u32,
    /// Its name servers; empty: the apex itself.
    pub ns: Vec<DomainName>,
    /// The mailbox in its SOA, as a name; None: `hostmaster` below the apex.
    pub mail: Option<DomainName>,
    /// The TSIG keys that may update it.
    pub update_keys: Vec<RecordName>,
    /// The line of the row in the file.
    pub line: u32,
}

/// One TSIG key; its secret stands in the file of the TSIG keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsigKeyRow {
    /// The key's name on the wire.
    pub name: RecordName,
    /// Its algorithm.
    pub algorithm: TsigAlgorithm,
    /// The line of the row in the file.
    pub line: u32,
}

/// RFC 8945, 6, without those that are no longer used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TsigAlgorithm {
    /// hmac-sha1
    HmacSha1,
    /// hmac-sha256
    HmacSha256,
    /// hmac-sha384
    HmacSha384,
    /// hmac-sha512
    HmacSha512,
}

impl ZoneRow {
    /// Reads a row; None if it has no usable section name or zone name, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &ZONE_OPTIONS);
        if section.name.is_none() {
            fields.section_error("the zone's section has no name; use config zone 'NAME'");
        }
        let name = required(&mut fields, "name", DomainName::ACCEPTED, |text| text.parse().ok());
        let ttl = fields.number("ttl", 0..=TTL_MAX).unwrap_or(60);
        let ns = fields.many("ns", DomainName::ACCEPTED, |text| text.parse().ok());
        let mail = fields.one("mail", "a mailbox such as admin@example.net", |text| {
            // RFC 1035, 8: the part before the @ is the first label.
            text.replacen('@', ".", 1).parse().ok()
        });
        let update_keys = fields.many("update_key", RecordName::ACCEPTED, |text| text.parse().ok());
        Some(ZoneRow {
            section: section.name.clone()?,
            name: name?,
            ttl,
            ns: ns.into_iter().map(|(name, _)| name).collect(),
            mail,
            update_keys: update_keys.into_iter().map(|(name, _)| name).collect(),
            line: section.line,
        })
    }
}

impl TsigKeyRow {
    /// Reads a row; None if it has no usable name, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &KEY_OPTIONS);
        let accepted = "the key's name, such as alice or alice.home.example.net";
        let name = match fields.single("name") {
            Some(_) => fields.one("name", accepted, |text| text.parse().ok()),
            None => section.name.as_deref().and_then(|name| name.parse().ok()),
        };
        if name.is_none() && fields.single("name").is_none() {
            fields.section_error(format!(
                "the key has no name; use config tsigkey 'NAME' or option name: {accepted}"
            ));
        }
        let algorithm = fields.one("algorithm", ALGORITHMS, |text| match text {
            "hmac-sha1" => Some(TsigAlgorithm::HmacSha1),
            "hmac-sha256" => Some(TsigAlgorithm::HmacSha256),
            "hmac-sha384" => Some(TsigAlgorithm::HmacSha384),
            "hmac-sha512" => Some(TsigAlgorithm::HmacSha512),
            _ => None,
        });
        let algorithm = algorithm.unwrap_or(TsigAlgorithm::HmacSha256);
        Some(TsigKeyRow { name: name?, algorithm, line: section.line })
    }
}
