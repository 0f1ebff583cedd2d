//! Stale (design of replay protection): the peer's counter lies behind what the router has seen, as after a reset
//! clock. Sealed like every answer, so only the router can say it; the EN goes on above the floor.
//!
//! ```text
//! byte  0  transaction (8)        the request's
//!       8  floor (8)              counters above this one are accepted
//!      16  reserved (112)         sent as 0, ignored
//! ```

use crate::{
    cursor::{Reader, Writer},
    envelope::Body,
    request::Transaction,
};

/// "Use a counter above this floor, and ask again."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stale {
    /// The request's transaction.
    pub transaction: Transaction,
    /// The highest counter that is not accepted any more.
    pub floor: u64,
}

impl Stale {
    /// Reads a body; every body is one.
    pub fn parse(body: &Body) -> Self {
        let mut reader = Reader::new(body);
        Self { transaction: Transaction(reader.u64()), floor: reader.u64() }
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        Writer::new().u64(self.transaction.0).u64(self.floor).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_survives_the_round_trip() {
        let stale = Stale { transaction: Transaction(u64::MAX), floor: 1 << 63 };
        assert_eq!(Stale::parse(&stale.emit()), stale);
    }
}
