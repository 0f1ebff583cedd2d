//! The last refusals, for the user who asks why something does not work: who wanted what from where, and what he was
//! told. The same refusal again is counted, so that a program that tries without end does not push out all others.

use std::{collections::VecDeque, net::Ipv4Addr};

use natf_proto::{HostName, KeyId, Reason, Transport};

/// Most refusals that are kept.
const LIMIT: usize = 32;

/// What was refused, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Who asked, or announced a client.
    pub peer: KeyId,
    /// The node that asked, or the client that was announced.
    pub from: Ipv4Addr,
    /// The name that was asked for.
    pub host: HostName,
    /// What of it; a TSN server does not know.
    pub service: Option<(Transport, u16)>,
    /// What was answered.
    pub reason: Reason,
}

/// A refusal, how often it happened, and when it last did.
#[derive(Debug, Clone, Copy)]
pub struct Refusal {
    /// What was refused.
    pub refused: Refused,
    /// How often.
    pub times: u32,
    /// The last time, in unix seconds.
    pub unix: u64,
}

/// The last refusals, the latest first.
#[derive(Debug, Default)]
pub struct Refusals {
    rows: VecDeque<Refusal>,
}

impl Refusals {
    /// Remembers a refusal.
    pub fn note(&mut self, refused: Refused, unix: u64) {
        let known = self.rows.iter().position(|row| row.refused == refused);
        let former = known.and_then(|at| self.rows.remove(at)).map_or(0, |row| row.times);
        self.rows.truncate(LIMIT - 1);
        self.rows.push_front(Refusal { refused, times: former.saturating_add(1), unix });
    }

    /// All that are kept, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        self.rows.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(port: u16) -> Refused {
        Refused {
            peer: KeyId(7),
            from: Ipv4Addr::new(198, 51, 100, 2),
            host: "alice".parse().unwrap(),
            service: Some((Transport::Tcp, port)),
            reason: Reason::ServiceNotAllowed,
        }
    }

    #[test]
    fn the_latest_refusals_are_kept_and_repetitions_are_counted() {
        let mut refusals = Refusals::default();
        for port in 1..=40 {
            refusals.note(refused(port), u64::from(port));
        }
        refusals.note(refused(20), 50);
        let rows: Vec<_> = refusals.iter().map(|row| (row.refused, row.times, row.unix)).collect();
        assert_eq!(rows.len(), LIMIT);
        assert_eq!(rows[0], (refused(20), 2, 50));
        assert_eq!(rows[1], (refused(40), 1, 40));
        assert_eq!(rows[LIMIT - 1], (refused(9), 1, 9));
    }
}
