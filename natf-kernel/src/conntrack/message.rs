//! ctnetlink messages: an entry to be inserted becomes attributes, attributes become an entry.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use netlink_bindings::conntrack::{
    ConntrackAttrs, IterableConntrackAttrs, IterableCounterAttrs, IterableTupleAttrs, PushConntrackAttrs,
    PushNatAttrs, PushNatProtoAttrs, PushTupleAttrs,
};
use netlink_bindings::traits::Pusher;
use netlink_bindings::utils::{finalize_nested_header, push_nested_header};

use super::entry::{Counters, Entry, Flow, Insert, STATUS_CONFIRMED, STATUS_SEEN_REPLY, TcpState};
use crate::netlink::{begin_message, end_message};

const NAT_PROTO: u16 = 3;
const FAMILY: u8 = 2;

/// How long the kernel keeps an entry at least while its flow is offloaded (NF_CT_DAY).
const OFFLOADED_SECONDS: u32 = 86_400;

/// Writes one ctnetlink message.
pub(super) fn emit(
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

pub(super) fn push_insert(attributes: PushConntrackAttrs<&mut Vec<u8>>, insert: &Insert<'_>) {
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

pub(super) fn push_tuple<P: Pusher>(tuple: PushTupleAttrs<P>, flow: &Flow) -> PushTupleAttrs<P> {
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

pub(super) fn seconds(timeout: Duration) -> u32 {
    u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX).max(1)
}

/// Reads one entry; none if it is not an IPv4 entry with both tuples.
pub(super) fn parse_entry(attributes: &[u8]) -> Option<Entry> {
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
    use proptest::prelude::*;

    use super::super::CT_NEW;
    use super::*;
    use crate::netlink::{ACK, CREATE, EXCL, REQUEST};

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
