//! The cores of all daemons in one simulated world: real decisions, a clock that jumps, chance from a seed.
//!
//! ```text
//!   seed ─▶ plan ─▶ world: nodes ─ packets ─▶ network (loss, copies, delays, cuts) ─▶ nodes
//!                     │      ├ router_node: the router's core, a kernel's tables
//!                     │      ├ end_node:    engine and names of an external node, a kernel's tables
//!                     │      ├ server_node: the TSN server's announcer
//!                     │      └ nat:         changes addresses and ports
//!                     ├ life:    people open flows          trouble: kills, moves, replays, changes of mind
//!                     ├ facts:   what must hold after every event
//!                     └ finale:  all gets better: everybody agrees, and in the end nothing is left
//! ```
//!
//! A seed that fails is run again by `NATF_SIM_SEED=number cargo test -p natf-sim`, which prints all that happened.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test: to panic is its way to speak, and its numbers are its own"
)]

pub mod dice;
pub mod log;
pub mod packet;

pub mod conntrack;
pub mod nat;
pub mod network;

pub mod plan;
pub mod policy;
pub mod sabotage;

pub mod app;
pub mod end_node;
pub mod router_node;
pub mod server_node;

pub mod facts;
pub mod world;

mod finale;
mod life;
mod trouble;

use std::fmt;

use sabotage::Sabotage;
use world::World;

/// A run that went well.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Flows that were opened.
    pub flows: usize,
    /// Flows that were answered.
    pub answered: usize,
    /// Flows that were refused.
    pub refused: usize,
    /// What happened, if that was wanted.
    pub log: Vec<String>,
}

impl Summary {
    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.flows += other.flows;
        self.answered += other.answered;
        self.refused += other.refused;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, flows, answered, refused, .. } = self;
        write!(f, "{events} events, {flows} flows, {answered} of them answered, {refused} refused")
    }
}

/// A run in which something did not hold.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What did not hold.
    pub complaint: String,
    /// What happened, if that was wanted.
    pub log: Vec<String>,
}

/// Runs the world of a seed.
///
/// # Errors
/// [`Failure`] with the first thing that did not hold.
pub fn run(seed: u64, sabotage: Option<Sabotage>, is_logged: bool) -> Result<Summary, Failure> {
    let mut world = World::new(seed, sabotage, is_logged);
    world.live();
    let (flows, answered, refused) = world.tally();
    let log = world.log.into_lines();
    match world.complaint {
        None => Ok(Summary { events: world.events, flows, answered, refused, log }),
        Some(complaint) => Err(Failure { seed, complaint, log }),
    }
}
