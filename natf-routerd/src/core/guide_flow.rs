//! First packets of clients that were announced (T7): each waits in the kernel until its flow has an entry.
//!
//! ```text
//! handle_first_packet ─▶ Output::Look ─▶ handle_looked ─ known to conntrack: goes on, spends nothing
//!   a second one of the flow                 │ row, turn (T9), limits       no row fits: goes on untouched (T8)
//!   waits behind the first                   ▼
//!                                      Output::Insert ─▶ handle_inserted ─▶ Output::Release of all, in their order
//! ```

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use natf_proto::{HostName, KeyId, MappingKind, Reason, Transport};

use super::{
    counters::Counter,
    forcing::{Inserted, PORT_TRIES, Waiting, entry},
    guide::{Candidate, Chosen, GuideTable},
    guide_notice::Caught,
    guide_passing::{Passed, Passing},
    mapping::{Mapping, MappingId, Stage},
    output::{FirstFlow, FirstPacket, Now, Output, Shown},
    router::Router,
};

/// The part of a TSN server's flows that one client's address may have.
const SHARE_OF_SOURCE: u32 = 4;

/// Everything about announced clients.
#[derive(Debug, Default)]
pub(super) struct Guide {
    pub table: GuideTable,
    pub caught: BTreeMap<Ipv4Addr, Caught>,
    /// Bounded by the kernel's queue, where the packets are.
    held: BTreeMap<FirstFlow, Held>,
    pub passing: Passing,
}

/// Packets of one flow that wait for its entry.
#[derive(Debug)]
struct Held {
    packets: Vec<u32>,
    inside: bool,
}

/// A flow whose entry is on its way into the kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guided {
    flow: FirstFlow,
    chosen: Chosen,
    shown: Shown,
    tries: u8,
}

impl Router {
    /// A caught packet that no mapping awaits.
    pub(super) fn handle_guided_packet(&mut self, now: Now, first: &FirstPacket) {
        let FirstPacket { packet, flow, inside } = *first;
        if let Some(held) = self.guide.held.get_mut(&flow) {
            return held.packets.push(packet);
        }
        let guided = self.sources(flow, inside).any(|source| self.guide.caught.contains_key(&source));
        if !guided {
            self.counters.count(Counter::FirstPacketsUnmatched);
            return self.outputs.push_back(Output::Release(packet));
        }
        self.guide.held.insert(flow, Held { packets: vec![packet], inside });
        if self.candidates(now, flow, inside).is_empty() {
            self.counters.count(Counter::GuideUnmatched);
            return self.let_go(now, flow);
        }
        self.outputs.push_back(Output::Look(flow));
    }

    /// By which addresses a TSN server may have announced a client: one at home dials from its own, but the server may
    /// see it by the router's, which is the one it dials.
    fn sources(&self, flow: FirstFlow, inside: bool) -> impl Iterator<Item = Ipv4Addr> {
        let seen = inside.then_some(*flow.destination.ip());
        [Some(*flow.source.ip()), seen].into_iter().flatten()
    }

    /// The living rows whose hosts allow the flow.
    fn candidates(&self, now: Now, flow: FirstFlow, inside: bool) -> Vec<Candidate> {
        let seconds = self.seconds(now.instant);
        let rows = self.sources(flow, inside).flat_map(|source| self.guide.table.rows_of(source, seconds));
        let port = flow.destination.port();
        rows.filter_map(|key| {
            let host = self.names.name(key.host)?;
            let inside = self.decide(key.peer, host, flow.transport, port, now.unix).ok()?;
            Some(Candidate { key, inside })
        })
        .collect()
    }

    /// The kernel's answer to [`Output::Look`].
    pub fn handle_looked(&mut self, now: Now, flow: FirstFlow, known: bool) {
        let Some(inside) = self.guide.held.get(&flow).map(|held| held.inside) else { return };
        if known {
            self.counters.count(Counter::GuidePassed);
            return self.let_go(now, flow);
        }
        let candidates = self.candidates(now, flow, inside);
        let Some(chosen) = self.guide.table.choose(self.seconds(now.instant), &candidates) else {
            self.counters.count(Counter::GuideUnmatched);
            return self.let_go(now, flow);
        };
        let shown = match inside {
            true => Shown::Router(SocketAddrV4::new(*flow.destination.ip(), flow.source.port())),
            false => Shown::Source,
        };
        let guided = Guided { flow, chosen, shown, tries: 0 };
        if let Err(reason) = self.lead(now, guided) {
            self.counters.refuse(reason);
            self.give_up(&guided);
            // Nobody tells the end of an announced flow: there may be room by the time the client tries again.
            self.look_for_ended(now, chosen.candidate.key.peer);
        }
    }

    /// The kernel cannot tell whether it knows a flow: its packets must neither reach the router's own services nor
    /// begin a flow that there is already. They are dropped, and the next one tries again.
    pub fn handle_look_failed(&mut self, flow: FirstFlow) {
        self.drop_held(flow);
    }

    /// Completes the row with the flow's ports (T7).
    fn lead(&mut self, now: Now, guided: Guided) -> Result<(), Reason> {
        let Guided { flow, chosen, shown, .. } = guided;
        let FirstFlow { transport, source, destination } = flow;
        let Candidate { key, inside } = chosen.candidate;
        // Conntrack does not know the flow: the entry of a former one has gone.
        if let Some(former) = self.mappings.by_outside(transport, source, destination) {
            self.counters.count(Counter::TimedOut);
            self.discard(now, former);
        }
        self.check_limits(key.peer, key.host)?;
        self.check_source(*source.ip())?;
        let mapping = Mapping {
            transaction: None,
            source,
            mapped: destination,
            inside: SocketAddrV4::new(inside, destination.port()),
            transport,
            peer: key.peer,
            host: key.host,
            created: self.seconds(now.instant),
            due: 0,
            stage: Stage::Inserting,
            kind: MappingKind::Exact,
        };
        let id = self.add(mapping).ok_or(Reason::TableFull)?;
        self.waiting.insert(id, Waiting::Guided(guided));
        let (entry, timeout) = (entry(&mapping), self.limits.pending);
        self.outputs.push_back(Output::Insert { id, entry, timeout, shown });
        Ok(())
    }

    /// A TSN server has many clients: one of them, or who uses its address, gets a share of the server's flows.
    fn check_source(&self, source: Ipv4Addr) -> Result<(), Reason> {
        let flows = self.per_source.get(&source).copied().unwrap_or(0);
        let most = (self.limits.max_per_peer / SHARE_OF_SOURCE).max(1);
        if flows < most { Ok(()) } else { Err(Reason::TableFull) }
    }

    /// The kernel's answer to the insert.
    pub(super) fn handle_led(
        &mut self,
        now: Now,
        id: MappingId,
        mapping: &Mapping,
        guided: Guided,
        result: Inserted,
    ) {
        if result == Inserted::Done {
            self.go_live(now, id, mapping, Counter::Guided);
            return self.let_go(now, guided.flow);
        }
        let next = (result == Inserted::Taken && guided.tries < PORT_TRIES).then(|| self.next_shown(&guided));
        if let Some(shown) = next.flatten() {
            self.counters.count(Counter::PortTaken);
            self.waiting.insert(id, Waiting::Guided(Guided { shown, tries: guided.tries + 1, ..guided }));
            let (entry, timeout) = (entry(mapping), self.limits.pending);
            return self.outputs.push_back(Output::Insert { id, entry, timeout, shown });
        }
        self.counters.count(Counter::KernelRefused);
        self.discard(now, id);
        self.give_up(&guided);
    }

    /// Another flow has this source towards the host: what the host may be shown instead.
    fn next_shown(&mut self, guided: &Guided) -> Option<Shown> {
        match guided.shown {
            Shown::Source => Some(Shown::SourceOrOtherPort),
            Shown::SourceOrOtherPort => None,
            Shown::Router(socket) => {
                let port = u16::try_from(self.random.below(64_512)).unwrap_or(0).saturating_add(1024);
                Some(Shown::Router(SocketAddrV4::new(*socket.ip(), port)))
            }
        }
    }

    /// All packets of the flow go on, in their order.
    fn let_go(&mut self, now: Now, flow: FirstFlow) {
        for packet in self.guide.held.remove(&flow).into_iter().flat_map(|held| held.packets) {
            self.outputs.push_back(Output::Release(packet));
        }
        if flow.transport == Transport::Udp {
            match self.guide.passing.pass(self.seconds(now.instant), flow) {
                Passed::Now => self.outputs.push_back(Output::Pass(flow)),
                Passed::Already => {}
                Passed::Full => self.counters.count(Counter::PassingFull),
            }
        }
    }

    /// A flow that has a row must not reach the router's own services instead: its packets are dropped, and the
    /// client's next one tries again.
    pub(super) fn give_up(&mut self, guided: &Guided) {
        self.guide.table.give_back(&guided.chosen);
        self.drop_held(guided.flow);
    }

    fn drop_held(&mut self, flow: FirstFlow) {
        for packet in self.guide.held.remove(&flow).into_iter().flat_map(|held| held.packets) {
            self.counters.count(Counter::GuideDropped);
            self.outputs.push_back(Output::Drop(packet));
        }
    }

    /// Ends rows that the access control table does not allow any more.
    pub(super) fn revoke_rows(&mut self, now: Now) {
        let refused = |peer: KeyId, host: u16| {
            let host = self.names.name(host);
            let decided = host.map(|host| self.may_announce(now, peer, host));
            // A lease that is being written anew is no reason to end anything.
            !matches!(decided, Some(Ok(_) | Err(Reason::HostAway)))
        };
        let keys = self.guide.table.iter().map(|(key, _)| *key);
        let ended: Vec<_> = keys.filter(|key| refused(key.peer, key.host)).collect();
        for key in ended {
            self.counters.count(Counter::GuideRevoked);
            self.guide.table.remove(key);
            self.uncatch_unguided(key.source);
        }
    }

    /// Ends rows whose time has come.
    pub(super) fn expire_rows(&mut self, seconds: u32) {
        for key in self.guide.table.expire(seconds) {
            self.uncatch_unguided(key.source);
        }
    }

    /// The living rows.
    pub fn guide_rows(&self, now: Now) -> impl Iterator<Item = GuideRow<'_>> {
        let seconds = self.seconds(now.instant);
        self.guide.table.iter().filter_map(move |(key, row)| {
            let remaining = row.expires.checked_sub(seconds).filter(|left| *left > 0)?;
            let (host, waiting) = (self.names.name(key.host)?, row.waiting(seconds));
            Some(GuideRow { source: key.source, peer: key.peer, host, waiting, remaining })
        })
    }
}

/// A row of the guide table as a user sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuideRow<'a> {
    /// G3.
    pub source: Ipv4Addr,
    /// Who announced it.
    pub peer: KeyId,
    /// The private host name.
    pub host: &'a HostName,
    /// Notifications whose flow has not come yet.
    pub waiting: usize,
    /// Whole seconds.
    pub remaining: u32,
}
