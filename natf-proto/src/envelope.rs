//! What every message has around its body.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |                     magic "NATf" 0x4e415466                   |
//! +---------------+---------------+-------------------------------+
//! |  version = 1  |     kind      |            key id             |
//! +---------------+---------------+-------------------------------+
//! |                                                               |
//! +                            counter                            +
//! |                                                               |
//! +---------------------------------------------------------------+
//! |          nonce (24 bytes), or cookie where key id = 0         |
//! +---------------------------------------------------------------+
//! |           body (128 bytes), sealed unless key id = 0          |
//! +---------------------------------------------------------------+
//! |              tag (16 bytes), zero where key id = 0            |
//! +---------------------------------------------------------------+
//! ```

use crate::error::ParseError;

/// First four bytes of every message.
pub const MAGIC: [u8; 4] = *b"NATf";
/// The one version there is.
pub const VERSION: u8 = 1;
/// Bytes before the nonce; they are authenticated with the body.
pub const HEADER_LEN: usize = 16;
/// Bytes of the nonce of XChaCha20-Poly1305, or of the cookie.
pub const NONCE_LEN: usize = 24;
/// Bytes of the body.
pub const BODY_LEN: usize = 128;
/// Bytes of the authentication tag.
pub(crate) const TAG_LEN: usize = 16;
/// Bytes of a whole message.
pub const MESSAGE_LEN: usize = HEADER_LEN + NONCE_LEN + BODY_LEN + TAG_LEN;

/// Fields of a message in the clear.
pub type Body = [u8; BODY_LEN];
/// A message as it travels.
pub type Message = [u8; MESSAGE_LEN];

/// Names an enrolled key on one router; 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u16);

impl KeyId {
    /// No key: hosts that are open to `anyone`.
    pub const ANONYMOUS: Self = Self(0);
}

/// Which way a message travels; each way has its own key, so that nothing can be reflected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Requests.
    ToRouter,
    /// Answers.
    ToEnd,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// EN to router: map this flow (N5).
    MappingRequest = 1,
    /// Router to EN: the mapping or the refusal (N8).
    MappingResponse = 2,
    /// EN to router: the flow has ended (N9).
    EndRequest = 3,
    /// Router to EN: the mapping is gone.
    EndResponse = 4,
    /// Router to EN: use a higher counter.
    Stale = 5,
    /// Router to an anonymous EN: come back with this cookie (N15).
    Cookie = 6,
}

impl Kind {
    fn parse(byte: u8) -> Result<Self, ParseError> {
        Ok(match byte {
            1 => Self::MappingRequest,
            2 => Self::MappingResponse,
            3 => Self::EndRequest,
            4 => Self::EndResponse,
            5 => Self::Stale,
            6 => Self::Cookie,
            _ => return Err(ParseError::Kind(byte)),
        })
    }
}

/// The authenticated, readable front of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// Whose key sealed it.
    pub key: KeyId,
    /// Requests: rises with every message of a key. Answers: the request's.
    pub counter: u64,
}

impl Header {
    /// Writes the header's bytes.
    pub fn emit(&self) -> [u8; HEADER_LEN] {
        emit_front(self.kind as u8, self.key, self.counter)
    }

    fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, ParseError> {
        let (kind, key, counter) = parse_front(bytes)?;
        Ok(Self { kind: Kind::parse(kind)?, key, counter })
    }
}

/// Writes the 16 bytes with which messages and notices begin.
pub(crate) fn emit_front(kind: u8, key: KeyId, counter: u64) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    let [m0, m1, m2, m3, version, kind_byte, k0, k1, counter_bytes @ ..] = &mut bytes;
    [*m0, *m1, *m2, *m3] = MAGIC;
    *version = VERSION;
    *kind_byte = kind;
    [*k0, *k1] = key.0.to_be_bytes();
    *counter_bytes = counter.to_be_bytes();
    bytes
}

/// Reads kind, key id and counter; magic number and version are the right ones.
pub(crate) fn parse_front(bytes: &[u8; HEADER_LEN]) -> Result<(u8, KeyId, u64), ParseError> {
    let [m0, m1, m2, m3, version, kind, k0, k1, counter @ ..] = bytes;
    if [*m0, *m1, *m2, *m3] != MAGIC {
        return Err(ParseError::Magic);
    }
    if *version != VERSION {
        return Err(ParseError::Version(*version));
    }
    Ok((*kind, KeyId(u16::from_be_bytes([*k0, *k1])), u64::from_be_bytes(*counter)))
}

/// A message whose header is read and whose body is still sealed.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The readable front.
    pub header: Header,
    pub(crate) header_bytes: &'a [u8; HEADER_LEN],
    pub(crate) nonce: &'a [u8; NONCE_LEN],
    pub(crate) body: &'a Body,
    pub(crate) tag: &'a [u8; TAG_LEN],
}

impl<'a> Envelope<'a> {
    /// Checks length, magic number, version and kind.
    ///
    /// # Errors
    /// [`ParseError`] with what is wrong; the bytes may be anything.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let wrong_length = ParseError::Length(bytes.len());
        let message: &Message = bytes.try_into().map_err(|_| wrong_length)?;
        let (header_bytes, rest) = message.split_first_chunk().ok_or(wrong_length)?;
        let (nonce, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let (body, rest) = rest.split_first_chunk().ok_or(wrong_length)?;
        let tag = rest.try_into().map_err(|_| wrong_length)?;
        Ok(Self { header: Header::parse(header_bytes)?, header_bytes, nonce, body, tag })
    }

    /// The body of an anonymous message, which nobody sealed; `None` where a key id is named.
    pub fn anonymous_body(&self) -> Option<&'a Body> {
        (self.header.key == KeyId::ANONYMOUS).then_some(self.body)
    }

    /// What stands in the nonce's place, which is the cookie of an anonymous request.
    pub fn cookie(&self) -> &'a [u8; NONCE_LEN] {
        self.nonce
    }
}

/// Puts the parts of a message together.
pub(crate) fn assemble(
    header: &[u8; HEADER_LEN],
    nonce: &[u8; NONCE_LEN],
    body: &Body,
    tag: &[u8; TAG_LEN],
) -> Message {
    let mut message = [0; MESSAGE_LEN];
    for (place, byte) in message.iter_mut().zip(header.iter().chain(nonce).chain(body).chain(tag)) {
        *place = *byte;
    }
    message
}

/// An anonymous message: nothing is sealed, the nonce's place holds the cookie.
pub fn assemble_anonymous(kind: Kind, counter: u64, cookie: &[u8; NONCE_LEN], body: &Body) -> Message {
    assemble(&Header { kind, key: KeyId::ANONYMOUS, counter }.emit(), cookie, body, &[0; TAG_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_is_184_bytes() {
        assert_eq!(MESSAGE_LEN, 184);
    }

    proptest! {
        #[test]
        fn header_survives_the_round_trip(kind in 1u8..=6, key: u16, counter: u64) {
            let header = Header { kind: Kind::parse(kind).unwrap(), key: KeyId(key), counter };
            prop_assert_eq!(Header::parse(&header.emit()).unwrap(), header);
        }

        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Envelope::parse(&bytes);
        }

        #[test]
        fn truncated_and_oversized_messages_are_refused(length in 0usize..400) {
            prop_assume!(length != MESSAGE_LEN);
            prop_assert_eq!(Envelope::parse(&vec![0; length]).unwrap_err(), ParseError::Length(length));
        }
    }

    #[test]
    fn an_unknown_version_is_named() {
        let mut message = assemble_anonymous(Kind::Cookie, 1, &[0; 24], &[0; 128]);
        message[4] = 9;
        assert_eq!(Envelope::parse(&message).unwrap_err(), ParseError::Version(9));
    }
}
