//! Why bytes are not a message.

/// The bytes are no well-formed NAT-f message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Another length than [`crate::MESSAGE_LEN`] or, for notices, [`crate::NOTICE_LEN`].
    #[error("message of {0} bytes, NAT-f messages have 184, notices 128")]
    Length(usize),
    /// The first four bytes are not the magic number.
    #[error("no NAT-f magic number")]
    Magic,
    /// A version that this program does not speak.
    #[error("protocol version {0}, this program speaks 1")]
    Version(u8),
    /// An unknown or, at this place, unexpected message kind.
    #[error("message kind {0} is not expected here")]
    Kind(u8),
    /// A field with a value outside of what it may hold.
    #[error("field '{field}' holds {value}, which is not accepted")]
    Field {
        /// Name of the field in `docs/protocol.md`.
        field: &'static str,
        /// The value found.
        value: u64,
    },
    /// The private host name is empty, too long, or has a character that names do not have.
    #[error("private host name is not 1 to 64 bytes of letters, digits, '-', '_' and dots between labels")]
    HostName,
}

/// A well-formed message cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The tag does not belong to this key, direction, header and content.
    #[error("message was not sealed with this key, or was changed on its way")]
    Forged,
}
