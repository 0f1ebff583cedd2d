//! Asking: tries of a negotiation, and every single request.

use std::{net::Ipv4Addr, time::Instant};

use natf_proto::Kind;

use super::{Engine, Silent};
use crate::{
    counters::raise,
    exchange::{Exchange, ExchangeKey},
    flow::Flow,
    flow_table::State,
    negotiation::Try,
    outcome::{Carrier, Output, PingEvent, Refusal},
    sealer::key_of,
};

/// Questions of one flow that may still be answered; older ones are forgotten.
const ASKED_MAX: usize = 16;
/// Stale and cookie answers in a row before the router is taken for mad.
const ROUNDS_MAX: u8 = 3;

impl Engine {
    /// The next try of a negotiation, or its end.
    pub(super) fn next_try(&mut self, now: Instant, flow: Flow) {
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        let State::Negotiating(negotiation) = &mut entry.state else { return };
        match negotiation.poll_try(&entry.dial.targets, &entry.home, &self.memory) {
            Try::Ask { questions, wait } => {
                let repeats = negotiation.is_repeating();
                if negotiation.wants_targets() {
                    // A home whose address has just changed is silent at the old one until its TTL is over.
                    self.outputs.push_back(Output::Resolve { address: *flow.destination.ip() });
                }
                for (router, carrier) in questions {
                    self.counters.sent_again += u64::from(repeats);
                    self.ask(now, flow, Kind::MappingRequest, router, carrier);
                }
                self.flows.set_deadline(&flow, now + wait);
            }
            Try::GiveUp(why) => self.give_up(now, flow, why),
        }
    }

    /// Sends one request about a flow, with a counter of its own.
    pub(super) fn ask(&mut self, now: Instant, flow: Flow, kind: Kind, router: Ipv4Addr, carrier: Carrier) {
        self.send(router, Exchange { flow, kind, carrier, at: now, round: 0, used_up_by: None });
    }

    /// Repeats a question as the router wishes; false where it has wished that too often.
    pub(super) fn ask_next_round(&mut self, now: Instant, router: Ipv4Addr, last: &Exchange) -> bool {
        if last.round >= ROUNDS_MAX {
            raise(&mut self.counters.never_content);
            return false;
        }
        self.send(router, Exchange { at: now, round: last.round + 1, used_up_by: None, ..*last });
        true
    }

    fn send(&mut self, router: Ipv4Addr, exchange: Exchange) {
        let Exchange { flow, kind, carrier, at: now, .. } = exchange;
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        let body = match (kind, entry.agreement()) {
            (Kind::EndRequest, Some(agreement)) => entry.end_request(&flow, agreement.mapped).emit(),
            _ => entry.request(&flow, router).emit(),
        };
        let cookie = entry.cookie.as_ref().filter(|(baker, _)| *baker == router).map(|(_, cookie)| cookie);
        let (counter, message) = self.sealer.seal(&entry.home, kind, &body, cookie);
        let key = ExchangeKey { router, key: key_of(&entry.home), counter };
        if entry.asked.len() >= ASKED_MAX {
            let oldest = entry.asked.remove(0);
            self.exchanges.remove(&oldest);
        }
        entry.asked.push(key);
        if let State::Negotiating(negotiation) = &mut entry.state
            && let Some(ping) = &mut negotiation.ping
        {
            ping.note(now, PingEvent::Asked { router, carrier });
        }
        self.exchanges.insert(key, exchange);
        let from = *entry.source.ip();
        self.outputs.push_back(Output::Send { carrier, from, to: router, bytes: Box::new(message) });
        raise(&mut self.counters.sent);
    }

    /// Nobody is left to ask. Without a key the router may be dialled itself, with one it may never: the user
    /// would talk to the router's own services in the belief to talk to the host.
    fn give_up(&mut self, now: Instant, flow: Flow, why: Refusal) {
        let Some(entry) = self.flows.get(&flow) else { return };
        let (is_anonymous, is_wildcard) = (entry.home.keys.is_none(), entry.home.wildcard);
        if let Refusal::NotRecognised(router) = why
            && is_anonymous
        {
            self.memory.note_mirror(router, is_wildcard, now);
            return self.go_plain(now, flow, router);
        }
        if let Refusal::Silent(router) = why {
            raise(&mut self.counters.silent);
            if is_anonymous {
                self.memory.note_silence(router, now);
            }
            if is_anonymous && self.silent == Silent::Release {
                return self.go_plain(now, flow, router);
            }
        }
        self.refuse_flow(now, flow, why);
    }
}
