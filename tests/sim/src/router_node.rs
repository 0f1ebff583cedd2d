//! A router: the real core, and a model of the kernel that carries out what it wants.
//!
//! ```text
//!  network ─▶ capture (sets, messages) ─ caught ─▶ core ─ Release ─┐
//!                 └────────────────────────────────────────────────┴▶ conntrack ─ known ─▶ host of the LAN, which answers
//!                                                                          └ unknown ─▶ the router itself
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{KeyId, MAGIC, Transport};
use natf_routerd::core::{
    forcing::Inserted,
    mapping::{Mapping, MappingId, Stage},
    output::{Arrival, Await, Carrier, Entry, FirstFlow, FirstPacket, Handled, Now, Output, Shown},
    router::{Lifetimes, Limits, Router},
};

use crate::{
    conntrack::{Connection, Conntrack, ESTABLISHED, NoEntry, STREAM, with_port},
    dice::Dice,
    nat::is_first,
    packet::{Data, Load, Packet, Part, Tuple},
    policy::Policy,
    sabotage::Sabotage,
};

/// Port of the UDP carrier.
pub const UDP_PORT: u16 = 4451;
/// The kernel lets a UDP flow pass for so long.
const PASSING: Duration = Duration::from_secs(60);

/// What a router did that the world has to know of.
#[derive(Debug)]
pub enum Deed {
    /// A packet leaves for the internet.
    Sends(Packet),
    /// A packet reaches a host of the LAN by this entry.
    Delivers(Packet, Connection),
    /// A packet reaches the router itself.
    Keeps(Packet),
    /// An entry was asked for, on behalf of this message if it was one.
    Maps(Entry, Option<Rc<[u8]>>),
    /// First packets from this address are waited for at that port.
    Awaits(Await, Option<Rc<[u8]>>),
    /// Counters are to be stored.
    Reserves(KeyId, u64),
}

/// A router.
pub struct RouterNode {
    /// The daemon; `None` while it is dead.
    pub core: Option<Router>,
    /// G2.
    pub address: Ipv4Addr,
    /// The home's name.
    pub domain: String,
    /// What the daemon was told.
    pub policy: Policy,
    /// What its files say.
    pub wanted: Policy,
    /// Bounds.
    pub limits: Limits,
    /// The connection table.
    pub table: Conntrack,
    /// Counters that were stored.
    pub floors: BTreeMap<KeyId, u64>,
    /// Unix seconds of this router's clock at the start of the run.
    pub clock: u64,
    /// When the daemon's timer task wakes.
    pub wakes: Instant,
    /// When the daemon looks around.
    pub looks: Instant,
    /// The kernel has no room until then.
    pub full_until: Option<Instant>,
    /// Mappings that the daemon found at its start.
    pub restored: usize,
    /// The daemon has taken a message.
    pub has_taken: bool,
    /// Deeds that nobody has taken yet.
    pub deeds: Vec<Deed>,
    /// Entries that the kernel took.
    stood: BTreeSet<(Transport, SocketAddrV4, SocketAddrV4, SocketAddrV4, KeyId)>,
    awaiting: BTreeMap<(Transport, Ipv4Addr, SocketAddrV4), Instant>,
    guide: BTreeMap<Ipv4Addr, Instant>,
    passing: BTreeMap<FirstFlow, Instant>,
    held: BTreeMap<u32, Packet>,
    next_packet: u32,
    /// The message that is being worked on.
    message: Option<Rc<[u8]>>,
    start: Instant,
    dice: Dice,
    sabotage: Option<Sabotage>,
}

impl RouterNode {
    /// A router whose daemon does not run yet.
    pub fn new(
        start: Instant,
        (address, domain): (Ipv4Addr, String),
        policy: Policy,
        limits: Limits,
        dice: Dice,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self {
            core: None,
            address,
            domain,
            wanted: policy.clone(),
            policy,
            limits,
            table: Conntrack::new(400),
            floors: BTreeMap::new(),
            clock: 1_795_000_000,
            wakes: start,
            looks: start,
            full_until: None,
            restored: 0,
            has_taken: false,
            deeds: Vec::new(),
            stood: BTreeSet::new(),
            awaiting: BTreeMap::new(),
            guide: BTreeMap::new(),
            passing: BTreeMap::new(),
            held: BTreeMap::new(),
            next_packet: 0,
            message: None,
            start,
            dice,
            sabotage,
        }
    }

    /// Both clocks.
    pub fn clocks(&self, instant: Instant) -> Now {
        let elapsed = instant.saturating_duration_since(self.start).as_secs();
        Now { instant, unix: self.clock.saturating_add(elapsed) }
    }

    /// The daemon starts: what a former run left in the kernel is found, the sets are written anew.
    pub fn start(&mut self, instant: Instant) {
        let now = self.clocks(instant);
        self.awaiting.clear();
        self.guide.clear();
        self.passing.clear();
        let lifetimes = Lifetimes { tcp: ESTABLISHED, udp: STREAM };
        let mut core = Router::new(now, self.limits, lifetimes, Box::new(self.dice.fork()));
        core.set_domains([self.domain.as_str()].into_iter());
        self.policy = self.wanted.clone();
        core.handle_config(
            now,
            self.limits,
            self.policy.access_table(),
            self.policy.peer_settings(),
            &self.floors,
        );
        let found = self.table.iter(instant).filter_map(|connection| {
            let Connection { original, reply, label, .. } = *connection;
            let Tuple { transport, source, destination: mapped } = original;
            Some(Entry { transport, source, mapped, inside: reply.source, peer: label? })
        });
        found.for_each(|entry| core.handle_restored(now, entry));
        core.finish_restoring(now, &[self.address]);
        self.restored = core.mappings().len();
        self.core = Some(core);
        (self.wakes, self.looks) = (instant + Duration::from_secs(1), instant + Duration::from_secs(2));
        self.carry_out(instant);
    }

    /// kill -9: what waited in the queue is lost.
    pub fn kill(&mut self) {
        self.core = None;
        self.held.clear();
    }

    /// SIGHUP.
    pub fn reload(&mut self, instant: Instant) {
        let now = self.clocks(instant);
        let Some(core) = &mut self.core else { return };
        self.policy = self.wanted.clone();
        let (access, peers) = (self.policy.access_table(), self.policy.peer_settings());
        core.handle_config(now, self.limits, access, peers, &self.floors);
        self.carry_out(instant);
    }

    /// `nft flush ruleset`: the daemon notices, and writes its table anew.
    pub fn flush_sets(&mut self, instant: Instant) {
        self.awaiting.clear();
        self.guide.clear();
        self.passing.clear();
        if let Some(core) = &mut self.core {
            core.handle_sets_lost(instant);
        }
        self.carry_out(instant);
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.as_ref().map(|_| self.wakes.min(self.looks))
    }

    /// Does what is due, as the daemon's timer tasks do.
    pub fn handle_timeout(&mut self, instant: Instant) {
        let now = self.clocks(instant);
        let Some(core) = &mut self.core else { return };
        if self.looks <= instant {
            self.looks = instant + Duration::from_secs(2);
            if self.sabotage != Some(Sabotage::SeesNoMove) {
                core.handle_addresses(now, &[self.address]);
            }
        }
        if self.wakes <= instant {
            core.handle_timeout(now);
            let sleep = core.poll_timeout(instant).saturating_duration_since(instant);
            self.wakes = instant + sleep.clamp(Duration::from_secs(1), Duration::from_secs(2));
        }
        self.carry_out(instant);
    }

    /// A packet from the internet.
    pub fn handle_packet(&mut self, instant: Instant, packet: Packet) {
        if packet.message().is_some_and(|bytes| bytes.starts_with(&MAGIC)) {
            return self.handle_message(instant, packet);
        }
        let Some(tuple) = packet.tuple() else { return };
        let Load::Data(data) = &packet.load else { return };
        if self.core.is_some() && self.catches(instant, &tuple, &data.part) {
            return self.queue(instant, packet, tuple);
        }
        self.route(instant, packet);
    }

    fn handle_message(&mut self, instant: Instant, packet: Packet) {
        let Some(bytes) = packet.message().cloned() else { return };
        let (carrier, mirror) = match &packet.load {
            Load::Echo { reply: true, .. } => return,
            Load::Echo { id, sequence, bytes, .. } => {
                let echo = Load::Echo { reply: true, id: *id, sequence: *sequence, bytes: bytes.clone() };
                let carrier = Carrier::Icmp { id: *id, sequence: *sequence };
                (carrier, Some(Packet { from: packet.to, to: packet.from, load: echo }))
            }
            Load::Data(data) if data.destination == UDP_PORT => {
                (Carrier::Udp { from: data.source, to: data.destination }, None)
            }
            Load::Data(_) => return,
        };
        let arrival = Arrival { from: packet.from, to: packet.to, inside: false, carrier };
        let now = self.clocks(instant);
        let handled = self.core.as_mut().map(|core| core.handle_message(now, &arrival, &bytes));
        if handled == Some(Handled::Consumed) {
            self.has_taken = true;
            self.message = Some(bytes);
            self.carry_out(instant);
            self.message = None;
        } else if let Some(mirror) = mirror {
            // The kernel answers pings (N10, T6).
            self.deeds.push(Deed::Sends(mirror));
        }
    }

    /// The capture chain.
    fn catches(&self, now: Instant, tuple: &Tuple, part: &Part) -> bool {
        let lives = |until: Option<&Instant>| until.is_some_and(|until| now < *until);
        let source = *tuple.source.ip();
        is_first(part, tuple.transport)
            && (lives(self.awaiting.get(&(tuple.transport, source, tuple.destination)))
                || (lives(self.guide.get(&source)) && !lives(self.passing.get(&first_flow(tuple)))))
    }

    fn queue(&mut self, instant: Instant, packet: Packet, tuple: Tuple) {
        self.next_packet += 1;
        let number = self.next_packet;
        self.held.insert(number, packet);
        let now = self.clocks(instant);
        let first = FirstPacket { packet: number, flow: first_flow(&tuple), inside: false };
        if let Some(core) = &mut self.core {
            core.handle_first_packet(now, &first);
        }
        self.carry_out(instant);
    }

    /// Behind the capture chain: connection tracking and its translation.
    fn route(&mut self, instant: Instant, packet: Packet) {
        let Some(tuple) = packet.tuple() else { return };
        let Load::Data(Data { part, .. }) = &packet.load else { return };
        self.table.make_way(&tuple, part);
        let Some(connection) = self.table.original(instant, &tuple).copied() else {
            return self.deeds.push(Deed::Keeps(packet));
        };
        self.table.see(instant, &tuple, part, false);
        let inside = packet.translated(connection.reply.inverse());
        self.deeds.push(Deed::Delivers(inside, connection));
    }

    /// A host's answer goes out.
    pub fn handle_answer(&mut self, instant: Instant, packet: &Packet) {
        let Some(tuple) = packet.tuple() else { return };
        let Load::Data(Data { part, .. }) = &packet.load else { return };
        let Some(connection) = self.table.reply(instant, &tuple).copied() else { return };
        self.table.see(instant, &connection.original, part, true);
        self.deeds.push(Deed::Sends(packet.translated(connection.original.inverse())));
    }

    /// A mapping that the core believes to be in the kernel, which never took its entry.
    pub fn imagined(&self) -> Option<&Mapping> {
        let never_stood = |mapping: &&Mapping| {
            let Mapping { transport, source, mapped, inside, peer, stage, .. } = **mapping;
            stage == Stage::Live && !self.stood.contains(&(transport, source, mapped, inside, peer))
        };
        self.core.as_ref()?.mappings().iter().map(|(_, mapping)| mapping).find(never_stood)
    }

    /// Packets that still wait for the daemon's word.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Elements of sets that still live.
    pub fn elements(&self, now: Instant) -> usize {
        let lives = |until: &&Instant| now < **until;
        self.awaiting.values().filter(lives).count() + self.guide.values().filter(lives).count()
    }

    /// Whether the kernel catches the first packets of this source.
    pub fn is_guided(&self, now: Instant, source: Ipv4Addr) -> bool {
        self.guide.get(&source).is_some_and(|until| now < *until)
    }

    /// Carries out what the core wants, until it wants nothing more.
    pub fn carry_out(&mut self, instant: Instant) {
        let (now, mut passes) = (self.clocks(instant), Vec::new());
        while let Some(output) = self.core.as_mut().and_then(Router::poll_output) {
            match output {
                Output::Insert { id, entry, timeout, shown } => {
                    self.deeds.push(Deed::Maps(entry, self.message.clone()));
                    let result = self.insert(instant, &entry, timeout, shown);
                    self.core_mut(|core| core.handle_inserted(now, id, &entry, result));
                }
                Output::Renew { id, entry, timeout } => self.renew(instant, id, &entry, timeout),
                Output::Await { id, element, timeout } => self.wait_for(instant, id, element, timeout),
                Output::Unawait(Await { transport, source, mapped }) => {
                    self.awaiting.remove(&(transport, source, mapped));
                }
                Output::Delete(entry) => self.delete(&entry),
                Output::Check { id, entry } => self.check(instant, id, &entry),
                Output::Send { arrival, message } => self.send(&arrival, message.as_slice().into()),
                Output::SendNotice { arrival, message } => self.send(&arrival, message.as_slice().into()),
                Output::Release(packet) => self.release(instant, packet),
                Output::Drop(packet) => drop(self.held.remove(&packet)),
                Output::Catch { source, timeout } => self.catch(instant, source, timeout),
                Output::Uncatch(source) => drop(self.guide.remove(&source)),
                Output::Look(flow) => self.look(instant, flow),
                Output::Pass(flow) => passes.push(flow),
                Output::Unpass(flow) => {
                    passes.retain(|passing| *passing != flow);
                    self.passing.remove(&flow);
                }
                Output::Reserve { peer, ceiling } => self.deeds.push(Deed::Reserves(peer, ceiling)),
            }
        }
        self.passing.extend(passes.into_iter().map(|flow| (flow, instant + PASSING)));
    }

    fn core_mut(&mut self, with: impl FnOnce(&mut Router)) {
        if let Some(core) = &mut self.core {
            with(core);
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_until.is_some_and(|until| now < until)
    }

    fn insert(&mut self, now: Instant, entry: &Entry, timeout: Duration, shown: Shown) -> Inserted {
        if self.is_full(now) {
            return Inserted::Refused;
        }
        let original = original(entry);
        let inside = match self.sabotage {
            Some(Sabotage::LeadsElsewhere) => {
                SocketAddrV4::new([192, 168, 1, 66].into(), entry.inside.port())
            }
            _ => entry.inside,
        };
        let reply = |source| Tuple { transport: entry.transport, source: inside, destination: source };
        let connection = |source| Connection {
            original,
            reply: reply(source),
            replied: true,
            established: false,
            over: false,
            expires: now + timeout,
            label: Some(entry.peer),
        };
        let first = match shown {
            Shown::Router(socket) => socket,
            Shown::Source | Shown::SourceOrOtherPort => entry.source,
        };
        let mut result = self.table.insert(now, connection(first));
        if result == Err(NoEntry::Exists) && shown == Shown::SourceOrOtherPort {
            let port = self.dice.between(1024, 65_535) as u16;
            result = self.table.insert(now, connection(with_port(entry.source, port)));
        }
        match result {
            Ok(()) => {
                let Entry { transport, source, mapped, inside, peer } = *entry;
                self.stood.insert((transport, source, mapped, inside, peer));
                Inserted::Done
            }
            Err(NoEntry::Exists) => Inserted::Taken,
            Err(NoEntry::Full) => Inserted::Refused,
        }
    }

    fn renew(&mut self, instant: Instant, id: MappingId, entry: &Entry, timeout: Duration) {
        let now = self.clocks(instant);
        let found = self.table.original(instant, &original(entry)).copied();
        let result = match found {
            Some(found) if found.label != Some(entry.peer) => Inserted::Taken,
            Some(found) => {
                self.table.prolong(&found.original, instant + timeout);
                Inserted::Done
            }
            None => {
                self.deeds.push(Deed::Maps(*entry, None));
                self.insert(instant, entry, timeout, Shown::Source)
            }
        };
        self.core_mut(|core| core.handle_inserted(now, id, entry, result));
    }

    fn wait_for(&mut self, instant: Instant, id: MappingId, element: Await, timeout: Duration) {
        let now = self.clocks(instant);
        self.deeds.push(Deed::Awaits(element, self.message.clone()));
        let done = !self.is_full(instant);
        if done {
            let Await { transport, source, mapped } = element;
            self.awaiting.insert((transport, source, mapped), instant + timeout);
        }
        self.core_mut(|core| core.handle_awaiting(now, id, &element, done));
    }

    fn delete(&mut self, entry: &Entry) {
        if self.sabotage != Some(Sabotage::KeepsEntries) {
            self.table.delete(&original(entry));
        }
    }

    fn check(&mut self, instant: Instant, id: MappingId, entry: &Entry) {
        let now = self.clocks(instant);
        let found = self.table.original(instant, &original(entry));
        let lives = found.filter(|found| found.label == Some(entry.peer) && !found.over);
        // The kernel tells whole seconds.
        let remaining = lives
            .map(|found| Duration::from_secs(found.expires.saturating_duration_since(instant).as_secs()));
        self.core_mut(|core| core.handle_checked(now, id, remaining));
    }

    fn send(&mut self, arrival: &Arrival, bytes: Rc<[u8]>) {
        let (from, to) = (arrival.to, arrival.from);
        let load = match arrival.carrier {
            Carrier::Icmp { id, sequence } => Load::Echo { reply: true, id, sequence, bytes },
            Carrier::Udp { from: port, to: own } => Load::Data(Data {
                transport: Transport::Udp,
                source: own,
                destination: port,
                part: Part::Message(bytes),
                flow: None,
            }),
        };
        self.deeds.push(Deed::Sends(Packet { from, to, load }));
    }

    fn release(&mut self, instant: Instant, packet: u32) {
        if self.sabotage == Some(Sabotage::ForgetsPackets) {
            return;
        }
        if let Some(packet) = self.held.remove(&packet) {
            self.route(instant, packet);
        }
    }

    fn catch(&mut self, instant: Instant, source: Ipv4Addr, timeout: Duration) {
        let now = self.clocks(instant);
        let done = !self.is_full(instant);
        if done {
            self.guide.insert(source, instant + timeout);
        }
        self.core_mut(|core| core.handle_caught(now, source, done));
    }

    fn look(&mut self, instant: Instant, flow: FirstFlow) {
        let now = self.clocks(instant);
        let tuple = Tuple { transport: flow.transport, source: flow.source, destination: flow.destination };
        if self.table.original(instant, &tuple).is_some_and(|found| found.over) {
            self.table.delete(&tuple);
        }
        let known =
            self.table.original(instant, &tuple).or_else(|| self.table.reply(instant, &tuple)).is_some();
        self.core_mut(|core| core.handle_looked(now, flow, known));
    }
}

fn first_flow(tuple: &Tuple) -> FirstFlow {
    FirstFlow { transport: tuple.transport, source: tuple.source, destination: tuple.destination }
}

fn original(entry: &Entry) -> Tuple {
    Tuple { transport: entry.transport, source: entry.source, destination: entry.mapped }
}
