//! Sockets, files and the clock.
