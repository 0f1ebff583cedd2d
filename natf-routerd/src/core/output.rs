//! What comes into the router's core and what it wants done, as values.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant},
};

use natf_proto::{KeyId, Message, NoticeMessage, Transport};

use super::mapping::MappingId;

/// The two clocks, read once for a batch of packets.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For everything that lasts.
    pub instant: Instant,
    /// Unix seconds, for what the user wrote as a date; may jump.
    pub unix: u64,
}

/// How an answer travels: the way its question came, with both ends exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// ICMP ECHO REPLY with the question's identifier and sequence number (N5).
    Icmp {
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
    },
    /// UDP, for paths that eat ICMP.
    Udp {
        /// The EN's port.
        from: u16,
        /// The port it asked at.
        to: u16,
    },
}

/// Where a message came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// The EN's address as seen here, G1 or that of a NAT before the EN.
    pub from: Ipv4Addr,
    /// The address it was sent to as seen here.
    pub to: Ipv4Addr,
    /// True where it came from the LAN: no NAT stands between this EN and the hosts.
    pub inside: bool,
    /// ICMP or UDP.
    pub carrier: Carrier,
}

/// What became of a packet from the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// It was a message; the packet's work is done.
    Consumed,
    /// Not authenticated as ours: treat it as if this program did not exist.
    NotOurs,
}

/// A conntrack entry of ours: `source -> mapped`, translated to `inside`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// TCP or UDP.
    pub transport: Transport,
    /// `G1:s`.
    pub source: SocketAddrV4,
    /// `G2:m`.
    pub mapped: SocketAddrV4,
    /// `P1:d`.
    pub inside: SocketAddrV4,
    /// Whose mapping it is; goes into the entry's label.
    pub peer: KeyId,
}

/// A flow as its first packet shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirstFlow {
    /// TCP or UDP.
    pub transport: Transport,
    /// `G3:s`.
    pub source: SocketAddrV4,
    /// `G2:d`.
    pub destination: SocketAddrV4,
}

/// A packet that was caught because its source is awaited, or has a row in the guide table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstPacket {
    /// Its number in the queue.
    pub packet: u32,
    /// Its flow.
    pub flow: FirstFlow,
    /// True where it came from the LAN.
    pub inside: bool,
}

/// Which source the host sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// `G1:s` itself, or the kernel refuses.
    Source,
    /// `G1:s`; where another flow has that towards this host, the kernel shows another port of G1.
    SourceOrOtherPort,
    /// This one of the router, so that the host's answers come back here (a client on the host's own network).
    Router(SocketAddrV4),
}

/// A set element: the first packet from this address to this port is caught.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Await {
    /// TCP or UDP.
    pub transport: Transport,
    /// The address of the NAT before the EN.
    pub source: Ipv4Addr,
    /// `G2:m`.
    pub mapped: SocketAddrV4,
}

/// An effect that the core asks for. The I/O layer carries them out in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Delete this conntrack entry.
    Delete(Entry),
    /// Insert this entry with the timeout; tell the result by `handle_inserted`.
    Insert {
        /// To be handed back.
        id: MappingId,
        /// The entry.
        entry: Entry,
        /// Seconds that the entry waits for the first packet.
        timeout: Duration,
        /// Which source the host sees.
        shown: Shown,
    },
    /// The EN asked again: make sure that the entry lives and waits for `timeout` more if it is still unused; tell
    /// the result by `handle_inserted`.
    Renew {
        /// To be handed back.
        id: MappingId,
        /// The entry.
        entry: Entry,
        /// As for an insert.
        timeout: Duration,
    },
    /// Catch the first packet; tell the result by `handle_awaiting`.
    Await {
        /// To be handed back.
        id: MappingId,
        /// What to catch.
        element: Await,
        /// For how long.
        timeout: Duration,
    },
    /// Catch it no longer.
    Unawait(Await),
    /// Look the entry up and tell by `handle_checked`; one whose connection is over counts as gone.
    Check {
        /// To be handed back.
        id: MappingId,
        /// The entry.
        entry: Entry,
    },
    /// Send an answer.
    Send {
        /// From our address `to`, to `from`, by its carrier.
        arrival: Arrival,
        /// The bytes.
        message: Message,
    },
    /// Send the answer to a notification.
    SendNotice {
        /// From our address `to`, to `from`, by its carrier.
        arrival: Arrival,
        /// The bytes.
        message: NoticeMessage,
    },
    /// Let this queued packet go on.
    Release(u32),
    /// Drop this queued packet.
    Drop(u32),
    /// Catch the first packets of this source; tell the result by `handle_caught`.
    Catch {
        /// G3.
        source: Ipv4Addr,
        /// For how long.
        timeout: Duration,
    },
    /// Catch them no longer.
    Uncatch(Ipv4Addr),
    /// Look whether conntrack knows this flow, in either direction; tell the result by `handle_looked`. A connection
    /// that is over is deleted and counts as unknown, as it does to the kernel.
    Look(FirstFlow),
    /// Packets of this UDP flow need not be caught any more, from the moment on at which none of them waits.
    Pass(FirstFlow),
    /// They are caught again.
    Unpass(FirstFlow),
    /// Store that counters up to this one are used.
    Reserve {
        /// Whose.
        peer: KeyId,
        /// Up to here.
        ceiling: u64,
    },
}
