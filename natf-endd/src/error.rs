//! What can stop the daemon or a command, in words for a person.

use std::{io, path::PathBuf};

use natf_config::ConfigError;

/// A failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everything that is wrong with the configuration.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    /// The key file, the enrol URI, or an edit of the configuration.
    #[error(transparent)]
    File(#[from] natf_config::Error),
    /// The external node.
    #[error(transparent)]
    End(#[from] natf_end::Error),
    /// Something the user asked for is not possible.
    #[error("{0}")]
    Refused(String),
    /// The daemon cannot be asked.
    #[error("no daemon answers at {}: {source}; is natf-endd running, and are you root?", .path.display())]
    NoDaemon {
        /// The control socket.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
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
    /// Words on the command line.
    #[error("{0}\ntry 'natf-endd --help'")]
    Usage(String),
}

impl Error {
    /// Names the file to an I/O error.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
