//! Which upstream servers to ask in which order, and how long to wait for each: a memory of how they did.
//!
//! The first server of the list that works is asked first. One that does not answer in time is not given up: the next
//! one is asked beside it, and the first good answer counts. A server that failed repeatedly, or that never helps,
//! stands at the end of the order for a while.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::asking::Manner;

/// Servers of the list that are used.
pub const SERVERS_MAX: usize = 8;
/// Failures in a row after which a server stands back.
const FAILURES_MAX: u32 = 2;
/// Refusals to help (SERVFAIL, REFUSED) in a row after which it does. More than of failures: some may be the fault of
/// the domains that were asked for.
const HELPLESS_MAX: u32 = 8;
/// How long it stands back first, and at most.
const BACK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));
/// Patience with a server of which nothing is known.
const PATIENCE: Duration = Duration::from_millis(400);
/// Bounds of the patience with a known one.
const PATIENCE_RANGE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(800));
/// Patience in mean round trips.
const ROUND_TRIPS: u32 = 4;
/// How a server is asked unless it does not understand that.
const MANNER: Manner = Manner { random_case: true, edns: true };
/// After this time that is tried again: servers are replaced, and what one does not understand may have been forged.
const MANNER_TIME: Duration = Duration::from_secs(15 * 60);

/// One server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// Mean time of its answers.
    pub round_trip: Option<Duration>,
    /// Failures since its last answer.
    pub failures: u32,
    /// Refusals to help since its last answer.
    pub helpless: u32,
    /// Until when it is asked after all others.
    pub back_until: Option<Instant>,
    /// How it is asked for a while, and from when on the best way is tried again.
    other_manner: Option<(Manner, Instant)>,
}

impl Server {
    fn new(address: SocketAddr) -> Self {
        Self { address, round_trip: None, failures: 0, helpless: 0, back_until: None, other_manner: None }
    }

    /// How it is asked.
    pub fn manner(&self, now: Instant) -> Manner {
        let other = self.other_manner.filter(|(_, until)| now < *until);
        other.map_or(MANNER, |(manner, _)| manner)
    }

    /// How long to wait for it before the next server is asked beside it.
    pub fn patience(&self) -> Duration {
        let known =
            self.round_trip.map(|mean| (mean * ROUND_TRIPS).clamp(PATIENCE_RANGE.0, PATIENCE_RANGE.1));
        known.unwrap_or(PATIENCE)
    }

    /// Stands back if that went wrong so often, for longer each time.
    fn stand_back(&mut self, now: Instant, times: u32, times_max: u32) {
        if let Some(more) = times.checked_sub(times_max) {
            self.back_until = Some(now + BACK.0.saturating_mul(1 << more.min(5)).min(BACK.1));
        }
    }

    /// Whether it stands back now.
    pub fn is_back(&self, now: Instant) -> bool {
        self.back_until.is_some_and(|until| now < until)
    }
}

/// All servers, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Upstreams {
    servers: Vec<Server>,
}

impl Upstreams {
    /// These servers, of which nothing is known.
    pub fn new(addresses: &[SocketAddr]) -> Self {
        let mut upstreams = Self::default();
        upstreams.replace(addresses);
        upstreams
    }

    /// Takes another list; what is known of servers that stay is kept.
    pub fn replace(&mut self, addresses: &[SocketAddr]) {
        let mut servers: Vec<Server> = Vec::new();
        for address in addresses {
            if servers.len() < SERVERS_MAX && !servers.iter().any(|server| server.address == *address) {
                let known = self.servers.iter().find(|server| server.address == *address);
                servers.push(known.cloned().unwrap_or_else(|| Server::new(*address)));
            }
        }
        self.servers = servers;
    }

    /// The servers.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// How a server is asked.
    pub fn manner(&self, address: SocketAddr, now: Instant) -> Manner {
        self.find(address).map_or(MANNER, |server| server.manner(now))
    }

    /// The server at an address.
    pub fn find(&self, address: SocketAddr) -> Option<&Server> {
        self.servers.iter().find(|server| server.address == address)
    }

    /// Whom to ask, first one first.
    pub fn order(&self, now: Instant) -> Vec<SocketAddr> {
        let mut order: Vec<_> = self.servers.iter().collect();
        order.sort_by_key(|server| server.is_back(now));
        order.into_iter().map(|server| server.address).collect()
    }

    /// It answered after this time.
    pub fn handle_answer(&mut self, address: SocketAddr, after: Duration) {
        self.change(address, |server| {
            server.failures = 0;
            server.helpless = 0;
            server.back_until = None;
            let mean = server.round_trip.map_or(after, |mean| (mean * 7 + after) / 8);
            server.round_trip = Some(mean);
        });
    }

    /// It did not answer, or in a way that cannot be read.
    pub fn handle_failure(&mut self, address: SocketAddr, now: Instant) {
        self.change(address, |server| {
            server.failures = server.failures.saturating_add(1);
            server.stand_back(now, server.failures, FAILURES_MAX);
        });
    }

    /// It answered that it cannot help.
    pub fn handle_helpless(&mut self, address: SocketAddr, now: Instant) {
        self.change(address, |server| {
            server.helpless = server.helpless.saturating_add(1);
            server.stand_back(now, server.helpless, HELPLESS_MAX);
        });
    }

    /// It answers when it is asked like this, and did not when it was asked in a better way.
    pub fn handle_manner(&mut self, address: SocketAddr, manner: Manner, now: Instant) {
        self.change(address, |server| server.other_manner = Some((manner, now + MANNER_TIME)));
    }

    fn change(&mut self, address: SocketAddr, change: impl FnOnce(&mut Server)) {
        if let Some(server) = self.servers.iter_mut().find(|server| server.address == address) {
            change(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 53))
    }

    #[test]
    fn the_first_server_that_works_comes_first() {
        let now = Instant::now();
        let mut upstreams = Upstreams::new(&[address(1), address(2), address(3)]);
        assert_eq!(upstreams.order(now), [address(1), address(2), address(3)]);
        upstreams.handle_failure(address(1), now);
        assert_eq!(upstreams.order(now)[0], address(1));
        upstreams.handle_failure(address(1), now);
        assert_eq!(upstreams.order(now), [address(2), address(3), address(1)]);
        assert_eq!(upstreams.order(now + Duration::from_secs(3))[0], address(1));
        upstreams.handle_answer(address(1), Duration::from_millis(10));
        assert_eq!(upstreams.order(now)[0], address(1));
    }

    #[test]
    fn a_dead_server_is_tried_less_and_less_but_never_given_up() {
        let start = Instant::now();
        let mut upstreams = Upstreams::new(&[address(1), address(2)]);
        for _ in 0..100 {
            upstreams.handle_failure(address(1), start);
        }
        let back = |after| upstreams.servers()[0].is_back(start + Duration::from_secs(after));
        assert!(back(59) && !back(60));
    }

    #[test]
    fn a_server_that_never_helps_stands_back_and_one_that_helps_at_times_does_not() {
        let now = Instant::now();
        let mut upstreams = Upstreams::new(&[address(1), address(2)]);
        for _ in 0..HELPLESS_MAX - 1 {
            upstreams.handle_helpless(address(1), now);
        }
        upstreams.handle_answer(address(1), Duration::from_millis(10));
        for _ in 0..HELPLESS_MAX - 1 {
            upstreams.handle_helpless(address(1), now);
        }
        assert_eq!(upstreams.order(now), [address(1), address(2)]);
        upstreams.handle_helpless(address(1), now);
        assert_eq!(upstreams.order(now), [address(2), address(1)]);
        assert_eq!(upstreams.order(now + BACK.0)[0], address(1));
        upstreams.handle_helpless(address(1), now + BACK.0);
        assert_eq!(upstreams.order(now + BACK.0 * 2)[0], address(2), "for longer the second time");
    }

    #[test]
    fn patience_follows_the_mean_round_trip() {
        let mut upstreams = Upstreams::new(&[address(1)]);
        let patience = |upstreams: &Upstreams| upstreams.servers()[0].patience().as_millis();
        assert_eq!(patience(&upstreams), 400);
        upstreams.handle_answer(address(1), Duration::from_millis(1));
        assert_eq!(patience(&upstreams), 100);
        for _ in 0..100 {
            upstreams.handle_answer(address(1), Duration::from_millis(150));
        }
        assert!((560..=600).contains(&patience(&upstreams)));
    }

    #[test]
    fn a_server_is_asked_in_the_best_manner_again_after_a_while() {
        let now = Instant::now();
        let mut upstreams = Upstreams::new(&[address(1)]);
        let plain = Manner { random_case: true, edns: false };
        upstreams.handle_manner(address(1), plain, now);
        let manner = |after| upstreams.servers()[0].manner(now + Duration::from_secs(after));
        assert_eq!((manner(0), manner(899)), (plain, plain));
        assert_eq!(manner(900), Manner { random_case: true, edns: true });
    }

    #[test]
    fn another_list_keeps_what_is_known() {
        let mut upstreams = Upstreams::new(&[address(1), address(2)]);
        upstreams.handle_answer(address(2), Duration::from_millis(30));
        upstreams.replace(&[address(3), address(2), address(3)]);
        assert_eq!(upstreams.order(Instant::now()), [address(3), address(2)]);
        assert_eq!(upstreams.find(address(2)).unwrap().round_trip, Some(Duration::from_millis(30)));
        upstreams.replace(&(0..20).map(address).collect::<Vec<_>>());
        assert_eq!(upstreams.servers().len(), SERVERS_MAX);
    }
}
