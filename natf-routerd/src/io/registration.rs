//! A second queue, for what hosts of the LAN tell their DDNS servers and hear from them (T1). Packets are only seen:
//! each goes on as it came, and without this program the kernel does not even stop them.

use natf_daemon::failures::Failures;
use natf_kernel::{
    KernelError,
    packet::{Ipv4View, TCP_FIN, TCP_RST, TCP_SYN, Transport},
    queue::{Queue, Verdict},
};

use crate::core::{
    counters::Counter,
    output::Now,
    registration_seen::{Seen, SeenData},
    registration_stream::Segment,
    router::Router,
};

/// Its number, counted from that of the first queue; between them is the one of the external node's half (N12).
pub const QUEUE_OFFSET: u16 = 2;
/// Updates of hosts are short; of longer packets the rest is missing, and they count as broken.
const COPY_RANGE: u16 = 4096;
/// Packets that may wait.
const QUEUE_LENGTH: u32 = 1024;

/// The queue and its verdicts.
pub struct Watcher {
    queue: Queue,
    verdicts: Vec<(u32, Verdict)>,
    failures: Failures,
}

impl Watcher {
    /// Opens the queue.
    ///
    /// # Errors
    /// Where another program has it.
    pub fn open(number: u16) -> Result<Self, KernelError> {
        let queue = Queue::open(number, COPY_RANGE, QUEUE_LENGTH)?;
        Ok(Self { queue, verdicts: Vec::new(), failures: Failures::default() })
    }

    /// The queue, to wait for packets.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Shows the packets that wait, at most one batch, to the core and lets them go on; returns how many there were.
    ///
    /// # Errors
    /// Where nothing can be read from the queue any more.
    pub fn take_packets(
        &mut self,
        now: Now,
        inside: &[u32],
        router: &mut Router,
    ) -> Result<usize, KernelError> {
        let Self { queue, verdicts, failures } = self;
        let taken = queue.recv_batch(|packet| {
            verdicts.push((packet.id, Verdict::Accept));
            match Ipv4View::parse_head(packet.payload).ok().and_then(|view| {
                let upward = inside.contains(&packet.in_ifindex);
                seen(&view, upward)
            }) {
                Some(seen) => router.handle_seen(now, &seen),
                None => router.count(Counter::RegistrationsMalformed),
            }
        });
        let taken = failures.survive_some(now.instant, taken)?;
        // Verdicts that the kernel did not take are given again with the next ones.
        let given = failures.survive(now.instant, queue.verdicts(verdicts));
        if given.is_some() {
            verdicts.clear();
        }
        if taken.is_none() || given.is_none() {
            router.count(Counter::KernelFailed);
        }
        Ok(taken.unwrap_or(0))
    }
}

fn seen<'a>(view: &Ipv4View<'a>, upward: bool) -> Option<Seen<'a>> {
    let (client, server) = match upward {
        true => (view.source_socket(), view.destination),
        false => (view.destination_socket(), view.source),
    };
    let data = match view.transport {
        Transport::Udp { payload, .. } => SeenData::Datagram(payload),
        Transport::Tcp { flags, .. } if flags & TCP_RST != 0 => SeenData::Close,
        // The server's end comes last, behind its answer.
        Transport::Tcp { flags, payload: [], .. } if flags & TCP_FIN != 0 && !upward => SeenData::Close,
        Transport::Tcp { flags, sequence, payload, .. } => {
            SeenData::Segment(Segment { syn: flags & TCP_SYN != 0, sequence, payload })
        }
        Transport::Echo { .. } => return None,
    };
    Some(Seen { client, server, upward, data })
}
