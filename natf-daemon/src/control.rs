//! The control socket: a line of JSON in, a line of JSON out. Only the daemon's user may connect (mode 0600).

use std::{
    fs,
    future::Future,
    io::{self, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net::UnixStream as BlockingStream},
    path::Path,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use smol::{
    LocalExecutor, Timer,
    future::or,
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    lock::Semaphore,
    net::unix::{UnixListener, UnixStream},
};

use crate::error::Error;

/// Longest question, in bytes.
const QUESTION_LIMIT: u64 = 4096;
/// How long a daemon waits for a question, and a command for its answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 16;
/// Room for a question as it comes in; longer ones take several reads.
const READ_BUFFER: usize = 512;
/// After a failed accept (no descriptors left?) the next one is tried so much later.
const RETRY: Duration = Duration::from_millis(100);

/// Makes the socket; one that a killed daemon left is replaced, one that is answered is not.
///
/// # Errors
/// Where the directory or the socket cannot be made, or another `program` runs.
pub fn listen(path: &Path, program: &str) -> Result<UnixListener, Error> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(Error::io("cannot make", directory))?;
    }
    if BlockingStream::connect(path).is_ok() {
        return Err(Error::Refused(format!("another {program} answers at {}", path.display())));
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

/// Hands every question, with the stream for its answer, to `answer`, until the daemon ends. What is no JSON is
/// `null`.
pub async fn serve<F, Answered>(listener: UnixListener, answer: F)
where
    F: Fn(Value, UnixStream) -> Answered + Clone,
    Answered: Future<Output = io::Result<()>>,
{
    let executor = LocalExecutor::new();
    let free = Arc::new(Semaphore::new(CONNECTIONS));
    let accept = async {
        loop {
            let place = free.acquire_arc().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    let answer = answer.clone();
                    let talk = async move {
                        let question = read_question(&stream).await?;
                        answer(question, stream).await
                    };
                    executor
                        .spawn(async move {
                            if let Err(error) = talk.await {
                                log::debug!("control socket: {error}");
                            }
                            drop(place);
                        })
                        .detach();
                }
                Err(error) => {
                    log::warn!("control socket: {error}");
                    Timer::after(RETRY).await;
                }
            }
        }
    };
    executor.run(accept).await
}

async fn read_question(stream: &UnixStream) -> io::Result<Value> {
    let mut question = String::new();
    let mut reader = BufReader::with_capacity(READ_BUFFER, stream.clone().take(QUESTION_LIMIT));
    let read = async { reader.read_line(&mut question).await.map(drop) };
    or(read, async {
        Timer::after(PATIENCE).await;
        Err(io::ErrorKind::TimedOut.into())
    })
    .await?;
    Ok(serde_json::from_str(&question).unwrap_or(Value::Null))
}

/// Writes an answer that is there as a whole.
///
/// # Errors
/// Where the asker is gone.
pub async fn write(stream: &mut UnixStream, answer: &Value) -> io::Result<()> {
    stream.write_all(format!("{answer}\n").as_bytes()).await?;
    stream.flush().await
}

/// Asks the running `program`.
///
/// # Errors
/// Where no daemon answers, or it answers with an error.
pub fn ask(path: &Path, program: &str, question: &Value) -> Result<Value, Error> {
    let no_daemon = |source| Error::NoDaemon { program: program.to_owned(), path: path.to_owned(), source };
    let text = converse(path, question).map_err(no_daemon)?;
    let answer: Value = serde_json::from_str(&text)
        .map_err(|error| Error::Refused(format!("the answer of {program} is not JSON ({error})")))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(Error::Refused(error.to_owned())),
        None => Ok(answer),
    }
}

fn converse(path: &Path, question: &Value) -> io::Result<String> {
    let mut stream = BlockingStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut text = String::new();
    io::BufReader::new(stream).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scratch(name: &str) -> std::path::PathBuf {
        let directory = std::env::temp_dir().join(format!("natf-control-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory.join("test.sock")
    }

    #[test]
    fn questions_are_answered_and_bad_ones_are_null() {
        let path = scratch("answers");
        let listener = listen(&path, "test").unwrap();
        let asker = {
            let path = path.clone();
            std::thread::spawn(move || {
                let good = ask(&path, "test", &json!({"command": "status"})).unwrap();
                let mut garbage = BlockingStream::connect(&path).unwrap();
                garbage.write_all(b"{\"command\n").unwrap();
                let mut text = String::new();
                garbage.read_to_string(&mut text).unwrap();
                (good, text)
            })
        };
        let served = serve(listener, |question, mut stream| async move {
            write(&mut stream, &json!({ "heard": question })).await
        });
        let waited = async {
            while !asker.is_finished() {
                Timer::after(Duration::from_millis(5)).await;
            }
        };
        smol::block_on(or(served, waited));
        let (good, garbage) = asker.join().unwrap();
        assert_eq!(good, json!({"heard": {"command": "status"}}));
        assert_eq!(garbage, "{\"heard\":null}\n");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn who_holds_many_connections_makes_others_wait_and_costs_no_more() {
        let path = scratch("many");
        let listener = listen(&path, "test").unwrap();
        let asker = {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut held: Vec<_> =
                    (0..CONNECTIONS).map(|_| BlockingStream::connect(&path).unwrap()).collect();
                let waiting = std::thread::spawn(move || ask(&path, "test", &json!({})).unwrap());
                std::thread::sleep(Duration::from_millis(100));
                let waits = !waiting.is_finished();
                held.pop();
                (waits, waiting.join().unwrap())
            })
        };
        let served = serve(listener, |_, mut stream| async move { write(&mut stream, &json!({})).await });
        let waited = async {
            while !asker.is_finished() {
                Timer::after(Duration::from_millis(5)).await;
            }
        };
        smol::block_on(or(served, waited));
        assert_eq!(asker.join().unwrap(), (true, json!({})));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_second_daemon_is_refused_and_a_dead_ones_socket_replaced() {
        let path = scratch("second");
        let first = listen(&path, "test").unwrap();
        assert!(listen(&path, "test").unwrap_err().to_string().contains("another test"));
        drop(first);
        assert!(listen(&path, "test").is_ok());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let nobody = ask(&path.with_extension("none"), "test", &json!({})).unwrap_err();
        assert!(matches!(nobody, Error::NoDaemon { .. }), "{nobody}");
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
