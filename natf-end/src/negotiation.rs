//! One negotiation as a schedule: whom to ask next, by which carrier, and when to give up. Paper 001, 3.2 (N4, N5).
//!
//! ```text
//! try 1 ──250 ms── try 2 ──500 ms── try 3 ──1 s── try 4 ──2 s── silent
//! 1st G2           both carriers    2nd G2 too    every G2
//!        └─ mirror: try 2 after 50 ms, the same again: the router does not recognise us
//! ```

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::{
    flow::{Home, PacketId},
    outcome::{Carrier, PingEvent, PingReport, Refusal},
    router_memory::RouterMemory,
};

/// How long each try waits for its answer.
pub const BACK_OFF: [Duration; 4] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2000),
];
/// How long a mirror waits for a real answer to overtake it: whoever listens on the way could have made it.
pub const GRACE: Duration = Duration::from_millis(50);
/// From this many mirrors on, an enrolled home's router is taken for one that does not recognise us. The first
/// may come from its kernel while the daemon starts.
const MIRRORS: u8 = 2;

/// Times that other addresses of the router begin a negotiation anew: packets wait for a bounded time.
const RESTARTS_MAX: u8 = 1;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// Ask these, then wait.
    Ask { questions: Vec<(Ipv4Addr, Carrier)>, wait: Duration },
    /// Nobody is left to ask.
    GiveUp(Refusal),
}

#[derive(Debug)]
pub(crate) struct Negotiation {
    /// Packets that wait, in their order.
    pub held: Vec<PacketId>,
    /// Set where a person asked rather than a packet.
    pub ping: Option<Ping>,
    /// The targets are out of date, and nothing but their address tells the router from another one.
    pub awaits_targets: bool,
    /// DNS was asked for the router's addresses.
    pub asked_dns: bool,
    /// Times that a gateway had to choose another port.
    pub port_tries: u8,
    restarts: u8,
    tries: usize,
    mirrors: Vec<(Ipv4Addr, u8)>,
}

impl Negotiation {
    pub fn new(held: Vec<PacketId>, ping: Option<Ping>) -> Self {
        let mirrors = Vec::new();
        let (awaits_targets, asked_dns, port_tries, restarts, tries) = (false, false, 0, 0, 0);
        Self { held, ping, awaits_targets, asked_dns, port_tries, restarts, tries, mirrors }
    }

    /// Whether anything was asked before.
    pub fn is_repeating(&self) -> bool {
        self.tries > 1
    }

    /// Whether DNS is to be asked for the router anew; true once.
    pub fn wants_targets(&mut self) -> bool {
        self.is_repeating() && !std::mem::replace(&mut self.asked_dns, true)
    }

    /// The next try.
    pub fn poll_try(&mut self, targets: &[Ipv4Addr], home: &Home, memory: &RouterMemory) -> Try {
        let Some(wait) = BACK_OFF.get(self.tries).copied() else {
            return Try::GiveUp(self.reason(targets));
        };
        if self.awaits_targets {
            self.tries += 1;
            return Try::Ask { questions: Vec::new(), wait };
        }
        let alive =
            targets.iter().copied().filter(|target| home.udp_port.is_some() || !self.is_dead(*target));
        let several = match self.tries {
            0 | 1 => 1,
            2 => 2,
            _ => targets.len(),
        };
        let questions: Vec<_> = alive
            .take(several)
            .flat_map(|target| {
                self.carriers(target, home, memory).into_iter().flatten().map(move |by| (target, by))
            })
            .collect();
        self.tries += 1;
        match questions.is_empty() {
            true => Try::GiveUp(self.reason(targets)),
            false => Try::Ask { questions, wait },
        }
    }

    /// The router mirrored our question; returns when to try next. UDP may still get through where another box
    /// answers pings for the router.
    pub fn handle_mirror(&mut self, router: Ipv4Addr, home: &Home) -> Duration {
        match self.mirrors.iter_mut().find(|(known, _)| *known == router) {
            Some((_, times)) => *times = times.saturating_add(1),
            None => self.mirrors.push((router, 1)),
        }
        if home.udp_port.is_some() { Duration::ZERO } else { GRACE }
    }

    /// Begins anew with fresh targets; not without end, where DNS says something else each time.
    pub fn restart(&mut self) {
        let was_awaited = std::mem::take(&mut self.awaits_targets);
        if was_awaited || self.restarts < RESTARTS_MAX {
            self.restarts += u8::from(!was_awaited);
            self.tries = 0;
        }
    }

    fn carriers(&self, target: Ipv4Addr, home: &Home, memory: &RouterMemory) -> [Option<Carrier>; 2] {
        let udp = home.udp_port.map(Carrier::Udp);
        if udp.is_some() && self.mirrors_of(target) > 0 {
            return [udp, None];
        }
        match (self.tries, udp) {
            (_, None) => [Some(Carrier::Icmp), None],
            (0, Some(_)) if memory.carrier(target) == udp => [udp, None],
            (0, Some(_)) => [Some(Carrier::Icmp), None],
            (_, Some(_)) => [Some(Carrier::Icmp), udp],
        }
    }

    fn mirrors_of(&self, target: Ipv4Addr) -> u8 {
        self.mirrors.iter().find(|(known, _)| *known == target).map_or(0, |(_, times)| *times)
    }

    fn is_dead(&self, target: Ipv4Addr) -> bool {
        self.mirrors_of(target) >= MIRRORS
    }

    fn reason(&self, targets: &[Ipv4Addr]) -> Refusal {
        match (self.mirrors.first(), targets.first()) {
            (Some((router, _)), _) => Refusal::NotRecognised(*router),
            (None, Some(router)) if !self.awaits_targets => Refusal::Silent(*router),
            _ => Refusal::NoTarget,
        }
    }
}

/// A person's question, and the events so far.
#[derive(Debug)]
pub(crate) struct Ping {
    pub report: PingReport,
    pub started: Instant,
}

impl Ping {
    pub fn note(&mut self, now: Instant, event: PingEvent) {
        self.report.events.push((now.saturating_duration_since(self.started), event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::home;

    const ONE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const TWO: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

    fn ask(questions: &[(Ipv4Addr, Carrier)], milliseconds: u64) -> Try {
        Try::Ask { questions: questions.to_vec(), wait: Duration::from_millis(milliseconds) }
    }

    #[test]
    fn n5_a_silent_router_is_asked_four_times_in_about_four_seconds() {
        let (mut negotiation, memory) = (Negotiation::new(Vec::new(), None), RouterMemory::default());
        for milliseconds in [250, 500, 1000, 2000] {
            let next = negotiation.poll_try(&[ONE], &home(Some(1)), &memory);
            assert_eq!(next, ask(&[(ONE, Carrier::Icmp)], milliseconds));
        }
        let next = negotiation.poll_try(&[ONE], &home(Some(1)), &memory);
        assert_eq!(next, Try::GiveUp(Refusal::Silent(ONE)));
    }

    #[test]
    fn n1_the_second_address_is_tried_after_two_silent_tries_to_the_first() {
        let (mut negotiation, memory) = (Negotiation::new(Vec::new(), None), RouterMemory::default());
        let mut next = || negotiation.poll_try(&[ONE, TWO], &home(Some(1)), &memory);
        assert_eq!(next(), ask(&[(ONE, Carrier::Icmp)], 250));
        assert_eq!(next(), ask(&[(ONE, Carrier::Icmp)], 500));
        assert_eq!(next(), ask(&[(ONE, Carrier::Icmp), (TWO, Carrier::Icmp)], 1000));
    }

    #[test]
    fn udp_joins_from_the_second_try_on_and_is_first_where_it_is_known_to_work() {
        let udp = Carrier::Udp(4451);
        let home = Home { udp_port: Some(4451), ..home(Some(1)) };
        let (mut negotiation, mut memory) = (Negotiation::new(Vec::new(), None), RouterMemory::default());
        assert_eq!(negotiation.poll_try(&[ONE], &home, &memory), ask(&[(ONE, Carrier::Icmp)], 250));
        let both = [(ONE, Carrier::Icmp), (ONE, udp)];
        assert_eq!(negotiation.poll_try(&[ONE], &home, &memory), ask(&both, 500));
        memory.note_answer(ONE, udp, Instant::now());
        let mut negotiation = Negotiation::new(Vec::new(), None);
        assert_eq!(negotiation.poll_try(&[ONE], &home, &memory), ask(&[(ONE, udp)], 250));
    }

    #[test]
    fn two_mirrors_are_a_refusal_of_the_key_and_one_is_not() {
        let (mut negotiation, memory) = (Negotiation::new(Vec::new(), None), RouterMemory::default());
        let home = home(Some(1));
        negotiation.poll_try(&[ONE], &home, &memory);
        assert_eq!(negotiation.handle_mirror(ONE, &home), GRACE);
        assert_eq!(negotiation.poll_try(&[ONE], &home, &memory), ask(&[(ONE, Carrier::Icmp)], 500));
        negotiation.handle_mirror(ONE, &home);
        let next = negotiation.poll_try(&[ONE], &home, &memory);
        assert_eq!(next, Try::GiveUp(Refusal::NotRecognised(ONE)));
    }

    #[test]
    fn a_mirror_before_a_forwarded_udp_port_leaves_udp() {
        let home = Home { udp_port: Some(4451), ..home(Some(1)) };
        let (mut negotiation, memory) = (Negotiation::new(Vec::new(), None), RouterMemory::default());
        negotiation.poll_try(&[ONE], &home, &memory);
        assert_eq!(negotiation.handle_mirror(ONE, &home), Duration::ZERO);
        let next = negotiation.poll_try(&[ONE], &home, &memory);
        assert_eq!(next, ask(&[(ONE, Carrier::Udp(4451))], 500));
    }
}
