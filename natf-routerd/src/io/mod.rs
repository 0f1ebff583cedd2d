//! Carries the core's outputs out and brings the kernel's and the user's words in.

pub mod control;
pub mod daemon;
pub mod discovery;
pub mod end_role;
mod entries;
pub mod kernel;
pub mod names;
pub mod neighbours;
pub mod registration;
pub mod ruleset;
mod sets;
pub mod settings;
pub mod state;
mod times;
mod why;
