//! What can fail between a daemon and its system.

use std::{io, path::PathBuf};

/// A failure, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another daemon of this kind runs, or this one says no.
    #[error("{0}")]
    Refused(String),
    /// The daemon cannot be asked.
    #[error("no {program} answers at {}: {source}; is it running, and are you root?", .path.display())]
    NoDaemon {
        /// Who should answer.
        program: String,
        /// The control socket.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The loop.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
    /// A file or socket.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Names the file to an I/O error.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
