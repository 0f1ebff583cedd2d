//! What can stop an external node.

use std::io;

use natf_kernel::KernelError;

use crate::{
    dns::HomesError,
    io::{relation_file::RelationFileError, resolver::ResolverError},
    virtual_address::PrefixError,
};

/// A failure between the external node and its system.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel layer.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The daemon's loop.
    #[error(transparent)]
    Daemon(#[from] natf_daemon::Error),
    /// The operating system's random source.
    #[error("no random numbers from the operating system: {0}")]
    Random(#[from] getrandom::Error),
    /// The key file.
    #[error(transparent)]
    Keys(#[from] natf_config::Error),
    /// The domain of a home.
    #[error(transparent)]
    Home(#[from] HomesError),
    /// The virtual prefix.
    #[error(transparent)]
    Prefix(#[from] PrefixError),
    /// The state file.
    #[error("{}", with_cause(.0))]
    State(#[from] RelationFileError),
    /// The system's resolver.
    #[error("{}", with_cause(.0))]
    Resolver(#[from] ResolverError),
    /// Something the user asked for is not possible.
    #[error("{0}")]
    Refused(String),
    /// A file or socket.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with which values.
        what: String,
        /// The operating system's answer.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Says what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// An error with its cause, where its own words leave that out.
pub(crate) fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
