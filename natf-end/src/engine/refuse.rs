//! Refusals: the held packets go where the firewall rejects them, the person is told, and for a moment nobody asks
//! again.

use std::time::{Duration, Instant};

use natf_proto::Reason;

use super::Engine;
use crate::{
    counters::raise,
    flow::{Dial, Flow, PacketId},
    flow_table::State,
    negotiation::{Negotiation, Ping},
    outcome::{Output, PingEvent, Refusal},
};

/// How long a refusal is repeated without asking again.
const REFUSAL_MEMORY: Duration = Duration::from_secs(2);
/// Refusals remembered.
const REFUSALS_MAX: usize = 1024;

impl Engine {
    /// Ends whatever the flow is about, its held packets included.
    pub(super) fn refuse_flow(&mut self, now: Instant, flow: Flow, why: Refusal) {
        let Some(entry) = self.remove(now, &flow) else { return };
        match entry.state {
            State::Negotiating(negotiation) => {
                self.refuse_negotiation(now, &flow, &entry.dial, *negotiation, why);
            }
            State::Confirming { held, .. } => {
                let negotiation = Negotiation::new(held, None);
                self.refuse_negotiation(now, &flow, &entry.dial, negotiation, why);
            }
            State::Ending { ping: Some(ping), .. } => self.finish_ping(now, ping, PingEvent::EndUnconfirmed),
            State::Live(_) | State::Ending { .. } => {}
        }
    }

    pub(super) fn refuse_negotiation(
        &mut self,
        now: Instant,
        flow: &Flow,
        dial: &Dial,
        negotiation: Negotiation,
        why: Refusal,
    ) {
        if let Some(ping) = negotiation.ping {
            return self.finish_ping(now, ping, PingEvent::Refused(why));
        }
        let packets = negotiation.held;
        let service = format_args!("{} {}/{}", dial.name, flow.transport, flow.destination.port());
        match self.refused_before(now, flow) {
            None => log::warn!("{service}: {why}"),
            Some(_) => log::debug!("{service}: {why}"),
        }
        self.held = self.held.saturating_sub(packets.len());
        self.counters.refused = self.counters.refused.saturating_add(packets.len() as u64);
        self.outputs.push_back(Output::Refuse { packets, why });
        self.remember_refusal(now, flow, why);
    }

    /// What was refused a moment ago is refused again without asking.
    pub(super) fn refused_before(&self, now: Instant, flow: &Flow) -> Option<Refusal> {
        let (until, why) = self.refusals.get(&(flow.transport, flow.destination))?;
        (now < *until).then_some(*why)
    }

    /// A burst of connections does not flood the router that just refused the first of them.
    fn remember_refusal(&mut self, now: Instant, flow: &Flow, why: Refusal) {
        let passing = matches!(
            why,
            Refusal::Router(Some(Reason::Busy))
                | Refusal::TableFull
                | Refusal::NoPort
                | Refusal::SourceGone
                | Refusal::Kernel
        );
        if self.refusals.len() >= REFUSALS_MAX {
            self.refusals.retain(|_, (until, _)| now < *until);
        }
        if !passing && self.refusals.len() < REFUSALS_MAX {
            self.refusals.insert((flow.transport, flow.destination), (now + REFUSAL_MEMORY, why));
        }
    }

    pub(super) fn refuse_packet(&mut self, packet: PacketId, why: Refusal) {
        raise(&mut self.counters.refused);
        self.outputs.push_back(Output::Refuse { packets: vec![packet], why });
    }

    pub(super) fn finish_ping(&mut self, now: Instant, mut ping: Ping, event: PingEvent) {
        ping.note(now, event);
        self.outputs.push_back(Output::Pinged(ping.report));
    }
}
