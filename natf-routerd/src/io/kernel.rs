//! Carries the core's outputs to the kernel, many in one system call, and its answers back.
//!
//! ```text
//!   queue ─▶ core ─▶ outputs ─┬─▶ Entries   conntrack: mappings
//!     ▲                       ├─▶ Sets      nftables: what is queued, what is refused
//!     └── verdicts ◀──────────┴─▶ sender    answers
//! ```

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use natf_daemon::failures::Failures;
use natf_kernel::{
    KernelError,
    conntrack::Entry as Found,
    packet::{Ipv4View, PacketBatch, Transport as Packet},
    queue::{Queue, Verdict},
    raw::RawSender,
};
use natf_proto::{KeyId, Transport};

use super::{
    entries::{Entries, Pending},
    sets::Sets,
    times::Times,
};
use crate::core::{
    counters::Counter,
    output::{Arrival, Carrier, Entry, FirstFlow, FirstPacket, Handled, Now, Output},
    router::Router,
};

/// A message is 212 bytes with its headers; of first packets only the headers are needed.
const COPY_RANGE: u16 = 320;
/// Packets that may wait for a verdict; beyond that ENs repeat their requests.
const QUEUE_LENGTH: u32 = 8192;
/// What the kernel could not tell of an entry is asked again so much later.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The kernel objects of a router: queue, conntrack table, raw socket, sets.
pub struct Kernel {
    queue: Queue,
    entries: Entries,
    sets: Sets,
    sender: RawSender,
    packets: PacketBatch,
    verdicts: Vec<(u32, Verdict)>,
    inside: Vec<u32>,
    reservations: Vec<(KeyId, u64)>,
    stamps: Vec<Duration>,
    times: Times,
    failures: Failures,
    failed_reads: Failures,
    cleaned: Option<Instant>,
}

impl Kernel {
    /// Opens everything; the table's set has to exist when the first packet is awaited.
    ///
    /// # Errors
    /// Where rights or kernel modules are missing; the message says which.
    pub fn open(queue: u16) -> Result<Self, KernelError> {
        Ok(Self {
            queue: Queue::open(queue, COPY_RANGE, QUEUE_LENGTH)?,
            entries: Entries::open()?,
            sets: Sets::open()?,
            sender: RawSender::open()?,
            packets: PacketBatch::new(),
            verdicts: Vec::new(),
            inside: Vec::new(),
            reservations: Vec::new(),
            stamps: Vec::new(),
            times: Times::default(),
            failures: Failures::default(),
            failed_reads: Failures::default(),
            cleaned: None,
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
    /// Where nothing can be read from the queue any more.
    pub fn take_packets(&mut self, now: Now, router: &mut Router) -> Result<usize, KernelError> {
        let Self { queue, verdicts, inside, stamps, .. } = self;
        let taken = queue.recv_batch(|packet| {
            stamps.extend(packet.timestamp);
            let from_inside = inside.contains(&packet.in_ifindex);
            if let Some(verdict) = take_packet(now, router, packet.id, from_inside, packet.payload) {
                verdicts.push((packet.id, verdict));
            }
        });
        let taken = self.failed_reads.survive_some(now.instant, taken)?;
        if taken.is_none() {
            router.count(Counter::KernelFailed);
        }
        self.carry_out(now, router);
        Ok(taken.unwrap_or(0))
    }

    /// Lets flows pass the queue from now on, see [`Sets::let_pass`].
    pub fn let_pass(&mut self) {
        self.sets.let_pass();
    }

    /// Carries out what the core wants, until it wants nothing more. What the kernel refuses is told to the core; a
    /// call that fails otherwise is counted, and what it should have done is tried again later or left to timeouts.
    pub fn carry_out(&mut self, now: Now, router: &mut Router) {
        self.clean(now, router);
        loop {
            while let Some(output) = router.poll_output() {
                self.carry_out_one(now, router, output);
            }
            if !self.entries.has_inserts() && !self.sets.has_catches() {
                break;
            }
            self.make(now, router);
        }
        self.send(router);
        self.times.note(&mut self.stamps);
        let given = self.queue.verdicts(&self.verdicts);
        if self.survive(now, router, given).is_some() {
            self.verdicts.clear();
        }
    }

    fn carry_out_one(&mut self, now: Now, router: &mut Router, output: Output) {
        match output {
            Output::Insert { id, entry, timeout, shown } => {
                self.entries.push_insert(Pending { id, entry, timeout, shown });
            }
            Output::Send { arrival, message } => push_answer(&mut self.packets, &arrival, &message),
            Output::SendNotice { arrival, message } => push_answer(&mut self.packets, &arrival, &message),
            Output::Drop(packet) => self.verdicts.push((packet, Verdict::Drop)),
            Output::Release(packet) => self.verdicts.push((packet, Verdict::Accept)),
            Output::Catch { source, timeout } => self.sets.push_catch(source, timeout),
            Output::Pass(flow) => self.sets.push_pass(flow),
            Output::Reserve { peer, ceiling } => self.reservations.push((peer, ceiling)),
            output => {
                // The others see the tables as they are after the changes that were asked for before them.
                self.make(now, router);
                self.carry_out_at_once(now, router, output);
            }
        }
    }

    fn carry_out_at_once(&mut self, now: Now, router: &mut Router, output: Output) {
        match output {
            Output::Delete(entry) => {
                let deleted = self.entries.delete(&entry, &mut self.sets);
                self.survive(now, router, deleted);
            }
            Output::Renew { id, entry, timeout } => {
                let renewed = self.entries.renew(&entry, timeout);
                // Without an answer the EN asks again.
                if let Some(result) = self.survive(now, router, renewed) {
                    router.handle_inserted(now, id, &entry, result);
                }
            }
            Output::Check { id, entry } => {
                let remaining = self.entries.remaining(&entry);
                let remaining = self.survive(now, router, remaining).unwrap_or(Some(ASK_AGAIN));
                router.handle_checked(now, id, remaining);
            }
            Output::Look(flow) => {
                let known = self.entries.knows(&flow);
                match self.survive(now, router, known) {
                    Some(known) => router.handle_looked(now, flow, known),
                    None => router.handle_look_failed(flow),
                }
            }
            Output::Await { id, element, timeout } => {
                let done = self.sets.expect_first_packet(&element, timeout);
                router.handle_awaiting(now, id, &element, done);
            }
            Output::Unawait(element) => self.sets.unawait(&element),
            Output::Uncatch(source) => self.sets.uncatch(source),
            Output::Unpass(flow) => self.sets.unpass(&flow),
            Output::Insert { .. }
            | Output::Send { .. }
            | Output::SendNotice { .. }
            | Output::Release(_)
            | Output::Drop(_)
            | Output::Catch { .. }
            | Output::Pass(_)
            | Output::Reserve { .. } => {}
        }
    }

    /// Makes what stands in line.
    fn make(&mut self, now: Now, router: &mut Router) {
        let inserted = self.entries.insert(now, router);
        self.survive(now, router, inserted);
        self.sets.catch(now, router);
    }

    /// Deletes what could not be deleted before.
    fn clean(&mut self, now: Now, router: &mut Router) {
        let waits = |cleaned| now.instant.saturating_duration_since(cleaned) < ASK_AGAIN;
        if !self.cleaned.is_some_and(waits) {
            self.cleaned = Some(now.instant);
            let cleaned = self.entries.clean(router, &mut self.sets);
            self.survive(now, router, cleaned);
        }
    }

    fn survive<T>(&mut self, now: Now, router: &mut Router, result: Result<T, KernelError>) -> Option<T> {
        let survived = self.failures.survive(now.instant, result);
        if survived.is_none() {
            router.count(Counter::KernelFailed);
        }
        survived
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
    pub fn restore(&mut self, each: impl FnMut(Entry)) -> Result<(), KernelError> {
        self.entries.restore(each)
    }

    /// Packets and bytes of an entry, both ways, and the seconds it still lives; `None` where it is gone.
    pub fn look(&mut self, entry: &Entry) -> Option<Found> {
        self.entries.look(entry)
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
