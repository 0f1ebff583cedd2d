//! Sealing with the enrolled key of a peer: XChaCha20-Poly1305, one derived key per direction.

use chacha20poly1305::{AeadInOut, KeyInit, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroize;

use crate::{
    Kind,
    envelope::{Body, Direction, Envelope, HEADER_LEN, Header, KeyId, Message, NONCE_LEN, TAG_LEN, assemble},
    error::OpenError,
    notice::{self, Notice, NoticeBody, NoticeKind, NoticeMessage},
    random::Random,
};

/// The two working keys of one enrolled peer, derived once.
#[derive(Clone)]
pub struct PeerKeys {
    id: KeyId,
    to_router: XChaCha20Poly1305,
    to_end: XChaCha20Poly1305,
}

impl std::fmt::Debug for PeerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PeerKeys({})", self.id.0)
    }
}

impl PeerKeys {
    /// Derives both directions from the enrolled 256-bit key by HKDF-SHA256 (RFC 5869), without salt.
    pub fn derive(id: KeyId, enrolled: &[u8; 32]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, enrolled);
        let cipher = |label: &[u8]| {
            let mut key = [0u8; 32];
            // 32 bytes are far below HKDF's limit of 255 hashes: this cannot fail.
            let expanded = hkdf.expand_multi_info(&[label, &id.0.to_be_bytes()], &mut key);
            debug_assert!(expanded.is_ok());
            let cipher = XChaCha20Poly1305::new(&key.into());
            key.zeroize();
            cipher
        };
        Self { id, to_router: cipher(b"NAT-f 1 to router"), to_end: cipher(b"NAT-f 1 to end") }
    }

    /// Whose keys these are.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn cipher(&self, direction: Direction) -> &XChaCha20Poly1305 {
        match direction {
            Direction::ToRouter => &self.to_router,
            Direction::ToEnd => &self.to_end,
        }
    }

    /// Seals a body; the header's key id is this peer's. The nonce is random: a reset counter never reuses one.
    pub fn seal(
        &self,
        direction: Direction,
        kind: Kind,
        counter: u64,
        body: &Body,
        random: &mut dyn Random,
    ) -> Message {
        let header = Header { kind, key: self.id, counter }.emit();
        let mut sealed = *body;
        let (nonce, tag) = self.seal_in_place(direction, &header, &mut sealed, random);
        assemble(&header, &nonce, &sealed, &tag)
    }

    /// Seals the body of a notice, as [`Self::seal`] does with the others.
    pub fn seal_notice(
        &self,
        kind: NoticeKind,
        counter: u64,
        body: &NoticeBody,
        random: &mut dyn Random,
    ) -> NoticeMessage {
        let header = notice::header(kind, self.id, counter);
        let mut sealed = *body;
        let (nonce, tag) = self.seal_in_place(kind.direction(), &header, &mut sealed, random);
        notice::assemble(&header, &sealed, &nonce, &tag)
    }

    fn seal_in_place(
        &self,
        direction: Direction,
        header: &[u8; HEADER_LEN],
        body: &mut [u8],
        random: &mut dyn Random,
    ) -> ([u8; NONCE_LEN], [u8; TAG_LEN]) {
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let cipher = self.cipher(direction);
        match cipher.encrypt_inout_detached(&XNonce::from(nonce), header, (&mut *body).into()) {
            Ok(tag) => (nonce, tag.into()),
            Err(_) => {
                // The cipher only refuses more than 256 GiB. A zero message opens nowhere.
                body.fill(0);
                (nonce, [0; TAG_LEN])
            }
        }
    }

    /// Opens a message; the comparison of the tag takes the same time for every outcome.
    ///
    /// # Errors
    /// [`OpenError::Forged`] for another key, another direction or any changed bit.
    pub fn open(&self, direction: Direction, envelope: &Envelope<'_>) -> Result<Body, OpenError> {
        let mut body = *envelope.body;
        self.open_in_place(direction, envelope.header_bytes, envelope.nonce, &mut body, envelope.tag)?;
        Ok(body)
    }

    /// Opens a notice, as [`Self::open`] does with the others.
    ///
    /// # Errors
    /// [`OpenError::Forged`] for another key, another direction or any changed bit.
    pub fn open_notice(&self, notice: &Notice<'_>) -> Result<NoticeBody, OpenError> {
        let mut body = *notice.body;
        self.open_in_place(
            notice.kind.direction(),
            notice.header_bytes,
            notice.nonce,
            &mut body,
            notice.tag,
        )?;
        Ok(body)
    }

    fn open_in_place(
        &self,
        direction: Direction,
        header: &[u8; HEADER_LEN],
        nonce: &[u8; NONCE_LEN],
        body: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), OpenError> {
        self.cipher(direction)
            .decrypt_inout_detached(&XNonce::from(*nonce), header, body.into(), &(*tag).into())
            .map_err(|_| OpenError::Forged)
    }
}

/// Eight bytes that tell enrolled keys apart and give nothing of them away: the start of HKDF's output under a label
/// of its own.
pub fn fingerprint(enrolled: &[u8; 32]) -> [u8; 8] {
    let mut print = [0; 8];
    let expanded = Hkdf::<Sha256>::new(None, enrolled).expand(b"NAT-f 1 fingerprint", &mut print);
    debug_assert!(expanded.is_ok());
    print
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BODY_LEN, random::tests::Counting};

    fn sealed() -> (PeerKeys, Message) {
        let keys = PeerKeys::derive(KeyId(7), &[42; 32]);
        let message =
            keys.seal(Direction::ToRouter, Kind::MappingRequest, 99, &[5; BODY_LEN], &mut Counting(0));
        (keys, message)
    }

    #[test]
    fn opens_what_it_sealed() {
        let (keys, message) = sealed();
        let envelope = Envelope::parse(&message).unwrap();
        assert_eq!(envelope.header, Header { kind: Kind::MappingRequest, key: KeyId(7), counter: 99 });
        assert_eq!(keys.open(Direction::ToRouter, &envelope).unwrap(), [5; BODY_LEN]);
    }

    #[test]
    fn a_message_cannot_be_reflected() {
        let (keys, message) = sealed();
        assert!(keys.open(Direction::ToEnd, &Envelope::parse(&message).unwrap()).is_err());
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let (keys, message) = sealed();
        for at in 6..message.len() {
            let mut forged = message;
            forged[at] ^= 1;
            let envelope = Envelope::parse(&forged).unwrap();
            assert_eq!(keys.open(Direction::ToRouter, &envelope), Err(OpenError::Forged), "byte {at}");
        }
    }

    #[test]
    fn another_key_does_not_open() {
        let (_, message) = sealed();
        let other = PeerKeys::derive(KeyId(7), &[43; 32]);
        assert!(other.open(Direction::ToRouter, &Envelope::parse(&message).unwrap()).is_err());
    }

    #[test]
    fn debug_output_has_no_key() {
        assert_eq!(format!("{:?}", PeerKeys::derive(KeyId(7), &[42; 32])), "PeerKeys(7)");
    }
}
