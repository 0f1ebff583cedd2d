//! How often a client may ask: token buckets in a table of fixed size, so that no memory grows with the number of
//! clients.

use std::{
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Clients share this many buckets by hash; the hash is keyed, so that nobody can aim at another's bucket.
const BUCKETS: usize = 2048;
/// A full bucket is worth so many seconds of questions.
const BURST: Duration = Duration::from_secs(2);

/// A limit per client: an IPv4 address, or an IPv6 network of 64 bits, which one host has for itself.
#[derive(Debug)]
pub struct Limiter {
    /// What one question costs; None: there is no limit.
    interval: Option<Duration>,
    start: Instant,
    hasher: RandomState,
    /// Until when each bucket's questions have been paid for, since the start.
    paid: Vec<Duration>,
}

impl Limiter {
    /// So many questions per second of each client; twice as many at once.
    pub fn new(now: Instant, per_second: Option<u32>) -> Self {
        let interval = per_second.filter(|rate| *rate > 0).map(|rate| Duration::from_secs(1) / rate);
        let buckets = if interval.is_some() { BUCKETS } else { 0 };
        Self { interval, start: now, hasher: RandomState::new(), paid: vec![Duration::ZERO; buckets] }
    }

    /// True where this client may ask now. This host itself may always: its own resolver asks for many.
    pub fn allow(&mut self, now: Instant, client: IpAddr) -> bool {
        let Some(interval) = self.interval.filter(|_| !client.is_loopback()) else { return true };
        let count = u64::try_from(self.paid.len()).unwrap_or(1).max(1);
        // First the remainder: a word may have 32 bits.
        let index = usize::try_from(self.hasher.hash_one(network_of(client)) % count).unwrap_or(0);
        let Some(paid) = self.paid.get_mut(index) else { return true };
        let now = now.saturating_duration_since(self.start);
        let until = (*paid).max(now) + interval;
        let allowed = until <= now + BURST;
        if allowed {
            *paid = until;
        }
        allowed
    }
}

/// What counts as one client: an IPv4 address, or an IPv6 network of 64 bits, in which a host takes any address.
pub fn network_of(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limiter: &mut Limiter, now: Instant, client: &str, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.allow(now, client.parse().unwrap())).count()
    }

    #[test]
    fn a_client_asks_at_its_rate_after_its_burst() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, Some(10));
        assert_eq!(allowed(&mut limiter, start, "192.0.2.1", 100), 20);
        assert_eq!(allowed(&mut limiter, start + Duration::from_millis(500), "192.0.2.1", 100), 5);
        assert_eq!(allowed(&mut limiter, start + Duration::from_secs(60), "192.0.2.1", 100), 20);
    }

    #[test]
    fn clients_do_not_spend_each_others_questions() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, Some(1));
        assert_eq!(allowed(&mut limiter, start, "192.0.2.1", 10), 2);
        let others = (2..42).filter(|last| allowed(&mut limiter, start, &format!("192.0.2.{last}"), 1) == 1);
        assert!(others.count() >= 35);
    }

    #[test]
    fn an_ipv6_host_has_one_bucket_for_its_network() {
        let start = Instant::now();
        let mut limiter = Limiter::new(start, Some(1));
        assert_eq!(allowed(&mut limiter, start, "2001:db8::1", 1), 1);
        assert_eq!(allowed(&mut limiter, start, "2001:db8::2", 1), 1);
        assert_eq!(allowed(&mut limiter, start, "2001:db8::3", 1), 0);
    }

    #[test]
    fn this_host_and_servers_without_limit_know_no_end() {
        let start = Instant::now();
        assert_eq!(allowed(&mut Limiter::new(start, Some(1)), start, "127.0.0.1", 100), 100);
        assert_eq!(allowed(&mut Limiter::new(start, Some(1)), start, "::1", 100), 100);
        assert_eq!(allowed(&mut Limiter::new(start, None), start, "192.0.2.1", 1000), 1000);
    }
}
