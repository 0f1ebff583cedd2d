//! Questions under way: equal ones of many clients share one query. Bounded in queries and in clients that wait.

use std::{hash::RandomState, net::IpAddr};

use hashbrown::{HashMap, hash_map::Entry};

use super::{limit::network_of, question::Key};

/// Bounds.
#[derive(Clone, Copy, Debug)]
pub struct FlightLimits {
    /// Queries under way.
    pub flights: usize,
    /// Clients' questions that wait for them.
    pub waiters: usize,
    /// Of these, questions of one client, which is not this host.
    pub per_client: usize,
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
    flights: HashMap<Key, Vec<(u64, W)>, RandomState>,
    /// Questions of each client that wait, see [`network_of`].
    clients: HashMap<u64, usize, RandomState>,
    waiters: usize,
}

impl<W> Flights<W> {
    /// None under way.
    pub fn new(limits: FlightLimits, hasher: RandomState) -> Self {
        let flights = HashMap::with_hasher(hasher.clone());
        Self { limits, flights, clients: HashMap::with_hasher(hasher), waiters: 0 }
    }

    /// Queries under way.
    pub fn len(&self) -> usize {
        self.flights.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// Has a client wait, if there is room for one more.
    pub fn join(&mut self, key: &Key, client: IpAddr, waiter: W) -> Joined {
        if self.waiters >= self.limits.waiters || !self.has_room_for(client) {
            return Joined::Full;
        }
        let left = self.limits.flights.saturating_sub(self.flights.len());
        // Who waits for much gets no more than what is left for all others: few cannot take everything.
        let fair = client.is_loopback() || self.waiting_of(client) < left;
        let network = network_of(client);
        let joined = match self.flights.entry(*key) {
            Entry::Occupied(mut flight) => {
                flight.get_mut().push((network, waiter));
                Joined::Waits
            }
            Entry::Vacant(place) if left > 0 && fair => {
                place.insert(vec![(network, waiter)]);
                Joined::First
            }
            Entry::Vacant(_) => return Joined::Full,
        };
        self.waiters += 1;
        *self.clients.entry(network).or_insert(0) += 1;
        joined
    }

    fn has_room_for(&self, client: IpAddr) -> bool {
        client.is_loopback() || self.waiting_of(client) < self.limits.per_client
    }

    fn waiting_of(&self, client: IpAddr) -> usize {
        self.clients.get(&network_of(client)).copied().unwrap_or(0)
    }

    /// Takes those who wait, while the query goes on.
    pub fn take_waiters(&mut self, key: &Key) -> Vec<W> {
        let waiters = self.flights.get_mut(key).map(std::mem::take).unwrap_or_default();
        self.released(waiters)
    }

    /// Ends a query.
    pub fn finish(&mut self, key: &Key) -> Vec<W> {
        let waiters = self.flights.remove(key).unwrap_or_default();
        self.released(waiters)
    }

    fn released(&mut self, waiters: Vec<(u64, W)>) -> Vec<W> {
        self.waiters = self.waiters.saturating_sub(waiters.len());
        for (network, _) in &waiters {
            if let Entry::Occupied(mut waiting) = self.clients.entry(*network) {
                *waiting.get_mut() -= 1;
                if *waiting.get() == 0 {
                    waiting.remove();
                }
            }
        }
        waiters.into_iter().map(|(_, waiter)| waiter).collect()
    }
}

#[cfg(test)]
mod tests {
    use domain::base::iana::Rtype;

    use super::{
        super::question::{Question, tests::Query},
        *,
    };

    const LIMITS: FlightLimits = FlightLimits { flights: 8, waiters: 5, per_client: 3 };
    const ALICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 1));
    const BOB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 1, 2));
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn key(name: &'static str) -> Key {
        *Question::parse(&Query(name, Rtype::A).plain()).unwrap().key()
    }

    #[test]
    fn equal_questions_share_a_query() {
        let mut flights = Flights::new(LIMITS, RandomState::new());
        let (a, b) = (key("a.example"), key("b.example"));
        assert_eq!((flights.join(&a, ALICE, 1), flights.join(&a, BOB, 2)), (Joined::First, Joined::Waits));
        assert_eq!(flights.join(&b, ALICE, 3), Joined::First);
        assert_eq!(flights.take_waiters(&a), [1, 2]);
        assert_eq!(flights.join(&a, ALICE, 4), Joined::Waits);
        assert_eq!((flights.finish(&a), flights.finish(&a)), (vec![4], vec![]));
        assert_eq!((flights.finish(&b), flights.is_empty(), flights.clients.len()), (vec![3], true, 0));
    }

    #[test]
    fn queries_and_waiting_questions_are_bounded() {
        let limits = FlightLimits { flights: 2, ..LIMITS };
        let mut flights = Flights::new(limits, RandomState::new());
        let keys = ["a.example", "b.example", "c.example"].map(key);
        let joined = keys.map(|key| flights.join(&key, HERE, 1));
        assert_eq!(joined, [Joined::First, Joined::First, Joined::Full]);
        let joined: Vec<_> = (0..4).map(|number| flights.join(&keys[0], HERE, number)).collect();
        assert_eq!(joined, [Joined::Waits, Joined::Waits, Joined::Waits, Joined::Full]);
        flights.finish(&keys[0]);
        assert_eq!(flights.join(&keys[2], HERE, 1), Joined::First);
    }

    #[test]
    fn clients_that_wait_for_many_leave_queries_to_others() {
        let limits = FlightLimits { flights: 8, waiters: 100, per_client: 100 };
        let mut flights = Flights::new(limits, RandomState::new());
        let names = ["a.x", "b.x", "c.x", "d.x", "e.x", "f.x", "g.x", "h.x"];
        let queries = (1..=5).map(|client| {
            let address = format!("192.0.2.{client}").parse().unwrap();
            let asked = names.map(|name| key(format!("{name}{client}").leak()));
            asked.iter().filter(|key| flights.join(key, address, 0) == Joined::First).count()
        });
        assert_eq!(queries.collect::<Vec<_>>(), [4, 2, 1, 1, 0]);
    }

    #[test]
    fn an_ipv6_host_is_one_client_in_its_network() {
        let mut flights = Flights::new(LIMITS, RandomState::new());
        let a = key("a.example");
        let joined = (1..=4).map(|last| flights.join(&a, format!("2001:db8::{last}").parse().unwrap(), last));
        assert_eq!(joined.last(), Some(Joined::Full));
        assert_eq!(flights.join(&a, "2001:db8:0:1::1".parse().unwrap(), 5), Joined::Waits);
    }

    #[test]
    fn one_client_leaves_room_for_others() {
        let mut flights = Flights::new(LIMITS, RandomState::new());
        let a = key("a.example");
        let joined: Vec<_> = (0..4).map(|number| flights.join(&a, ALICE, number)).collect();
        assert_eq!(joined.last(), Some(&Joined::Full));
        assert_eq!(flights.join(&a, BOB, 5), Joined::Waits);
        flights.finish(&a);
        assert_eq!(flights.join(&a, ALICE, 6), Joined::First);
    }
}
