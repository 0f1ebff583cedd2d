//! The flow's life after its first packet (N9): connection tracking is looked at by the clock; a mapping is
//! refreshed while the application's first packets stay unanswered, and ended when the flow is over.

use std::time::{Duration, Instant};

use natf_proto::{Kind, Transport};

use super::{ELEMENT_LIFETIME, Engine};
use crate::{
    counters::raise,
    flow::{Flow, KernelFlow},
    flow_table::{Agreement, State},
    negotiation::Ping,
    outcome::{Output, PingEvent},
};

/// First look at a flow after its release.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// A mapping whose flow has no answer yet is refreshed this often: the router keeps it for a few seconds only.
const REFRESH: Duration = Duration::from_secs(2);
/// TCP gives a SYN up after about 127 s, and mappings of one-way datagrams live on by themselves.
const REFRESH_FOR: Duration = Duration::from_secs(130);
/// How long the end of a TCP connection may go unnoticed.
const TCP_LOOK: Duration = Duration::from_secs(10);
/// The longest time between two looks at a UDP flow.
const UDP_LOOK: Duration = Duration::from_secs(120);
/// How long the answer to an end request is waited for.
const END_WAIT: Duration = Duration::from_millis(500);
/// End requests sent.
const END_TRIES: u8 = 2;

/// When a released flow is looked at first.
pub(super) fn first_look(agreement: &Agreement) -> Duration {
    if agreement.kind.is_some() { FIRST_LOOK } else { ELEMENT_LIFETIME }
}

impl Engine {
    /// Tells what the kernel knows of a flow; `None` where it knows nothing any more.
    pub fn handle_flow_state(&mut self, now: Instant, flow: &Flow, kernel: Option<KernelFlow>) {
        let Some(entry) = self.flows.get_mut(flow) else { return };
        let State::Live(live) = &mut entry.state else { return };
        let Some(kernel) = kernel.filter(|kernel| !kernel.closed) else {
            return self.end(now, *flow);
        };
        live.replied = kernel.replied;
        live.note_remaining(now, kernel.remaining);
        let age = now.saturating_duration_since(live.since);
        let refreshes = !live.replied && !live.restored && live.agreement.is_kept_by_router();
        if refreshes && flow.transport == Transport::Tcp && live.is_given_up(now) {
            // A later SYN, if one comes all the same, negotiates anew rather than to go to a port that nobody maps.
            self.outputs.push_back(Output::Forget { flow: *flow });
            return self.end(now, *flow);
        }
        if refreshes && age < REFRESH_FOR {
            let agreement = live.agreement;
            self.forget_exchanges(flow);
            raise(&mut self.counters.refreshed);
            self.ask(now, *flow, Kind::MappingRequest, agreement.router, agreement.carrier);
            return self.flows.set_deadline(flow, now + REFRESH);
        }
        let longest = match flow.transport {
            Transport::Tcp => TCP_LOOK,
            Transport::Udp => UDP_LOOK,
        };
        let next = kernel.remaining.clamp(FIRST_LOOK, longest);
        self.flows.set_deadline(flow, now + next);
    }

    /// A live flow is due: the kernel has to be asked.
    pub(super) fn watch(&mut self, now: Instant, flow: Flow) {
        let Some(agreement) = self.flows.get(&flow).and_then(|entry| entry.agreement()) else { return };
        if agreement.kind.is_none() {
            // Nobody has to be told of the end of a flow to the router itself (N10).
            self.remove(now, &flow);
            return;
        }
        self.outputs.push_back(Output::Watch { flow });
        self.flows.set_deadline(&flow, now + TCP_LOOK);
    }

    /// The flow is over; the router may use the port again.
    fn end(&mut self, now: Instant, flow: Flow) {
        let Some(agreement) = self.flows.get(&flow).and_then(|entry| entry.agreement()) else { return };
        if !agreement.is_kept_by_router() {
            self.remove(now, &flow);
            return;
        }
        self.begin_end(now, flow, agreement, None);
    }

    /// A person's question is answered: its mapping ends.
    pub(super) fn end_ping(&mut self, now: Instant, flow: Flow, agreement: Agreement, mut ping: Ping) {
        if agreement.kind.is_none() {
            ping.note(now, PingEvent::Plain(agreement.mapped));
        }
        if !agreement.is_kept_by_router() {
            self.remove(now, &flow);
            self.outputs.push_back(Output::Pinged(ping.report));
            return;
        }
        self.begin_end(now, flow, agreement, Some(ping));
    }

    fn begin_end(&mut self, now: Instant, flow: Flow, agreement: Agreement, ping: Option<Ping>) {
        self.forget_exchanges(&flow);
        self.withdraw(now, &flow);
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        entry.state = State::Ending { agreement, tries: 1, ping };
        self.ask(now, flow, Kind::EndRequest, agreement.router, agreement.carrier);
        self.flows.set_deadline(&flow, now + END_WAIT);
    }

    /// No answer to the end: ask once more, then leave it to the router's timeouts.
    pub(super) fn end_again(&mut self, now: Instant, flow: Flow) {
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        let State::Ending { agreement, tries, ping } = &mut entry.state else { return };
        if *tries < END_TRIES {
            *tries += 1;
            let agreement = *agreement;
            self.ask(now, flow, Kind::EndRequest, agreement.router, agreement.carrier);
            return self.flows.set_deadline(&flow, now + END_WAIT);
        }
        let ping = ping.take();
        self.remove(now, &flow);
        if let Some(ping) = ping {
            self.finish_ping(now, ping, PingEvent::EndUnconfirmed);
        }
    }
}
