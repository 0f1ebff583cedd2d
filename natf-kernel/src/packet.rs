//! IPv4 packets with ICMP echo, UDP or TCP inside: a checked view, and builders with right checksums.
//!
//! ```text
//!  0                   1                   2                   3
//!  |ver 4 | hlen |   tos         |          total length          |   RFC 791
//!  |      identification         |flags|    fragment offset       |
//!  |  ttl        |  protocol     |      header checksum           |
//!  |                     source address                           |
//!  |                  destination address                         |
//!  |               options (hlen > 5) ...                         |
//! ```
//!
//! Only whole packets are read: the kernel reassembles before conntrack, so that what arrives here in
//! fragments came past it.

use std::net::{Ipv4Addr, SocketAddrV4};

/// IP protocol number of ICMP.
pub const ICMP: u8 = 1;
/// IP protocol number of TCP.
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// TCP flag: no more data.
pub const TCP_FIN: u8 = 0x01;
/// TCP flag: opens a connection.
pub const TCP_SYN: u8 = 0x02;
/// TCP flag: resets a connection.
pub const TCP_RST: u8 = 0x04;
/// TCP flag: the acknowledgement number is valid.
pub const TCP_ACK: u8 = 0x10;

pub(crate) const ICMP_HEADER: u32 = 8;
const IPV4_HEADER: u16 = 20;
const UDP_HEADER: u16 = 8;
const TCP_HEADER: usize = 20;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const TTL: u8 = 64;
const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, or a fragment offset.
const FRAGMENT: u16 = 0x3fff;

/// Why a packet is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not IP version 4.
    #[error("not IPv4")]
    Version,
    /// A length field contradicts the packet's length.
    #[error("wrong length")]
    Length,
    /// A part of a fragmented packet.
    #[error("fragment")]
    Fragment,
    /// Neither ICMP echo, UDP nor TCP.
    #[error("protocol {0} (or ICMP type) is not carried")]
    Protocol(u8),
}

/// What an IPv4 packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport<'a> {
    /// ICMP echo request or reply.
    Echo {
        /// Request (type 8), else reply (type 0).
        request: bool,
        /// Identifier.
        ident: u16,
        /// Sequence number.
        sequence: u16,
        /// What follows the 8 bytes of the ICMP header.
        payload: &'a [u8],
    },
    /// A UDP datagram.
    Udp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// The datagram's data.
        payload: &'a [u8],
    },
    /// A TCP segment.
    Tcp {
        /// Source port.
        source_port: u16,
        /// Destination port.
        destination_port: u16,
        /// Sequence number.
        sequence: u32,
        /// Flags, see the `TCP_` constants.
        flags: u8,
        /// The segment's data.
        payload: &'a [u8],
    },
}

/// A checked view of an IPv4 packet. Checksums are not verified: the kernel does, or has yet to write them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ipv4View<'a> {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// What it carries.
    pub transport: Transport<'a>,
}

impl<'a> Ipv4View<'a> {
    /// Reads a whole packet. Bytes behind its total length (link padding) are ignored.
    pub fn parse(packet: &'a [u8]) -> Result<Self, ParseError> {
        Self::read(packet, false)
    }

    /// Reads a packet of which a queue's copy range may have cut the end: its payload may be too short.
    pub fn parse_head(packet: &'a [u8]) -> Result<Self, ParseError> {
        Self::read(packet, true)
    }

    fn read(packet: &'a [u8], may_be_cut: bool) -> Result<Self, ParseError> {
        let first = *packet.first().ok_or(ParseError::Length)?;
        if first >> 4 != 4 {
            return Err(ParseError::Version);
        }
        let header = usize::from(first & 0x0f) * 4;
        let total = usize::from(word(packet, 2)?);
        if header < usize::from(IPV4_HEADER) || total < header || (total > packet.len() && !may_be_cut) {
            return Err(ParseError::Length);
        }
        if word(packet, 6)? & FRAGMENT != 0 {
            return Err(ParseError::Fragment);
        }
        let body = packet.get(header..total.min(packet.len())).ok_or(ParseError::Length)?;
        let protocol = *packet.get(9).ok_or(ParseError::Length)?;
        let transport = match protocol {
            ICMP => parse_echo(body)?,
            UDP => parse_udp(body, total - header, may_be_cut)?,
            TCP => parse_tcp(body)?,
            other => return Err(ParseError::Protocol(other)),
        };
        Ok(Self { source: address(packet, 12)?, destination: address(packet, 16)?, transport })
    }

    /// IP protocol number.
    pub fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Echo { .. } => ICMP,
            Transport::Udp { .. } => UDP,
            Transport::Tcp { .. } => TCP,
        }
    }

    /// Source address and port (port 0 for an echo).
    pub fn source_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.source, self.ports().0)
    }

    /// Destination address and port (port 0 for an echo).
    pub fn destination_socket(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.destination, self.ports().1)
    }

    fn ports(&self) -> (u16, u16) {
        match self.transport {
            Transport::Echo { .. } => (0, 0),
            Transport::Udp { source_port, destination_port, .. }
            | Transport::Tcp { source_port, destination_port, .. } => (source_port, destination_port),
        }
    }

    /// What the transport header is followed by.
    pub fn payload(&self) -> &'a [u8] {
        match self.transport {
            Transport::Echo { payload, .. }
            | Transport::Udp { payload, .. }
            | Transport::Tcp { payload, .. } => payload,
        }
    }
}

fn word(bytes: &[u8], offset: usize) -> Result<u16, ParseError> {
    let pair = bytes.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(ParseError::Length)?;
    Ok(u16::from_be_bytes(*pair))
}

fn address(bytes: &[u8], offset: usize) -> Result<Ipv4Addr, ParseError> {
    let octets: &[u8; 4] =
        bytes.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(ParseError::Length)?;
    Ok(Ipv4Addr::from(*octets))
}

/// RFC 792: type, code 0, checksum, identifier, sequence number, data.
fn parse_echo(body: &[u8]) -> Result<Transport<'_>, ParseError> {
    let request = match word(body, 0)?.to_be_bytes() {
        [ECHO_REQUEST, 0] => true,
        [ECHO_REPLY, 0] => false,
        _ => return Err(ParseError::Protocol(ICMP)),
    };
    let payload = body.get(8..).ok_or(ParseError::Length)?;
    Ok(Transport::Echo { request, ident: word(body, 4)?, sequence: word(body, 6)?, payload })
}

/// RFC 768: source port, destination port, length, checksum, data.
fn parse_udp(body: &[u8], whole: usize, may_be_cut: bool) -> Result<Transport<'_>, ParseError> {
    let length = usize::from(word(body, 4)?);
    if length < usize::from(UDP_HEADER) || length > whole || (length > body.len() && !may_be_cut) {
        return Err(ParseError::Length);
    }
    let payload = body.get(8..length.min(body.len())).ok_or(ParseError::Length)?;
    Ok(Transport::Udp { source_port: word(body, 0)?, destination_port: word(body, 2)?, payload })
}

/// RFC 9293, 3.1: the data offset counts words of 4 bytes.
fn parse_tcp(body: &[u8]) -> Result<Transport<'_>, ParseError> {
    let [offset, flags] = word(body, 12)?.to_be_bytes();
    let header = usize::from(offset >> 4) * 4;
    if header < TCP_HEADER {
        return Err(ParseError::Length);
    }
    let payload = body.get(header..).ok_or(ParseError::Length)?;
    let [high, low] = [word(body, 4)?, word(body, 6)?].map(u32::from);
    let (source_port, destination_port) = (word(body, 0)?, word(body, 2)?);
    Ok(Transport::Tcp { source_port, destination_port, sequence: high << 16 | low, flags, payload })
}

/// Packets that are built one behind the other in one buffer, which is reused.
#[derive(Debug, Default)]
pub struct PacketBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl PacketBatch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets the packets and keeps the buffer.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// How many packets it holds.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The packets, in the order in which they were built.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).filter_map(|(start, end)| self.bytes.get(start..*end))
    }

    /// Adds an ICMP echo request. False, and nothing is added, if the payload is longer than a packet.
    pub fn push_echo_request(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ident: u16,
        sequence: u16,
        payload: &[u8],
    ) -> bool {
        self.push(ICMP, source, destination, |out| {
            push_icmp_echo(out, ECHO_REQUEST, ident, sequence, payload);
        })
    }

    /// Adds an ICMP echo reply. False, and nothing is added, if the payload is longer than a packet.
    pub fn push_echo_reply(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ident: u16,
        sequence: u16,
        payload: &[u8],
    ) -> bool {
        self.push(ICMP, source, destination, |out| push_icmp_echo(out, ECHO_REPLY, ident, sequence, payload))
    }

    /// Adds a UDP datagram. False, and nothing is added, if the payload is longer than a packet.
    pub fn push_udp(&mut self, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> bool {
        self.push(UDP, *source.ip(), *destination.ip(), |out| push_udp(out, source, destination, payload))
    }

    /// Adds a packet around what `body` appends.
    fn push(
        &mut self,
        protocol: u8,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let start = self.bytes.len();
        self.bytes.extend([0x45, 0, 0, 0, 0, 0]);
        self.bytes.extend(DONT_FRAGMENT.to_be_bytes());
        self.bytes.extend([TTL, protocol, 0, 0]);
        self.bytes.extend(source.octets());
        self.bytes.extend(destination.octets());
        body(&mut self.bytes);
        let Ok(total) = u16::try_from(self.bytes.len() - start) else {
            self.bytes.truncate(start);
            return false;
        };
        write_word(&mut self.bytes, start + 2, total);
        let header = self.bytes.get(start..start + usize::from(IPV4_HEADER)).unwrap_or_default();
        let checksum = finish(sum(0, header));
        write_word(&mut self.bytes, start + 10, checksum);
        self.ends.push(self.bytes.len());
        true
    }
}

fn write_word(bytes: &mut [u8], offset: usize, value: u16) {
    if let Some(place) = bytes.get_mut(offset..offset + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Appends an ICMP echo message with its checksum.
pub(crate) fn push_icmp_echo(out: &mut Vec<u8>, kind: u8, ident: u16, sequence: u16, payload: &[u8]) {
    let start = out.len();
    out.extend([kind, 0, 0, 0]);
    out.extend(ident.to_be_bytes());
    out.extend(sequence.to_be_bytes());
    out.extend(payload);
    let checksum = finish(sum(0, out.get(start..).unwrap_or_default()));
    write_word(out, start + 2, checksum);
}

fn push_udp(out: &mut Vec<u8>, source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) {
    let start = out.len();
    // A payload that is too long is refused by the caller, which sees the whole length.
    let length =
        u16::try_from(payload.len()).ok().and_then(|n| n.checked_add(UDP_HEADER)).unwrap_or(u16::MAX);
    out.extend(source.port().to_be_bytes());
    out.extend(destination.port().to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend([0, 0]);
    out.extend(payload);
    let [high, low] = length.to_be_bytes();
    let mut total = sum(0, &source.ip().octets());
    total = sum(total, &destination.ip().octets());
    total = sum(total, &[0, UDP, high, low]);
    let checksum = finish(sum(total, out.get(start..).unwrap_or_default()));
    // RFC 768: a computed zero is sent as all ones, zero means "no checksum".
    write_word(out, start + 6, if checksum == 0 { 0xffff } else { checksum });
}

/// Adds 16-bit words (RFC 1071). The sum of a 64 KiB packet stays far below 2^32.
fn sum(mut total: u32, bytes: &[u8]) -> u32 {
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        if let [high, low] = pair {
            total += u32::from(u16::from_be_bytes([*high, *low]));
        }
    }
    if let [last] = pairs.remainder() {
        total += u32::from(u16::from_be_bytes([*last, 0]));
    }
    total
}

/// Folds the carries and complements.
fn finish(total: u32) -> u16 {
    let mut folded = total;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !u16::try_from(folded).unwrap_or(0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const B: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

    /// Complement of the sum over everything that includes a right checksum is 0.
    fn is_summed_right(bytes: &[u8]) -> bool {
        finish(sum(0, bytes)) == 0
    }

    #[test]
    fn builds_the_echo_request_that_ping_sends() {
        // tcpdump -x of `ping -c1 -s 4 -p 4e415466 198.51.100.7`, its identification set to 0.
        let wanted = [
            0x45, 0, 0, 0x20, 0, 0, 0x40, 0, 0x40, 1, 0x4f, 0x00, 192, 0, 2, 1, 198, 51, 100, 7, 8, 0, 0x53,
            0x55, 0x01, 0x02, 0, 1, 0x4e, 0x41, 0x54, 0x66,
        ];
        let mut batch = PacketBatch::new();
        assert!(batch.push_echo_request(A, B, 0x0102, 1, b"NATf"));
        let packet = batch.iter().next().unwrap();
        assert!(is_summed_right(&packet[..20]) && is_summed_right(&packet[20..]));
        assert_eq!((&packet[..10], &packet[12..22]), (&wanted[..10], &wanted[12..22]));
    }

    #[test]
    fn refuses_fragments_and_wrong_lengths() {
        let mut batch = PacketBatch::new();
        batch.push_udp(SocketAddrV4::new(A, 1), SocketAddrV4::new(B, 2), b"abc");
        let good = batch.iter().next().unwrap().to_vec();
        assert!(Ipv4View::parse(&good).is_ok());
        let broken = |place: usize, value: u8| {
            let mut packet = good.clone();
            packet[place] = value;
            Ipv4View::parse(&packet).map(|_| ())
        };
        assert_eq!(broken(0, 0x65), Err(ParseError::Version));
        assert_eq!(broken(0, 0x44), Err(ParseError::Length));
        assert_eq!(broken(0, 0x4f), Err(ParseError::Length));
        assert_eq!(broken(3, 255), Err(ParseError::Length));
        assert_eq!(broken(6, 0x20), Err(ParseError::Fragment));
        assert_eq!(broken(7, 1), Err(ParseError::Fragment));
        assert_eq!(broken(9, 47), Err(ParseError::Protocol(47)));
        assert_eq!(broken(25, 200), Err(ParseError::Length));
        assert_eq!(broken(25, 7), Err(ParseError::Length));
    }

    #[test]
    fn reads_a_packet_whose_end_is_cut_only_when_asked_to() {
        let mut batch = PacketBatch::new();
        batch.push_udp(SocketAddrV4::new(A, 1), SocketAddrV4::new(B, 2), &[7; 100]);
        let cut = &batch.iter().next().unwrap()[..64];
        assert_eq!(Ipv4View::parse(cut), Err(ParseError::Length));
        let view = Ipv4View::parse_head(cut).unwrap();
        assert_eq!((view.destination_socket().port(), view.payload().len()), (2, 36));
    }

    #[test]
    fn reads_the_flags_of_a_syn() {
        let mut batch = PacketBatch::new();
        let header = [0, 80, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0];
        assert!(batch.push(TCP, A, B, |out| out.extend(header)));
        let view = Ipv4View::parse(batch.iter().next().unwrap()).unwrap();
        let wanted = Transport::Tcp {
            source_port: 80,
            destination_port: 8080,
            sequence: 1,
            flags: TCP_SYN,
            payload: &[],
        };
        assert_eq!((view.transport, view.protocol()), (wanted, TCP));
    }

    #[test]
    fn refuses_a_payload_longer_than_a_packet() {
        let mut batch = PacketBatch::new();
        assert!(!batch.push_echo_reply(A, B, 1, 1, &vec![0; 65_510]));
        assert!(batch.is_empty());
    }

    proptest! {
        #[test]
        fn reads_back_the_packets_that_it_builds(
            payload in proptest::collection::vec(any::<u8>(), 0..400),
            ports in any::<(u16, u16)>(),
        ) {
            let (from, to) = (SocketAddrV4::new(A, ports.0), SocketAddrV4::new(B, ports.1));
            let mut batch = PacketBatch::new();
            batch.push_udp(from, to, &payload);
            batch.push_echo_reply(A, B, ports.0, ports.1, &payload);
            let packets: Vec<_> = batch.iter().collect();
            let udp = Ipv4View::parse(packets[0]).unwrap();
            prop_assert_eq!((udp.source_socket(), udp.destination_socket()), (from, to));
            prop_assert_eq!(udp.payload(), &payload[..]);
            let echo = Ipv4View::parse(packets[1]).unwrap();
            let wanted =
                Transport::Echo { request: false, ident: ports.0, sequence: ports.1, payload: &payload };
            prop_assert_eq!(echo.transport, wanted);
            prop_assert!(is_summed_right(&packets[0][..20]) && is_summed_right(&packets[1][20..]));
        }

        #[test]
        fn survives_any_packet(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (Ipv4View::parse(&bytes), Ipv4View::parse_head(&bytes));
        }

        #[test]
        fn survives_any_packet_that_looks_like_ipv4(
            mut bytes in proptest::collection::vec(any::<u8>(), 20..100),
            protocol in prop_oneof![Just(1u8), Just(6), Just(17)],
        ) {
            let length = u8::try_from(bytes.len()).unwrap();
            bytes[..10].copy_from_slice(&[0x45, 0, 0, length, 0, 0, 0, 0, 64, protocol]);
            let _ = Ipv4View::parse(&bytes);
        }
    }
}
