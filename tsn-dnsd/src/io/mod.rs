//! Sockets, files and the clock.

pub mod notifier;
