//! The negotiation client and the VAT without I/O: packets, answers and kernel states go in by `handle_*`, what is
//! to be done comes out of [`Engine::poll_output`], when to come back out of [`Engine::poll_timeout`].
//!
//! Paper 001, 3.2: holding (N4), request (N5), answer (N8), VAT (N9), routers without NAT-f (N10), many hosts behind
//! one router (N11), and the gateway's part of N12.

mod answer;
mod ask;
mod refuse;
mod restore;
mod watch;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{Kind, MappingKind, Random, Transaction, Transport};

use crate::{
    counters::{Counters, raise},
    exchange::Exchanges,
    flow::{Dial, Flow, Home, PacketId},
    flow_table::{Agreement, Entry, FlowTable, Live, State},
    negotiation::{Negotiation, Ping},
    outcome::{Carrier, Output, PingEvent, PingReport, Refusal, Translated},
    role::Role,
    router_memory::RouterMemory,
    sealer::Sealer,
    steps::Steps,
};

/// How long a VAT element stays in the kernel: only the first packet needs it, then connection tracking knows.
pub const ELEMENT_LIFETIME: Duration = Duration::from_secs(5);
/// The kernel's element outlives the engine's belief in it, so that a packet is never let go in vain.
pub const ELEMENT_TIMEOUT: Duration = Duration::from_secs(ELEMENT_LIFETIME.as_secs() + 5);
/// A SYN this soon after the release of another is the same one again, sent by a LAN host while it was held.
const REPEATED_SYN: Duration = Duration::from_millis(100);
/// How long the kernel may take for a VAT entry.
const CONFIRMATION: Duration = Duration::from_secs(2);
/// Ports that a gateway tries for one flow.
const PORT_TRIES: u8 = 3;

/// Bounds of the tables.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Flows in the VAT.
    pub flows: usize,
    /// Held packets of one flow.
    pub held_of_flow: usize,
    /// Held packets in all; half of them may be others than the first of their flow.
    pub held: usize,
}

impl Default for Limits {
    fn default() -> Self {
        // A socket's send buffer as Linux makes it is used up by 256 small datagrams: no local program exceeds that.
        Self { flows: 8192, held_of_flow: 256, held: 2048 }
    }
}

/// What happens to flows to a home without key whose router never answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silent {
    /// The application gets an error.
    #[default]
    Refuse,
    /// The router itself is dialled, as without NAT-f (N10).
    Release,
}

/// What an [`Engine`] is made of.
pub struct Settings {
    /// Host or gateway.
    pub role: Role,
    /// Bounds.
    pub limits: Limits,
    /// The configured homes.
    pub homes: Vec<Home>,
    /// For homes without key.
    pub silent: Silent,
    /// Seconds since 1970; counters of requests start above those of every earlier run.
    pub unix_seconds: u64,
    /// Source of transactions and nonces.
    pub random: Box<dyn Random>,
}

/// A flow as `status` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRow {
    /// The flow.
    pub flow: Flow,
    /// The name dialled.
    pub name: Rc<str>,
    /// Its outside source.
    pub source: SocketAddrV4,
    /// Where it is translated to, once that is known.
    pub mapped: Option<SocketAddrV4>,
    /// `negotiating`, `confirming`, `open`, `established` or `ending`.
    pub state: &'static str,
    /// `nat-f`, `direct` or `plain` (N10), once that is known.
    pub way: Option<&'static str>,
}

/// The external node.
#[derive(Debug)]
pub struct Engine {
    role: Role,
    limits: Limits,
    silent: Silent,
    homes: BTreeMap<Rc<str>, Rc<Home>>,
    sealer: Sealer,
    memory: RouterMemory,
    flows: FlowTable,
    exchanges: Exchanges,
    refusals: HashMap<(Transport, SocketAddrV4), (Instant, Refusal)>,
    held: usize,
    outputs: VecDeque<Output>,
    counters: Counters,
    /// Times of the steps (N17); the caller adds those that it alone can see.
    pub steps: Steps,
}

impl Engine {
    /// An engine without flows.
    pub fn new(settings: Settings) -> Self {
        let mut engine = Self {
            role: settings.role,
            limits: settings.limits,
            silent: settings.silent,
            homes: BTreeMap::new(),
            sealer: Sealer::new(settings.unix_seconds << 24, settings.random),
            memory: RouterMemory::default(),
            flows: FlowTable::default(),
            exchanges: Exchanges::default(),
            refusals: HashMap::new(),
            held: 0,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            steps: Steps::default(),
        };
        engine.handle_reload(settings.homes, settings.silent);
        engine
    }

    /// Takes a new configuration; flows go on.
    pub fn handle_reload(&mut self, homes: Vec<Home>, silent: Silent) {
        self.silent = silent;
        self.homes = homes.into_iter().map(|home| (home.name.clone(), Rc::new(home))).collect();
        self.refusals.clear();
    }

    /// Takes a packet to a virtual address that is held in the kernel's queue (N4). `start` says that it opens a
    /// connection (TCP SYN); `dial` is what the name relation table knows of its destination.
    pub fn handle_first_packet(
        &mut self,
        now: Instant,
        packet: PacketId,
        flow: Flow,
        start: bool,
        dial: Option<Dial>,
    ) {
        let Some(entry) = self.flows.get_mut(&flow) else {
            return self.begin_for_packet(now, packet, flow, dial, None);
        };
        match &mut entry.state {
            State::Negotiating(negotiation) => hold(
                &mut negotiation.held,
                packet,
                self.limits,
                &mut self.held,
                &mut self.counters,
                &mut self.outputs,
            ),
            State::Confirming { held, .. } => {
                hold(held, packet, self.limits, &mut self.held, &mut self.counters, &mut self.outputs)
            }
            // It was in the queue already when the packets before it were released. What a former run translated has no
            // VAT element any more.
            State::Live(live)
                if !live.restored
                    && now < live.since + if start { REPEATED_SYN } else { ELEMENT_LIFETIME } =>
            {
                self.outputs.push_back(Output::Release { packets: vec![packet] });
                raise(&mut self.counters.released);
            }
            State::Live(live) => {
                // Connection tracking lost the flow, so the router's mapping may still be good; a new connection
                // needs a new one, because the old one may be in TIME_WAIT.
                let kept = (!start && !live.restored)
                    .then_some(entry.transaction)
                    .filter(|_| !self.role.is_gateway());
                if kept.is_none() {
                    self.ask_end_once(now, flow);
                }
                self.remove(now, &flow);
                self.begin_for_packet(now, packet, flow, dial, kept);
            }
            State::Ending { .. } => {
                self.remove(now, &flow);
                self.begin_for_packet(now, packet, flow, dial, None);
            }
        }
    }

    /// Negotiates for a person: the mapping is ended as soon as it is granted, and [`Output::Pinged`] tells the
    /// course of it.
    pub fn handle_ping(&mut self, now: Instant, id: u64, flow: Flow, dial: Dial) {
        let report = PingReport { id, name: dial.name.clone(), flow, events: Vec::new() };
        let ping = Ping { report, started: now };
        match self.flows.get(&flow) {
            Some(_) => self.finish_ping(now, ping, PingEvent::Refused(Refusal::NoPort)),
            None => self.begin(now, flow, dial, Negotiation::new(Vec::new(), Some(ping)), None),
        }
    }

    /// Takes fresh addresses of the router behind a virtual address; none where the name has none any more.
    pub fn handle_targets(&mut self, now: Instant, address: Ipv4Addr, targets: &[Ipv4Addr]) {
        let waiting: Vec<Flow> = self
            .flows
            .sorted()
            .into_iter()
            .filter(|(flow, entry)| {
                *flow.destination.ip() == address && matches!(entry.state, State::Negotiating(_))
            })
            .map(|(flow, _)| *flow)
            .collect();
        for flow in waiting {
            let Some(entry) = self.flows.get_mut(&flow) else { continue };
            let State::Negotiating(negotiation) = &mut entry.state else { continue };
            if targets.is_empty() && negotiation.awaits_targets {
                self.refuse_flow(now, flow, Refusal::NoTarget);
            } else if !targets.is_empty()
                && (negotiation.awaits_targets || !is_same_set(&entry.dial.targets, targets))
            {
                entry.dial.targets = targets.to_vec();
                negotiation.restart();
                self.next_try(now, flow);
            }
        }
    }

    /// The kernel's word on a VAT entry: only now the packets may pass.
    pub fn handle_translated(&mut self, now: Instant, flow: &Flow, result: Translated) {
        let Some(entry) = self.flows.get_mut(flow) else { return };
        let State::Confirming { agreement, held, port_tries } = &mut entry.state else { return };
        let (agreement, port_tries) = (*agreement, *port_tries);
        match result {
            Translated::Confirmed => {
                let packets = std::mem::take(held);
                entry.state = State::Live(Live::new(agreement, now, false));
                self.held = self.held.saturating_sub(packets.len());
                self.counters.released = self.counters.released.saturating_add(packets.len() as u64);
                self.outputs.push_back(Output::Release { packets });
                self.flows.set_deadline(flow, now + watch::first_look(&agreement));
            }
            Translated::PortTaken if port_tries < PORT_TRIES => {
                raise(&mut self.counters.port_taken);
                let held = std::mem::take(held);
                let dial = entry.dial.clone();
                self.ask_end_once(now, *flow);
                // The port stays taken while the next one is chosen.
                let source = entry_source(&self.flows, flow);
                let mut negotiation = Negotiation::new(held, None);
                negotiation.port_tries = port_tries + 1;
                self.forget_exchanges(flow);
                self.flows.remove(flow);
                self.begin(now, *flow, dial, negotiation, None);
                source.into_iter().for_each(|source| self.role.return_source(flow, source));
            }
            Translated::PortTaken | Translated::Failed => {
                raise(&mut self.counters.kernel_failed);
                self.ask_end_once(now, *flow);
                self.refuse_flow(now, *flow, Refusal::Kernel);
            }
        }
    }

    /// The network changed: what was learnt of routers is void, and flows from addresses that are gone are dropped.
    pub fn handle_network_change(&mut self, now: Instant, addresses: &[Ipv4Addr]) {
        self.memory.clear();
        self.refusals.clear();
        let gone: Vec<Flow> = self
            .flows
            .sorted()
            .into_iter()
            .filter(|(_, entry)| !addresses.contains(entry.source.ip()))
            .map(|(flow, _)| *flow)
            .collect();
        for flow in gone {
            raise(&mut self.counters.flows_source_gone);
            if self.role.is_gateway() {
                // The LAN host is still there: its next packet negotiates from the new address.
                self.outputs.push_back(Output::Forget { flow });
            }
            self.refuse_flow(now, flow, Refusal::SourceGone);
        }
    }

    /// The gateway's outside address is another one now (N12).
    pub fn handle_outside_address(&mut self, now: Instant, address: Ipv4Addr) {
        self.role.set_address(address);
        self.handle_network_change(now, &[address]);
    }

    /// Does what has become due.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(flow) = self.flows.pop_due(now) {
            let Some(entry) = self.flows.get(&flow) else { continue };
            match &entry.state {
                State::Negotiating(_) => self.next_try(now, flow),
                State::Confirming { .. } => self.handle_translated(now, &flow, Translated::Failed),
                State::Live(_) => self.watch(now, flow),
                State::Ending { .. } => self.end_again(now, flow),
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.flows.next_deadline()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Whether the router is known to run no NAT-f, so that names need not be rewritten for it (N10).
    pub fn is_not_capable(&self, router: Ipv4Addr, now: Instant) -> bool {
        self.memory.is_not_capable(router, now)
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Counts a call to the kernel that failed.
    pub fn count_failed_call(&mut self) {
        raise(&mut self.counters.kernel_calls_failed);
    }

    /// Held packets.
    pub fn held(&self) -> usize {
        self.held
    }

    /// All flows, in order.
    pub fn flows(&self) -> Vec<FlowRow> {
        let row = |(flow, entry): (&Flow, &Entry)| FlowRow {
            flow: *flow,
            name: entry.dial.name.clone(),
            source: entry.source,
            mapped: entry.agreement().map(|agreement| agreement.mapped),
            state: entry.state_name(),
            way: entry.agreement().map(|agreement| match agreement.kind {
                None => "plain",
                Some(MappingKind::Direct) => "direct",
                Some(_) => "nat-f",
            }),
        };
        self.flows.sorted().into_iter().map(row).collect()
    }

    fn begin_for_packet(
        &mut self,
        now: Instant,
        packet: PacketId,
        flow: Flow,
        dial: Option<Dial>,
        kept: Option<Transaction>,
    ) {
        let Some(dial) = dial else {
            raise(&mut self.counters.unknown_address);
            return self.refuse_packet(packet, Refusal::UnknownAddress);
        };
        if let Some(why) = self.refused_before(now, &flow) {
            raise(&mut self.counters.refused_again);
            return self.refuse_packet(packet, why);
        }
        if self.held >= self.limits.held {
            raise(&mut self.counters.held_too_many);
            return self.refuse_packet(packet, Refusal::TooManyHeld);
        }
        self.held += 1;
        raise(&mut self.counters.held);
        self.begin(now, flow, dial, Negotiation::new(vec![packet], None), kept);
    }

    fn begin(
        &mut self,
        now: Instant,
        flow: Flow,
        dial: Dial,
        mut negotiation: Negotiation,
        kept: Option<Transaction>,
    ) {
        let Some(home) = self.homes.get(&dial.home).cloned() else {
            return self.refuse_negotiation(now, &flow, &dial, negotiation, Refusal::UnknownHome);
        };
        if !self.make_room(now) {
            return self.refuse_negotiation(now, &flow, &dial, negotiation, Refusal::TableFull);
        }
        let Some(source) = self.role.take_source(&flow, &mut *self.sealer.random) else {
            return self.refuse_negotiation(now, &flow, &dial, negotiation, Refusal::NoPort);
        };
        if !dial.fresh {
            // A key tells the right router from the one that has its address now; without a key only DNS does.
            negotiation.awaits_targets = home.keys.is_none() || dial.targets.is_empty();
            negotiation.asked_dns = true;
            self.outputs.push_back(Output::Resolve { address: *flow.destination.ip() });
        }
        let target = dial.targets.first().copied();
        let known_plain = home.keys.is_none()
            && !negotiation.awaits_targets
            && target.is_some_and(|target| self.is_plain(target, now));
        let transaction = kept.unwrap_or_else(|| Transaction(self.sealer.random.u64()));
        let state = State::Negotiating(Box::new(negotiation));
        self.flows.insert(flow, Entry::new(dial, home, transaction, source, state));
        match target {
            Some(target) if known_plain => self.go_plain(now, flow, target),
            _ => self.next_try(now, flow),
        }
    }

    /// Whether a router without key is to be dialled itself at once.
    fn is_plain(&self, router: Ipv4Addr, now: Instant) -> bool {
        match self.silent {
            Silent::Release => self.memory.is_not_capable(router, now),
            Silent::Refuse => self.memory.has_mirrored(router, now),
        }
    }

    /// The router itself is dialled, as without NAT-f (N10).
    fn go_plain(&mut self, now: Instant, flow: Flow, router: Ipv4Addr) {
        raise(&mut self.counters.plain);
        let mapped = SocketAddrV4::new(router, flow.destination.port());
        self.agree(now, flow, Agreement { router, carrier: Carrier::Icmp, mapped, kind: None });
    }

    /// Asks the kernel for the VAT entry (N9).
    fn agree(&mut self, now: Instant, flow: Flow, agreement: Agreement) {
        self.forget_exchanges(&flow);
        let Some(entry) = self.flows.get_mut(&flow) else { return };
        let State::Negotiating(negotiation) = &mut entry.state else { return };
        if let Some(ping) = negotiation.ping.take() {
            return self.end_ping(now, flow, agreement, ping);
        }
        let (held, port_tries) = (std::mem::take(&mut negotiation.held), negotiation.port_tries);
        entry.state = State::Confirming { agreement, held, port_tries };
        let source = self.role.is_gateway().then_some(entry.source);
        self.outputs.push_back(Output::Translate { flow, to: agreement.mapped, source });
        self.flows.set_deadline(&flow, now + CONFIRMATION);
    }

    fn make_room(&mut self, now: Instant) -> bool {
        if self.flows.len() < self.limits.flows {
            return true;
        }
        let Some(flow) = self.flows.least_missed() else { return false };
        raise(&mut self.counters.flows_forgotten);
        self.remove(now, &flow);
        true
    }

    /// Removes a flow with all that belongs to it.
    fn remove(&mut self, now: Instant, flow: &Flow) -> Option<Entry> {
        self.forget_exchanges(flow);
        self.withdraw(now, flow);
        let entry = self.flows.remove(flow)?;
        self.role.return_source(flow, entry.source);
        Some(entry)
    }

    /// Takes the flow's VAT element back, if it may still stand: it would translate what a new socket on the same
    /// port sends, past a refusal and past a daemon that is down.
    fn withdraw(&mut self, now: Instant, flow: &Flow) {
        let to = match self.flows.get(flow).map(|entry| &entry.state) {
            Some(State::Confirming { agreement, .. }) => agreement.mapped,
            Some(State::Live(live)) if now < live.since + ELEMENT_TIMEOUT => live.agreement.mapped,
            _ => return,
        };
        self.outputs.push_back(Output::Withdraw { flow: *flow, to });
    }

    fn forget_exchanges(&mut self, flow: &Flow) {
        let Some(entry) = self.flows.get_mut(flow) else { return };
        entry.asked.drain(..).for_each(|key| self.exchanges.remove(&key));
    }

    /// Tells the router that the flow's mapping is not needed, and does not wait for an answer.
    fn ask_end_once(&mut self, now: Instant, flow: Flow) {
        let Some(entry) = self.flows.get(&flow) else { return };
        let agreement = entry.agreement().filter(Agreement::is_kept_by_router);
        if let Some(agreement) = agreement {
            self.ask(now, flow, Kind::EndRequest, agreement.router, agreement.carrier);
        }
    }
}

/// Holds a further packet of a flow. Where there is no place, the oldest stay and this one is lost: a refusal would
/// make the application give up a flow that is about to work.
fn hold(
    held: &mut Vec<PacketId>,
    packet: PacketId,
    limits: Limits,
    total: &mut usize,
    counters: &mut Counters,
    outputs: &mut VecDeque<Output>,
) {
    let counter = if held.len() >= limits.held_of_flow {
        &mut counters.held_too_many_of_flow
    } else if *total >= limits.held / 2 {
        &mut counters.held_too_many
    } else {
        raise(&mut counters.held);
        *total += 1;
        return held.push(packet);
    };
    raise(counter);
    outputs.push_back(Output::Drop { packet });
}

/// Some DNS servers turn the order with every answer.
fn is_same_set(one: &[Ipv4Addr], other: &[Ipv4Addr]) -> bool {
    one.len() == other.len() && one.iter().all(|address| other.contains(address))
}

fn entry_source(flows: &FlowTable, flow: &Flow) -> Option<SocketAddrV4> {
    flows.get(flow).map(|entry| entry.source)
}
