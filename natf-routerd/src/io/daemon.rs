//! The daemon: one thread, one executor, a few small tasks around the core.
//!
//! ```text
//!   queue readable ─▶ take_packets      control socket ─▶ commands      SIGHUP ─▶ reload   SIGTERM ─▶ stop
//!   timer ─▶ handle_timeout             every few seconds ─▶ own table still there? addresses? neighbours?
//! ```

use std::{
    cell::RefCell,
    fs,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use async_signal::{Signal, Signals};
use natf_daemon::{
    drive::{Source, drive},
    failures::Failures,
    random::SystemRandom,
};
use natf_kernel::{
    address::{Addresses, LocalAddress, interface_index},
    queue::ReceiveStamps,
    ruleset::Ruleset,
    table_watch::TableWatch,
    timeouts::Timeouts,
};
use smol::{LocalExecutor, Timer, channel, stream::StreamExt};

use super::{
    control,
    discovery::Discovery,
    end_role::{self, EndRole},
    kernel::Kernel,
    names, neighbours,
    registration::{QUEUE_OFFSET, Watcher},
    ruleset,
    settings::Settings,
    state,
};
use crate::{
    core::{
        output::Now,
        router::{Lifetimes, Router},
    },
    error::Error,
};

/// How long after a failed write of the counters the next one is tried.
const RETRY: Duration = Duration::from_secs(10);
/// Batches of packets that are taken before the tasks get their turn.
const BATCHES: usize = 16;
/// How often the world around is looked at: own table, addresses, neighbours.
const WATCH: Duration = Duration::from_secs(2);
/// A table that was removed is written anew no oftener than this.
const REWRITE_PAUSE: Duration = Duration::from_millis(200);
/// Shortest and longest sleep of the timer task; what is mapped meanwhile is due no sooner than after two seconds.
const SLEEP: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// Where the daemon finds and puts its files.
#[derive(Debug, Clone)]
pub struct Paths {
    /// UCI configuration.
    pub config: PathBuf,
    /// Keys of the peers.
    pub keys: PathBuf,
    /// Directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory of the counters and of the LAN's names of other homes.
    pub state_dir: PathBuf,
    /// dnsmasq's DHCP leases.
    pub leases: PathBuf,
}

impl Paths {
    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("routerd.sock")
    }

    /// Names of other homes and their virtual addresses (N12).
    fn relations(&self) -> PathBuf {
        self.state_dir.join("relations.json")
    }
}

/// Everything the tasks share.
pub struct Daemon {
    /// Where the files are.
    pub paths: Paths,
    /// The core.
    pub router: Router,
    /// The kernel objects.
    pub kernel: Kernel,
    /// What was read from the files.
    pub settings: Settings,
    /// When the daemon started.
    pub started: Instant,
    /// Our own addresses at present.
    pub addresses: Vec<Ipv4Addr>,
    /// The one towards the internet.
    pub outside: Option<Ipv4Addr>,
    /// The external node that the router plays for its LAN (N12).
    pub end: EndRole,
    /// What hosts of the LAN call themselves by NetBIOS (N13).
    pub discovery: Discovery,
    /// Learns names from dynamic updates (T1), where the configuration says so.
    watcher: Option<Watcher>,
    /// Tells the writer of learned names that there is something to write.
    pub(super) names: (channel::Sender<()>, channel::Receiver<()>),
    world: Addresses,
    table_watch: TableWatch,
    failed_watches: Failures,
    looked: Instant,
    ruleset: Ruleset,
    floors: state::Floors,
    unsaved: (channel::Sender<()>, channel::Receiver<()>),
    /// The queue that was opened; another number in the configuration counts from the next start.
    queue: u16,
    /// The table as it was written last.
    applied: ruleset::Rules,
}

/// The tasks run on one thread and never hold this over an await.
pub type Shared = Rc<RefCell<Daemon>>;

/// Reads the clocks.
pub fn now() -> Now {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Now { instant: Instant::now(), unix }
}

/// Runs until SIGTERM.
///
/// # Errors
/// Where the daemon cannot start, or the kernel can no longer be reached.
pub fn run(paths: Paths, measure: bool) -> Result<(), Error> {
    natf_daemon::logger::begin_daemon();
    let _stamps = if measure { Some(ReceiveStamps::enable()?) } else { None };
    // Before anything of a daemon that runs already is replaced.
    let listener = natf_daemon::control::listen(&paths.socket(), "natf-routerd")?;
    let daemon = Rc::new(RefCell::new(Daemon::start(paths)?));
    log::info!(
        "ready: {} hosts, {} peers",
        daemon.borrow().router.access().rows().count(),
        daemon.borrow().router.peers().iter().count()
    );
    let executor = LocalExecutor::new();
    executor.spawn(keep_time(daemon.clone())).detach();
    executor.spawn(watch(daemon.clone())).detach();
    executor.spawn(keep_floors(daemon.clone())).detach();
    executor.spawn(names::keep(daemon.clone())).detach();
    executor.spawn(end_role::run(daemon.clone())).detach();
    executor.spawn(control::serve(daemon.clone(), listener)).detach();
    let tasks = executor.run(obey_signals(daemon.clone()));
    let result = drive(tasks, |wait| wait(&*daemon.borrow()), |ready| turn(&daemon, ready));
    daemon.borrow_mut().stop();
    result?
}

/// The queue is what every microsecond counts on; everything else runs as futures.
impl Source for Daemon {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let registrations = self.watcher.as_ref().map(|watcher| watcher.queue().as_fd());
        [self.kernel.queue().as_fd(), self.table_watch.as_fd()].into_iter().chain(registrations).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

/// `ready` is in the order of the descriptors.
fn turn(daemon: &Shared, ready: &[bool]) -> Result<(), Error> {
    take_packets(daemon)?;
    if ready.get(1) == Some(&true) {
        daemon.borrow_mut().see_tables()?;
    }
    Ok(())
}

/// Takes what waits in the queue; under a flood the tasks get their turn in between.
fn take_packets(daemon: &Shared) -> Result<(), Error> {
    let mut daemon = daemon.borrow_mut();
    for _ in 0..BATCHES {
        let Daemon { kernel, router, .. } = &mut *daemon;
        let taken = kernel.take_packets(now(), router)?;
        let reservations = kernel.take_reservations();
        if !reservations.is_empty() {
            daemon.store(reservations);
        }
        if taken == 0 {
            break;
        }
    }
    daemon.kernel.let_pass();
    let Daemon { watcher, kernel, router, names, .. } = &mut *daemon;
    if let Some(watcher) = watcher {
        watcher.take_packets(now(), kernel.inside(), router)?;
    }
    if router.names_have_changed() {
        // Where the channel is full, the writer is about to look anyway.
        let _full = names.0.try_send(());
    }
    Ok(())
}

async fn keep_time(daemon: Shared) {
    loop {
        let due = daemon.borrow().router.poll_timeout(Instant::now());
        let sleep = due.saturating_duration_since(Instant::now()).clamp(SLEEP.0, SLEEP.1);
        Timer::after(sleep).await;
        let mut daemon = daemon.borrow_mut();
        daemon.router.handle_timeout(now());
        daemon.carry_out();
    }
}

/// Stores reservations one after the other, on a thread of its own: flash may take its time.
async fn keep_floors(daemon: Shared) {
    let (unsaved, directory) = (daemon.borrow().unsaved.1.clone(), daemon.borrow().paths.state_dir.clone());
    while unsaved.recv().await.is_ok() {
        let (directory, floors) = (directory.clone(), daemon.borrow().floors.clone());
        if let Err(error) = smol::unblock(move || state::write(&directory, &floors)).await {
            log::error!("{error}; until that succeeds, requests could be replayed after a restart");
            let _full = daemon.borrow().unsaved.0.try_send(());
            Timer::after(RETRY).await;
        }
    }
}

async fn watch(daemon: Shared) {
    loop {
        Timer::after(WATCH).await;
        daemon.borrow_mut().look_around();
    }
}

async fn obey_signals(daemon: Shared) -> Result<(), Error> {
    let signals = Signals::new([Signal::Term, Signal::Int, Signal::Hup]);
    let mut signals = signals.map_err(Error::io("cannot receive", "signals"))?;
    while let Some(signal) = signals.next().await {
        if !matches!(signal, Ok(Signal::Hup)) {
            break;
        }
        if let Err(error) = daemon.borrow_mut().reload() {
            log::error!("the configuration in force is kept: {error}");
        }
    }
    Ok(())
}

impl Daemon {
    fn start(paths: Paths) -> Result<Self, Error> {
        let settings = Settings::load(&paths.config, &paths.keys)?;
        let floors = state::read(&paths.state_dir)?;
        let mut ruleset = Ruleset::open()?;
        let kernel = Kernel::open(settings.router.queue)?;
        let random = Box::new(SystemRandom::new()?);
        let router = Router::new(now(), settings.limits, lifetimes(), random);
        let (queue, applied, unsaved) = (settings.router.queue, settings.rules(), channel::bounded(1));
        write_table(&mut ruleset, &applied, queue)?;
        if let Err(error) = ruleset.hold_nat(ruleset::HOLD_TABLE) {
            log::info!("{error}; connections may break when somebody flushes the ruleset");
        }
        let (started, addresses, world) = (Instant::now(), Vec::new(), Addresses::open()?);
        let end = EndRole::new(paths.relations());
        let mut daemon = Self {
            paths,
            router,
            kernel,
            settings,
            started,
            addresses,
            outside: None,
            end,
            discovery: Discovery::default(),
            watcher: None,
            names: channel::bounded(1),
            world,
            table_watch: TableWatch::open()?,
            failed_watches: Failures::default(),
            looked: started,
            ruleset,
            floors,
            unsaved,
            queue,
            applied,
        };
        daemon.configure()?;
        match names::read(&daemon.paths.state_dir) {
            Ok(names) => daemon.router.restore_names(now(), &names),
            Err(error) => log::error!("{error}; hosts' names are learned when they register again"),
        }
        daemon.restore()?;
        daemon.end.start();
        Ok(daemon)
    }

    /// Hands the settings to the core.
    fn configure(&mut self) -> Result<(), Error> {
        let settings = Settings::load(&self.paths.config, &self.paths.keys)?;
        self.kernel
            .set_inside(settings.router.lan.iter().filter_map(|device| interface_index(device)).collect());
        let (access, limits) = (settings.access.clone(), settings.limits);
        self.settings = settings;
        self.end.configure(self.settings.end.take());
        let peers = std::mem::take(&mut self.settings.peers);
        self.router.set_ddns(self.settings.ddns.clone());
        self.watch_registrations();
        self.router.set_domains(self.settings.router.domains.iter().map(|domain| domain.as_str()));
        self.router.handle_config(now(), limits, access, peers, &self.floors);
        self.router.handle_neighbours(now(), neighbours::read(&self.paths.leases, &self.settings.router.lan));
        self.carry_out();
        Ok(())
    }

    /// Opens the queue of registrations where there is anything to learn from; it is not worth failing for.
    fn watch_registrations(&mut self) {
        let wanted = self.settings.rules().watches_registrations();
        if !wanted {
            self.watcher = None;
        } else if self.watcher.is_none() {
            match Watcher::open(self.queue.saturating_add(QUEUE_OFFSET)) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => log::error!("{error}; no name is learned from dynamic updates (config ddns)"),
            }
        }
    }

    /// Finds the mappings that a former run left in the kernel.
    fn restore(&mut self) -> Result<(), Error> {
        self.see_addresses()?;
        let Self { kernel, router, addresses, .. } = self;
        let mut found = 0;
        kernel.restore(|entry| {
            found += 1;
            router.handle_restored(now(), entry);
        })?;
        router.finish_restoring(now(), addresses);
        self.carry_out();
        if found > 0 {
            log::info!(
                "{found} mappings of a former run found, {} are still allowed",
                self.router.mappings().len()
            );
        }
        Ok(())
    }

    /// Reads the files anew; what is wrong in them changes nothing.
    ///
    /// # Errors
    /// What is wrong in them.
    pub fn reload(&mut self) -> Result<(), Error> {
        self.configure()?;
        if self.settings.router.queue != self.queue {
            log::warn!(
                "option queue: {} counts from the next start, until then it is {}",
                self.settings.router.queue,
                self.queue
            );
        }
        let wanted = self.settings.rules();
        if self.applied.differs_by_services(&wanted) {
            self.ruleset.apply_script(ruleset::TABLE, &ruleset::render_services(&wanted))?;
            self.applied = wanted;
        } else if wanted != self.applied {
            write_table(&mut self.ruleset, &wanted, self.queue)?;
            self.applied = wanted;
            self.router.handle_sets_lost(Instant::now());
            self.carry_out();
        }
        log::info!("configuration loaded: {} hosts", self.router.access().rows().count());
        Ok(())
    }

    /// Carries out what the core wants.
    pub fn carry_out(&mut self) {
        let Self { kernel, router, .. } = self;
        kernel.carry_out(now(), router);
    }

    /// Tables changed. Whoever flushes rulesets in a loop does not make us write in one.
    fn see_tables(&mut self) -> Result<(), Error> {
        let drained = self.table_watch.drain(ruleset::TABLE);
        // What was not told may be that.
        let removed = self.failed_watches.survive_some(Instant::now(), drained)?.unwrap_or(true);
        if removed && self.looked.elapsed() >= REWRITE_PAUSE {
            self.look_around();
        }
        Ok(())
    }

    fn look_around(&mut self) {
        self.looked = Instant::now();
        match self.ruleset.exists(ruleset::TABLE) {
            Ok(true) => {}
            Ok(false) => {
                log::warn!(
                    "the nftables table '{}' is gone (a flushed ruleset?): it is written again",
                    ruleset::TABLE
                );
                match write_table(&mut self.ruleset, &self.applied, self.queue) {
                    Ok(()) => self.router.handle_sets_lost(Instant::now()),
                    Err(error) => log::error!("{error}"),
                }
            }
            Err(error) => log::error!("{error}"),
        }
        if let Err(error) = self.see_addresses() {
            log::error!("{error}");
        }
        self.kernel.set_inside(
            self.settings.router.lan.iter().filter_map(|device| interface_index(device)).collect(),
        );
        self.router.set_lifetimes(lifetimes());
        self.router.handle_addresses(now(), &self.addresses);
        if self.router.access().follows_leases() {
            self.router
                .handle_neighbours(now(), neighbours::read(&self.paths.leases, &self.settings.router.lan));
        }
        self.carry_out();
    }

    fn see_addresses(&mut self) -> Result<(), Error> {
        let local = self.world.local()?;
        self.addresses = local.iter().map(|local| local.address).collect();
        self.outside = outside_address(&local, &self.settings.router.wan);
        self.end.set_outside(self.outside);
        Ok(())
    }

    /// Has reservations stored.
    fn store(&mut self, reservations: Vec<(natf_proto::KeyId, u64)>) {
        self.floors.extend(reservations);
        // Where the channel is full, the writer is about to look anyway.
        let _full = self.unsaved.0.try_send(());
    }

    /// Established flows go on in the kernel; only what catches new requests is removed.
    fn stop(&mut self) {
        let _gone = fs::remove_file(self.paths.socket());
        self.end.stop();
        if self.router.mappings().is_empty() {
            if let Err(error) = self.ruleset.remove(ruleset::TABLE) {
                log::warn!("{error}");
            }
        } else {
            // The kernel translates live flows only while a nat chain exists; ours may be the only one.
            log::info!(
                "{} flows live on, so the table '{}' stays",
                self.router.mappings().len(),
                ruleset::TABLE
            );
        }
    }
}

/// The first address of the first device towards the internet that has one.
fn outside_address(local: &[LocalAddress], devices: &[String]) -> Option<Ipv4Addr> {
    devices
        .iter()
        .find_map(|device| local.iter().find(|local| local.interface == *device))
        .map(|local| local.address)
}

fn write_table(ruleset: &mut Ruleset, rules: &ruleset::Rules, queue: u16) -> Result<(), Error> {
    ruleset.apply_script(ruleset::TABLE, &ruleset::render(rules))?;
    ruleset.write_queue_rule(ruleset::TABLE, ruleset::QUEUE_CHAIN, queue)?;
    if rules.watches_registrations() {
        let queue = queue.saturating_add(QUEUE_OFFSET);
        ruleset.write_queue_rule(ruleset::TABLE, ruleset::REGISTRATION_CHAIN, queue)?;
    }
    Ok(())
}

/// The kernel's own timeouts, or its defaults where it does not tell.
fn lifetimes() -> Lifetimes {
    match Timeouts::read() {
        Ok(timeouts) => Lifetimes { tcp: timeouts.tcp_established, udp: timeouts.udp_stream },
        Err(error) => {
            log::debug!("{error}");
            Lifetimes { tcp: Duration::from_secs(432_000), udp: Duration::from_secs(120) }
        }
    }
}
