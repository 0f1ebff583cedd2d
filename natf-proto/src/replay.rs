//! Replay protection by rising counters with a window for messages that overtake each other (as RFC 4303, 3.4.3).

/// Counters this far below the highest are still told apart.
const WINDOW: u64 = 1024;
const WORD_BITS: u64 = 64;
const WORDS: usize = 16;

/// What a counter says about its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Not seen before.
    Fresh,
    /// Seen before: a replay.
    Replayed,
    /// Too old to tell: the peer has to use a counter above the floor.
    Stale {
        /// Counters above this one are accepted.
        floor: u64,
    },
}

/// The counters that a peer has used: everything up to `floor`, and a bitmap of those up to `highest`.
#[derive(Debug, Clone)]
pub struct ReplayWindow {
    floor: u64,
    highest: u64,
    seen: [u64; WORDS],
}

impl ReplayWindow {
    /// A window that accepts counters above `floor` only, which is 0 for a new peer.
    pub fn above(floor: u64) -> Self {
        Self { floor, highest: floor, seen: [0; WORDS] }
    }

    /// The highest counter that was accepted.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Judges a counter and changes nothing; call it before or after the message is opened.
    pub fn judge(&self, counter: u64) -> Freshness {
        if counter > self.highest {
            return Freshness::Fresh;
        }
        let oldest = self.highest.saturating_sub(WINDOW - 1);
        if counter <= self.floor || counter < oldest {
            return Freshness::Stale { floor: self.highest };
        }
        let (word, bit) = place(counter);
        match self.seen.get(word) {
            Some(word) if word & bit == 0 => Freshness::Fresh,
            _ => Freshness::Replayed,
        }
    }

    /// Remembers the counter of an authenticated message that [`Self::judge`] called fresh.
    pub fn accept(&mut self, counter: u64) {
        if counter > self.highest {
            self.forget_between(self.highest, counter);
            self.highest = counter;
        }
        let (word, bit) = place(counter);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    /// The bitmap is a ring: places that the window moves into are cleared, whole at most.
    fn forget_between(&mut self, highest: u64, counter: u64) {
        if counter - highest >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for passed in highest + 1..=counter {
            let (word, bit) = place(passed);
            if let Some(word) = self.seen.get_mut(word) {
                *word &= !bit;
            }
        }
    }
}

fn place(counter: u64) -> (usize, u64) {
    let slot = counter % WINDOW;
    (usize::try_from(slot / WORD_BITS).unwrap_or(0), 1 << (slot % WORD_BITS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_counter_is_fresh_once() {
        let mut window = ReplayWindow::above(0);
        assert_eq!(window.judge(5), Freshness::Fresh);
        window.accept(5);
        assert_eq!(window.judge(5), Freshness::Replayed);
        assert_eq!(window.judge(4), Freshness::Fresh);
    }

    #[test]
    fn counters_up_to_the_floor_are_stale_after_a_restart() {
        let window = ReplayWindow::above(1000);
        assert_eq!(window.judge(1000), Freshness::Stale { floor: 1000 });
        assert_eq!(window.judge(1001), Freshness::Fresh);
    }

    #[test]
    fn the_last_counter_of_all_does_not_overflow() {
        let mut window = ReplayWindow::above(u64::MAX - 3);
        window.accept(u64::MAX);
        assert_eq!(window.judge(u64::MAX), Freshness::Replayed);
        assert_eq!(window.judge(u64::MAX - 1), Freshness::Fresh);
    }

    proptest! {
        #[test]
        fn no_counter_is_ever_accepted_twice(counters in prop::collection::vec(0u64..4000, 1..300)) {
            let mut window = ReplayWindow::above(0);
            let mut accepted = BTreeSet::new();
            for counter in counters {
                if window.judge(counter) == Freshness::Fresh {
                    prop_assert!(accepted.insert(counter), "{} was accepted twice", counter);
                    window.accept(counter);
                }
            }
        }
    }
}
