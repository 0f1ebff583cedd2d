//! What is known about routers, so that one that does not answer costs its clients' patience only once (T6).

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_proto::KeyId;

/// How long a router without TSN is left alone.
const NOT_CAPABLE: Duration = Duration::from_secs(60);
/// How often a silent router is asked again, without anybody waiting for it.
const PROBE: Duration = Duration::from_secs(1);
/// Routers that are remembered; the paper's ISP has many.
const ROUTERS_MAX: usize = 4096;

/// What a router has shown itself to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Nothing is known.
    Unknown,
    /// It answers.
    Capable,
    /// It sends echo requests back as they came (T6).
    NotCapable,
    /// It says nothing. `probe`: it is time to ask it again.
    Silent {
        /// Ask, but do not wait.
        probe: bool,
    },
}

impl Capability {
    /// A word for a person.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Capable => "capable",
            Self::NotCapable => "not capable",
            Self::Silent { .. } => "silent",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Capable,
    NotCapable { since: Instant },
    Silent { probed: Instant },
}

/// A router as it is known here: at one address there may be several, or one that takes notifications under one key and
/// not under another.
pub type RouterKey = (Ipv4Addr, KeyId);

/// All routers.
#[derive(Debug, Default)]
pub struct Capabilities(HashMap<RouterKey, Known>);

impl Capabilities {
    /// What is known now.
    pub fn of(&self, now: Instant, router: RouterKey) -> Capability {
        let passed = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        match self.0.get(&router) {
            None => Capability::Unknown,
            Some(Known::Capable) => Capability::Capable,
            Some(Known::NotCapable { since }) if passed(*since, NOT_CAPABLE) => Capability::Unknown,
            Some(Known::NotCapable { .. }) => Capability::NotCapable,
            Some(Known::Silent { probed }) => Capability::Silent { probe: passed(*probed, PROBE) },
        }
    }

    /// It answered.
    pub fn answered(&mut self, router: RouterKey) {
        self.set(router, Known::Capable);
    }

    /// It mirrored a notification twice.
    pub fn mirrored(&mut self, now: Instant, router: RouterKey) {
        self.set(router, Known::NotCapable { since: now });
    }

    /// It let a notification run out, or is being probed.
    pub fn silent(&mut self, now: Instant, router: RouterKey) {
        self.set(router, Known::Silent { probed: now });
    }

    /// Forgets everything, as after a change of the configuration.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn set(&mut self, router: RouterKey, known: Known) {
        // Whoever answers with ever new addresses costs the others one more notification, not memory.
        if self.0.len() >= ROUTERS_MAX && !self.0.contains_key(&router) {
            self.0.clear();
        }
        self.0.insert(router, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: RouterKey = (Ipv4Addr::new(203, 0, 113, 2), KeyId(7));

    #[test]
    fn t6_a_router_without_tsn_is_left_alone_for_a_minute() {
        let (mut known, start) = (Capabilities::default(), Instant::now());
        known.mirrored(start, ROUTER);
        assert_eq!(known.of(start + Duration::from_secs(59), ROUTER), Capability::NotCapable);
        assert_eq!(known.of(start + Duration::from_secs(60), ROUTER), Capability::Unknown);
    }

    #[test]
    fn a_silent_router_is_probed_once_a_second_and_comes_back_with_its_first_answer() {
        let (mut known, start) = (Capabilities::default(), Instant::now());
        known.silent(start, ROUTER);
        assert_eq!(known.of(start, ROUTER), Capability::Silent { probe: false });
        assert_eq!(known.of(start + PROBE, ROUTER), Capability::Silent { probe: true });
        known.answered(ROUTER);
        assert_eq!(known.of(start + PROBE, ROUTER), Capability::Capable);
    }

    #[test]
    fn ever_new_routers_do_not_fill_the_memory() {
        let mut known = Capabilities::default();
        for number in 0..20_000 {
            known.silent(Instant::now(), (Ipv4Addr::from_bits(number), KeyId(7)));
        }
        assert!(known.0.len() <= ROUTERS_MAX);
    }
}
