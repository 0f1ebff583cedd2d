//! Sockets, files and the clock.

pub mod control;
pub mod daemon;
pub mod settings;

pub mod service;
pub mod streams;
pub mod upstream;

pub mod announcements;
pub mod notifier;

pub mod tsig_secrets;
pub mod zone_files;
pub mod zone_settings;
