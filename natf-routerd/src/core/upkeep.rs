//! Keeping the table true: entries that ended by themselves, revocation, changed addresses, restarts.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_proto::{HostName, KeyId, MappingKind, Reason};

use super::{
    access::AccessTable,
    counters::{Counter, Counters},
    forcing::{Waiting, awaited, entry},
    mapping::{Mapping, MappingId, MappingTable, Stage},
    output::{Entry, Now, Output},
    peer::{PeerSetting, Peers},
    refusals::Refusals,
    registration::Learned,
    router::{Lifetimes, Limits, Router},
};

/// Rows with an end and resting ports are looked at this often at least.
const TICK: Duration = Duration::from_secs(30);
/// Entries are looked at this often at least: connections end, and the kernel tells nobody.
const CHECK_SECONDS: u32 = 30;

impl Router {
    /// Puts a mapping into the table and counts it for its peer and host.
    pub(super) fn add(&mut self, mapping: Mapping) -> Option<MappingId> {
        let id = self.mappings.insert(mapping)?;
        *self.per_peer.entry(mapping.peer).or_insert(0) += 1;
        *self.per_host.entry(mapping.host).or_insert(0) += 1;
        *self.per_source.entry(*mapping.source.ip()).or_insert(0) += 1;
        Some(id)
    }

    /// Takes a mapping out of the table; the kernel is not told.
    pub(super) fn discard(&mut self, now: Now, id: MappingId) -> Option<Mapping> {
        let mapping = self.mappings.remove(id, self.seconds(now.instant))?;
        match self.waiting.remove(&id) {
            Some(Waiting::FirstPacket(packet)) => self.outputs.push_back(Output::Release(packet)),
            Some(Waiting::Guided(guided)) => self.give_up(&guided),
            Some(Waiting::Answer(_)) | None => {}
        }
        decrease(&mut self.per_peer, mapping.peer);
        decrease(&mut self.per_host, mapping.host);
        decrease(&mut self.per_source, *mapping.source.ip());
        Some(mapping)
    }

    /// Takes a mapping out of the table and out of the kernel.
    pub(super) fn end(&mut self, now: Now, id: MappingId, why: Counter) {
        let Some(mapping) = self.discard(now, id) else { return };
        self.counters.count(why);
        if mapping.stage != Stage::Live && mapping.kind == MappingKind::AwaitsFirstPacket {
            self.outputs.push_back(Output::Unawait(awaited(&mapping)));
        }
        // An insert may be on its way, too.
        if mapping.stage != Stage::Awaiting {
            self.outputs.push_back(Output::Delete(entry(&mapping)));
        }
    }

    /// When [`Self::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self, now: Instant) -> Instant {
        let due = [self.mappings.next_due(), self.guide.table.next_due()].into_iter().flatten().min();
        let timer = due.map(|at| self.start + Duration::from_secs(at.into()));
        let tick = now + TICK;
        timer.map_or(tick, |timer| timer.min(tick))
    }

    /// Time has passed: asks for the state of those entries that may have ended.
    pub fn handle_timeout(&mut self, now: Now) {
        let seconds = self.seconds(now.instant);
        self.mappings.wake(seconds);
        while let Some(due) = self.mappings.poll_due(seconds) {
            for id in due {
                self.check(now, id);
            }
        }
        self.expire_rows(seconds);
        if self.has_clock_jumped(now) || self.next_expiry.is_some_and(|at| at <= now.unix) {
            self.revoke(now);
        }
    }

    /// Whether the clock of dates was set since the last tick: rows that had ended may count again, and end once more.
    fn has_clock_jumped(&mut self, now: Now) -> bool {
        let elapsed = now.instant.saturating_duration_since(self.last_tick.instant).as_secs();
        let expected = self.last_tick.unix.saturating_add(elapsed);
        self.last_tick = now;
        now.unix.abs_diff(expected) > 1
    }

    fn check(&mut self, now: Now, id: MappingId) {
        let Some(mapping) = self.mappings.find(id) else { return };
        match mapping.stage {
            Stage::Live => {
                let entry = entry(mapping);
                self.outputs.push_back(Output::Check { id, entry });
            }
            // The set element has its own timeout and is gone.
            Stage::Awaiting => {
                self.counters.count(Counter::TimedOut);
                self.discard(now, id);
            }
            Stage::Inserting => {}
        }
    }

    /// Looks at all entries of a peer, at most once a second.
    pub(super) fn look_for_ended(&mut self, now: Now, peer: KeyId) {
        let seconds = self.seconds(now.instant);
        if self.looked == Some(seconds) {
            return;
        }
        self.looked = Some(seconds);
        let own = |mapping: &Mapping| mapping.peer == peer;
        let ids: Vec<_> =
            self.mappings.iter().filter(|(_, mapping)| own(mapping)).map(|(id, _)| id).collect();
        for id in ids {
            if self.mappings.find(id).is_some_and(|mapping| mapping.stage == Stage::Live) {
                self.check(now, id);
            }
        }
    }

    /// The kernel's answer to [`Output::Check`]: how long the entry still lives, `None` where it is gone or its
    /// connection is over.
    pub fn handle_checked(&mut self, now: Now, id: MappingId, remaining: Option<Duration>) {
        match remaining {
            Some(remaining) => {
                let seconds = u32::try_from(remaining.as_secs()).unwrap_or(u32::MAX).clamp(1, CHECK_SECONDS);
                self.mappings
                    .schedule(id, self.seconds(now.instant).saturating_add(seconds).saturating_add(1));
            }
            None => {
                self.counters.count(Counter::TimedOut);
                self.discard(now, id);
            }
        }
    }

    /// Takes a new configuration; flows that it does not allow any more are ended, the others live on.
    pub fn handle_config(
        &mut self,
        now: Now,
        limits: Limits,
        access: AccessTable,
        peers: Vec<PeerSetting>,
        floors: &BTreeMap<KeyId, u64>,
    ) {
        let neighbours = self.access.neighbours().clone();
        self.set_limits(limits);
        self.access = access;
        self.access.set_neighbours(neighbours);
        self.peers.replace(peers, floors);
        self.revoke(now);
    }

    /// Takes the home's own names, below which its hosts are announced (T4).
    pub fn set_domains<'d>(&mut self, domains: impl Iterator<Item = &'d str>) {
        self.domains = domains.map(Into::into).collect();
    }

    /// The kernel's timeouts changed.
    pub fn set_lifetimes(&mut self, lifetimes: Lifetimes) {
        self.lifetimes = lifetimes;
    }

    /// Where link-layer addresses are at present; flows to a host that moved are ended.
    pub fn handle_neighbours(&mut self, now: Now, neighbours: BTreeMap<[u8; 6], Ipv4Addr>) {
        if *self.access.neighbours() != neighbours {
            self.access.set_neighbours(neighbours);
            self.revoke(now);
        }
    }

    /// Decides every row and every mapping anew and ends those that are refused now or lead elsewhere.
    fn revoke(&mut self, now: Now) {
        self.revoke_rows(now);
        self.next_expiry = self.access.next_expiry(now.unix);
        let refused = |mapping: &Mapping| {
            let port = mapping.inside.port();
            let host = self.names.name(mapping.host);
            let inside = host.map(|host| self.decide(mapping.peer, host, mapping.transport, port, now.unix));
            // A lease that is being written anew is no reason to end anything.
            !matches!(inside, Some(Err(Reason::HostAway))) && inside != Some(Ok(*mapping.inside.ip()))
        };
        let ids: Vec<_> =
            self.mappings.iter().filter(|(_, mapping)| refused(mapping)).map(|(id, _)| id).collect();
        for id in ids {
            self.end(now, id, Counter::Revoked);
        }
    }

    /// Our own addresses changed: mappings of those that are gone are ended.
    pub fn handle_addresses(&mut self, now: Now, addresses: &[Ipv4Addr]) {
        let gone = |mapping: &Mapping| !addresses.contains(mapping.mapped.ip());
        let ids: Vec<_> =
            self.mappings.iter().filter(|(_, mapping)| gone(mapping)).map(|(id, _)| id).collect();
        for id in ids {
            self.end(now, id, Counter::Revoked);
        }
    }

    /// After a restart: an entry with our label was found in the kernel. It lives on if it is still allowed.
    pub fn handle_restored(&mut self, now: Now, found: Entry) {
        let host = self.name_of(&found, now.unix);
        let number = host.and_then(|host| self.names.number(&host)).unwrap_or(u16::MAX);
        let Entry { transport, source, mapped, inside, peer } = found;
        let created = self.seconds(now.instant);
        let (stage, kind, transaction) = (Stage::Live, MappingKind::Exact, None);
        let mapping = Mapping {
            transaction,
            source,
            mapped,
            inside,
            transport,
            peer,
            host: number,
            created,
            due: 0,
            stage,
            kind,
        };
        if let Some(id) = self.add(mapping) {
            self.mappings.schedule(id, created.saturating_add(1));
        }
    }

    /// Which of the names of its host a found entry may have been mapped under.
    fn name_of(&self, found: &Entry, unix: u64) -> Option<HostName> {
        let port = found.inside.port();
        let allowed = |host: &HostName| self.decide(found.peer, host, found.transport, port, unix).is_ok();
        let mut names = self.access.names_of(*found.inside.ip());
        names.clone().find(|host| allowed(host)).or_else(|| names.next()).copied()
    }

    /// After [`Self::handle_restored`] for every entry: ends what is not allowed any more.
    pub fn finish_restoring(&mut self, now: Now, addresses: &[Ipv4Addr]) {
        self.handle_addresses(now, addresses);
        self.revoke(now);
    }

    /// Ends one mapping on the user's word; false where there is none.
    pub fn end_by_user(&mut self, now: Now, id: MappingId) -> bool {
        let known = self.mappings.find(id).is_some();
        self.end(now, id, Counter::Revoked);
        known
    }

    /// The mappings.
    pub fn mappings(&self) -> &MappingTable {
        &self.mappings
    }

    /// Whether an entry is that of a mapping.
    pub fn has_mapping(&self, found: &Entry) -> bool {
        let id = self.mappings.by_outside(found.transport, found.source, found.mapped);
        id.and_then(|id| self.mappings.find(id)).is_some_and(|mapping| entry(mapping) == *found)
    }

    /// The name of a mapping's host.
    pub fn host_name(&self, mapping: &Mapping) -> Option<&HostName> {
        self.names.name(mapping.host)
    }

    /// The enrolled peers.
    pub fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The names that hosts of the LAN registered (T1), with the whole seconds that they still count.
    pub fn learned_names(&self, now: Instant) -> impl Iterator<Item = (&HostName, &Learned, u32)> {
        let seconds = self.seconds(now);
        let names = self.registrations.names(seconds);
        names.map(move |(name, learned)| (name, learned, learned.expires.saturating_sub(seconds)))
    }

    /// The access control table.
    pub fn access(&self) -> &AccessTable {
        &self.access
    }

    /// The last refusals.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts what the I/O layer saw.
    pub fn count(&mut self, counter: Counter) {
        self.counters.count(counter);
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How many mappings a peer has.
    pub fn mappings_of(&self, peer: KeyId) -> u32 {
        self.per_peer.get(&peer).copied().unwrap_or(0)
    }

    /// Whole seconds that a mapping has lived.
    pub fn age(&self, now: Instant, mapping: &Mapping) -> u32 {
        self.seconds(now).saturating_sub(mapping.created)
    }
}

fn decrease<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let Some(count) = counts.get_mut(&key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
