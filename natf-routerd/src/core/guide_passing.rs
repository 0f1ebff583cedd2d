//! UDP flows of caught sources that need not be caught any more: conntrack knows them, or no row fits them.
//!
//! The packets stand before conntrack, so that nothing else tells a flow's first packet from its thousandth. This is
//! the core's copy of a set in the kernel, which it never lets become full: an addition that fails is expensive there.

use std::collections::{BTreeSet, VecDeque};

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
    flows: BTreeSet<FirstFlow>,
    order: VecDeque<(u32, FirstFlow)>,
}

impl Passing {
    /// Lets a flow pass.
    pub fn pass(&mut self, now: u32, flow: FirstFlow) -> Passed {
        while let Some((_, flow)) = self.order.pop_front_if(|(until, _)| *until <= now) {
            self.flows.remove(&flow);
        }
        if self.flows.contains(&flow) {
            return Passed::Already;
        }
        if self.flows.len() >= PASSING_LIMIT {
            return Passed::Full;
        }
        self.flows.insert(flow);
        self.order.push_back((now.saturating_add(PASSING_SECONDS + GRACE_SECONDS), flow));
        Passed::Now
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
    fn the_kernels_set_never_becomes_full() {
        let mut passing = Passing::default();
        let told = (0..=u16::MAX).filter(|port| passing.pass(0, flow(*port)) == Passed::Now).count();
        assert_eq!(told, PASSING_LIMIT);
        assert_eq!(passing.pass(0, flow(60_000)), Passed::Full);
        assert_eq!(passing.pass(63, flow(60_000)), Passed::Now);
        assert_eq!(passing.order.len(), 1);
    }
}
