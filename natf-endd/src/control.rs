//! The control socket: a line of JSON in, a line of JSON out. Only the daemon's user may connect (mode 0600).

use std::{
    fs,
    io::{self, BufRead as _, BufReader as Reader, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream as Stream},
    path::Path,
    rc::Rc,
};

use serde_json::{Value, json};
use smol::{
    LocalExecutor,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::unix::{UnixListener, UnixStream},
};

use crate::{cli::Places, daemon::Daemon, error::Error};

/// Longest question.
const QUESTION_LIMIT: u64 = 4096;

/// Makes the socket; one that a killed daemon left is replaced, one that is answered is not.
///
/// # Errors
/// Where the directory or the socket cannot be made, or another daemon runs.
pub fn listen(path: &Path) -> Result<UnixListener, Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::io("cannot make", directory))?;
    }
    if Stream::connect(path).is_ok() {
        return Err(Error::Refused(format!("another natf-endd answers at {}", path.display())));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("cannot replace", path)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(Error::io("cannot listen at", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .map_err(Error::io("cannot protect", path))?;
    Ok(listener)
}

/// Answers until the daemon ends.
pub async fn serve(daemon: &Rc<Daemon>, listener: UnixListener) {
    let executor = LocalExecutor::new();
    let accept = async {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let talk = talk(daemon.clone(), stream);
                    executor
                        .spawn(async move {
                            if let Err(error) = talk.await {
                                log::debug!("control socket: {error}");
                            }
                        })
                        .detach();
                }
                Err(error) => {
                    log::warn!("control socket: {error}");
                    smol::Timer::after(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    };
    executor.run(accept).await
}

async fn talk(daemon: Rc<Daemon>, mut stream: UnixStream) -> io::Result<()> {
    let mut question = String::new();
    BufReader::new(stream.clone().take(QUESTION_LIMIT)).read_line(&mut question).await?;
    let question: Value = serde_json::from_str(&question).unwrap_or(Value::Null);
    let answer = match question.get("command").and_then(Value::as_str).unwrap_or_default() {
        "status" => daemon.status(),
        "ping" => daemon.ping(&question).await,
        "reload" => match daemon.reload() {
            Ok(()) => json!({"reloaded": true}),
            Err(error) => json!({"error": error.to_string()}),
        },
        other => json!({"error": format!("'{other}' is no command; accepted are status, ping and reload")}),
    };
    stream.write_all(format!("{answer}\n").as_bytes()).await?;
    stream.flush().await
}

/// Asks the running daemon.
///
/// # Errors
/// Where no daemon answers, or it answers with an error.
pub fn ask(places: &Places, question: &Value) -> Result<Value, Error> {
    let path = places.socket();
    let talk = || {
        let mut stream = Stream::connect(&path)?;
        stream.write_all(format!("{question}\n").as_bytes())?;
        let mut answer = String::new();
        Reader::new(stream).read_line(&mut answer)?;
        serde_json::from_str::<Value>(&answer).map_err(io::Error::from)
    };
    let answer = talk().map_err(|source| Error::NoDaemon { path: path.clone(), source })?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Error::Refused(error.to_owned())),
        None => Ok(answer),
    }
}
