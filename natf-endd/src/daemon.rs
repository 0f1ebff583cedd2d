//! The daemon: one thread, a few tasks around the node.
//!
//! ```text
//!   node loop (kernel, engine)     DNS proxy     control socket     SIGHUP ─▶ reload   SIGTERM ─▶ stop
//!   every two seconds: resolv.conf still ours? names to save?       addresses changed ─▶ node
//! ```

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    process::ExitCode,
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use async_signal::{Signal, Signals};
use natf_end::{
    Dial, Error as EndError, Flow, Limits, PingReport, Role, Settings,
    dns::Names,
    io::{
        dns_proxy::{DnsProxy, ProxySettings},
        kernel::Errand,
        node::{Node, NodeSettings, run as run_node},
        random::SystemRandom,
        relation_file,
        resolver::{Mode, Paths, SystemResolver},
        settings::Configured,
        upstream::Upstreams,
    },
};
use natf_kernel::address::{AddressWatch, Addresses};
use natf_proto::Transport;
use serde_json::{Value, json};
use smol::{Async, LocalExecutor, Timer, channel, future::or, stream::StreamExt as _};

use crate::{check::configured, cli::Places, control, error::Error, report};

/// Number of the packet queue.
pub const QUEUE: u16 = 4451;
/// How often files are looked after.
const UPKEEP: Duration = Duration::from_secs(2);
/// How long a ping may take in all.
const PING_LIMIT: Duration = Duration::from_secs(10);

/// What the tasks share.
pub struct Daemon {
    /// The external node.
    pub node: Rc<RefCell<Node>>,
    /// The DNS proxy.
    pub proxy: DnsProxy,
    /// The servers behind it.
    pub upstreams: Rc<Upstreams>,
    /// When it began.
    pub started: Instant,
    places: Places,
    configured: RefCell<Configured>,
    resolver: RefCell<Option<SystemResolver>>,
    pings: RefCell<BTreeMap<u64, channel::Sender<PingReport>>>,
    next_ping: Cell<u64>,
    saved: Cell<u64>,
    executor: LocalExecutor<'static>,
}

/// Runs until a signal ends it.
///
/// # Errors
/// What is wrong with the files, and what the kernel refuses.
pub fn run(places: Places) -> Result<ExitCode, Error> {
    smol::block_on(async {
        let daemon = Rc::new(Daemon::start(places)?);
        let ended = daemon.work().await;
        daemon.stop();
        ended.map(|()| ExitCode::SUCCESS)
    })
}

impl Daemon {
    fn start(places: Places) -> Result<Self, Error> {
        let configured = configured(&places)?;
        std::fs::create_dir_all(&places.state_dir)
            .map_err(Error::io("cannot make", &places.state_dir))?;
        let state = relation_file::load(&places.relations()).unwrap_or_else(|error| {
            // Names get their addresses anew; applications that kept an old one look the name up again.
            log::warn!("{}", EndError::from(error));
            Default::default()
        });
        let node = Rc::new(RefCell::new(Node::open(node_settings(&configured)?, &state)?));
        let upstreams = Rc::new(Upstreams::default());
        let listen = SocketAddr::from((configured.end.listen, configured.end.port));
        let names: Rc<RefCell<dyn Names>> = node.clone();
        let proxy = DnsProxy::bind(ProxySettings::local(listen), names, upstreams.clone())
            .map_err(EndError::io(format!("listen for DNS at {listen}")))?;
        let resolver = point_resolver(&configured, listen)?;
        upstreams.replace(&chosen_upstreams(&configured, &resolver));
        Ok(Self {
            node,
            proxy,
            upstreams,
            started: Instant::now(),
            places,
            configured: RefCell::new(configured),
            resolver: RefCell::new(Some(resolver)),
            pings: RefCell::default(),
            next_ping: Cell::new(1),
            saved: Cell::new(0),
            executor: LocalExecutor::new(),
        })
    }

    async fn work(self: &Rc<Self>) -> Result<(), Error> {
        let listener = control::listen(&self.places.socket())?;
        log::info!("serving names of {}", self.domains().join(", "));
        let node = async { Ok(run_node(&self.node, |errand| self.errand(errand)).await?) };
        let others = async {
            or(self.proxy.run(), or(control::serve(self, listener), self.upkeep())).await;
            Ok(())
        };
        let network = self.watch_network();
        self.executor.run(or(or(node, others), or(network, self.signals()))).await
    }

    /// Domains of the homes.
    pub fn domains(&self) -> Vec<String> {
        self.configured.borrow().names.domains().map(str::to_owned).collect()
    }

    async fn signals(&self) -> Result<(), Error> {
        let signals = [Signal::Hup, Signal::Term, Signal::Int];
        let mut signals = Signals::new(signals).map_err(EndError::io("wait for signals"))?;
        while let Some(signal) = signals.next().await {
            match signal {
                Ok(Signal::Hup) => match self.reload() {
                    Ok(()) => log::info!("reloaded; names of {}", self.domains().join(", ")),
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
        let new = configured(&self.places)?;
        {
            let old = self.configured.borrow();
            let (was, is) = (&old.end, &new.end);
            if (was.listen, was.port, was.resolver, old.prefix) != (is.listen, is.port, is.resolver, new.prefix) {
                log::warn!("options listen, port, resolver and virtual take effect after a restart");
            }
        }
        let mut node = self.node.borrow_mut();
        let prefix = node.relations.prefix();
        node.set_rules(natf_end::io::ruleset::Rules { prefix, ..new.rules() })?;
        node.set_homes(new.names.clone());
        node.engine.handle_reload(new.homes.clone(), new.silent());
        drop(node);
        *self.configured.borrow_mut() = new;
        self.refresh_upstreams();
        Ok(())
    }

    fn refresh_upstreams(&self) {
        if let Some(resolver) = &*self.resolver.borrow() {
            self.upstreams.replace(&chosen_upstreams(&self.configured.borrow(), resolver));
        }
    }

    async fn upkeep(&self) {
        loop {
            Timer::after(UPKEEP).await;
            let polled = self.resolver.borrow_mut().as_mut().map(SystemResolver::poll);
            match polled {
                Some(Ok(true)) => self.refresh_upstreams(),
                Some(Err(error)) => log::warn!("{}", EndError::from(error)),
                _ => {}
            }
            self.save();
        }
    }

    /// Writes the names, if any came or went.
    fn save(&self) {
        let node = self.node.borrow();
        let generation = node.relations.generation();
        if self.saved.get() == generation {
            return;
        }
        self.saved.set(generation);
        if let Err(error) = relation_file::save(&self.places.relations(), &node.relations.state()) {
            log::warn!("{}", EndError::from(error));
        }
    }

    async fn watch_network(&self) -> Result<(), Error> {
        let mut watch = AddressWatch::open().map_err(EndError::from)?;
        let readable = {
            use std::os::fd::AsFd as _;
            let open = || Async::new_nonblocking(watch.as_fd().try_clone_to_owned()?);
            open().map_err(EndError::io("watch the network"))?
        };
        let mut known = addresses()?;
        loop {
            readable.readable().await.map_err(EndError::io("watch the network"))?;
            let changed = watch.drain().map_err(EndError::from)?;
            if changed.routes || changed.addresses {
                let now = addresses()?;
                if now != known || changed.routes {
                    log::debug!("the network changed");
                    self.node.borrow_mut().set_addresses(&now);
                    known = now;
                }
            }
        }
    }

    fn errand(self: &Rc<Self>, errand: Errand) {
        match errand {
            Errand::Resolve(address) => {
                let daemon = self.clone();
                self.executor.spawn(async move { daemon.resolve(address).await }).detach();
            }
            Errand::Pinged(report) => {
                if let Some(asker) = self.pings.borrow_mut().remove(&report.id) {
                    let _gone = asker.try_send(report);
                }
            }
        }
    }

    /// Asks DNS again for the router of a name that is dialled.
    async fn resolve(&self, address: Ipv4Addr) {
        let Some(name) = self.node.borrow().name_of(address) else { return };
        let found = self.upstreams.addresses_of(&name).await;
        let mut node = self.node.borrow_mut();
        match found {
            Ok(found) => node.set_targets(address, &found.list),
            Err(error) => {
                log::debug!("{name}: {error}");
                node.set_targets(address, &[]);
            }
        }
    }

    /// Answers `ping`: resolves the name as an application does, and negotiates for it.
    pub async fn ping(&self, question: &Value) -> Value {
        match self.try_ping(question).await {
            Ok(report) => report::ping(&report),
            Err(error) => json!({"error": error.to_string()}),
        }
    }

    async fn try_ping(&self, question: &Value) -> Result<PingReport, Error> {
        let refused = |text: &str| Error::Refused(text.to_owned());
        let word = |field: &str| question.get(field).and_then(Value::as_str);
        let name = word("name").ok_or_else(|| refused("'ping' needs a name"))?;
        let port = question.get("port").and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port != 0).ok_or_else(|| refused("'ping' needs a port"))?;
        let transport = if word("protocol") == Some("udp") { Transport::Udp } else { Transport::Tcp };
        let (address, dial) = self.look_up(name).await?;
        let (source, _socket) = free_source(transport, dial.targets.first().copied())?;
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
        report.ok_or_else(|| refused("the negotiation did not come to an end"))
    }

    /// The virtual address of a name and who is behind it, asked for anew.
    async fn look_up(&self, name: &str) -> Result<(Ipv4Addr, Dial), Error> {
        let (homes, now) = (self.node.borrow().homes(), Instant::now());
        let ours = homes.classify(name).ok_or_else(|| {
            Error::Refused(format!("{name} belongs to none of the homes ({})", self.domains().join(", ")))
        })?;
        let found = self.upstreams.addresses_of(name).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            Error::Refused(format!("{name}: {error}{}", cause.unwrap_or_default()))
        })?;
        let mut node = self.node.borrow_mut();
        let address = node
            .relate(&ours, &found.list, found.ttl, now)
            .map_err(|error| Error::Refused(error.to_string()))?;
        let dial = node.dial(address, now).ok_or_else(|| {
            Error::Refused(format!("{name}: '{}' is no private host name", ours.name.host()))
        })?;
        Ok((address, dial))
    }

    /// Gives everything back.
    fn stop(&self) {
        self.save();
        if let Some(Err(error)) = self.resolver.borrow_mut().take().map(SystemResolver::stop) {
            log::error!("{}", EndError::from(error));
        }
        if let Err(error) = self.node.borrow_mut().kernel().remove_table() {
            log::error!("{error}");
        }
        let _gone = std::fs::remove_file(self.places.socket());
    }
}

fn node_settings(configured: &Configured) -> Result<NodeSettings, Error> {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let engine = Settings {
        role: Role::Host,
        limits: Limits::default(),
        homes: configured.homes.clone(),
        silent: configured.silent(),
        unix_seconds: unix.as_secs(),
        random: Box::new(SystemRandom::new().map_err(EndError::from)?),
    };
    Ok(NodeSettings {
        rules: natf_end::io::ruleset::Rules { lan: Vec::new(), ..configured.rules() },
        queue: QUEUE,
        engine,
        homes: configured.names.clone(),
        relations: configured.relations(),
    })
}

fn point_resolver(configured: &Configured, listen: SocketAddr) -> Result<SystemResolver, Error> {
    let mode = match configured.end.resolver {
        natf_config::Resolver::Auto => Mode::Auto,
        natf_config::Resolver::Resolvconf => Mode::Resolvconf,
        natf_config::Resolver::Resolved => Mode::Resolved,
        natf_config::Resolver::None => Mode::None,
    };
    let domains: Vec<&str> = configured.names.domains().collect();
    Ok(SystemResolver::start(mode, Paths::default(), listen, &domains).map_err(EndError::from)?)
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

fn addresses() -> Result<Vec<Ipv4Addr>, Error> {
    let mut kernel = Addresses::open().map_err(EndError::from)?;
    let mut found: Vec<Ipv4Addr> =
        kernel.local().map_err(EndError::from)?.into_iter().map(|local| local.address).collect();
    found.sort();
    Ok(found)
}

/// A source port that nobody uses, kept by the socket, and the address that the kernel takes towards the router.
fn free_source(transport: Transport, router: Option<Ipv4Addr>) -> Result<(SocketAddrV4, Keeper), Error> {
    let open = || {
        let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let route = UdpSocket::bind(any)?;
        route.connect(SocketAddrV4::new(router.unwrap_or(Ipv4Addr::LOCALHOST), 9))?;
        let SocketAddr::V4(here) = route.local_addr()? else { return Ok((any, Keeper::Udp(route))) };
        match transport {
            Transport::Udp => Ok((here, Keeper::Udp(route))),
            Transport::Tcp => {
                let socket = TcpListener::bind(SocketAddrV4::new(*here.ip(), 0))?;
                let port = socket.local_addr()?.port();
                Ok((SocketAddrV4::new(*here.ip(), port), Keeper::Tcp(socket)))
            }
        }
    };
    Ok(open().map_err(EndError::io("find a free port"))?)
}

/// Keeps a port from being used by others.
enum Keeper {
    Udp(#[allow(dead_code)] UdpSocket),
    Tcp(#[allow(dead_code)] TcpListener),
}
