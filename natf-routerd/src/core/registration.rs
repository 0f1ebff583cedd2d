//! Names that hosts of the LAN register at a DDNS server by themselves (T1), learned as their dynamic updates
//! (RFC 2136) pass this router.
//!
//! ```text
//!   alice ── update: alice.dyn.example.net A … ──▶ router ──▶ DDNS server
//!                             pending: client, server, id ──┐
//!   alice ◀───────────────────────────────── NOERROR ◀──────┴── name := alice's address
//! ```
//!
//! Whoever sends an update registers itself: what counts is the address that the update came from. The server's
//! consent is awaited, which is the authority over its names. A learned name is one more name of the host that the
//! access control table has at that address, and of no other.

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddrV4};

use natf_proto::HostName;

use super::{
    counters::{Counter, Counters},
    registration_message::{Change, Update},
};

/// A server that does not answer for so long has not consented.
const PENDING_SECONDS: u32 = 10;
/// Most updates that await their answer, in all and of one host.
const MAX_PENDING: (usize, usize) = (256, 16);
/// Most learned names, in all and of one host.
const MAX_NAMES: (usize, usize) = (512, 16);

/// A section `config ddns`: which servers' consent counts for which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddns {
    /// The servers.
    pub servers: Vec<Ipv4Addr>,
    /// Names below these, in lower case and without the final dot.
    pub zones: Vec<Box<str>>,
}

/// What an update and its answer have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exchange {
    /// The host in the LAN, before any translation.
    pub client: SocketAddrV4,
    /// The DDNS server.
    pub server: Ipv4Addr,
    /// True over TCP.
    pub tcp: bool,
    /// Id of the DNS message.
    pub id: u16,
}

/// An update that awaits the server's answer.
#[derive(Debug)]
struct Pending {
    until: u32,
    changes: Vec<Change>,
}

/// A learned name's host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// P1.
    pub address: Ipv4Addr,
    /// Whose consent it was.
    pub server: Ipv4Addr,
    /// The second from which on it no longer counts.
    pub expires: u32,
    /// The same as it was written last: a name that is only renewed is not worth a write each time.
    kept: u32,
}

/// Learned names, and updates under way.
#[derive(Debug, Default)]
pub struct Registrations {
    ddns: Vec<Ddns>,
    names: BTreeMap<HostName, Learned>,
    changed: bool,
    pending: BTreeMap<Exchange, Pending>,
}

impl Registrations {
    /// Takes a new configuration; names that it does not cover are forgotten.
    pub fn configure(&mut self, ddns: Vec<Ddns>) {
        self.ddns = ddns;
        let Self { ddns, names, changed, .. } = self;
        names.retain(|name, learned| {
            let stays = covers(ddns, learned.server, name);
            *changed |= !stays;
            stays
        });
    }

    /// Whether the names are to be written again.
    pub fn has_changed(&self) -> bool {
        self.changed
    }

    /// Whether the names are to be written again; says it once.
    pub fn take_changed(&mut self) -> bool {
        for learned in self.names.values_mut().filter(|_| self.changed) {
            learned.kept = learned.expires;
        }
        std::mem::take(&mut self.changed)
    }

    /// A name that was learned before a restart.
    pub fn restore(&mut self, name: HostName, address: Ipv4Addr, server: Ipv4Addr, expires: u32) {
        if covers(&self.ddns, server, &name) {
            self.learn(name, Learned { address, server, expires, kept: expires }, u32::MAX);
        }
    }

    /// Where the host of a learned name is.
    pub fn address_of(&self, name: &HostName, now: u32) -> Option<Ipv4Addr> {
        self.names.get(name).filter(|learned| learned.expires > now).map(|learned| learned.address)
    }

    /// The learned names that count, in their order.
    pub fn names(&self, now: u32) -> impl Iterator<Item = (&HostName, &Learned)> {
        self.names.iter().filter(move |(_, learned)| learned.expires > now)
    }

    /// An update passes on its way to the server; nothing of it counts yet.
    pub fn handle_update(&mut self, now: u32, exchange: Exchange, update: Update, counters: &mut Counters) {
        self.pending.retain(|_, pending| {
            let waits = pending.until > now;
            if !waits {
                counters.count(Counter::RegistrationsRefused);
            }
            waits
        });
        let host = *exchange.client.ip();
        let mut changes = update.changes;
        let all = changes.len();
        changes.retain(|change| covers(&self.ddns, exchange.server, &change.name) && is_own(change, host));
        for _ in 0..update.ignored + (all - changes.len()) {
            counters.count(Counter::RegistrationsIgnored);
        }
        let until = now.saturating_add(PENDING_SECONDS);
        if let Some(former) = self.pending.get_mut(&exchange) {
            former.until = until;
            if former.changes != changes {
                // Which one the server's answer is for, nobody can tell here: one may not even have reached it.
                former.changes.clear();
                counters.count(Counter::RegistrationsIgnored);
            }
            return;
        }
        if changes.is_empty() {
            return;
        }
        let of_host = self.pending.keys().filter(|other| other.client.ip() == &host).count();
        let full = self.pending.len() >= MAX_PENDING.0 || of_host >= MAX_PENDING.1;
        if full {
            return counters.count(Counter::RegistrationsFull);
        }
        self.pending.insert(exchange, Pending { until, changes });
    }

    /// What was read of this TCP connection is worth nothing.
    pub fn forget(&mut self, client: SocketAddrV4, server: Ipv4Addr, counters: &mut Counters) {
        self.pending.retain(|exchange, _| {
            let concerns = exchange.tcp && exchange.client == client && exchange.server == server;
            if concerns {
                counters.count(Counter::RegistrationsIgnored);
            }
            !concerns
        });
    }

    /// The server's answer: only its consent makes the changes count.
    pub fn handle_answer(
        &mut self,
        now: u32,
        exchange: Exchange,
        consent: bool,
        lifetime: u32,
        counters: &mut Counters,
    ) {
        let pending = self.pending.remove(&exchange).filter(|pending| pending.until > now);
        let Some(pending) = pending else { return };
        if !consent {
            return counters.count(Counter::RegistrationsRefused);
        }
        counters.count(Counter::Registrations);
        self.names.retain(|_, learned| learned.expires > now);
        for change in pending.changes {
            if change.address.is_none() {
                if self.names.remove(&change.name).is_some() {
                    self.changed = true;
                    counters.count(Counter::NamesWithdrawn);
                }
                continue;
            }
            let expires = now.saturating_add(lifetime);
            let (address, server) = (*exchange.client.ip(), exchange.server);
            let learned = Learned { address, server, expires, kept: 0 };
            counters.count(match self.learn(change.name, learned, lifetime) {
                true => Counter::NamesLearned,
                false => Counter::RegistrationsFull,
            });
        }
    }

    fn learn(&mut self, name: HostName, learned: Learned, lifetime: u32) -> bool {
        let of_host = self.names.values().filter(|other| other.address == learned.address).count();
        let former = self.names.get(&name).copied();
        let same = former.filter(|old| (old.address, old.server) == (learned.address, learned.server));
        // A name that moves to another host is one more of that host.
        let room_of_host = of_host < MAX_NAMES.1 || former.is_some_and(|old| old.address == learned.address);
        let room = room_of_host && (self.names.len() < MAX_NAMES.0 || former.is_some());
        if room {
            let kept = same.map_or(learned.kept, |old| old.kept);
            self.changed |= same.is_none() || learned.expires.saturating_sub(kept) > lifetime / 2;
            self.names.insert(name, Learned { kept, ..learned });
        }
        room
    }
}

/// Whether this server's consent counts for the name.
fn covers(ddns: &[Ddns], server: Ipv4Addr, name: &HostName) -> bool {
    let below = |zone: &str| {
        name.as_str().strip_suffix(zone).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let covered = |ddns: &Ddns| ddns.servers.contains(&server) && ddns.zones.iter().any(|zone| below(zone));
    ddns.iter().any(covered)
}

/// A host registers itself: by its own address, or by the public one under which the world sees it. Another private
/// address is another host's.
fn is_own(change: &Change, host: Ipv4Addr) -> bool {
    let elsewhere = |address: Ipv4Addr| {
        address.is_private() || address.is_loopback() || address.is_link_local() || address.is_unspecified()
    };
    change.address.is_none_or(|address| address == host || !elsewhere(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
    const ALICE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 10);
    const G2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
    const LIFETIME: u32 = 86_400;

    struct World {
        table: Registrations,
        counters: Counters,
        now: u32,
        id: u16,
    }

    impl World {
        fn new() -> Self {
            let mut table = Registrations::default();
            table.configure(vec![Ddns { servers: vec![SERVER], zones: vec!["dyn.example.net".into()] }]);
            Self { table, counters: Counters::default(), now: 1, id: 0 }
        }

        fn exchange(&mut self, host: Ipv4Addr) -> Exchange {
            self.id += 1;
            Exchange { client: SocketAddrV4::new(host, 40_000), server: SERVER, tcp: false, id: self.id }
        }

        fn update(&mut self, exchange: Exchange, changes: &[(&str, Option<Ipv4Addr>)]) {
            let changes = changes
                .iter()
                .map(|(name, address)| Change { name: name.parse().unwrap(), address: *address })
                .collect();
            let update = Update { changes, ignored: 0 };
            self.table.handle_update(self.now, exchange, update, &mut self.counters);
        }

        fn answer(&mut self, exchange: Exchange, consent: bool) {
            self.table.handle_answer(self.now, exchange, consent, LIFETIME, &mut self.counters);
        }

        fn register(&mut self, host: Ipv4Addr, changes: &[(&str, Option<Ipv4Addr>)]) {
            let exchange = self.exchange(host);
            self.update(exchange, changes);
            self.answer(exchange, true);
        }

        fn address(&self, name: &str) -> Option<Ipv4Addr> {
            self.table.address_of(&name.parse().unwrap(), self.now)
        }
    }

    #[test]
    fn t1_a_name_counts_from_the_servers_consent_on() {
        let mut world = World::new();
        let exchange = world.exchange(ALICE);
        world.update(exchange, &[("alice.dyn.example.net", Some(G2))]);
        assert_eq!(world.address("alice.dyn.example.net"), None);
        world.answer(exchange, true);
        assert_eq!(world.address("alice.dyn.example.net"), Some(ALICE));
    }

    #[test]
    fn t1_a_refused_update_teaches_nothing() {
        let mut world = World::new();
        let exchange = world.exchange(ALICE);
        world.update(exchange, &[("alice.dyn.example.net", Some(G2))]);
        world.answer(exchange, false);
        world.answer(exchange, true);
        assert_eq!(world.address("alice.dyn.example.net"), None);
        assert_eq!(world.counters.value(Counter::RegistrationsRefused), 1);
    }

    #[test]
    fn t1_an_answer_counts_for_its_own_client_server_and_id_only() {
        let mut world = World::new();
        let exchange = world.exchange(ALICE);
        world.update(exchange, &[("alice.dyn.example.net", Some(G2))]);
        let client = SocketAddrV4::new(ALICE, 40_001);
        for other in [
            Exchange { client, ..exchange },
            Exchange { server: G2, ..exchange },
            Exchange { tcp: true, ..exchange },
            Exchange { id: 99, ..exchange },
        ] {
            world.answer(other, true);
        }
        assert_eq!(world.address("alice.dyn.example.net"), None);
        world.now += PENDING_SECONDS;
        world.answer(exchange, true);
        assert_eq!(world.address("alice.dyn.example.net"), None, "too late");
    }

    #[test]
    fn t1_two_updates_with_one_id_teach_nothing() {
        let mut world = World::new();
        let exchange = world.exchange(ALICE);
        let (alice, bob) = ("alice.dyn.example.net", "bob.dyn.example.net");
        for other in [bob, "no.name.of.the.zone"] {
            world.update(exchange, &[(alice, Some(G2))]);
            world.update(exchange, &[(other, Some(G2))]);
            world.update(exchange, &[(other, Some(G2))]);
            world.answer(exchange, true);
            assert_eq!([alice, bob].map(|name| world.address(name)), [None, None]);
        }
        world.update(exchange, &[(alice, Some(G2))]);
        world.update(exchange, &[(alice, Some(G2))]);
        world.answer(exchange, true);
        assert_eq!(world.address(alice), Some(ALICE), "a repetition is none");
    }

    #[test]
    fn t1_only_names_of_configured_zones_are_learned() {
        let mut world = World::new();
        for name in ["alice.example.net", "alice.xdyn.example.net", "www.bank.example"] {
            world.register(ALICE, &[(name, Some(ALICE))]);
            assert_eq!(world.address(name), None, "{name}");
        }
        world.register(ALICE, &[("alice.dyn.example.net", Some(ALICE))]);
        world.table.configure(vec![]);
        assert_eq!(world.address("alice.dyn.example.net"), None);
    }

    #[test]
    fn t1_a_host_registers_nobody_but_itself() {
        let mut world = World::new();
        let mallory = Ipv4Addr::new(192, 168, 1, 66);
        world.register(mallory, &[("a.dyn.example.net", Some(ALICE)), ("m.dyn.example.net", Some(G2))]);
        let addresses = ["a", "m"].map(|name| world.address(&format!("{name}.dyn.example.net")));
        assert_eq!(addresses, [None, Some(mallory)]);
    }

    #[test]
    fn t1_a_delete_update_withdraws_a_name_and_changes_count_in_their_order() {
        let mut world = World::new();
        let name = "alice.dyn.example.net";
        world.register(ALICE, &[(name, None), (name, Some(G2))]);
        assert_eq!(world.address(name), Some(ALICE));
        world.register(ALICE, &[(name, None)]);
        assert_eq!(world.address(name), None);
    }

    #[test]
    fn t1_a_learned_name_expires_unless_it_is_registered_again() {
        let mut world = World::new();
        world.register(ALICE, &[("alice.dyn.example.net", Some(G2))]);
        world.now += LIFETIME - 1;
        world.register(ALICE, &[("alice.dyn.example.net", Some(G2))]);
        world.now += LIFETIME - 1;
        assert_eq!(world.address("alice.dyn.example.net"), Some(ALICE));
        world.now += 1;
        assert_eq!(world.address("alice.dyn.example.net"), None);
    }

    #[test]
    fn t1_names_survive_a_restart_and_renewals_are_written_now_and_then() {
        let mut world = World::new();
        let name = "alice.dyn.example.net";
        world.register(ALICE, &[(name, Some(G2))]);
        assert!(world.table.take_changed());
        let writes = (0..100).filter(|_| {
            world.now += LIFETIME / 10;
            world.register(ALICE, &[(name, Some(G2))]);
            world.table.take_changed()
        });
        assert_eq!(writes.count(), 16);
        let learned = *world.table.names(world.now).next().unwrap().1;
        let mut restarted = World::new();
        for (name, server) in [(name, SERVER), ("x.example.org", SERVER), ("y.dyn.example.net", G2)] {
            restarted.table.restore(name.parse().unwrap(), learned.address, server, 100);
        }
        assert_eq!(restarted.address(name), Some(ALICE));
        assert_eq!(restarted.table.names(1).count(), 1, "what is no longer configured is left out");
        world.register(ALICE, &[(name, None)]);
        assert!(world.table.take_changed());
    }

    #[test]
    fn updates_under_way_and_names_are_bounded() {
        let mut world = World::new();
        for id in 0..1000 {
            let exchange = world.exchange(Ipv4Addr::new(192, 168, 1, u8::try_from(id % 250).unwrap()));
            world.update(exchange, &[("x.dyn.example.net", Some(G2))]);
        }
        assert_eq!(world.table.pending.len(), MAX_PENDING.0);
        let mut world = World::new();
        for number in 0..1000 {
            world.register(ALICE, &[(&format!("n{number}.dyn.example.net"), Some(G2))]);
        }
        assert_eq!(world.table.names.len(), MAX_NAMES.1);
        for number in 0..1000u16 {
            let host = Ipv4Addr::from(0x0a00_0000 + u32::from(number));
            world.register(host, &[(&format!("h{number}.dyn.example.net"), Some(G2))]);
        }
        assert_eq!(world.table.names.len(), MAX_NAMES.0);
    }
}
