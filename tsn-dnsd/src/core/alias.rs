//! Aliases (CNAME): where an answer leads, and an own alias joined with the answer for the name that it leads to.

use domain::{
    base::{
        HashCompressor, Message, MessageBuilder, Name, ParsedName, Record, Ttl,
        iana::{Class, Rtype},
        message_builder::AnswerBuilder,
        name::ToLabelIter,
    },
    rdata::{Cname, ZoneRecordData},
};

use super::{
    answer::{Age, Answer},
    question::{Key, Question},
    wire::{HEADER, put_u16},
};
use crate::zone;

/// Aliases that are looked at.
const ALIASES_MAX: usize = 16;

type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;
type Builder = AnswerBuilder<HashCompressor<Vec<u8>>>;

/// The names that the aliases of an answer lead to, in wire format and lower case.
pub fn targets(answer: &Answer) -> Vec<Vec<u8>> {
    // Signatures may stand before what they sign.
    let mut types = answer.records().filter_map(|record| record.type_of(answer.message()));
    let first = types.find(|rtype| *rtype != Rtype::RRSIG.to_int());
    if ![Rtype::CNAME, Rtype::DNAME].map(Rtype::to_int).iter().any(|alias| first == Some(*alias)) {
        return Vec::new();
    }
    let message = Message::from_slice(answer.message()).ok();
    let records = message.and_then(|message| message.answer().ok());
    let aliases = records.into_iter().flat_map(|records| records.limit_to_in::<Cname<_>>());
    aliases.take(ALIASES_MAX).filter_map(|record| Some(wire(record.ok()?.data().cname()))).collect()
}

/// A name in wire format and lower case.
fn wire(name: &impl ToLabelIter) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.iter_labels() {
        wire.push(u8::try_from(label.len()).unwrap_or(0));
        wire.extend(label.as_slice().to_ascii_lowercase());
    }
    wire
}

/// The question that an own alias leads to, if it leads beyond own names.
pub fn question_beyond(question: &Question<'_>, own: &zone::Answer) -> Option<Key> {
    question.key().with_name(&wire(own.beyond.as_ref()?))
}

/// An own answer as one that can be kept, with what is `beyond` it, whose TTLs count down from when it came.
pub fn joined(question: &Question<'_>, own: &zone::Answer, beyond: Option<(&Answer, Age)>) -> Option<Answer> {
    let mut message = vec![0; HEADER];
    put_u16(&mut message, 4, 1);
    for (at, count) in [6, 8, 10].into_iter().zip(own.counts) {
        put_u16(&mut message, at, count);
    }
    // In lower case, as every answer that is kept.
    message.extend_from_slice(question.key().question());
    message.extend_from_slice(&own.sections);
    let own_message = Message::from_slice(&message).ok()?;
    let mut builder = MessageBuilder::from_target(HashCompressor::new(Vec::new())).ok()?;
    builder.set_push_limit(usize::from(u16::MAX));
    builder.header_mut().set_rcode(beyond.map_or(own.rcode, |(answer, _)| answer.rcode()));
    let mut builder = builder.question();
    builder.push((Name::from_slice(question.key().name()).ok()?, question.qtype(), Class::IN)).ok()?;
    let mut builder = builder.answer();
    copy_answers(own_message, Age::NEW, &mut builder)?;
    let (last, age) = match beyond {
        Some((answer, age)) => (Message::from_slice(answer.message()).ok()?, age),
        None => (own_message, Age::NEW),
    };
    if beyond.is_some() {
        copy_answers(last, age, &mut builder)?;
    }
    let mut builder = builder.authority();
    for record in last.authority().ok()?.limit_to_in::<Data<'_>>() {
        builder.push(aged(record.ok()?, age)).ok()?;
    }
    Answer::new(question.key(), &builder.finish().into_target(), 0)
}

fn copy_answers(message: &Message<[u8]>, age: Age, builder: &mut Builder) -> Option<()> {
    for record in message.answer().ok()?.limit_to_in::<Data<'_>>() {
        builder.push(aged(record.ok()?, age)).ok()?;
    }
    Some(())
}

fn aged<N, D>(mut record: Record<N, D>, age: Age) -> Record<N, D> {
    record.set_ttl(Ttl::from_secs(age.left(record.ttl().as_secs())));
    record
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            question::tests::Query,
            server::tests::{address_answer, zones},
            wire::u32_at,
        },
        *,
    };

    #[test]
    fn an_own_alias_is_joined_with_the_answer_beyond() {
        let packet = Query("WWW.lab.example", Rtype::A).plain();
        let question = Question::parse(&packet).unwrap();
        let own = zones(&[
            ("www.lab.example", "CNAME", "host.lab.example"),
            ("host.lab.example", "CNAME", "Alice.home.example.net"),
        ])
        .answer(&Name::from_slice(question.name()).unwrap(), Rtype::A)
        .unwrap();
        let beyond = question_beyond(&question, &own).unwrap();
        assert_eq!((beyond.to_string().as_str(), beyond.qtype()), ("alice.home.example.net", Rtype::A));
        let answer = address_answer(&Query("alice.home.example.net", Rtype::A), 60);
        let joined = joined(&question, &own, Some((&answer, Age { seconds: 45, ttl_max: 10 }))).unwrap();
        let ttls: Vec<_> =
            joined.records().map(|record| u32_at(joined.message(), record.ttl()).unwrap()).collect();
        assert_eq!(ttls[2], 10, "what is kept is old: {ttls:?}");
        assert!(ttls[..2].iter().all(|ttl| *ttl > 10), "own records are not: {ttls:?}");
        assert_eq!((joined.records().count(), joined.addresses().count()), (3, 1));
        let targets: Vec<_> =
            targets(&joined).into_iter().map(|name| String::from_utf8_lossy(&name).into_owned()).collect();
        assert_eq!(targets, ["\x04host\x03lab\x07example\0", "\x05alice\x04home\x07example\x03net\0"]);
    }

    #[test]
    fn a_signature_before_its_alias_hides_nothing() {
        let key = *Question::parse(&Query("www.example", Rtype::A).edns(1232, true)).unwrap().key();
        let mut message = vec![0, 0, 0x80, 0, 0, 1, 0, 2, 0, 0, 0, 0];
        message.extend(key.question());
        // RRSIG of CNAME, algorithm 13, by the root.
        message.extend(b"\xc0\x0c\0\x2e\0\x01\0\0\0\x3c\0\x14\0\x05\x0d\x02\0\0\0\x3c");
        message.extend(b"\0\0\0\x02\0\0\0\x01\0\x07\0\xff");
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x07\x01a\x03lab\0");
        let answer = Answer::new(&key, &message, 60).unwrap();
        assert_eq!(targets(&answer), [b"\x01a\x03lab\0".to_vec()]);
    }

    #[test]
    fn an_answer_without_aliases_leads_nowhere() {
        assert!(targets(&address_answer(&Query("alice.home.example.net", Rtype::A), 60)).is_empty());
    }
}
