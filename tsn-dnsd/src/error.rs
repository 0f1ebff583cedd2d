//! What can stop the daemon or a command.

use std::{io, path::PathBuf};

use natf_config::ConfigError;
use natf_kernel::KernelError;

/// A failure, in words for a person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Everything that is wrong with the configuration.
    #[error("{}", lines(.0))]
    Config(Vec<ConfigError>),
    /// A key file or an edit of a configuration file.
    #[error(transparent)]
    File(#[from] natf_config::Error),
    /// Something the user asked for is not possible.
    #[error("{0}")]
    Refused(String),
    /// The kernel layer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The operating system's random source.
    #[error("no random numbers from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// A file or socket.
    #[error("{what} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file or address.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
    /// The loop or the control socket.
    #[error(transparent)]
    Daemon(#[from] natf_daemon::Error),
    /// The operating system cannot tell what happens.
    #[error("cannot wait for events: {0}")]
    Wait(#[source] io::Error),
    /// Words on the command line.
    #[error("{0}\ntry 'tsn-dnsd --help'")]
    Usage(String),
}

impl Error {
    /// Names the loop to an I/O error.
    pub fn wait(source: io::Error) -> Self {
        Self::Wait(source)
    }

    /// Names the file or address to an I/O error.
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
