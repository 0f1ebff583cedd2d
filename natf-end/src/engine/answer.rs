//! Answers: whether they are the router's, what they answer, and what follows.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::Instant,
};

use natf_proto::{
    Body, CookieOffer, Direction, EndResponse, Envelope, Grant, Kind, MappingKind, MappingRequest,
    MappingResponse, Reason, Stale,
};

use super::Engine;
use crate::{
    counters::raise,
    exchange::{Exchange, ExchangeKey},
    flow::{Flow, Home},
    flow_table::{Agreement, State},
    outcome::{Carrier, Output, PingEvent, Refusal},
    sealer::open,
    steps::Step,
};

impl Engine {
    /// Takes a datagram that may be an answer: `from` and `carrier` are those it came by.
    pub fn handle_datagram(&mut self, now: Instant, from: Ipv4Addr, carrier: Carrier, bytes: &[u8]) {
        let Ok(envelope) = Envelope::parse(bytes) else {
            return raise(&mut self.counters.answer_malformed);
        };
        let header = envelope.header;
        let key = ExchangeKey { router: from, key: header.key, counter: header.counter };
        let Some(exchange) = self.exchanges.get(&key).filter(|exchange| exchange.carrier == carrier) else {
            return raise(&mut self.counters.answer_unexpected);
        };
        let Some(home) = self.flows.get(&exchange.flow).map(|entry| entry.home.clone()) else {
            return raise(&mut self.counters.answer_unexpected);
        };
        if exchange.used_up_by == Some(header.kind) {
            // The network repeated a mirror, a stale or a cookie answer.
            return raise(&mut self.counters.answer_unexpected);
        }
        let is_mirror = header.kind == exchange.kind;
        let direction = if is_mirror { Direction::ToRouter } else { Direction::ToEnd };
        let Some(body) = open(&home, direction, &envelope) else {
            return raise(&mut self.counters.answer_forged);
        };
        if is_mirror || matches!(header.kind, Kind::Stale | Kind::Cookie) {
            // A mirror leaves room for the real answer, which is another kind.
            self.exchanges.use_up(&key, header.kind);
        }
        match header.kind {
            _ if is_mirror => self.handle_mirror(now, from, &exchange, &body, &home),
            Kind::MappingResponse if exchange.kind == Kind::MappingRequest => {
                self.handle_mapping(now, from, &exchange, &body);
            }
            Kind::EndResponse if exchange.kind == Kind::EndRequest => {
                self.handle_ended(now, from, &exchange, &body);
            }
            Kind::Stale if home.keys.is_some() => self.handle_stale(now, from, &exchange, &body, &home),
            Kind::Cookie if home.keys.is_none() => self.handle_cookie(now, from, &exchange, &body),
            _ => raise(&mut self.counters.answer_mismatch),
        }
    }

    /// Our own question comes back: only this node could seal it, so that it is a mirror and nothing else (N10).
    fn handle_mirror(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        exchange: &Exchange,
        body: &Body,
        home: &Rc<Home>,
    ) {
        let Some(entry) = self.flows.get_mut(&exchange.flow) else { return };
        let is_ours =
            MappingRequest::parse(body).is_ok_and(|seen| seen == entry.request(&exchange.flow, from));
        let State::Negotiating(negotiation) = &mut entry.state else {
            return raise(&mut self.counters.mirrored);
        };
        if !is_ours || exchange.carrier != Carrier::Icmp {
            return raise(&mut self.counters.answer_mismatch);
        }
        raise(&mut self.counters.mirrored);
        if let Some(ping) = &mut negotiation.ping {
            ping.note(now, PingEvent::Mirrored(from));
        }
        if home.keys.is_some() || home.udp_port.is_some() {
            let pause = negotiation.handle_mirror(from, home);
            // Where the question is on its way over UDP too, that has its time.
            let waits_for_udp = |key| self.exchanges.get(key).is_some_and(|it| it.carrier != Carrier::Icmp);
            if !entry.asked.iter().any(waits_for_udp) {
                self.flows.set_deadline(&exchange.flow, now + pause);
            }
            return;
        }
        self.memory.note_mirror(from, home.wildcard, now);
        self.go_plain(now, exchange.flow, from);
    }

    fn handle_mapping(&mut self, now: Instant, from: Ipv4Addr, exchange: &Exchange, body: &Body) {
        let Some(entry) = self.flows.get_mut(&exchange.flow) else { return };
        let response = MappingResponse::parse(body).ok();
        let Some(response) = response.filter(|it| it.answers(&entry.request(&exchange.flow, from))) else {
            return raise(&mut self.counters.answer_mismatch);
        };
        self.memory.note_answer(from, exchange.carrier, now);
        let outcome = match response.outcome {
            Err(reason) => {
                raise(&mut self.counters.refused_by_router);
                Err(Refusal::Router(reason))
            }
            Ok(grant) if !is_acceptable(&grant, from, &entry.home) => {
                raise(&mut self.counters.answer_unacceptable);
                Err(Refusal::Unacceptable(grant.mapped))
            }
            Ok(grant) => Ok(grant),
        };
        match &mut entry.state {
            State::Negotiating(negotiation) => {
                self.steps.record(Step::RequestToResponse, now.saturating_duration_since(exchange.at));
                if let (Some(ping), Ok(grant)) = (&mut negotiation.ping, outcome) {
                    ping.note(now, PingEvent::Granted { grant, observed: response.observed });
                }
                self.handle_outcome(now, from, exchange, outcome);
            }
            State::Live(_) => self.handle_refreshed(now, exchange.flow, outcome),
            State::Confirming { .. } | State::Ending { .. } => raise(&mut self.counters.answer_unexpected),
        }
    }

    fn handle_outcome(
        &mut self,
        now: Instant,
        router: Ipv4Addr,
        exchange: &Exchange,
        outcome: Result<Grant, Refusal>,
    ) {
        match outcome {
            Ok(grant) => {
                raise(&mut self.counters.granted);
                let Grant { kind, mapped, .. } = grant;
                let agreement = Agreement { router, carrier: exchange.carrier, mapped, kind: Some(kind) };
                self.agree(now, exchange.flow, agreement);
            }
            Err(why) => self.refuse_flow(now, exchange.flow, why),
        }
    }

    /// A refreshed mapping is the same as before; if not, the kernel has to forget the flow, so that its next
    /// packet starts anew and its application hears of a refusal.
    fn handle_refreshed(&mut self, now: Instant, flow: Flow, outcome: Result<Grant, Refusal>) {
        self.forget_exchanges(&flow);
        let agreed = self.flows.get(&flow).and_then(|entry| entry.agreement());
        let is_same = match outcome {
            Ok(grant) => agreed.is_some_and(|agreement| agreement.mapped == grant.mapped),
            Err(Refusal::Router(Some(Reason::Busy))) => true,
            Err(_) => false,
        };
        if !is_same {
            raise(&mut self.counters.refresh_lost);
            self.ask_end_once(now, flow);
            self.remove(now, &flow);
            self.outputs.push_back(Output::Forget { flow });
        }
    }

    fn handle_ended(&mut self, now: Instant, from: Ipv4Addr, exchange: &Exchange, body: &Body) {
        let Some(entry) = self.flows.get(&exchange.flow) else { return };
        let agreed = entry.agreement().filter(|agreement| agreement.router == from);
        let asked = agreed.map(|agreement| entry.end_request(&exchange.flow, agreement.mapped));
        let Some(response) = EndResponse::parse(body).ok().filter(|it| Some(it.request) == asked) else {
            return raise(&mut self.counters.answer_mismatch);
        };
        if !matches!(entry.state, State::Ending { .. }) {
            return raise(&mut self.counters.answer_unexpected);
        }
        raise(&mut self.counters.flows_ended);
        if let Some(entry) = self.remove(now, &exchange.flow)
            && let State::Ending { ping: Some(ping), .. } = entry.state
        {
            self.finish_ping(now, ping, PingEvent::Ended(response.ended));
        }
    }

    /// The router's window lies above our counter: go on above its floor, and ask again at once.
    fn handle_stale(
        &mut self,
        now: Instant,
        from: Ipv4Addr,
        exchange: &Exchange,
        body: &Body,
        home: &Rc<Home>,
    ) {
        let stale = Stale::parse(body);
        if self.flows.get(&exchange.flow).is_none_or(|entry| entry.transaction != stale.transaction) {
            return raise(&mut self.counters.answer_mismatch);
        }
        if !self.sealer.raise_floor(home, stale.floor) {
            return raise(&mut self.counters.stale_implausible);
        }
        raise(&mut self.counters.stale);
        self.ask_again(now, from, exchange, PingEvent::Stale);
    }

    /// The router wants to see that we receive at our address (N15).
    fn handle_cookie(&mut self, now: Instant, from: Ipv4Addr, exchange: &Exchange, body: &Body) {
        let offer = CookieOffer::parse(body);
        let Some(entry) = self.flows.get_mut(&exchange.flow) else { return };
        if entry.transaction != offer.transaction {
            return raise(&mut self.counters.answer_mismatch);
        }
        entry.cookie = Some((from, offer.cookie));
        raise(&mut self.counters.cookies);
        self.ask_again(now, from, exchange, PingEvent::Cookie);
    }

    /// Repeats a question at once; a router that never has enough is left alone.
    fn ask_again(&mut self, now: Instant, router: Ipv4Addr, exchange: &Exchange, event: PingEvent) {
        let Some(entry) = self.flows.get_mut(&exchange.flow) else { return };
        let is_negotiating = matches!(entry.state, State::Negotiating(_));
        if let State::Negotiating(negotiation) = &mut entry.state
            && let Some(ping) = &mut negotiation.ping
        {
            ping.note(now, event);
        }
        // A live flow goes on; its next refresh or end is a question of its own.
        if !self.ask_next_round(now, router, exchange) && is_negotiating {
            self.refuse_flow(now, exchange.flow, Refusal::NoAgreement(router));
        }
    }
}

/// Whether packets may be sent to a mapped address. An enrolled router is trusted with any that can be sent to;
/// one that nobody vouches for may only name itself, or a neighbour where the home is a configured one.
fn is_acceptable(grant: &Grant, router: Ipv4Addr, home: &Home) -> bool {
    let mapped: SocketAddrV4 = grant.mapped;
    let address = mapped.ip();
    let can_be_sent_to = !(address.is_loopback()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_unspecified()
        || address.octets().first().is_some_and(|a| *a == 0 || *a >= 240));
    let is_vouched_for = home.keys.is_some()
        || *address == router
        || (grant.kind == MappingKind::Direct && address.is_private() && !home.wildcard);
    can_be_sent_to && is_vouched_for
}
