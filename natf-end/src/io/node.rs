//! An external node at work: engine, name relation table and kernel in one place, and the loop that waits for all
//! of them.

use std::{
    cell::RefCell,
    io,
    net::Ipv4Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_daemon::{drive::Source, failures::Failures};
use natf_kernel::table_watch::TableWatch;
use smol::{Async, Timer, channel, future::or};

use super::{
    kernel::{Errand, Kernel},
    routes::Routes,
    ruleset::{Rules, TABLE},
};
use crate::{
    dns::{Homes, Names, Ours},
    engine::{Engine, Settings},
    error::Error,
    flow::{Dial, Flow},
    relation::{Full, Limits, RelationTable, State},
    steps::Step,
    virtual_address::VirtualPrefix,
};

/// How often the table is looked for, besides at once when it is known to be removed: other programs flush rulesets.
const TABLE_LOOK: Duration = Duration::from_secs(2);
/// Where another program removes it again and again, it is written no oftener than this.
const TABLE_PAUSE: Duration = Duration::from_millis(200);

/// What a node is made of.
pub struct NodeSettings {
    /// The nftables table.
    pub rules: Rules,
    /// Number of the packet queue.
    pub queue: u16,
    /// The engine's.
    pub engine: Settings,
    /// The homes whose names are rewritten.
    pub homes: Homes,
    /// Bounds of the name relation table.
    pub relations: Limits,
}

/// An external node.
pub struct Node {
    /// The negotiation client and VAT.
    pub engine: Engine,
    /// The NRT.
    pub relations: RelationTable,
    kernel: Kernel,
    /// None in a gateway, whose LAN chooses no sources.
    routes: Option<Routes>,
    homes: Rc<Homes>,
    rules: Rules,
    table_watch: TableWatch,
    failed_watches: Failures,
    table_look: Instant,
    /// When it was written last.
    table_written: Instant,
    wake: channel::Sender<()>,
    woken: channel::Receiver<()>,
    /// Names came or went.
    renamed: (channel::Sender<()>, channel::Receiver<()>),
}

impl Node {
    /// Opens the kernel's objects and takes over what a former run left there; `state` holds its names.
    ///
    /// # Errors
    /// Where rights, programs or kernel modules are missing; the message says which.
    pub fn open(settings: NodeSettings, state: &State) -> Result<Self, Error> {
        let now = Instant::now();
        let mut engine = Engine::new(settings.engine);
        let mut relations = RelationTable::new(settings.rules.prefix, settings.relations);
        relations.restore(state, now);
        relations.assign_homes(&settings.homes);
        let table_watch = TableWatch::open()?;
        let mut kernel = Kernel::open(settings.queue, &settings.rules)?;
        kernel.restore(now, &mut engine, &relations)?;
        let ((wake, woken), renamed) = (channel::bounded(1), channel::bounded(1));
        let (homes, rules) = (Rc::new(settings.homes), settings.rules);
        let routes = if rules.lan.is_empty() { Some(Routes::open()?) } else { None };
        let (table_look, table_written) = (now + TABLE_LOOK, now);
        let mut node = Self {
            engine,
            relations,
            kernel,
            routes,
            homes,
            rules,
            table_watch,
            failed_watches: Failures::default(),
            table_look,
            table_written,
            wake,
            woken,
            renamed,
        };
        node.align_routes();
        node.tell_renamed();
        Ok(node)
    }

    /// The kernel's part.
    pub fn kernel(&mut self) -> &mut Kernel {
        &mut self.kernel
    }

    /// Takes other homes for names; the engine has a reload of its own.
    pub fn set_homes(&mut self, homes: Homes) {
        self.relations.assign_homes(&homes);
        self.homes = Rc::new(homes);
        self.tell_renamed();
    }

    /// Writes the table for other devices or another prefix.
    ///
    /// # Errors
    /// Where `nft` or the kernel refuses; then the former table stands.
    pub fn set_rules(&mut self, rules: Rules) -> Result<(), Error> {
        if rules != self.rules {
            self.kernel.apply(&rules)?;
            self.rules = rules;
        }
        Ok(())
    }

    /// What is known of a virtual address.
    pub fn dial(&self, address: Ipv4Addr, now: Instant) -> Option<Dial> {
        Dial::of(self.relations.relation(address)?, now)
    }

    /// Negotiates for a person.
    pub fn ping(&mut self, id: u64, flow: Flow, dial: Dial) {
        self.engine.handle_ping(Instant::now(), id, flow, dial);
        self.wake();
    }

    /// Hands fresh addresses of a router over; none where its name has none any more.
    pub fn set_targets(&mut self, address: Ipv4Addr, targets: &[Ipv4Addr], ttl: Duration) {
        let now = Instant::now();
        self.relations.refresh(address, targets, ttl, now);
        self.engine.handle_targets(now, address, targets);
        self.wake();
    }

    /// The network changed, and these are the addresses of this host now.
    pub fn set_addresses(&mut self, addresses: &[Ipv4Addr]) {
        let now = Instant::now();
        self.relations.expire_targets(now);
        self.engine.handle_network_change(now, addresses);
        if let Some(Err(error)) = self.routes.as_mut().map(Routes::clear) {
            log::warn!("{error}");
        }
        self.align_routes();
        self.wake();
    }

    /// The outside address of a gateway is another one now.
    pub fn set_outside_address(&mut self, address: Ipv4Addr) {
        self.engine.handle_outside_address(Instant::now(), address);
        self.wake();
    }

    /// Applications keep addresses longer than DNS says, so that all names count.
    fn align_routes(&mut self) {
        let Some(routes) = &mut self.routes else { return };
        for (address, relation) in self.relations.iter() {
            if let Some(router) = relation.targets().first() {
                routes.align(address, *router);
            }
        }
    }

    /// Removes everything of ours from the kernel. While flows are alive, table and routes stay, as without them
    /// nothing is translated; the next start takes them over.
    pub fn stop(&mut self) {
        let alive = self.kernel.translated(self.relations.prefix()).map_or(0, |flows| flows.len());
        if alive > 0 {
            log::info!("{alive} flows live on, so the table ip {TABLE} stays");
            return;
        }
        if let Some(Err(error)) = self.routes.as_mut().map(Routes::clear) {
            log::error!("{error}");
        }
        if let Err(error) = self.kernel.remove_table() {
            log::error!("{error}");
        }
    }

    /// Takes what is readable, in the order of [`Source::descriptors`], and what has become due.
    ///
    /// # Errors
    /// Where nothing can be read from the queue or from a socket any more.
    pub fn turn(&mut self, readable: &[bool]) -> Result<Vec<Errand>, Error> {
        let Self { engine, relations, kernel, .. } = self;
        let is_readable = |index: usize| readable.get(index).copied().unwrap_or_default();
        if is_readable(1) {
            kernel.take_echoes(engine)?;
        }
        if is_readable(2) {
            kernel.take_datagrams(engine);
        }
        let drains = kernel.drained_at().is_some_and(|at| at <= Instant::now());
        if is_readable(0) || drains {
            kernel.take_packets(engine, relations)?;
        }
        if drains {
            kernel.finish_draining(engine);
            kernel.take_packets(engine, relations)?;
        }
        let now = Instant::now();
        kernel.turn(now, engine);
        if is_readable(3) {
            let removed = self.failed_watches.survive_some(now, self.table_watch.drain(TABLE))?;
            // What was not told may be that.
            if removed.unwrap_or(true) {
                self.table_look = self.table_look.min(self.table_written + TABLE_PAUSE);
            }
        }
        self.look_for_table(now);
        Ok(self.kernel.take_errands())
    }

    /// Writes the table again where it is gone. Until then, untranslated packets to virtual addresses leave this host.
    fn look_for_table(&mut self, now: Instant) {
        if now < self.table_look {
            return;
        }
        self.table_look = now + TABLE_LOOK;
        match self.kernel.restore_table(&self.rules) {
            Ok(false) => {}
            Ok(true) => {
                self.table_written = now;
                log::warn!("another program removed the table ip {TABLE}; it is written again");
            }
            // The next look is a new try.
            Err(error) => log::error!("{error}"),
        }
    }

    /// Has something when names came or went.
    pub fn renamed(&self) -> channel::Receiver<()> {
        self.renamed.1.clone()
    }

    /// Has the names written.
    pub fn tell_renamed(&self) {
        // Where the channel is full, the writer is about to look anyway.
        let _full = self.renamed.0.try_send(());
    }

    /// What is to be written of the names, and the generation that it is of.
    pub fn names(&self) -> (u64, State) {
        (self.relations.generation(), self.relations.state())
    }

    /// Makes the loop look at the engine.
    pub fn wake(&self) {
        // Where the channel is full, the loop is about to look anyway.
        let _full = self.wake.try_send(());
    }
}

impl Names for Node {
    fn homes(&self) -> Rc<Homes> {
        self.homes.clone()
    }

    fn prefix(&self) -> VirtualPrefix {
        self.relations.prefix()
    }

    fn relate(
        &mut self,
        ours: &Ours<'_>,
        targets: &[Ipv4Addr],
        ttl: Duration,
        now: Instant,
    ) -> Result<Ipv4Addr, Full> {
        let before = self.relations.generation();
        let address = self.relations.relate_ours(ours, targets, ttl, now)?;
        if self.relations.generation() != before {
            self.tell_renamed();
        }
        if let (Some(routes), Some(router)) = (&mut self.routes, targets.first()) {
            routes.align(address, *router);
        }
        Ok(address)
    }

    fn handle_rewritten(&mut self, took: Duration) {
        self.engine.steps.record(Step::DnsRewrite, took);
    }

    fn is_plain_router(&self, address: Ipv4Addr, now: Instant) -> bool {
        self.engine.is_not_capable(address, now)
    }

    fn name_of(&self, address: Ipv4Addr) -> Option<String> {
        self.relations.relation(address).map(|relation| relation.name().full().to_owned())
    }
}

impl Source for Node {
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let Self { kernel, table_watch, .. } = self;
        vec![kernel.queue().as_fd(), kernel.echo().as_fd(), kernel.udp().as_fd(), table_watch.as_fd()]
    }

    fn deadline(&self) -> Option<Instant> {
        [self.engine.poll_timeout(), self.kernel.drained_at(), Some(self.table_look)]
            .into_iter()
            .flatten()
            .min()
    }
}

/// Serves the node inside of a foreign loop until something fails for good; `errand` does what takes longer.
///
/// # Errors
/// Where nothing can be read from the queue or from a socket any more.
pub async fn run(node: &Rc<RefCell<Node>>, mut errand: impl FnMut(Errand)) -> Result<(), Error> {
    let (watched, woken) = {
        let node = node.borrow();
        let watched: Vec<_> = node.descriptors().into_iter().map(watched).collect::<Result<_, _>>()?;
        (watched, node.woken.clone())
    };
    loop {
        // What is readable is not told apart: a look costs less than to find out.
        node.borrow_mut().turn(&[true; 4])?.into_iter().for_each(&mut errand);
        let deadline = node.borrow().deadline();
        let readable = any(&watched);
        let due = async {
            let _due = deadline.map_or_else(Timer::never, Timer::at).await;
            Ok(())
        };
        let woken = async {
            let _woken = woken.recv().await;
            Ok(())
        };
        or(readable, or(due, woken)).await.map_err(Error::io("wait for packets and answers"))?;
    }
}

/// Waits until one of the descriptors is readable.
async fn any(watched: &[Async<OwnedFd>]) -> io::Result<()> {
    match watched {
        [first, second, third, fourth] => {
            or(or(first.readable(), second.readable()), or(third.readable(), fourth.readable())).await
        }
        _ => smol::future::pending().await,
    }
}

/// A second descriptor for the reactor, so that the object itself stays usable.
fn watched(object: BorrowedFd<'_>) -> Result<Async<OwnedFd>, Error> {
    let open = || Async::new_nonblocking(object.try_clone_to_owned()?);
    open().map_err(Error::io("wait for a socket"))
}
