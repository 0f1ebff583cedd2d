//! The sets of our nftables table, whose elements say what the capture rules queue, and what they refuse.

use std::{net::Ipv4Addr, time::Duration};

use natf_kernel::{
    KernelError,
    conntrack::Flow,
    elements::{Added, Concat, Element, Elements, SetName},
};

use super::ruleset;
use crate::core::{
    guide_passing::PASSING_SECONDS,
    output::{Await, FirstFlow, Now},
    router::Router,
};

const AWAITING: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::AWAITING };
const GUIDE: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::GUIDE };
const ENDED: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::ENDED };
const PASSING_SET: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::PASSING };
const PASSING: Duration = Duration::from_secs(PASSING_SECONDS as u64);

/// The sets, and what stands in line for them.
pub struct Sets {
    elements: Elements,
    catches: Vec<(Ipv4Addr, Duration)>,
    passes: Vec<FirstFlow>,
}

impl Sets {
    /// Opens the way to the sets; they have to exist when the first element is added.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or refuses.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { elements: Elements::open()?, catches: Vec::new(), passes: Vec::new() })
    }

    /// Has the first packets of a source caught (T7), with the next [`Self::catch`].
    pub fn push_catch(&mut self, source: Ipv4Addr, timeout: Duration) {
        self.catches.push((source, timeout));
    }

    /// Whether sources stand in line.
    pub fn has_catches(&self) -> bool {
        !self.catches.is_empty()
    }

    /// Has a flow pass the queue, with the next [`Self::let_pass`].
    pub fn push_pass(&mut self, flow: FirstFlow) {
        self.passes.push(flow);
    }

    /// One batch for all sources that stand in line.
    pub fn catch(&mut self, now: Now, router: &mut Router) {
        if self.catches.is_empty() {
            return;
        }
        let catches = std::mem::take(&mut self.catches);
        let element = |(source, timeout): &(Ipv4Addr, Duration)| Element {
            key: Concat::new().address(*source),
            data: None,
            timeout: Some(*timeout),
        };
        let elements: Vec<_> = catches.iter().map(element).collect();
        let done = self.add(GUIDE, &elements);
        for (source, _) in catches {
            router.handle_caught(now, source, done);
        }
    }

    /// Lets flows pass the queue from now on. To be called when no packet waits: what is behind one in the queue would
    /// be overtaken.
    pub fn let_pass(&mut self) {
        if self.passes.is_empty() {
            return;
        }
        let element =
            |flow: FirstFlow| Element { key: passing_key(&flow), data: None, timeout: Some(PASSING) };
        let elements: Vec<_> = self.passes.drain(..).map(element).collect();
        self.add(PASSING_SET, &elements);
    }

    /// Waits for a first packet; false where there is no room.
    pub fn expect_first_packet(&mut self, element: &Await, timeout: Duration) -> bool {
        self.add(AWAITING, &[Element { key: key(element), data: None, timeout: Some(timeout) }])
    }

    /// Waits no longer.
    pub fn unawait(&mut self, element: &Await) {
        // It may have timed out meanwhile.
        let _gone = self.elements.delete(AWAITING, &[key(element)]);
    }

    /// Catches no first packet of this source any more.
    pub fn uncatch(&mut self, source: Ipv4Addr) {
        // It may have timed out meanwhile.
        let _gone = self.elements.delete(GUIDE, &[Concat::new().address(source)]);
    }

    /// Has all packets of a flow looked at again.
    pub fn unpass(&mut self, flow: &FirstFlow) {
        self.passes.retain(|passing| passing != flow);
        // It may have timed out meanwhile, or waited in line only.
        let _gone = self.elements.delete(PASSING_SET, &[passing_key(flow)]);
    }

    /// Refuses the next packets of flows that were ended.
    pub fn refuse(&mut self, flows: &[Flow]) {
        let element = |flow: &Flow| Element { key: ended_key(flow), data: None, timeout: None };
        let elements: Vec<_> = flows.iter().map(element).collect();
        self.add(ENDED, &elements);
    }

    fn add(&mut self, set: SetName<'_>, elements: &[Element]) -> bool {
        match self.elements.add(set, elements) {
            Ok(Added::Done) => true,
            Ok(Added::Full) => {
                log::warn!("the set {set} is full");
                false
            }
            Err(error) => {
                log::warn!("{error}");
                false
            }
        }
    }
}

/// The set's key: who is awaited, by which protocol, and where.
fn key(element: &Await) -> Concat {
    Concat::new().address(element.source).protocol(element.transport as u8).socket(element.mapped)
}

/// The key of a flow whose next packets are refused.
fn ended_key(flow: &Flow) -> Concat {
    let Flow { proto, source, destination } = *flow;
    Concat::new()
        .address(*source.ip())
        .protocol(proto)
        .port(source.port())
        .address(*destination.ip())
        .port(destination.port())
}

/// The key of a flow that passes: only UDP flows do.
fn passing_key(flow: &FirstFlow) -> Concat {
    Concat::new().socket(flow.source).socket(flow.destination)
}
