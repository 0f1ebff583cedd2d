//! What can stop the daemon or a command, in words for a person.

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
    /// Files, the control socket.
    #[error(transparent)]
    Daemon(#[from] natf_daemon::Error),
    /// Words on the command line.
    #[error("{0}\ntry 'natf-endd --help'")]
    Usage(String),
}

impl From<lexopt::Error> for Error {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}

fn lines(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
