//! Forced mappings (N7): `G1:s <-> G2:m <=> G1:s <-> P1:d`, the table of those that live, and how they are found.
//!
//! A mapping is 48 bytes in one slab; three hash tables hold only its number. Timers are buckets of whole seconds.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher, RandomState},
    net::{Ipv4Addr, SocketAddrV4},
};

use hashbrown::{HashSet, HashTable};
use natf_proto::{KeyId, MappingKind, Transaction, Transport};

/// Ports of ended mappings rest for this long: TIME_WAIT of the old entry would eat the new SYN (RFC 9293, 3.4).
const QUARANTINE_SECONDS: u32 = 120;
/// Most resting ports; beyond that the oldest are free again, and the kernel's own check remains.
const QUARANTINE_LIMIT: usize = 16_384;

/// Number of a mapping in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappingId(pub u32);

/// Where in its life a mapping is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The kernel has not confirmed it yet.
    Inserting,
    /// The kernel waits for the first packet from behind a NAT.
    Awaiting,
    /// The conntrack entry exists.
    Live,
}

/// One forced mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// Chosen by the EN; `None` when the mapping was found in the kernel after a restart.
    pub transaction: Option<Transaction>,
    /// `G1:s`; the port is 0 while the first packet is awaited.
    pub source: SocketAddrV4,
    /// `G2:m`, G2 as it stands in packets that arrive here.
    pub mapped: SocketAddrV4,
    /// `P1:d`.
    pub inside: SocketAddrV4,
    /// TCP or UDP.
    pub transport: Transport,
    /// Whose mapping it is.
    pub peer: KeyId,
    /// Index of the host's name, see [`crate::core::names::Names`].
    pub host: u16,
    /// Seconds since the router's start.
    pub created: u32,
    /// The second of the one timer that counts; 0 = none.
    pub due: u32,
    /// Where in its life it is.
    pub stage: Stage,
    /// Exact or awaiting.
    pub kind: MappingKind,
}

/// All mappings, bounded by the caller's limits.
#[derive(Debug, Default)]
pub struct MappingTable {
    slab: Vec<Option<Mapping>>,
    free: Vec<u32>,
    hasher: RandomState,
    by_transaction: HashTable<u32>,
    by_outside: HashTable<u32>,
    by_inside: HashTable<u32>,
    timers: BTreeMap<u32, Vec<u32>>,
    resting: HashSet<Outside, RandomState>,
    resting_order: VecDeque<(u32, Outside)>,
}

type Outside = (Transport, SocketAddrV4, SocketAddrV4);

impl MappingTable {
    /// How many mappings there are.
    pub fn len(&self) -> usize {
        self.slab.len() - self.free.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All mappings.
    pub fn iter(&self) -> impl Iterator<Item = (MappingId, &Mapping)> {
        (0u32..).zip(&self.slab).filter_map(|(id, mapping)| Some((MappingId(id), mapping.as_ref()?)))
    }

    /// One mapping.
    pub fn find(&self, id: MappingId) -> Option<&Mapping> {
        self.slab.get(usize::try_from(id.0).ok()?)?.as_ref()
    }

    /// The mapping of a peer's transaction (idempotence).
    pub fn by_transaction(&self, peer: KeyId, transaction: Transaction) -> Option<MappingId> {
        let hash = self.hasher.hash_one((peer, transaction));
        let wanted = (peer, Some(transaction));
        self.lookup(&self.by_transaction, hash, |mapping| (mapping.peer, mapping.transaction) == wanted)
    }

    /// The mapping for packets `G1:s -> G2:m`; a port of 0 finds the one that awaits, or has awaited, its first packet
    /// from that address.
    pub fn by_outside(
        &self,
        transport: Transport,
        source: SocketAddrV4,
        mapped: SocketAddrV4,
    ) -> Option<MappingId> {
        let wanted = (transport, source, mapped);
        let awaited = (transport, without_port(*source.ip()), mapped);
        let find = |key: Outside| {
            self.lookup(&self.by_outside, self.hasher.hash_one(key), |mapping| {
                outside(mapping) == wanted || (wanted == awaited && outside_key(mapping) == wanted)
            })
        };
        find(wanted).or_else(|| find(awaited))
    }

    /// The mapping for packets `P1:d -> G1:s`: there can be but one.
    pub fn by_inside(
        &self,
        transport: Transport,
        source: SocketAddrV4,
        inside: SocketAddrV4,
    ) -> Option<MappingId> {
        let wanted = (transport, source, inside);
        let hash = self.hasher.hash_one(wanted);
        self.lookup(&self.by_inside, hash, |mapping| {
            (mapping.transport, mapping.source, mapping.inside) == wanted
        })
    }

    fn lookup(
        &self,
        table: &HashTable<u32>,
        hash: u64,
        wanted: impl Fn(&Mapping) -> bool,
    ) -> Option<MappingId> {
        let found = table.find(hash, |id| self.find(MappingId(*id)).is_some_and(&wanted));
        found.map(|id| MappingId(*id))
    }

    /// Adds a mapping.
    pub fn insert(&mut self, mapping: Mapping) -> Option<MappingId> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                let id = u32::try_from(self.slab.len()).ok()?;
                self.slab.push(None);
                id
            }
        };
        *self.slab.get_mut(usize::try_from(id).ok()?)? = Some(mapping);
        self.index(id, &mapping);
        Some(MappingId(id))
    }

    /// Changes a mapping; indexes follow.
    pub fn update(&mut self, id: MappingId, change: impl FnOnce(&mut Mapping)) {
        let Some(mut mapping) = self.find(id).copied() else { return };
        self.unindex(id.0, &mapping);
        change(&mut mapping);
        if let Some(place) = usize::try_from(id.0).ok().and_then(|at| self.slab.get_mut(at)) {
            *place = Some(mapping);
        }
        self.index(id.0, &mapping);
    }

    /// Removes a mapping; its port rests for a while.
    pub fn remove(&mut self, id: MappingId, now: u32) -> Option<Mapping> {
        let mapping = *self.find(id)?;
        self.unindex(id.0, &mapping);
        *self.slab.get_mut(usize::try_from(id.0).ok()?)? = None;
        self.free.push(id.0);
        if mapping.stage != Stage::Inserting {
            self.rest(now, outside(&mapping));
        }
        Some(mapping)
    }

    /// True where this port of an ended mapping still rests for this source.
    pub fn is_resting(&self, transport: Transport, source: SocketAddrV4, mapped: SocketAddrV4) -> bool {
        self.resting.contains(&(transport, source, mapped))
    }

    /// The port rests for the flow's source, and for whoever would be awaited at its address: a late packet of the
    /// ended flow would be taken for the first one of another.
    fn rest(&mut self, now: u32, (transport, source, mapped): Outside) {
        for source in [source, without_port(*source.ip())] {
            if self.resting_order.len() >= QUARANTINE_LIMIT {
                self.wake_oldest();
            }
            if self.resting.insert((transport, source, mapped)) {
                let until = now.saturating_add(QUARANTINE_SECONDS);
                self.resting_order.push_back((until, (transport, source, mapped)));
            }
        }
    }

    fn wake_oldest(&mut self) {
        if let Some((_, port)) = self.resting_order.pop_front() {
            self.resting.remove(&port);
        }
    }

    /// Frees the ports that have rested long enough.
    pub fn wake(&mut self, now: u32) {
        while self.resting_order.front().is_some_and(|(until, _)| *until <= now) {
            self.wake_oldest();
        }
    }

    /// Asks for `id` to come up in [`Self::poll_due`] at this second; what was asked for before no longer counts.
    pub fn schedule(&mut self, id: MappingId, at: u32) {
        let place = usize::try_from(id.0).ok().and_then(|place| self.slab.get_mut(place));
        let Some(mapping) = place.and_then(Option::as_mut) else { return };
        if mapping.due != at {
            mapping.due = at;
            self.timers.entry(at).or_default().push(id.0);
        }
    }

    /// The second of the next timer.
    pub fn next_due(&self) -> Option<u32> {
        self.timers.first_key_value().map(|(at, _)| *at)
    }

    /// The mappings whose time has come; timers of mappings that ended or were asked for anew meanwhile are not among
    /// them.
    pub fn poll_due(&mut self, now: u32) -> Option<Vec<MappingId>> {
        let due = self.timers.first_entry().filter(|entry| *entry.key() <= now)?;
        let (at, ids) = due.remove_entry();
        let mut ids: Vec<_> = ids.into_iter().map(MappingId).collect();
        ids.retain(|id| self.find(*id).is_some_and(|mapping| mapping.due == at));
        Some(ids)
    }

    fn index(&mut self, id: u32, mapping: &Mapping) {
        let Self { slab, hasher, by_transaction, by_outside, by_inside, .. } = self;
        let of = |id: &u32| usize::try_from(*id).ok().and_then(|at| slab.get(at)).and_then(Option::as_ref);
        if mapping.transaction.is_some() {
            let hash = |mapping: &Mapping| {
                hasher.hash_one((mapping.peer, mapping.transaction.unwrap_or(Transaction(0))))
            };
            by_transaction.insert_unique(hash(mapping), id, |other| of(other).map_or(0, hash));
        }
        let hash = |mapping: &Mapping| hasher.hash_one(outside_key(mapping));
        by_outside.insert_unique(hash(mapping), id, |other| of(other).map_or(0, hash));
        let hash = |mapping: &Mapping| hasher.hash_one((mapping.transport, mapping.source, mapping.inside));
        by_inside.insert_unique(hash(mapping), id, |other| of(other).map_or(0, hash));
    }

    fn unindex(&mut self, id: u32, mapping: &Mapping) {
        if let Some(transaction) = mapping.transaction {
            take_out(&mut self.by_transaction, self.hasher.hash_one((mapping.peer, transaction)), id);
        }
        take_out(&mut self.by_outside, self.hasher.hash_one(outside_key(mapping)), id);
        let inside = (mapping.transport, mapping.source, mapping.inside);
        take_out(&mut self.by_inside, self.hasher.hash_one(inside), id);
    }
}

fn outside(mapping: &Mapping) -> Outside {
    (mapping.transport, mapping.source, mapping.mapped)
}

/// Where a mapping is found by its outside. One that awaits its first packet stays there without the port when it has
/// come: behind a NAT the flow may get another port, and must not be taken for the first packet of another mapping.
fn outside_key(mapping: &Mapping) -> Outside {
    match mapping.kind {
        MappingKind::AwaitsFirstPacket => {
            (mapping.transport, without_port(*mapping.source.ip()), mapping.mapped)
        }
        MappingKind::Exact | MappingKind::Direct => outside(mapping),
    }
}

fn take_out(table: &mut HashTable<u32>, hash: u64, id: u32) {
    if let Ok(entry) = table.find_entry(hash, |other| *other == id) {
        entry.remove();
    }
}

/// The next port to try: from `first` to `last`, round and round.
#[derive(Debug, Clone, Copy)]
pub struct PortCursor {
    first: u16,
    last: u16,
    next: u16,
}

impl PortCursor {
    /// Starts at `offset` ports above `first`, which the caller draws by chance.
    pub fn new(first: u16, last: u16, offset: u16) -> Self {
        let last = last.max(first);
        let next = first.checked_add(offset).filter(|port| *port <= last).unwrap_or(first);
        Self { first, last, next }
    }

    /// A port of the range.
    pub fn take(&mut self) -> u16 {
        let port = self.next;
        self.next = if port >= self.last { self.first } else { port + 1 };
        port
    }
}

/// An address with a port of 0, for what is not known yet.
pub fn without_port(address: Ipv4Addr) -> SocketAddrV4 {
    SocketAddrV4::new(address, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(s: u16, m: u16) -> Mapping {
        Mapping {
            transaction: Some(Transaction(u64::from(s))),
            source: SocketAddrV4::new([198, 51, 100, 10].into(), s),
            mapped: SocketAddrV4::new([203, 0, 113, 2].into(), m),
            inside: SocketAddrV4::new([192, 168, 1, 10].into(), 80),
            transport: Transport::Tcp,
            peer: KeyId(7),
            host: 0,
            created: 0,
            due: 0,
            stage: Stage::Live,
            kind: MappingKind::Exact,
        }
    }

    #[test]
    fn a_mapping_is_small() {
        assert!(size_of::<Option<Mapping>>() <= 56, "{} bytes", size_of::<Option<Mapping>>());
    }

    #[test]
    fn a_mapping_is_found_by_transaction_outside_and_inside_until_it_is_removed() {
        let mut table = MappingTable::default();
        for s in 1..=1000 {
            table.insert(mapping(s, s)).unwrap();
        }
        let one = mapping(500, 500);
        let id = table.by_transaction(KeyId(7), Transaction(500)).unwrap();
        assert_eq!(table.by_outside(Transport::Tcp, one.source, one.mapped), Some(id));
        assert_eq!(table.by_inside(Transport::Tcp, one.source, one.inside), Some(id));
        assert_eq!(table.remove(id, 0), Some(one));
        assert_eq!(table.by_transaction(KeyId(7), Transaction(500)), None);
        assert_eq!(table.by_outside(Transport::Tcp, one.source, one.mapped), None);
        assert_eq!(table.len(), 999);
    }

    #[test]
    fn a_port_is_found_by_its_address_alone_once_it_awaited_a_packet_from_there() {
        let mut table = MappingTable::default();
        let awaiting = Mapping { kind: MappingKind::AwaitsFirstPacket, ..mapping(7, 7) };
        let unknown = without_port(*awaiting.source.ip());
        let id = table.insert(Mapping { source: unknown, stage: Stage::Awaiting, ..awaiting }).unwrap();
        assert_eq!(table.by_outside(Transport::Tcp, unknown, awaiting.mapped), Some(id));
        table.update(id, |mapping| *mapping = awaiting);
        assert_eq!(table.by_outside(Transport::Tcp, awaiting.source, awaiting.mapped), Some(id));
        assert_eq!(
            table.by_outside(Transport::Tcp, unknown, awaiting.mapped),
            Some(id),
            "taken for this address"
        );
        let other = SocketAddrV4::new(*awaiting.source.ip(), 8);
        assert_eq!(table.by_outside(Transport::Tcp, other, awaiting.mapped), None);
        table.remove(id, 0);
        assert_eq!(table.by_outside(Transport::Tcp, unknown, awaiting.mapped), None);
    }

    #[test]
    fn a_port_rests_for_two_minutes() {
        let mut table = MappingTable::default();
        let one = mapping(1, 1);
        let id = table.insert(one).unwrap();
        table.remove(id, 10);
        assert!(table.is_resting(Transport::Tcp, one.source, one.mapped));
        table.wake(129);
        assert!(table.is_resting(Transport::Tcp, one.source, one.mapped));
        table.wake(130);
        assert!(!table.is_resting(Transport::Tcp, one.source, one.mapped));
    }

    #[test]
    fn a_port_rests_for_everybody_who_would_be_awaited_at_the_address_of_its_flow() {
        let mut table = MappingTable::default();
        let one = mapping(1, 1);
        let id = table.insert(one).unwrap();
        table.remove(id, 10);
        let awaited = without_port(*one.source.ip());
        assert!(
            table.is_resting(Transport::Tcp, awaited, one.mapped),
            "its late packets would be the first ones"
        );
        let other = without_port([198, 51, 100, 11].into());
        assert!(!table.is_resting(Transport::Tcp, other, one.mapped));
    }

    #[test]
    fn only_the_last_timer_of_a_mapping_counts_and_it_ends_with_the_mapping() {
        let mut table = MappingTable::default();
        let id = table.insert(mapping(1, 1)).unwrap();
        table.schedule(id, 10);
        table.schedule(id, 20);
        assert_eq!(table.poll_due(15), Some(vec![]));
        assert_eq!(table.poll_due(20), Some(vec![id]));
        table.schedule(id, 30);
        table.remove(id, 0);
        assert_eq!(table.insert(mapping(2, 2)), Some(id), "the number is used again");
        assert_eq!((table.poll_due(40), table.poll_due(40)), (Some(vec![]), None));
    }

    #[test]
    fn resting_ports_are_bounded() {
        let mut table = MappingTable::default();
        for round in 0..2u16 {
            for m in 1..=u16::MAX / 2 {
                let id = table.insert(mapping(round + 1, m)).unwrap();
                table.remove(id, 0);
            }
        }
        assert!(table.resting.len() <= QUARANTINE_LIMIT && table.resting_order.len() <= QUARANTINE_LIMIT);
    }

    #[test]
    fn ports_go_round_in_their_range() {
        let mut ports = PortCursor::new(10, 12, 1);
        assert_eq!([(); 5].map(|()| ports.take()), [11, 12, 10, 11, 12]);
    }
}
