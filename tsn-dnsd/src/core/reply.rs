//! What a client gets: composed at the end of an output buffer, without another allocation.
//!
//! ```text
//! header (id, RD, CD of the client; QR, RA) │ question, letter for letter │ records │ OPT, if the client has one
//! ```
//!
//! What does not fit the client's datagram is cut to header, question and OPT, with TC (RFC 2181, 9), so that the
//! client comes again by TCP.

use domain::base::iana::{Rcode, Rtype};

use super::{
    answer::{Age, Answer},
    question::{Question, flag},
    wire::{HEADER, put_u16, u16_at},
};

/// What this server takes in one datagram, and says of itself (DNS flag day 2020).
pub const UDP_SIZE: u16 = 1232;
/// Extended error codes (RFC 8914, 5.2).
pub mod extended {
    /// Stale Answer.
    pub const STALE_ANSWER: u16 = 3;
    /// Stale NXDOMAIN Answer.
    pub const STALE_NXDOMAIN: u16 = 19;
    /// Cached Error.
    pub const CACHED_ERROR: u16 = 13;
    /// Not Ready.
    pub const NOT_READY: u16 = 14;
    /// Prohibited.
    pub const PROHIBITED: u16 = 18;
    /// Not Authoritative.
    pub const NOT_AUTHORITATIVE: u16 = 20;
    /// Not Supported.
    pub const NOT_SUPPORTED: u16 = 21;
    /// No Reachable Authority.
    pub const NO_REACHABLE_AUTHORITY: u16 = 22;
    /// Network Error.
    pub const NETWORK_ERROR: u16 = 23;
}

/// Seconds for which a client may keep "no address" of an announced name.
const EMPTY_TTL: u32 = 5;
/// RFC 8482, 4.2: the answer to ANY says why it is short.
const ANY_HINFO: &[u8] = b"\xc0\x0c\x00\x0d\x00\x01\x00\x00\x0e\x10\x00\x09\x07RFC8482\x00";
/// Behind owner and TTL of an SOA: `localhost nobody.invalid 1 3600 1200 604800 5`.
const EMPTY_SOA: &[u8] = b"\x09localhost\0\x06nobody\x07invalid\0\
    \0\0\0\x01\0\0\x0e\x10\0\0\x04\xb0\0\x09\x3a\x80\0\0\0\x05";
/// Extended rcode BADVERS (RFC 6891, 9) in the OPT's upper bits.
const BADVERS_UPPER: u8 = 1;

/// An extended error (RFC 8914): code and a few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note<'a> {
    /// The code.
    pub code: u16,
    /// Words for people; may be empty.
    pub text: &'a str,
}

impl Note<'static> {
    /// A code without words.
    pub const fn code(code: u16) -> Self {
        Self { code, text: "" }
    }
}

/// Records behind the question, ready for the wire.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sections<'a> {
    /// Answer, authority and additional records.
    pub counts: [u16; 3],
    /// Their octets.
    pub bytes: &'a [u8],
    /// Whether this server speaks for the name.
    pub authoritative: bool,
}

/// Composes one reply at the end of `out`.
pub struct Reply<'a, 'q> {
    question: &'a Question<'q>,
    /// Octets that the client takes.
    limit: usize,
    note: Option<Note<'a>>,
}

impl<'a, 'q> Reply<'a, 'q> {
    /// To this question; over UDP no more than its sender and all paths take.
    pub fn to(question: &'a Question<'q>, over_udp: bool) -> Self {
        let limit = if over_udp { question.udp_size().min(UDP_SIZE.into()) } else { usize::from(u16::MAX) };
        Self { question, limit, note: None }
    }

    /// With an extended error, if the client has EDNS.
    pub fn note(self, note: Option<Note<'a>>) -> Self {
        Self { note, ..self }
    }

    /// A kept answer; true if it fits.
    pub fn answer(&self, answer: &Answer, age: Age, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.extend_from_slice(answer.message());
        let copy = out.get_mut(start..).unwrap_or_default();
        answer.write_ttls(copy, age);
        let wants_authentic = self.question.flags() & flag::AD != 0 || self.question.dnssec_ok();
        let authentic = if answer.is_authentic() && wants_authentic { flag::AD } else { 0 };
        put_u16(copy, 0, self.question.id());
        put_u16(copy, 2, self.flags() | authentic | u16::from(answer.rcode().to_int()));
        let asked = self.question.bytes();
        if let Some(place) = copy.get_mut(HEADER..HEADER + asked.len()) {
            place.copy_from_slice(asked);
        }
        self.finish(start, 0, out)
    }

    /// Records that are ready for the wire; true if they fit.
    pub fn sections(&self, rcode: Rcode, sections: Sections<'_>, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let authoritative = if sections.authoritative { flag::AA } else { 0 };
        self.header(rcode, authoritative, out);
        out.extend_from_slice(sections.bytes);
        for (at, count) in [6, 8, 10].into_iter().zip(sections.counts) {
            put_u16(out.get_mut(start..).unwrap_or_default(), at, count);
        }
        self.finish(start, 0, out)
    }

    /// Only a response code.
    pub fn bare(&self, rcode: Rcode, out: &mut Vec<u8>) {
        let start = out.len();
        self.header(rcode, 0, out);
        self.finish(start, 0, out);
    }

    /// BADVERS (RFC 6891, 6.1.3).
    pub fn bad_version(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.header(Rcode::NOERROR, 0, out);
        self.finish(start, BADVERS_UPPER, out);
    }

    /// The minimal answer to ANY (RFC 8482, 4.2).
    pub fn any(&self, out: &mut Vec<u8>) {
        let sections = Sections { counts: [1, 0, 0], bytes: ANY_HINFO, authoritative: false };
        self.sections(Rcode::NOERROR, sections, out);
    }

    /// There is no such record (NODATA, RFC 2308, 2.2); `apex` is where the zone's name starts in the question's.
    pub fn empty(&self, apex: usize, out: &mut Vec<u8>) {
        let mut soa = Vec::with_capacity(12 + EMPTY_SOA.len());
        let pointer = u16::try_from(HEADER + apex).unwrap_or(0x0c) | 0xc000;
        let length = u16::try_from(EMPTY_SOA.len()).unwrap_or(0);
        soa.extend_from_slice(&pointer.to_be_bytes());
        soa.extend_from_slice(&Rtype::SOA.to_int().to_be_bytes());
        soa.extend_from_slice(&[0, 1]);
        soa.extend_from_slice(&EMPTY_TTL.to_be_bytes());
        soa.extend_from_slice(&length.to_be_bytes());
        soa.extend_from_slice(EMPTY_SOA);
        let sections = Sections { counts: [0, 1, 0], bytes: &soa, authoritative: false };
        self.sections(Rcode::NOERROR, sections, out);
    }

    /// QR, RA, and what is the client's: RD and CD (RFC 4035, 3.2.2).
    fn flags(&self) -> u16 {
        flag::QR | flag::RA | self.question.flags() & (flag::RD | flag::CD)
    }

    fn header(&self, rcode: Rcode, more: u16, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.question.id().to_be_bytes());
        out.extend_from_slice(&(self.flags() | more | u16::from(rcode.to_int())).to_be_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(self.question.bytes());
    }

    /// Cuts what does not fit and appends OPT; true if nothing was cut.
    fn finish(&self, start: usize, upper: u8, out: &mut Vec<u8>) -> bool {
        let bare_opt = if self.question.edns().is_some() { 11 } else { 0 };
        let length = out.len() - start;
        let whole = length + bare_opt <= self.limit;
        if !whole {
            out.truncate(start + HEADER + self.question.bytes().len());
            let message = out.get_mut(start..).unwrap_or_default();
            let flags = u16_at(message, 2).unwrap_or(0);
            put_u16(message, 2, flags | flag::TC);
            for at in [6, 8, 10] {
                put_u16(message, at, 0);
            }
        }
        if self.question.edns().is_some() {
            let room = self.limit.saturating_sub(out.len() - start + bare_opt);
            self.push_opt(upper, room, out);
            let message = out.get_mut(start..).unwrap_or_default();
            let additional = u16_at(message, 10).unwrap_or(0);
            put_u16(message, 10, additional.saturating_add(1));
        }
        whole
    }

    /// OPT with the note, if that fits the `room` behind it.
    fn push_opt(&self, upper: u8, room: usize, out: &mut Vec<u8>) {
        let dnssec_ok = if self.question.dnssec_ok() { 0x80 } else { 0 };
        out.extend_from_slice(&[0, 0, 41]);
        out.extend_from_slice(&UDP_SIZE.to_be_bytes());
        out.extend_from_slice(&[upper, 0, dnssec_ok, 0]);
        let Some(note) = self.note.filter(|note| note.text.len() + 6 <= room) else {
            return out.extend_from_slice(&[0, 0]);
        };
        let length = u16::try_from(note.text.len()).unwrap_or(0).saturating_add(2);
        for number in [length.saturating_add(4), 15, length, note.code] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(note.text.as_bytes());
    }
}

/// A bare header with a response code, for packets that are not understood. RD and the rest are not mirrored: what
/// they mean under another opcode is not known.
pub fn failure_of(packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) {
    let (Some(id), Some(flags)) = (u16_at(packet, 0), u16_at(packet, 2)) else { return };
    let is_query = flags & 0x7800 == 0;
    let kept = if is_query { 0x7800 | flag::RD | flag::CD } else { 0x7800 };
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&(flag::QR | flags & kept | u16::from(rcode.to_int())).to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}

#[cfg(test)]
mod tests {
    use domain::{
        base::{Message, MessageBuilder, Name, Ttl, opt::AllOptData},
        rdata::{A, AllRecordData},
    };

    use super::{super::question::tests::Query, *};

    const ALICE: Query = Query("ALICE.home.example.net", Rtype::A);

    fn answer(count: u8, ttl: u32) -> Answer {
        let packet = Query("alice.home.example.net", Rtype::A).plain();
        let question = Question::parse(&packet).unwrap();
        let mut builder =
            MessageBuilder::from_target(domain::base::StaticCompressor::new(Vec::new())).unwrap();
        builder.header_mut().set_ad(true);
        let name = Name::from_octets(question.name()).unwrap();
        let mut builder = builder.question();
        builder.push((&name, Rtype::A)).unwrap();
        let mut builder = builder.answer();
        for last in 0..count {
            builder.push((&name, Ttl::from_secs(ttl), A::from_octets(192, 0, 2, last))).unwrap();
        }
        Answer::new(question.key(), &builder.finish().into_target(), ttl).unwrap()
    }

    fn written(packet: &[u8], write: impl FnOnce(&Question<'_>, &mut Vec<u8>)) -> Message<Vec<u8>> {
        let question = Question::parse(packet).unwrap();
        let mut out = b"before".to_vec();
        write(&question, &mut out);
        Message::from_octets(out.split_off(6)).unwrap()
    }

    #[test]
    fn a_kept_answer_gets_id_letters_and_ttls_of_this_moment() {
        let kept = answer(2, 300);
        let reply = written(&ALICE.plain(), |question, out| {
            assert!(Reply::to(question, true).answer(&kept, Age { seconds: 100, ttl_max: 500 }, out));
        });
        assert_eq!((reply.header().id(), reply.header().qr(), reply.header().ra()), (0x1234, true, true));
        assert!(reply.header().rd() && !reply.header().aa() && !reply.header().ad());
        assert_eq!(reply.sole_question().unwrap().qname().to_string(), "ALICE.home.example.net");
        let records: Vec<_> = reply.answer().unwrap().map(Result::unwrap).collect();
        assert!(records.iter().all(|record| record.ttl().as_secs() == 200));
        assert_eq!(records[1].owner().to_string(), "ALICE.home.example.net");
        assert!(reply.opt().is_none());
        assert_eq!(kept.addresses().map(|a| a.to_string()).collect::<Vec<_>>(), ["192.0.2.0", "192.0.2.1"]);
    }

    #[test]
    fn ad_and_do_come_back_to_those_who_ask() {
        let kept = answer(1, 300);
        let reply = written(&ALICE.edns(1232, true), |question, out| {
            assert!(Reply::to(question, true).answer(&kept, Age::NEW, out));
        });
        let opt = reply.opt().unwrap();
        assert!(
            reply.header().ad() && opt.dnssec_ok() && opt.version() == 0 && opt.udp_payload_size() == 1232
        );
        let mut asks_ad = ALICE.plain();
        asks_ad[3] |= 0x20;
        let reply = written(&asks_ad, |question, out| {
            Reply::to(question, true).answer(&kept, Age::NEW, out);
        });
        assert!(reply.header().ad());
    }

    #[test]
    fn an_answer_that_does_not_fit_a_datagram_is_cut() {
        let kept = answer(100, 300);
        for (packet, size) in
            [(ALICE.plain(), 512), (ALICE.edns(4096, false), 1232), (ALICE.edns(700, true), 700)]
        {
            let reply = written(&packet, |question, out| {
                assert!(!Reply::to(question, true).answer(&kept, Age::NEW, out));
            });
            assert!(reply.header().tc() && reply.as_slice().len() <= size);
            assert_eq!(reply.header_counts().ancount(), 0);
            assert!(reply.additional().unwrap().all(|record| record.is_ok()));
            assert_eq!(reply.opt().is_some(), size != 512);
            let over_tcp = written(&packet, |question, out| {
                assert!(Reply::to(question, false).answer(&kept, Age::NEW, out));
            });
            assert_eq!((over_tcp.header().tc(), over_tcp.answer().unwrap().count()), (false, 100));
        }
    }

    #[test]
    fn notes_go_to_clients_with_edns() {
        let note = Some(Note { code: extended::PROHIBITED, text: "denied" });
        let reply = written(&ALICE.edns(1232, false), |question, out| {
            Reply::to(question, true).note(note).empty(6, out);
        });
        let opt = reply.opt().unwrap();
        let options: Vec<_> = opt.opt().iter::<AllOptData<_, _>>().map(Result::unwrap).collect();
        let [AllOptData::ExtendedError(error)] = options.as_slice() else { panic!("{options:?}") };
        assert_eq!(error.code().to_int(), 18);
        assert_eq!(error.text().unwrap().unwrap(), "denied");
        let reply =
            written(&ALICE.plain(), |question, out| Reply::to(question, true).note(note).empty(6, out));
        assert!(reply.opt().is_none());
    }

    #[test]
    fn no_data_has_an_soa_at_its_apex() {
        let reply = written(&ALICE.plain(), |question, out| Reply::to(question, true).empty(6, out));
        assert_eq!((reply.header().rcode(), reply.header_counts().ancount()), (Rcode::NOERROR, 0));
        let records: Vec<_> = reply.authority().unwrap().map(|record| record.unwrap()).collect();
        assert_eq!(records[0].owner().to_string(), "home.example.net");
        assert_eq!(records[0].ttl().as_secs(), 5);
        let soa = records[0].to_any_record::<AllRecordData<_, _>>().unwrap();
        let AllRecordData::Soa(soa) = soa.data() else { panic!() };
        assert_eq!(soa.minimum().as_secs(), 5);
    }

    #[test]
    fn any_is_answered_with_hinfo() {
        let reply = written(&Query("example.net", Rtype::ANY).plain(), |question, out| {
            Reply::to(question, true).any(out);
        });
        let record = reply.answer().unwrap().next().unwrap().unwrap();
        assert_eq!((record.rtype(), record.owner().to_string().as_str()), (Rtype::HINFO, "example.net"));
        let AllRecordData::Hinfo(hinfo) = record.to_any_record::<AllRecordData<_, _>>().unwrap().into_data()
        else {
            panic!()
        };
        assert_eq!((hinfo.cpu().to_string().as_str(), hinfo.os().len()), ("RFC8482", 0));
    }

    #[test]
    fn bad_versions_are_told() {
        let reply =
            written(&ALICE.edns(1232, true), |question, out| Reply::to(question, true).bad_version(out));
        assert_eq!(reply.opt_rcode().to_int(), 16);
        assert_eq!(reply.opt().unwrap().version(), 0);
    }

    #[test]
    fn failures_of_what_is_not_understood_are_bare() {
        let mut out = Vec::new();
        failure_of(&[1, 2, 0x7f, 0xff, 9, 9, 9, 9, 9, 9, 9, 9], Rcode::NOTIMP, &mut out);
        assert_eq!(out, [1, 2, 0xf8, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.clear();
        failure_of(&[1], Rcode::NOTIMP, &mut out);
        assert!(out.is_empty());
    }
}
