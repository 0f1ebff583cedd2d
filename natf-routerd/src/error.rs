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
    /// The external node's half (N12).
    #[error(transparent)]
    End(#[from] natf_end::Error),
    /// The operating system's random source.
    #[error("no random numbers from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// Files, the control socket, the loop.
    #[error(transparent)]
    Daemon(#[from] natf_daemon::Error),
    /// Words on the command line.
    #[error("{0}\ntry 'natf-routerd --help'")]
    Usage(String),
}

impl Error {
    /// Names the file to an I/O error.
    pub fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let named = natf_daemon::Error::io(what, path);
        move |source| Self::Daemon(named(source))
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
