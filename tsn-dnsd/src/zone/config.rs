//! What the zones are made of, as plain values: whoever reads the configuration fills them in.

use zeroize::Zeroizing;

use super::error::ZoneError;

/// All that is configured about own names.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `config zone`.
    pub zones: Vec<ZoneSetting>,
    /// `config record`: inside a zone or outside every zone.
    pub records: Vec<RecordSetting>,
    /// `config tsigkey` with the secrets of the key file.
    pub keys: Vec<KeySetting>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub struct Finding {
    /// Where.
    pub origin: Origin,
    /// What.
    pub error: ZoneError,
}

/// An entry of a [`Config`] by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Of `zones`.
    Zone(usize),
    /// Of `records`.
    Record(usize),
    /// Of `keys`.
    Key(usize),
}

/// One zone.
#[derive(Clone, Debug)]
pub struct ZoneSetting {
    /// Its apex, as `home.example.net`.
    pub name: String,
    /// Seconds for records that have no TTL of their own, and for negative answers (RFC 2308, 4).
    pub ttl: u32,
    /// Names of its servers; the apex itself if there are none.
    pub ns: Vec<String>,
    /// Mail address or SOA name of who is responsible; `hostmaster` in the zone if there is none.
    pub mail: Option<String>,
    /// Names of the keys that may update it (RFC 2136, 3.3); without any it is not updated.
    pub update_keys: Vec<String>,
    /// Records that updates may bring into it.
    pub records_max: usize,
}

/// One record.
#[derive(Clone, Debug)]
pub struct RecordSetting {
    /// Whose, as `www.home.example.net` or `*.home.example.net`.
    pub name: String,
    /// A, AAAA, CNAME and so on, see [`super::ZoneError::Type`].
    pub rtype: String,
    /// In the words of a zone file, without quotes.
    pub value: String,
    /// Seconds; that of the zone if there is none.
    pub ttl: Option<u32>,
}

/// One TSIG key (RFC 8945, 6).
#[derive(Clone)]
pub struct KeySetting {
    /// Its name, which both sides use.
    pub name: String,
    /// `hmac-sha256` and so on.
    pub algorithm: String,
    /// The secret itself, not its base64.
    pub secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for KeySetting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeySetting({}, {})", self.name, self.algorithm)
    }
}
