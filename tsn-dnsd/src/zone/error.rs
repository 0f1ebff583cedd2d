//! What is wrong with configured zones, records and keys, or with a state file.

use domain::base::Rtype;

/// A failure, in words for a person.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ZoneError {
    /// A name that is none.
    #[error("'{0}' is no domain name; accepted is a name such as home.example.net")]
    Name(String),
    /// Two zones of the same name.
    #[error("zone '{0}' stands twice")]
    ZoneTwice(String),
    /// A record type that cannot be configured.
    #[error(
        "record '{name}' has type '{rtype}'; accepted are A, AAAA, CNAME, MX, TXT, SRV, PTR, NS, CAA, SSHFP, TLSA, SVCB and HTTPS"
    )]
    Type {
        /// Whose record.
        name: String,
        /// The type as written.
        rtype: String,
    },
    /// A value that does not fit its type.
    #[error("record '{name}': {source}")]
    Value {
        /// Whose record.
        name: String,
        /// What is wrong.
        #[source]
        source: ValueError,
    },
    /// A CNAME beside other records, or a second one (RFC 1034, 3.6.2).
    #[error("record '{0}': a CNAME stands alone: no other record may have the same name")]
    CnameNotAlone(String),
    /// More records of one name than are kept.
    #[error("record '{0}': there are more than {1} records of that name")]
    TooManyOfName(String, usize),
    /// A TSIG algorithm that is not known.
    #[error(
        "key '{name}' has algorithm '{algorithm}'; accepted are hmac-sha256, hmac-sha384, hmac-sha512 and, for old clients, hmac-sha1"
    )]
    Algorithm {
        /// Whose.
        name: String,
        /// As written.
        algorithm: String,
    },
    /// A TSIG secret that anybody could guess.
    #[error("key '{name}' has a secret of {length} bytes; accepted are 16 to 512")]
    Secret {
        /// Whose.
        name: String,
        /// How long it is.
        length: usize,
    },
    /// Two TSIG keys of the same name.
    #[error("key '{0}' stands twice")]
    KeyTwice(String),
    /// A zone lists a key that does not exist.
    #[error("zone '{zone}' lists the update key '{key}', but there is no such key")]
    NoSuchKey {
        /// Which zone.
        zone: String,
        /// Which key.
        key: String,
    },
    /// A state file that belongs to something else.
    #[error("the file does not begin with '{expected}'")]
    Foreign {
        /// Its first line would be this.
        expected: String,
    },
}

/// A configured value that does not fit its type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the value '{value}' is no {rtype}; accepted is {accepted}")]
pub struct ValueError {
    value: String,
    rtype: Rtype,
    accepted: &'static str,
}

impl ValueError {
    pub(super) fn new(rtype: Rtype, value: &str) -> Self {
        let accepted = match rtype {
            Rtype::A => "an IPv4 address",
            Rtype::AAAA => "an IPv6 address",
            Rtype::MX => "PREFERENCE NAME, as '10 mail.example.net'",
            Rtype::SRV => "PRIORITY WEIGHT PORT NAME, as '0 5 5060 sip.example.net'",
            Rtype::TXT => "a text of up to 4,000 octets",
            Rtype::CAA => "FLAGS TAG VALUE, as '0 issue letsencrypt.org'",
            Rtype::SSHFP => "ALGORITHM TYPE HEX, as ssh-keygen -r shows it",
            Rtype::TLSA => "USAGE SELECTOR MATCHING HEX, as '3 1 1 0123…'",
            Rtype::SVCB | Rtype::HTTPS => {
                "PRIORITY NAME and alpn=, port=, ipv4hint=, ipv6hint=, no-default-alpn, as '1 . alpn=h2,h3'"
            }
            _ => "a domain name",
        };
        Self { value: value.chars().take(80).collect(), rtype, accepted }
    }
}
