//! What the daemons of natf have in common.
//!
//! ```text
//!   drive    one thread: poll(2) for the descriptors that every microsecond counts on, futures for all else
//!   control  status, mappings, reload … : a line of JSON over a socket that only the daemon's user may open
//!   random   the operating system's random numbers for nonces, keys and ids
//! ```

pub mod control;
pub mod drive;
pub mod error;
pub mod random;

pub use error::Error;
