//! Linux kernel layer of natf.
//!
//! ```text
//!            first packet                 decision                       the flow itself
//!  kernel --- queue.rs ------> daemon --- conntrack.rs (mapping, N7) --> kernel's NAT
//!             raw.rs (echo)              elements.rs (VAT map, N9)
//!                                        raw.rs (answers)
//!  questions --- udp_batch.rs ---> DNS server --- udp_batch.rs ---> answers
//!  set up once: ruleset.rs (own nft table)     watched: address.rs, table_watch.rs, timeouts.rs
//! ```
//!
//! IPv4 only. Sockets are non-blocking; those that receive packets expose their descriptor for a
//! reactor, those that carry commands are synchronous and bounded. The only crate with `unsafe`, all of
//! it in sys.rs and udp_batch.rs.

mod batch;
mod error;
mod netlink;
#[allow(unsafe_code)]
mod sys;

pub mod packet;
pub mod queue;
pub mod raw;
#[allow(unsafe_code)]
pub mod udp_batch;

pub mod conntrack;
pub mod elements;
pub mod ruleset;

pub mod process;

pub mod address;
pub mod table_watch;
pub mod timeouts;

pub use error::KernelError;
