//! The private host name: how the home calls an internal node (paper 001, 3.1; N1).

use std::{fmt, str::FromStr};

use crate::error::ParseError;

/// Longest private host name, in bytes (T5 has room for as many).
pub const MAX_HOST_NAME: usize = 64;

/// A private host name: 1 to 64 bytes, lower case, labels of letters, digits, `-` and `_`, dots between labels.
///
/// Stored in place, so that reading a request allocates nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostName {
    length: u8,
    bytes: [u8; MAX_HOST_NAME],
}

impl HostName {
    /// Reads a name, folding it to lower case (RFC 4343).
    ///
    /// # Errors
    /// [`ParseError::HostName`] for everything that is no such name.
    pub fn new(name: &[u8]) -> Result<Self, ParseError> {
        let length = u8::try_from(name.len()).map_err(|_| ParseError::HostName)?;
        let well_formed = name.split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
        let mut bytes = [0; MAX_HOST_NAME];
        let place = bytes.get_mut(..name.len()).filter(|_| well_formed).ok_or(ParseError::HostName)?;
        place.copy_from_slice(name);
        place.make_ascii_lowercase();
        Ok(Self { length, bytes })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        let name = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(name).unwrap_or_default()
    }

    pub(crate) fn padded(&self) -> &[u8; MAX_HOST_NAME] {
        &self.bytes
    }
}

impl FromStr for HostName {
    type Err = ParseError;

    fn from_str(name: &str) -> Result<Self, ParseError> {
        Self::new(name.as_bytes())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

impl PartialOrd for HostName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HostName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_folded_to_lower_case() {
        assert_eq!("Alice".parse::<HostName>().unwrap().as_str(), "alice");
    }

    #[test]
    fn names_with_other_characters_or_lengths_are_refused() {
        for bad in ["", ".", "a..b", "a.", "a b", "a\"b", "é", "<script>", &"a".repeat(65)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
        assert!("a".repeat(64).parse::<HostName>().is_ok());
    }
}
