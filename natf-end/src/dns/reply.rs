//! Composing replies for the client.
//!
//! The header comes from the upstream's reply, with the client's id, without AA and AD (what we say is neither
//! the zone's nor authenticated, RFC 4035, 4.6) and without TC; the question is the client's own, letter for letter; OPT comes
//! from the upstream when the client speaks EDNS (RFC 6891, 6.1.1).

use std::{net::Ipv4Addr, time::Duration};

use domain::{
    base::{
        Message, MessageBuilder, Ttl,
        iana::{Class, Rcode, Rtype},
        message_builder::{AdditionalBuilder, PushError, QuestionBuilder},
    },
    rdata::{A, Ptr, Soa},
};

use super::{
    answer::{is_about, wire_name},
    plan::without_services,
    question::Question,
};

/// Longest time for which a client may keep a virtual address (N2): the home may have moved since.
pub const TTL_MAX: Duration = Duration::from_secs(60);

/// Replies of ours stay below this, so that they fit every path (DNS flag day 2020).
const REPLY_MAX: usize = 1232;

/// `qname A V`, and nothing else.
pub(super) fn flattened(
    question: &Question<'_>,
    reply: &Message<[u8]>,
    address: Ipv4Addr,
    ttl: Duration,
) -> Vec<u8> {
    composed(question, Some(reply), |builder| {
        let mut answer = builder.answer();
        let ttl = Ttl::from_duration_lossy(ttl.min(TTL_MAX));
        answer.push((question.asked().qname(), Class::IN, ttl, A::new(address)))?;
        Ok(answer.additional())
    })
}

/// No answers, with the upstream's rcode and, if there is one, its SOA (RFC 2308, 2.2).
pub fn no_data(question: &Question<'_>, reply: Option<&Message<[u8]>>) -> Vec<u8> {
    composed(question, reply, |builder| {
        let mut authority = builder.authority();
        let records = reply.filter(|reply| is_about(reply, question)).and_then(|r| r.authority().ok());
        if let Some(soa) =
            records.and_then(|records| records.limit_to_in::<Soa<_>>().take(16).find_map(Result::ok))
        {
            authority.push(soa)?;
        }
        Ok(authority.additional())
    })
}

/// The name behind a virtual address, or NXDOMAIN: no other server knows.
pub fn reverse_reply(question: &Question<'_>, name: Option<&str>) -> Vec<u8> {
    composed(question, None, |builder| {
        let mut answer = builder.answer();
        match name.and_then(wire_name) {
            Some(name) => {
                let ttl = Ttl::from_duration_lossy(TTL_MAX);
                answer.push((question.asked().qname(), Class::IN, ttl, Ptr::new(name)))?;
            }
            None => answer.header_mut().set_rcode(Rcode::NXDOMAIN),
        }
        Ok(answer.additional())
    })
}

/// SERVFAIL: nobody could be asked, or there is no virtual address left.
pub fn server_failure(question: &Question<'_>) -> Vec<u8> {
    composed(question, None, |builder| {
        let mut additional = builder.additional();
        additional.header_mut().set_rcode(Rcode::SERVFAIL);
        Ok(additional)
    })
}

/// FORMERR for a query that cannot be read; `None` when not even its header can.
pub fn format_error(packet: &[u8]) -> Option<Vec<u8>> {
    failure_of(packet, Rcode::FORMERR)
}

/// A bare failure for a query that is passed on without being understood.
pub(crate) fn failure_of(packet: &[u8], rcode: Rcode) -> Option<Vec<u8>> {
    let asked = Message::from_slice(packet).ok().filter(|asked| !asked.header().qr())?.header();
    let mut builder = MessageBuilder::new_vec();
    let header = builder.header_mut();
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_rd(asked.rd());
    header.set_rcode(rcode);
    Some(builder.finish())
}

/// What is sent instead of a reply that does not fit a datagram: TC, so that the client comes by TCP.
pub fn truncated(question: &Question<'_>, reply: &[u8]) -> Vec<u8> {
    composed(question, Message::from_slice(reply).ok(), |builder| {
        let mut additional = builder.additional();
        additional.header_mut().set_tc(true);
        Ok(additional)
    })
}

/// The question for the A record of the host that `question` is about.
pub fn a_query(question: &Question<'_>) -> Option<Vec<u8>> {
    a_query_for(without_services(question.name()?))
}

/// A question of our own for the A record of `name`; `None` when that is no domain name.
pub fn a_query_for(name: &str) -> Option<Vec<u8>> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((wire_name(name)?, Rtype::A, Class::IN)).ok()?;
    Some(builder.finish())
}

/// The reply as it is, but for the additional section, of which only OPT stays.
///
/// `None` when it cannot be read. The additional section is the last one: cutting it moves nothing.
pub(super) fn without_additional(reply: &Message<[u8]>) -> Option<Vec<u8>> {
    let start = reply.additional().ok()?.pos();
    let mut builder = MessageBuilder::new_vec().additional();
    if let Some(opt) = reply.opt() {
        builder.opt(|ours| ours.clone_from(&opt)).ok()?;
    }
    let opt_only = builder.finish();
    let mut bytes = reply.as_slice().get(..start)?.to_vec();
    bytes.extend_from_slice(opt_only.get(12..)?);
    // ARCOUNT, RFC 1035, 4.1.1.
    bytes.get_mut(10..12)?.copy_from_slice(opt_only.get(10..12)?);
    Some(bytes)
}

/// Header, question, the records of `body`, OPT. Without the records and OPT if they do not fit.
fn composed(
    question: &Question<'_>,
    reply: Option<&Message<[u8]>>,
    body: impl Fn(QuestionBuilder<Vec<u8>>) -> Result<AdditionalBuilder<Vec<u8>>, PushError>,
) -> Vec<u8> {
    let whole = || -> Result<Vec<u8>, PushError> {
        let mut builder = body(started(question, reply)?)?;
        if question.has_edns() {
            push_opt(&mut builder, question, reply)?;
        }
        Ok(builder.finish())
    };
    whole().unwrap_or_else(|_| failure_of(question.packet(), Rcode::SERVFAIL).unwrap_or_default())
}

fn started(
    question: &Question<'_>,
    reply: Option<&Message<[u8]>>,
) -> Result<QuestionBuilder<Vec<u8>>, PushError> {
    let mut builder = MessageBuilder::new_vec();
    builder.set_push_limit(REPLY_MAX);
    let asked = question.message().header();
    let header = builder.header_mut();
    *header = reply.map_or(asked, Message::header);
    header.set_id(asked.id());
    header.set_qr(true);
    header.set_opcode(asked.opcode());
    header.set_aa(false);
    header.set_ad(false);
    header.set_tc(false);
    header.set_ra(reply.is_none() || header.ra());
    let mut builder = builder.question();
    builder.push(question.asked())?;
    Ok(builder)
}

/// The upstream's OPT, or its bare form when its options are too long, or ours when there is no upstream.
fn push_opt(
    builder: &mut AdditionalBuilder<Vec<u8>>,
    question: &Question<'_>,
    reply: Option<&Message<[u8]>>,
) -> Result<(), PushError> {
    let Some(reply) = reply else {
        return builder.opt(|opt| {
            opt.set_udp_payload_size(u16::try_from(REPLY_MAX).unwrap_or(512));
            opt.set_dnssec_ok(question.dnssec_ok());
            Ok(())
        });
    };
    let Some(theirs) = reply.opt() else { return Ok(()) };
    builder.opt(|opt| opt.clone_from(&theirs)).or_else(|_| {
        builder.opt(|opt| {
            opt.set_udp_payload_size(theirs.udp_payload_size());
            opt.set_dnssec_ok(theirs.dnssec_ok());
            Ok(())
        })
    })
}
