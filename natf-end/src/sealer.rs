//! Makes messages: which counter, which key, which cookie.

use std::fmt;

use natf_proto::{
    Body, Cookie, Direction, Envelope, KeyId, Kind, Message, Random, RisingCounter, assemble_anonymous,
};

use crate::flow::Home;

/// Seals requests with rising counters.
pub(crate) struct Sealer {
    pub random: Box<dyn Random>,
    counter: RisingCounter,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({:?})", self.counter)
    }
}

impl Sealer {
    pub fn new(first_counter: u64, random: Box<dyn Random>) -> Self {
        Self { random, counter: RisingCounter::after(first_counter) }
    }

    /// Seals one request; the counter stands in the answer.
    pub fn seal(&mut self, home: &Home, kind: Kind, body: &Body, cookie: Option<&Cookie>) -> (u64, Message) {
        let counter = self.counter.next(key_of(home));
        let message = match &home.keys {
            Some(keys) => keys.seal(Direction::ToRouter, kind, counter, body, &mut *self.random),
            None => assemble_anonymous(kind, counter, cookie.unwrap_or(&[0; 24]), body),
        };
        (counter, message)
    }

    /// Goes on above `floor`; false where no honest router names such a floor.
    pub fn raise_floor(&mut self, home: &Home, floor: u64) -> bool {
        self.counter.raise_floor(key_of(home), floor)
    }
}

/// Under which key id a home's messages travel.
pub(crate) fn key_of(home: &Home) -> KeyId {
    home.keys.as_ref().map_or(KeyId::ANONYMOUS, |keys| keys.id())
}

/// Opens what travelled in `direction`; `None` where it is not from the holder of the home's key.
pub(crate) fn open(home: &Home, direction: Direction, envelope: &Envelope<'_>) -> Option<Body> {
    match &home.keys {
        Some(keys) => keys.open(direction, envelope).ok(),
        None => envelope.anonymous_body().copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{Seeded, home};

    #[test]
    fn counters_rise_and_go_on_above_a_floor() {
        let mut sealer = Sealer::new(100, Box::new(Seeded(1)));
        let home = home(Some(7));
        assert_eq!(sealer.seal(&home, Kind::MappingRequest, &[0; 128], None).0, 101);
        assert!(sealer.raise_floor(&home, 5000));
        assert_eq!(sealer.seal(&home, Kind::MappingRequest, &[0; 128], None).0, 5001);
        assert_eq!(sealer.seal(&home, Kind::MappingRequest, &[0; 128], None).0, 5002);
    }

    #[test]
    fn one_routers_floor_does_not_move_another_key() {
        let mut sealer = Sealer::new(100, Box::new(Seeded(1)));
        sealer.raise_floor(&home(Some(7)), 5000);
        assert_eq!(sealer.seal(&home(Some(8)), Kind::MappingRequest, &[0; 128], None).0, 101);
    }

    #[test]
    fn an_implausible_floor_is_not_taken() {
        let mut sealer = Sealer::new(100, Box::new(Seeded(1)));
        assert!(!sealer.raise_floor(&home(Some(7)), u64::MAX));
        assert_eq!(sealer.seal(&home(Some(7)), Kind::MappingRequest, &[0; 128], None).0, 101);
    }
}
