//! Counters of questions, which rise with every message of a key (see `docs/protocol.md`, Counters).

use std::collections::BTreeMap;

use crate::envelope::KeyId;

/// Counters up there come from nobody honest: they start at the clock's seconds times 2^24.
const PLAUSIBLE: u64 = 1 << 62;

/// Deals out counters.
///
/// One row of numbers serves all keys, because two sections of a configuration may be one router with one key.
/// Floors belong to key ids: a router that asks for a high one moves nobody else's.
#[derive(Debug, Clone)]
pub struct RisingCounter {
    next: u64,
    floors: BTreeMap<KeyId, u64>,
}

impl RisingCounter {
    /// Starts where the clock is, so that a restart goes on above the former run: messages are less than 2^24 a second.
    pub fn starting_at(unix_seconds: u64) -> Self {
        Self::after(unix_seconds.saturating_mul(1 << 24))
    }

    /// Starts above `counter`.
    pub fn after(counter: u64) -> Self {
        Self { next: counter.min(PLAUSIBLE), floors: BTreeMap::new() }
    }

    /// The counter of the next message under this key.
    pub fn next(&mut self, key: KeyId) -> u64 {
        self.next = self.next.saturating_add(1);
        match self.floors.get_mut(&key) {
            Some(floor) if *floor >= self.next => {
                *floor = floor.saturating_add(1);
                *floor
            }
            _ => self.next,
        }
    }

    /// Goes on above `floor`; false where no honest router names such a floor.
    pub fn raise_floor(&mut self, key: KeyId, floor: u64) -> bool {
        if floor >= PLAUSIBLE {
            return false;
        }
        let known = self.floors.entry(key).or_default();
        *known = floor.max(*known);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_rise_and_go_on_above_a_floor() {
        let mut counter = RisingCounter::after(100);
        assert_eq!(counter.next(KeyId(7)), 101);
        assert!(counter.raise_floor(KeyId(7), 5000));
        assert_eq!((counter.next(KeyId(7)), counter.next(KeyId(7))), (5001, 5002));
        assert_eq!(counter.next(KeyId(8)), 104, "another key's floor moved this one");
    }

    #[test]
    fn an_implausible_floor_is_not_taken() {
        let mut counter = RisingCounter::after(100);
        assert!(!counter.raise_floor(KeyId(7), u64::MAX));
        assert_eq!(counter.next(KeyId(7)), 101);
    }

    #[test]
    fn a_restart_goes_on_above() {
        let mut before = RisingCounter::starting_at(1_800_000_000);
        let last = (0..1000).map(|_| before.next(KeyId(1))).max().unwrap();
        assert!(RisingCounter::starting_at(1_800_000_001).next(KeyId(1)) > last);
    }
}
