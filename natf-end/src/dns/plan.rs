//! What happens to a question: first a plan, from the question alone; then, with the upstream's reply, the end.

use std::{
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use domain::base::{
    Message,
    iana::{OptRcode, Rtype},
};

use super::{
    answer::{Addresses, has_alias},
    homes::{Homes, Ours, Scope},
    question::Question,
    reply,
};
use crate::{relation::Full, virtual_address::VirtualPrefix};

/// What the rewriting needs to know, and what it tells (N2).
pub trait Names {
    /// The configured homes.
    fn homes(&self) -> Rc<Homes>;

    /// The prefix of virtual addresses.
    fn prefix(&self) -> VirtualPrefix;

    /// `V := (name, targets)`: writes the NRT row and says which virtual address the application gets.
    fn relate(
        &mut self,
        ours: &Ours<'_>,
        targets: &[Ipv4Addr],
        ttl: Duration,
        now: Instant,
    ) -> Result<Ipv4Addr, Full>;

    /// An answer was rewritten, in this time (N17).
    fn handle_rewritten(&mut self, _took: Duration) {}

    /// Whether the router at this address is known to have no NAT-f (N10).
    fn is_plain_router(&self, address: Ipv4Addr, now: Instant) -> bool;

    /// The whole name behind a virtual address.
    fn name_of(&self, address: Ipv4Addr) -> Option<String>;
}

/// What is to be done with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Not ours: ask, and hand the reply on unchanged.
    Pass,
    /// The A record of a name of ours: ask, then [`settle`].
    Rewrite,
    /// A type that would lead the application around the virtual address: ask (the name may not exist), then
    /// [`settle`].
    NoData,
    /// The same for a name that only `*` covers: also ask for its A record ([`reply::a_query`]) and [`settle`]
    /// that reply; if it comes out unchanged, hand on the reply to the question itself.
    AskA,
    /// Another type of a name of ours: ask, then [`settle`] (aliases and additional addresses would lead around).
    Plain,
    /// A name at or below a home that is not ours, the apex or a service label: ask, then [`settle`].
    Around,
    /// The name of a virtual address: answer it at once ([`reply::reverse_reply`]).
    Reverse(Ipv4Addr),
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The upstream's reply.
    Unchanged,
    /// A virtual address.
    Rewritten {
        /// The reply.
        reply: Vec<u8>,
        /// The virtual address in it.
        address: Ipv4Addr,
        /// The client asked for signatures and there were some: a validating client takes the reply for bogus.
        bogus: bool,
    },
    /// A reply that says less than the upstream's.
    Reduced(Vec<u8>),
    /// SERVFAIL, because the name relation table is full.
    Refused(Vec<u8>, Full),
    /// SERVFAIL, because the upstream's reply cannot be read.
    Malformed(Vec<u8>),
}

/// Decides what has to be asked.
pub fn plan(question: &Question<'_>, homes: &Homes, prefix: VirtualPrefix) -> Plan {
    let Some(name) = question.name().filter(|_| question.is_internet()) else { return Plan::Pass };
    let qtype = question.qtype();
    if qtype == Rtype::PTR
        && let Some(address) = reverse_name(name).filter(|address| prefix.contains(*address))
    {
        return Plan::Reverse(address);
    }
    // `_8443._https.alice.home.example.net` is about alice, and names her addresses (RFC 9460, 2.3, 7.3).
    let host = if matches!(qtype, Rtype::SVCB | Rtype::HTTPS) { without_services(name) } else { name };
    let scope = homes.classify(host).map(|ours| ours.scope);
    match (scope, qtype) {
        (Some(_), Rtype::A) => Plan::Rewrite,
        (Some(Scope::Home), qtype) if leads_around(qtype) => Plan::NoData,
        (Some(Scope::Any), qtype) if leads_around(qtype) => Plan::AskA,
        (Some(Scope::Home), _) => Plan::Plain,
        (None, _) if homes.is_around(name) => Plan::Around,
        _ => Plan::Pass,
    }
}

/// Turns the upstream's reply into what the client gets.
///
/// `upstream` must belong to the question ([`super::is_reply_to`]); for [`Plan::AskA`] it is the reply to the A
/// question.
pub fn settle(
    question: &Question<'_>,
    plan: Plan,
    upstream: &[u8],
    names: &mut dyn Names,
    now: Instant,
) -> Settled {
    let Ok(upstream) = Message::from_slice(upstream) else {
        return Settled::Malformed(reply::server_failure(question));
    };
    match plan {
        Plan::Pass | Plan::Reverse(_) => Settled::Unchanged,
        Plan::Rewrite => rewrite(question, upstream, names, now),
        Plan::NoData => reduced_answer(question, upstream),
        Plan::AskA => match targets(question, upstream, names, now) {
            Targets::Use(..) => Settled::Reduced(reply::no_data(question, None)),
            _ => Settled::Unchanged,
        },
        Plan::Plain => match has_alias(upstream) {
            Ok(true) => Settled::Reduced(reply::no_data(question, Some(upstream))),
            Ok(false) => without_additional(question, upstream),
            Err(_) => Settled::Malformed(reply::server_failure(question)),
        },
        Plan::Around => without_additional(question, upstream),
    }
}

fn rewrite(
    question: &Question<'_>,
    upstream: &Message<[u8]>,
    names: &mut dyn Names,
    now: Instant,
) -> Settled {
    let (found, ours) = match targets(question, upstream, names, now) {
        Targets::Use(found, homes) => (found, homes),
        Targets::Leave => return Settled::Unchanged,
        Targets::Reduce => return reduced_answer(question, upstream),
        Targets::Malformed => return Settled::Malformed(reply::server_failure(question)),
    };
    let Some(ours) = question.name().and_then(|name| ours.classify(name)) else { return Settled::Unchanged };
    match names.relate(&ours, &found.list, found.ttl, now) {
        Ok(address) => Settled::Rewritten {
            reply: reply::flattened(question, upstream, address, found.ttl),
            address,
            bogus: found.signed && question.dnssec_ok(),
        },
        // Without a virtual address a name of `*` works as without NAT-f; a home's would reach the router itself.
        Err(_) if ours.scope == Scope::Any => Settled::Unchanged,
        Err(full) => Settled::Refused(reply::server_failure(question), full),
    }
}

/// What an answer to the A question means.
enum Targets {
    /// There is something to dial.
    Use(Addresses, Rc<Homes>),
    /// The client gets the answer as it is.
    Leave,
    /// There is no address; aliases are not for the client either.
    Reduce,
    /// It cannot be read.
    Malformed,
}

fn targets(question: &Question<'_>, upstream: &Message<[u8]>, names: &dyn Names, now: Instant) -> Targets {
    let (homes, prefix) = (names.homes(), names.prefix());
    let host = match question.qtype() {
        Rtype::SVCB | Rtype::HTTPS => question.name().map(without_services),
        _ => question.name(),
    };
    let Some(scope) = host.and_then(|name| homes.classify(name)).map(|ours| ours.scope) else {
        return Targets::Leave;
    };
    let none = if scope == Scope::Home { Targets::Reduce } else { Targets::Leave };
    if upstream.opt_rcode() != OptRcode::NOERROR {
        return none;
    }
    let mut found = match Addresses::of(upstream) {
        Ok(Some(found)) => found,
        Ok(None) => return none,
        Err(_) if scope == Scope::Any => return Targets::Leave,
        Err(_) => return Targets::Malformed,
    };
    if scope == Scope::Any && found.list.iter().any(|address| names.is_plain_router(*address, now)) {
        return Targets::Leave;
    }
    found.list.retain(|address| is_dialable(*address, scope, prefix));
    if found.list.is_empty() { Targets::Leave } else { Targets::Use(found, homes) }
}

/// Whether an address can be a router's. That of a configured home may be private: the EN may be at home.
fn is_dialable(address: Ipv4Addr, scope: Scope, prefix: VirtualPrefix) -> bool {
    let is_shared = matches!(address.octets(), [100, 64..=127, ..]);
    let nobody = matches!(address.octets(), [0 | 127 | 224..=255, ..]) || address.is_link_local();
    let inside = address.is_private() || is_shared;
    !nobody && !prefix.contains(address) && (scope == Scope::Home || !inside)
}

/// Without answers, if there are any.
fn reduced_answer(question: &Question<'_>, upstream: &Message<[u8]>) -> Settled {
    if upstream.header_counts().ancount() == 0 {
        return Settled::Unchanged;
    }
    Settled::Reduced(reply::no_data(question, Some(upstream)))
}

fn without_additional(question: &Question<'_>, upstream: &Message<[u8]>) -> Settled {
    match reply::without_additional(upstream) {
        Some(bytes) if bytes == upstream.as_slice() => Settled::Unchanged,
        Some(mut bytes) => {
            // The caller may have changed the id on the way.
            if let (Some(to), Some(from)) = (bytes.get_mut(..2), question.packet().get(..2)) {
                to.copy_from_slice(from);
            }
            Settled::Reduced(bytes)
        }
        None => Settled::Malformed(reply::server_failure(question)),
    }
}

/// Types whose answer holds an address of the router, or leads to one.
fn leads_around(qtype: Rtype) -> bool {
    matches!(qtype, Rtype::AAAA | Rtype::A6 | Rtype::HTTPS | Rtype::SVCB | Rtype::ANY | Rtype::CNAME)
}

/// The name without leading labels like `_8443._https`.
pub(super) fn without_services(mut name: &str) -> &str {
    while name.starts_with('_')
        && let Some((_, rest)) = name.split_once('.')
    {
        name = rest;
    }
    name
}

/// The address in `93.17.0.240.in-addr.arpa`.
fn reverse_name(name: &str) -> Option<Ipv4Addr> {
    let [a, b, c, d] = name.strip_suffix(".in-addr.arpa")?.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(d, c, b, a))
}
