//! What the daemons of natf have in common.
//!
//! ```text
//!   drive    one thread: poll(2) for the descriptors that every microsecond counts on, futures for all else
//!   control  status, mappings, reload … : a line of JSON over a socket that only the daemon's user may open
//!   table    rows of JSON for people
//!   counters what happened, by name
//!   logger   where lines go, so that procd and systemd learn how bad each is
//!   failures of calls to the kernel that may succeed the next time
//!   random   the operating system's random numbers for nonces, keys and ids
//! ```

// On these rustix hands musl a 64-bit timespec for the libc crate's 32-bit one, and no timer ever fires: patches/README.md.
#[cfg(all(target_env = "musl", any(target_arch = "mips", target_arch = "powerpc"), not(fix_y2038)))]
compile_error!(
    "32-bit MIPS and PowerPC with musl need RUSTFLAGS=\"--cfg fix_y2038\", else no timer ever fires"
);

pub mod control;
pub mod counters;
pub mod drive;
pub mod error;
pub mod failures;
pub mod logger;
pub mod random;
pub mod table;

pub use error::Error;
