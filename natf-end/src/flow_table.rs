//! The VAT, the virtual address translation table (N9): every flow to a virtual address, from its first packet until
//! its end is told to the router. The kernel translates; this table remembers what was agreed.
//!
//! ```text
//!  Negotiating ──grant──▶ Confirming ──kernel──▶ Live ──closed or gone──▶ Ending ──▶ (removed)
//!       └────refusal, silence──▶ (removed)
//! ```

use std::{
    collections::{BTreeSet, HashMap},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{Cookie, EndRequest, MappingKind, MappingRequest, Transaction};

use crate::{
    exchange::ExchangeKey,
    flow::{Dial, Flow, Home, PacketId},
    negotiation::{Negotiation, Ping},
    outcome::Carrier,
};

/// The first pause between two SYNs, and what the kernel's whole seconds leave uncertain.
const SYN_PATIENCE: Duration = Duration::from_secs(6);

/// What was agreed with a router, or decided without one (N10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Agreement {
    pub router: Ipv4Addr,
    pub carrier: Carrier,
    /// `G2:m`, `P1:d` (direct) or `G2:d` (N10).
    pub mapped: SocketAddrV4,
    /// `None`: the router itself is dialled (N10).
    pub kind: Option<MappingKind>,
}

impl Agreement {
    /// Whether the router keeps a mapping that can be refreshed and ended.
    pub fn is_kept_by_router(&self) -> bool {
        matches!(self.kind, Some(MappingKind::Exact | MappingKind::AwaitsFirstPacket))
    }
}

/// Where a flow stands.
#[derive(Debug)]
pub(crate) enum State {
    Negotiating(Box<Negotiation>),
    /// The VAT entry is on its way into the kernel.
    Confirming {
        agreement: Agreement,
        held: Vec<PacketId>,
        port_tries: u8,
    },
    Live(Live),
    Ending {
        agreement: Agreement,
        tries: u8,
        ping: Option<Ping>,
    },
}

/// A flow that the kernel translates.
#[derive(Debug)]
pub(crate) struct Live {
    pub agreement: Agreement,
    pub since: Instant,
    /// When the kernel was going to forget the flow, at the first look and at the last.
    pub expires: Option<(Instant, Instant)>,
    pub replied: bool,
    /// Found in the kernel after a restart: the transaction is unknown.
    pub restored: bool,
}

impl Live {
    /// One that was released, or found, just now.
    pub fn new(agreement: Agreement, now: Instant, is_restored: bool) -> Self {
        Self { agreement, since: now, expires: None, replied: is_restored, restored: is_restored }
    }

    /// Takes what is left of the kernel's timeout, in whole seconds.
    pub fn note_remaining(&mut self, now: Instant, remaining: Duration) {
        let expires = now + remaining;
        self.expires = Some((self.expires.map_or(expires, |(first, _)| first), expires));
    }

    /// Whether a SYN should have been repeated long ago. Every packet starts the kernel's timeout anew, so that this
    /// tells when the last one was sent; the pauses between two of them double, beginning with 3 s at most.
    pub fn is_given_up(&self, now: Instant) -> bool {
        let sent = self.expires.map_or(Duration::ZERO, |(first, last)| last.saturating_duration_since(first));
        now.saturating_duration_since(self.since) > 2 * sent + SYN_PATIENCE
    }
}

/// One flow.
#[derive(Debug)]
pub(crate) struct Entry {
    pub dial: Dial,
    pub home: Rc<Home>,
    pub transaction: Transaction,
    /// `G1:s`, and `G1:m1` in a gateway.
    pub source: SocketAddrV4,
    pub cookie: Option<(Ipv4Addr, Cookie)>,
    /// Questions that may still be answered.
    pub asked: Vec<ExchangeKey>,
    pub state: State,
    deadline: Option<Instant>,
}

impl Entry {
    pub fn new(
        dial: Dial,
        home: Rc<Home>,
        transaction: Transaction,
        source: SocketAddrV4,
        state: State,
    ) -> Self {
        Self { dial, home, transaction, source, cookie: None, asked: Vec::new(), state, deadline: None }
    }

    pub fn request(&self, flow: &Flow, router: Ipv4Addr) -> MappingRequest {
        MappingRequest {
            transaction: self.transaction,
            source: self.source,
            destination: SocketAddrV4::new(router, flow.destination.port()),
            transport: flow.transport,
            host: self.dial.host,
        }
    }

    pub fn end_request(&self, flow: &Flow, mapped: SocketAddrV4) -> EndRequest {
        EndRequest { transaction: self.transaction, source: self.source, mapped, transport: flow.transport }
    }

    pub fn agreement(&self) -> Option<Agreement> {
        match &self.state {
            State::Negotiating(_) => None,
            State::Confirming { agreement, .. } | State::Ending { agreement, .. } => Some(*agreement),
            State::Live(live) => Some(live.agreement),
        }
    }

    /// Name of the state for people.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::Negotiating(_) => "negotiating",
            State::Confirming { .. } => "confirming",
            State::Live(live) if live.replied => "established",
            State::Live(_) => "open",
            State::Ending { .. } => "ending",
        }
    }
}

/// All flows, and the time at which each has to be looked at next.
#[derive(Debug, Default)]
pub(crate) struct FlowTable {
    flows: HashMap<Flow, Entry>,
    timers: BTreeSet<(Instant, Flow)>,
}

impl FlowTable {
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    pub fn get(&self, flow: &Flow) -> Option<&Entry> {
        self.flows.get(flow)
    }

    pub fn get_mut(&mut self, flow: &Flow) -> Option<&mut Entry> {
        self.flows.get_mut(flow)
    }

    pub fn insert(&mut self, flow: Flow, entry: Entry) {
        self.remove(&flow);
        self.flows.insert(flow, entry);
    }

    pub fn remove(&mut self, flow: &Flow) -> Option<Entry> {
        let entry = self.flows.remove(flow)?;
        if let Some(deadline) = entry.deadline {
            self.timers.remove(&(deadline, *flow));
        }
        Some(entry)
    }

    /// Sets when the flow is due; replaces an earlier setting.
    pub fn set_deadline(&mut self, flow: &Flow, deadline: Instant) {
        let Some(entry) = self.flows.get_mut(flow) else { return };
        if let Some(old) = entry.deadline.replace(deadline) {
            self.timers.remove(&(old, *flow));
        }
        self.timers.insert((deadline, *flow));
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the next flow that is due; its deadline is used up.
    pub fn pop_due(&mut self, now: Instant) -> Option<Flow> {
        let (deadline, flow) = self.timers.first().copied()?;
        if deadline > now {
            return None;
        }
        self.timers.remove(&(deadline, flow));
        if let Some(entry) = self.flows.get_mut(&flow) {
            entry.deadline = None;
        }
        Some(flow)
    }

    /// The live flow that is due last: the one that is missed least.
    pub fn least_missed(&self) -> Option<Flow> {
        let is_live = |flow: &Flow| self.get(flow).is_some_and(|entry| matches!(entry.state, State::Live(_)));
        self.timers.iter().rev().map(|(_, flow)| *flow).take(64).find(is_live)
    }

    /// All flows in order.
    pub fn sorted(&self) -> Vec<(&Flow, &Entry)> {
        let mut flows: Vec<_> = self.flows.iter().collect();
        flows.sort_by_key(|(flow, _)| **flow);
        flows
    }
}
