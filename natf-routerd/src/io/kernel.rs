//! Carries the core's outputs to the kernel, many in one system call, and its answers back.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, SystemTime},
};

use natf_kernel::{
    KernelError,
    conntrack::{Conntrack, Flow, Insert, InsertError, Label, TcpState},
    elements::{Added, Concat, Element, Elements, SetName},
    packet::{Ipv4View, PacketBatch, Transport as Packet},
    queue::{Queue, Verdict},
    raw::RawSender,
};
use natf_proto::{KeyId, Transport};

use super::ruleset;
use crate::core::{
    counters::Counter,
    guide_passing::PASSING_SECONDS,
    mapping::MappingId,
    output::{Arrival, Await, Carrier, Entry, FirstFlow, FirstPacket, Handled, Now, Output, Shown},
    router::{Inserted, Router},
};

/// A message is 212 bytes with its headers; of first packets only the headers are needed.
const COPY_RANGE: u16 = 320;
/// Packets that may wait for a verdict; beyond that ENs repeat their requests.
const QUEUE_LENGTH: u32 = 8192;
/// What the kernel answers where a conntrack helper is not there (EOPNOTSUPP, also ENOTSUPP inside the kernel).
const NO_HELPER: [i32; 2] = [95, 524];
const FTP: u16 = 21;
const AWAITING: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::AWAITING };
const GUIDE: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::GUIDE };
const ENDED: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::ENDED };
const PASSING_SET: SetName<'static> = SetName { table: ruleset::TABLE, set: ruleset::PASSING };
const PASSING: Duration = Duration::from_secs(PASSING_SECONDS as u64);
/// First half of our conntrack label: tells our entries from all others after a restart.
const LABEL_MARK: [u8; 2] = *b"Nf";

/// An insert that stands in line.
#[derive(Debug, Clone, Copy)]
struct Pending {
    id: MappingId,
    entry: Entry,
    timeout: Duration,
    shown: Shown,
}

/// The kernel objects of a router: queue, conntrack table, raw socket, set of awaited packets.
pub struct Kernel {
    queue: Queue,
    conntrack: Conntrack,
    sender: RawSender,
    elements: Elements,
    packets: PacketBatch,
    verdicts: Vec<(u32, Verdict)>,
    inserts: Vec<Pending>,
    catches: Vec<(Ipv4Addr, Duration)>,
    passes: Vec<FirstFlow>,
    results: Vec<Result<(), InsertError>>,
    helpers: bool,
    /// Whether the last batch of entries found conntrack's table full: said once, not for each flow.
    full: bool,
    inside: Vec<u32>,
    reservations: Vec<(KeyId, u64)>,
    stamps: Vec<Duration>,
    times: Times,
}

impl Kernel {
    /// Opens everything; the table's set has to exist when the first packet is awaited.
    ///
    /// # Errors
    /// Where rights or kernel modules are missing; the message says which.
    pub fn open(queue: u16) -> Result<Self, KernelError> {
        Ok(Self {
            queue: Queue::open(queue, COPY_RANGE, QUEUE_LENGTH)?,
            conntrack: Conntrack::open()?,
            sender: RawSender::open()?,
            elements: Elements::open()?,
            packets: PacketBatch::new(),
            verdicts: Vec::new(),
            inserts: Vec::new(),
            catches: Vec::new(),
            passes: Vec::new(),
            results: Vec::new(),
            helpers: true,
            full: false,
            inside: Vec::new(),
            reservations: Vec::new(),
            stamps: Vec::new(),
            times: Times::default(),
        })
    }

    /// The queue, to wait for packets.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Times from the kernel's receive stamp to the answer sent; empty while the kernel stamps nothing.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// Sets which interfaces are the LAN's, by index.
    pub fn set_inside(&mut self, inside: Vec<u32>) {
        self.inside = inside;
    }

    /// Reservations of counters that are to be stored, since the last call.
    pub fn take_reservations(&mut self) -> Vec<(KeyId, u64)> {
        std::mem::take(&mut self.reservations)
    }

    /// Which interfaces are the LAN's, by index.
    pub fn inside(&self) -> &[u32] {
        &self.inside
    }

    /// Takes the packets that wait, at most one batch, through the core; returns how many there were.
    ///
    /// # Errors
    /// Where the queue itself fails.
    pub fn take_packets(&mut self, now: Now, router: &mut Router) -> Result<usize, KernelError> {
        let Self { queue, verdicts, inside, stamps, .. } = self;
        let taken = queue.recv_batch(|packet| {
            stamps.extend(packet.timestamp);
            let from_inside = inside.contains(&packet.in_ifindex);
            if let Some(verdict) = take_packet(now, router, packet.id, from_inside, packet.payload) {
                verdicts.push((packet.id, verdict));
            }
        })?;
        self.carry_out(now, router)?;
        Ok(taken)
    }

    /// Carries out what the core wants, until it wants nothing more.
    ///
    /// # Errors
    /// Where the kernel can no longer be reached; refusals of single entries go to the core.
    pub fn carry_out(&mut self, now: Now, router: &mut Router) -> Result<(), KernelError> {
        loop {
            while let Some(output) = router.poll_output() {
                self.carry_out_one(now, router, output)?;
            }
            if self.inserts.is_empty() && self.catches.is_empty() {
                break;
            }
            self.insert(now, router)?;
            self.catch(now, router);
        }
        self.send(router);
        self.times.note(&mut self.stamps);
        self.queue.verdicts(&self.verdicts)?;
        self.verdicts.clear();
        Ok(())
    }

    fn carry_out_one(&mut self, now: Now, router: &mut Router, output: Output) -> Result<(), KernelError> {
        match output {
            Output::Insert { id, entry, timeout, shown } => {
                self.inserts.push(Pending { id, entry, timeout, shown });
                return Ok(());
            }
            Output::Send { arrival, message } => {
                push_answer(&mut self.packets, &arrival, &message);
                return Ok(());
            }
            Output::SendNotice { arrival, message } => {
                push_answer(&mut self.packets, &arrival, &message);
                return Ok(());
            }
            Output::Drop(packet) => {
                self.verdicts.push((packet, Verdict::Drop));
                return Ok(());
            }
            Output::Catch { source, timeout } => {
                self.catches.push((source, timeout));
                return Ok(());
            }
            Output::Pass(flow) => {
                self.passes.push(flow);
                return Ok(());
            }
            Output::Release(packet) => {
                self.verdicts.push((packet, Verdict::Accept));
                return Ok(());
            }
            Output::Reserve { peer, ceiling } => {
                self.reservations.push((peer, ceiling));
                return Ok(());
            }
            Output::Delete(_)
            | Output::Renew { .. }
            | Output::Await { .. }
            | Output::Unawait(_)
            | Output::Uncatch(_)
            | Output::Unpass(_)
            | Output::Look(_)
            | Output::Check { .. } => {}
        }
        // The others see the tables as they are after the changes that were asked for before them.
        self.insert(now, router)?;
        self.catch(now, router);
        match output {
            Output::Delete(entry) => self.delete(&entry)?,
            Output::Renew { id, entry, timeout } => {
                let result = self.renew(&entry, timeout)?;
                router.handle_inserted(now, id, &entry, result);
            }
            Output::Check { id, entry } => {
                let lives = |found: &natf_kernel::conntrack::Entry| {
                    found.label == Some(label(entry.peer)) && !found.tcp_state.is_some_and(TcpState::is_over)
                };
                let found = self.conntrack.get(&flow(&entry))?.filter(lives);
                router.handle_checked(now, id, found.map(|found| found.timeout));
            }
            Output::Await { id, element, timeout } => {
                let done = self.expect_first_packet(&element, timeout);
                router.handle_awaiting(now, id, &element, done);
            }
            Output::Unawait(element) => {
                // It may have timed out meanwhile.
                let _gone = self.elements.delete(AWAITING, &[key(&element)]);
            }
            Output::Uncatch(source) => {
                // It may have timed out meanwhile.
                let _gone = self.elements.delete(GUIDE, &[Concat::new().address(source)]);
            }
            Output::Unpass(flow) => {
                self.passes.retain(|passing| *passing != flow);
                // It may have timed out meanwhile, or waited in line only.
                let _gone = self.elements.delete(PASSING_SET, &[passing_key(&flow)]);
            }
            Output::Look(flow) => {
                let known = self.knows(&flow)?;
                router.handle_looked(now, flow, known);
            }
            Output::Insert { .. }
            | Output::Send { .. }
            | Output::SendNotice { .. }
            | Output::Release(_)
            | Output::Drop(_)
            | Output::Catch { .. }
            | Output::Pass(_)
            | Output::Reserve { .. } => {}
        }
        Ok(())
    }

    /// Whether conntrack knows a flow, in either direction. A SYN on a connection that is over would have the kernel
    /// delete its entry and see a new flow, so that is done here.
    fn knows(&mut self, first: &FirstFlow) -> Result<bool, KernelError> {
        let flow = first_flow(first);
        let Some(found) = self.conntrack.get_reply_taken(&flow)? else { return Ok(false) };
        let over = found.original == flow && found.tcp_state.is_some_and(TcpState::is_over);
        if over {
            self.conntrack.delete(&flow)?;
        }
        Ok(!over)
    }

    /// One batch for all sources that stand in line.
    fn catch(&mut self, now: Now, router: &mut Router) {
        if self.catches.is_empty() {
            return;
        }
        let catches = std::mem::take(&mut self.catches);
        let element = |(source, timeout): &(Ipv4Addr, Duration)| Element {
            key: Concat::new().address(*source),
            data: None,
            timeout: Some(*timeout),
        };
        let elements: Vec<_> = catches.iter().map(element).collect();
        let done = self.add(GUIDE, &elements);
        for (source, _) in catches {
            router.handle_caught(now, source, done);
        }
    }

    /// Lets flows pass the queue from now on. To be called when no packet waits: what is behind one in the queue would
    /// be overtaken.
    pub fn let_pass(&mut self) {
        if self.passes.is_empty() {
            return;
        }
        let element =
            |flow: FirstFlow| Element { key: passing_key(&flow), data: None, timeout: Some(PASSING) };
        let elements: Vec<_> = self.passes.drain(..).map(element).collect();
        self.add(PASSING_SET, &elements);
    }

    fn add(&mut self, set: SetName<'_>, elements: &[Element]) -> bool {
        match self.elements.add(set, elements) {
            Ok(Added::Done) => true,
            Ok(Added::Full) => {
                log::warn!("the set {set} is full");
                false
            }
            Err(error) => {
                log::warn!("{error}");
                false
            }
        }
    }

    fn expect_first_packet(&mut self, element: &Await, timeout: Duration) -> bool {
        self.add(AWAITING, &[Element { key: key(element), data: None, timeout: Some(timeout) }])
    }

    /// One datagram for all inserts that stand in line.
    fn insert(&mut self, now: Now, router: &mut Router) -> Result<(), KernelError> {
        if self.inserts.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> =
            self.inserts.iter().map(|pending| conntrack_insert(pending, self.helpers)).collect();
        self.results.clear();
        let sent = self.conntrack.insert_batch(&batch, &mut self.results);
        let full = self.results.contains(&Err(InsertError::Full));
        if full && !self.full {
            log::warn!("the connection tracking table is full (nf_conntrack_max): new flows are refused");
        }
        self.full = full;
        let inserts = std::mem::take(&mut self.inserts);
        let answers = self.results.drain(..).map(Some).chain(std::iter::repeat(None));
        let mut without_helper = Vec::new();
        for (pending, answer) in inserts.iter().zip(answers) {
            match answer {
                Some(Err(InsertError::Kernel(errno)))
                    if NO_HELPER.contains(&errno) && wants_helper(&pending.entry) && self.helpers =>
                {
                    without_helper.push(*pending);
                }
                answer => {
                    router.handle_inserted(now, pending.id, &pending.entry, inserted(&pending.entry, answer))
                }
            }
        }
        if !without_helper.is_empty() {
            log::warn!(
                "the kernel has no FTP helper: FTP's data connections will not pass (install kmod-nf-nathelper)"
            );
            self.helpers = false;
            self.inserts = without_helper;
        }
        sent
    }

    /// Deletes an entry, and with FTP's control connection its data connections, which the kernel would let run on.
    ///
    /// Where the mapping keeps the port, the host's next packet would pass the NAT with the very same translation and
    /// the flow would go on: it is refused from before the deletion on.
    fn delete(&mut self, entry: &Entry) -> Result<(), KernelError> {
        let control = flow(entry);
        let keeps_port = entry.mapped.port() == entry.inside.port();
        let mut flows = vec![control];
        let mut refused = Vec::new();
        if wants_helper(entry) || keeps_port {
            let found = self.conntrack.get(&control)?;
            refused.extend(found.as_ref().map(|found| found.reply));
            // Only a control connection that stood has data connections; the whole table is searched for them.
            if wants_helper(entry) && found.as_ref().is_some_and(has_stood) {
                self.conntrack.dump(|found| {
                    if found.master == Some(control) {
                        flows.push(found.original);
                        let by_host = found.original.source.ip() == entry.inside.ip();
                        refused.push(if by_host { found.original } else { found.reply });
                    }
                })?;
            }
        }
        if keeps_port {
            let element = |flow: &Flow| Element { key: ended_key(flow), data: None, timeout: None };
            let elements: Vec<_> = refused.iter().map(element).collect();
            self.add(ENDED, &elements);
        }
        self.conntrack.delete_batch(&flows).map(drop)
    }

    /// An entry that is still unused waits for as long again; one that is gone is made anew.
    fn renew(&mut self, entry: &Entry, timeout: Duration) -> Result<Inserted, KernelError> {
        let flow = flow(entry);
        match self.conntrack.get(&flow)? {
            Some(found) if found.label != Some(label(entry.peer)) => Ok(Inserted::Taken),
            Some(found) => {
                if found.timeout < timeout {
                    self.conntrack.set_timeout(&flow, timeout)?;
                }
                Ok(Inserted::Done)
            }
            None => {
                let pending = Pending { id: MappingId(0), entry: *entry, timeout, shown: Shown::Source };
                let answer = self.conntrack.insert(&conntrack_insert(&pending, self.helpers))?;
                Ok(inserted(entry, Some(answer)))
            }
        }
    }

    fn send(&mut self, router: &mut Router) {
        if self.packets.is_empty() {
            return;
        }
        let report = self.sender.send_batch(&self.packets);
        if let Some(error) = report.last_error {
            (0..report.failed).for_each(|_| router.count(Counter::Unsent));
            // Whoever forges sources chooses how often this happens: the counter tells it, not the log.
            log::debug!("{} answers could not be sent: {error}", report.failed);
        }
        self.packets.clear();
    }

    /// Hands our entries in the kernel to `each`, as after a restart.
    ///
    /// # Errors
    /// Where the kernel's table cannot be read.
    pub fn restore(&mut self, mut each: impl FnMut(Entry)) -> Result<(), KernelError> {
        self.conntrack.dump(|found| {
            let peer = found.label.and_then(|label| peer_of(&label));
            let transport = Transport::parse(found.original.proto).ok();
            if let (Some(peer), Some(transport)) = (peer, transport) {
                let (source, mapped) = (found.original.source, found.original.destination);
                each(Entry { transport, source, mapped, inside: found.reply.source, peer });
            }
        })
    }

    /// Packets and bytes of an entry, both ways, and the seconds it still lives; `None` where it is gone.
    pub fn look(&mut self, entry: &Entry) -> Option<natf_kernel::conntrack::Entry> {
        self.conntrack.get(&flow(entry)).ok().flatten()
    }

    /// Deletes all our entries, for a clean removal.
    ///
    /// # Errors
    /// Where the kernel's table cannot be read or written.
    pub fn delete_all(&mut self) -> Result<usize, KernelError> {
        let mut flows = Vec::new();
        self.restore(|entry| flows.push(flow(&entry)))?;
        self.conntrack.delete_batch(&flows)
    }
}

/// How long the last requests took, in nanoseconds: a ring of [`Times::KEPT`].
#[derive(Debug, Default)]
pub struct Times {
    last: Vec<u32>,
    next: usize,
}

impl Times {
    /// So many are kept.
    const KEPT: usize = 1024;

    fn note(&mut self, stamps: &mut Vec<Duration>) {
        if stamps.is_empty() {
            return;
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        for stamp in stamps.drain(..) {
            let took = u32::try_from(now.saturating_sub(stamp).as_nanos()).unwrap_or(u32::MAX);
            match self.last.get_mut(self.next) {
                Some(place) => *place = took,
                None => self.last.push(took),
            }
            self.next = (self.next + 1) % Self::KEPT;
        }
    }

    /// The median, if anything was measured.
    pub fn median(&self) -> Option<Duration> {
        let mut sorted = self.last.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).map(|nanos| Duration::from_nanos(u64::from(*nanos)))
    }
}

/// One packet from the queue; `None` where the core gives the verdict later.
fn take_packet(now: Now, router: &mut Router, id: u32, inside: bool, bytes: &[u8]) -> Option<Verdict> {
    let Ok(view) = Ipv4View::parse_head(bytes) else {
        router.count(Counter::NotOurs);
        return Some(Verdict::Accept);
    };
    let (from, to) = (view.source, view.destination);
    match view.transport {
        Packet::Echo { ident, sequence, payload, .. } => {
            let carrier = Carrier::Icmp { id: ident, sequence };
            Some(match router.handle_message(now, &Arrival { from, to, inside, carrier }, payload) {
                Handled::Consumed => Verdict::Drop,
                Handled::NotOurs => Verdict::Accept,
            })
        }
        Packet::Udp { source_port, destination_port, payload } if payload.starts_with(&natf_proto::MAGIC) => {
            let carrier = Carrier::Udp { from: source_port, to: destination_port };
            router.handle_message(now, &Arrival { from, to, inside, carrier }, payload);
            Some(Verdict::Drop)
        }
        Packet::Udp { .. } | Packet::Tcp { .. } => {
            let transport = Transport::parse(view.protocol()).ok()?;
            let (source, destination) = (view.source_socket(), view.destination_socket());
            let flow = FirstFlow { transport, source, destination };
            router.handle_first_packet(now, &FirstPacket { packet: id, flow, inside });
            None
        }
    }
}

fn push_answer(packets: &mut PacketBatch, arrival: &Arrival, message: &[u8]) {
    let (us, them) = (arrival.to, arrival.from);
    let fits = match arrival.carrier {
        Carrier::Icmp { id, sequence } => packets.push_echo_reply(us, them, id, sequence, message),
        Carrier::Udp { from, to } => {
            packets.push_udp(SocketAddrV4::new(us, to), SocketAddrV4::new(them, from), message)
        }
    };
    debug_assert!(fits, "a message always fits into a packet");
}

fn flow(entry: &Entry) -> Flow {
    Flow { proto: entry.transport as u8, source: entry.source, destination: entry.mapped }
}

fn first_flow(first: &FirstFlow) -> Flow {
    Flow { proto: first.transport as u8, source: first.source, destination: first.destination }
}

fn conntrack_insert(pending: &Pending, helpers: bool) -> Insert<'static> {
    let Pending { entry, timeout, shown, .. } = pending;
    Insert {
        original: flow(entry),
        dnat: Some(entry.inside),
        // Left open, the kernel gives a clashing source another port instead of refusing the entry.
        snat: match shown {
            Shown::Source => Some(entry.source),
            Shown::SourceOrOtherPort => None,
            Shown::Router(socket) => Some(*socket),
        },
        timeout: *timeout,
        label: Some(label(entry.peer)),
        helper: (helpers && wants_helper(entry)).then_some("ftp"),
    }
}

/// FTP's data connections are found by the kernel's helper (N16); it has to be there from the first packet on.
fn wants_helper(entry: &Entry) -> bool {
    entry.transport == Transport::Tcp && entry.inside.port() == FTP
}

fn inserted(entry: &Entry, answer: Option<Result<(), InsertError>>) -> Inserted {
    match answer {
        Some(Ok(())) => Inserted::Done,
        Some(Err(InsertError::Exists)) => Inserted::Taken,
        Some(Err(InsertError::Full)) => Inserted::Refused,
        Some(Err(error)) => {
            log::warn!("mapping {} -> {} ({}): {error}", entry.mapped, entry.inside, entry.transport);
            Inserted::Refused
        }
        None => Inserted::Refused,
    }
}

/// Our label: twelve bytes that belong to others, our mark, the id of the peer's key.
fn label(peer: KeyId) -> Label {
    let mut label = [0; 16];
    let [.., mark_0, mark_1, id_0, id_1] = &mut label;
    [*mark_0, *mark_1] = LABEL_MARK;
    [*id_0, *id_1] = peer.0.to_be_bytes();
    label
}

fn peer_of(label: &Label) -> Option<KeyId> {
    let [.., mark_0, mark_1, id_0, id_1] = *label;
    ([mark_0, mark_1] == LABEL_MARK).then(|| KeyId(u16::from_be_bytes([id_0, id_1])))
}

/// The set's key: who is awaited, by which protocol, and where.
fn key(element: &Await) -> Concat {
    Concat::new().address(element.source).protocol(element.transport as u8).socket(element.mapped)
}

fn has_stood(found: &natf_kernel::conntrack::Entry) -> bool {
    !matches!(found.tcp_state, None | Some(TcpState::None | TcpState::SynSent | TcpState::SynReceived))
}

/// The key of a flow whose next packets are refused.
fn ended_key(flow: &Flow) -> Concat {
    let Flow { proto, source, destination } = *flow;
    Concat::new()
        .address(*source.ip())
        .protocol(proto)
        .port(source.port())
        .address(*destination.ip())
        .port(destination.port())
}

/// The key of a flow that passes: only UDP flows do.
fn passing_key(flow: &FirstFlow) -> Concat {
    Concat::new().socket(flow.source).socket(flow.destination)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_carries_the_peer() {
        assert_eq!(peer_of(&label(KeyId(0xabcd))), Some(KeyId(0xabcd)));
        assert_eq!(peer_of(&[0; 16]), None);
    }
}
