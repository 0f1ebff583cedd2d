//! The end of a run: when all got better, everybody agrees again, and when all flows have ended, nothing is left.

use std::time::Duration;

use natf_end::Refusal;
use natf_proto::{KeyId, Reason};
use tsn_dnsd::announce::Verdict;

use crate::{
    app::{App, Place, State},
    end_node::{Cause, EndNode},
    packet::FlowId,
    plan::{HOSTS, PORTS, SERVER, Trouble, end_key},
    policy::TRANSPORTS,
    world::World,
};

/// Clocks before 2025 are not set yet, and rows with an end stay closed.
const CLOCK_IS_SET: u64 = 1_735_689_600;
/// Longer than the kernels keep a forgotten connection.
const LAST_FLOWS: Duration = Duration::from_secs(300);
/// Longer than anybody believes that a router is without NAT-f (N10, T6), and than forgotten flows use up limits.
const RECOVERY: Duration = Duration::from_secs(160);
/// Flows that each node opens at the end.
const PROBES: usize = 3;

impl World {
    /// Lives through all that the plan says, and what comes after it.
    pub fn live(&mut self) {
        self.network.weather = self.plan.weather;
        self.begin_flows();
        self.begin_trouble();
        self.run(self.plan.lasts);
        self.is_quiet = true;
        let patient = self.patient_flows();
        self.heal();
        self.run(RECOVERY);
        self.check_patience(&patient);
        let ended = self.ended_flows();
        let probes = self.check_agreement();
        self.run(LAST_FLOWS);
        self.check_ends(&ended, &probes);
        self.check_nothing_is_left();
    }

    /// Flows whose first packets or answers were lost again and again, in a world in which nothing else is against them:
    /// an external node keeps their mapping until one gets through (N9).
    fn patient_flows(&self) -> Vec<FlowId> {
        let is_harmless =
            |trouble: &Trouble| matches!(trouble, Trouble::Replay | Trouble::Tamper | Trouble::Knock);
        if !self.plan.troubles.iter().all(is_harmless) {
            return Vec::new();
        }
        let is_patient = |app: &&App| {
            app.asks_again() && app.peer != KeyId::ANONYMOUS && matches!(app.place, Place::End(_))
        };
        self.apps.iter().filter(is_patient).map(|app| app.id).collect()
    }

    fn check_patience(&mut self, patient: &[FlowId]) {
        for id in patient {
            let app = &self.apps[*id];
            if app.state == State::GaveUp {
                self.judge(Err(format!("the network is well, but flow {id} was never answered: {app:?}")));
                return;
            }
        }
    }

    /// How many ends of flows routers have confirmed to each external node.
    fn ended_flows(&self) -> Vec<u64> {
        let ended = |node: &EndNode| node.core.as_ref().map_or(0, |core| core.counters().flows_ended);
        self.ends.iter().map(ended).collect()
    }

    /// Routers hear of the ends of flows, and say so.
    fn check_ends(&mut self, before: &[u64], probes: &[FlowId]) {
        let after = self.ended_flows();
        for id in probes {
            let app = &self.apps[*id];
            let Place::End(end) = app.place else { continue };
            let is_mapped = app.state == State::Done && app.peer != KeyId::ANONYMOUS;
            if is_mapped && after[end] == before[end] {
                self.judge(Err(format!(
                    "end {end} told nobody of the end of flow {id}, or was not heard: {app:?}"
                )));
                return;
            }
        }
    }

    /// What is allowed works, what is not is refused, and nobody is left in doubt. Returns the flows that tried it.
    fn check_agreement(&mut self) -> Vec<FlowId> {
        let mut probes = Vec::new();
        for end in 0..self.ends.len() {
            probes.extend((0..PROBES).filter_map(|_| self.probe(end)));
        }
        self.run(Duration::from_secs(12));
        for id in &probes {
            self.check_probe(*id);
        }
        for client in 0..self.clients.len() {
            self.probe_as_client(client);
        }
        probes
    }

    fn draw_service(&mut self) -> (usize, &'static str, u16) {
        (self.dice.index(self.routers.len()), *self.dice.pick(&HOSTS), *self.dice.pick(&PORTS))
    }

    fn probe(&mut self, end: usize) -> Option<FlowId> {
        let (router, host, port) = self.draw_service();
        let (transport, source) = (*self.dice.pick(&TRANSPORTS), 20_000 + self.fresh_number());
        self.dial(end, router, host, transport, (source, port))
    }

    fn check_probe(&mut self, id: FlowId) {
        let app = self.apps[id].clone();
        let wanted = self.is_wanted(app.router, app.peer, app.host, app.tuple.destination.port());
        let verdict = match app.state {
            State::Done => wanted,
            State::Refused(Some(Cause::Refused(Refusal::Router(Some(reason))))) => {
                self.is_full(app.router, reason) || !wanted
            }
            State::Refused(Some(Cause::Refused(Refusal::NotRecognised(_)))) => {
                !self.routers[app.router].policy.peers.contains_key(&app.peer)
            }
            // Without a key, and where nothing is open to anyone, the router itself is dialled (N10).
            _ if app.peer == KeyId::ANONYMOUS => app.is_plain && !wanted,
            _ => false,
        };
        if !verdict {
            self.judge(Err(format!("all is well, flow {id} should work: {wanted}, but {app:?}")));
        }
    }

    fn is_wanted(&self, router: usize, peer: KeyId, host: &str, port: u16) -> bool {
        let node = &self.routers[router];
        let unix = node.clocks(self.now).unix;
        let is_timed = node.policy.hosts.get(host).is_some_and(|host| host.until.is_some());
        node.policy.allows(peer, host, port, unix) && (!is_timed || unix >= CLOCK_IS_SET)
    }

    /// Whether a refusal for want of room is true.
    fn is_full(&self, router: usize, reason: Reason) -> bool {
        let limits = self.routers[router].limits;
        let is_tight = limits.max_mappings < 100 || limits.port_last - limits.port_first < 100;
        is_tight && matches!(reason, Reason::TableFull | Reason::Busy)
    }

    /// One client after the other: those behind one address are told apart by their order (T9).
    fn probe_as_client(&mut self, client: usize) {
        let (router, host, port) = self.draw_service();
        // A router that was silent is probed by the first question, for which nobody waits (T6).
        self.ask(client, router, HOSTS[0], PORTS[0]);
        self.run(Duration::from_secs(3));
        self.told.clear();
        let first = self.apps.len();
        self.ask(client, router, host, port);
        self.run(Duration::from_secs(8));
        let told = self.told.first().map(|(.., verdict)| *verdict);
        let admitted = self.is_admitted(router, host);
        match (told, admitted) {
            (Some(Verdict::Send), true) | (Some(Verdict::Refuse(_)), false) => {}
            (Some(Verdict::Refuse(_)), true) if self.routers[router].limits.max_guide < 10 => {}
            _ => {
                self.judge(Err(format!(
                    "client {client} asks for {host}, admitted {admitted}, and hears {told:?}"
                )));
            }
        }
        let Some(app) = self.apps.get(first).cloned() else { return };
        let is_tight = self.routers[router].limits.max_mappings < 100;
        if self.is_wanted(router, SERVER, host, port) && app.state != State::Done && !is_tight {
            self.judge(Err(format!("all is well, but client {client}'s flow does not work: {app:?}")));
        }
    }

    /// Whether a TSN server may announce clients to a host, whatever the port.
    fn is_admitted(&self, router: usize, host: &str) -> bool {
        let served = self.routers[router].policy.hosts.get(host).and_then(|host| host.port);
        self.is_wanted(router, SERVER, host, served.unwrap_or(PORTS[0]))
    }

    /// All flows have ended, all lifetimes have passed.
    fn check_nothing_is_left(&mut self) {
        if self.complaint.is_some() {
            return;
        }
        let mut left = Vec::new();
        let now = self.now;
        for (at, node) in self.routers.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            let rows = core.guide_rows(node.clocks(now)).count();
            let of_peers = (0..self.ends.len()).map(end_key).chain([SERVER, KeyId::ANONYMOUS]);
            let counted: u32 = of_peers.map(|peer| core.mappings_of(peer)).sum();
            let entries = node.table.iter(now).filter(|connection| connection.label.is_some()).count();
            left.push((format!("router {at}: mappings"), core.mappings().len()));
            left.push((format!("router {at}: mappings counted"), counted as usize));
            left.push((format!("router {at}: rows"), rows));
            left.push((format!("router {at}: entries"), entries));
            left.push((format!("router {at}: elements"), node.elements(now)));
        }
        for (at, node) in self.ends.iter().enumerate() {
            let Some(core) = &node.core else { continue };
            left.push((format!("end {at}: flows"), core.flows().len()));
            left.push((format!("end {at}: held"), core.held() + node.held.len()));
        }
        let under_way = self.server.core.as_ref().map_or(0, |core| core.under_way());
        left.push(("server: notifications".to_owned(), under_way));
        left.push(("server: questions".to_owned(), self.server.waiting.len()));
        left.retain(|(_, number)| *number > 0);
        if !left.is_empty() {
            self.judge(Err(format!("something is left at the end: {left:?}")));
        }
    }

    /// Flows that were opened, answered at least once, and refused.
    pub fn tally(&self) -> (usize, usize, usize) {
        let answered = self.apps.iter().filter(|app| app.answered > 0).count();
        let refused = self.apps.iter().filter(|app| matches!(app.state, State::Refused(_))).count();
        (self.apps.len(), answered, refused)
    }
}
