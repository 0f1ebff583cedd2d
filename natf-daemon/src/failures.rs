//! Failures of calls that may succeed the next time: memory was short, an answer was lost.
//!
//! One alone is told and survived. Where nothing else comes any more, the caller gives up, and its supervisor opens
//! everything anew.

use std::{
    fmt::Display,
    time::{Duration, Instant},
};

/// So many in a row do not pass by themselves.
const LASTING: u32 = 64;
/// They are told no oftener than this.
const PAUSE: Duration = Duration::from_secs(1);

/// The failures of one kind of calls.
#[derive(Debug, Default)]
pub struct Failures {
    streak: u32,
    told: Option<Instant>,
}

impl Failures {
    /// What a call brought; `None` where it failed, which the caller counts.
    pub fn survive<T, E: Display>(&mut self, now: Instant, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.streak = 0;
                Some(value)
            }
            Err(error) => {
                self.tell(now, &error);
                None
            }
        }
    }

    /// As [`Self::survive`], for calls without which nothing goes on.
    ///
    /// # Errors
    /// The last failure of too many in a row.
    pub fn survive_some<T, E: Display>(
        &mut self,
        now: Instant,
        result: Result<T, E>,
    ) -> Result<Option<T>, E> {
        match result {
            Err(error) if self.streak >= LASTING => Err(error),
            result => Ok(self.survive(now, result)),
        }
    }

    fn tell(&mut self, now: Instant, error: &dyn Display) {
        self.streak = self.streak.saturating_add(1);
        if self.told.is_none_or(|told| now.saturating_duration_since(told) >= PAUSE) {
            self.told = Some(now);
            log::error!("{error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_survived() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        assert_eq!(failures.survive(now, Err::<u8, _>("no memory")), None);
        assert_eq!(failures.survive(now, Ok::<_, &str>(1)), Some(1));
    }

    #[test]
    fn only_failures_without_any_success_last() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for round in 0..10 * LASTING {
            let result = if round % LASTING == 0 { Ok(()) } else { Err("no memory") };
            assert!(failures.survive_some(now, result).is_ok(), "round {round}");
        }
        let lasting = (0..=LASTING).find(|_| failures.survive_some(now, Err::<(), _>("closed")).is_err());
        assert!(lasting.is_some());
    }
}
