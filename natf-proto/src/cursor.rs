//! Reading and writing big-endian fields one after another. A body is never left by a field too many: both ends check.

use std::net::Ipv4Addr;

use crate::envelope::{BODY_LEN, Body};

/// Takes fields from the front of a body; past the end everything reads as zero.
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a Body) -> Self {
        Self(body)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_be_bytes(self.bytes())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.bytes())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.bytes())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    pub(crate) fn address(&mut self) -> Ipv4Addr {
        Ipv4Addr::from(self.bytes::<4>())
    }
}

/// Puts fields behind one another into a zeroed body; what does not fit is a programming error seen in debug builds.
pub(crate) struct Writer {
    body: Body,
    at: usize,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self { body: [0; BODY_LEN], at: 0 }
    }

    pub(crate) fn bytes(mut self, data: &[u8]) -> Self {
        let place = self.at.checked_add(data.len()).and_then(|end| self.body.get_mut(self.at..end));
        debug_assert!(place.is_some(), "field of {} bytes at {} leaves the body", data.len(), self.at);
        if let Some(place) = place {
            place.copy_from_slice(data);
            self.at += data.len();
        }
        self
    }

    pub(crate) fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub(crate) fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    pub(crate) fn address(self, value: Ipv4Addr) -> Self {
        self.bytes(&value.octets())
    }

    pub(crate) fn finish(self) -> Body {
        self.body
    }
}
