//! What the daemon says over its control socket.

use std::{io, rc::Rc};

use natf_daemon::control;
use serde_json::{Value, json};
use smol::net::unix::{UnixListener, UnixStream};

use crate::daemon::Daemon;

/// Answers until the daemon ends.
pub async fn serve(daemon: &Rc<Daemon>, listener: UnixListener) {
    control::serve(listener, |question, stream| answer(daemon.clone(), question, stream)).await;
}

async fn answer(daemon: Rc<Daemon>, question: Value, mut stream: UnixStream) -> io::Result<()> {
    let answer = match question.get("command").and_then(Value::as_str).unwrap_or_default() {
        "status" => daemon.status(),
        "ping" => daemon.ping(&question).await,
        "reload" => match daemon.reload() {
            Ok(()) => json!({"reloaded": true}),
            Err(error) => json!({"error": error.to_string()}),
        },
        other => json!({"error": format!("'{other}' is no command; accepted are status, ping and reload")}),
    };
    control::write(&mut stream, &answer).await
}
