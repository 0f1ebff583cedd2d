//! The server's decisions, without I/O: time and chance come in as arguments, replies go out as bytes.

pub mod counters;
pub mod settings;
pub mod wire;

pub mod limit;
pub mod question;
pub mod room;

pub mod answer;
pub mod cache;
pub mod reply;

pub mod asking;
pub mod flights;
pub mod received;
pub mod upstreams;

pub mod alias;
pub mod announced;
pub mod responder;
pub mod server;
