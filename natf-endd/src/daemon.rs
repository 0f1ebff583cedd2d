//! The daemon: one thread, the service and what commands it.
//!
//! ```text
//!   service (natf-end)     control socket     SIGHUP ─▶ reload   SIGTERM, SIGINT ─▶ stop
//! ```

use std::{process::ExitCode, rc::Rc, time::Instant};

use async_signal::{Signal, Signals};
use natf_end::{
    Error as EndError, Role,
    io::{
        report,
        resolver::{Paths, SystemResolver},
        service::{Service, Setup},
    },
};
use natf_proto::Transport;
use serde_json::{Value, json};
use smol::{future::or, net::unix::UnixListener, stream::StreamExt as _};

use crate::{check::configured, cli::Places, control, error::Error};

/// What the tasks share.
pub struct Daemon {
    service: Rc<Service>,
    places: Places,
    started: Instant,
}

/// Runs until a signal ends it.
///
/// # Errors
/// What is wrong with the files, and what the kernel refuses.
pub fn run(places: Places) -> Result<ExitCode, Error> {
    natf_daemon::logger::begin_daemon();
    // Before anything of a daemon that runs already is replaced.
    let listener = natf_daemon::control::listen(&places.socket(), "natf-endd")?;
    let socket = places.socket();
    let ended = serve(places, listener);
    let _gone = std::fs::remove_file(socket);
    if ended.is_err() {
        give_back();
    }
    ended
}

/// What a killed run left leads all questions to nobody, and this one could not take its place.
fn give_back() {
    if let Err(error) = SystemResolver::abandon(Paths::default()) {
        log::error!("{error}");
    }
}

fn serve(places: Places, listener: UnixListener) -> Result<ExitCode, Error> {
    let configured = configured(&places)?;
    if !configured.end.enabled {
        return Err(Error::Refused(format!(
            "{}: option enabled of the section 'config end' is 0",
            places.config.display()
        )));
    }
    let setup = Setup { configured, role: Role::Host, state_file: places.relations() };
    let service = Rc::new(Service::start(setup)?);
    let daemon = Rc::new(Daemon { service, places, started: Instant::now() });
    log::info!("serving names of {}", daemon.domains());
    let control = async {
        control::serve(&daemon, listener).await;
        Ok(())
    };
    let ended = daemon.service.drive(or(control, daemon.signals()));
    daemon.service.stop();
    ended??;
    Ok(ExitCode::SUCCESS)
}

impl Daemon {
    fn domains(&self) -> String {
        let domains = self.service.domains();
        if domains.is_empty() { "no home".into() } else { domains.join(", ") }
    }

    async fn signals(&self) -> Result<(), Error> {
        let signals = [Signal::Hup, Signal::Term, Signal::Int];
        let mut signals = Signals::new(signals).map_err(EndError::io("wait for signals"))?;
        while let Some(signal) = signals.next().await {
            match signal {
                Ok(Signal::Hup) => match self.reload() {
                    Ok(()) => log::info!("reloaded; names of {}", self.domains()),
                    Err(error) => log::error!("{error}\nthe former configuration stays in use"),
                },
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Reads the files again; flows go on. On an error everything stays as it is.
    ///
    /// # Errors
    /// What is wrong with the files.
    pub fn reload(&self) -> Result<(), Error> {
        Ok(self.service.reload(configured(&self.places)?)?)
    }

    /// The answer to `status`.
    pub fn status(&self) -> Value {
        let mut status = report::status(&self.service);
        if let Value::Object(fields) = &mut status {
            fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
            fields.insert("uptime".into(), self.started.elapsed().as_secs().into());
        }
        status
    }

    /// The answer to `ping`.
    pub async fn ping(&self, question: &Value) -> Value {
        match self.try_ping(question).await {
            Ok(report) => report,
            Err(error) => json!({"error": error.to_string()}),
        }
    }

    async fn try_ping(&self, question: &Value) -> Result<Value, Error> {
        let word = |field: &str| question.get(field).and_then(Value::as_str);
        let name = word("name").ok_or_else(|| Error::Refused("'ping' needs a name".into()))?;
        let port = question.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0);
        let port = port.ok_or_else(|| Error::Refused("'ping' needs a port from 1 to 65535".into()))?;
        let transport = if word("protocol") == Some("udp") { Transport::Udp } else { Transport::Tcp };
        Ok(report::ping(&self.service.ping(name, transport, port).await?))
    }
}
