//! Applications: each opens a flow to a host by what its name resolves to, repeats what is not answered, and says how
//! it ended.

use std::time::{Duration, Instant};

use natf_proto::{KeyId, Transport};

use crate::{
    end_node::Cause,
    packet::{FlowId, Packet, Part, Tuple},
};

/// How often an application says the same before it gives up.
const TRIES: u8 = 6;

/// Where an application runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On an external node, or in the LAN behind it.
    End(usize),
    /// On an unmodified client of a TSN server.
    Client(usize),
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Waits for the first answer.
    Opening,
    /// Was answered.
    Open,
    /// Has closed its connection, and waits for the other side.
    Closing,
    /// Ended well.
    Done,
    /// Was told that there is no way.
    Refused(Option<Cause>),
    /// Gave up.
    GaveUp,
}

/// An application's flow.
#[derive(Debug, Clone)]
pub struct App {
    /// Its number.
    pub id: FlowId,
    /// Where it runs.
    pub place: Place,
    /// The flow as the application sees it.
    pub tuple: Tuple,
    /// The router behind which the host is.
    pub router: usize,
    /// The host that is meant.
    pub host: &'static str,
    /// Whose key opens the way.
    pub peer: KeyId,
    /// How far it is.
    pub state: State,
    /// Questions that it wants answered.
    pub wanted: u16,
    /// Questions that were answered.
    pub answered: u16,
    /// Times that the last thing was said.
    tries: u8,
    /// The router itself got what it said (N10).
    pub is_plain: bool,
    /// It reached a host by the entry of an announced client, whose address it shares (T9).
    pub is_taken_for_client: bool,
    /// The timer that counts.
    pub due: Instant,
}

impl App {
    /// One that has said nothing yet.
    pub fn new(
        id: FlowId,
        place: Place,
        tuple: Tuple,
        whom: (usize, &'static str, KeyId),
        wanted: u16,
    ) -> Self {
        let (router, host, peer) = whom;
        let (state, answered, tries) = (State::Opening, 0, 0);
        let (due, is_plain, is_taken_for_client) = (Instant::now(), false, false);
        Self {
            id,
            place,
            tuple,
            router,
            host,
            peer,
            state,
            wanted,
            answered,
            tries,
            is_plain,
            is_taken_for_client,
            due,
        }
    }

    /// True where nothing will happen any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Refused(_) | State::GaveUp)
    }

    /// True where it was never answered, and will ask once more at least.
    pub fn asks_again(&self) -> bool {
        self.state == State::Opening && self.tries < TRIES
    }

    /// What it says now, and when it speaks again.
    pub fn speak(&mut self, now: Instant) -> Option<Packet> {
        let is_tcp = self.tuple.transport == Transport::Tcp;
        if self.tries >= TRIES && !self.is_over() {
            self.state = State::GaveUp;
        }
        let part = match self.state {
            State::Opening if is_tcp => Part::Syn,
            State::Opening | State::Open if self.answered < self.wanted => Part::Ask(self.answered),
            State::Open if is_tcp => {
                self.state = State::Closing;
                Part::Fin
            }
            State::Closing => Part::Fin,
            State::Opening | State::Open => {
                self.state = State::Done;
                return None;
            }
            State::Done | State::Refused(_) | State::GaveUp => return None,
        };
        self.due = now + Duration::from_millis(1000 << self.tries.min(4));
        self.tries += 1;
        Some(Packet::data(self.tuple, part, Some(self.id)))
    }

    /// Takes an answer; true where it has something to say after `pause`.
    pub fn hear(&mut self, now: Instant, part: &Part, pause: Duration) {
        match (self.state, part) {
            (State::Opening, Part::SynAck(_)) => self.state = State::Open,
            (State::Opening | State::Open, Part::Answer(number, _)) if *number == self.answered => {
                self.state = State::Open;
                self.answered += 1;
            }
            (State::Closing, Part::FinAck) => {
                self.state = State::Done;
                return;
            }
            (State::Opening | State::Open | State::Closing, Part::Reset) => {
                self.state = State::Refused(None);
                return;
            }
            _ => return,
        }
        self.tries = 0;
        self.due = now + pause;
    }
}
