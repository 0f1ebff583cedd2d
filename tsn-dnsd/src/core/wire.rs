//! Reading DNS messages where they lie: the few steps that every question and every stored answer take.
//!
//! Whatever stands in the bytes, a reader gets an answer or `None`; it takes no more steps than there are bytes.

/// Octets of the header (RFC 1035, 4.1.1).
pub const HEADER: usize = 12;
/// Longest name, root included (RFC 1035, 2.3.4).
pub const NAME_MAX: usize = 255;
/// Labels above this are pointers or of kinds that do not exist (RFC 1035, 4.1.4; RFC 6891, 5).
const LABEL_MAX: u8 = 63;
const POINTER: u8 = 0xc0;

/// The 16 bits at a place.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at.checked_add(2)?)?;
    pair.try_into().ok().map(u16::from_be_bytes)
}

/// The 32 bits at a place.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    four.try_into().ok().map(u32::from_be_bytes)
}

/// Writes 16 bits at a place, if it is there.
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(pair) = at.checked_add(2).and_then(|end| bytes.get_mut(at..end)) {
        pair.copy_from_slice(&value.to_be_bytes());
    }
}

/// Writes 32 bits at a place, if it is there.
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(four) = at.checked_add(4).and_then(|end| bytes.get_mut(at..end)) {
        four.copy_from_slice(&value.to_be_bytes());
    }
}

/// Where an uncompressed name that starts here ends.
pub fn plain_name_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *bytes.get(at)?;
        if length > LABEL_MAX {
            return None;
        }
        at = at.checked_add(usize::from(length) + 1)?;
        if at - start > NAME_MAX {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// Where a name that starts here ends, which may end in a pointer; where that leads is not looked at.
pub fn name_end(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = *bytes.get(at)?;
        if length >= POINTER {
            return at.checked_add(2).filter(|end| *end <= bytes.len());
        }
        if length > LABEL_MAX {
            return None;
        }
        at = at.checked_add(usize::from(length) + 1)?;
        if at - start > NAME_MAX {
            return None;
        }
        if length == 0 {
            return Some(at);
        }
    }
}

/// One resource record, by its places in the message (RFC 1035, 4.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Where the owner starts.
    pub owner: usize,
    /// Where the type stands; class and TTL follow.
    pub rtype: usize,
    /// Where the data starts.
    pub data: usize,
    /// Where the record ends.
    pub end: usize,
}

impl RecordPlace {
    /// The record that starts here.
    pub fn read(bytes: &[u8], start: usize) -> Option<Self> {
        let rtype = name_end(bytes, start)?;
        let data = rtype.checked_add(10)?;
        let end = data.checked_add(usize::from(u16_at(bytes, rtype.checked_add(8)?)?))?;
        (end <= bytes.len()).then_some(Self { owner: start, rtype, data, end })
    }

    /// Its type.
    pub fn type_of(&self, bytes: &[u8]) -> Option<u16> {
        u16_at(bytes, self.rtype)
    }

    /// Where its TTL stands.
    pub fn ttl(&self) -> usize {
        self.rtype + 4
    }
}

/// All records of a message behind its question.
pub fn records(bytes: &[u8], question_end: usize) -> impl Iterator<Item = RecordPlace> + '_ {
    let mut at = question_end;
    std::iter::from_fn(move || {
        let record = RecordPlace::read(bytes, at)?;
        at = record.end;
        Some(record)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_end_where_their_root_or_pointer_does() {
        assert_eq!(plain_name_end(b"\x03www\x02ab\x00rest", 0), Some(8));
        assert_eq!(plain_name_end(b"\x03www\xc0\x0c", 0), None);
        assert_eq!(name_end(b"\x03www\xc0\x0crest", 0), Some(6));
        assert_eq!(name_end(b"\x03www\xc0", 0), None);
        assert_eq!(name_end(b"\x40", 0), None);
        let longest: Vec<u8> =
            [[63_u8; 64].as_slice(); 3].concat().into_iter().chain([61; 62]).chain([0]).collect();
        assert_eq!(plain_name_end(&longest, 0), Some(255));
        let too_long: Vec<u8> =
            [[63_u8; 64].as_slice(); 3].concat().into_iter().chain([62; 63]).chain([0]).collect();
        assert_eq!((plain_name_end(&too_long, 0), name_end(&too_long, 0)), (None, None));
    }

    proptest! {
        #[test]
        fn places_lie_within_the_bytes(bytes: Vec<u8>, start in 0_usize..300) {
            for end in [plain_name_end(&bytes, start), name_end(&bytes, start)].into_iter().flatten() {
                prop_assert!(start < end && end <= bytes.len());
            }
            if let Some(record) = RecordPlace::read(&bytes, start) {
                prop_assert!(record.owner < record.rtype && record.data <= record.end && record.end <= bytes.len());
            }
        }
    }
}
