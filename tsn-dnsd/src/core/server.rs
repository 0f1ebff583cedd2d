//! The server: what becomes of one packet.
//!
//! ```text
//!  packet ─▶ access ─▶ rate ─▶ Question ─▶ own zones ─▶ cache ─▶ Handled::Ask ─▶ upstream ─▶ handle_outcome
//!               │        │         │           │          │                                     │
//!               ▼        ▼         ▼           └──────────┴──────────────┬──────────────────────┘
//!            refused  dropped   FORMERR …                                ▼
//!                                         announced name? ─ no ─▶ reply (Handled::Replied)
//!                                              └ yes ─▶ Handled::Announce(Held) ─▶ handle_verdict ─▶ reply
//! ```
//!
//! Every way ends in a reply, in silence with a counter, or in one of the things that take time.

use std::{
    hash::RandomState,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    time::Instant,
};

use domain::base::{
    Message, MessageBuilder, Name,
    iana::{Class, Rcode, Rtype},
};

use natf_daemon::counters::Count;

use super::{
    alias,
    announced::{Announced, Verdict},
    answer::{Age, Answer},
    cache::{Cache, Found, Retry},
    counters::Counters,
    limit::Limiter,
    question::{Key, Question, Unreadable, flag},
    received::Lifetimes,
    reply::{Reply, UDP_SIZE, extended, failure_of},
    responder::{Client, Handled, Held, Responder},
    settings::Settings,
};
use crate::zone::{self, Zones};

/// Seconds for which a stale answer serves without asking again (RFC 8767, 5).
const STALE_RETRY: u32 = 30;
/// Seconds for which a failure is remembered (RFC 9520, 3.2).
const FAILURE_LIFETIME: u32 = 1;
/// Refusals to strangers per second, all together.
const REFUSALS: u32 = 100;
/// Types that are no data (RFC 6895, 3.1): questions about the message, or for transfers.
const META_TYPES: std::ops::RangeInclusive<u16> = 128..=254;

/// The server's state.
#[derive(Debug)]
pub struct Server {
    start: Instant,
    responder: Responder,
    limiter: Limiter,
    strangers: Limiter,
    cache: Cache,
    zones: Zones,
}

impl Server {
    /// With an empty cache.
    pub fn new(now: Instant, settings: Settings, zones: Zones, hasher: RandomState) -> Self {
        Self {
            start: now,
            limiter: Limiter::new(now, settings.rate),
            strangers: Limiter::new(now, Some(REFUSALS)),
            cache: Cache::new(settings.cache, hasher),
            zones,
            responder: Responder { settings, counters: Rc::default() },
        }
    }

    /// Takes another configuration; the cache stays.
    pub fn handle_settings(&mut self, now: Instant, settings: Settings, zones: Zones) {
        if settings.rate != self.responder.settings.rate {
            self.limiter = Limiter::new(now, settings.rate);
        }
        self.cache.set_limits(settings.cache);
        self.responder.settings = settings;
        self.zones = zones;
    }

    /// The cache, to look at and to empty.
    pub fn cache(&mut self) -> &mut Cache {
        &mut self.cache
    }

    /// The own zones.
    pub fn zones(&mut self) -> &mut Zones {
        &mut self.zones
    }

    /// What happened so far.
    pub fn counters(&self) -> &Rc<Counters> {
        &self.responder.counters
    }

    /// Bounds of TTLs.
    pub fn lifetimes(&self) -> Lifetimes {
        self.responder.settings.lifetimes
    }

    /// Whether a client may ask.
    pub fn allows(&self, client: IpAddr) -> bool {
        self.responder.settings.allows(client)
    }

    /// Handles a packet; a reply is appended to `out`.
    pub fn handle_packet(
        &mut self,
        now: Instant,
        client: Client,
        packet: &[u8],
        out: &mut Vec<u8>,
    ) -> Handled {
        if !self.allows(client.address) {
            return self.refuse_stranger(now, client, packet, out);
        }
        if !self.limiter.allow(now, client.address) {
            return silent(&self.counters().rate_limited);
        }
        let counters = &self.responder.counters;
        match Question::parse(packet) {
            Ok(question) => {
                if client.over_udp {
                    counters.queries_udp.up()
                } else {
                    counters.queries_tcp.up()
                }
                self.handle_question(now, client, &question, out)
            }
            Err(Unreadable::Update) => {
                counters.queries_update.up();
                Handled::Update
            }
            Err(Unreadable::Drop) => silent(&counters.not_a_query),
            Err(Unreadable::FormatError) => fail(&counters.format_errors, packet, Rcode::FORMERR, out),
            Err(Unreadable::NotImplemented) => fail(&counters.not_implemented, packet, Rcode::NOTIMP, out),
        }
    }

    /// Signs the reply from `start` if its question is signed (RFC 8945, 5.3); `unix_now` in seconds.
    pub fn sign_reply(
        &mut self,
        client: Client,
        packet: &[u8],
        unix_now: impl FnOnce() -> u64,
        start: usize,
        out: &mut Vec<u8>,
    ) {
        let room = || match Question::parse(packet) {
            Ok(question) if client.over_udp => question.udp_size().min(UDP_SIZE.into()),
            _ => usize::from(u16::MAX),
        };
        let reply = out.get(start..).unwrap_or_default();
        if !reply.is_empty()
            && let Some(signed) = self.zones.sign_reply(packet, unix_now, reply, room)
        {
            out.truncate(start);
            out.extend(signed);
        }
    }

    /// Strangers learn that they are from a refusal that is no longer than their question.
    fn refuse_stranger(&mut self, now: Instant, client: Client, packet: &[u8], out: &mut Vec<u8>) -> Handled {
        let counters = &self.responder.counters;
        // One bucket for all: who forges addresses gets no more.
        let everybody = IpAddr::V4(Ipv4Addr::BROADCAST);
        if Question::parse(packet).is_err() || !self.strangers.allow(now, everybody) {
            return silent(&counters.client_dropped);
        }
        log::debug!("{} may not ask (list allow)", client.address);
        fail(&counters.client_refused, packet, Rcode::REFUSED, out)
    }

    fn handle_question(
        &mut self,
        now: Instant,
        client: Client,
        question: &Question<'_>,
        out: &mut Vec<u8>,
    ) -> Handled {
        let (responder, qtype) = (&self.responder, question.qtype());
        if question.edns().is_some_and(|edns| edns.version > 0) {
            responder.counters.bad_version.up();
            Reply::to(question, client.over_udp).bad_version(out);
            return Handled::Replied;
        }
        let is_meta = META_TYPES.contains(&qtype.to_int()) || qtype == Rtype::OPT || qtype.to_int() == 0;
        if question.qclass() != Class::IN || is_meta {
            responder.counters.answered_here.up();
            responder.log(client, question, "refused");
            return responder.bare(client, question, Rcode::REFUSED, extended::NOT_SUPPORTED, out);
        }
        let announced = responder.settings.announced.classify(question.key().name(), qtype);
        if let Some(Announced::Around(apex)) = announced {
            responder.log(client, question, "empty, because the name is announced");
            return responder.around(client, question, apex, out);
        }
        // Of an own name's records ANY gets one type (RFC 8482, 4.1), which may be the addresses that are to be announced.
        let minimal =
            qtype == Rtype::ANY && responder.settings.announced.find(question.key().name()).is_some();
        if let Some(answer) = self.own_answer(question).filter(|_| !minimal) {
            return self.answer_own(now, client, question, &answer, out);
        }
        if qtype == Rtype::ANY {
            responder.counters.answered_here.up();
            responder.log(client, question, "minimal");
            Reply::to(question, client.over_udp).any(out);
            return Handled::Replied;
        }
        self.answer_known(now, client, question, out)
    }

    fn own_answer(&self, question: &Question<'_>) -> Option<zone::Answer> {
        if self.zones.is_empty() {
            return None;
        }
        let name = Name::from_slice(question.name()).ok()?;
        self.zones.answer(&name, question.qtype())
    }

    /// From own records; where these lead to a name of others, with the answer for that name (RFC 1034, 4.3.2).
    fn answer_own(
        &mut self,
        now: Instant,
        client: Client,
        question: &Question<'_>,
        own: &zone::Answer,
        out: &mut Vec<u8>,
    ) -> Handled {
        self.responder.log(client, question, "own");
        let forwards = self.responder.settings.forwards && question.flags() & flag::RD != 0;
        let beyond = alias::question_beyond(question, own).filter(|_| forwards);
        let Some(beyond) = beyond else { return self.responder.own(client, question, own, out) };
        let now = self.seconds(now);
        match self.cache.find(&beyond, now) {
            None | Some(Found::Stale(_, Retry::Now)) => Handled::Ask(Box::new(beyond)),
            Some(found) => {
                self.responder.counters.answered_own.up();
                self.responder.beyond(client, question, own, found.with_age(), out)
            }
        }
    }

    /// From the cache, if it is there; else it has to be asked.
    fn answer_known(
        &mut self,
        now: Instant,
        client: Client,
        question: &Question<'_>,
        out: &mut Vec<u8>,
    ) -> Handled {
        let now = self.seconds(now);
        let responder = &self.responder;
        match self.cache.find(question.key(), now) {
            Some(Found::Fresh(answer, age)) => {
                responder.counters.answered_cache.up();
                responder.log(client, question, "cached");
                responder.answer(client, question, answer, age, out)
            }
            Some(Found::Stale(answer, Retry::Later)) => {
                responder.log(client, question, "stale");
                responder.stale(client, question, answer, out)
            }
            // RFC 1034, 4.3.1: who does not want recursion gets only what is here.
            _ if question.flags() & flag::RD == 0 || !responder.settings.forwards => {
                responder.counters.answered_here.up();
                responder.log(client, question, "refused");
                responder.bare(client, question, Rcode::REFUSED, extended::NOT_AUTHORITATIVE, out)
            }
            _ => {
                responder.log(client, question, "forwarded");
                Handled::Ask(Box::new(*question.key()))
            }
        }
    }

    /// Keeps an upstream server's answer.
    pub fn handle_answer(&mut self, now: Instant, answer: Answer) {
        let now = self.seconds(now);
        self.cache.insert(answer, now);
    }

    /// Remembers that nobody could answer, with the extended error that says why.
    pub fn handle_failure(&mut self, now: Instant, key: &Key, code: u16) {
        let now = self.seconds(now);
        self.counters().upstream_failed.up();
        match self.cache.find(key, now) {
            Some(_) => self.cache.handle_failure(key, now.saturating_add(STALE_RETRY)),
            None => {
                if let Some(failure) = failure(key) {
                    self.cache.insert(failure.with_error(Some(code)), now);
                }
            }
        }
    }

    /// The reply for a client that waited for `answer`.
    pub fn handle_answered(
        &self,
        client: Client,
        packet: &[u8],
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Handled {
        let Ok(question) = Question::parse(packet) else { return Handled::Silent };
        let own = self.own_answer(&question).filter(|own| own.beyond.is_some());
        let wanted = own.as_ref().map_or(Some(*question.key()), |own| alias::question_beyond(&question, own));
        if wanted.is_none_or(|key| key.as_slice() != answer.key()) {
            // Own aliases changed while others were asked: this answers what is no longer the question.
            return self.responder.bare(client, &question, Rcode::SERVFAIL, extended::NOT_READY, out);
        }
        self.counters().answered_upstream.up();
        match own {
            Some(own) => self.responder.beyond(client, &question, &own, (answer, Age::NEW), out),
            None => self.responder.answer(client, &question, answer, 0, out),
        }
    }

    /// The reply for a client that waited in vain: what is stale, else SERVFAIL with the extended error `code`.
    pub fn handle_unanswered(
        &mut self,
        now: Instant,
        client: Client,
        packet: &[u8],
        code: u16,
        out: &mut Vec<u8>,
    ) -> Handled {
        let Ok(question) = Question::parse(packet) else { return Handled::Silent };
        let now = self.seconds(now);
        if let Some(own) = self.own_answer(&question) {
            let beyond = alias::question_beyond(&question, &own);
            return match beyond.and_then(|key| self.cache.find(&key, now)) {
                Some(found) => self.responder.beyond(client, &question, &own, found.with_age(), out),
                None => self.responder.bare(client, &question, Rcode::SERVFAIL, code, out),
            };
        }
        match self.cache.find(question.key(), now) {
            Some(Found::Fresh(answer, age)) => self.responder.answer(client, &question, answer, age, out),
            Some(Found::Stale(answer, _)) => self.responder.stale(client, &question, answer, out),
            None => self.responder.bare(client, &question, Rcode::SERVFAIL, code, out),
        }
    }

    /// Whether there is something stale to answer with.
    pub fn has_stale(&mut self, now: Instant, key: &Key) -> bool {
        let now = self.seconds(now);
        self.cache.find(key, now).is_some()
    }

    /// The reply to a question or an update for which there is no room.
    pub fn handle_too_many(&self, client: Client, packet: &[u8], out: &mut Vec<u8>) {
        self.counters().too_many.up();
        match Question::parse(packet) {
            Ok(question) => {
                self.responder.bare(client, &question, Rcode::SERVFAIL, extended::NOT_READY, out);
            }
            // The client may try again: nothing of it was done (RFC 2136, 3.8).
            Err(Unreadable::Update) => failure_of(packet, Rcode::SERVFAIL, out),
            Err(_) => {}
        }
    }

    /// What a held reply becomes, signed if its question is; `unix_now` in seconds.
    pub fn handle_verdict(
        &mut self,
        held: &Held,
        verdict: &Verdict,
        unix_now: impl FnOnce() -> u64,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        self.responder.release(held, verdict, out);
        self.sign_reply(held.client, &held.packet, unix_now, start, out);
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.saturating_duration_since(self.start).as_secs()).unwrap_or(u32::MAX)
    }
}

fn silent(counter: &Count) -> Handled {
    counter.up();
    Handled::Silent
}

fn fail(counter: &Count, packet: &[u8], rcode: Rcode, out: &mut Vec<u8>) -> Handled {
    counter.up();
    failure_of(packet, rcode, out);
    Handled::Replied
}

/// SERVFAIL, as an answer to keep.
fn failure(key: &Key) -> Option<Answer> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_rcode(Rcode::SERVFAIL);
    let mut builder = builder.question();
    builder.push((Name::from_slice(key.name()).ok()?, key.qtype(), Class::IN)).ok()?;
    let message: Message<Vec<u8>> = builder.into_message();
    Answer::new(key, message.as_slice(), FAILURE_LIFETIME)
}

#[cfg(test)]
pub(crate) mod tests;
