//! What can be wrong with a configuration file, a key file or an enrol URI.
//!
//! A [`ConfigError`] is a finding with its place; a loader returns all of them at once. [`Error`] is what stops
//! an operation. Neither ever contains key material.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The longest part of a value that a message repeats.
const SHOWN: usize = 80;

/// One finding in a configuration file: where it is, what is wrong and what is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as it was named by the caller.
    pub file: PathBuf,
    /// The line, counted from 1; 0 if the finding concerns the whole file.
    pub line: u32,
    /// The section as the user knows it: type and name.
    pub section: Option<String>,
    /// The option or list concerned.
    pub option: Option<String>,
    /// The value as written.
    pub value: Option<String>,
    /// What is wrong and what is accepted, in one line; it repeats option and value.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn at(file: &Path, line: u32, problem: impl Into<String>) -> Self {
        let problem = problem.into();
        ConfigError { file: file.to_owned(), line, section: None, option: None, value: None, problem }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:", self.line)?;
        }
        if let Some(section) = &self.section {
            write!(f, " {section}:")?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for ConfigError {}

/// A failed operation on a file, a key or an enrol URI.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The file to be edited is not valid, or would not be afterwards.
    #[error("{}", join(.0))]
    Config(Vec<ConfigError>),
    /// There is no such section to be edited.
    #[error("{}: there is no section {kind} '{name}'", path.display())]
    NoSection {
        /// The file.
        path: PathBuf,
        /// The section's type.
        kind: String,
        /// The section's name.
        name: String,
    },
    /// A section, option or value cannot be written in UCI syntax, or its name is taken.
    #[error("{}: {problem}", path.display())]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is wrong and what is accepted.
        problem: String,
    },
    /// The key file can be read by others than its owner.
    #[error("{}: mode {mode:04o} lets others read the keys; use chmod 0600 {}", path.display(), path.display())]
    KeyFileMode {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A line of the key file is not `NAME ID KEY`.
    #[error("{}:{line}: {problem}; a line is NAME ID KEY (KEY: 32 bytes in base64url)", path.display())]
    KeyLine {
        /// The key file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong, without the key.
        problem: String,
    },
    /// The key file has no key of that name.
    #[error("{}: there is no key for '{name}'", path.display())]
    NoKey {
        /// The key file.
        path: PathBuf,
        /// The peer's or home's section name.
        name: String,
    },
    /// The key file already has a key of that name.
    #[error("{}: there is already a key for '{name}'", path.display())]
    KeyExists {
        /// The key file.
        path: PathBuf,
        /// The peer's or home's section name.
        name: String,
    },
    /// Key file and configuration disagree about a key id.
    #[error("{}: the key for '{name}' has id {found}, the configuration says id {wanted}", path.display())]
    KeyId {
        /// The key file.
        path: PathBuf,
        /// The peer's or home's section name.
        name: String,
        /// The id in the key file.
        found: u16,
        /// The id in the configuration.
        wanted: u16,
    },
    /// A text is not an enrolled key.
    #[error("not a key; a key is 32 bytes in base64url (43 characters), not all of them zero")]
    Key,
    /// The system has no random numbers.
    #[error("cannot make a key, the system gives no random numbers: {0}")]
    Random(getrandom::Error),
    /// A text is not an enrol URI.
    #[error("not an enrol URI: {problem}; one is natf://DOMAIN/?id=ID&key=KEY&peer=NAME[&port=UDPPORT]")]
    EnrolUri {
        /// What is wrong, without the key.
        problem: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str, source: io::Error) -> Self {
        Error::Io { path: path.to_owned(), action, source }
    }
}

/// Makes a value of unknown origin printable on one line: control characters escaped, not too long.
pub(crate) fn shown(value: &str) -> String {
    let mut text: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

fn join(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
