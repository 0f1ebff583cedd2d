//! A mapping is forced (N7): from the ACT's yes to the entry that stands in the kernel, or to the refusal.
//!
//! ```text
//! make_mapping ─▶ Output::Insert ─▶ handle_inserted ─ stands ─▶ grant                          source known
//!              │                                     '─ taken ─▶ the next port, again
//!              '─▶ Output::Await ─▶ handle_awaiting ─▶ grant … handle_first_packet ─▶ Insert   NAT before the EN
//! ```

use std::net::{Ipv4Addr, SocketAddrV4};

use natf_proto::{HostName, KeyId, MappingKind, MappingRequest, Reason, Transport};

use super::{
    counters::Counter,
    guide_flow::Guided,
    mapping::{Mapping, MappingId, Stage, without_port},
    output::{Arrival, Await, Entry, FirstFlow, FirstPacket, Now, Output, Shown},
    router::Router,
};

/// How often another port is tried where the kernel says that somebody has it.
pub(super) const PORT_TRIES: u8 = 16;

/// A question that is answered when the kernel has done its part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    pub arrival: Arrival,
    pub request: MappingRequest,
    pub counter: u64,
    pub tries: u8,
    /// When it was asked, in unix seconds.
    pub unix: u64,
}

/// What happens when the kernel has done its part.
#[derive(Debug, Clone, Copy)]
pub(super) enum Waiting {
    Answer(Question),
    FirstPacket(u32),
    Guided(Guided),
}

impl Router {
    /// The same transaction again: a retransmission or a refresh. It gets the same mapping.
    pub(super) fn handle_repeated(&mut self, id: MappingId, question: Question) {
        self.counters.count(Counter::Repeated);
        let Some(mapping) = self.mappings.find(id).copied() else { return };
        let request = &question.request;
        let exact = mapping.kind == MappingKind::Exact;
        let same = mapping.transport == request.transport
            && mapping.inside.port() == request.destination.port()
            && self.names.name(mapping.host) == Some(&request.host)
            && mapping.source.ip() == &question.arrival.from
            && (!exact || mapping.source.port() == request.source.port());
        if !same {
            return self.counters.count(Counter::TransactionReused);
        }
        let timeout = self.limits.pending;
        match mapping.stage {
            // The kernel's confirmation is under way, and so is the answer.
            Stage::Inserting => return,
            Stage::Awaiting => {
                self.outputs.push_back(Output::Await { id, element: awaited(&mapping), timeout });
            }
            Stage::Live => self.outputs.push_back(Output::Renew { id, entry: entry(&mapping), timeout }),
        }
        self.waiting.insert(id, Waiting::Answer(question));
    }

    pub(super) fn make_mapping(
        &mut self,
        now: Now,
        peer: KeyId,
        question: Question,
        inside: SocketAddrV4,
    ) -> Result<(), Reason> {
        let request = &question.request;
        // A source that differs from what the EN believes is that of a NAT, which changes ports, too.
        let exact = request.source.ip() == &question.arrival.from;
        let kind = if exact { MappingKind::Exact } else { MappingKind::AwaitsFirstPacket };
        let source = if exact { request.source } else { without_port(question.arrival.from) };
        let host = self.names.number(&request.host).ok_or(Reason::TableFull)?;
        if exact {
            self.end_former(now, peer, request.transport, source, inside)?;
        }
        self.check_limits(peer, host)?;
        let created = self.seconds(now.instant);
        let mapped = self.pick_port(request.transport, source, question.arrival.to).ok_or(Reason::Busy)?;
        let mapping = Mapping {
            transaction: Some(request.transaction),
            source,
            mapped,
            inside,
            transport: request.transport,
            peer,
            host,
            created,
            due: 0,
            stage: Stage::Inserting,
            kind,
        };
        let id = self.add(mapping).ok_or(Reason::TableFull)?;
        self.waiting.insert(id, Waiting::Answer(question));
        let timeout = self.limits.pending;
        self.outputs.push_back(match kind {
            MappingKind::AwaitsFirstPacket => Output::Await { id, element: awaited(&mapping), timeout },
            _ => Output::Insert { id, entry: entry(&mapping), timeout, shown: Shown::Source },
        });
        Ok(())
    }

    /// The EN uses its source port anew: the flow of before is over, and its entry would be in the way.
    fn end_former(
        &mut self,
        now: Now,
        peer: KeyId,
        transport: Transport,
        source: SocketAddrV4,
        inside: SocketAddrV4,
    ) -> Result<(), Reason> {
        let Some(id) = self.mappings.by_inside(transport, source, inside) else { return Ok(()) };
        let former = self.mappings.find(id).map(|mapping| mapping.peer);
        if former.is_some_and(|former| former != peer) {
            return Err(Reason::Busy);
        }
        self.end(now, id, Counter::Ended);
        Ok(())
    }

    pub(super) fn check_limits(&self, peer: KeyId, host: u16) -> Result<(), Reason> {
        let of_peer = self.per_peer.get(&peer).copied().unwrap_or(0);
        let of_host = self.per_host.get(&host).copied().unwrap_or(0);
        let limit = if peer == KeyId::ANONYMOUS { self.limits.max_anyone } else { self.limits.max_per_peer };
        let full = self.mappings.len() >= self.limits.max_mappings
            || of_peer >= limit
            || of_host >= self.limits.max_per_host;
        if full { Err(Reason::TableFull) } else { Ok(()) }
    }

    /// Whether there is room for one more mapping of this peer to this host.
    pub fn has_room(&self, peer: KeyId, host: &HostName) -> bool {
        // A host without a number has no mapping, and no table has so many names that the last number is taken.
        self.check_limits(peer, self.names.find(host).unwrap_or(u16::MAX)).is_ok()
    }

    /// The next port that neither rests nor is ours already; the kernel knows of all others.
    fn pick_port(
        &mut self,
        transport: Transport,
        source: SocketAddrV4,
        address: Ipv4Addr,
    ) -> Option<SocketAddrV4> {
        for _ in 0..=PORT_TRIES {
            let mapped = SocketAddrV4::new(address, self.ports.take());
            let taken = self.mappings.is_resting(transport, source, mapped)
                || self.mappings.by_outside(transport, source, mapped).is_some();
            if !taken {
                return Some(mapped);
            }
        }
        None
    }

    /// The kernel's answer to [`Output::Insert`] and [`Output::Renew`].
    ///
    /// An answer for an entry that the mapping no longer has is ignored: its number may be another mapping's by now.
    pub fn handle_inserted(&mut self, now: Now, id: MappingId, inserted: &Entry, result: Inserted) {
        let Some(mapping) = self.mappings.find(id).copied().filter(|mapping| entry(mapping) == *inserted)
        else {
            return;
        };
        let Some(waiting) = self.waiting.remove(&id) else { return };
        match (waiting, result) {
            (Waiting::Answer(question), Inserted::Done) => {
                self.go_live(now, id, &mapping, Counter::Mapped);
                self.grant(mapping.peer, &question, mapping.kind, mapping.mapped);
            }
            (Waiting::Answer(question), Inserted::Taken) if question.tries < PORT_TRIES => {
                self.counters.count(Counter::PortTaken);
                self.try_next_port(now, id, &mapping, question);
            }
            (Waiting::Answer(question), _) => {
                self.counters.count(Counter::KernelRefused);
                self.discard(now, id);
                self.refuse(mapping.peer, &question, Reason::Busy);
            }
            (Waiting::Guided(guided), result) => self.handle_led(now, id, &mapping, guided, result),
            (Waiting::FirstPacket(packet), Inserted::Done) => {
                self.outputs.push_back(Output::Unawait(awaited(&mapping)));
                self.go_live(now, id, &mapping, Counter::FirstPackets);
                self.outputs.push_back(Output::Release(packet));
            }
            (Waiting::FirstPacket(packet), _) => {
                // A packet of a flow that conntrack knows already: it goes its way and spends nothing.
                self.counters.count(Counter::FirstPacketsUnmatched);
                self.mappings.update(id, |mapping| {
                    mapping.source.set_port(0);
                    mapping.stage = Stage::Awaiting;
                });
                self.mappings.schedule(id, self.seconds(now.instant).saturating_add(self.pending_seconds()));
                self.outputs.push_back(Output::Release(packet));
            }
        }
    }

    pub(super) fn go_live(&mut self, now: Now, id: MappingId, mapping: &Mapping, why: Counter) {
        if mapping.stage == Stage::Live {
            return;
        }
        self.counters.count(why);
        self.mappings.update(id, |mapping| mapping.stage = Stage::Live);
        self.mappings.schedule(id, self.seconds(now.instant).saturating_add(self.pending_seconds()));
    }

    fn try_next_port(&mut self, now: Now, id: MappingId, mapping: &Mapping, question: Question) {
        match self.pick_port(mapping.transport, mapping.source, *mapping.mapped.ip()) {
            Some(mapped) => {
                self.mappings.update(id, |mapping| mapping.mapped = mapped);
                let question = Question { tries: question.tries + 1, ..question };
                self.waiting.insert(id, Waiting::Answer(question));
                let entry = entry(&Mapping { mapped, ..*mapping });
                // Somebody may have this port, or this source towards this host: a static forward, say.
                let (timeout, shown) = (self.limits.pending, Shown::SourceOrOtherPort);
                self.outputs.push_back(Output::Insert { id, entry, timeout, shown });
            }
            None => {
                self.discard(now, id);
                self.refuse(mapping.peer, &question, Reason::Busy);
            }
        }
    }

    /// The kernel's answer to [`Output::Await`].
    pub fn handle_awaiting(&mut self, now: Now, id: MappingId, element: &Await, done: bool) {
        if self.mappings.find(id).is_none_or(|mapping| awaited(mapping) != *element) {
            return;
        }
        let Some(Waiting::Answer(question)) = self.waiting.remove(&id) else { return };
        let Some(mapping) = self.mappings.find(id).copied() else { return };
        if !done {
            self.counters.count(Counter::KernelRefused);
            self.discard(now, id);
            return self.refuse(mapping.peer, &question, Reason::Busy);
        }
        if mapping.stage == Stage::Inserting {
            self.counters.count(Counter::Mapped);
        }
        self.mappings.update(id, |mapping| mapping.stage = Stage::Awaiting);
        self.mappings.schedule(id, self.seconds(now.instant).saturating_add(self.pending_seconds()));
        self.grant(mapping.peer, &question, mapping.kind, mapping.mapped);
    }

    /// A packet that the capture rules caught: for an awaiting mapping, whose source port is what was missing, or
    /// because its source has a row in the guide table (T7).
    pub fn handle_first_packet(&mut self, now: Now, first: &FirstPacket) {
        let FirstPacket { packet, flow: FirstFlow { transport, source, destination }, .. } = *first;
        let unknown = without_port(*source.ip());
        let found = self.mappings.by_outside(transport, unknown, destination);
        let awaiting = found.and_then(|id| self.mappings.find(id).map(|mapping| (id, *mapping)));
        let Some((id, mapping)) = awaiting.filter(|(_, mapping)| mapping.stage == Stage::Awaiting) else {
            return self.handle_guided_packet(now, first);
        };
        self.mappings.update(id, |mapping| {
            mapping.source = source;
            mapping.stage = Stage::Inserting;
        });
        self.waiting.insert(id, Waiting::FirstPacket(packet));
        let entry = entry(&Mapping { source, ..mapping });
        let (timeout, shown) = (self.limits.pending, Shown::Source);
        self.outputs.push_back(Output::Insert { id, entry, timeout, shown });
    }
}

/// The kernel's answer to an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inserted {
    /// The entry stands.
    Done,
    /// Somebody has this port, or this pair of addresses (EEXIST).
    Taken,
    /// No room (ENOMEM), or another error.
    Refused,
}

pub(super) fn entry(mapping: &Mapping) -> Entry {
    let Mapping { transport, source, mapped, inside, peer, .. } = *mapping;
    Entry { transport, source, mapped, inside, peer }
}

pub(super) fn awaited(mapping: &Mapping) -> Await {
    Await { transport: mapping.transport, source: *mapping.source.ip(), mapped: mapping.mapped }
}
