//! Asks the running daemon over its control socket.

use std::{
    io::{self, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use crate::error::Error;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends one question and reads the answer.
///
/// # Errors
/// Where no daemon answers, or it answers with an error.
pub fn ask(socket: &Path, question: &Value) -> Result<Value, Error> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Error::Refused(format!("no natf-routerd answers at {} (is it running?)", socket.display()))
        }
        _ => Error::io("cannot ask", socket)(source),
    };
    let text = converse(socket, question).map_err(failed)?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Refused(format!("the daemon's answer is not JSON ({error})")))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Error::Refused(error.to_owned())),
        None => Ok(answer),
    }
}

fn converse(socket: &Path, question: &Value) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut text = String::new();
    BufReader::new(stream).read_to_string(&mut text)?;
    Ok(text)
}
