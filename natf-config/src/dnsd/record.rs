//! `config record`: one own record. The value is read by the server, which knows the record types' forms.

use std::fmt;
use std::str::FromStr;

use crate::fields::{Fields, Report};
use crate::name::NameError;
use crate::uci::Section;

const OPTIONS: [&str; 4] = ["name", "type", "value", "ttl"];
/// The types that have a presentation format and make sense in a file of one's own.
const TYPES: [&str; 13] =
    ["A", "AAAA", "CNAME", "MX", "TXT", "SRV", "PTR", "NS", "CAA", "SSHFP", "TLSA", "SVCB", "HTTPS"];
/// RFC 2181, 8: no higher bit; a week is plenty.
const TTL_MAX: u64 = 604_800;

/// The name of a record: labels of letters, digits, `-` and `_`, the first of which may be `*`; in lower case, without the
/// final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordName(Box<str>);

impl RecordName {
    pub(crate) const ACCEPTED: &str = "a name such as www.home.example.net or *.home.example.net";

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecordName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let labels = text.strip_prefix("*.").unwrap_or(text);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        if text.len() > 253 || !labels.split('.').all(is_label) {
            return Err(NameError);
        }
        Ok(RecordName(text.to_ascii_lowercase().into()))
    }
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// The owner.
    pub name: RecordName,
    /// The type in capitals, such as `AAAA`.
    pub kind: String,
    /// The data in presentation format.
    pub value: String,
    /// The lifetime in seconds; None: the zone's.
    pub ttl: Option<u32>,
    /// The line of the row in the file.
    pub line: u32,
    /// The section as messages name it.
    pub title: String,
}

impl RecordRow {
    /// Reads a row; None if a part is missing or wrong, which is reported.
    pub(crate) fn read(section: &Section, report: &mut Report) -> Option<Self> {
        let mut fields = Fields::new(section, report, &OPTIONS);
        let name = required(&mut fields, "name", RecordName::ACCEPTED, |text| text.parse().ok());
        let accepted = TYPES.join(", ");
        let kind = required(&mut fields, "type", &accepted, |text| {
            TYPES.iter().find(|kind| kind.eq_ignore_ascii_case(text)).map(|kind| (*kind).to_owned())
        });
        let accepted = "the record's data, such as 203.0.113.5";
        let value = required(&mut fields, "value", accepted, |text| Some(text.to_owned()));
        let ttl = fields.number("ttl", 0..=TTL_MAX);
        Some(RecordRow {
            name: name?,
            kind: kind?,
            value: value?,
            ttl,
            line: section.line,
            title: section.title(),
        })
    }
}

/// An option that has no default.
pub(super) fn required<T>(
    fields: &mut Fields<'_>,
    name: &str,
    accepted: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Option<T> {
    let value = fields.one(name, accepted, parse);
    if value.is_none() && fields.single(name).is_none() {
        fields.section_error(format!("option {name} is missing; use {accepted}"));
    }
    value
}
