//! A packet queue of the kernel (nfnetlink_queue): packets come in, verdicts go out.
//!
//! Packets are read up to 32 at a time into buffers that are reused, and any number of verdicts leaves
//! in one datagram. The descriptor becomes readable when a packet waits. A packet stays in the kernel
//! until it gets its verdict; when the queue or its socket is full, further packets are dropped by the
//! kernel and counted there ([`Queue::losses`]).
//!
//! The configuration is one message, and packets that arrive before its acknowledgement are kept.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use netlink_bindings::utils::{IterableChunks, parse_be_u32, parse_be_u64, push_header};

use crate::error::KernelError;
use crate::netlink::{ACK, Messages, NLMSG_ERROR, REQUEST, begin_message, end_message, open as open_netlink};
use crate::sys;

const QUEUE_PACKET: u16 = 0x300;
const QUEUE_VERDICT: u16 = 0x301;
const QUEUE_CONFIG: u16 = 0x302;

const CONFIG_COMMAND: u16 = 1;
const CONFIG_PARAMETERS: u16 = 2;
const CONFIG_MAX_LENGTH: u16 = 3;
const CONFIG_MASK: u16 = 4;
const CONFIG_FLAGS: u16 = 5;
const COMMAND_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const FLAG_FAIL_OPEN: u32 = 1;
const FLAG_GSO: u32 = 4;

const PACKET_HEADER: u16 = 1;
const VERDICT_HEADER: u16 = 2;
const PACKET_MARK: u16 = 3;
const PACKET_TIMESTAMP: u16 = 4;
const PACKET_IN: u16 = 5;
const PACKET_OUT: u16 = 6;
const PACKET_PAYLOAD: u16 = 10;

const NETLINK_NO_ENOBUFS: libc::c_int = 5;
const MODULE: &str = "nfnetlink_queue";
/// What the kernel puts around a payload: headers, interfaces, hardware address, time stamp.
const ATTRIBUTES: usize = 256;
/// Room for an IPv4 header and the first bytes behind it.
const LEAST_COPY: u16 = 64;
/// The kernel keeps at most this for our socket.
const RECEIVE_BUFFER: libc::c_int = 4 << 20;
/// Packets that are kept while the configuration awaits its acknowledgement.
const EARLY_LIMIT: usize = 1 << 20;

/// A packet that awaits its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Number by which the verdict names the packet.
    pub id: u32,
    /// Netfilter hook: 0 prerouting, 1 input, 2 forward, 3 output, 4 postrouting.
    pub hook: u8,
    /// Index of the interface that it came in by; 0 if it was made here.
    pub in_ifindex: u32,
    /// Index of the interface that it goes out by; 0 if not yet known.
    pub out_ifindex: u32,
    /// Packet mark (0 if it has none).
    pub mark: u32,
    /// When the kernel received it, since the epoch; only while somebody asks for time stamps.
    pub timestamp: Option<Duration>,
    /// The packet from its IPv4 header on, cut to the copy range.
    pub payload: &'a [u8],
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the next rule chain.
    Accept,
    /// It is dropped.
    Drop,
}

impl Verdict {
    fn number(self) -> u32 {
        match self {
            Self::Drop => 0,
            Self::Accept => 1,
        }
    }
}

/// Packets that the kernel dropped because this process was too slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Losses {
    /// The queue had reached its length.
    pub queue_full: u64,
    /// The socket's receive buffer was full.
    pub socket_full: u64,
}

/// A packet queue of which this process is the only reader.
#[derive(Debug)]
pub struct Queue {
    fd: OwnedFd,
    number: u16,
    slot: usize,
    storage: Vec<u8>,
    /// Datagrams that arrived during the configuration, each at its length.
    early: Vec<Vec<u8>>,
    out: Vec<u8>,
    overruns: u64,
    refused_verdicts: u64,
}

impl Queue {
    /// Binds to queue `number`: at most `max_len` packets wait, of each `copy_range` bytes are copied.
    ///
    /// Fails with EPERM if another process has the queue, or without CAP_NET_ADMIN. Packets may already be
    /// waiting inside: call [`Queue::recv_batch`] once before waiting for the descriptor.
    pub fn open(number: u16, copy_range: u16, max_len: u32) -> Result<Self, KernelError> {
        // Zero would mean whole packets to the kernel, and none fits a slot.
        let copy_range = copy_range.max(LEAST_COPY);
        let fd = open_netlink(libc::NETLINK_NETFILTER, 0, MODULE, RECEIVE_BUFFER)?;
        // A full receive buffer is counted by the kernel; it is no reason to fail a read.
        sys::set_option(fd.as_fd(), libc::SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
            .map_err(|e| KernelError::system("set NETLINK_NO_ENOBUFS", MODULE, e))?;
        let slot = usize::from(copy_range).saturating_add(ATTRIBUTES).next_multiple_of(64);
        let storage = vec![0; slot.saturating_mul(sys::BATCH)];
        let mut queue = Self {
            fd,
            number,
            slot,
            storage,
            early: Vec::new(),
            out: Vec::new(),
            overruns: 0,
            refused_verdicts: 0,
        };
        queue.configure(copy_range, max_len)?;
        Ok(queue)
    }

    /// One message for everything, so that the queue never exists half configured.
    fn configure(&mut self, copy_range: u16, max_len: u32) -> Result<(), KernelError> {
        let start = begin_message(&mut self.out, QUEUE_CONFIG, REQUEST | ACK, 1, 0, self.number);
        push_header(&mut self.out, CONFIG_COMMAND, 4);
        self.out.extend([COMMAND_BIND, 0, 0, 2]);
        push_header(&mut self.out, CONFIG_PARAMETERS, 5);
        self.out.extend(u32::from(copy_range).to_be_bytes());
        self.out.push(COPY_PACKET);
        push_header(&mut self.out, CONFIG_MAX_LENGTH, 4);
        self.out.extend(max_len.to_be_bytes());
        push_header(&mut self.out, CONFIG_FLAGS, 4);
        self.out.extend(FLAG_GSO.to_be_bytes());
        push_header(&mut self.out, CONFIG_MASK, 4);
        self.out.extend((FLAG_GSO | FLAG_FAIL_OPEN).to_be_bytes());
        end_message(&mut self.out, start);
        self.send().map_err(|e| KernelError::system(self.action("bind to"), MODULE, e))?;
        self.await_acknowledgement()
    }

    /// Reads until the acknowledgement of the configuration; packets that come before it are kept.
    fn await_acknowledgement(&mut self) -> Result<(), KernelError> {
        let waited = Duration::from_secs(2);
        let mut kept = 0usize;
        loop {
            let length = match sys::receive(self.fd.as_fd(), &mut self.storage) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match sys::wait_readable(self.fd.as_fd(), waited) {
                        Ok(true) => continue,
                        Ok(false) => {
                            return Err(KernelError::NoAnswer { action: self.action("bind to"), waited });
                        }
                        Err(error) => return Err(KernelError::system(self.action("bind to"), MODULE, error)),
                    }
                }
                Err(error) => return Err(KernelError::system(self.action("bind to"), MODULE, error)),
            };
            let datagram = self.storage.get(..length).unwrap_or_default();
            let answer = Messages::new(datagram).find(|message| message.kind == NLMSG_ERROR);
            match answer.map(|message| (message.errno(), message.remark())) {
                Some((0, _)) => return Ok(()),
                Some((errno, remark)) => {
                    let source = io::Error::from_raw_os_error(errno);
                    let action = self.action("bind to");
                    return Err(KernelError::Refused { action, module: MODULE, remark, source });
                }
                None if kept.saturating_add(length) <= EARLY_LIMIT => {
                    kept += length;
                    self.early.push(datagram.to_vec());
                }
                None => self.overruns += 1,
            }
        }
    }

    fn action(&self, verb: &str) -> String {
        format!("{verb} packet queue {}", self.number)
    }

    fn send(&self) -> io::Result<()> {
        loop {
            match sys::send(self.fd.as_fd(), &self.out) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other.map(drop),
            }
        }
    }

    /// Hands the packets that wait, at most 32, to `each`; returns how many there were, 0 if none waits.
    pub fn recv_batch(&mut self, mut each: impl FnMut(Packet<'_>)) -> Result<usize, KernelError> {
        let mut packets = 0;
        for datagram in std::mem::take(&mut self.early) {
            packets += read_datagram(&datagram, &mut self.refused_verdicts, &mut each);
        }
        let mut lengths = [0; sys::BATCH];
        let received = match sys::receive_batch(self.fd.as_fd(), &mut self.storage, self.slot, &mut lengths) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => 0,
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.overruns += 1;
                0
            }
            Err(error) => return Err(KernelError::system(self.action("read from"), MODULE, error)),
        };
        for (part, length) in self.storage.chunks_exact(self.slot).zip(lengths).take(received) {
            let datagram = part.get(..length).unwrap_or_default();
            packets += read_datagram(datagram, &mut self.refused_verdicts, &mut each);
        }
        Ok(packets)
    }

    /// Gives verdicts, all in one datagram.
    ///
    /// The kernel does not acknowledge them; a verdict on a packet that it no longer has is counted
    /// ([`Queue::refused_verdicts`]) when its complaint is read.
    pub fn verdicts(&mut self, verdicts: &[(u32, Verdict)]) -> Result<(), KernelError> {
        // A netlink datagram is bounded by the send buffer; 1024 verdicts take 32 KiB.
        for part in verdicts.chunks(1024) {
            self.out.clear();
            for (id, verdict) in part {
                let start = begin_message(&mut self.out, QUEUE_VERDICT, REQUEST, 0, 0, self.number);
                push_header(&mut self.out, VERDICT_HEADER, 8);
                self.out.extend(verdict.number().to_be_bytes());
                self.out.extend(id.to_be_bytes());
                end_message(&mut self.out, start);
            }
            self.send().map_err(|e| KernelError::system(self.action("give verdicts to"), MODULE, e))?;
        }
        Ok(())
    }

    /// How often a read reported that packets were lost.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// How many verdicts the kernel refused.
    pub fn refused_verdicts(&self) -> u64 {
        self.refused_verdicts
    }

    /// How many packets the kernel dropped since the queue was opened, because they came too fast.
    pub fn losses(&self) -> Result<Losses, KernelError> {
        // Not /proc/net: that shows the network namespace of the main thread.
        let path = "/proc/thread-self/net/netfilter/nfnetlink_queue";
        let text = fs::read_to_string(path).map_err(|source| KernelError::File {
            path: path.into(),
            module: MODULE,
            source,
        })?;
        Ok(parse_losses(&text, self.number).unwrap_or_default())
    }
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A line is: number, port id, waiting, copy mode, copy range, dropped by queue, by socket, last id, 1.
fn parse_losses(text: &str, number: u16) -> Option<Losses> {
    text.lines().find_map(|line| {
        let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().ok());
        (fields.next()?? == u64::from(number)).then_some(())?;
        Some(Losses { queue_full: fields.nth(4)??, socket_full: fields.next()?? })
    })
}

/// Hands the packets of one datagram to `each`, counts complaints, returns how many packets there were.
fn read_datagram(datagram: &[u8], refused: &mut u64, each: &mut impl FnMut(Packet<'_>)) -> usize {
    let mut packets = 0;
    for message in Messages::new(datagram) {
        match message.kind {
            QUEUE_PACKET => {
                if let Some(packet) = parse_packet(message.attributes()) {
                    packets += 1;
                    each(packet);
                }
            }
            NLMSG_ERROR if message.errno() != 0 => *refused += 1,
            _ => {}
        }
    }
    packets
}

/// Reads the attributes of a packet message; none without a packet header, which always comes.
fn parse_packet(attributes: &[u8]) -> Option<Packet<'_>> {
    let (mut header, mut timestamp) = (None, None);
    let (mut in_ifindex, mut out_ifindex, mut mark) = (0, 0, 0);
    let mut payload: &[u8] = &[];
    for (attribute, value) in IterableChunks::new(attributes) {
        match attribute.r#type {
            PACKET_HEADER => header = parse_be_u32(value).zip(value.get(6).copied()),
            PACKET_MARK => mark = parse_be_u32(value)?,
            PACKET_IN => in_ifindex = parse_be_u32(value)?,
            PACKET_OUT => out_ifindex = parse_be_u32(value)?,
            PACKET_TIMESTAMP => timestamp = parse_timestamp(value),
            PACKET_PAYLOAD => payload = value,
            _ => {}
        }
    }
    let (id, hook) = header?;
    Some(Packet { id, hook, in_ifindex, out_ifindex, mark, timestamp, payload })
}

/// Seconds and microseconds, 64 bits each.
fn parse_timestamp(value: &[u8]) -> Option<Duration> {
    let seconds = parse_be_u64(value)?;
    let microseconds = parse_be_u64(value.get(8..)?)?;
    Duration::from_secs(seconds).checked_add(Duration::from_micros(microseconds))
}

/// While it lives, the kernel stamps every received packet of the machine with its time of arrival.
///
/// For measurements: costs each packet some 20 ns.
#[derive(Debug)]
pub struct ReceiveStamps {
    _socket: OwnedFd,
}

impl ReceiveStamps {
    /// Asks the kernel for time stamps.
    pub fn enable() -> Result<Self, KernelError> {
        let action = "ask for receive time stamps";
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, 0)
            .map_err(|e| KernelError::system(action, "", e))?;
        sys::set_option(socket.as_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMP, 1)
            .map_err(|e| KernelError::system(action, "", e))?;
        Ok(Self { _socket: socket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A packet message as kernel 6.18 writes it for a ping on lo (mark 7 added by hand).
    fn packet_message() -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin_message(&mut out, QUEUE_PACKET, 0, 0, 2, 5);
        push_header(&mut out, PACKET_HEADER, 7);
        out.extend([0, 0, 0, 9, 8, 0, 3]);
        push_header(&mut out, PACKET_OUT, 4);
        out.extend([0, 0, 0, 1]);
        push_header(&mut out, PACKET_MARK, 4);
        out.extend([0, 0, 0, 7]);
        push_header(&mut out, PACKET_TIMESTAMP, 16);
        out.extend([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5]);
        push_header(&mut out, PACKET_PAYLOAD, 3);
        out.extend([0x45, 0, 0]);
        end_message(&mut out, start);
        out
    }

    #[test]
    fn reads_every_field_of_a_packet() {
        let bytes = packet_message();
        let mut seen = Vec::new();
        let count = read_datagram(&bytes, &mut 0, &mut |packet: Packet<'_>| seen.push(format!("{packet:?}")));
        assert_eq!(count, 1);
        let wanted = Packet {
            id: 9,
            hook: 3,
            in_ifindex: 0,
            out_ifindex: 1,
            mark: 7,
            timestamp: Some(Duration::new(1, 5000)),
            payload: &[0x45, 0, 0],
        };
        assert_eq!(seen, [format!("{wanted:?}")]);
    }

    #[test]
    fn reads_the_losses_of_its_own_queue() {
        let text =
            "    4  1  0 2 65531     1     2        0  1\n 4450  9  0 2   512    30     4       77  1\n";
        assert_eq!(parse_losses(text, 4450), Some(Losses { queue_full: 30, socket_full: 4 }));
        assert_eq!(parse_losses(text, 5), None);
    }

    #[test]
    fn a_datagram_fits_its_slot() {
        assert!(packet_message().len() < ATTRIBUTES);
    }

    proptest! {
        #[test]
        fn survives_any_datagram(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read_datagram(&bytes, &mut 0, &mut |_: Packet<'_>| {});
        }

        #[test]
        fn survives_a_damaged_packet(place in 0usize..88, value in any::<u8>()) {
            let mut bytes = packet_message();
            if let Some(byte) = bytes.get_mut(place) { *byte = value; }
            read_datagram(&bytes, &mut 0, &mut |_: Packet<'_>| {});
        }
    }
}
