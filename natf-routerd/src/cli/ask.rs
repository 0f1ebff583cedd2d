//! Asks the running daemon over its control socket.

use std::path::Path;

use natf_daemon::{Error, control};
use serde_json::Value;

/// Sends one question and reads the answer.
///
/// # Errors
/// Where no daemon answers, or it answers with an error.
pub fn ask(socket: &Path, question: &Value) -> Result<Value, Error> {
    control::ask(socket, "natf-routerd", question)
}
