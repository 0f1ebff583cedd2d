//! Dynamic updates (RFC 2136) as far as they concern names and IPv4 addresses, and the answers to them.

use std::net::Ipv4Addr;

use domain::{
    base::{
        Message, ParsedRecord, Rtype,
        iana::{Class, Opcode, Rcode},
        name::ToLabelIter as _,
    },
    rdata::A,
};
use natf_proto::{HostName, MAX_HOST_NAME};

/// Records of one update that are looked at.
const MAX_RECORDS: usize = 64;

/// One change that an update asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The whole name.
    pub name: HostName,
    /// Added with this address; `None`: its addresses are deleted.
    pub address: Option<Ipv4Addr>,
}

/// What an update asks for, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update {
    /// The changes.
    pub changes: Vec<Change>,
    /// Changes of names that are too long or have other characters than hosts' names have.
    pub ignored: usize,
}

/// A message of a dynamic update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpdateMessage {
    /// To the server.
    Update {
        /// Its id.
        id: u16,
        /// What it asks for.
        update: Update,
    },
    /// From the server.
    Answer {
        /// The update's id.
        id: u16,
        /// Whether the server consents (NOERROR).
        consent: bool,
    },
    /// Another DNS message: clients look for the zone first.
    Other,
}

impl UpdateMessage {
    /// Reads a DNS message, without the length that precedes it over TCP; `None` where it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let message = Message::from_slice(bytes).ok()?;
        let header = message.header();
        let id = header.id();
        if header.opcode() != Opcode::UPDATE {
            return Some(Self::Other);
        }
        if header.qr() {
            return Some(Self::Answer { id, consent: header.rcode() == Rcode::NOERROR });
        }
        // RFC 2136, 2: the sections are called zone, prerequisites and updates here.
        let updates = message.authority().ok()?;
        let mut update = Update::default();
        for record in updates.take(MAX_RECORDS) {
            let record = record.ok()?;
            let address = match Effect::of(&record)? {
                Effect::Adds(address) => Some(address),
                Effect::Deletes => None,
                Effect::Nothing => continue,
            };
            match name(&record) {
                Some(name) => update.changes.push(Change { name, address }),
                None => update.ignored += 1,
            }
        }
        Some(Self::Update { id, update })
    }
}

/// What a record of the update section does to the addresses of its name (RFC 2136, 2.5).
enum Effect {
    Adds(Ipv4Addr),
    Deletes,
    Nothing,
}

impl Effect {
    /// Reads the record; `None` where it is broken.
    fn of(record: &ParsedRecord<'_, [u8]>) -> Option<Self> {
        Some(match (record.class(), record.rtype()) {
            (Class::IN, Rtype::A) => Self::Adds(record.to_record::<A>().ok()??.data().addr()),
            (Class::ANY, Rtype::A | Rtype::ANY) | (Class::NONE, Rtype::A) => Self::Deletes,
            _ => Self::Nothing,
        })
    }
}

fn name(record: &ParsedRecord<'_, [u8]>) -> Option<HostName> {
    let mut name = Vec::with_capacity(MAX_HOST_NAME);
    for label in record.owner().iter_labels().filter(|label| !label.is_root()) {
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(label.as_slice());
        if name.len() > MAX_HOST_NAME {
            return None;
        }
    }
    HostName::new(&name).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sent by nsupdate (bind9-dnsutils 9.18): `zone dyn.example.net`, `update delete alice.dyn.example.net A`,
    /// `update add alice.dyn.example.net 60 A 192.168.1.10`.
    fn update() -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, 2, 0, 0];
        bytes.extend(b"\x03dyn\x07example\x03net\0\0\x06\0\x01");
        bytes.extend(b"\x05alice\xc0\x0c\0\x01\0\xff\0\0\0\0\0\0");
        bytes.extend(b"\xc0\x21\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\xa8\x01\x0a");
        bytes
    }

    #[test]
    fn t1_an_update_is_read_in_its_order() {
        let name: HostName = "alice.dyn.example.net".parse().unwrap();
        let changes = [None, Some(Ipv4Addr::new(192, 168, 1, 10))].map(|address| Change { name, address });
        let expected = Update { changes: changes.to_vec(), ignored: 0 };
        assert_eq!(
            UpdateMessage::parse(&update()),
            Some(UpdateMessage::Update { id: 0x1234, update: expected })
        );
    }

    #[test]
    fn t1_an_answer_consents_with_noerror_only() {
        let answer = |code| UpdateMessage::parse(&[0x12, 0x34, 0xa8, code, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(answer(0), Some(UpdateMessage::Answer { id: 0x1234, consent: true }));
        assert_eq!(answer(5), Some(UpdateMessage::Answer { id: 0x1234, consent: false }));
    }

    #[test]
    fn questions_are_no_updates() {
        let mut question = update();
        question[2] = 0;
        assert_eq!(UpdateMessage::parse(&question), Some(UpdateMessage::Other));
    }

    #[test]
    fn a_name_that_points_at_itself_is_broken() {
        let mut endless = update();
        let at = 12 + 17 + 4 + 6;
        assert_eq!(endless[at], 0xc0);
        endless[at + 1] = u8::try_from(at).unwrap();
        assert_eq!(UpdateMessage::parse(&endless), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = UpdateMessage::parse(&bytes);
        }

        #[test]
        fn harmed_updates_are_parsed_without_panic(at in 0usize..78, byte: u8, length in 0usize..90) {
            let mut bytes = update();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(length);
            let _ = UpdateMessage::parse(&bytes);
        }
    }
}
