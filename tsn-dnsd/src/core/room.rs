//! Room for what waits: bounded in number, in octets, and for each client, and given back when the place is dropped.
//!
//! All bounds are needed: a message over TCP has up to 64 KB, a router has little memory, and one client must not take
//! the room of all others.

use std::{cell::RefCell, collections::HashMap, net::IpAddr, rc::Rc};

use super::limit::network_of;

/// What there is, and how much of it is taken.
#[derive(Debug)]
pub struct Room {
    bounds: Bounds,
    taken: Rc<RefCell<Taken>>,
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Places in all.
    pub places: usize,
    /// Places of one client that is not this host.
    pub per_client: usize,
    /// Octets in all places together.
    pub octets: usize,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Taken {
    places: usize,
    octets: usize,
    per_client: HashMap<u64, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Place {
    client: u64,
    octets: usize,
    taken: Rc<RefCell<Taken>>,
}

impl Room {
    /// Empty.
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, taken: Rc::default() }
    }

    /// A place for something of a client with so many octets, if there is one.
    pub fn place(&self, client: IpAddr, octets: usize) -> Option<Place> {
        let mut taken = self.taken.borrow_mut();
        let after = taken.octets.checked_add(octets).filter(|after| *after <= self.bounds.octets)?;
        let network = network_of(client);
        let own = taken.per_client.get(&network).copied().unwrap_or(0);
        // A resolver on this host asks for many.
        let is_full = taken.places >= self.bounds.places
            || (own >= self.bounds.per_client && !client.to_canonical().is_loopback());
        if is_full {
            return None;
        }
        (taken.places, taken.octets) = (taken.places + 1, after);
        taken.per_client.insert(network, own + 1);
        Some(Place { client: network, octets, taken: self.taken.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.borrow_mut();
        taken.places = taken.places.saturating_sub(1);
        taken.octets = taken.octets.saturating_sub(self.octets);
        if let Some(own) = taken.per_client.get_mut(&self.client) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                taken.per_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ALICE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const BOB: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn places_and_octets_are_bounded_and_come_back() {
        let room = Room::new(Bounds { places: 3, per_client: 3, octets: 1000 });
        let large = room.place(ALICE, 900).unwrap();
        assert!(room.place(ALICE, 101).is_none(), "octets");
        let small = [room.place(ALICE, 50).unwrap(), room.place(BOB, 50).unwrap()];
        assert!(room.place(BOB, 0).is_none(), "places");
        drop(small);
        drop(large);
        assert_eq!(*room.taken.borrow(), Taken::default());
        assert!(room.place(ALICE, 1001).is_none() && room.place(ALICE, usize::MAX).is_none());
        assert!(room.place(ALICE, 1000).is_some());
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let room = Room::new(Bounds { places: 10, per_client: 2, octets: 1000 });
        let own = [room.place(ALICE, 1).unwrap(), room.place(ALICE, 1).unwrap()];
        assert!(room.place(ALICE, 1).is_none());
        assert!(room.place(BOB, 1).is_some());
        let local = [(); 3].map(|()| room.place(Ipv4Addr::LOCALHOST.into(), 1));
        assert!(local.iter().all(Option::is_some), "a resolver on this host asks for many");
        drop(own);
        assert!(room.place(ALICE, 1).is_some());
    }
}
