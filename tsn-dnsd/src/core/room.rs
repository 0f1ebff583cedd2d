//! Room for what waits: bounded in number and in octets, and given back when the place is dropped.
//!
//! Both bounds are needed: a message over TCP has up to 64 KB, and a router has little memory.

use std::{cell::Cell, rc::Rc};

/// What there is, and how much of it is taken.
#[derive(Debug)]
pub struct Room {
    places_max: usize,
    octets_max: usize,
    taken: Rc<Cell<Taken>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Taken {
    places: usize,
    octets: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    octets: usize,
    taken: Rc<Cell<Taken>>,
}

impl Room {
    /// For so many waiting things with so many octets together.
    pub fn new(places_max: usize, octets_max: usize) -> Self {
        Self { places_max, octets_max, taken: Rc::default() }
    }

    /// A place for something of so many octets, if there is one.
    pub fn place(&self, octets: usize) -> Option<Place> {
        let Taken { places, octets: before } = self.taken.get();
        let after = before.checked_add(octets).filter(|after| *after <= self.octets_max)?;
        (places < self.places_max).then(|| {
            self.taken.set(Taken { places: places + 1, octets: after });
            Place { octets, taken: self.taken.clone() }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Taken { places, octets } = self.taken.get();
        let left = Taken { places: places.saturating_sub(1), octets: octets.saturating_sub(self.octets) };
        self.taken.set(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_octets_are_bounded_and_come_back() {
        let room = Room::new(3, 1000);
        let large = room.place(900).unwrap();
        assert!(room.place(101).is_none(), "octets");
        let small = [room.place(50).unwrap(), room.place(50).unwrap()];
        assert!(room.place(0).is_none(), "places");
        drop(small);
        drop(large);
        assert_eq!(room.taken.get(), Taken::default());
        assert!(room.place(1001).is_none() && room.place(usize::MAX).is_none());
        assert!(room.place(1000).is_some());
    }
}
