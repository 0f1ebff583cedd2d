//! After a restart: flows of the former run are still in the kernel's connection tracking, and translated by it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_proto::{MappingKind, Transaction};

use super::Engine;
use crate::{
    counters::raise,
    flow::{Dial, RestoredFlow},
    flow_table::{Agreement, Entry, Live, State},
    outcome::Carrier,
};

impl Engine {
    /// Takes over what the kernel still translates after a restart; `dial` tells who is behind a virtual address.
    pub fn restore(
        &mut self,
        now: Instant,
        flows: impl IntoIterator<Item = RestoredFlow>,
        mut dial: impl FnMut(Ipv4Addr) -> Option<Dial>,
    ) {
        for RestoredFlow { flow, mapped, source } in flows {
            let known = dial(*flow.destination.ip());
            let Some((dial, home)) =
                known.and_then(|dial| Some((dial.clone(), self.homes.get(&dial.home)?.clone())))
            else {
                continue;
            };
            if self.flows.len() >= self.limits.flows || self.flows.get(&flow).is_some() {
                continue;
            }
            let router = if dial.targets.contains(mapped.ip()) { *mapped.ip() } else { first(&dial.targets) };
            let kind = Some(if mapped.ip().is_private() { MappingKind::Direct } else { MappingKind::Exact })
                .filter(|_| home.keys.is_some() || mapped.port() != flow.destination.port());
            let agreement = Agreement { router, carrier: Carrier::Icmp, mapped, kind };
            let live = Live::new(agreement, now, true);
            self.role.retake_source(&flow, source);
            let entry = Entry::new(dial, home, Transaction(0), source, State::Live(live));
            self.flows.insert(flow, entry);
            self.flows.set_deadline(&flow, now + Duration::from_secs(1));
            raise(&mut self.counters.flows_restored);
        }
    }
}

fn first(targets: &[Ipv4Addr]) -> Ipv4Addr {
    targets.first().copied().unwrap_or(Ipv4Addr::UNSPECIFIED)
}
