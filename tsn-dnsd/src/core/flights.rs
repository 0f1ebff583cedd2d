//! Questions under way: equal ones of many clients share one query. Bounded in queries and in clients that wait.

use hashbrown::{HashMap, hash_map::Entry};
use std::hash::RandomState;

use super::question::Key;

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct FlightLimits {
    /// Queries under way.
    pub flights: usize,
    /// Clients that wait for one.
    pub waiters: usize,
}

/// What a waiting client's question becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// The first of its kind: somebody has to ask.
    First,
    /// It waits for a query under way.
    Waits,
    /// There are too many.
    Full,
}

/// Who waits for what; `W` is how a client is answered.
#[derive(Debug)]
pub struct Flights<W> {
    limits: FlightLimits,
    flights: HashMap<Key, Vec<W>, RandomState>,
}

impl<W> Flights<W> {
    /// None under way.
    pub fn new(limits: FlightLimits, hasher: RandomState) -> Self {
        Self { limits, flights: HashMap::with_hasher(hasher) }
    }

    /// Queries under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Has a client wait. A full table takes no new questions, a full question no new clients.
    pub fn join(&mut self, key: &Key, waiter: W) -> Joined {
        let count = self.flights.len();
        match self.flights.entry(*key) {
            Entry::Occupied(mut flight) if flight.get().len() < self.limits.waiters => {
                flight.get_mut().push(waiter);
                Joined::Waits
            }
            Entry::Vacant(place) if count < self.limits.flights => {
                place.insert(vec![waiter]);
                Joined::First
            }
            _ => Joined::Full,
        }
    }

    /// Starts a query for which nobody waits yet; false if there is one, or there are too many.
    pub fn start(&mut self, key: &Key) -> bool {
        let count = self.flights.len();
        match self.flights.entry(*key) {
            Entry::Vacant(place) if count < self.limits.flights => {
                place.insert(Vec::new());
                true
            }
            _ => false,
        }
    }

    /// Takes those who wait, while the query goes on.
    pub fn take_waiters(&mut self, key: &Key) -> Vec<W> {
        self.flights.get_mut(key).map(std::mem::take).unwrap_or_default()
    }

    /// Ends a query.
    pub fn finish(&mut self, key: &Key) -> Vec<W> {
        self.flights.remove(key).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use domain::base::iana::Rtype;

    use super::{
        super::question::{Question, tests::Query},
        *,
    };

    fn key(name: &'static str) -> Key {
        *Question::parse(&Query(name, Rtype::A).plain()).unwrap().key()
    }

    #[test]
    fn equal_questions_share_a_query() {
        let mut flights = Flights::new(FlightLimits { flights: 2, waiters: 3 }, RandomState::new());
        let (a, b) = (key("a.example"), key("b.example"));
        assert_eq!((flights.join(&a, 1), flights.join(&a, 2)), (Joined::First, Joined::Waits));
        assert_eq!(flights.join(&b, 3), Joined::First);
        assert_eq!(flights.take_waiters(&a), [1, 2]);
        assert_eq!(flights.join(&a, 4), Joined::Waits);
        assert_eq!((flights.finish(&a), flights.finish(&a)), (vec![4], vec![]));
        assert_eq!(flights.len(), 1);
    }

    #[test]
    fn queries_and_waiting_clients_are_bounded() {
        let mut flights = Flights::new(FlightLimits { flights: 1, waiters: 2 }, RandomState::new());
        let (a, b) = (key("a.example"), key("b.example"));
        assert_eq!(
            [1, 2, 3].map(|waiter| flights.join(&a, waiter)),
            [Joined::First, Joined::Waits, Joined::Full]
        );
        assert_eq!((flights.join(&b, 4), flights.start(&b), flights.start(&a)), (Joined::Full, false, false));
    }
}
