//! Token buckets in a table of fixed size: no memory grows with the number of sources that ask.

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    net::Ipv4Addr,
    time::{Duration, Instant},
};

/// Sources share this many buckets by hash; a secret goes into it, so nobody can aim at another's bucket.
const SOURCES: usize = 512;

/// So many tokens a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_second: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Thousandths of a token.
    level: u32,
    filled: Instant,
}

impl Bucket {
    fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let elapsed = now.saturating_duration_since(self.filled).min(Duration::from_secs(3600));
        let gained = u32::try_from(elapsed.as_millis()).unwrap_or(u32::MAX).saturating_mul(rate.per_second);
        self.level = self.level.saturating_add(gained).min(rate.burst.saturating_mul(1000));
        if gained > 0 {
            self.filled = now;
        }
        match self.level.checked_sub(1000) {
            Some(level) => {
                self.level = level;
                true
            }
            None => false,
        }
    }
}

/// A limit per source and one for all sources together.
#[derive(Debug)]
pub struct Limiter {
    per_source: Rate,
    total: Rate,
    secret: u64,
    sources: Vec<Bucket>,
    all: Bucket,
}

impl Limiter {
    /// Full buckets; `secret` is a random number.
    pub fn new(now: Instant, per_source: Rate, total: Rate, secret: u64) -> Self {
        let full = |rate: Rate| Bucket { level: rate.burst.saturating_mul(1000), filled: now };
        Self { per_source, total, secret, sources: vec![full(per_source); SOURCES], all: full(total) }
    }

    /// True where this source may go on now.
    pub fn allow(&mut self, now: Instant, source: Ipv4Addr) -> bool {
        let places = u64::try_from(SOURCES).unwrap_or(1);
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let place = usize::try_from(hasher.hash_one((self.secret, source)) % places).unwrap_or(0);
        let rate = self.per_source;
        self.sources.get_mut(place).is_some_and(|bucket| bucket.take(now, rate))
            && self.all.take(now, self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10, burst: 3 };

    #[test]
    fn a_source_gets_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, RATE, Rate { per_second: 1000, burst: 1000 }, 7);
        let source = Ipv4Addr::new(192, 0, 2, 1);
        let taken = |limiter: &mut Limiter, now| (0..10).filter(|_| limiter.allow(now, source)).count();
        assert_eq!(taken(&mut limiter, start), 3);
        assert_eq!(taken(&mut limiter, start + Duration::from_millis(200)), 2);
        assert_eq!(taken(&mut limiter, start + Duration::from_secs(9999)), 3);
    }

    #[test]
    fn the_total_holds_for_all_sources_together() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, RATE, Rate { per_second: 1, burst: 5 }, 7);
        let allowed = (0..=255).filter(|last| limiter.allow(start, Ipv4Addr::new(192, 0, 2, *last))).count();
        assert_eq!(allowed, 5);
    }
}
