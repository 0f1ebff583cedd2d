//! A checked view of what a client sends: one question, and what its EDNS says.
//!
//! ```text
//!  packet ─▶ header ─▶ question ─▶ records (only OPT is looked at) ─▶ Question
//!              │           │                 │
//!              ├ QR: Drop  └─────────────────┴ unreadable: FormatError
//!              └ opcode: Update, or NotImplemented
//! ```
//!
//! A parsed question is valid and nobody checks it again. Its [`Key`] says which answer fits it.

use std::fmt;

use domain::base::iana::{Class, Rtype};

use super::wire::{HEADER, NAME_MAX, RecordPlace, plain_name_end, u16_at};

/// UDP payload of a client that says nothing (RFC 1035, 4.2.1).
const UDP_SIZE_MIN: u16 = 512;
/// Longest question: name, EDNS options and a signature take less, and it is kept until its answer is there.
const QUESTION_MAX: usize = 4096;
const OPT: u16 = 41;
const OPCODE_UPDATE: u8 = 5;

/// Bits of the header's third and fourth octet (RFC 1035, 4.1.1; RFC 4035, 3.1.6).
pub mod flag {
    /// Response.
    pub const QR: u16 = 0x8000;
    /// Authoritative answer.
    pub const AA: u16 = 0x0400;
    /// Truncated.
    pub const TC: u16 = 0x0200;
    /// Recursion desired.
    pub const RD: u16 = 0x0100;
    /// Recursion available.
    pub const RA: u16 = 0x0080;
    /// Authentic data.
    pub const AD: u16 = 0x0020;
    /// Checking disabled.
    pub const CD: u16 = 0x0010;
}

/// What to do with a packet that is no plain question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Too short for an answer, or itself an answer: say nothing.
    Drop,
    /// Answer FORMERR.
    FormatError,
    /// Answer NOTIMP: an opcode that is not offered.
    NotImplemented,
    /// A dynamic update (RFC 2136), which its zone reads.
    Update,
}

/// What the client says of itself (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Octets that it takes in one datagram, at least 512 (6.2.3).
    pub udp_size: u16,
    /// Its version.
    pub version: u8,
    /// Whether it wants signatures (DO, RFC 3225).
    pub dnssec_ok: bool,
}

/// A query with one question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    packet: &'a [u8],
    /// Where the name ends; type and class follow.
    name_end: usize,
    key: Key,
    edns: Option<Edns>,
}

impl<'a> Question<'a> {
    /// Reads a packet from a client.
    ///
    /// # Errors
    /// What to do with it instead.
    pub fn parse(packet: &'a [u8]) -> Result<Self, Unreadable> {
        let flags = u16_at(packet, 2).filter(|_| packet.len() >= HEADER).ok_or(Unreadable::Drop)?;
        if flags & flag::QR != 0 {
            return Err(Unreadable::Drop);
        }
        match opcode(flags) {
            0 => Self::read(packet).ok_or(Unreadable::FormatError),
            OPCODE_UPDATE => Err(Unreadable::Update),
            _ => Err(Unreadable::NotImplemented),
        }
    }

    fn read(packet: &'a [u8]) -> Option<Self> {
        let counts = [4, 6, 8, 10].map(|at| u16_at(packet, at));
        let [Some(1), Some(answers), Some(authorities), Some(additionals)] = counts else { return None };
        if packet.len() > QUESTION_MAX {
            return None;
        }
        // The first name of a message has nothing in front of it to point to.
        let name_end = plain_name_end(packet, HEADER)?;
        let (_rtype, class) = (u16_at(packet, name_end)?, u16_at(packet, name_end + 2)?);
        let mut at = name_end + 4;
        for _ in 0..usize::from(answers) + usize::from(authorities) {
            at = RecordPlace::read(packet, at)?.end;
        }
        let mut edns = None;
        for _ in 0..additionals {
            let record = RecordPlace::read(packet, at)?;
            if record.type_of(packet) == Some(OPT) && edns.replace(read_opt(packet, record)?).is_some() {
                // RFC 6891, 6.1.1: more than one is an error.
                return None;
            }
            at = record.end;
        }
        let dnssec_ok = edns.is_some_and(|edns: Edns| edns.dnssec_ok);
        let checking_disabled = u16_at(packet, 2)? & flag::CD != 0;
        let bits = [(dnssec_ok, DNSSEC_OK), (checking_disabled, CHECKING_DISABLED)];
        let bits = bits.into_iter().filter_map(|(set, bit)| set.then_some(bit)).sum();
        let key = Key::new(packet.get(HEADER..name_end + 2)?, class, bits)?;
        (at == packet.len()).then_some(Self { packet, name_end, key, edns })
    }

    /// The message's id.
    pub fn id(&self) -> u16 {
        u16_at(self.packet, 0).unwrap_or(0)
    }

    /// The header's flags.
    pub fn flags(&self) -> u16 {
        u16_at(self.packet, 2).unwrap_or(0)
    }

    /// The question as it came: name, type, class.
    pub fn bytes(&self) -> &'a [u8] {
        self.packet.get(HEADER..self.name_end + 4).unwrap_or_default()
    }

    /// The whole packet.
    pub fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// The name as it came, uncompressed.
    pub fn name(&self) -> &'a [u8] {
        self.packet.get(HEADER..self.name_end).unwrap_or_default()
    }

    /// The type asked for.
    pub fn qtype(&self) -> Rtype {
        Rtype::from_int(u16_at(self.packet, self.name_end).unwrap_or(0))
    }

    /// The class asked for.
    pub fn qclass(&self) -> Class {
        Class::from_int(u16_at(self.packet, self.name_end + 2).unwrap_or(0))
    }

    /// Which answer fits.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What the client says of itself.
    pub fn edns(&self) -> Option<Edns> {
        self.edns
    }

    /// Whether the client wants signatures (DO, RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// Octets that the client takes in one datagram.
    pub fn udp_size(&self) -> usize {
        usize::from(self.edns.map_or(UDP_SIZE_MIN, |edns| edns.udp_size))
    }
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.qtype())
    }
}

/// The opcode in a header's flags.
pub fn opcode(flags: u16) -> u8 {
    u8::try_from(flags >> 11 & 0x0f).unwrap_or(0)
}

/// The OPT record; `None` where it is malformed.
fn read_opt(packet: &[u8], record: RecordPlace) -> Option<Edns> {
    // RFC 6891, 6.1.2: the owner is the root.
    if packet.get(record.owner) != Some(&0) {
        return None;
    }
    let mut at = record.data;
    while at < record.end {
        at = at.checked_add(4)?.checked_add(usize::from(u16_at(packet, at.checked_add(2)?)?))?;
    }
    let ttl = packet.get(record.ttl()..record.data)?;
    let [_rcode, version, flags, ..] = ttl else { return None };
    let udp_size = u16_at(packet, record.rtype + 2)?.max(UDP_SIZE_MIN);
    (at == record.end).then_some(Edns { udp_size, version: *version, dnssec_ok: flags & 0x80 != 0 })
}

/// What decides which answer fits a question: name without case, type, class, and the DO and CD bits.
#[derive(Clone, Copy)]
pub struct Key {
    /// Name in lower case, type, class, bits.
    bytes: [u8; Key::MAX],
    length: u16,
}

const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;

impl Key {
    /// Name, type, class and bits.
    const MAX: usize = NAME_MAX + 5;

    fn new(name_and_type: &[u8], class: u16, bits: u8) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        let length = name_and_type.len() + 3;
        let (name, rest) = bytes.get_mut(..length)?.split_at_mut(length - 5);
        let (from, rtype) = name_and_type.split_at_checked(length - 5)?;
        // Lengths are below 64 and no capital letters, so that they stay as they are.
        for (to, from) in name.iter_mut().zip(from) {
            *to = from.to_ascii_lowercase();
        }
        rest.get_mut(..2)?.copy_from_slice(rtype);
        rest.get_mut(2..4)?.copy_from_slice(&class.to_be_bytes());
        *rest.get_mut(4)? = bits;
        Some(Self { bytes, length: u16::try_from(length).ok()? })
    }

    /// The same with another type.
    pub fn with_type(&self, rtype: Rtype) -> Self {
        let mut key = *self;
        let at = self.name().len();
        super::wire::put_u16(&mut key.bytes, at, rtype.to_int());
        key
    }

    /// The key's octets; equal for questions that the same answer fits.
    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The name in lower case, uncompressed.
    pub fn name(&self) -> &[u8] {
        self.as_slice().get(..usize::from(self.length).saturating_sub(5)).unwrap_or_default()
    }

    /// The question: name in lower case, type, class.
    pub fn question(&self) -> &[u8] {
        self.as_slice().get(..usize::from(self.length).saturating_sub(1)).unwrap_or_default()
    }

    /// The type asked for.
    pub fn qtype(&self) -> Rtype {
        Rtype::from_int(super::wire::u16_at(self.as_slice(), self.name().len()).unwrap_or(0))
    }

    /// Whether signatures are wanted (DO).
    pub fn dnssec_ok(&self) -> bool {
        self.bits() & DNSSEC_OK != 0
    }

    /// Whether the upstream server is not to validate (CD).
    pub fn checking_disabled(&self) -> bool {
        self.bits() & CHECKING_DISABLED != 0
    }

    fn bits(&self) -> u8 {
        self.as_slice().last().copied().unwrap_or(0)
    }

    /// The name as text, if it is a host name.
    pub fn host_name(&self) -> Option<String> {
        host_name(self.name())
    }

    /// The same question about another name, in wire format and lower case.
    pub fn with_name(&self, name: &[u8]) -> Option<Self> {
        let rtype = self.question().get(self.name().len()..)?.get(..2)?;
        Self::new(&[name, rtype].concat(), Class::IN.to_int(), self.bits())
    }
}

/// A name in wire format as text in lower case, without the final dot, if it is made of letters, digits, `-` and `_`.
pub fn host_name(name: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(name.len());
    for label in labels(name) {
        if !label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')) {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&std::str::from_utf8(label).ok()?.to_ascii_lowercase());
    }
    (!text.is_empty()).then_some(text)
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Key {}

impl std::hash::Hash for Key {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for label in labels(self.name()) {
            if !std::mem::take(&mut first) {
                f.write_str(".")?;
            }
            write!(f, "{}", label.escape_ascii())?;
        }
        if first { f.write_str(".") } else { Ok(()) }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The labels of an uncompressed name, the root's left out.
pub fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0_usize;
    std::iter::from_fn(move || {
        let length = usize::from(*name.get(at)?);
        let label = name.get(at + 1..at + 1 + length)?;
        at += length + 1;
        (length > 0).then_some(label)
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::str::FromStr as _;

    use domain::base::{MessageBuilder, Name, opt};
    use proptest::prelude::*;

    use super::*;

    /// A query in the making.
    pub(crate) struct Query(pub &'static str, pub Rtype);

    impl Query {
        /// Without EDNS.
        pub(crate) fn plain(&self) -> Vec<u8> {
            self.build(|_| {})
        }

        /// With EDNS.
        pub(crate) fn edns(&self, size: u16, dnssec_ok: bool) -> Vec<u8> {
            self.build(|builder| {
                builder
                    .opt(|opt| {
                        opt.set_udp_payload_size(size);
                        opt.set_dnssec_ok(dnssec_ok);
                        Ok(())
                    })
                    .unwrap();
            })
        }

        fn build(
            &self,
            more: impl Fn(&mut domain::base::message_builder::AdditionalBuilder<Vec<u8>>),
        ) -> Vec<u8> {
            let mut builder = MessageBuilder::new_vec();
            builder.header_mut().set_id(0x1234);
            builder.header_mut().set_rd(true);
            let mut builder = builder.question();
            builder.push((Name::<Vec<u8>>::from_str(self.0).unwrap(), self.1)).unwrap();
            let mut builder = builder.additional();
            more(&mut builder);
            builder.finish()
        }
    }

    const ALICE: Query = Query("Alice.Home.Example.NET", Rtype::AAAA);

    #[test]
    fn shows_name_type_class_and_edns() {
        let packet = ALICE.edns(1232, true);
        let question = Question::parse(&packet).unwrap();
        assert_eq!(question.key().to_string(), "alice.home.example.net");
        assert_eq!(question.key().host_name().as_deref(), Some("alice.home.example.net"));
        assert_eq!((question.qtype(), question.qclass(), question.id()), (Rtype::AAAA, Class::IN, 0x1234));
        assert_eq!(question.edns(), Some(Edns { udp_size: 1232, version: 0, dnssec_ok: true }));
        assert_eq!(question.name(), b"\x05Alice\x04Home\x07Example\x03NET\x00");
    }

    #[test]
    fn client_without_edns_takes_512_octets() {
        assert_eq!(Question::parse(&ALICE.plain()).unwrap().udp_size(), 512);
        assert_eq!(Question::parse(&ALICE.edns(100, false)).unwrap().udp_size(), 512);
    }

    #[test]
    fn the_key_knows_no_case_but_type_class_and_bits() {
        let key = |packet: &[u8]| *Question::parse(packet).unwrap().key();
        let plain = key(&ALICE.plain());
        assert_eq!(plain, key(&Query("alice.home.example.net", Rtype::AAAA).plain()));
        assert_eq!(plain, key(&ALICE.edns(4096, false)));
        assert_ne!(plain, key(&ALICE.edns(4096, true)));
        let a = key(&Query("alice.home.example.net", Rtype::A).plain());
        assert_ne!(plain, a);
        assert_eq!(a.with_type(Rtype::AAAA), plain);
        let mut checking_disabled = ALICE.plain();
        checking_disabled[3] |= 0x10;
        assert_ne!(plain, key(&checking_disabled));
    }

    #[test]
    fn answers_and_scraps_are_dropped() {
        let mut packet = ALICE.plain();
        for end in 0..12 {
            assert_eq!(Question::parse(&packet[..end]).unwrap_err(), Unreadable::Drop);
        }
        packet[2] |= 0x80;
        assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::Drop);
    }

    #[test]
    fn a_query_cut_anywhere_is_a_format_error() {
        let packet = ALICE.edns(1232, false);
        for end in 12..packet.len() {
            assert_eq!(Question::parse(&packet[..end]).unwrap_err(), Unreadable::FormatError, "{end}");
        }
        let longer = [packet.as_slice(), b"x"].concat();
        assert_eq!(Question::parse(&longer).unwrap_err(), Unreadable::FormatError);
    }

    #[test]
    fn other_numbers_of_questions_are_format_errors() {
        for questions in [0, 2] {
            let mut packet = ALICE.plain();
            packet[5] = questions;
            assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::FormatError);
        }
    }

    #[test]
    fn a_question_with_kilobytes_behind_it_is_a_format_error() {
        let mut packet = ALICE.plain();
        packet[11] = 1;
        for (size, readable) in [(1_000, true), (4_000, true), (5_000, false), (60_000, false)] {
            let record = [b"\0\0\x10\0\x01\0\0\0\0", &u16::to_be_bytes(size)[..], &vec![0; size.into()]];
            assert_eq!(Question::parse(&[&packet[..], &record.concat()].concat()).is_ok(), readable);
        }
    }

    #[test]
    fn a_name_with_a_pointer_is_a_format_error() {
        for pointer in [[0xc0, 0x0c], [0xc0, 0x04], [0xff, 0xff]] {
            let mut packet = ALICE.plain()[..12].to_vec();
            packet.extend(pointer);
            packet.extend([0, 1, 0, 1]);
            assert_eq!(Question::parse(&packet).unwrap_err(), Unreadable::FormatError);
        }
    }

    #[test]
    fn a_malformed_opt_is_a_format_error() {
        let good = ALICE.edns(1232, false);
        let opt = good[good.len() - 11..].to_vec();
        let mut twice = good.clone();
        twice.extend(&opt);
        twice[11] = 2;
        assert_eq!(Question::parse(&twice).unwrap_err(), Unreadable::FormatError);
        let mut cut_option = good.clone();
        let end = cut_option.len();
        cut_option[end - 1] = 5;
        cut_option.extend([0, 10, 0, 8, 1]);
        assert_eq!(Question::parse(&cut_option).unwrap_err(), Unreadable::FormatError);
        let named = [&good[..good.len() - 11], b"\x01a", &opt].concat();
        assert_eq!(Question::parse(&named).unwrap_err(), Unreadable::FormatError);
    }

    #[test]
    fn unknown_options_and_versions_are_read() {
        let packet = ALICE.build(|builder| {
            builder
                .opt(|opt| {
                    opt.set_version(1);
                    let option = opt::UnknownOptData::new(
                        domain::base::iana::OptionCode::from_int(100),
                        b"abc".as_slice(),
                    );
                    opt.push(&option.unwrap())
                })
                .unwrap();
        });
        assert_eq!(Question::parse(&packet).unwrap().edns().unwrap().version, 1);
    }

    #[test]
    fn updates_and_other_opcodes_are_told_apart() {
        for (number, expected) in [
            (1, Unreadable::NotImplemented),
            (4, Unreadable::NotImplemented),
            (5, Unreadable::Update),
            (15, Unreadable::NotImplemented),
        ] {
            let mut packet = ALICE.plain();
            packet[2] |= number << 3;
            assert_eq!(Question::parse(&packet).unwrap_err(), expected);
        }
    }

    #[test]
    fn names_that_are_no_host_names_have_no_text() {
        for name in ["\\229.home.example.net", "a\\.b.example.net", "."] {
            let packet = Query(name, Rtype::A).plain();
            assert_eq!(Question::parse(&packet).unwrap().key().host_name(), None);
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, at in 0_usize..40, byte: u8) {
            let _ = Question::parse(&bytes);
            let mut packet = ALICE.edns(1232, true);
            if let Some(place) = packet.get_mut(at) {
                *place = byte;
            }
            if let Ok(question) = Question::parse(&packet) {
                let _ = (question.key().to_string(), question.key().host_name());
                prop_assert!(question.bytes().len() > 4);
            }
        }
    }
}
