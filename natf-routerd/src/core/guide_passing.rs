//! UDP flows of caught sources that need not be caught any more: conntrack knows them, or no row fits them.
//!
//! The packets stand before conntrack, so that nothing else tells a flow's first packet from its thousandth. This is
//! the core's copy of a set in the kernel, which it never lets become full: an addition that fails is expensive there.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
};

use natf_proto::Transport;

use super::output::FirstFlow;

/// How long the kernel lets a flow pass; then one packet of it is looked at again.
pub const PASSING_SECONDS: u32 = 60;
/// The kernel forgets its elements a little later than it says.
const GRACE_SECONDS: u32 = 3;
/// Most flows.
pub const PASSING_LIMIT: usize = 4096;

/// Whether a flow is let pass from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passed {
    /// It has to be told to the kernel.
    Now,
    /// It was told to the kernel before.
    Already,
    /// There is no room.
    Full,
}

/// The flows that pass.
#[derive(Debug, Default)]
pub struct Passing {
    /// With the second up to which each passes.
    flows: BTreeMap<FirstFlow, u32>,
    order: VecDeque<(u32, FirstFlow)>,
}

impl Passing {
    /// Lets a flow pass.
    pub fn pass(&mut self, now: u32, flow: FirstFlow) -> Passed {
        while let Some((until, flow)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            if self.flows.get(&flow) == Some(&until) {
                self.flows.remove(&flow);
            }
        }
        if self.flows.contains_key(&flow) {
            return Passed::Already;
        }
        if self.flows.len() >= PASSING_LIMIT {
            return Passed::Full;
        }
        let until = now.saturating_add(PASSING_SECONDS + GRACE_SECONDS);
        self.flows.insert(flow, until);
        self.order.push_back((until, flow));
        Passed::Now
    }

    /// The source has a row that it had not: its flows are to be looked at again. Returns those that the kernel has not
    /// forgotten by itself.
    pub fn forget(&mut self, now: u32, source: Ipv4Addr) -> Vec<FirstFlow> {
        let of = |port, other| FirstFlow {
            transport: Transport::Udp,
            source: SocketAddrV4::new(source, port),
            destination: SocketAddrV4::new(other, port),
        };
        let range = of(0, Ipv4Addr::UNSPECIFIED)..=of(u16::MAX, Ipv4Addr::BROADCAST);
        let flows: Vec<_> = self.flows.range(range).map(|(flow, until)| (*flow, *until)).collect();
        for (flow, _) in &flows {
            self.flows.remove(flow);
        }
        let lives = |(_, until): &(FirstFlow, u32)| *until > now.saturating_add(2 * GRACE_SECONDS);
        flows.into_iter().filter(lives).map(|(flow, _)| flow).collect()
    }

    /// The kernel's set was emptied.
    pub fn clear(&mut self) {
        self.flows.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddrV4};

    use natf_proto::Transport;

    use super::*;

    fn flow(port: u16) -> FirstFlow {
        let socket = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        FirstFlow { transport: Transport::Udp, source: socket(port), destination: socket(1) }
    }

    #[test]
    fn a_flow_is_told_to_the_kernel_once_a_minute() {
        let mut passing = Passing::default();
        let told = [0, 1, 60, 63, 64].map(|now| passing.pass(now, flow(1)));
        assert_eq!(told, [Passed::Now, Passed::Already, Passed::Already, Passed::Now, Passed::Already]);
    }

    #[test]
    fn the_flows_of_one_source_are_forgotten_and_told_anew() {
        let mut passing = Passing::default();
        let other = FirstFlow { source: SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), 1), ..flow(1) };
        for flow in [flow(1), flow(u16::MAX), other] {
            assert_eq!(passing.pass(0, flow), Passed::Now);
        }
        assert_eq!(passing.forget(1, Ipv4Addr::LOCALHOST), [flow(1), flow(u16::MAX)]);
        assert_eq!((passing.pass(30, flow(1)), passing.pass(30, other)), (Passed::Now, Passed::Already));
        assert_eq!(passing.pass(64, flow(1)), Passed::Already, "its former time does not end it");
        assert_eq!(passing.forget(90, Ipv4Addr::LOCALHOST), [], "the kernel is about to forget it by itself");
    }

    #[test]
    fn the_kernels_set_never_becomes_full() {
        let mut passing = Passing::default();
        let told = (0..=u16::MAX).filter(|port| passing.pass(0, flow(*port)) == Passed::Now).count();
        assert_eq!(told, PASSING_LIMIT);
        assert_eq!(passing.pass(0, flow(60_000)), Passed::Full);
        assert_eq!(passing.pass(63, flow(60_000)), Passed::Now);
        assert_eq!(passing.order.len(), 1);
    }
}
