//! Judging what came from an upstream server: is it the answer to what was asked, and what in it may be believed?
//!
//! ```text
//!  reply ─▶ id, question, letters ─▶ rcode ─▶ aliases from the question's name ─▶ records of the last name
//!              │                        │                                          └▶ SOA, proofs of the same zone
//!              └ Foreign, OtherCase     └ Helpless                 all else is dropped ─▶ Answer
//! ```
//!
//! The answer is composed anew from the records that were kept, so that no octet of what was not understood reaches the
//! cache or a client.

use domain::{
    base::{
        HashCompressor, Message, MessageBuilder, Name, ParsedName, ParsedRecord, Record, ToName as _, Ttl,
        iana::{Class, Opcode, OptRcode, Rcode, Rtype},
        message_builder::PushError,
        opt::ExtendedError,
    },
    rdata::{Soa, ZoneRecordData},
};

use super::{
    answer::Answer,
    asking::Asking,
    question::Key,
    wire::{HEADER, plain_name_end},
};

/// Aliases that are followed.
const ALIASES_MAX: usize = 12;
/// Zones of which proofs are taken: one for each alias, and a few above.
const ZONES_MAX: usize = 16;
/// Records of a reply that are looked at; one with more is not believed at all.
const RECORDS_MAX: usize = 1_000;
/// RFC 2181, 8: a TTL with the highest bit set is zero.
const TTL_SIGN: u32 = 1 << 31;

type Parsed<'a> = ParsedRecord<'a, [u8]>;
type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;

/// Bounds of TTLs in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of records.
    pub min: u32,
    /// Of records.
    pub max: u32,
    /// Of "there is no such thing" (RFC 2308, 5).
    pub negative_max: u32,
}

/// What a reply is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// Not the reply to this query: forged, or too late.
    Foreign,
    /// The reply, but in other letters than were asked in: a forger's guess, or a server that changes letters.
    OtherCase,
    /// The reply did not fit a datagram.
    Truncated,
    /// The server does not understand EDNS (RFC 6891, 7).
    NoEdns,
    /// The server cannot help; another one may. With the extended error that came along.
    Helpless(Rcode, Option<u16>),
    /// The answer, and how many records did not belong into it.
    Answer(Box<Answer>, usize),
    /// The reply cannot be read.
    Malformed,
}

/// Judges `reply`, which came from the server that was sent `asking`.
pub fn judge(asking: &Asking, key: &Key, reply: &[u8], lifetimes: Lifetimes) -> Received {
    let Ok(message) = Message::from_slice(reply) else { return Received::Foreign };
    let header = message.header();
    if reply.get(..2) != Some(asking.id()) || !header.qr() || header.opcode() != Opcode::QUERY {
        return Received::Foreign;
    }
    let had_edns =
        Message::from_slice(asking.as_slice()).is_ok_and(|query| query.header_counts().arcount() > 0);
    let knows_no_edns =
        matches!(header.rcode(), Rcode::FORMERR | Rcode::NOTIMP) && had_edns && message.opt().is_none();
    let failed = header.rcode() != Rcode::NOERROR;
    let question = plain_name_end(reply, HEADER).and_then(|end| reply.get(HEADER..end + 4));
    match (message.header_counts().qdcount(), question) {
        // Who does not understand a query may repeat nothing but its header.
        (0, _) | (1, None) if failed && knows_no_edns => return Received::NoEdns,
        (0, _) if failed => return Received::Helpless(header.rcode(), None),
        (1, Some(question)) if question == asking.question() => {}
        (1, Some(question)) if question.eq_ignore_ascii_case(asking.question()) => {
            return Received::OtherCase;
        }
        _ => return Received::Foreign,
    }
    if knows_no_edns {
        return Received::NoEdns;
    }
    if header.tc() {
        return Received::Truncated;
    }
    let error = extended_error(message);
    if ![OptRcode::NOERROR, OptRcode::NXDOMAIN].contains(&message.opt_rcode()) {
        return Received::Helpless(header.rcode(), error);
    }
    let read = Read::of(message);
    match read.as_ref().and_then(|read| Kept::of(read, key)) {
        Some(kept) if kept.is_referral(message) => Received::Helpless(Rcode::REFUSED, error),
        Some(kept) => match kept.answer(message, key, lifetimes) {
            Some(answer) => Received::Answer(Box::new(answer.with_error(error)), kept.dropped),
            None => Received::Malformed,
        },
        None => Received::Malformed,
    }
}

fn extended_error(message: &Message<[u8]>) -> Option<u16> {
    let opt = message.opt()?;
    let error = opt.opt().iter::<ExtendedError<_>>().next()?.ok()?;
    Some(error.code().to_int())
}

/// The records of a reply.
struct Read<'a> {
    name: ParsedName<&'a [u8]>,
    answers: Vec<Parsed<'a>>,
    authorities: Vec<Parsed<'a>>,
}

impl<'a> Read<'a> {
    /// `None` where they cannot be read.
    fn of(message: &'a Message<[u8]>) -> Option<Self> {
        let answers = records(message.answer().ok()?)?;
        let authorities = records(message.authority().ok()?)?;
        // The additional section is read only to know that it can be.
        let mut additional = message.additional().ok()?.take(RECORDS_MAX);
        let name = message.sole_question().ok()?.into_qname();
        additional.all(|record| record.is_ok()).then_some(Self { name, answers, authorities })
    }
}

/// The records that belong into the answer.
struct Kept<'a> {
    answer: Vec<&'a Parsed<'a>>,
    authority: Vec<&'a Parsed<'a>>,
    soa: Option<Soa<ParsedName<&'a [u8]>>>,
    /// Whether there is a record of the type that was asked for.
    positive: bool,
    dropped: usize,
}

impl<'a> Kept<'a> {
    fn of(read: &'a Read<'a>, key: &Key) -> Option<Self> {
        let (answers, authorities) = (&read.answers, &read.authorities);
        let names = aliases(read.name, answers, key.qtype());
        let mut kept =
            Self { answer: Vec::new(), authority: Vec::new(), soa: None, positive: false, dropped: 0 };
        kept.keep_answers(&names, answers, key);
        kept.keep_authorities(&names, authorities, key);
        // Name servers beside an answer are customary; nobody needs them, and they are not believed either.
        let others = authorities.iter().filter(|record| record.rtype() != Rtype::NS).count();
        kept.dropped = (answers.len() + others).saturating_sub(kept.answer.len() + kept.authority.len());
        Some(kept)
    }

    /// The aliases in their order, then what was asked for, each with its signatures.
    fn keep_answers(&mut self, names: &[ParsedName<&'a [u8]>], answers: &'a [Parsed<'a>], key: &Key) {
        // Of many records none is compared with all others: whoever has a domain chooses how many there are.
        let mut taken = vec![false; answers.len()];
        let signed = key.dnssec_ok() || key.qtype() == Rtype::RRSIG;
        for (index, name) in names.iter().enumerate() {
            let is_last = index + 1 == names.len();
            let mut aliased = false;
            for (record, taken) in answers.iter().zip(&mut taken) {
                let (owner, rtype) = (record.owner(), record.rtype());
                let here = owner.name_eq(name);
                let keep = match rtype {
                    Rtype::DNAME if !is_last => !here && name.ends_with(&owner),
                    Rtype::RRSIG if signed => here || !is_last && is_dname_of(&owner, name, answers),
                    _ if is_last => here && rtype == key.qtype(),
                    // One name has one alias (RFC 1034, 3.6.2); of several the first one was followed.
                    Rtype::CNAME => here && !std::mem::replace(&mut aliased, true),
                    _ => false,
                };
                if keep && !std::mem::replace(taken, true) {
                    self.positive |= is_last && rtype == key.qtype();
                    self.answer.push(record);
                }
            }
        }
    }

    /// The SOA of a zone that one of the names is in, and proofs from such a zone.
    fn keep_authorities(&mut self, names: &[ParsedName<&'a [u8]>], authorities: &'a [Parsed<'a>], key: &Key) {
        let above = |owner: &ParsedName<&[u8]>| names.iter().any(|name| name.ends_with(owner));
        let found = authorities
            .iter()
            .filter(|record| [Rtype::SOA, Rtype::NS].contains(&record.rtype()))
            .map(ParsedRecord::owner)
            .chain(authorities.iter().chain(self.answer.iter().copied()).filter_map(signer));
        let mut zones: Vec<ParsedName<_>> = Vec::new();
        for zone in found {
            let is_new = || !zones.iter().any(|known| known.name_eq(&zone));
            if zones.len() < ZONES_MAX && is_new() && above(&zone) {
                zones.push(zone);
            }
        }
        let in_zone = |owner: &ParsedName<&[u8]>| zones.iter().any(|zone| owner.ends_with(zone));
        for record in authorities {
            let owner = record.owner();
            match record.rtype() {
                Rtype::SOA if !self.positive && above(&owner) && self.soa.is_none() => {
                    self.soa = record.to_record::<Soa<_>>().ok().flatten().map(Record::into_data);
                    self.authority.push(record);
                }
                Rtype::NSEC | Rtype::NSEC3 | Rtype::RRSIG if key.dnssec_ok() && in_zone(&owner) => {
                    self.authority.push(record);
                }
                _ => {}
            }
        }
    }

    /// A server that only points elsewhere does not resolve for others.
    fn is_referral(&self, message: &Message<[u8]>) -> bool {
        let header = message.header();
        let empty = self.answer.is_empty() && self.soa.is_none();
        empty && header.rcode() == Rcode::NOERROR && !header.ra() && !header.aa()
    }

    fn answer(&self, message: &Message<[u8]>, key: &Key, lifetimes: Lifetimes) -> Option<Answer> {
        let negative = !self.positive;
        // RFC 2308, 5: the lesser of the SOA's TTL and its minimum; without SOA it is not kept.
        let mut lifetime = match (&self.soa, negative) {
            (_, false) => lifetimes.max,
            (Some(soa), true) => soa.minimum().as_secs().min(lifetimes.negative_max),
            (None, true) => 0,
        };
        let ceiling = if negative { lifetime } else { lifetimes.max };
        let mut builder = MessageBuilder::from_target(HashCompressor::new(Vec::new())).ok()?;
        builder.set_push_limit(usize::from(u16::MAX));
        let header = builder.header_mut();
        header.set_rcode(message.header().rcode());
        header.set_ad(message.header().ad());
        let mut builder = builder.question();
        let name = Name::from_octets(key.name()).ok()?;
        builder.push((&name, key.qtype(), Class::IN)).ok()?;
        let mut builder = builder.answer();
        for record in &self.answer {
            let ttl = clamp(record, lifetimes.min, lifetimes.max);
            lifetime = lifetime.min(ttl);
            push(record, ttl, |record| builder.push(record))?;
        }
        let mut builder = builder.authority();
        for record in &self.authority {
            let ttl = clamp(record, lifetimes.min.min(ceiling), ceiling.max(u32::from(!negative)));
            lifetime = lifetime.min(ttl);
            push(record, ttl, |record| builder.push(record))?;
        }
        Answer::new(key, &builder.finish().into_target(), lifetime)
    }
}

/// The records of a section; `None` if one cannot be read or there are too many.
fn records<'a>(section: domain::base::message::RecordSection<'a, [u8]>) -> Option<Vec<Parsed<'a>>> {
    let records: Vec<_> = section.take(RECORDS_MAX + 1).collect::<Result<_, _>>().ok()?;
    (records.len() <= RECORDS_MAX).then_some(records)
}

/// The name of the question and those that its aliases lead to.
fn aliases<'a>(
    name: ParsedName<&'a [u8]>,
    answers: &'a [Parsed<'a>],
    qtype: Rtype,
) -> Vec<ParsedName<&'a [u8]>> {
    let mut names = vec![name];
    while names.len() <= ALIASES_MAX && qtype != Rtype::CNAME {
        let Some(last) = names.last() else { break };
        let alias =
            answers.iter().find(|record| record.rtype() == Rtype::CNAME && record.owner().name_eq(last));
        let target = alias.and_then(|record| {
            record
                .to_record::<domain::rdata::Cname<_>>()
                .ok()
                .flatten()
                .map(|record| record.into_data().into_cname())
        });
        match target {
            Some(target) if !names.iter().any(|name| name.name_eq(&target)) => names.push(target),
            _ => break,
        }
    }
    names
}

/// Whether there is a DNAME at `owner` that renames `name` (RFC 6672).
fn is_dname_of(owner: &ParsedName<&[u8]>, name: &ParsedName<&[u8]>, answers: &[Parsed<'_>]) -> bool {
    name.ends_with(owner)
        && answers.iter().any(|record| record.rtype() == Rtype::DNAME && record.owner().name_eq(owner))
}

/// Whose signature a record is.
fn signer<'a>(record: &Parsed<'a>) -> Option<ParsedName<&'a [u8]>> {
    let record = record.to_record::<domain::rdata::Rrsig<&[u8], _>>().ok()??;
    Some(*record.data().signer_name())
}

fn clamp(record: &Parsed<'_>, min: u32, max: u32) -> u32 {
    let ttl = record.ttl().as_secs();
    if ttl & TTL_SIGN != 0 { min } else { ttl.clamp(min.min(max), max) }
}

/// Hands a record on whose data could be read.
fn push<'a>(
    record: &'a Parsed<'a>,
    ttl: u32,
    push: impl FnOnce(Record<ParsedName<&'a [u8]>, Data<'a>>) -> Result<(), PushError>,
) -> Option<()> {
    let mut record = record.to_record::<Data<'a>>().ok()??;
    record.set_ttl(Ttl::from_secs(ttl));
    push(record).ok()
}

#[cfg(test)]
mod tests;
