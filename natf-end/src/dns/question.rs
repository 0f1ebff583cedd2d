//! A checked view of a client's query.
//!
//! One question, opcode QUERY, class and type as they come; the name also as lower-case text when it is a host
//! name (RFC 1123 with `_`), for only those can be private host names.

use domain::base::{
    Message, ParsedName, Question as WireQuestion,
    iana::{Class, Opcode, Rtype},
};

/// UDP payload of a client that says nothing (RFC 1035, 4.2.1).
const UDP_SIZE_MIN: u16 = 512;

/// The question section begins behind the header (RFC 1035, 4.1.1).
const QUESTION_START: usize = 12;

/// A query that can be planned for.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    message: &'a Message<[u8]>,
    asked: WireQuestion<ParsedName<&'a [u8]>>,
    name: Option<NameText>,
    edns: Option<Edns>,
}

#[derive(Clone, Copy, Debug)]
struct Edns {
    udp_size: u16,
    dnssec_ok: bool,
}

/// What to do with a packet that is no plain question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Too short for an answer, or itself an answer: say nothing.
    Drop,
    /// Answer FORMERR.
    FormatError,
    /// Another opcode (UPDATE, NOTIFY …): a proxy passes it on as it is (RFC 5625, 4.1).
    Opaque,
}

impl<'a> Question<'a> {
    /// Reads a packet from a client.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Unreadable> {
        let message = Message::from_slice(packet).map_err(|_| Unreadable::Drop)?;
        let header = message.header();
        if header.qr() {
            return Err(Unreadable::Drop);
        }
        if header.opcode() != Opcode::QUERY {
            return Err(Unreadable::Opaque);
        }
        let asked = message.sole_question().map_err(|_| Unreadable::FormatError)?;
        // The first name of a message has nothing in front of it to point to.
        let starts_with_pointer = packet.get(QUESTION_START).is_some_and(|byte| *byte >= 0xc0);
        if starts_with_pointer || asked.qname().is_compressed() {
            return Err(Unreadable::FormatError);
        }
        let edns = message.opt().map(|opt| Edns {
            udp_size: opt.udp_payload_size().max(UDP_SIZE_MIN),
            dnssec_ok: opt.dnssec_ok(),
        });
        let name = NameText::of(asked.qname());
        Ok(Self { message, asked, name, edns })
    }

    /// The query as it came.
    pub fn packet(&self) -> &'a [u8] {
        self.message.as_slice()
    }

    /// The name asked for as text; `None` when it is no host name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_ref().map(NameText::as_str)
    }

    /// The type asked for.
    pub fn qtype(&self) -> Rtype {
        self.asked.qtype()
    }

    /// Whether the class is IN.
    pub fn is_internet(&self) -> bool {
        self.asked.qclass() == Class::IN
    }

    /// Octets that the client takes in one UDP datagram, at least 512 (RFC 6891, 6.2.3).
    pub fn udp_size(&self) -> usize {
        usize::from(self.edns.map_or(UDP_SIZE_MIN, |edns| edns.udp_size))
    }

    /// Whether the client speaks EDNS.
    pub fn has_edns(&self) -> bool {
        self.edns.is_some()
    }

    /// Whether the client wants signatures (DO, RFC 3225): it may validate.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    pub(super) fn message(&self) -> &'a Message<[u8]> {
        self.message
    }

    pub(super) fn asked(&self) -> &WireQuestion<ParsedName<&'a [u8]>> {
        &self.asked
    }
}

/// A host name as lower-case text without a final dot, stored in place.
#[derive(Clone, Copy)]
pub struct NameText {
    bytes: [u8; 254],
    length: u8,
}

impl NameText {
    /// The text of a wire name, if every label is made of letters, digits, `-` and `_`.
    pub fn of(name: &ParsedName<&[u8]>) -> Option<Self> {
        let mut text = Self { bytes: [0; 254], length: 0 };
        for label in name.iter().filter(|label| !label.is_root()) {
            for byte in label.iter() {
                let legal = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                text.push(byte.to_ascii_lowercase()).filter(|()| legal)?;
            }
            text.push(b'.')?;
        }
        text.length = text.length.checked_sub(1)?;
        Some(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    fn push(&mut self, byte: u8) -> Option<()> {
        *self.bytes.get_mut(usize::from(self.length))? = byte;
        self.length += 1;
        Some(())
    }
}

impl std::fmt::Debug for NameText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::query, *};

    #[test]
    fn question_shows_name_type_and_edns() {
        let packet = query("Alice.Home.Example.NET", Rtype::AAAA).edns(1232, true).build();
        let question = Question::parse(&packet).unwrap();
        assert_eq!(question.name(), Some("alice.home.example.net"));
        assert_eq!((question.qtype(), question.is_internet()), (Rtype::AAAA, true));
        assert_eq!((question.udp_size(), question.has_edns(), question.dnssec_ok()), (1232, true, true));
    }

    #[test]
    fn client_without_edns_takes_512_octets() {
        let packet = query("alice.home.example.net", Rtype::A).build();
        let question = Question::parse(&packet).unwrap();
        assert_eq!((question.udp_size(), question.has_edns(), question.dnssec_ok()), (512, false, false));
        let packet = query("alice.home.example.net", Rtype::A).edns(100, false).build();
        assert_eq!(Question::parse(&packet).unwrap().udp_size(), 512);
    }

    #[test]
    fn short_packets_and_answers_are_dropped() {
        assert_eq!(Question::parse(&[]).unwrap_err(), Unreadable::Drop);
        let mut packet = query("alice.home.example.net", Rtype::A).build();
        assert_eq!(Question::parse(&packet[..11]).unwrap_err(), Unreadable::Drop);
        packet[2] |= 0x80;
        assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::Drop);
    }

    #[test]
    fn broken_questions_are_format_errors() {
        let packet = query("alice.home.example.net", Rtype::A).build();
        assert_eq!(Question::parse(&packet[..20]).unwrap_err(), Unreadable::FormatError);
        for questions in [0, 2] {
            let mut packet = packet.clone();
            packet[5] = questions;
            assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::FormatError);
        }
        // A pointer into the header: 0xc004 names whatever the counts say.
        let mut pointing = packet[..12].to_vec();
        pointing.extend([0xc0, 0x04, 0, 1, 0, 1]);
        assert_eq!(Question::parse(&pointing).unwrap_err(), Unreadable::FormatError);
    }

    #[test]
    fn other_opcodes_are_opaque() {
        let mut packet = query("example.net", Rtype::SOA).build();
        packet[2] |= 5 << 3;
        assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::Opaque);
    }

    #[test]
    fn names_that_are_no_host_names_have_no_text() {
        let packet = query("\\229.home.example.net", Rtype::A).build();
        assert_eq!(Question::parse(&packet).unwrap().name(), None);
        let packet = query("a\\.b.home.example.net", Rtype::A).build();
        assert_eq!(Question::parse(&packet).unwrap().name(), None);
        let packet = query(".", Rtype::NS).build();
        assert_eq!(Question::parse(&packet).unwrap().name(), None);
    }
}
