//! The external node that the router plays for its LAN (N12): hosts behind this router reach those behind another one
//! by name, unmodified.
//!
//! It runs beside the router's own half. It starts as soon as the router has an address on the outside, takes the
//! new one when that changes, and starts again after a failure: the router's half is never in danger by it.

use std::{net::Ipv4Addr, ops::RangeInclusive, path::PathBuf, rc::Rc};

use natf_end::{
    Gateway, Role,
    io::{
        report,
        service::{Service, Setup},
        settings::Configured,
    },
};
use serde_json::{Value, json};
use smol::{channel, future::or};

use super::daemon::Shared;

/// What is to run.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Homes, keys and the section `config end`.
    pub configured: Configured,
    /// Ports of the outside address for flows of the LAN; the router's mappings never take these.
    pub ports: RangeInclusive<u16>,
}

/// What runs.
struct Running {
    service: Rc<Service>,
    ports: RangeInclusive<u16>,
}

/// The external node's half of a router.
pub struct EndRole {
    state_file: PathBuf,
    wanted: Option<Wanted>,
    outside: Option<Ipv4Addr>,
    running: Option<Running>,
    problem: Option<String>,
    wake: channel::Sender<()>,
    woken: channel::Receiver<()>,
}

impl EndRole {
    /// One that does not run; its names are kept in `state_file`.
    pub fn new(state_file: PathBuf) -> Self {
        let (wake, woken) = channel::bounded(1);
        Self { state_file, wanted: None, outside: None, running: None, problem: None, wake, woken }
    }

    /// Takes another configuration; `None`: the router plays no external node. Flows go on.
    pub fn configure(&mut self, wanted: Option<Wanted>) {
        match (&self.running, &wanted) {
            (Some(running), Some(wanted)) if running.ports == wanted.ports => {
                if let Err(error) = running.service.reload(wanted.configured.clone()) {
                    log::error!("names of other homes (config end): {error}");
                }
            }
            _ => self.stop(),
        }
        self.problem = None;
        self.wanted = wanted;
        self.tell();
    }

    /// Takes the router's address on the outside; between two addresses the former one stands.
    pub fn set_outside(&mut self, outside: Option<Ipv4Addr>) {
        let Some(address) = outside else { return };
        match &self.running {
            Some(running) if self.outside != Some(address) => {
                running.service.node.borrow_mut().set_outside_address(address);
            }
            Some(_) => {}
            None => self.tell(),
        }
        self.outside = Some(address);
    }

    /// Starts what is wanted and does not run, if it can.
    pub fn start(&mut self) {
        let (None, Some(wanted), Some(address)) = (&self.running, &self.wanted, self.outside) else { return };
        let Wanted { configured, ports } = wanted.clone();
        let role = Role::Gateway(Gateway::new(address, ports.clone()));
        match Service::start(Setup { configured, role, state_file: self.state_file.clone() }) {
            Ok(service) => {
                log::info!("serving names of {} to the LAN", service.domains().join(", "));
                self.problem = None;
                self.running = Some(Running { service: Rc::new(service), ports });
            }
            Err(error) => self.complain(error.to_string()),
        }
    }

    /// Says it once, however often it is tried again.
    fn complain(&mut self, problem: String) {
        if self.problem.as_ref() != Some(&problem) {
            log::error!("names of other homes (config end) are not served: {problem}");
            self.problem = Some(problem);
        }
    }

    /// Gives everything back; established flows go on.
    pub fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.service.stop();
            self.tell();
        }
    }

    fn tell(&self) {
        // Where the channel is full, the task is about to look anyway.
        let _full = self.wake.try_send(());
    }

    /// What `status` shows of it.
    pub fn status(&self) -> Value {
        match (&self.running, &self.wanted, &self.problem) {
            (Some(running), ..) => {
                let mut status = report::status(&running.service);
                if let Value::Object(fields) = &mut status {
                    let (first, last) = (running.ports.start(), running.ports.end());
                    fields.insert("outside".into(), json!(self.outside.map(|address| address.to_string())));
                    fields.insert("ports".into(), format!("{first}-{last}").into());
                }
                status
            }
            (None, None, _) => Value::Null,
            (None, Some(_), Some(problem)) => json!({"error": problem}),
            (None, Some(_), None) => json!({"error": "the router has no address on the outside yet"}),
        }
    }
}

/// Runs what is to run, for as long as the daemon lives.
pub async fn run(daemon: Shared) {
    let woken = daemon.borrow().end.woken.clone();
    loop {
        daemon.borrow_mut().end.start();
        let service = daemon.borrow().end.running.as_ref().map(|running| running.service.clone());
        let changed = async {
            let _woken = woken.recv().await;
            None
        };
        let failure = match service {
            None => changed.await,
            Some(service) => or(async { service.run().await.err() }, changed).await,
        };
        if let Some(error) = failure {
            let mut daemon = daemon.borrow_mut();
            daemon.end.stop();
            daemon.end.complain(error.to_string());
        }
    }
}
