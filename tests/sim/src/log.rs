//! What happened, for a person: written only while somebody wants to read it.

use std::time::{Duration, Instant};

/// The log of a run.
#[derive(Debug)]
pub struct Log {
    start: Instant,
    lines: Option<Vec<String>>,
}

impl Log {
    /// One that is written, or not.
    pub fn new(start: Instant, is_written: bool) -> Self {
        Self { start, lines: is_written.then(Vec::new) }
    }

    /// Adds a line.
    pub fn note(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let at: Duration = now.saturating_duration_since(self.start);
            lines.push(format!("{:9.4}  {}", at.as_secs_f64(), line()));
        }
    }

    /// All lines.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
