//! What a host of the LAN calls itself by NetBIOS: the node status of RFC 1002, 4.2.17 and 4.2.18.
//!
//! ```text
//!   question, 50 bytes:  id 2 | 0 2 | 1 0 0 0, 2 each | name of "*" 34 | NBSTAT 2 | IN 2
//!   answer:              id 2 | response 2 | counts 8 | name | NBSTAT 2 | IN 2 | TTL 4 | length 2 |
//!                        number of names 1 | names of 18: text 15, suffix 1, flags 2 | statistics
//! ```
//!
//! A host may say what it likes: its name is shown and proposed, nothing more (N13).

use natf_proto::HostName;

use super::discovery::clean_name;

/// The port of the NetBIOS name service.
pub const PORT: u16 = 137;
/// Longest answer that is read; a host has some ten names.
pub const ANSWER_LIMIT: usize = 1024;

/// Type NBSTAT, class IN.
const NBSTAT: [u8; 4] = [0, 0x21, 0, 1];
const RESPONSE: u8 = 0x80;
/// Name flags: a group's name, and one that is in use.
const GROUP: u8 = 0x80;
const ACTIVE: u8 = 0x04;
/// Suffixes of a host's own name: workstation and file server.
const SUFFIXES: [u8; 2] = [0x00, 0x20];

/// Asks for all names of a host.
pub fn question(id: u16) -> [u8; 50] {
    let mut question = [0; 50];
    let [high, low] = id.to_be_bytes();
    // RFC 1001, 14.1: each half of a byte is a letter from A; "*" is 0x2a, the rest of the 16 bytes are zero.
    let head = [high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 32, b'C', b'K'];
    let bytes = head.into_iter().chain([b'A'; 30]).chain([0]).chain(NBSTAT);
    for (place, byte) in question.iter_mut().zip(bytes) {
        *place = byte;
    }
    question
}

/// The id of an answer and the name that the host has for itself, if it says one; `None` for what is no answer.
pub fn parse_answer(bytes: &[u8]) -> Option<(u16, Option<HostName>)> {
    let ([high, low, flags, ..], mut rest) =
        bytes.split_first_chunk::<12>().map(|(head, rest)| (*head, rest))?;
    if flags & RESPONSE == 0 {
        return None;
    }
    rest = skip_name(rest)?;
    let (kind, rest) = rest.split_first_chunk::<10>()?;
    if !kind.starts_with(&NBSTAT) {
        return None;
    }
    let (count, rest) = rest.split_first()?;
    let names = rest.get(..usize::from(*count) * 18)?;
    Some((u16::from_be_bytes([high, low]), own_name(names)))
}

/// A name of labels, or a pointer to one.
fn skip_name(mut bytes: &[u8]) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first()?;
        match length {
            0 => return Some(rest),
            1..=63 => bytes = rest.get(usize::from(*length)..)?,
            0xc0.. => return rest.get(1..),
            _ => return None,
        }
    }
}

fn own_name(names: &[u8]) -> Option<HostName> {
    let name_with = |wanted: u8| {
        names.as_chunks::<18>().0.iter().find_map(|[text @ .., suffix, flags, _]| {
            let own = *suffix == wanted && flags & GROUP == 0 && flags & ACTIVE != 0;
            own.then(|| clean_name(text)).flatten()
        })
    };
    SUFFIXES.into_iter().find_map(name_with)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer as a Windows host gives it.
    fn answer(names: &[(&str, u8, u8)]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 32];
        bytes.extend(&question(0)[13..46]);
        bytes.extend([0, 0x21, 0, 1, 0, 0, 0, 0, 0, 0, u8::try_from(names.len()).unwrap()]);
        for (name, suffix, flags) in names {
            bytes.extend(format!("{name:<15}").bytes());
            bytes.extend([*suffix, *flags, 0]);
        }
        bytes.extend([2, 0, 0, 0, 0, 0x50]);
        bytes
    }

    #[test]
    fn n13_the_question_asks_for_all_names() {
        let question = question(0x1234);
        assert_eq!(&question[..13], &[0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 32]);
        assert_eq!(&question[13..45], b"CKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(&question[45..], &[0, 0, 0x21, 0, 1]);
    }

    #[test]
    fn n13_the_workstations_own_name_is_taken() {
        let names = [("WORKGROUP", 0, 0x84), ("GAMEBOX", 0x20, 4), ("GAME BOX", 0, 4)];
        let (id, name) = parse_answer(&answer(&names)).unwrap();
        assert_eq!((id, name.unwrap().as_str()), (0x1234, "game-box"));
        let (_, server) = parse_answer(&answer(&names[..2])).unwrap();
        assert_eq!(server.unwrap().as_str(), "gamebox");
        // A group's name and one in conflict are nobody's.
        assert_eq!(parse_answer(&answer(&[("WORKGROUP", 0, 0x84), ("OLD", 0, 0)])), Some((0x1234, None)));
    }

    #[test]
    fn n13_hostile_answers_are_no_names() {
        let good = answer(&[("GAMEBOX", 0, 4)]);
        for length in 0..good.len() - 6 {
            assert_eq!(parse_answer(&good[..length]), None, "{length}");
        }
        let mut question = good.clone();
        question[2] = 0;
        assert_eq!(parse_answer(&question), None);
        let mut many = good.clone();
        many[56] = 255;
        assert_eq!(parse_answer(&many), None);
        let mut odd = good;
        odd[57..72].copy_from_slice(b"\x1b[2J\x07<b>\"'\xff\0\0\0\0");
        assert_eq!(parse_answer(&odd).unwrap().1.unwrap().as_str(), "2j--b");
    }

    #[test]
    fn n13_any_bytes_are_taken_without_a_fall() {
        let mut state = 1u32;
        for round in 0..20_000usize {
            let mut bytes = answer(&[("GAMEBOX", 0, 4), ("X", 0x20, 4)]);
            for _ in 0..1 + round % 4 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let place = state as usize % bytes.len();
                bytes[place] = state.to_be_bytes()[0];
            }
            bytes.truncate(round % (bytes.len() + 1));
            let _ = parse_answer(&bytes);
        }
    }
}
