//! An external node with all that belongs to it, for a daemon to start, reload, ask and stop: a host's own
//! (natf-endd) or the part that a router plays for its LAN (natf-routerd, N12).
//!
//! ```text
//!   node loop (kernel, engine)     DNS proxy     addresses and routes changed ─▶ node
//!   every two seconds: resolv.conf still ours?     names came or went ─▶ state file
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::fd::AsFd as _,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use natf_daemon::{drive::drive, failures::Failures, random::SystemRandom};
use natf_kernel::{
    KernelError,
    address::{AddressWatch, Addresses},
};
use natf_proto::Transport;
use smol::{Async, LocalExecutor, Timer, channel, future::or};

use super::{
    dns_proxy::{DnsProxy, ProxySettings},
    kernel::Errand,
    node::{self, Node, NodeSettings},
    relation_file::RelationFile,
    resolver::{Mode, Paths, SystemResolver},
    ruleset::Rules,
    settings::Configured,
    upstream::Upstreams,
};
use crate::{
    dns::Names,
    engine::{Limits, Settings},
    error::{Error, with_cause},
    flow::{Dial, Flow},
    outcome::PingReport,
    role::Role,
};

/// Number of the packet queue.
pub const QUEUE: u16 = 4451;
/// How often files are looked after.
const UPKEEP: Duration = Duration::from_secs(2);
/// Names come in bursts; they are written no oftener than this.
const SAVE_PAUSE: Duration = Duration::from_millis(500);
/// After a failed write the next one is tried so much later.
const SAVE_RETRY: Duration = Duration::from_secs(10);
/// Changes of the network come in bursts.
const NETWORK_PAUSE: Duration = Duration::from_millis(200);
/// Where the kernel does not tell its addresses, it is asked again so much later.
const NETWORK_RETRY: Duration = Duration::from_secs(1);
/// How long a ping may take in all.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// What a service is made of.
pub struct Setup {
    /// What the user wrote.
    pub configured: Configured,
    /// Host or gateway.
    pub role: Role,
    /// Where names and their virtual addresses are kept.
    pub state_file: PathBuf,
}

/// A running external node.
pub struct Service {
    /// Engine, names and kernel.
    pub node: Rc<RefCell<Node>>,
    /// The DNS proxy.
    pub proxy: DnsProxy,
    /// The servers behind it.
    pub upstreams: Rc<Upstreams>,
    file: RelationFile,
    is_gateway: bool,
    configured: RefCell<Configured>,
    resolver: RefCell<Option<SystemResolver>>,
    pings: RefCell<BTreeMap<u64, channel::Sender<PingReport>>>,
    next_ping: Cell<u64>,
    /// Virtual addresses whose names are being asked for.
    resolving: RefCell<BTreeSet<Ipv4Addr>>,
    executor: LocalExecutor<'static>,
}

impl Service {
    /// Opens everything, takes over the flows and names of a former run, and points the system's resolver here.
    ///
    /// # Errors
    /// Where rights, programs or kernel modules are missing; the message says which.
    pub fn start(setup: Setup) -> Result<Self, Error> {
        let Setup { configured, role, state_file } = setup;
        if let Some(directory) = state_file.parent() {
            std::fs::create_dir_all(directory)
                .map_err(Error::io(format!("cannot make {}", directory.display())))?;
        }
        let file = RelationFile::new(&state_file);
        let state = file.load().unwrap_or_else(|error| {
            // Names get their addresses anew; applications that kept an old one look the name up again.
            log::warn!("{}", with_cause(&error));
            Default::default()
        });
        let is_gateway = role.is_gateway();
        let node = Node::open(node_settings(&configured, role)?, &state)?;
        let (node, upstreams) = (Rc::new(RefCell::new(node)), Rc::new(Upstreams::default()));
        let listen = SocketAddr::from((configured.end.listen, configured.end.port));
        let names: Rc<RefCell<dyn Names>> = node.clone();
        let proxy = DnsProxy::bind(ProxySettings::local(listen), names, upstreams.clone())
            .map_err(Error::io(format!("listen for DNS at {listen}")))?;
        let resolver = point_resolver(&configured, listen)?;
        upstreams.replace(&chosen_upstreams(&configured, &resolver));
        Ok(Self {
            node,
            proxy,
            upstreams,
            file,
            is_gateway,
            configured: RefCell::new(configured),
            resolver: RefCell::new(Some(resolver)),
            pings: RefCell::default(),
            next_ping: Cell::new(1),
            resolving: RefCell::default(),
            executor: LocalExecutor::new(),
        })
    }

    /// Works inside of a foreign loop until something fails for good.
    ///
    /// # Errors
    /// Where nothing can be read from the kernel any more.
    pub async fn run(self: &Rc<Self>) -> Result<(), Error> {
        let node = node::run(&self.node, |errand| self.errand(errand));
        self.executor.run(or(node, self.tasks())).await
    }

    /// Is the loop of this thread until `main` ends or something fails for good.
    ///
    /// # Errors
    /// Where nothing can be read from the kernel any more.
    pub fn drive<T>(self: &Rc<Self>, main: impl Future<Output = T>) -> Result<T, Error> {
        let service = self.clone();
        let tasks = self.executor.spawn(async move { service.tasks().await });
        let main = async { Ok(main.await) };
        let failed = async {
            tasks.await?;
            smol::future::pending().await
        };
        let turn = |readable: &[bool]| {
            let errands = self.node.borrow_mut().turn(readable)?;
            errands.into_iter().for_each(|errand| self.errand(errand));
            Ok::<_, Error>(())
        };
        drive(self.executor.run(or(main, failed)), |wait| wait(&*self.node.borrow()), turn)?
    }

    /// DNS, files, network.
    async fn tasks(&self) -> Result<(), Error> {
        let files = async {
            or(self.proxy.run(), self.upkeep()).await;
            Ok(())
        };
        or(files, self.watch_network()).await
    }

    /// Domains of the homes.
    pub fn domains(&self) -> Vec<String> {
        self.configured.borrow().names.domains().map(str::to_owned).collect()
    }

    /// Takes another configuration; flows go on.
    ///
    /// # Errors
    /// Where the table cannot be written; then the former configuration stands.
    pub fn reload(&self, new: Configured) -> Result<(), Error> {
        {
            let old = self.configured.borrow();
            let (was, is) = (&old.end, &new.end);
            if (was.listen, was.port, was.resolver, old.prefix)
                != (is.listen, is.port, is.resolver, new.prefix)
            {
                log::warn!("options listen, port, resolver and virtual take effect after a restart");
            }
        }
        let mut node = self.node.borrow_mut();
        let prefix = node.relations.prefix();
        node.set_rules(Rules { prefix, ..rules(&new, self.is_gateway) })?;
        node.set_homes(new.names.clone());
        node.engine.handle_reload(new.homes.clone(), new.silent());
        drop(node);
        if let Some(resolver) = &mut *self.resolver.borrow_mut() {
            resolver.serve(&new.served());
        }
        *self.configured.borrow_mut() = new;
        self.poll_resolver();
        self.refresh_upstreams();
        Ok(())
    }

    /// Gives everything back: the system's resolver, and what no live flow needs of the table and the routes.
    pub fn stop(&self) {
        if let Some(Err(error)) = self.resolver.borrow_mut().take().map(SystemResolver::stop) {
            log::error!("{}", with_cause(&error));
        }
        self.node.borrow_mut().stop();
        // Last, as it may have to wait for a disk.
        let (generation, state) = self.node.borrow().names();
        if let Err(error) = self.file.save(generation, &state) {
            log::error!("{}", with_cause(&error));
        }
    }

    /// Resolves a name as an application does and negotiates for it; the mapping ends at once.
    ///
    /// # Errors
    /// Where the name belongs to no home, has no address, or no port is free.
    pub async fn ping(&self, name: &str, transport: Transport, port: u16) -> Result<PingReport, Error> {
        let (address, dial) = self.look_up(name).await?;
        let (source, _keeper) = free_source(transport, dial.targets.first().copied())?;
        let id = self.next_ping.replace(self.next_ping.get() + 1);
        let (sender, receiver) = channel::bounded(1);
        self.pings.borrow_mut().insert(id, sender);
        let flow = Flow { transport, source, destination: SocketAddrV4::new(address, port) };
        self.node.borrow_mut().ping(id, flow, dial);
        let report = or(async { receiver.recv().await.ok() }, async {
            Timer::after(PING_LIMIT).await;
            None
        })
        .await;
        self.pings.borrow_mut().remove(&id);
        report.ok_or_else(|| Error::Refused("the negotiation did not come to an end".into()))
    }

    /// The virtual address of a name and who is behind it, asked for anew.
    async fn look_up(&self, name: &str) -> Result<(Ipv4Addr, Dial), Error> {
        let homes = self.node.borrow().homes();
        let ours = homes.classify(name).ok_or_else(|| {
            Error::Refused(format!("{name} belongs to none of the homes ({})", self.domains().join(", ")))
        })?;
        let found = self.upstreams.addresses_of(name).await;
        let found = found.map_err(|error| Error::Refused(format!("{name}: {}", with_cause(&error))))?;
        let (mut node, now) = (self.node.borrow_mut(), Instant::now());
        let address = node
            .relate(&ours, &found.list, found.ttl, now)
            .map_err(|error| Error::Refused(error.to_string()))?;
        let dial = node.dial(address, now).ok_or_else(|| {
            Error::Refused(format!("{name}: '{}' is no private host name", ours.name.host()))
        })?;
        Ok((address, dial))
    }

    fn errand(self: &Rc<Self>, errand: Errand) {
        match errand {
            // One answer is for all flows to the address.
            Errand::Resolve(address) if self.resolving.borrow_mut().insert(address) => {
                let service = self.clone();
                self.executor.spawn(async move { service.resolve(address).await }).detach();
            }
            Errand::Resolve(_) => {}
            Errand::Pinged(report) => {
                if let Some(asker) = self.pings.borrow_mut().remove(&report.id) {
                    let _gone = asker.try_send(report);
                }
            }
        }
    }

    /// Asks DNS again for the router of a name that is dialled.
    async fn resolve(&self, address: Ipv4Addr) {
        let name = self.node.borrow().name_of(address).unwrap_or_default();
        let found = self.upstreams.addresses_of(&name).await;
        self.resolving.borrow_mut().remove(&address);
        let mut node = self.node.borrow_mut();
        match found {
            Ok(found) => node.set_targets(address, &found.list, found.ttl),
            Err(error) => {
                log::debug!("{name}: {}", with_cause(&error));
                node.set_targets(address, &[], Duration::ZERO);
            }
        }
    }

    fn refresh_upstreams(&self) {
        if let Some(resolver) = &*self.resolver.borrow() {
            self.upstreams.replace(&chosen_upstreams(&self.configured.borrow(), resolver));
        }
    }

    async fn upkeep(&self) {
        or(self.watch_resolver(), self.keep_names()).await
    }

    /// A new name is written at once: after a crash its flows can only be known by it. One thread writes at a time,
    /// beside this one, as flash may take its time.
    async fn keep_names(&self) {
        let renamed = self.node.borrow().renamed();
        let mut written = 0;
        while renamed.recv().await.is_ok() {
            let (file, (generation, state)) = (self.file.clone(), self.node.borrow().names());
            if generation == written {
                continue;
            }
            let pause = match smol::unblock(move || file.save(generation, &state)).await {
                Ok(()) => {
                    written = generation;
                    SAVE_PAUSE
                }
                Err(error) => {
                    log::warn!("{}", with_cause(&error));
                    self.node.borrow().tell_renamed();
                    SAVE_RETRY
                }
            };
            Timer::after(pause).await;
        }
    }

    async fn watch_resolver(&self) {
        loop {
            Timer::after(UPKEEP).await;
            self.poll_resolver();
        }
    }

    fn poll_resolver(&self) {
        let polled = self.resolver.borrow_mut().as_mut().map(SystemResolver::poll);
        match polled {
            Some(Ok(true)) => self.refresh_upstreams(),
            Some(Err(error)) => log::warn!("{}", with_cause(&error)),
            _ => {}
        }
    }

    async fn watch_network(&self) -> Result<(), Error> {
        if self.is_gateway {
            // The router's daemon watches its outside address itself.
            return smol::future::pending().await;
        }
        let watching = || Error::io("watch the network");
        let mut watch = AddressWatch::open()?;
        let descriptor = watch.as_fd().try_clone_to_owned().map_err(watching())?;
        let readable = Async::new_nonblocking(descriptor).map_err(watching())?;
        let mut failures = Failures::default();
        loop {
            readable.readable().await.map_err(watching())?;
            Timer::after(NETWORK_PAUSE).await;
            let changed = failures.survive_some(Instant::now(), watch.drain())?;
            if changed.is_none_or(|changed| changed.routes || changed.addresses) {
                self.see_addresses(&mut failures).await;
            }
        }
    }

    /// Tells the node its addresses, as soon as the kernel tells them here: no other change may come for long.
    async fn see_addresses(&self, failures: &mut Failures) {
        loop {
            if let Some(addresses) = failures.survive(Instant::now(), own_addresses()) {
                log::debug!("the network changed, addresses are now {addresses:?}");
                return self.node.borrow_mut().set_addresses(&addresses);
            }
            Timer::after(NETWORK_RETRY).await;
        }
    }
}

/// This host's addresses.
fn own_addresses() -> Result<Vec<Ipv4Addr>, KernelError> {
    Ok(Addresses::open()?.local()?.into_iter().map(|local| local.address).collect())
}

fn rules(configured: &Configured, is_gateway: bool) -> Rules {
    let rules = configured.rules();
    if is_gateway { rules } else { Rules { lan: Vec::new(), ..rules } }
}

fn node_settings(configured: &Configured, role: Role) -> Result<NodeSettings, Error> {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let rules = rules(configured, role.is_gateway());
    let engine = Settings {
        role,
        limits: Limits::default(),
        homes: configured.homes.clone(),
        silent: configured.silent(),
        unix_seconds: unix.as_secs(),
        random: Box::new(SystemRandom::new()?),
    };
    let (homes, relations) = (configured.names.clone(), configured.relations());
    Ok(NodeSettings { rules, queue: QUEUE, engine, homes, relations })
}

fn point_resolver(configured: &Configured, listen: SocketAddr) -> Result<SystemResolver, Error> {
    let mode = match configured.end.resolver {
        natf_config::Resolver::Auto => Mode::Auto,
        natf_config::Resolver::Resolvconf => Mode::Resolvconf,
        natf_config::Resolver::Resolved => Mode::Resolved,
        natf_config::Resolver::None => Mode::None,
    };
    Ok(SystemResolver::start(mode, Paths::default(), listen, &configured.served())?)
}

/// The configured servers, or those of the system.
fn chosen_upstreams(configured: &Configured, resolver: &SystemResolver) -> Vec<SocketAddr> {
    let configured = &configured.end.upstream;
    let chosen = if configured.is_empty() { resolver.upstreams() } else { configured };
    if chosen.is_empty() {
        log::warn!("no DNS server is known; set 'list upstream' in the section 'config end'");
    }
    chosen.to_vec()
}

/// A source port that nobody uses, and the address that the kernel takes towards the router.
fn free_source(transport: Transport, router: Option<Ipv4Addr>) -> Result<(SocketAddrV4, Keeper), Error> {
    let open = || {
        let route = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        route.connect(SocketAddrV4::new(router.unwrap_or(Ipv4Addr::LOCALHOST), 9))?;
        let local = route.local_addr()?;
        match transport {
            Transport::Udp => Ok((local, Keeper::Udp(route))),
            Transport::Tcp => {
                let socket = TcpListener::bind(SocketAddr::new(local.ip(), 0))?;
                Ok((socket.local_addr()?, Keeper::Tcp(socket)))
            }
        }
    };
    match open().map_err(Error::io("find a free port"))? {
        (SocketAddr::V4(source), keeper) => Ok((source, keeper)),
        (SocketAddr::V6(source), _) => Err(Error::Refused(format!("{source} is no IPv4 source"))),
    }
}

/// Keeps a port from being used by others until it is dropped.
enum Keeper {
    Udp(#[expect(dead_code)] UdpSocket),
    Tcp(#[expect(dead_code)] TcpListener),
}
