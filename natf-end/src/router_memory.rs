//! What is remembered of routers: which carrier got an answer, and who runs no NAT-f (N10). A hint only, bounded,
//! and forgotten when the network changes.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::outcome::Carrier;

/// How long a router that mirrors our question counts as one without NAT-f.
pub const MIRRORED: Duration = Duration::from_secs(600);
/// The same for the router of a configured home, whose daemon may just be starting.
pub const MIRRORED_HOME: Duration = Duration::from_secs(30);
/// How long a router that does not answer counts as one without NAT-f.
pub const SILENT: Duration = Duration::from_secs(60);
/// Routers remembered.
const ROUTERS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct RouterMemory {
    routers: BTreeMap<Ipv4Addr, Known>,
}

#[derive(Debug)]
struct Known {
    carrier: Carrier,
    not_capable_until: Option<Instant>,
    has_mirrored: bool,
    noted: Instant,
}

impl RouterMemory {
    /// The carrier that got the last answer.
    pub fn carrier(&self, router: Ipv4Addr) -> Option<Carrier> {
        self.routers.get(&router).map(|known| known.carrier)
    }

    /// Whether the router is known to run no NAT-f.
    pub fn is_not_capable(&self, router: Ipv4Addr, now: Instant) -> bool {
        let until = self.routers.get(&router).and_then(|known| known.not_capable_until);
        until.is_some_and(|until| now < until)
    }

    /// Whether that is known from a mirror, not from silence.
    pub fn has_mirrored(&self, router: Ipv4Addr, now: Instant) -> bool {
        self.is_not_capable(router, now) && self.routers.get(&router).is_some_and(|known| known.has_mirrored)
    }

    /// An answer came by this carrier.
    pub fn note_answer(&mut self, router: Ipv4Addr, carrier: Carrier, now: Instant) {
        self.note(router, Known { carrier, not_capable_until: None, has_mirrored: false, noted: now });
    }

    /// The router mirrored our question.
    pub fn note_mirror(&mut self, router: Ipv4Addr, is_wildcard: bool, now: Instant) {
        let until = Some(now + if is_wildcard { MIRRORED } else { MIRRORED_HOME });
        let carrier = Carrier::Icmp;
        self.note(router, Known { carrier, not_capable_until: until, has_mirrored: true, noted: now });
    }

    /// The router never answered.
    pub fn note_silence(&mut self, router: Ipv4Addr, now: Instant) {
        let (carrier, until) = (Carrier::Icmp, Some(now + SILENT));
        self.note(router, Known { carrier, not_capable_until: until, has_mirrored: false, noted: now });
    }

    /// Nothing known of the old network holds in the new one.
    pub fn clear(&mut self) {
        self.routers.clear();
    }

    fn note(&mut self, router: Ipv4Addr, known: Known) {
        if self.routers.len() >= ROUTERS_MAX && !self.routers.contains_key(&router) {
            let oldest = self.routers.iter().min_by_key(|(_, known)| known.noted).map(|(router, _)| *router);
            oldest.and_then(|oldest| self.routers.remove(&oldest));
        }
        self.routers.insert(router, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_not_capable_expires() {
        let (mut memory, now, router) = (RouterMemory::default(), Instant::now(), Ipv4Addr::LOCALHOST);
        memory.note_mirror(router, true, now);
        assert!(memory.is_not_capable(router, now) && memory.has_mirrored(router, now));
        assert!(!memory.is_not_capable(router, now + MIRRORED));
        memory.note_silence(router, now);
        assert!(memory.is_not_capable(router, now) && !memory.has_mirrored(router, now));
    }

    #[test]
    fn memory_is_bounded() {
        let (mut memory, now) = (RouterMemory::default(), Instant::now());
        for n in 0..5000 {
            memory.note_answer(Ipv4Addr::from(n), Carrier::Udp(1), now + Duration::from_millis(n.into()));
        }
        assert_eq!(memory.routers.len(), ROUTERS_MAX);
        assert_eq!(memory.carrier(Ipv4Addr::from(4999)), Some(Carrier::Udp(1)));
        assert_eq!(memory.carrier(Ipv4Addr::from(0)), None);
    }
}
