//! What befalls the world: see [`Trouble`].

use std::rc::Rc;

use natf_proto::Transport;

use crate::{
    network::{NodeId, Weather},
    packet::{Data, Load, Packet, Part},
    plan::{HOSTS, PORTS, Trouble},
    world::{Event, STRANGER, World, tuple},
};

/// DNS tells the old address for so long.
const PUBLISHED_MS: u64 = 8000;
/// Longest time that a daemon is dead, or a node cut off.
const AWAY_MS: u64 = 6000;

impl World {
    /// Something happens, and something else a while later.
    pub fn begin_trouble(&mut self) {
        if self.plan.troubles.is_empty() {
            return;
        }
        let pause = self.dice.up_to_ms(self.plan.trouble_pause_ms);
        self.after(pause, Event::Trouble);
        let trouble = *self.dice.pick(&self.plan.troubles);
        let router = self.dice.index(self.routers.len());
        match trouble {
            Trouble::Kill => self.kill(),
            Trouble::Cut => self.cut(),
            Trouble::Renumber => self.renumber(router),
            Trouble::Roam => self.roam(),
            Trouble::Rebind => {
                let nat = self.dice.index(self.nats.len());
                self.nats.get_mut(nat).into_iter().for_each(crate::nat::Nat::forget);
                self.note(|| format!("NAT {nat} forgets"));
            }
            Trouble::Decide => self.decide(router),
            Trouble::Clock => self.set_clock(),
            Trouble::Full => {
                let wait = self.dice.up_to_ms(AWAY_MS);
                self.routers[router].full_until = Some(self.now + wait);
                self.note(|| format!("router {router} is full for {wait:?}"));
            }
            Trouble::Flush => {
                self.note(|| format!("router {router} loses its sets"));
                self.routers[router].flush_sets(self.now);
                self.settle_deeds(NodeId::Router(router));
            }
            Trouble::Replay => self.replay(false),
            Trouble::Tamper => self.replay(true),
            Trouble::Knock => self.knock(router),
        }
    }

    fn kill(&mut self) {
        let daemons = self.daemons();
        let (node, wait) = (*self.dice.pick(&daemons), self.dice.up_to_ms(AWAY_MS));
        self.note(|| format!("{node:?} is killed"));
        match node {
            NodeId::Router(at) => self.routers[at].kill(),
            NodeId::End(at) => self.ends[at].kill(),
            NodeId::Server => self.server.kill(),
            NodeId::Client(_) | NodeId::Nat(_) => {}
        }
        self.after(wait, Event::Start(node));
    }

    fn cut(&mut self) {
        let mut nodes = self.daemons();
        nodes.extend((0..self.nats.len()).map(NodeId::Nat));
        let (node, wait) = (*self.dice.pick(&nodes), self.dice.up_to_ms(AWAY_MS));
        self.note(|| format!("{node:?} is cut off for {wait:?}"));
        self.network.cut.insert(node, self.now + wait);
    }

    fn renumber(&mut self, router: usize) {
        let address = self.fresh_address(203);
        self.note(|| format!("router {router} moves to {address}"));
        self.routers[router].address = address;
        // The daemon looks at its addresses by itself.
        self.network.renumber(NodeId::Router(router), address);
        let wait = self.dice.up_to_ms(PUBLISHED_MS);
        self.after(wait, Event::Published(router));
    }

    fn roam(&mut self) {
        let who = self.dice.index(self.ends.len() + self.clients.len() + self.nats.len());
        let (ends, clients) = (self.ends.len(), self.clients.len());
        if who < ends {
            let address = match self.plan.ends[who].nat {
                Some(_) => self.fresh_address(10),
                None => self.fresh_address(198),
            };
            self.note(|| format!("end {who} moves to {address}"));
            self.network.renumber(NodeId::End(who), address);
            self.ends[who].move_to(self.now, address);
            self.settle_deeds(NodeId::End(who));
        } else if who < ends + clients {
            let (at, address) = (who - ends, self.fresh_address(198));
            self.note(|| format!("client {at} moves to {address}"));
            (self.clients[at].address, self.clients[at].nat) = (address, None);
            self.network.renumber(NodeId::Client(at), address);
        } else {
            let (at, address) = (who - ends - clients, self.fresh_address(192));
            self.note(|| format!("NAT {at} moves to {address}"));
            self.nats[at].address = address;
            self.nats[at].forget();
            self.network.renumber(NodeId::Nat(at), address);
        }
    }

    /// The home's owner changes something, and has it read.
    fn decide(&mut self, router: usize) {
        let name = *self.dice.pick(&HOSTS);
        let unix = self.routers[router].clocks(self.now).unix;
        let (what, until, port) =
            (self.dice.index(5), unix + self.dice.between(1, 8), *self.dice.pick(&PORTS));
        let wanted = &mut self.routers[router].wanted;
        let Some(host) = wanted.hosts.get_mut(name) else { return };
        match what {
            0 => host.allow = !host.allow,
            1 => host.port = if host.port.is_some() { None } else { Some(port) },
            2 => host.until = if host.until.is_some() { None } else { Some(until) },
            3 => host.anyone = !host.anyone,
            _ => match wanted.peers.len() {
                0 => wanted.peers = self.plan.homes[router].peers.clone(),
                _ => drop(wanted.peers.pop_first()),
            },
        }
        self.note(|| format!("home {router} decides {what} about {name}"));
        self.routers[router].reload(self.now);
        let verdict = self.facts.check_reload(self.now, router, &self.routers[router]);
        self.judge(verdict);
        self.settle_deeds(NodeId::Router(router));
    }

    fn set_clock(&mut self) {
        let (daemons, seconds) = (self.daemons(), *self.dice.pick(&[1, 60, 86_400, 800_000_000]));
        let (node, forwards) = (*self.dice.pick(&daemons), self.dice.chance(300));
        let clock = match node {
            NodeId::Router(at) => &mut self.routers[at].clock,
            NodeId::End(at) => &mut self.ends[at].clock,
            _ => &mut self.server.clock,
        };
        *clock = if forwards { clock.saturating_add(seconds) } else { clock.saturating_sub(seconds) };
        self.note(|| format!("the clock of {node:?} is set, by {seconds} s, forwards: {forwards}"));
    }

    /// The eavesdropper sends again what he heard: as it came, or from his own address, or with a bit changed.
    fn replay(&mut self, is_changed: bool) {
        let at = self.dice.index(self.overheard.len());
        let Some(mut packet) = self.overheard.get(at).cloned() else { return };
        if self.dice.chance(300) {
            packet.from = STRANGER;
        }
        if is_changed {
            // Without the magic number it would be a packet like others.
            let bit = 32 + self.dice.index(120 * 8);
            if let Load::Echo { bytes, .. } | Load::Data(Data { part: Part::Message(bytes), .. }) =
                &mut packet.load
            {
                let mut changed = bytes.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                *bytes = Rc::from(changed);
            }
        }
        if self.dice.chance(200) {
            // The router may have moved since.
            packet.to = self.routers[self.dice.index(self.routers.len())].address;
        }
        self.note(|| "the eavesdropper:".to_owned());
        self.carry(NodeId::Nat(usize::MAX), packet);
    }

    /// A stranger tries ports that mappings have.
    fn knock(&mut self, router: usize) {
        let node = &self.routers[router];
        let mapped: Vec<_> =
            node.table.iter(self.now).map(|connection| connection.original.destination).collect();
        let port = if mapped.is_empty() { 80 } else { self.dice.pick(&mapped).port() };
        let transport = if self.dice.chance(500) { Transport::Tcp } else { Transport::Udp };
        let source = 30_000 + self.dice.between(0, 6) as u16;
        let tuple = tuple(transport, (STRANGER, source), (self.routers[router].address, port));
        let part = if transport == Transport::Tcp { Part::Syn } else { Part::Ask(0) };
        self.carry(NodeId::Nat(usize::MAX), Packet::data(tuple, part, None));
    }

    /// All gets better: everybody is there, nothing is lost, DNS is right.
    pub fn heal(&mut self) {
        self.note(|| "all gets better".to_owned());
        self.plan.troubles.clear();
        self.network.weather = Weather::FAIR;
        self.network.cut.clear();
        for node in self.daemons() {
            self.start_daemon(node);
        }
        for router in 0..self.routers.len() {
            self.routers[router].full_until = None;
            self.dns[router] = self.routers[router].address;
        }
    }
}
