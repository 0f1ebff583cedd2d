//! An external node: the real engine and name relation table, and a model of its kernel.
//!
//! ```text
//!  application ─▶ conntrack ─ known ─▶ translated ─▶ network
//!                     └ new ─▶ queue (daemon dead: bypassed) ─▶ engine ─ Release ─▶ VAT element? ─ yes ─▶ entry, translated
//!                                                                                        └ no ─▶ rejected
//! ```

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_end::{
    Carrier, Dial, Engine, Flow, FlowRow, Gateway, Home, KernelFlow, Limits, Output, PacketId, Refusal,
    RestoredFlow, Role, Settings, Silent, Translated,
    relation::{self, PrivateName, RelationTable, State},
    virtual_address::VirtualPrefix,
};
use natf_proto::{MAGIC, Transport};

use crate::{
    conntrack::{Conntrack, with_port},
    dice::Dice,
    packet::{Data, Load, Packet, Part, Tuple},
    sabotage::Sabotage,
};

/// The kernel keeps a VAT element for so long.
const ELEMENT: Duration = Duration::from_secs(10);
/// How long the answer of DNS counts.
const TTL: Duration = Duration::from_secs(20);
/// Ports of a gateway's outside address.
const GATEWAY_PORTS: std::ops::RangeInclusive<u16> = 40_000..=40_063;

/// What an external node did that the world has to know of.
#[derive(Debug)]
pub enum Deed {
    /// A packet leaves.
    Sends(Packet),
    /// Data reaches the application that dialled this.
    Delivers(Packet),
    /// The kernel rejects a packet.
    Rejects(Packet, Cause),
    /// The name behind this virtual address is to be asked for.
    Resolves(Ipv4Addr),
}

/// Why a packet is rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The engine refused it.
    Refused(Refusal),
    /// The daemon is dead, and nothing translates the packet.
    Dead,
    /// The engine released it, but nothing translates it.
    InVain,
}

struct Element {
    to: SocketAddrV4,
    source: Option<SocketAddrV4>,
    until: Instant,
}

/// An external node.
pub struct EndNode {
    /// The daemon; `None` while it is dead.
    pub core: Option<Engine>,
    /// The names, as far as the daemon knows them.
    pub relations: RelationTable,
    /// G1.
    pub address: Ipv4Addr,
    /// Plays the external node for hosts of a LAN (N12).
    pub is_gateway: bool,
    /// What its files say.
    pub homes: Vec<Home>,
    /// The connection table.
    pub table: Conntrack,
    /// Unix seconds of this node's clock at the start of the run.
    pub clock: u64,
    /// Deeds that nobody has taken yet.
    pub deeds: Vec<Deed>,
    /// Packets that wait for the daemon's word, and since when.
    pub held: BTreeMap<u32, (Packet, Instant)>,
    saved: State,
    vat: BTreeMap<Tuple, Element>,
    next_packet: u32,
    ident: u16,
    sequence: u16,
    start: Instant,
    dice: Dice,
    sabotage: Option<Sabotage>,
}

impl EndNode {
    /// A node whose daemon does not run yet.
    pub fn new(
        start: Instant,
        address: Ipv4Addr,
        is_gateway: bool,
        homes: Vec<Home>,
        mut dice: Dice,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self {
            core: None,
            relations: RelationTable::new(VirtualPrefix::DEFAULT, relation::Limits::default()),
            address,
            is_gateway,
            homes,
            table: Conntrack::new(2000),
            clock: 1_795_000_000,
            deeds: Vec::new(),
            held: BTreeMap::new(),
            saved: State::default(),
            vat: BTreeMap::new(),
            next_packet: 0,
            ident: dice.between(1, 65_535) as u16,
            sequence: 0,
            start,
            dice,
            sabotage,
        }
    }

    /// The daemon starts, and takes over what a former run left in the kernel.
    pub fn start(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        let gateway = || Role::Gateway(Gateway::new(self.address, GATEWAY_PORTS));
        let mut core = Engine::new(Settings {
            role: if self.is_gateway { gateway() } else { Role::Host },
            limits: Limits::default(),
            homes: self.homes.clone(),
            silent: Silent::Refuse,
            unix_seconds: self.clock.saturating_add(elapsed),
            random: Box::new(self.dice.fork()),
        });
        self.relations = RelationTable::new(VirtualPrefix::DEFAULT, relation::Limits::default());
        self.relations.restore(&self.saved, now);
        self.vat.clear();
        let flows =
            self.table.iter(now).filter(|connection| !connection.over).map(|connection| RestoredFlow {
                flow: flow(&connection.original),
                mapped: connection.reply.source,
                source: connection.reply.destination,
            });
        let relations = &self.relations;
        core.restore(now, flows.collect::<Vec<_>>(), |address| Dial::of(relations.relation(address)?, now));
        self.core = Some(core);
        self.carry_out(now);
    }

    /// kill -9: what waited in the queue is lost.
    pub fn kill(&mut self) {
        self.core = None;
        self.held.clear();
    }

    /// A flow of which the kernel has a VAT element, though the engine knows no such flow any more.
    pub fn stray_translation(&self, now: Instant) -> Option<Tuple> {
        let core = self.core.as_ref()?;
        let living = || self.vat.iter().filter(|(_, element)| now < element.until);
        living().next()?;
        let rows = core.flows();
        let is_meant = |at: &Tuple, element: &Element| {
            let own = |row: &&FlowRow| row.flow == flow(at) && row.mapped == Some(element.to);
            rows.iter().find(own).is_some_and(|row| row.state != "ending")
        };
        living().find(|(at, element)| !is_meant(at, element)).map(|(at, _)| *at)
    }

    /// A name is looked up: its virtual address.
    pub fn look_up(
        &mut self,
        now: Instant,
        host: &str,
        home: &Rc<str>,
        router: Ipv4Addr,
    ) -> Option<Ipv4Addr> {
        self.core.as_ref()?;
        let full = format!("{host}.{home}");
        let name = PrivateName::below(&full, home)?;
        let address = self.relations.relate(name, home, &[router], TTL, now).ok()?;
        self.saved = self.relations.state();
        Some(address)
    }

    /// DNS answers the engine's question.
    pub fn handle_targets(&mut self, now: Instant, address: Ipv4Addr, targets: &[Ipv4Addr]) {
        self.relations.refresh(address, targets, TTL, now);
        if let Some(core) = &mut self.core {
            core.handle_targets(now, address, targets);
        }
        self.carry_out(now);
    }

    /// The node has another address.
    pub fn move_to(&mut self, now: Instant, address: Ipv4Addr) {
        self.address = address;
        self.relations.expire_targets(now);
        let is_gateway = self.is_gateway;
        if let Some(core) = &mut self.core {
            match is_gateway {
                true => core.handle_outside_address(now, address),
                false => core.handle_network_change(now, &[address]),
            }
        }
        self.carry_out(now);
    }

    /// When the engine has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.as_ref()?.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(core) = &mut self.core {
            core.handle_timeout(now);
        }
        self.carry_out(now);
    }

    /// Puts a packet of an application to a virtual address into the kernel; true where it waits for the daemon.
    pub fn handle_output(&mut self, now: Instant, packet: Packet) -> Option<u32> {
        let tuple = packet.tuple()?;
        let Load::Data(Data { part, .. }) = &packet.load else { return None };
        self.table.make_way(&tuple, part);
        if let Some(connection) = self.table.original(now, &tuple).copied() {
            self.table.see(now, &tuple, part, false);
            self.deeds.push(Deed::Sends(packet.translated(connection.reply.inverse())));
            return None;
        }
        if self.core.is_none() {
            self.translate(now, packet, Cause::Dead);
            return None;
        }
        self.next_packet += 1;
        self.held.insert(self.next_packet, (packet, now));
        Some(self.next_packet)
    }

    /// The daemon takes a held packet from its queue.
    pub fn handle_queued(&mut self, now: Instant, number: u32) {
        let Some((packet, _)) = self.held.get(&number) else { return };
        let (Some(tuple), Load::Data(data)) = (packet.tuple(), &packet.load) else { return };
        let (start, address) = (data.part == Part::Syn, *tuple.destination.ip());
        let dial = self.relations.relation(address).and_then(|relation| Dial::of(relation, now));
        self.relations.touch(address, now);
        if let Some(core) = &mut self.core {
            core.handle_first_packet(now, PacketId(number), flow(&tuple), start, dial);
        }
        self.carry_out(now);
    }

    /// Behind the queue: the nat hook, and the chain that rejects what it did not translate.
    fn translate(&mut self, now: Instant, packet: Packet, why: Cause) {
        let Some(tuple) = packet.tuple() else { return };
        let Load::Data(Data { part, .. }) = &packet.load else { return };
        if self.table.original(now, &tuple).is_none() {
            let Some(element) = self.vat.get(&tuple).filter(|element| now < element.until) else {
                return self.deeds.push(Deed::Rejects(packet, why));
            };
            let to = match self.sabotage {
                Some(Sabotage::TranslatesWrongly) => with_port(element.to, tuple.destination.port()),
                _ => element.to,
            };
            let source = element.source.unwrap_or(tuple.source);
            let reply = Tuple { transport: tuple.transport, source: to, destination: source };
            if self.table.open(now, tuple, reply).is_err() {
                return;
            }
        }
        let Some(connection) = self.table.original(now, &tuple).copied() else { return };
        self.table.see(now, &tuple, part, false);
        self.deeds.push(Deed::Sends(packet.translated(connection.reply.inverse())));
    }

    /// A packet from the network.
    pub fn handle_packet(&mut self, now: Instant, packet: Packet) {
        match &packet.load {
            Load::Echo { reply: true, bytes, .. } if bytes.starts_with(&MAGIC) => {
                self.handle_datagram(now, packet.from, Carrier::Icmp, bytes.clone());
            }
            Load::Echo { .. } => {}
            Load::Data(Data { part: Part::Message(bytes), source, .. }) => {
                self.handle_datagram(now, packet.from, Carrier::Udp(*source), bytes.clone());
            }
            Load::Data(Data { part, .. }) => {
                let Some(tuple) = packet.tuple() else { return };
                let Some(connection) = self.table.reply(now, &tuple).copied() else { return };
                self.table.see(now, &connection.original, part, true);
                self.deeds.push(Deed::Delivers(packet.translated(connection.original.inverse())));
            }
        }
    }

    fn handle_datagram(&mut self, now: Instant, from: Ipv4Addr, carrier: Carrier, bytes: Rc<[u8]>) {
        if let Some(core) = &mut self.core {
            core.handle_datagram(now, from, carrier, &bytes);
        }
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Instant) {
        while let Some(output) = self.core.as_mut().and_then(Engine::poll_output) {
            match output {
                Output::Send { carrier, from, to, bytes } => {
                    self.send(carrier, from, to, bytes.as_slice().into())
                }
                Output::Translate { flow, to, source } => self.write_element(now, &flow, to, source),
                Output::Withdraw { flow, to } => {
                    let tuple = tuple(&flow);
                    if self.vat.get(&tuple).is_some_and(|element| element.to == to) {
                        self.vat.remove(&tuple);
                    }
                }
                Output::Release { packets } => {
                    packets.into_iter().for_each(|packet| self.release(now, packet, Cause::InVain))
                }
                Output::Refuse { packets, why } => {
                    packets.into_iter().for_each(|packet| self.release(now, packet, Cause::Refused(why)));
                }
                Output::Drop { packet } => drop(self.held.remove(&packet.0)),
                Output::Watch { flow } => self.watch(now, &flow),
                Output::Forget { flow } => drop(self.table.delete(&tuple(&flow))),
                Output::Resolve { address } => self.deeds.push(Deed::Resolves(address)),
                Output::Pinged(_) => {}
            }
        }
    }

    fn send(&mut self, carrier: Carrier, from: Ipv4Addr, to: Ipv4Addr, bytes: Rc<[u8]>) {
        self.sequence = self.sequence.wrapping_add(1);
        let load = match carrier {
            Carrier::Icmp => Load::Echo { reply: false, id: self.ident, sequence: self.sequence, bytes },
            Carrier::Udp(port) => Load::Data(Data {
                transport: Transport::Udp,
                source: 33_333,
                destination: port,
                part: Part::Message(bytes),
                flow: None,
            }),
        };
        self.deeds.push(Deed::Sends(Packet { from, to, load }));
    }

    fn write_element(&mut self, now: Instant, flow: &Flow, to: SocketAddrV4, source: Option<SocketAddrV4>) {
        let tuple = tuple(flow);
        let reply = source.map(|source| Tuple { transport: flow.transport, source: to, destination: source });
        let taken =
            reply.and_then(|reply| self.table.reply(now, &reply)).is_some_and(|it| it.original != tuple);
        let result = if taken { Translated::PortTaken } else { Translated::Confirmed };
        if !taken && self.sabotage != Some(Sabotage::NoTranslation) {
            self.vat.insert(tuple, Element { to, source, until: now + ELEMENT });
        }
        if let Some(core) = &mut self.core {
            core.handle_translated(now, flow, result);
        }
    }

    fn release(&mut self, now: Instant, packet: PacketId, why: Cause) {
        if self.sabotage == Some(Sabotage::KeepsWaiting) {
            return;
        }
        if let Some((packet, _)) = self.held.remove(&packet.0) {
            self.translate(now, packet, why);
        }
    }

    fn watch(&mut self, now: Instant, flow: &Flow) {
        let state = self.table.original(now, &tuple(flow)).map(|connection| KernelFlow {
            replied: connection.replied,
            closed: connection.over,
            remaining: Duration::from_secs(connection.expires.saturating_duration_since(now).as_secs()),
        });
        if let Some(core) = &mut self.core {
            core.handle_flow_state(now, flow, state);
        }
    }
}

fn flow(tuple: &Tuple) -> Flow {
    Flow { transport: tuple.transport, source: tuple.source, destination: tuple.destination }
}

fn tuple(flow: &Flow) -> Tuple {
    Tuple { transport: flow.transport, source: flow.source, destination: flow.destination }
}
