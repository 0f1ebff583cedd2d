//! UCI configuration and key files of the natf daemons.
//!
//! ```text
//! /etc/config/natf -> uci -> fields -> router, host, peer, ddns, end, home -> load -> RouterConfig, EndConfig
//!                      ^                                                                (or every ConfigError)
//!                      +-- editor (peer add, peer remove, enroll) -> atomic -> /etc/config/natf
//! /etc/natf/keys <-> keys <-> enrol (natf://…, shown as text and QR)
//! ```
//!
//! Nothing here decides who may reach what; the types only say what the user wrote.

mod uci;

mod fields;
mod name;
mod service;
mod until;

mod ddns;
mod end;
mod home;
mod host;
mod peer;
mod router;

mod load;

mod dnsd;

mod dnsmasq;

mod atomic;
mod editor;
mod enrol;
mod error;
mod keys;

#[cfg(test)]
mod scratch;

pub use ddns::DdnsRow;
pub use dnsd::{
    ClientRow, DnsdConfig, Network, NetworkError, RecordName, RecordRow, ServerSettings, TsigAlgorithm,
    TsigKeyRow, TsnRouterRow, Without, ZoneRow, load_dnsd, parse_dnsd,
};
pub use editor::{Editor, Setting};
pub use end::{EndSettings, Resolver, Silent, VirtualNet, VirtualNetError};
pub use enrol::EnrolUri;
pub use error::{ConfigError, Error};
pub use home::{HomeDomain, HomeRow};
pub use host::{Access, Enrolled, HostAddress, HostRow, Peers};
pub use keys::{EnrolledKey, KeyEntry, KeyFile};
pub use load::{EndConfig, RouterConfig, load_end, load_router, parse_config};
pub use name::{DomainName, NameError, PrivateHostName, is_section_name, section_name_of};
pub use peer::{Hosts, PeerRow, Role};
pub use router::RouterSettings;
pub use service::{Protocol, Service, ServiceError};
pub use uci::{Opt, Section, UciFile, quote};
pub use until::{format_utc, parse_until};
