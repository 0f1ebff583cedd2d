//! Fuzz targets: every parser of bytes and texts that come from outside, and the daemons' cores, for which the bytes are
//! a script of events; with what has to hold for any input.
//!
//! ```text
//!   corpus/TARGET/* ─┐
//!   seeds in code ───┼─▶ target(bytes) ── panics where an invariant breaks
//!   mutations ───────┘      ▲         ▲
//!            `make test`: tests/brief.rs   `make fuzz`: libFuzzer, guided by coverage
//! ```
//!
//! A finding becomes a file in `corpus/`, so that `make test` tries it for ever.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "checks: to panic is their way to speak, and their numbers are their own"
)]

mod script;

mod targets {
    pub mod config;
    pub mod dnsd;
    pub mod dnsd_core;
    pub mod end;
    pub mod end_core;
    pub mod kernel;
    pub mod proto;
    pub mod router;
    pub mod router_core;
}

use targets::{config, dnsd, dnsd_core, end, end_core, kernel, proto, router, router_core};

/// One thing to be fuzzed.
pub struct Target {
    /// Its name on the command line and in `corpus/`.
    pub name: &'static str,
    /// Takes any input; panics where something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

impl Target {
    /// Whether an input is a script of many events, which takes its time.
    pub fn is_story(&self) -> bool {
        ["router-core", "end-core", "announcer", "dnsd-core"].contains(&self.name)
    }
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target { name: "message", run: proto::message, seeds: proto::message_seeds },
    Target { name: "body", run: proto::body, seeds: proto::body_seeds },
    Target { name: "notice", run: proto::notice, seeds: proto::notice_seeds },
    Target { name: "notice-body", run: proto::notice_body, seeds: proto::notice_body_seeds },
    Target { name: "packet", run: kernel::packet, seeds: kernel::packet_seeds },
    Target { name: "config", run: config::config, seeds: config::config_seeds },
    Target { name: "enrol-uri", run: config::enrol_uri, seeds: config::enrol_uri_seeds },
    Target { name: "option", run: config::option, seeds: config::option_seeds },
    Target { name: "rewriting", run: end::rewriting, seeds: end::rewriting_seeds },
    Target { name: "registration", run: router::registration, seeds: router::registration_seeds },
    Target { name: "netbios", run: router::netbios, seeds: router::netbios_seeds },
    Target { name: "dns-question", run: dnsd::question, seeds: dnsd::question_seeds },
    Target { name: "dns-reply", run: dnsd::reply, seeds: dnsd::reply_seeds },
    Target { name: "dns-update", run: dnsd::update, seeds: dnsd::update_seeds },
    Target { name: "dns-update-signed", run: dnsd::signed_update, seeds: dnsd::signed_update_seeds },
    Target { name: "router-core", run: router_core::router_core, seeds: router_core::router_core_seeds },
    Target { name: "end-core", run: end_core::end_core, seeds: end_core::end_core_seeds },
    Target { name: "announcer", run: dnsd_core::announcer, seeds: dnsd_core::announcer_seeds },
    Target { name: "dnsd-core", run: dnsd_core::dnsd_core, seeds: dnsd_core::dnsd_core_seeds },
    Target { name: "zone-file", run: dnsd::zone_file, seeds: dnsd::zone_file_seeds },
];

/// The target of this name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The bytes of a hexadecimal text.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| byte.is_ascii_hexdigit()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// The values of a field in a file of test vectors, without reading JSON as a whole.
fn vectors(json: &str, field: &str) -> Vec<Vec<u8>> {
    let start = format!("\"{field}\": \"");
    json.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).map(unhex).collect()
}
