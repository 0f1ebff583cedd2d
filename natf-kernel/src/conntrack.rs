//! The kernel's connection tracking table, written and read by ctnetlink.
//!
//! A forced mapping (N7) is one entry that is inserted as if its flow were already established: the
//! original tuple, its plain inverse as reply tuple, and the translations, from which the kernel makes
//! the true reply tuple. What the kernel needs for that:
//!
//! * modules nf_conntrack_netlink and nf_nat; a nat chain anywhere in the network namespace whose hooks
//!   translate (without one the entry exists and does nothing);
//! * **labels are kept only while some nft rule of the network namespace refers to `ct label`**: without
//!   one the insert succeeds and the label is silently dropped;
//! * a conntrack helper's module must be there before a helper can be named.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netlink_bindings::conntrack::{
    ConntrackAttrs, IterableConntrackAttrs, IterableCounterAttrs, IterableTupleAttrs, PushConntrackAttrs,
    PushNatAttrs, PushNatProtoAttrs, PushTupleAttrs,
};
use netlink_bindings::traits::Pusher;
use netlink_bindings::utils::{finalize_nested_header, push_nested_header};

use crate::error::KernelError;
use crate::netlink::{
    ACK, CREATE, DUMP, EXCL, Message, NLMSG_DONE, NLMSG_ERROR, Netlink, REQUEST, begin_message, end_message,
};

const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;
const NAT_PROTO: u16 = 3;
const FAMILY: u8 = 2;

const MODULE: &str = "nf_conntrack_netlink";

/// How long the kernel keeps an entry at least while its flow is offloaded (NF_CT_DAY).
const OFFLOADED_SECONDS: u32 = 86_400;

/// Status bit: packets were seen in both directions.
pub const STATUS_SEEN_REPLY: u32 = 1 << 1;
/// Status bit: the entry may not be evicted when the table is full.
pub const STATUS_ASSURED: u32 = 1 << 2;
/// Status bit: the entry is in the table.
pub const STATUS_CONFIRMED: u32 = 1 << 3;
/// Status bit: the entry's source is translated.
pub const STATUS_SRC_NAT: u32 = 1 << 4;
/// Status bit: the entry's destination is translated.
pub const STATUS_DST_NAT: u32 = 1 << 5;

/// A conntrack label: 128 bits, as bytes in the kernel's own order.
pub type Label = [u8; 16];

/// A tuple: one direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// IP protocol number (6 or 17; for ICMP the ports are 0).
    pub proto: u8,
    /// Where its packets come from.
    pub source: SocketAddrV4,
    /// Where they go to.
    pub destination: SocketAddrV4,
}

impl Flow {
    /// The opposite direction without any translation.
    pub fn inverse(self) -> Self {
        Self { proto: self.proto, source: self.destination, destination: self.source }
    }
}

impl std::fmt::Display for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let protocol = match self.proto {
            6 => "tcp",
            17 => "udp",
            1 => "icmp",
            other => return write!(f, "proto {other} {} -> {}", self.source, self.destination),
        };
        write!(f, "{protocol} {} -> {}", self.source, self.destination)
    }
}

/// An entry to be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert<'a> {
    /// The tuple of the first packet, as it arrives.
    pub original: Flow,
    /// Where its destination is translated to.
    pub dnat: Option<SocketAddrV4>,
    /// What its source is translated to. None keeps the source unless the answers' tuple is taken: then
    /// the kernel gives it another port of its own choice. To be refused (EEXIST) instead, name the
    /// source itself here.
    pub snat: Option<SocketAddrV4>,
    /// Lifetime; the kernel's own timeouts apply from the first packet on. Whole seconds, at least one.
    pub timeout: Duration,
    /// Label of the entry.
    pub label: Option<Label>,
    /// Name of a conntrack helper, such as `ftp`.
    pub helper: Option<&'a str>,
}

/// Why the kernel did not insert an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The original or the reply tuple is taken (EEXIST): try another port.
    #[error("the tuple is taken by another flow")]
    Exists,
    /// The table is full and nothing can be evicted (ENOMEM).
    #[error("the connection tracking table is full")]
    Full,
    /// Anything else, with the errno.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Kernel(i32),
}

impl InsertError {
    fn from_errno(errno: i32) -> Result<(), Self> {
        match errno {
            0 => Ok(()),
            libc::EEXIST => Err(Self::Exists),
            libc::ENOMEM => Err(Self::Full),
            other => Err(Self::Kernel(other)),
        }
    }
}

/// Packets and bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP header included.
    pub bytes: u64,
}

/// State of a TCP flow as conntrack sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Nothing was seen yet; so are inserted entries until their first packet.
    None,
    /// SYN seen.
    SynSent,
    /// SYN and SYN-ACK seen.
    SynReceived,
    /// Open.
    Established,
    /// The first FIN was seen.
    FinWait,
    /// The first FIN was acknowledged.
    CloseWait,
    /// The second FIN was seen.
    LastAck,
    /// Closed in order.
    TimeWait,
    /// Closed by a reset.
    Close,
    /// Both sides sent a SYN.
    SimultaneousOpen,
    /// A value that this program does not know.
    Other(u8),
}

impl TcpState {
    fn from_number(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::SynSent,
            2 => Self::SynReceived,
            3 => Self::Established,
            4 => Self::FinWait,
            5 => Self::CloseWait,
            6 => Self::LastAck,
            7 => Self::TimeWait,
            8 => Self::Close,
            9 => Self::SimultaneousOpen,
            other => Self::Other(other),
        }
    }

    /// Whether the connection is over and only its entry is left.
    pub fn is_over(self) -> bool {
        matches!(self, Self::TimeWait | Self::Close)
    }
}

/// An entry of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Tuple of the direction that was seen first.
    pub original: Flow,
    /// Tuple of the answers, translations included.
    pub reply: Flow,
    /// Remaining lifetime, whole seconds. While a flow is offloaded the kernel tells none and keeps the entry: a day.
    pub timeout: Duration,
    /// Status bits, see the `STATUS_` constants.
    pub status: u32,
    /// TCP state, if it is a TCP flow.
    pub tcp_state: Option<TcpState>,
    /// Label, if the entry has one.
    pub label: Option<Label>,
    /// Counters of the original and of the reply direction, if nf_conntrack_acct is on.
    pub counters: Option<(Counters, Counters)>,
    /// Original tuple of the flow that a helper expected this one for: FTP's control connection, say.
    pub master: Option<Flow>,
}

/// A command socket to the kernel's connection tracking table.
#[derive(Debug)]
pub struct Conntrack {
    netlink: Netlink,
}

impl Conntrack {
    /// Opens the socket. Needs CAP_NET_ADMIN for everything that writes.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self { netlink: Netlink::open(libc::NETLINK_NETFILTER, MODULE)? })
    }

    /// Inserts entries, all in one datagram, and appends the kernel's answer to each to `results`.
    ///
    /// An entry whose original or reply tuple is taken is refused, never changed. Very long batches are
    /// cut where the socket's receive buffer would not hold the acknowledgements. When this returns an
    /// error, `results` holds the answers that were read before it.
    pub fn insert_batch(
        &mut self,
        inserts: &[Insert<'_>],
        results: &mut Vec<Result<(), InsertError>>,
    ) -> Result<(), KernelError> {
        let capacity = self.netlink.capacity();
        for part in inserts.chunks(capacity) {
            let first = self.netlink.start(part.len());
            for (insert, sequence) in part.iter().zip(sequences(first)) {
                let flags = REQUEST | ACK | CREATE | EXCL;
                emit(&mut self.netlink.out, CT_NEW, flags, sequence, |attributes| {
                    push_insert(attributes, insert)
                });
            }
            let action = || format!("insert {} conntrack entries", part.len());
            self.read_acks(first, part.len(), &action, |errno| results.push(InsertError::from_errno(errno)))?;
        }
        Ok(())
    }

    /// Inserts one entry.
    pub fn insert(&mut self, insert: &Insert<'_>) -> Result<Result<(), InsertError>, KernelError> {
        let first = self.netlink.start(1);
        let flags = REQUEST | ACK | CREATE | EXCL;
        emit(&mut self.netlink.out, CT_NEW, flags, first, |attributes| push_insert(attributes, insert));
        let action = || format!("insert the conntrack entry {}", insert.original);
        self.netlink.acknowledge(first, &action).map(InsertError::from_errno)
    }

    /// Looks an entry up by its original tuple.
    pub fn get(&mut self, flow: &Flow) -> Result<Option<Entry>, KernelError> {
        Ok(self.look_up(flow)?.filter(|entry| entry.original == *flow))
    }

    /// Looks up who uses a tuple, as original or as reply tuple.
    ///
    /// Tells beforehand whether an entry with this reply tuple would be refused.
    pub fn get_reply_taken(&mut self, reply: &Flow) -> Result<Option<Entry>, KernelError> {
        self.look_up(reply)
    }

    fn look_up(&mut self, flow: &Flow) -> Result<Option<Entry>, KernelError> {
        let first = self.netlink.start(1);
        emit(&mut self.netlink.out, CT_GET, REQUEST, first, |a| {
            push_tuple(a.nested_tuple_orig(), flow).end_nested();
        });
        let action = || format!("look up the conntrack entry {flow}");
        self.netlink.send(&action)?;
        let mut answer = (0, None);
        self.netlink.receive(&action, |message| {
            let mine = message.sequence == first;
            match message.kind {
                CT_NEW if mine => answer = (0, parse_entry(message.attributes())),
                NLMSG_ERROR if mine => answer = (message.errno(), None),
                _ => return false,
            }
            true
        })?;
        match answer {
            (0 | libc::ENOENT, entry) => Ok(entry),
            (errno, _) => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Sets the remaining lifetime of an entry; false if there is none with this original tuple.
    pub fn set_timeout(&mut self, flow: &Flow, timeout: Duration) -> Result<bool, KernelError> {
        let first = self.netlink.start(1);
        emit(&mut self.netlink.out, CT_NEW, REQUEST | ACK, first, |a| {
            push_tuple(a.nested_tuple_orig(), flow).end_nested().push_timeout(seconds(timeout));
        });
        let action = || format!("set the timeout of the conntrack entry {flow}");
        match self.netlink.acknowledge(first, &action)? {
            0 => Ok(true),
            libc::ENOENT => Ok(false),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Deletes an entry, and with it its flow; false if there is none.
    pub fn delete(&mut self, flow: &Flow) -> Result<bool, KernelError> {
        let first = self.netlink.start(1);
        emit(&mut self.netlink.out, CT_DELETE, REQUEST | ACK, first, |a| {
            push_tuple(a.nested_tuple_orig(), flow).end_nested();
        });
        let action = || format!("delete the conntrack entry {flow}");
        match self.netlink.acknowledge(first, &action)? {
            0 => Ok(true),
            libc::ENOENT => Ok(false),
            errno => Err(self.netlink.refused(action(), errno, None)),
        }
    }

    /// Deletes entries in one datagram; returns how many were there.
    pub fn delete_batch(&mut self, flows: &[Flow]) -> Result<usize, KernelError> {
        let capacity = self.netlink.capacity();
        let (mut deleted, mut refused) = (0, 0);
        for part in flows.chunks(capacity) {
            let first = self.netlink.start(part.len());
            for (flow, sequence) in part.iter().zip(sequences(first)) {
                emit(&mut self.netlink.out, CT_DELETE, REQUEST | ACK, sequence, |a| {
                    push_tuple(a.nested_tuple_orig(), flow).end_nested();
                });
            }
            let action = || format!("delete {} conntrack entries", part.len());
            self.read_acks(first, part.len(), &action, |errno| match errno {
                0 => deleted += 1,
                libc::ENOENT => {}
                other => refused = other,
            })?;
        }
        match refused {
            0 => Ok(deleted),
            errno => {
                let action = format!("delete {} conntrack entries", flows.len());
                Err(self.netlink.refused(action, errno, None))
            }
        }
    }

    /// Hands every IPv4 entry of the table to `each`, as the kernel delivers them.
    ///
    /// Entries that come or go meanwhile may be missed or reported twice.
    pub fn dump(&mut self, mut each: impl FnMut(Entry)) -> Result<(), KernelError> {
        let first = self.netlink.start(1);
        emit(&mut self.netlink.out, CT_GET, REQUEST | DUMP, first, |_| {});
        let action = || "list the conntrack entries".to_owned();
        self.netlink.send(&action)?;
        let mut errno = 0;
        self.netlink.receive(&action, |message| {
            if message.sequence != first {
                return false;
            }
            match message.kind {
                CT_NEW => parse_entry(message.attributes()).into_iter().for_each(&mut each),
                NLMSG_DONE | NLMSG_ERROR => {
                    errno = message.errno();
                    return true;
                }
                _ => {}
            }
            false
        })?;
        if errno == 0 { Ok(()) } else { Err(self.netlink.refused(action(), errno, None)) }
    }

    /// Sends the batch and hands the errno of each of its `count` messages to `each`, in their order.
    fn read_acks(
        &mut self,
        first: u32,
        count: usize,
        action: &dyn Fn() -> String,
        mut each: impl FnMut(i32),
    ) -> Result<(), KernelError> {
        self.netlink.send(action)?;
        let mut awaited = 0usize;
        self.netlink.receive(action, |message: Message<'_>| {
            let position = usize::try_from(message.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
            if message.kind == NLMSG_ERROR && position == awaited && position < count {
                each(message.errno());
                awaited += 1;
            }
            awaited == count
        })
    }
}

/// The sequence numbers from `first` on.
fn sequences(first: u32) -> impl Iterator<Item = u32> {
    (0..=u32::MAX).map(move |offset| first.wrapping_add(offset))
}

/// Writes one ctnetlink message.
fn emit(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    body: impl FnOnce(PushConntrackAttrs<&mut Vec<u8>>),
) {
    let start = begin_message(out, kind, flags, sequence, FAMILY, 0);
    body(PushConntrackAttrs::new(&mut *out));
    end_message(out, start);
}

fn push_insert(attributes: PushConntrackAttrs<&mut Vec<u8>>, insert: &Insert<'_>) {
    let mut attributes = push_tuple(attributes.nested_tuple_orig(), &insert.original).end_nested();
    attributes = push_tuple(attributes.nested_tuple_reply(), &insert.original.inverse()).end_nested();
    if let Some(address) = insert.snat {
        attributes = push_nat(attributes.nested_nat_src(), address).end_nested();
    }
    if let Some(address) = insert.dnat {
        attributes = push_nat(attributes.nested_nat_dst(), address).end_nested();
    }
    attributes =
        attributes.push_status(STATUS_SEEN_REPLY | STATUS_CONFIRMED).push_timeout(seconds(insert.timeout));
    if let Some(label) = insert.label {
        attributes = attributes.push_labels(&label);
    }
    if let Some(helper) = insert.helper {
        attributes.nested_help().push_help_name_bytes(helper.as_bytes()).end_nested();
    }
}

fn push_tuple<P: Pusher>(tuple: PushTupleAttrs<P>, flow: &Flow) -> PushTupleAttrs<P> {
    tuple
        .nested_tuple_ip()
        .push_ip_v4_src(*flow.source.ip())
        .push_ip_v4_dst(*flow.destination.ip())
        .end_nested()
        .nested_tuple_proto()
        .push_proto_num(flow.proto)
        .push_proto_src_port(flow.source.port())
        .push_proto_dst_port(flow.destination.port())
        .end_nested()
}

/// netlink-bindings 0.3.5 numbers the attribute of the ports 5, as if the IPv6 addresses came before it;
/// the kernel's number is 3, and it skips what it does not know.
fn push_nat<P: Pusher>(nat: PushNatAttrs<P>, address: SocketAddrV4) -> PushNatAttrs<P> {
    let mut nat = nat.push_nat_v4_minip(address.ip().to_bits()).push_nat_v4_maxip(address.ip().to_bits());
    let ports = push_nested_header(nat.as_vec_mut(), NAT_PROTO);
    drop(
        PushNatProtoAttrs::new(nat.as_vec_mut())
            .push_nat_port_min(address.port())
            .push_nat_port_max(address.port()),
    );
    finalize_nested_header(nat.as_vec_mut(), ports);
    nat
}

fn seconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// Reads one entry; none if it is not an IPv4 entry with both tuples.
fn parse_entry(attributes: &[u8]) -> Option<Entry> {
    let (mut original, mut reply) = (None, None);
    let (mut timeout, mut status, mut tcp_state, mut label) = (OFFLOADED_SECONDS, 0, None, None);
    let (mut sent, mut answered, mut master) = (None, None, None);
    for attribute in iterate(attributes) {
        match attribute {
            ConntrackAttrs::TupleOrig(tuple) => original = parse_tuple(&tuple),
            ConntrackAttrs::TupleReply(tuple) => reply = parse_tuple(&tuple),
            ConntrackAttrs::TupleMaster(tuple) => master = parse_tuple(&tuple),
            ConntrackAttrs::Timeout(value) => timeout = value,
            ConntrackAttrs::Status(value) => status = value,
            ConntrackAttrs::Labels(bytes) => label = bytes.try_into().ok(),
            ConntrackAttrs::CountersOrig(counters) => sent = Some(parse_counters(&counters)),
            ConntrackAttrs::CountersReply(counters) => answered = Some(parse_counters(&counters)),
            ConntrackAttrs::Protoinfo(info) => {
                let state = info.get_protoinfo_tcp().and_then(|tcp| tcp.get_tcp_state());
                tcp_state = state.ok().map(TcpState::from_number);
            }
            _ => {}
        }
    }
    Some(Entry {
        original: original?,
        reply: reply?,
        timeout: Duration::from_secs(u64::from(timeout)),
        status,
        tcp_state,
        label: label.filter(|bytes| *bytes != [0; 16]),
        counters: sent.zip(answered),
        master,
    })
}

/// The attributes that can be read; what an unknown kernel adds is skipped.
fn iterate(attributes: &[u8]) -> impl Iterator<Item = ConntrackAttrs<'_>> {
    let iterator: IterableConntrackAttrs<'_> = ConntrackAttrs::new(attributes);
    iterator.flatten()
}

fn parse_tuple(tuple: &IterableTupleAttrs<'_>) -> Option<Flow> {
    let ip = tuple.get_tuple_ip().ok()?;
    let proto = tuple.get_tuple_proto().ok()?;
    let address = |ip: Ipv4Addr, port: Option<u16>| SocketAddrV4::new(ip, port.unwrap_or(0));
    Some(Flow {
        proto: proto.get_proto_num().ok()?,
        source: address(ip.get_ip_v4_src().ok()?, proto.get_proto_src_port().ok()),
        destination: address(ip.get_ip_v4_dst().ok()?, proto.get_proto_dst_port().ok()),
    })
}

fn parse_counters(counters: &IterableCounterAttrs<'_>) -> Counters {
    Counters { packets: counters.get_packets().unwrap_or(0), bytes: counters.get_bytes().unwrap_or(0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The message of an independent program (Python, struct.pack) that kernels 6.1 and 6.18 took:
    /// 203.0.113.7:4000 -> 198.51.100.1:16384, TCP, to 192.168.1.10:22, 5 seconds.
    #[cfg(target_endian = "little")]
    const FORCED_MAPPING: &str = "\
        b400000000010506010000000000000002000000340001801400018008000100cb00710708000200c63364011c000280\
        0500010006000000060002000fa000000600030040000000340002801400018008000100c633640108000200cb007107\
        1c00028005000100060000000600020040000000060003000fa0000028000d8008000100c0a8010a08000200c0a8010a\
        1400038006000100001600000600020000160000080003000000000a0800070000000005";

    fn insert() -> Insert<'static> {
        let socket = |text: &str| text.parse().unwrap();
        Insert {
            original: Flow {
                proto: 6,
                source: socket("203.0.113.7:4000"),
                destination: socket("198.51.100.1:16384"),
            },
            dnat: Some(socket("192.168.1.10:22")),
            snat: None,
            timeout: Duration::from_secs(5),
            label: None,
            helper: None,
        }
    }

    fn message(insert: &Insert<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        emit(&mut out, CT_NEW, REQUEST | ACK | CREATE | EXCL, 1, |attributes| {
            push_insert(attributes, insert)
        });
        out
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn writes_the_message_that_is_known_to_force_a_mapping() {
        let hex: String = message(&insert()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, FORCED_MAPPING);
    }

    #[test]
    fn reads_back_the_entry_that_it_writes() {
        let insert = Insert { label: Some([7; 16]), ..insert() };
        let entry = parse_entry(&message(&insert)[20..]).unwrap();
        assert_eq!((entry.original, entry.reply), (insert.original, insert.original.inverse()));
        assert_eq!((entry.timeout, entry.label), (insert.timeout, insert.label));
        assert_eq!((entry.status, entry.tcp_state, entry.counters), (0x0a, None, None));
    }

    #[test]
    fn an_offloaded_entry_has_no_lifetime_and_is_kept_for_a_day() {
        let mut out = Vec::new();
        let start = begin_message(&mut out, CT_NEW, 0, 1, FAMILY, 0);
        let attributes =
            push_tuple(PushConntrackAttrs::new(&mut out).nested_tuple_orig(), &insert().original);
        push_tuple(attributes.end_nested().nested_tuple_reply(), &insert().original.inverse()).end_nested();
        end_message(&mut out, start);
        assert_eq!(parse_entry(&out[20..]).unwrap().timeout, Duration::from_secs(86_400));
    }

    #[test]
    fn a_lifetime_below_a_second_is_one_second() {
        assert_eq!((seconds(Duration::ZERO), seconds(Duration::MAX)), (1, u32::MAX));
    }

    #[test]
    fn the_sequence_numbers_wrap() {
        let numbers: Vec<_> = sequences(u32::MAX).take(2).collect();
        assert_eq!(numbers, [u32::MAX, 0]);
    }

    proptest! {
        #[test]
        fn survives_any_attributes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_entry(&bytes);
        }

        #[test]
        fn survives_a_damaged_entry(place in any::<proptest::sample::Index>(), value in any::<u8>()) {
            let mut bytes = message(&insert())[20..].to_vec();
            let place = place.index(bytes.len());
            bytes[place] = value;
            let _ = parse_entry(&bytes);
        }
    }
}
