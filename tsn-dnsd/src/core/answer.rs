//! An answer as it is kept: the message without OPT, which a client's OPT is appended to, and where its TTLs stand.
//!
//! ```text
//! blob   key (name in lower case, type, class, bits) │ header, question, records │ 16 bits for each TTL
//! ```
//!
//! One allocation holds it all. Answering from it means copying the message and writing into the copy: id, flags, the
//! question's letters, TTLs. Nothing is parsed again.

use std::net::Ipv4Addr;

use domain::base::iana::{Rcode, Rtype};

use super::{
    question::{Key, flag},
    wire::{HEADER, RecordPlace, put_u32, records, u16_at, u32_at},
};

/// A kept answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    blob: Box<[u8]>,
    key_length: u16,
    /// Where the message ends and the places of the TTLs start.
    message_end: u32,
    lifetime: u32,
    error: Option<u16>,
}

/// How the TTLs of an answer count when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Age {
    /// Seconds since it came.
    pub seconds: u32,
    /// More is not told.
    pub ttl_max: u32,
}

impl Age {
    /// As it came.
    pub const NEW: Self = Self { seconds: 0, ttl_max: u32::MAX };
    /// Its time is over (RFC 8767, 4).
    pub const STALE: Self = Self { seconds: 0, ttl_max: 30 };

    /// What is left of a TTL.
    pub fn left(self, ttl: u32) -> u32 {
        ttl.saturating_sub(self.seconds).min(self.ttl_max)
    }
}

impl Answer {
    /// Keeps `message`, which has one uncompressed question, that of `key`, and no OPT, for `lifetime` seconds.
    /// `None` if it is no such message.
    pub fn new(key: &Key, message: &[u8], lifetime: u32) -> Option<Self> {
        let key = key.as_slice();
        let question_end = HEADER + key.len().checked_sub(1)?;
        let mut blob = Vec::with_capacity(key.len() + message.len() + 16);
        blob.extend_from_slice(key);
        blob.extend_from_slice(message);
        let mut end = question_end;
        for record in records(message, question_end) {
            blob.extend_from_slice(&u16::try_from(record.ttl()).ok()?.to_be_bytes());
            end = record.end;
        }
        let message_end = u32::try_from(key.len() + message.len()).ok()?;
        let key_length = u16::try_from(key.len()).ok()?;
        (end == message.len()).then(|| Self {
            blob: blob.into(),
            key_length,
            message_end,
            lifetime,
            error: None,
        })
    }

    /// With the extended error (RFC 8914) that came along.
    pub fn with_error(self, error: Option<u16>) -> Self {
        Self { error, ..self }
    }

    /// The octets of its key.
    pub fn key(&self) -> &[u8] {
        self.blob.get(..self.key_length.into()).unwrap_or_default()
    }

    /// The message.
    pub fn message(&self) -> &[u8] {
        self.blob.get(self.key_length.into()..self.end()).unwrap_or_default()
    }

    /// Octets that it takes in memory.
    pub fn size(&self) -> usize {
        self.blob.len()
    }

    /// Seconds for which it holds.
    pub fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// The extended error that came along.
    pub fn error(&self) -> Option<u16> {
        self.error
    }

    /// Its response code.
    pub fn rcode(&self) -> Rcode {
        Rcode::masked_from_int(self.flags().to_be_bytes()[1])
    }

    /// Whether the upstream server vouches for it (AD).
    pub fn is_authentic(&self) -> bool {
        self.flags() & flag::AD != 0
    }

    /// Where the name of the question ends in the message.
    pub fn name_end(&self) -> usize {
        HEADER + usize::from(self.key_length).saturating_sub(5)
    }

    /// Writes what is left of the TTLs into a copy of the message.
    pub fn write_ttls(&self, copy: &mut [u8], age: Age) {
        for at in self.ttls() {
            let ttl = u32_at(copy, at).unwrap_or(0);
            put_u32(copy, at, age.left(ttl));
        }
    }

    /// The addresses of its A records.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + '_ {
        let message = self.message();
        self.ttls().filter_map(move |ttl| {
            let is_a = u16_at(message, ttl.checked_sub(4)?)? == Rtype::A.to_int();
            let address = u32_at(message, ttl + 6).filter(|_| is_a && u16_at(message, ttl + 4) == Some(4))?;
            Some(Ipv4Addr::from(address))
        })
    }

    /// Its records.
    pub fn records(&self) -> impl Iterator<Item = RecordPlace> + '_ {
        records(self.message(), self.name_end() + 4)
    }

    fn flags(&self) -> u16 {
        u16_at(self.message(), 2).unwrap_or(0)
    }

    fn end(&self) -> usize {
        usize::try_from(self.message_end).unwrap_or(0)
    }

    fn ttls(&self) -> impl Iterator<Item = usize> + '_ {
        let places = self.blob.get(self.end()..).unwrap_or_default();
        places.chunks_exact(2).filter_map(|place| u16_at(place, 0).map(usize::from))
    }
}
