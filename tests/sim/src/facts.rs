//! What must hold whatever happens, and the knowledge that it takes to say so: who really sent which message, who was
//! really announced. The cores never see any of this.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
    time::{Duration, Instant},
};

use natf_proto::{KeyId, Transport};
use natf_routerd::core::{
    output::{Await, Entry},
    peer::Role,
};

use crate::{
    app::{App, Place},
    conntrack::Connection,
    end_node::EndNode,
    packet::{Packet, Part},
    plan::SERVER,
    policy::Policy,
    router_node::RouterNode,
};

/// How long a row that has ended by the clock may still open the way, and a lost address be led to a host: the router's
/// timer task sleeps that long.
const EXPIRY_GRACE: Duration = Duration::from_secs(3);
/// How long an external node may keep a packet waiting: the time of four tries, twice that where DNS has to be waited
/// for and once more where it says something new, and the kernel's confirmation.
const PATIENCE: Duration = Duration::from_secs(14);
/// Between a notification's making and its row: the longest way through the network.
const NOTIFICATION_WAY: Duration = Duration::from_secs(1);

/// What does not hold.
pub type Complaint = String;

/// Someone was announced to a router.
#[derive(Debug, Clone, Copy)]
struct Announcement {
    host: &'static str,
    last: Instant,
}

/// A message as it left its maker.
#[derive(Debug, Clone)]
struct Made {
    /// Whose key sealed it; [`KeyId::ANONYMOUS`] where nobody's did.
    key: KeyId,
    /// The source that the internet saw.
    from: Ipv4Addr,
    /// The event in which it first made a mapping.
    mapped_in: Option<u64>,
}

/// Everything that the checks know.
#[derive(Debug, Default)]
pub struct Facts {
    made: BTreeMap<Rc<[u8]>, Made>,
    granted: BTreeSet<(usize, Transport, SocketAddrV4, SocketAddrV4, SocketAddrV4, KeyId)>,
    awaited: BTreeSet<(usize, Transport, Ipv4Addr, SocketAddrV4)>,
    announced: BTreeMap<(usize, Ipv4Addr), Vec<Announcement>>,
    /// Since when the owner does not want an entry that stands.
    unwanted: BTreeMap<(usize, crate::packet::Tuple), Instant>,
}

impl Facts {
    /// A node made a message.
    pub fn note_made(&mut self, key: KeyId, packet: &Packet) {
        let Some(bytes) = packet.message() else { return };
        let made = Made { key, from: packet.from, mapped_in: None };
        self.made.entry(bytes.clone()).or_insert(made);
    }

    /// The TSN server set out to announce a client.
    pub fn note_announced(&mut self, now: Instant, router: usize, origin: Ipv4Addr, host: &'static str) {
        let all = self.announced.entry((router, origin)).or_default();
        match all.iter_mut().find(|one| one.host == host) {
            Some(one) => one.last = now,
            None => all.push(Announcement { host, last: now }),
        }
    }

    /// Hosts that an address was ever announced for.
    fn announced_hosts(&self, router: usize, origin: Ipv4Addr) -> impl Iterator<Item = &Announcement> {
        self.announced.get(&(router, origin)).into_iter().flatten()
    }

    /// A router is about to make an entry.
    pub fn check_mapping(
        &mut self,
        now: Instant,
        event: u64,
        (number, node): (usize, &RouterNode),
        entry: &Entry,
        message: Option<&Rc<[u8]>>,
    ) -> Result<(), Complaint> {
        let unix = node.clocks(now).unix;
        let (inside, port) = (*entry.inside.ip(), entry.inside.port());
        // A row that the clock has just closed is seen by the timer task; a first packet may come before it.
        let unix = if message.is_some() { unix } else { 0 };
        if !node.policy.allows_address(entry.peer, inside, port, unix) {
            return Err(format!("router {number} maps what its owner does not want: {entry:?}"));
        }
        let Entry { transport, source, mapped, inside, peer } = *entry;
        let known = (number, transport, source, mapped, inside, peer);
        match message {
            Some(message) => self.check_maker(event, number, peer, *source.ip(), message)?,
            None if self.granted.contains(&known) => {}
            None if self.awaited.contains(&(number, transport, *source.ip(), mapped)) => {}
            None => self.check_announced(now, (number, node), entry)?,
        }
        self.granted.insert(known);
        Ok(())
    }

    /// A router is about to wait for a first packet.
    pub fn check_awaiting(
        &mut self,
        event: u64,
        number: usize,
        element: &Await,
        message: Option<&Rc<[u8]>>,
    ) -> Result<(), Complaint> {
        let Await { transport, source, mapped } = *element;
        let Some(message) = message else {
            return Err(format!("router {number} waits unasked: {element:?}"));
        };
        let key = self.made.get(message).map_or(KeyId::ANONYMOUS, |made| made.key);
        self.check_maker(event, number, key, source, message)?;
        self.awaited.insert((number, transport, source, mapped));
        Ok(())
    }

    /// A mapping is for who made the message, at the address that it came from; and a message makes one only once.
    fn check_maker(
        &mut self,
        event: u64,
        number: usize,
        peer: KeyId,
        source: Ipv4Addr,
        message: &Rc<[u8]>,
    ) -> Result<(), Complaint> {
        let Some(made) = self.made.get_mut(message) else {
            // Without a key anybody can change a message on its way.
            if peer == KeyId::ANONYMOUS {
                return Ok(());
            }
            return Err(format!("router {number} maps for {peer:?} by a message that nobody made"));
        };
        if made.key != peer || made.from != source {
            return Err(format!("router {number} maps for {peer:?} at {source} by a message of {made:?}"));
        }
        // Without a key a message is fresh for as long as its cookie (N15).
        let replayed = made.mapped_in.is_some_and(|former| former != event) && peer != KeyId::ANONYMOUS;
        made.mapped_in = Some(event);
        if replayed { Err(format!("router {number} takes a message of {made:?} twice")) } else { Ok(()) }
    }

    fn check_announced(
        &self,
        now: Instant,
        (number, node): (usize, &RouterNode),
        entry: &Entry,
    ) -> Result<(), Complaint> {
        let is_server = node.policy.peers.get(&entry.peer).is_some_and(|peer| peer.role == Role::Tsn);
        let lifetime = node.limits.guide_lifetime + NOTIFICATION_WAY + Duration::from_secs(1);
        let unix = node.clocks(now).unix;
        let fits = |one: &Announcement| {
            let address = node.policy.hosts.get(one.host).map(|host| host.address);
            address == Some(*entry.inside.ip())
                && now < one.last + lifetime
                && node.policy.allows(entry.peer, one.host, entry.inside.port(), unix)
        };
        if is_server && self.announced_hosts(number, *entry.source.ip()).any(fits) {
            return Ok(());
        }
        Err(format!("router {number} maps for somebody who was not announced: {entry:?}"))
    }

    /// Data reaches a host.
    pub fn check_delivery(
        &self,
        (number, policy): (usize, &Policy),
        app: Option<&App>,
        origin: Ipv4Addr,
        packet: &Packet,
        connection: &Connection,
    ) -> Result<(), Complaint> {
        let wrong = |why: &str| Err(format!("router {number}: {why}: {packet} by {connection:?} of {app:?}"));
        let (Some(app), Some(tuple)) = (app, packet.tuple()) else {
            return wrong("a stranger reaches a host");
        };
        // Who shares his address with an announced client, and has no mapping of his own (any more), is taken for that
        // client (T9).
        let is_taken_for_client = connection.label == Some(SERVER);
        if connection.label != Some(app.peer) && !is_taken_for_client {
            return wrong("data goes by the entry of another peer");
        }
        let is_served = tuple.destination.port() == app.tuple.destination.port();
        if app.router != number || !(is_served || is_taken_for_client) {
            return wrong("data reaches another home or port");
        }
        let is_meant = |host: &str| policy.hosts.get(host).is_some_and(|host| host.address == packet.to);
        let right = match app.place {
            Place::End(_) if !is_taken_for_client => is_meant(app.host),
            // Behind one address several clients may be told apart wrongly (T9).
            _ => self.announced_hosts(number, origin).any(|one| is_meant(one.host)),
        };
        if right { Ok(()) } else { wrong("data reaches a host that was not meant") }
    }

    /// Data reaches the router itself: never what an enrolled node sent, to a service of the router.
    pub fn check_kept(&self, number: usize, app: Option<&App>, packet: &Packet) -> Result<(), Complaint> {
        let (Some(app), Some(tuple)) = (app, packet.tuple()) else { return Ok(()) };
        let is_service = tuple.destination.port() == app.tuple.destination.port();
        if is_service && matches!(app.place, Place::End(_)) && app.peer != KeyId::ANONYMOUS {
            return Err(format!("router {number} itself gets what was meant for {}: {packet}", app.host));
        }
        Ok(())
    }

    /// An application is answered.
    pub fn check_answer(
        &self,
        policy: &Policy,
        app: &App,
        packet: &Packet,
        part: &Part,
    ) -> Result<(), Complaint> {
        if packet.tuple() != Some(app.tuple.inverse()) {
            return Err(format!("flow {} hears what was not for it: {packet}", app.id));
        }
        let (Part::SynAck(by) | Part::Answer(_, by)) = part else { return Ok(()) };
        let is_meant = policy.hosts.get(app.host).is_some_and(|host| host.address == *by);
        // Clients behind one address may be told apart wrongly (T9).
        if is_meant || app.is_taken_for_client || matches!(app.place, Place::Client(_)) {
            return Ok(());
        }
        Err(format!("flow {} is answered by {by} instead of {}", app.id, app.host))
    }

    /// Everything that a router has, after an event.
    pub fn check_router(&mut self, now: Instant, number: usize, node: &RouterNode) -> Result<(), Complaint> {
        if node.held() > 0 {
            return Err(format!("router {number} keeps {} packets waiting", node.held()));
        }
        let Some(core) = &node.core else {
            self.unwanted.retain(|(router, _), _| *router != number);
            return Ok(());
        };
        let (mappings, limits) = (core.mappings(), node.limits);
        if mappings.len() > limits.max_mappings.max(node.restored) {
            return Err(format!("router {number} has {} mappings", mappings.len()));
        }
        if let Some(imagined) = node.imagined() {
            return Err(format!(
                "router {number} believes in an entry that the kernel never took: {imagined:?}"
            ));
        }
        let rows = core.guide_rows(node.clocks(now)).count();
        if rows > limits.max_guide {
            return Err(format!("router {number} has {rows} rows in its guide table"));
        }
        self.check_entries(now, number, node)
    }

    /// No entry stands that the owner does not want, or at an address that is somebody else's by now.
    fn check_entries(&mut self, now: Instant, number: usize, node: &RouterNode) -> Result<(), Complaint> {
        let unix = node.clocks(now).unix;
        for connection in node.table.iter(now).filter(|connection| !connection.over) {
            let Some(peer) = connection.label else { continue };
            let (inside, key) = (connection.reply.source, (number, connection.original));
            let is_own = *connection.original.destination.ip() == node.address;
            if is_own && node.policy.allows_address(peer, *inside.ip(), inside.port(), unix) {
                self.unwanted.remove(&key);
                continue;
            }
            let since = *self.unwanted.entry(key).or_insert(now);
            if now > since + EXPIRY_GRACE {
                let what =
                    if is_own { "what its owner closed" } else { "the way from an address that it lost" };
                return Err(format!("router {number} leaves open {what}: {connection:?}"));
            }
        }
        Ok(())
    }

    /// The owner's new word counts at once.
    pub fn check_reload(&self, now: Instant, number: usize, node: &RouterNode) -> Result<(), Complaint> {
        if node.core.is_none() {
            return Ok(());
        }
        let unix = node.clocks(now).unix;
        let open = node.table.iter(now).filter(|it| !it.over);
        let mut entries = open.filter_map(|it| Some((it.label?, it.reply.source, it.original)));
        match entries
            .find(|(peer, inside, _)| !node.policy.allows_address(*peer, *inside.ip(), inside.port(), unix))
        {
            Some((peer, inside, flow)) => {
                Err(format!("router {number} lets {peer:?} go on to {inside} after a change: {flow}"))
            }
            None => Ok(()),
        }
    }

    /// The kernel of an external node translates nothing that its daemon has given up (N9): a new socket on the same
    /// port would be led to where nobody maps it any more, past a refusal.
    pub fn check_translations(now: Instant, number: usize, node: &EndNode) -> Result<(), Complaint> {
        match node.stray_translation(now) {
            Some(flow) => Err(format!("end {number} still translates a flow that it gave up: {flow}")),
            None => Ok(()),
        }
    }

    /// Nobody waits for ever.
    pub fn check_waiting(now: Instant, number: usize, since: Option<Instant>) -> Result<(), Complaint> {
        match since.map(|since| now.saturating_duration_since(since)).filter(|waited| *waited > PATIENCE) {
            Some(waited) => Err(format!("end {number} has kept a packet waiting for {waited:?}")),
            None => Ok(()),
        }
    }
}
