//! Names: private host names, domain names, section names.
//!
//! A private host name is what stands before the home's domain (N1): one or more DNS labels. It has to fit the 64
//! bytes that a notification has for it (T5). Names are compared without case and kept in lower case.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::uci;

/// The room for a private host name in a message (T5).
const MAX_HOST_NAME: usize = 64;
/// RFC 1035, 2.3.4: 255 bytes on the wire are 253 characters.
const MAX_DOMAIN: usize = 253;
/// RFC 1035, 2.3.4.
const MAX_LABEL: usize = 63;

/// The name of a host behind the router, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrivateHostName(Box<str>);

impl PrivateHostName {
    pub(crate) const ACCEPTED: &str =
        "labels of letters, digits, - and _ (1-63 each, no - at their ends), 64 characters in all";

    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a home, in lower case and without the final dot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Box<str>);

impl DomainName {
    pub(crate) const ACCEPTED: &str = "a domain name such as home.example.net";

    /// The name in lower case, without the final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a name; the caller knows which was meant and what is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the name is not made of DNS labels (letters, digits, - and _) or is too long")]
pub struct NameError;

impl FromStr for PrivateHostName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if !are_labels(text, MAX_HOST_NAME) {
            return Err(NameError);
        }
        Ok(PrivateHostName(text.to_ascii_lowercase().into()))
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if !are_labels(text, MAX_DOMAIN) {
            return Err(NameError);
        }
        Ok(DomainName(text.to_ascii_lowercase().into()))
    }
}

macro_rules! text_like {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_like!(PrivateHostName);
text_like!(DomainName);

/// Tells whether UCI takes a text as a section's name: letters, digits and `_`, here at most 64.
pub fn is_section_name(text: &str) -> bool {
    uci::is_name(text) && text.len() <= 64
}

/// Makes a section name out of a domain name: its first label, with `_` for what UCI does not take.
pub fn section_name_of(domain: &DomainName) -> String {
    let label = domain.as_str().split('.').next().unwrap_or_default();
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn are_labels(text: &str, longest: usize) -> bool {
    text.len() <= longest && text.split('.').all(is_label)
}

/// Letters, digits and hyphens (RFC 1123, 2.1), and `_`, which names learnt from DHCP and NetBIOS contain (N13).
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && !label.starts_with('-')
        && !label.ends_with('-')
}
