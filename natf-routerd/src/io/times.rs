//! How long requests take in this daemon: from the kernel's receive stamp to the answer sent (N17).

use std::time::{Duration, SystemTime};

/// How long the last requests took, in nanoseconds: a ring of [`Times::KEPT`].
#[derive(Debug, Default)]
pub struct Times {
    last: Vec<u32>,
    next: usize,
}

impl Times {
    /// So many are kept.
    const KEPT: usize = 1024;

    /// Notes the time since each stamp, and empties them.
    pub fn note(&mut self, stamps: &mut Vec<Duration>) {
        if stamps.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for stamp in stamps.drain(..) {
            let took = u32::try_from(now.saturating_sub(stamp).as_nanos()).unwrap_or(u32::MAX);
            match self.last.get_mut(self.next) {
                Some(place) => *place = took,
                None => self.last.push(took),
            }
            self.next = (self.next + 1) % Self::KEPT;
        }
    }

    /// The median, if anything was measured.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.last.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|nanos| Duration::from_nanos(u64::from(*nanos)))
    }
}
