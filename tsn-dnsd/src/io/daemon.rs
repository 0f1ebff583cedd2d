//! The daemon: one thread, which waits for its sockets itself and runs everything else as tasks beside.
//!
//! ```text
//!   UDP, TCP, ICMP readable ─▶ turn ─▶ Service, Notifier       control socket ─▶ commands
//!   tasks ─▶ upstream servers, announcements, updates          SIGHUP ─▶ reload   SIGTERM ─▶ stop
//! ```

use std::{
    cell::{Ref, RefCell},
    fs,
    hash::RandomState,
    net::SocketAddr,
    os::fd::{AsFd as _, BorrowedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use async_signal::{Signal, Signals};
use natf_daemon::{
    drive::{Source, drive},
    random::SystemRandom,
};
use natf_kernel::udp_batch::UdpSocket;
use smol::stream::StreamExt as _;

use super::{
    announcements::Announcements,
    control,
    notifier::Notifier,
    service::Service,
    settings::{Loaded, Paths},
    streams::Streams,
    upstream::Resolver,
    zone_files::ZoneFiles,
};
use crate::{core::server::Server, error::Error};

/// What the tasks share.
pub struct Daemon {
    /// Where the files are.
    pub paths: Paths,
    /// The server at its sockets.
    pub service: Rc<Service>,
    /// Who tells routers.
    pub announcements: Rc<Announcements>,
    /// The configuration in force.
    pub config: RefCell<natf_config::DnsdConfig>,
    /// When the daemon started.
    pub started: Instant,
}

/// Runs until SIGTERM.
///
/// # Errors
/// Where the daemon cannot start, or the operating system fails it.
pub fn run(paths: Paths) -> Result<(), Error> {
    natf_daemon::logger::begin_daemon();
    let listener = natf_daemon::control::listen(&paths.socket(), "tsn-dnsd")?;
    let daemon = Rc::new(Daemon::start(paths)?);
    log::info!("ready: {}", daemon.summary());
    daemon.service.start(control::serve(daemon.clone(), listener)).detach();
    let ended = daemon.service.start(obey_signals(daemon.clone()));
    let future = daemon.service.run_tasks(ended);
    let result = drive(future, |wait| daemon.wait(wait), |ready| daemon.turn(ready));
    let _gone = fs::remove_file(daemon.paths.socket());
    result.and_then(|result| result)
}

async fn obey_signals(daemon: Rc<Daemon>) -> Result<(), Error> {
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup]);
    let mut signals = signals.map_err(Error::io("cannot receive", "signals"))?;
    while let Some(signal) = signals.next().await {
        if !matches!(signal, Ok(Signal::Hup)) {
            break;
        }
        if let Err(error) = daemon.reload().await {
            log::error!("the configuration in force is kept: {error}");
        }
    }
    Ok(())
}

impl Daemon {
    fn start(paths: Paths) -> Result<Self, Error> {
        let mut loaded = Loaded::read(&paths)?;
        warn(&loaded);
        let zone_files = ZoneFiles::new(&paths.state_dir);
        zone_files.load(&mut loaded.zones)?;
        let announcements = Rc::new(Announcements::default());
        announcements.open(&loaded.directory)?;
        announcements.configure(loaded.directory, loaded.config.server.announce_wait);
        let server = Server::new(Instant::now(), loaded.settings, loaded.zones, RandomState::new());
        let resolver = Resolver::new(&loaded.config.server.upstream, Box::new(SystemRandom::new()?));
        let service = Service::new(server, resolver, zone_files, announcements.clone())?;
        listen(&service, &loaded.config.server)?;
        let config = RefCell::new(loaded.config);
        Ok(Self { paths, service, announcements, config, started: Instant::now() })
    }

    /// Reads the files anew; cache, connections and questions under way stay. What is wrong in the files changes nothing.
    ///
    /// # Errors
    /// What is wrong in them.
    pub async fn reload(&self) -> Result<(), Error> {
        let _saved = self.service.zone_files.pause().await;
        let mut loaded = Loaded::read(&self.paths)?;
        warn(&loaded);
        let mut server = self.service.server.borrow_mut();
        // What can fail comes before what changes anything.
        self.service.zone_files.load_added(&mut loaded.zones, server.zones())?;
        self.announcements.open(&loaded.directory)?;
        listen(&self.service, &loaded.config.server)?;
        self.announcements.configure(loaded.directory, loaded.config.server.announce_wait);
        for remark in loaded.zones.adopt(server.zones()) {
            log::warn!("{remark}");
        }
        server.handle_settings(Instant::now(), loaded.settings, loaded.zones);
        drop(server);
        self.service.resolver.upstreams.borrow_mut().replace(&loaded.config.server.upstream);
        *self.config.borrow_mut() = loaded.config;
        log::info!("configuration loaded: {}", self.summary());
        Ok(())
    }

    fn summary(&self) -> String {
        let config = self.config.borrow();
        let addresses: Vec<_> = self.service.udp().iter().map(|socket| socket.local().to_string()).collect();
        format!(
            "listening at {}, {} upstream servers, {} routers, {} own zones",
            if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") },
            config.server.upstream.len(),
            config.routers.len(),
            config.zones.len()
        )
    }

    fn wait(&self, wait: &mut dyn FnMut(&dyn Source) -> Readable) -> Readable {
        let notifier = self.announcements.notifier().clone();
        let waited = Waited {
            udp: self.service.udp(),
            streams: self.service.streams().borrow(),
            notifier: notifier.as_ref().map(|notifier| notifier.borrow()),
        };
        wait(&waited)
    }

    /// Takes what is readable, in the order of [`Waited::descriptors`].
    fn turn(&self, ready: &[bool]) -> Result<(), Error> {
        let mut ready = ready.iter();
        for socket in self.service.udp() {
            if ready.next() == Some(&true) {
                self.service.take_udp(&socket);
            }
        }
        let now = Instant::now();
        if ready.next() == Some(&true) {
            self.service.take_tcp(now)?;
        }
        if let Some(notifier) = self.announcements.notifier().as_ref() {
            let mut notifier = notifier.borrow_mut();
            if ready.next() == Some(&true) {
                notifier.take_replies(now)?;
            }
            if notifier.deadline().is_some_and(|due| due <= now) {
                notifier.handle_timeout(now);
            }
        }
        if self.service.streams().borrow().deadline().is_some_and(|due| due <= now) {
            self.service.handle_timeout(now);
        }
        Ok(())
    }
}

/// Which descriptors are readable.
type Readable = Result<Vec<bool>, natf_daemon::Error>;

/// What the loop waits for.
struct Waited<'a> {
    udp: Vec<Rc<UdpSocket>>,
    streams: Ref<'a, Streams>,
    notifier: Option<Ref<'a, Notifier>>,
}

impl Source for Waited<'_> {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let notifier = self.notifier.as_ref().map(|notifier| notifier.as_fd());
        self.udp.iter().map(|socket| socket.as_fd()).chain([self.streams.as_fd()]).chain(notifier).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        let notifier = self.notifier.as_ref().and_then(|notifier| notifier.deadline());
        // No later than that, so that a clock's jump or a lost event cannot stop it for ever.
        let longest = Instant::now() + Duration::from_secs(60);
        [notifier, self.streams.deadline(), Some(longest)].into_iter().flatten().min()
    }
}

/// Listens; where nobody asked for IPv6, it may be missing.
fn listen(service: &Service, server: &natf_config::ServerSettings) -> Result<(), Error> {
    let addresses: &[SocketAddr] = if server.enabled { &server.listen } else { &[] };
    match service.listen(addresses) {
        Err(error) if server.listen_is_default => {
            let v4: Vec<_> = addresses.iter().copied().filter(SocketAddr::is_ipv4).collect();
            service.listen(&v4).map_err(|_| error)
        }
        result => result,
    }
}

fn warn(loaded: &Loaded) {
    for warning in &loaded.config.warnings {
        log::warn!("{warning}");
    }
    if loaded.config.server.upstream.is_empty() {
        log::warn!("no upstream server is configured (list upstream): only own records are answered");
    }
}
