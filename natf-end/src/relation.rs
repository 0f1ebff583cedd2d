//! The NRT, the name relation table: private host name <-> virtual address, one to one (N2, N3).
//!
//! ```text
//!    alice . home.example.net  <->  240.0.17.93   ->  targets G2 of the newest answer, for its TTL
//! ```
//!
//! The targets age with the DNS answer; the pair itself does not: applications keep addresses far longer than
//! any TTL says, so a virtual address stays with its name, and after its last use it is in quarantine before
//! another name may get it. The table is bounded: when it is full, the pair longest out of quarantine makes
//! room, and if there is none, the name is not related at all.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::dns::{Homes, Ours, Scope};
use crate::virtual_address::VirtualPrefix;

/// Shortest time for which targets count as fresh, whatever the answer says.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// Longest time for which targets count as fresh: homes change their address.
pub const TTL_MAX: Duration = Duration::from_secs(300);
/// Addresses G2 kept per name.
pub const TARGETS_MAX: usize = 4;

/// Bounds of a [`RelationTable`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Names in the table, quarantined ones included.
    pub names: usize,
    /// Time after the last use during which a virtual address belongs to nobody else.
    pub quarantine: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { names: 4096, quarantine: Duration::from_secs(86_400) }
    }
}

/// Every pair is in use or in quarantine: the name gets no virtual address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "no virtual address for {name}: all {names} pairs of the name relation table are in use or in quarantine"
)]
pub struct Full {
    /// The name that was asked for.
    pub name: String,
    /// Pairs in the table.
    pub names: usize,
}

/// A DNS name seen as private host name and domain: lower case, no final dot, both parts non-empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrivateName<'a> {
    full: &'a str,
    host_length: usize,
}

impl<'a> PrivateName<'a> {
    /// Splits `full` behind its first `host_length` bytes, where a dot must be.
    pub fn split_at(full: &'a str, host_length: usize) -> Option<Self> {
        let domain = full.get(host_length..)?.strip_prefix('.')?;
        (host_length > 0 && !domain.is_empty()).then_some(Self { full, host_length })
    }

    /// Splits `full` in front of `domain`.
    pub fn below(full: &'a str, domain: &str) -> Option<Self> {
        let host = full.strip_suffix(domain)?.strip_suffix('.')?;
        Self::split_at(full, host.len())
    }

    /// The private host name: `alice`.
    pub fn host(&self) -> &'a str {
        self.full.get(..self.host_length).unwrap_or_default()
    }

    /// The domain name of the home: `home.example.net`.
    pub fn domain(&self) -> &'a str {
        self.full.get(self.host_length + 1..).unwrap_or_default()
    }

    /// The whole name: `alice.home.example.net`.
    pub fn full(&self) -> &'a str {
        self.full
    }
}

/// One row: what stands behind a virtual address.
#[derive(Clone, Debug)]
pub struct Relation {
    name: Rc<str>,
    host_length: usize,
    home: Rc<str>,
    targets: Vec<Ipv4Addr>,
    expires: Instant,
    used: Instant,
}

impl Relation {
    /// Private host name and domain.
    pub fn name(&self) -> PrivateName<'_> {
        PrivateName { full: &self.name, host_length: self.host_length }
    }

    /// Name of the configured home, which is also the name of its key.
    pub fn home(&self) -> &Rc<str> {
        &self.home
    }

    /// The addresses G2 of the newest answer, in its order; at least one, at most [`TARGETS_MAX`].
    pub fn targets(&self) -> &[Ipv4Addr] {
        &self.targets
    }

    /// Whether the targets are still covered by the answer's TTL; if not, ask again before dialling.
    pub fn is_fresh(&self, now: Instant) -> bool {
        now < self.expires
    }

    /// When the answer's TTL ends.
    pub fn expires(&self) -> Instant {
        self.expires
    }

    /// When the pair was last answered or dialled.
    pub fn used(&self) -> Instant {
        self.used
    }
}

/// What outlives a restart: the pairs, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The pairs.
    pub pairs: Vec<Pair>,
}

/// One pair of a [`State`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Private host name.
    pub host: String,
    /// Domain of the home.
    pub domain: String,
    /// Name of the configured home.
    pub home: String,
    /// The virtual address V.
    #[serde(rename = "virtual")]
    pub address: Ipv4Addr,
    /// The last known addresses G2.
    #[serde(default)]
    pub targets: Vec<Ipv4Addr>,
}

/// The table.
#[derive(Debug)]
pub struct RelationTable {
    prefix: VirtualPrefix,
    limits: Limits,
    by_name: HashMap<Rc<str>, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, Relation>,
    generation: u64,
}

impl RelationTable {
    /// Makes an empty table.
    pub fn new(prefix: VirtualPrefix, limits: Limits) -> Self {
        Self { prefix, limits, by_name: HashMap::new(), by_address: HashMap::new(), generation: 0 }
    }

    /// The prefix of its virtual addresses.
    pub fn prefix(&self) -> VirtualPrefix {
        self.prefix
    }

    /// Pairs in the table.
    pub fn len(&self) -> usize {
        self.by_address.len()
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Rises with every change of a pair (not of its targets): when it moved, the state file is out of date.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same as [`Self::relate`] for a name of a home. Those that only `*` covers leave a quarter of the table to the
    /// configured homes: they are every name that a browser meets, and work without a virtual address, too.
    pub fn relate_ours(
        &mut self,
        ours: &Ours<'_>,
        targets: &[Ipv4Addr],
        ttl: Duration,
        now: Instant,
    ) -> Result<Ipv4Addr, Full> {
        let full = ours.name.full();
        let is_new = ours.scope == Scope::Any && self.address_of(full).is_none();
        if is_new && self.len() >= self.limits.names / 4 * 3 && self.oldest_reusable(now).is_none() {
            return Err(Full { name: full.to_owned(), names: self.len() });
        }
        self.relate(ours.name, &ours.home, targets, ttl, now)
    }

    /// `V := (name, targets)` (N2): the virtual address of `name`, a new one if it has none yet.
    ///
    /// `ttl` is the answer's and is clamped to [`TTL_MIN`]..=[`TTL_MAX`].
    pub fn relate(
        &mut self,
        name: PrivateName<'_>,
        home: &Rc<str>,
        targets: &[Ipv4Addr],
        ttl: Duration,
        now: Instant,
    ) -> Result<Ipv4Addr, Full> {
        let address = match self.by_name.get(name.full()) {
            Some(address) => *address,
            None => self.add(name, home, now)?,
        };
        if let Some(relation) = self.by_address.get_mut(&address) {
            if relation.home != *home || relation.host_length != name.host_length {
                relation.home = home.clone();
                relation.host_length = name.host_length;
                self.generation += 1;
            }
            relation.targets.clear();
            relation.targets.extend(targets.iter().take(TARGETS_MAX));
            relation.expires = now + ttl.clamp(TTL_MIN, TTL_MAX);
            relation.used = now;
        }
        Ok(address)
    }

    /// Looks anew whose name each row's is. Applications keep addresses longer than a configuration lives: a name that
    /// was found under `*` may belong to a home with a key now, and must never be dialled without it.
    pub fn assign_homes(&mut self, homes: &Homes) {
        for relation in self.by_address.values_mut() {
            let full = relation.name().full().to_owned();
            let (home, host_length) = match homes.classify(&full) {
                Some(ours) => (ours.home, ours.name.host_length),
                // Nobody's: a home without a name is never found, and the flow is refused.
                None => (Rc::from(""), relation.host_length),
            };
            if relation.home != home || relation.host_length != host_length {
                relation.home = home;
                relation.host_length = host_length;
                self.generation += 1;
            }
        }
    }

    /// What stands behind a virtual address.
    pub fn relation(&self, address: Ipv4Addr) -> Option<&Relation> {
        self.by_address.get(&address)
    }

    /// The virtual address of a name, if it has one.
    pub fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        self.by_name.get(name).copied()
    }

    /// Says that `address` is in use: a flow to it begins or is alive.
    pub fn touch(&mut self, address: Ipv4Addr, now: Instant) {
        if let Some(relation) = self.by_address.get_mut(&address) {
            relation.used = relation.used.max(now);
        }
    }

    /// Takes the targets of a newer answer for a row that exists.
    pub fn refresh(&mut self, address: Ipv4Addr, targets: &[Ipv4Addr], ttl: Duration, now: Instant) {
        if let Some(relation) = self.by_address.get_mut(&address)
            && !targets.is_empty()
        {
            relation.targets.clear();
            relation.targets.extend(targets.iter().take(TARGETS_MAX));
            relation.expires = now + ttl.clamp(TTL_MIN, TTL_MAX);
        }
    }

    /// Targets were learned in another network, or before a sleep that the clock does not count: DNS has to say them
    /// anew.
    pub fn expire_targets(&mut self, now: Instant) {
        self.by_address.values_mut().for_each(|relation| relation.expires = relation.expires.min(now));
    }

    /// All rows, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Ipv4Addr, &Relation)> {
        self.by_address.iter().map(|(address, relation)| (*address, relation))
    }

    /// What has to be written to the state file.
    pub fn state(&self) -> State {
        let mut rows: Vec<_> = self.iter().collect();
        rows.sort_by_key(|(address, relation)| (relation.used, *address));
        let pair = |(address, relation): (Ipv4Addr, &Relation)| Pair {
            host: relation.name().host().to_owned(),
            domain: relation.name().domain().to_owned(),
            home: relation.home.to_string(),
            address,
            targets: relation.targets.clone(),
        };
        State { pairs: rows.into_iter().map(pair).collect() }
    }

    /// Takes the pairs of a former run over; those that do not fit (another prefix, a name or an address twice,
    /// too many) are left out. Returns how many were taken.
    ///
    /// Nobody knows how long the former run is gone, so quarantine starts anew, and targets are not fresh.
    pub fn restore(&mut self, state: &State, now: Instant) -> usize {
        let before = self.len();
        let room = self.limits.names.saturating_sub(before);
        // The newest pairs stand last.
        for pair in state.pairs.iter().rev().take(room) {
            let full = format!("{}.{}", pair.host, pair.domain).to_ascii_lowercase();
            let Some(name) = PrivateName::split_at(&full, pair.host.len()) else { continue };
            let taken = self.by_name.contains_key(name.full()) || self.by_address.contains_key(&pair.address);
            if taken || !self.prefix.contains(pair.address) {
                continue;
            }
            let mut targets = pair.targets.clone();
            targets.truncate(TARGETS_MAX);
            self.insert(pair.address, name, &Rc::from(pair.home.as_str()), targets, now);
        }
        self.len() - before
    }

    fn add(&mut self, name: PrivateName<'_>, home: &Rc<str>, now: Instant) -> Result<Ipv4Addr, Full> {
        let full = || Full { name: name.full().to_owned(), names: self.by_address.len() };
        if self.by_address.len() >= self.limits.names {
            let oldest = self.oldest_reusable(now).ok_or_else(full)?;
            self.remove(oldest);
        }
        // There are always more candidates than pairs, so that this looks at `len() + 1` of them at most.
        let address = self
            .prefix
            .candidates(name.host(), name.domain())
            .find(|candidate| !self.by_address.contains_key(candidate))
            .ok_or_else(|| Full { name: name.full().to_owned(), names: self.by_address.len() })?;
        self.insert(address, name, home, Vec::new(), now);
        self.generation += 1;
        Ok(address)
    }

    fn insert(
        &mut self,
        address: Ipv4Addr,
        name: PrivateName<'_>,
        home: &Rc<str>,
        targets: Vec<Ipv4Addr>,
        now: Instant,
    ) {
        let relation = Relation {
            name: Rc::from(name.full()),
            host_length: name.host_length,
            home: home.clone(),
            targets,
            expires: now,
            used: now,
        };
        self.by_name.insert(relation.name.clone(), address);
        self.by_address.insert(address, relation);
    }

    fn remove(&mut self, address: Ipv4Addr) {
        if let Some(relation) = self.by_address.remove(&address) {
            self.by_name.remove(&relation.name);
        }
    }

    /// The pair longest unused, if it is out of quarantine. Its last answer's TTL counts as use.
    fn oldest_reusable(&self, now: Instant) -> Option<Ipv4Addr> {
        let last_use = |relation: &Relation| relation.used.max(relation.expires);
        let (address, relation) = self.iter().min_by_key(|(_, relation)| last_use(relation))?;
        let idle = now.saturating_duration_since(last_use(relation));
        (idle >= self.limits.quarantine && now >= last_use(relation)).then_some(address)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const DOMAIN: &str = "home.example.net";
    const G2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
    const TTL: Duration = Duration::from_secs(60);

    fn table(names: usize, quarantine: u64) -> RelationTable {
        let limits = Limits { names, quarantine: Duration::from_secs(quarantine) };
        RelationTable::new(VirtualPrefix::DEFAULT, limits)
    }

    fn relate(table: &mut RelationTable, host: &str, now: Instant) -> Result<Ipv4Addr, Full> {
        let full = format!("{host}.{DOMAIN}");
        let name = PrivateName::below(&full, DOMAIN).unwrap();
        table.relate(name, &Rc::from("home"), &[G2], TTL, now)
    }

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn n2_row_holds_name_home_and_targets_for_the_ttl() {
        let (mut table, now) = (table(10, 100), Instant::now());
        let v = relate(&mut table, "alice", now).unwrap();
        let row = table.relation(v).unwrap();
        assert_eq!((row.name().host(), row.name().domain()), ("alice", DOMAIN));
        assert_eq!((&**row.home(), row.targets()), ("home", &[G2][..]));
        assert!(row.is_fresh(after(now, 59)) && !row.is_fresh(after(now, 60)));
    }

    #[test]
    fn n10_a_name_found_under_any_home_is_not_dialled_without_a_key_once_its_home_has_one() {
        let (mut table, now) = (table(10, 100), Instant::now());
        let mut homes = Homes::default();
        homes.add("all", "*", []).unwrap();
        let full = format!("alice.{DOMAIN}");
        let ours = homes.classify(&full).unwrap();
        let v = table.relate(ours.name, &ours.home, &[G2], TTL, now).unwrap();
        homes.add("home", DOMAIN, []).unwrap();
        table.assign_homes(&homes);
        assert_eq!(&**table.relation(v).unwrap().home(), "home");
        table.assign_homes(&Homes::default());
        assert_eq!(&**table.relation(v).unwrap().home(), "", "nobody's name leads nowhere");
    }

    #[test]
    fn n3_names_and_addresses_are_one_to_one_through_collisions() {
        let (mut table, now) = (table(4096, 100), Instant::now());
        let mut addresses = HashSet::new();
        for n in 0..4096 {
            assert!(addresses.insert(relate(&mut table, &format!("host{n}"), now).unwrap()));
        }
        assert!(addresses.iter().any(|v| v.octets()[1] != 0), "4096 names on 254 values of D collide");
        for n in 0..4096 {
            assert!(addresses.contains(&relate(&mut table, &format!("host{n}"), now).unwrap()));
        }
        assert_eq!(table.len(), 4096);
    }

    #[test]
    fn virtual_address_stays_with_its_name_when_targets_change() {
        let (mut table, now) = (table(10, 100), Instant::now());
        let v = relate(&mut table, "alice", now).unwrap();
        let generation = table.generation();
        let name = PrivateName::below("alice.home.example.net", DOMAIN).unwrap();
        let many: Vec<_> = (1..=9).map(|n| Ipv4Addr::new(198, 51, 100, n)).collect();
        let later = after(now, 100_000);
        assert_eq!(table.relate(name, &Rc::from("home"), &many, TTL, later), Ok(v));
        assert_eq!(table.relation(v).unwrap().targets(), &many[..TARGETS_MAX]);
        assert_eq!(table.generation(), generation, "pairs did not change");
    }

    #[test]
    fn refuses_a_name_when_every_pair_is_in_use_or_quarantined() {
        let (mut table, now) = (table(2, 100), Instant::now());
        relate(&mut table, "alice", now).unwrap();
        relate(&mut table, "bob", now).unwrap();
        let error = relate(&mut table, "carol", after(now, 159)).unwrap_err();
        assert_eq!((error.name.as_str(), error.names), ("carol.home.example.net", 2));
    }

    #[test]
    fn reuses_the_oldest_pair_after_quarantine_and_spares_the_touched_one() {
        let (mut table, now) = (table(2, 100), Instant::now());
        let alice = relate(&mut table, "alice", now).unwrap();
        let bob = relate(&mut table, "bob", now).unwrap();
        table.touch(alice, after(now, 150));
        relate(&mut table, "carol", after(now, 160)).unwrap();
        assert_eq!(table.relation(alice).unwrap().name().host(), "alice");
        assert_eq!(table.address_of("bob.home.example.net"), None);
        assert!(table.relation(bob).is_none_or(|row| row.name().host() == "carol"));
    }

    #[test]
    fn after_a_change_of_network_targets_are_a_hint_only() {
        let (mut table, now) = (table(10, 100), Instant::now());
        let v = relate(&mut table, "alice", now).unwrap();
        table.expire_targets(after(now, 1));
        let row = table.relation(v).unwrap();
        assert!(!row.is_fresh(after(now, 1)) && row.targets() == [G2]);
        relate(&mut table, "alice", after(now, 2)).unwrap();
        assert!(table.relation(v).unwrap().is_fresh(after(now, 3)));
    }

    #[test]
    fn names_of_any_home_leave_room_for_those_of_configured_homes() {
        let (mut table, now) = (table(8, 100), Instant::now());
        let mut homes = Homes::default();
        homes.add("all", "*", []).unwrap();
        homes.add("home", DOMAIN, []).unwrap();
        let mut relate =
            |full: &str, now| table.relate_ours(&homes.classify(full).unwrap(), &[G2], TTL, now).is_ok();
        assert!((0..6).all(|n| relate(&format!("host{n}.example.org"), now)));
        assert!(!relate("host6.example.org", now) && relate("host5.example.org", now));
        assert!(relate("alice.home.example.net", now) && relate("bob.home.example.net", now));
        assert!(!relate("carol.home.example.net", now));
        assert!(relate("host6.example.org", after(now, 200)), "out of quarantine");
    }

    #[test]
    fn ttl_is_clamped() {
        let (mut table, now) = (table(10, 100), Instant::now());
        let name = PrivateName::below("alice.home.example.net", DOMAIN).unwrap();
        let home = Rc::from("home");
        let v = table.relate(name, &home, &[G2], Duration::ZERO, now).unwrap();
        assert_eq!(table.relation(v).unwrap().expires(), now + TTL_MIN);
        table.relate(name, &home, &[G2], Duration::from_secs(86_400), now).unwrap();
        assert_eq!(table.relation(v).unwrap().expires(), now + TTL_MAX);
    }

    #[test]
    fn state_survives_a_round_trip_through_json() {
        let (mut old, now) = (table(10, 100), Instant::now());
        let alice = relate(&mut old, "alice", now).unwrap();
        let bob = relate(&mut old, "bob", after(now, 1)).unwrap();
        let json = serde_json::to_string(&old.state()).unwrap();
        let mut new = table(10, 100);
        assert_eq!(new.restore(&serde_json::from_str(&json).unwrap(), now), 2);
        assert_eq!(relate(&mut new, "alice", now), Ok(alice));
        assert_eq!(new.relation(bob).unwrap().targets(), [G2]);
        assert!(!new.relation(bob).unwrap().is_fresh(now), "an old target is a hint only");
    }

    #[test]
    fn restore_leaves_out_what_does_not_fit() {
        let pair = |host: &str, address: [u8; 4]| Pair {
            host: host.to_owned(),
            domain: DOMAIN.to_owned(),
            home: "home".to_owned(),
            address: address.into(),
            targets: vec![G2; 9],
        };
        let state = State {
            pairs: vec![
                pair("alice", [240, 0, 1, 1]),
                pair("alice", [240, 0, 1, 2]),
                pair("bob", [240, 0, 1, 2]),
                pair("carol", [10, 0, 1, 3]),
                pair("", [240, 0, 1, 4]),
            ],
        };
        let mut new = table(10, 100);
        assert_eq!(new.restore(&state, Instant::now()), 2);
        assert_eq!(new.address_of("bob.home.example.net"), Some(Ipv4Addr::new(240, 0, 1, 2)));
        assert_eq!(new.address_of("alice.home.example.net"), Some(Ipv4Addr::new(240, 0, 1, 1)));
        assert!(new.iter().all(|(_, row)| row.targets().len() <= TARGETS_MAX));
    }

    #[test]
    fn private_name_needs_both_parts() {
        assert!(PrivateName::below("home.example.net", DOMAIN).is_none());
        assert!(PrivateName::below(".home.example.net", DOMAIN).is_none());
        assert!(PrivateName::below("alicehome.example.net", DOMAIN).is_none());
        assert!(PrivateName::split_at("alice", 5).is_none());
        assert_eq!(PrivateName::split_at("a.b", 1).map(|n| (n.host(), n.domain())), Some(("a", "b")));
    }
}
