//! Replies to one client, and whether they may leave at once: addresses of announced names wait for their router (T4).

use std::{
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
};

use domain::base::iana::{Rcode, Rtype};

use super::{
    alias,
    announced::{Announced, Announcement, Verdict},
    answer::{Age, Answer},
    counters::Counters,
    question::{Key, Question, host_name},
    reply::{Note, Reply, Sections, extended},
    settings::Settings,
    wire::{put_u32, records, u32_at},
};
use crate::zone;

/// Who asks, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its address.
    pub address: IpAddr,
    /// Whether it gets a datagram.
    pub over_udp: bool,
}

/// What became of a packet.
#[derive(Debug)]
pub enum Handled {
    /// The reply stands at the end of the output.
    Replied,
    /// There is no reply.
    Silent,
    /// An upstream server has to be asked this.
    Ask(Box<Key>),
    /// A router has to be told first.
    Announce(Box<Held>),
    /// A dynamic update, which the zones handle.
    Update,
}

/// A reply that is held until its router was told.
#[derive(Debug)]
pub struct Held {
    /// What the router is told.
    pub announcement: Announcement,
    pub(super) client: Client,
    pub(super) packet: Box<[u8]>,
    reply: Box<[u8]>,
}

impl Held {
    /// Octets that wait with it.
    pub fn size(&self) -> usize {
        self.packet.len() + self.reply.len()
    }
}

/// Where an answer leads: to an announced name, or not.
#[derive(Debug, Default)]
struct Leading {
    kind: Option<Announced>,
    name: Option<String>,
    addresses: Vec<Ipv4Addr>,
}

/// Composes replies, counts and logs them.
#[derive(Debug)]
pub struct Responder {
    /// What is configured.
    pub settings: Settings,
    /// What happened so far.
    pub counters: Rc<Counters>,
}

impl Responder {
    /// An upstream server's answer, `seconds` after it came.
    pub fn answer(
        &self,
        client: Client,
        question: &Question<'_>,
        answer: &Answer,
        seconds: u32,
        out: &mut Vec<u8>,
    ) -> Handled {
        let age = Age { seconds, ttl_max: u32::MAX };
        self.write(client, question, answer, age, answer.error().map(Note::code), out)
    }

    /// An answer whose time is over, for want of a better one (RFC 8767).
    pub fn stale(
        &self,
        client: Client,
        question: &Question<'_>,
        answer: &Answer,
        out: &mut Vec<u8>,
    ) -> Handled {
        self.counters.answered_stale.up();
        let nothing = answer.rcode() == Rcode::NXDOMAIN;
        let code = if nothing { extended::STALE_NXDOMAIN } else { extended::STALE_ANSWER };
        self.write(client, question, answer, Age::STALE, Some(Note::code(code)), out)
    }

    fn write(
        &self,
        client: Client,
        question: &Question<'_>,
        answer: &Answer,
        age: Age,
        note: Option<Note<'_>>,
        out: &mut Vec<u8>,
    ) -> Handled {
        let announced = self.announced(question, answer);
        if let Some(Announced::Around(apex)) = announced.kind {
            return self.around(client, question, apex, out);
        }
        let start = out.len();
        let whole = Reply::to(question, client.over_udp).note(note).answer(answer, age, out);
        self.leave(client, question, announced, whole, start, out)
    }

    /// Whether an answer is for an announced name, or an alias of one.
    fn announced(&self, question: &Question<'_>, answer: &Answer) -> Leading {
        let domains = &self.settings.announced;
        if domains.is_empty() {
            return Leading::default();
        }
        let (name, qtype) = (question.key().name(), question.qtype());
        let direct = domains.classify(name, qtype).map(|kind| (kind, question.key().host_name()));
        let found = direct.or_else(|| {
            // The zone of an alias is no part of the question's name: its own name stands for it.
            alias::targets(answer).iter().find_map(|target| match domains.classify(target, qtype)? {
                Announced::Around(_) => Some((Announced::Around(0), None)),
                kind => Some((kind, host_name(target))),
            })
        });
        match found {
            Some((kind, name)) => Leading { kind: Some(kind), name, addresses: answer.addresses().collect() },
            None => Leading::default(),
        }
    }

    /// An answer from own records.
    pub fn own(
        &self,
        client: Client,
        question: &Question<'_>,
        answer: &zone::Answer,
        out: &mut Vec<u8>,
    ) -> Handled {
        self.counters.answered_own.up();
        let domains = &self.settings.announced;
        let kept = if domains.is_empty() { None } else { alias::joined(question, answer, None) };
        let announced = kept.map(|kept| self.announced(question, &kept)).unwrap_or_default();
        if let Some(Announced::Around(apex)) = announced.kind {
            return self.around(client, question, apex, out);
        }
        let start = out.len();
        let sections =
            Sections { counts: answer.counts, bytes: &answer.sections, authoritative: answer.authoritative };
        let whole = Reply::to(question, client.over_udp).sections(answer.rcode, sections, out);
        self.leave(client, question, announced, whole, start, out)
    }

    /// Own aliases, and the answer for the name that they lead to.
    pub fn beyond(
        &self,
        client: Client,
        question: &Question<'_>,
        own: &zone::Answer,
        (answer, age): (&Answer, Age),
        out: &mut Vec<u8>,
    ) -> Handled {
        match alias::joined(question, own, Some((answer, age))) {
            Some(joined) => self.write(client, question, &joined, Age::NEW, None, out),
            None => self.bare(client, question, Rcode::SERVFAIL, extended::NOT_READY, out),
        }
    }

    /// Only a response code, and why.
    pub fn bare(
        &self,
        client: Client,
        question: &Question<'_>,
        rcode: Rcode,
        code: u16,
        out: &mut Vec<u8>,
    ) -> Handled {
        Reply::to(question, client.over_udp).note(Some(Note::code(code))).bare(rcode, out);
        Handled::Replied
    }

    /// What comes instead of a type that leads around an announcement.
    pub fn around(&self, client: Client, question: &Question<'_>, apex: usize, out: &mut Vec<u8>) -> Handled {
        self.counters.announce_emptied.up();
        Reply::to(question, client.over_udp).empty(apex, out);
        Handled::Replied
    }

    /// The reply from `start` leaves, or is held.
    fn leave(
        &self,
        client: Client,
        question: &Question<'_>,
        announced: Leading,
        whole: bool,
        start: usize,
        out: &mut Vec<u8>,
    ) -> Handled {
        if !whole {
            self.counters.truncated.up();
            return Handled::Replied;
        }
        if announced.addresses.is_empty() {
            return Handled::Replied;
        }
        let mut reply = out.split_off(start).into_boxed_slice();
        limit_ttls(&mut reply, question, self.settings.announce_ttl);
        let Leading { name, addresses, .. } = announced;
        let announcement = Announcement { client: client.address, id: question.id(), name, addresses };
        Handled::Announce(Box::new(Held { announcement, client, packet: question.packet().into(), reply }))
    }

    /// What a held reply becomes.
    pub fn release(&self, held: &Held, verdict: &Verdict, out: &mut Vec<u8>) {
        let Ok(question) = Question::parse(&held.packet) else { return };
        match verdict {
            Verdict::Send(allowed) if *allowed == held.announcement.addresses => {
                self.counters.announced.up();
                out.extend_from_slice(&held.reply);
            }
            Verdict::Send(allowed) if !allowed.is_empty() => {
                self.counters.announced.up();
                self.write_addresses(held.client, &question, allowed, out);
            }
            Verdict::Send(_) => self.refuse(held, &question, extended::PROHIBITED, "", out),
            Verdict::Refuse(code, text) => self.refuse(held, &question, *code, text, out),
        }
    }

    fn refuse(&self, held: &Held, question: &Question<'_>, code: u16, text: &str, out: &mut Vec<u8>) {
        self.counters.announce_refused.up();
        log::debug!("{question:?} for {}: no address ({text})", held.client.address);
        let apex = self.settings.announced.find(question.key().name()).unwrap_or(0);
        Reply::to(question, held.client.over_udp).note(Some(Note { code, text })).empty(apex, out);
    }

    /// Only some of the addresses, without the aliases that led to all of them.
    fn write_addresses(
        &self,
        client: Client,
        question: &Question<'_>,
        addresses: &[Ipv4Addr],
        out: &mut Vec<u8>,
    ) {
        let mut bytes = Vec::with_capacity(addresses.len() * 16);
        for address in addresses {
            // Owner: a pointer to the question's name.
            bytes.extend_from_slice(&[0xc0, 0x0c]);
            bytes.extend_from_slice(&Rtype::A.to_int().to_be_bytes());
            bytes.extend_from_slice(&[0, 1]);
            bytes.extend_from_slice(&self.settings.announce_ttl.to_be_bytes());
            bytes.extend_from_slice(&[0, 4]);
            bytes.extend_from_slice(&address.octets());
        }
        let count = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
        let sections = Sections { counts: [count, 0, 0], bytes: &bytes, authoritative: false };
        Reply::to(question, client.over_udp).sections(Rcode::NOERROR, sections, out);
    }

    /// The query log, if it is wanted.
    pub fn log(&self, client: Client, question: &Question<'_>, what: &str) {
        if self.settings.query_log {
            log::info!("query {question:?} from {}: {what}", client.address);
        }
    }
}

/// No TTL of the reply is longer than this; OPT has something else in the TTL's place.
fn limit_ttls(reply: &mut [u8], question: &Question<'_>, longest: u32) {
    let start = super::wire::HEADER + question.bytes().len();
    let data = records(reply, start).filter(|record| record.type_of(reply) != Some(Rtype::OPT.to_int()));
    let places: Vec<_> = data.map(|record| record.ttl()).collect();
    for at in places {
        let ttl = u32_at(reply, at).unwrap_or(0);
        put_u32(reply, at, ttl.min(longest));
    }
}
