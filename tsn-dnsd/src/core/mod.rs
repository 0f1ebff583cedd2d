//! The server's decisions, without I/O.
