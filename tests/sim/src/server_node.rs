//! A TSN server: the real announcer, and the clients' questions that wait for it.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::MAGIC;
use tsn_dnsd::announce::{Announcer, Asked, Asking, Origin, Output, RouterRow, Settings, Ticket, Verdict};

use crate::{
    dice::Dice,
    packet::{Load, Packet},
    policy::host_name,
};

/// How long a question waits for its router.
pub const WAIT: Duration = Duration::from_millis(300);

/// What the server did that the world has to know of.
#[derive(Debug)]
pub enum Deed {
    /// A packet leaves.
    Sends(Packet),
    /// A client is told.
    Tells(usize, Question, Verdict),
}

/// A client's question for a name.
#[derive(Debug, Clone)]
pub struct Question {
    /// The client's address as routers see it.
    pub origin: Ipv4Addr,
    /// Which router's.
    pub router: usize,
    /// Its address as DNS has it.
    pub address: Ipv4Addr,
    /// The private host name.
    pub host: &'static str,
    /// When it was asked.
    pub asked: Instant,
    /// The port that the client is going to dial.
    pub port: u16,
}

/// A TSN server.
pub struct ServerNode {
    /// The daemon; `None` while it is dead.
    pub core: Option<Announcer>,
    /// Its address.
    pub address: Ipv4Addr,
    /// The routers that it is enrolled at.
    pub rows: Vec<Rc<RouterRow>>,
    /// Unix seconds of its clock at the start of the run.
    pub clock: u64,
    /// Deeds that nobody has taken yet.
    pub deeds: Vec<Deed>,
    /// Questions that wait, with their clients.
    pub waiting: BTreeMap<Ticket, Vec<(usize, Question)>>,
    sequence: u16,
    start: Instant,
    dice: Dice,
}

impl ServerNode {
    /// A server whose daemon does not run yet.
    pub fn new(start: Instant, address: Ipv4Addr, rows: Vec<Rc<RouterRow>>, dice: Dice) -> Self {
        Self {
            core: None,
            address,
            rows,
            clock: 1_795_000_000,
            deeds: Vec::new(),
            waiting: BTreeMap::new(),
            sequence: 0,
            start,
            dice,
        }
    }

    /// The daemon starts.
    pub fn start(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.start).as_secs();
        let unix_seconds = self.clock.saturating_add(elapsed);
        let random = Box::new(self.dice.fork());
        self.core = Some(Announcer::new(Settings { wait: WAIT, unix_seconds, random }));
    }

    /// kill -9: clients that wait are not answered.
    pub fn kill(&mut self) {
        self.core = None;
        self.waiting.clear();
    }

    /// A client asks for a name.
    pub fn handle_question(&mut self, now: Instant, client: usize, id: u16, question: Question) {
        let (Some(core), Some(row)) = (&mut self.core, self.rows.get(question.router)) else { return };
        let name = host_name(&format!("{}.{}", question.host, row.domains[0]));
        let origin = Origin::Address(question.origin);
        match core
            .handle_question(now, Asked { id, origin, name, router: question.address, row: row.clone() })
        {
            Asking::Now(verdict) => self.deeds.push(Deed::Tells(client, question, verdict)),
            Asking::Wait(ticket) => self.waiting.entry(ticket).or_default().push((client, question)),
        }
        self.carry_out();
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.core.as_ref()?.poll_timeout()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(core) = &mut self.core {
            core.handle_timeout(now);
        }
        self.carry_out();
    }

    /// A packet from the network.
    pub fn handle_packet(&mut self, now: Instant, packet: &Packet) {
        if let (Load::Echo { reply: true, bytes, .. }, Some(core)) = (&packet.load, &mut self.core)
            && bytes.starts_with(&MAGIC)
        {
            core.handle_reply(now, packet.from, bytes);
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.core.as_mut().and_then(Announcer::poll_output) {
            match output {
                Output::Send { to, message } => {
                    self.sequence = self.sequence.wrapping_add(1);
                    let bytes = message.as_slice().into();
                    let load = Load::Echo { reply: false, id: 7, sequence: self.sequence, bytes };
                    self.deeds.push(Deed::Sends(Packet { from: self.address, to, load }));
                }
                Output::Done(ticket, verdict) => {
                    for (client, question) in self.waiting.remove(&ticket).unwrap_or_default() {
                        self.deeds.push(Deed::Tells(client, question, verdict));
                    }
                }
            }
        }
    }
}
