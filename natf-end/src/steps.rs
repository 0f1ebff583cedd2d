//! Times of the steps that the paper measures (N17), each as the median of the newest 1,024.

use std::time::Duration;

/// How many times are kept per step.
const KEPT: usize = 1024;

/// A measured step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// A DNS answer is rewritten (paper: 7.13 us).
    DnsRewrite,
    /// From the held packet's arrival to the request being sent (paper: 3.38 us).
    NegotiationStart,
    /// From the request to its answer (paper: 388 us).
    RequestToResponse,
    /// From the answer to the held packet's release (paper: 27 us).
    Release,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 4] =
        [Self::DnsRewrite, Self::NegotiationStart, Self::RequestToResponse, Self::Release];

    /// Name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::DnsRewrite => "dns_rewrite",
            Self::NegotiationStart => "negotiation_start",
            Self::RequestToResponse => "request_to_response",
            Self::Release => "release",
        }
    }
}

/// The newest times of every step.
#[derive(Debug, Default)]
pub struct Steps {
    rings: [Ring; 4],
}

#[derive(Debug, Default)]
struct Ring {
    nanos: Vec<u32>,
    next: usize,
}

impl Steps {
    /// Adds one time.
    pub fn record(&mut self, step: Step, took: Duration) {
        let Some(ring) = self.rings.get_mut(step as usize) else { return };
        let nanos = u32::try_from(took.as_nanos()).unwrap_or(u32::MAX);
        match ring.nanos.get_mut(ring.next) {
            Some(oldest) => *oldest = nanos,
            None => ring.nanos.push(nanos),
        }
        ring.next = (ring.next + 1) % KEPT;
    }

    /// The median of a step; `None` before the first time.
    pub fn median(&self, step: Step) -> Option<Duration> {
        let mut nanos = self.rings.get(step as usize)?.nanos.clone();
        let middle = nanos.len() / 2;
        if nanos.is_empty() {
            return None;
        }
        let (_, median, _) = nanos.select_nth_unstable(middle);
        Some(Duration::from_nanos((*median).into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n17_median_is_of_the_newest_times_only() {
        let mut steps = Steps::default();
        assert_eq!(steps.median(Step::Release), None);
        (0..5000).for_each(|_| steps.record(Step::Release, Duration::from_micros(900)));
        (0..KEPT).for_each(|_| steps.record(Step::Release, Duration::from_micros(20)));
        assert_eq!(steps.median(Step::Release), Some(Duration::from_micros(20)));
        assert_eq!(steps.median(Step::DnsRewrite), None);
    }
}
