//! The MAC algorithms of TSIG (RFC 8945, 6) that are still fit for use.

use domain::base::Name;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::{Sha256, Sha384, Sha512};

/// An algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// For old clients; RFC 8945 has it as "not recommended".
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// The algorithm of this name, `hmac-sha256` and so on.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        Some(match text.to_ascii_lowercase().as_str() {
            "hmac-sha1" => Self::Sha1,
            "hmac-sha256" => Self::Sha256,
            "hmac-sha384" => Self::Sha384,
            "hmac-sha512" => Self::Sha512,
            _ => return None,
        })
    }

    /// Its name on the wire.
    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::Sha1 => b"\x09hmac-sha1\0",
            Self::Sha256 => b"\x0bhmac-sha256\0",
            Self::Sha384 => b"\x0bhmac-sha384\0",
            Self::Sha512 => b"\x0bhmac-sha512\0",
        }
    }

    pub(super) fn is_named(self, name: &Name<Vec<u8>>) -> bool {
        self.name().eq_ignore_ascii_case(name.as_slice())
    }

    /// Octets of a whole MAC.
    pub(super) fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Octets of the shortest MAC that is well formed (RFC 8945, 5.2.2.1).
    pub(super) fn shortest(self) -> usize {
        (self.length() / 2).max(10)
    }

    /// The MAC of the parts, one behind the other.
    pub(super) fn mac<'a>(self, secret: &[u8], parts: impl Iterator<Item = &'a &'a [u8]>) -> Vec<u8> {
        match self {
            Self::Sha1 => mac::<Hmac<Sha1>>(secret, parts),
            Self::Sha256 => mac::<Hmac<Sha256>>(secret, parts),
            Self::Sha384 => mac::<Hmac<Sha384>>(secret, parts),
            Self::Sha512 => mac::<Hmac<Sha512>>(secret, parts),
        }
    }
}

/// Empty if the secret does not fit, which HMAC's never does not.
fn mac<'a, M: Mac + KeyInit>(secret: &[u8], parts: impl Iterator<Item = &'a &'a [u8]>) -> Vec<u8> {
    let Ok(mut mac) = <M as KeyInit>::new_from_slice(secret) else { return Vec::new() };
    parts.for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}
