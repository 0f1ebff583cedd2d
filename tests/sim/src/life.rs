//! What people do in the world: they open flows, and TSN clients ask for names first.

use std::{net::Ipv4Addr, rc::Rc};

use natf_proto::{KeyId, Transport};
use tsn_dnsd::announce::Verdict;

use crate::{
    app::{App, Place},
    network::NodeId,
    packet::FlowId,
    plan::{HOSTS, PORTS, SERVER, domain, end_key},
    policy::TRANSPORTS,
    server_node::Question,
    world::{Event, World, tuple},
};

/// Source ports of an application's host: few, so that they are used again.
const SOURCES: u16 = 6;
/// Hosts of the LAN behind a gateway.
const LAN_HOSTS: u64 = 3;

impl World {
    /// Somebody opens a flow, and another one a while later.
    pub fn begin_flows(&mut self) {
        if self.is_quiet {
            return;
        }
        let pause = self.dice.up_to_ms(self.plan.flow_pause_ms);
        self.after(pause, Event::Flow);
        let router = self.dice.index(self.routers.len());
        let (host, port) = (*self.dice.pick(&HOSTS), *self.dice.pick(&PORTS));
        let who = self.dice.index(self.ends.len() + self.clients.len());
        match who.checked_sub(self.ends.len()) {
            None => {
                let source = 30_000 + self.dice.between(0, u64::from(SOURCES)) as u16;
                let transport = *self.dice.pick(&TRANSPORTS);
                self.dial(who, router, host, transport, (source, port));
            }
            Some(client) => self.ask(client, router, host, port),
        }
    }

    /// An application of an external node looks a name up and dials.
    pub fn dial(
        &mut self,
        end: usize,
        router: usize,
        host: &'static str,
        transport: Transport,
        (source, port): (u16, u16),
    ) -> Option<FlowId> {
        let (home, target) = (Rc::from(domain(router)), self.dns[router]);
        let address = self.ends[end].look_up(self.now, host, &home, target)?;
        let own = match self.ends[end].is_gateway {
            true => Ipv4Addr::new(192, 168, 9, self.dice.between(1, LAN_HOSTS) as u8),
            false => self.ends[end].address,
        };
        let tuple = tuple(transport, (own, source), (address, port));
        if self.apps.iter().any(|app| app.tuple == tuple && !app.is_over()) {
            return None;
        }
        let key = if self.plan.ends[end].is_enrolled { end_key(end) } else { KeyId::ANONYMOUS };
        Some(self.open(Place::End(end), tuple, (router, host, key)))
    }

    fn open(
        &mut self,
        place: Place,
        tuple: crate::packet::Tuple,
        whom: (usize, &'static str, KeyId),
    ) -> FlowId {
        let (id, wanted) = (self.apps.len(), self.dice.between(1, 4) as u16);
        self.note(|| format!("flow {id} of {place:?} to {} of home {}: {tuple}", whom.1, whom.0));
        let mut app = App::new(id, place, tuple, whom, wanted);
        app.due = self.now;
        self.apps.push(app);
        self.speak(id);
        id
    }

    /// A client asks its DNS server for a name.
    pub fn ask(&mut self, client: usize, router: usize, host: &'static str, port: u16) {
        let (origin, address, asked) = (self.origin(client), self.dns[router], self.now);
        let id = self.fresh_number();
        self.note(|| format!("client {client} asks for {host} of home {router}"));
        self.facts.note_announced(self.now, router, origin, host);
        let question = Question { origin, router, address, host, asked, port };
        self.server.handle_question(self.now, client, id, question);
        self.settle_deeds(NodeId::Server);
    }

    /// A client gets its answer.
    pub fn tell_client(&mut self, client: usize, question: Question, verdict: Verdict) {
        self.note(|| format!("client {client} hears {verdict:?} about {}", question.host));
        let waited = self.now - question.asked;
        if waited > 2 * crate::server_node::WAIT {
            self.judge(Err(format!("client {client} has waited for {waited:?}")));
        }
        self.told.push((client, question.router, question.host, verdict));
        if verdict == Verdict::Send {
            let way = self.dice.up_to_ms(50);
            self.after(way, Event::Connect(client, question));
        }
    }

    /// A client connects to the address that it was given.
    pub fn connect(&mut self, client: usize, question: &Question) {
        let (transport, source) = (*self.dice.pick(&TRANSPORTS), 30_000 + self.fresh_number() % 512);
        let own = self.clients[client].address;
        let tuple = tuple(transport, (own, source), (question.address, question.port));
        if self.apps.iter().any(|app| app.tuple == tuple && !app.is_over()) {
            return;
        }
        self.open(Place::Client(client), tuple, (question.router, question.host, SERVER));
    }
}
