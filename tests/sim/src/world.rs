//! All nodes, the packets between them, and the clock that jumps from one event to the next.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_config::Without;
use natf_end::Home;
use natf_proto::{KeyId, PeerKeys};
use tsn_dnsd::announce::{RouterRow, Verdict};

use crate::{
    app::{App, Place},
    dice::Dice,
    end_node::{self, EndNode},
    facts::{Complaint, Facts},
    log::Log,
    nat::Nat,
    network::{Network, NodeId},
    packet::{Data, FlowId, Load, Packet, Part, Tuple},
    plan::{Plan, SERVER, domain, end_key, secret},
    router_node::{self, RouterNode, UDP_PORT},
    sabotage::Sabotage,
    server_node::{self, Question, ServerNode},
};

/// Messages that the eavesdropper remembers.
const OVERHEARD: usize = 64;
/// A stranger's address.
pub const STRANGER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 250);

/// Something that is going to happen.
#[derive(Debug)]
pub enum Event {
    /// A packet is there.
    Arrive(NodeId, Packet),
    /// A held packet gets to the external node's daemon.
    Queued(usize, u32),
    /// An application speaks, unless it did so meanwhile.
    Speak(FlowId),
    /// Counters are on the disk.
    Stored(usize, KeyId, u64),
    /// DNS answers an external node.
    Resolved(usize, Ipv4Addr, usize),
    /// A client has its answer and connects.
    Connect(usize, Question),
    /// DNS tells a router's new address.
    Published(usize),
    /// A daemon starts.
    Start(NodeId),
    /// A new flow.
    Flow,
    /// Something bad.
    Trouble,
}

/// An unmodified client.
#[derive(Debug)]
pub struct Client {
    /// Its own address.
    pub address: Ipv4Addr,
    /// The NAT that it stands behind.
    pub nat: Option<usize>,
}

/// A world.
pub struct World {
    /// What the seed says.
    pub plan: Plan,
    /// The present.
    pub now: Instant,
    /// When it began.
    pub start: Instant,
    /// Homes' routers.
    pub routers: Vec<RouterNode>,
    /// External nodes.
    pub ends: Vec<EndNode>,
    /// The TSN server.
    pub server: ServerNode,
    /// Its clients.
    pub clients: Vec<Client>,
    /// NATs.
    pub nats: Vec<Nat>,
    /// Applications' flows.
    pub apps: Vec<App>,
    /// The internet.
    pub network: Network,
    /// What DNS says of each home.
    pub dns: Vec<Ipv4Addr>,
    /// What the checks know.
    pub facts: Facts,
    /// Chance.
    pub dice: Dice,
    /// What happened.
    pub log: Log,
    /// What does not hold, the first of it.
    pub complaint: Option<Complaint>,
    /// Messages that the eavesdropper heard at a router, with their senders.
    pub overheard: VecDeque<Packet>,
    /// What clients were told.
    pub told: Vec<(usize, usize, &'static str, Verdict)>,
    /// Nobody opens flows by himself any more.
    pub is_quiet: bool,
    /// Numbers for what has to be new.
    pub fresh: u16,
    /// Events so far.
    pub events: u64,
    queue: BTreeMap<(Instant, u64), Event>,
    queued: u64,
    sabotage: Option<Sabotage>,
}

impl World {
    /// The world of a seed; all daemons run.
    pub fn new(seed: u64, sabotage: Option<Sabotage>, is_logged: bool) -> Self {
        let mut dice = Dice::new(seed);
        let plan = Plan::draw(&mut dice);
        let start = Instant::now();
        let routers: Vec<_> =
            (0..plan.homes.len()).map(|at| router(&plan, start, at, &mut dice, sabotage)).collect();
        let nats: Vec<_> =
            (0..plan.nats).map(|at| Nat::new([192, 0, 2, at as u8 + 1].into(), dice.fork())).collect();
        let mut world = Self {
            now: start,
            start,
            dns: routers.iter().map(|router| router.address).collect(),
            ends: (0..plan.ends.len()).map(|at| end(&plan, start, at, &mut dice, sabotage)).collect(),
            server: ServerNode::new(start, [192, 0, 2, 200].into(), rows(&plan), dice.fork()),
            clients: (0..plan.clients.len()).map(|at| client(&plan, at)).collect(),
            routers,
            nats,
            apps: Vec::new(),
            network: Network::new(),
            facts: Facts::default(),
            log: Log::new(start, is_logged),
            complaint: None,
            overheard: VecDeque::new(),
            told: Vec::new(),
            is_quiet: false,
            fresh: 0,
            events: 0,
            queue: BTreeMap::new(),
            queued: 0,
            sabotage,
            dice,
            plan,
        };
        world.settle();
        world
    }

    /// Gives everybody an address and starts every daemon.
    fn settle(&mut self) {
        let routers = self.routers.iter().enumerate().map(|(at, node)| (node.address, NodeId::Router(at)));
        let nats = self.nats.iter().enumerate().map(|(at, nat)| (nat.address, NodeId::Nat(at)));
        let ends = self.ends.iter().enumerate().map(|(at, node)| (node.address, NodeId::End(at)));
        let clients = self.clients.iter().enumerate().map(|(at, node)| (node.address, NodeId::Client(at)));
        self.network.addresses = routers.chain(nats).chain(ends).chain(clients).collect();
        self.network.addresses.insert(self.server.address, NodeId::Server);
        for node in self.daemons() {
            self.start_daemon(node);
        }
    }

    /// All nodes with a daemon of ours.
    pub fn daemons(&self) -> Vec<NodeId> {
        let routers = (0..self.routers.len()).map(NodeId::Router);
        routers.chain((0..self.ends.len()).map(NodeId::End)).chain([NodeId::Server]).collect()
    }

    /// Has something happen later.
    pub fn after(&mut self, wait: Duration, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + wait, self.queued), event);
    }

    /// Notes a line, if somebody wants to read it.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.log.note(self.now, line);
    }

    /// Takes the verdict of a check; the first complaint counts.
    pub fn judge(&mut self, verdict: Result<(), Complaint>) {
        if let (Err(complaint), None) = (verdict, &self.complaint) {
            self.note(|| format!("COMPLAINT  {complaint}"));
            self.complaint = Some(complaint);
        }
    }

    /// Lets time pass until `end`, or until something does not hold.
    pub fn run_until(&mut self, end: Instant) {
        while self.complaint.is_none() {
            let next = self.queue.first_key_value().map(|((at, _), _)| *at);
            let (due, node) = self.next_deadline().unzip();
            let Some(at) = [next, due].into_iter().flatten().min().filter(|at| *at <= end) else { break };
            self.now = self.now.max(at);
            self.events += 1;
            match node.filter(|_| due == Some(at)) {
                Some(node) => self.handle_timeout(node),
                None => {
                    let Some((_, event)) = self.queue.pop_first() else { break };
                    self.handle(event);
                }
            }
        }
        self.now = end.max(self.now);
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    fn next_deadline(&self) -> Option<(Instant, NodeId)> {
        let routers = self.routers.iter().enumerate().map(|(at, node)| (node.deadline(), NodeId::Router(at)));
        let ends = self.ends.iter().enumerate().map(|(at, node)| (node.deadline(), NodeId::End(at)));
        let server = [(self.server.deadline(), NodeId::Server)];
        let all = routers.chain(ends).chain(server);
        all.filter_map(|(due, node)| Some((due?, node))).min()
    }

    fn handle_timeout(&mut self, node: NodeId) {
        match node {
            NodeId::Router(at) => self.routers[at].handle_timeout(self.now),
            NodeId::End(at) => self.ends[at].handle_timeout(self.now),
            NodeId::Server => self.server.handle_timeout(self.now),
            NodeId::Client(_) | NodeId::Nat(_) => {}
        }
        self.settle_deeds(node);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrive(node, packet) => self.arrive(node, packet),
            Event::Queued(at, number) => {
                self.ends[at].handle_queued(self.now, number);
                self.settle_deeds(NodeId::End(at));
            }
            Event::Speak(id) => self.speak(id),
            Event::Stored(at, key, ceiling) => {
                let floor = self.routers[at].floors.entry(key).or_default();
                *floor = ceiling.max(*floor);
            }
            Event::Resolved(at, address, router) => {
                let target = self.dns[router];
                self.ends[at].handle_targets(self.now, address, &[target]);
                self.settle_deeds(NodeId::End(at));
            }
            Event::Connect(client, question) => self.connect(client, &question),
            Event::Published(router) => self.dns[router] = self.routers[router].address,
            Event::Start(node) => self.start_daemon(node),
            Event::Flow => self.begin_flows(),
            Event::Trouble => self.begin_trouble(),
        }
    }

    /// Starts a daemon, if it does not run.
    pub fn start_daemon(&mut self, node: NodeId) {
        let now = self.now;
        match node {
            NodeId::Router(at) if self.routers[at].core.is_none() => {
                self.routers[at].start(now);
                let verdict = self.facts.check_reload(now, at, &self.routers[at]);
                self.judge(verdict);
            }
            NodeId::End(at) if self.ends[at].core.is_none() => self.ends[at].start(now),
            NodeId::Server if self.server.core.is_none() => self.server.start(now),
            _ => return,
        }
        self.note(|| format!("{node:?} starts"));
        self.settle_deeds(node);
    }

    /// Sends a packet from a node.
    pub fn send(&mut self, from: NodeId, packet: Packet) {
        let packet = match self.nat_of(from) {
            Some(nat) => self.nats[nat].outward(self.now, packet),
            None => packet,
        };
        if let (Some(key), false) = (key_of(&packet), matches!(from, NodeId::Router(_))) {
            self.facts.note_made(key, &packet);
        }
        self.carry(from, packet);
    }

    /// Carries a packet through the internet.
    pub fn carry(&mut self, from: NodeId, packet: Packet) {
        let to = self.network.addresses.get(&packet.to).copied();
        let gone =
            to.is_none_or(|to| self.network.is_cut(self.now, to)) || self.network.is_cut(self.now, from);
        let ways = if gone { Vec::new() } else { self.network.ways(&mut self.dice) };
        self.note(|| {
            format!("{from:?} sends {packet}{}", if ways.is_empty() { ", which is lost" } else { "" })
        });
        for way in ways {
            to.into_iter().for_each(|to| self.after(way, Event::Arrive(to, packet.clone())));
        }
    }

    fn nat_of(&self, node: NodeId) -> Option<usize> {
        match node {
            NodeId::End(at) => self.plan.ends[at].nat,
            NodeId::Client(at) => self.clients[at].nat,
            _ => None,
        }
    }

    /// The address by which the internet sees a client.
    pub fn origin(&self, client: usize) -> Ipv4Addr {
        let client = &self.clients[client];
        client.nat.map_or(client.address, |nat| self.nats[nat].address)
    }

    fn arrive(&mut self, node: NodeId, packet: Packet) {
        if self.network.addresses.get(&packet.to) != Some(&node) || self.network.is_cut(self.now, node) {
            return;
        }
        match node {
            NodeId::Nat(at) => {
                let Some(packet) = self.nats[at].inward(self.now, packet) else { return };
                let inside = self.network.addresses.get(&packet.to).copied();
                inside.into_iter().for_each(|node| self.take(node, packet.clone()));
            }
            node => self.take(node, packet),
        }
    }

    fn take(&mut self, node: NodeId, packet: Packet) {
        self.note(|| format!("{node:?} gets {packet}"));
        match node {
            NodeId::Router(at) => {
                self.routers[at].handle_packet(self.now, packet.clone());
                self.overhear(at, packet);
            }
            NodeId::End(at) => self.ends[at].handle_packet(self.now, packet),
            NodeId::Server => self.server.handle_packet(self.now, &packet),
            NodeId::Client(at) => self.answer_app(Place::Client(at), &packet),
            NodeId::Nat(_) => {}
        }
        self.settle_deeds(node);
    }

    /// What no daemon took could be sent on by the eavesdropper as if he were a NAT: that is known, and not looked for.
    fn overhear(&mut self, router: usize, packet: Packet) {
        if packet.message().is_some() && std::mem::take(&mut self.routers[router].has_taken) {
            self.overheard.push_back(packet);
        }
        if self.overheard.len() > OVERHEARD {
            self.overheard.pop_front();
        }
    }

    /// Carries out what a node did, and checks what it is in afterwards.
    pub fn settle_deeds(&mut self, node: NodeId) {
        match node {
            NodeId::Router(at) => {
                while !self.routers[at].deeds.is_empty() {
                    let deeds = std::mem::take(&mut self.routers[at].deeds);
                    deeds.into_iter().for_each(|deed| self.settle_router(at, deed));
                }
                let verdict = self.facts.check_router(self.now, at, &self.routers[at]);
                self.judge(verdict);
            }
            NodeId::End(at) => {
                let deeds = std::mem::take(&mut self.ends[at].deeds);
                deeds.into_iter().for_each(|deed| self.settle_end(at, deed));
                let since = self.ends[at].held.values().map(|(_, since)| *since).min();
                self.judge(Facts::check_waiting(self.now, at, since));
                self.judge(Facts::check_translations(self.now, at, &self.ends[at]));
            }
            NodeId::Server => {
                let deeds = std::mem::take(&mut self.server.deeds);
                deeds.into_iter().for_each(|deed| self.settle_server(deed));
            }
            NodeId::Client(_) | NodeId::Nat(_) => {}
        }
    }

    fn settle_router(&mut self, at: usize, deed: router_node::Deed) {
        use router_node::Deed;
        let (now, event) = (self.now, self.events);
        match deed {
            Deed::Sends(packet) => self.send(NodeId::Router(at), packet),
            Deed::Maps(entry, message) => {
                self.note(|| format!("router {at} maps {entry:?}"));
                let node = (at, &self.routers[at]);
                let verdict = self.facts.check_mapping(now, event, node, &entry, message.as_ref());
                self.judge(verdict);
            }
            Deed::Awaits(element, message) => {
                self.note(|| format!("router {at} awaits {element:?}"));
                let verdict = self.facts.check_awaiting(event, at, &element, message.as_ref());
                self.judge(verdict);
            }
            Deed::Reserves(key, ceiling) => {
                let stored = self.sabotage != Some(Sabotage::LosesCounters);
                if stored {
                    self.after(Duration::ZERO, Event::Stored(at, key, ceiling));
                }
            }
            Deed::Keeps(packet) => {
                self.note(|| format!("router {at} itself gets {packet}"));
                let app = flow_of(&packet).map(|id| &self.apps[id]);
                let verdict = self.facts.check_kept(at, app, &packet);
                self.judge(verdict);
                flow_of(&packet).into_iter().for_each(|id| self.apps[id].is_plain = true);
            }
            Deed::Delivers(packet, connection) => self.deliver(at, &packet, &connection),
        }
    }

    /// A host of a home gets data, and answers.
    fn deliver(&mut self, at: usize, packet: &Packet, connection: &crate::conntrack::Connection) {
        self.note(|| format!("host {} of home {at} gets {packet}", packet.to));
        if let (Some(id), Some(SERVER)) = (flow_of(packet), connection.label) {
            self.apps[id].is_taken_for_client = true;
        }
        let app = flow_of(packet).map(|id| &self.apps[id]);
        let origin = *connection.original.source.ip();
        let home = (at, &self.routers[at].policy);
        let verdict = self.facts.check_delivery(home, app, origin, packet, connection);
        self.judge(verdict);
        let (Some(tuple), Load::Data(Data { part, flow, .. })) = (packet.tuple(), &packet.load) else {
            return;
        };
        let answer = match part {
            Part::Syn => Part::SynAck(packet.to),
            Part::Ask(number) => Part::Answer(*number, packet.to),
            Part::Fin => Part::FinAck,
            _ => return,
        };
        self.routers[at].handle_answer(self.now, &Packet::data(tuple.inverse(), answer, *flow));
    }

    fn settle_end(&mut self, at: usize, deed: end_node::Deed) {
        use end_node::{Cause, Deed};
        match deed {
            Deed::Sends(packet) => self.send(NodeId::End(at), packet),
            Deed::Delivers(packet) => self.answer_app(Place::End(at), &packet),
            Deed::Rejects(packet, cause) => {
                self.note(|| format!("end {at} rejects {packet}: {cause:?}"));
                if cause == Cause::InVain {
                    self.judge(Err(format!("end {at} releases what nothing translates: {packet}")));
                }
                if let Some(id) = flow_of(&packet).filter(|id| !self.apps[*id].is_over()) {
                    self.apps[id].state = crate::app::State::Refused(Some(cause));
                }
            }
            Deed::Resolves(address) => {
                let home = self.ends[at].relations.relation(address).map(|it| it.name().domain().to_owned());
                let router =
                    home.and_then(|home| (0..self.routers.len()).find(|router| domain(*router) == home));
                let wait = self.dice.up_to_ms(200);
                // One in ten questions gets no answer.
                let answered = self.network.weather.loss == 0 || !self.dice.chance(100);
                let router = router.filter(|_| answered);
                router.into_iter().for_each(|router| self.after(wait, Event::Resolved(at, address, router)));
            }
        }
    }

    fn settle_server(&mut self, deed: server_node::Deed) {
        use server_node::Deed;
        match deed {
            Deed::Sends(packet) => self.send(NodeId::Server, packet),
            Deed::Tells(client, question, verdict) => self.tell_client(client, question, verdict),
        }
    }

    /// An application says what it has to say.
    pub fn speak(&mut self, id: FlowId) {
        let app = &mut self.apps[id];
        if app.due > self.now {
            return;
        }
        let place = app.place;
        let Some(packet) = app.speak(self.now) else { return };
        let wait = app.due - self.now;
        self.after(wait, Event::Speak(id));
        self.note(|| format!("flow {id} says {packet}"));
        match place {
            Place::Client(at) => self.send(NodeId::Client(at), packet),
            Place::End(at) => {
                let number = self.ends[at].handle_output(self.now, packet);
                let wait = self.dice.up_to_ms(2);
                number.into_iter().for_each(|number| self.after(wait, Event::Queued(at, number)));
                self.settle_deeds(NodeId::End(at));
            }
        }
    }

    /// An application hears something.
    fn answer_app(&mut self, place: Place, packet: &Packet) {
        let (Some(id), Load::Data(Data { part, .. })) = (flow_of(packet), &packet.load) else { return };
        let app = &self.apps[id];
        if app.place != place || packet.to != *app.tuple.source.ip() {
            return;
        }
        let verdict = self.facts.check_answer(&self.routers[app.router].policy, app, packet, part);
        self.judge(verdict);
        let pause = self.dice.up_to_ms(1500);
        let app = &mut self.apps[id];
        app.hear(self.now, part, pause);
        if !app.is_over() {
            self.after(pause, Event::Speak(id));
        }
    }

    /// A number that was not used before.
    pub fn fresh_number(&mut self) -> u16 {
        self.fresh += 1;
        self.fresh
    }

    /// An address that nobody had before.
    pub fn fresh_address(&mut self, network: u8) -> Ipv4Addr {
        let [high, low] = self.fresh_number().to_be_bytes();
        [network, 200, high, low].into()
    }
}

/// Under which key a message is sealed.
fn key_of(packet: &Packet) -> Option<KeyId> {
    let key = packet.message()?.get(6..8)?;
    Some(KeyId(u16::from_be_bytes(key.try_into().ok()?)))
}

fn flow_of(packet: &Packet) -> Option<FlowId> {
    match &packet.load {
        Load::Data(data) => data.flow,
        Load::Echo { .. } => None,
    }
}

fn router(plan: &Plan, start: Instant, at: usize, dice: &mut Dice, sabotage: Option<Sabotage>) -> RouterNode {
    let name = ([203, 0, 113, 10 + at as u8].into(), domain(at));
    RouterNode::new(start, name, plan.homes[at].clone(), plan.limits, dice.fork(), sabotage)
}

fn end(plan: &Plan, start: Instant, at: usize, dice: &mut Dice, sabotage: Option<Sabotage>) -> EndNode {
    let own = plan.ends[at];
    let address = match own.nat {
        Some(nat) => [10, nat as u8, 0, 10 + at as u8].into(),
        None => [198, 51, 100, 10 + at as u8].into(),
    };
    let home = |home: usize| Home {
        name: Rc::from(domain(home)),
        keys: own.is_enrolled.then(|| PeerKeys::derive(end_key(at), &secret(home, at))),
        udp_port: own.udp.then_some(UDP_PORT),
        wildcard: false,
    };
    let homes = (0..plan.homes.len()).map(home).collect();
    EndNode::new(start, address, own.is_gateway, homes, dice.fork(), sabotage)
}

fn client(plan: &Plan, at: usize) -> Client {
    let nat = plan.clients[at];
    let address = match nat {
        Some(nat) => [10, nat as u8, 0, 100 + at as u8].into(),
        None => [198, 51, 100, 50 + at as u8].into(),
    };
    Client { address, nat }
}

fn rows(plan: &Plan) -> Vec<Rc<RouterRow>> {
    let row = |home: usize| RouterRow {
        name: domain(home),
        domains: vec![domain(home)],
        keys: PeerKeys::derive(SERVER, &secret(home, 99)),
        address: None,
        without: Without::Refuse,
    };
    (0..plan.homes.len()).map(row).map(Rc::new).collect()
}

/// A flow from here to there.
pub fn tuple(
    transport: natf_proto::Transport,
    source: (Ipv4Addr, u16),
    destination: (Ipv4Addr, u16),
) -> Tuple {
    Tuple {
        transport,
        source: SocketAddrV4::new(source.0, source.1),
        destination: SocketAddrV4::new(destination.0, destination.1),
    }
}
