//! Names in the order of the tree: labels from the root down, in lower case, each behind its length.
//!
//! ```text
//! wire   3 w w w 4 h o m e 7 e x a m p l e 3 n e t 0
//! path   3 n e t 7 e x a m p l e 4 h o m e 3 w w w
//! ```
//!
//! A name's path begins with the path of every name above it, so a zone, a subtree and an empty non-terminal are
//! ranges of a sorted map (RFC 4592, 2.2.2), and names that differ in case only are the same (RFC 4343).

use std::fmt;

use domain::base::name::{Name, ToLabelIter};

/// 255 octets on the wire (RFC 1035, 2.3.4) without the root's.
const PATH_MAX: usize = 254;
/// The path of the label `*` (RFC 4592, 2.1.1).
pub(super) const WILDCARD: &[u8] = b"\x01*";

/// A path on the stack.
#[derive(Clone)]
pub(super) struct Path {
    /// Filled from its end, for a wire name gives the last label of a path first.
    bytes: [u8; PATH_MAX],
    start: usize,
}

impl Path {
    /// The path of a name; `None` if it is longer than a name may be.
    pub(super) fn of(name: &(impl ToLabelIter + ?Sized)) -> Option<Self> {
        let mut path = Self { bytes: [0; PATH_MAX], start: PATH_MAX };
        for label in name.iter_labels().filter(|label| !label.is_root()) {
            let end = path.start;
            path.start = end.checked_sub(label.len() + 1)?;
            let (length, text) = path.bytes.get_mut(path.start..end)?.split_first_mut()?;
            *length = u8::try_from(label.len()).ok()?;
            text.copy_from_slice(label.as_slice());
            text.make_ascii_lowercase();
        }
        Some(path)
    }

    /// Its octets.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// Where the labels of a path end, from the root down.
pub(super) fn label_ends(path: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let mut end = 0;
    std::iter::from_fn(move || {
        end += usize::from(*path.get(end)?) + 1;
        (end <= path.len()).then_some(end)
    })
}

/// The name of a path, in lower case.
pub(super) fn name_of(path: &[u8]) -> Name<Vec<u8>> {
    let mut wire = vec![0; path.len() + 1];
    let mut start = path.len();
    let mut begin = 0;
    for end in label_ends(path) {
        let Some(label) = path.get(begin..end) else { break };
        let place = start.checked_sub(label.len()).and_then(|from| wire.get_mut(from..start));
        let Some(place) = place else { break };
        place.copy_from_slice(label);
        start -= label.len();
        begin = end;
    }
    Name::from_octets(wire).unwrap_or_else(|_| Name::root_vec())
}

/// Shows a path as the text of its name, without the final dot. What is no letter, digit, `-`, `_` or `*` is escaped
/// (RFC 1035, 5.1), so that the text fits into a line of a zone file.
pub(super) struct Shown<'a>(pub(super) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = name_of(self.0);
        if name.is_root() {
            return f.write_str(".");
        }
        for (number, label) in name.iter().filter(|label| !label.is_root()).enumerate() {
            if number > 0 {
                f.write_str(".")?;
            }
            for byte in label.iter() {
                match byte {
                    b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'*' => write!(f, "{}", char::from(byte))?,
                    other => write!(f, "\\{other:03}")?,
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use proptest::prelude::*;

    use super::*;

    fn path(text: &str) -> Vec<u8> {
        Path::of(&Name::<Vec<u8>>::from_str(text).unwrap()).unwrap().as_slice().to_vec()
    }

    #[test]
    fn path_runs_from_the_root_down_in_lower_case() {
        assert_eq!(path("Www.Home.example.NET"), b"\x03net\x07example\x04home\x03www");
        assert_eq!(path("."), b"");
        assert_eq!(name_of(&path("Www.Home.net")).to_string(), "www.home.net");
        assert_eq!(Shown(&path("Www.Home.net")).to_string(), "www.home.net");
        assert_eq!(Shown(&path(".")).to_string(), ".");
    }

    #[test]
    fn path_of_a_name_above_begins_the_path() {
        let below = path("www.home.example.net");
        let ends: Vec<usize> = label_ends(&below).collect();
        assert_eq!(ends, [4, 12, 17, 21]);
        assert_eq!(below[..17], path("home.example.net")[..]);
    }

    #[test]
    fn longest_name_has_a_path() {
        let text = vec!["a".repeat(61); 4].join(".") + "." + &"b".repeat(5);
        assert_eq!(path(&text).len(), 254);
        assert_eq!(name_of(&path(&text)).to_string(), text);
    }

    proptest! {
        #[test]
        fn name_comes_back_from_its_path(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..12)) {
            let mut wire = Vec::new();
            for label in &labels {
                wire.push(u8::try_from(label.len()).unwrap());
                wire.extend(label.to_ascii_lowercase());
            }
            wire.push(0);
            let name = Name::from_octets(wire).unwrap();
            let path = Path::of(&name).unwrap();
            prop_assert_eq!(name_of(path.as_slice()), name.clone());
            let shown = Shown(path.as_slice()).to_string();
            prop_assert!(!shown.contains([' ', ';', '"']));
            prop_assert_eq!(Name::<Vec<u8>>::from_str(&shown).unwrap(), name);
        }
    }
}
