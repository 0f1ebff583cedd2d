//! What the messages between a TSN server and a router have around their bodies (T5): the 96 bytes of paper 002,
//! ICMP's own 8 included, with a nonce and a tag behind them.
//!
//! ```text
//!      0                   1                   2                   3
//!      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//!     +---------------------------------------------------------------+
//!   0 |            header (16 bytes), as in every message             |
//!     +---------------+-------------------------------+---------------+
//!  16 |   TSN type    |              id               |    outcome    |  \
//!     +---------------+-------------------------------+---------------+   | body, 72 bytes,
//!  20 |                       origin IP address                       |   | sealed
//!     +---------------------------------------------------------------+   |
//!  24 |                 host name, or answer (64 bytes)               |  /
//!     +---------------------------------------------------------------+
//!  88 |                       nonce (24 bytes)                        |
//!     +---------------------------------------------------------------+
//! 112 |                        tag (16 bytes)                         |
//!     +---------------------------------------------------------------+
//! 128
//! ```

use crate::{
    envelope::{Direction, HEADER_LEN, KeyId, NONCE_LEN, TAG_LEN, emit_front, parse_front},
    error::ParseError,
};

/// Bytes of a notice's body: TSN header and TSN data.
pub const NOTICE_BODY_LEN: usize = 72;
/// Bytes of a whole notice.
pub const NOTICE_LEN: usize = HEADER_LEN + NOTICE_BODY_LEN + NONCE_LEN + TAG_LEN;

/// Fields of a notice in the clear.
pub type NoticeBody = [u8; NOTICE_BODY_LEN];
/// A notice as it travels.
pub type NoticeMessage = [u8; NOTICE_LEN];

/// What a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum NoticeKind {
    /// TSN server to router: this host is about to connect to that one (T4).
    Notification = 7,
    /// Router to TSN server: the guide table is ready, or why not (T4).
    Answer = 8,
}

impl NoticeKind {
    fn parse(byte: u8) -> Result<Self, ParseError> {
        match byte {
            7 => Ok(Self::Notification),
            8 => Ok(Self::Answer),
            _ => Err(ParseError::Kind(byte)),
        }
    }

    /// Which way notices of this kind travel.
    pub(crate) fn direction(self) -> Direction {
        match self {
            Self::Notification => Direction::ToRouter,
            Self::Answer => Direction::ToEnd,
        }
    }
}

/// A notice whose header is read and whose body is still sealed.
#[derive(Debug, Clone, Copy)]
pub struct Notice<'a> {
    /// What it is.
    pub kind: NoticeKind,
    /// Whose key sealed it.
    pub key: KeyId,
    /// Notifications: rises with every message of a key. Answers: the notification's.
    pub counter: u64,
    pub(crate) header_bytes: &'a [u8; HEADER_LEN],
    pub(crate) body: &'a NoticeBody,
    pub(crate) nonce: &'a [u8; NONCE_LEN],
    pub(crate) tag: &'a [u8; TAG_LEN],
}

impl<'a> Notice<'a> {
    /// Checks length, magic number, version and kind.
    ///
    /// # Errors
    /// [`ParseError`] with what is wrong; the bytes may be anything.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let wrong_length = ParseError::Length(bytes.len());
        let message: &NoticeMessage = bytes.try_into().map_err(|_| wrong_length)?;
        let (header_bytes, rest) = message.split_first_chunk().ok_or(wrong_length)?;
        let (body, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let tag = rest.try_into().map_err(|_| wrong_length)?;
        let (kind, key, counter) = parse_front(header_bytes)?;
        Ok(Self { kind: NoticeKind::parse(kind)?, key, counter, header_bytes, body, nonce, tag })
    }
}

/// The readable front of a notice.
pub(crate) fn header(kind: NoticeKind, key: KeyId, counter: u64) -> [u8; HEADER_LEN] {
    emit_front(kind as u8, key, counter)
}

/// Puts the parts of a notice together.
pub(crate) fn assemble(
    header: &[u8; HEADER_LEN],
    body: &NoticeBody,
    nonce: &[u8; NONCE_LEN],
    tag: &[u8; TAG_LEN],
) -> NoticeMessage {
    let mut message = [0; NOTICE_LEN];
    for (place, byte) in message.iter_mut().zip(header.iter().chain(body).chain(nonce).chain(tag)) {
        *place = *byte;
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, Envelope, KeyId, Kind, OpenError, PeerKeys, random::tests::Counting};
    use proptest::prelude::*;

    fn sealed() -> (PeerKeys, NoticeMessage) {
        let keys = PeerKeys::derive(KeyId(7), &[42; 32]);
        let body = [5; NOTICE_BODY_LEN];
        let message = keys.seal_notice(NoticeKind::Notification, 99, &body, &mut Counting(0));
        (keys, message)
    }

    #[test]
    fn t5_the_papers_96_bytes_stand_before_nonce_and_tag() {
        const ICMP_HEADER: usize = 8;
        assert_eq!(ICMP_HEADER + HEADER_LEN + NOTICE_BODY_LEN, 96);
        assert_eq!(NOTICE_LEN, 128);
    }

    #[test]
    fn opens_what_it_sealed() {
        let (keys, message) = sealed();
        let notice = Notice::parse(&message).unwrap();
        assert_eq!((notice.kind, notice.key, notice.counter), (NoticeKind::Notification, KeyId(7), 99));
        assert_eq!(keys.open_notice(&notice).unwrap(), [5; NOTICE_BODY_LEN]);
    }

    #[test]
    fn a_notification_cannot_be_reflected_as_its_answer() {
        let (keys, mut message) = sealed();
        message[5] = NoticeKind::Answer as u8;
        assert!(keys.open_notice(&Notice::parse(&message).unwrap()).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (keys, message) = sealed();
        for at in 6..message.len() {
            let mut forged = message;
            forged[at] ^= 1;
            let notice = Notice::parse(&forged).unwrap();
            assert_eq!(keys.open_notice(&notice), Err(OpenError::Forged), "byte {at}");
        }
    }

    #[test]
    fn notices_and_other_messages_are_not_taken_for_each_other() {
        let (keys, mut notice) = sealed();
        notice[5] = Kind::MappingRequest as u8;
        assert_eq!(Notice::parse(&notice).unwrap_err(), ParseError::Kind(1));
        let mut message =
            keys.seal(Direction::ToRouter, Kind::MappingRequest, 1, &[0; crate::BODY_LEN], &mut Counting(0));
        message[5] = NoticeKind::Notification as u8;
        assert_eq!(Envelope::parse(&message).unwrap_err(), ParseError::Kind(7));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Notice::parse(&bytes);
        }

        #[test]
        fn truncated_and_oversized_notices_are_refused(length in 0usize..300) {
            prop_assume!(length != NOTICE_LEN);
            prop_assert_eq!(Notice::parse(&vec![0; length]).unwrap_err(), ParseError::Length(length));
        }
    }
}
