//! Raw IPv4 sockets: complete packets out, echo replies in.
//!
//! [`RawSender`] sends whole packets, up to 32 per system call, that a [`PacketBatch`] has built; so the
//! router answers from the very address and port that were asked. [`EchoSocket`] is the external node's
//! end of the ICMP carrier (N5): the kernel lets only echo replies with our magic number through to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::KernelError;
use crate::packet::{ICMP_HEADER, Ipv4View, PacketBatch, Transport, push_icmp_echo};
use crate::sys;

const SOL_RAW: libc::c_int = 255;
const ICMP_FILTER: libc::c_int = 1;
/// The kernel takes the filter's bits as those types that it withholds; type 0 is the echo reply.
const ALL_BUT_ECHO_REPLY: libc::c_int = !1;
/// Longest echo payload that is received whole.
const RECEIVE_LIMIT: usize = 2048;
const RECEIVE_BUFFER: libc::c_int = 1 << 20;

/// What became of a batch.
#[derive(Debug, Default)]
pub struct SendReport {
    /// Packets that the kernel took.
    pub sent: usize,
    /// Packets that it refused.
    pub failed: usize,
    /// Why it refused the last of them.
    pub last_error: Option<io::Error>,
}

/// Sends complete IPv4 packets.
#[derive(Debug)]
pub struct RawSender {
    fd: OwnedFd,
}

impl RawSender {
    /// Opens the socket. Needs CAP_NET_RAW.
    pub fn open() -> Result<Self, KernelError> {
        // IPPROTO_RAW implies IP_HDRINCL and receives nothing.
        let fd = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_RAW)
            .map_err(|e| KernelError::system("open a raw socket", "", e))?;
        Ok(Self { fd })
    }

    /// Sends all packets of the batch, each to its own destination address.
    ///
    /// The kernel writes the header checksum and an identification where it is zero. A packet that the
    /// kernel refuses (no route, firewall, full device queue) is skipped and reported.
    pub fn send_batch(&self, batch: &PacketBatch) -> SendReport {
        let mut report = SendReport::default();
        let mut packets = batch.iter();
        let nothing: &[u8] = &[];
        loop {
            let mut part = [(nothing, Ipv4Addr::UNSPECIFIED); sys::BATCH];
            let mut count = 0;
            for (place, packet) in part.iter_mut().zip(packets.by_ref()) {
                *place = (packet, destination(packet));
                count += 1;
            }
            if count == 0 {
                return report;
            }
            self.send_part(part.get(..count).unwrap_or_default(), &mut report);
        }
    }

    fn send_part(&self, mut part: &[(&[u8], Ipv4Addr)], report: &mut SendReport) {
        while !part.is_empty() {
            let done = match sys::send_batch(self.fd.as_fd(), part) {
                Ok(sent) => {
                    report.sent += sent;
                    // A call that takes nothing and reports nothing must not be repeated for ever.
                    sent.max(1)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    report.failed += 1;
                    report.last_error = Some(error);
                    1
                }
            };
            part = part.get(done..).unwrap_or_default();
        }
    }
}

impl AsFd for RawSender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn destination(packet: &[u8]) -> Ipv4Addr {
    let octets: Option<[u8; 4]> = packet.get(16..20).and_then(|bytes| bytes.try_into().ok());
    octets.map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from)
}

/// An echo reply that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EchoReply<'a> {
    /// Who answers. Anybody can claim to be anybody: the caller checks it.
    pub source: Ipv4Addr,
    /// The own address that the answer came to.
    pub destination: Ipv4Addr,
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub sequence: u16,
    /// What follows the ICMP header.
    pub payload: &'a [u8],
}

/// Sends echo requests and receives the echo replies whose payload starts with a magic number.
#[derive(Debug)]
pub struct EchoSocket {
    fd: OwnedFd,
    input: Vec<u8>,
    output: Vec<u8>,
    malformed: u64,
}

impl EchoSocket {
    /// Opens the socket. Needs CAP_NET_RAW.
    pub fn open(magic: [u8; 4]) -> Result<Self, KernelError> {
        let fd = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP)
            .map_err(|e| KernelError::system("open a raw ICMP socket", "", e))?;
        sys::set_option(fd.as_fd(), SOL_RAW, ICMP_FILTER, ALL_BUT_ECHO_REPLY)
            .map_err(|e| KernelError::system("set ICMP_FILTER", "", e))?;
        sys::attach_filter(fd.as_fd(), &mut magic_filter(magic))
            .map_err(|e| KernelError::system("attach a socket filter", "", e))?;
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER);
        let mut socket = Self { fd, input: vec![0; RECEIVE_LIMIT], output: Vec::new(), malformed: 0 };
        socket.discard();
        Ok(socket)
    }

    /// Throws away what arrived before the filters were in place.
    fn discard(&mut self) {
        while sys::receive(self.fd.as_fd(), &mut self.input).is_ok() {}
    }

    /// Makes a local address the source of everything that is sent and the only one that is listened to.
    pub fn bind(&self, source: Ipv4Addr) -> Result<(), KernelError> {
        sys::bind_ipv4(self.fd.as_fd(), SocketAddrV4::new(source, 0))
            .map_err(|e| KernelError::system(format!("bind the echo socket to {source}"), "", e))
    }

    /// Sends an echo request.
    pub fn send_to(
        &mut self,
        destination: Ipv4Addr,
        ident: u16,
        sequence: u16,
        payload: &[u8],
    ) -> Result<(), KernelError> {
        self.output.clear();
        push_icmp_echo(&mut self.output, 8, ident, sequence, payload);
        sys::send_to(self.fd.as_fd(), &self.output, destination)
            .map(drop)
            .map_err(|e| KernelError::system(format!("send an echo request to {destination}"), "", e))
    }

    /// Sends an echo request from an own address, by that one's route.
    pub fn send_from(
        &mut self,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ident: u16,
        sequence: u16,
        payload: &[u8],
    ) -> Result<(), KernelError> {
        self.output.clear();
        push_icmp_echo(&mut self.output, 8, ident, sequence, payload);
        sys::send_from(self.fd.as_fd(), &self.output, source, SocketAddrV4::new(destination, 0))
            .map(drop)
            .map_err(|e| {
                KernelError::system(format!("send an echo request from {source} to {destination}"), "", e)
            })
    }

    /// Receives an echo reply; none if none waits. What is malformed is counted and skipped.
    pub fn recv_from(&mut self) -> Result<Option<EchoReply<'_>>, KernelError> {
        let length = loop {
            match sys::receive(self.fd.as_fd(), &mut self.input) {
                Ok(length) if is_reply(self.input.get(..length)) => break length,
                Ok(_) => self.malformed += 1,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(KernelError::system("receive an echo reply", "", error)),
            }
        };
        Ok(parse_reply(self.input.get(..length).unwrap_or_default()))
    }

    /// How many received packets were no well-formed echo reply.
    pub fn malformed(&self) -> u64 {
        self.malformed
    }
}

impl AsFd for EchoSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Sends a UDP datagram from an own address, by that one's route, and from the socket's port.
pub fn send_datagram_from(
    socket: BorrowedFd<'_>,
    source: Ipv4Addr,
    destination: SocketAddrV4,
    payload: &[u8],
) -> Result<(), KernelError> {
    sys::send_from(socket, payload, source, destination)
        .map(drop)
        .map_err(|e| KernelError::system(format!("send a datagram from {source} to {destination}"), "", e))
}

fn is_reply(packet: Option<&[u8]>) -> bool {
    packet.is_some_and(|packet| parse_reply(packet).is_some())
}

fn parse_reply(packet: &[u8]) -> Option<EchoReply<'_>> {
    let view = Ipv4View::parse(packet).ok()?;
    let Transport::Echo { request: false, ident, sequence, payload } = view.transport else { return None };
    Some(EchoReply { source: view.source, destination: view.destination, ident, sequence, payload })
}

/// Classic BPF: accepts a packet if the four bytes behind its IP and ICMP header are the magic number.
fn magic_filter(magic: [u8; 4]) -> [libc::sock_filter; 5] {
    const LOAD_HEADER_LENGTH: u16 = 0xb1; // ldx msh
    const LOAD_WORD: u16 = 0x40; // ld ind, 32 bits
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    [
        step(LOAD_HEADER_LENGTH, 0, 0, 0),
        step(LOAD_WORD, 0, 0, ICMP_HEADER),
        step(JUMP_EQUAL, 0, 1, u32::from_be_bytes(magic)),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_datagram_leaves_from_the_own_address_that_is_named() {
        let (there, here) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("0.0.0.0:0").unwrap());
        let port = |socket: &UdpSocket| socket.local_addr().unwrap().port();
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port(&there));
        for source in [Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::LOCALHOST] {
            send_datagram_from(here.as_fd(), source, to, b"hello").unwrap();
            let (length, from) = there.recv_from(&mut [0; 9]).unwrap();
            assert_eq!((length, from), (5, SocketAddrV4::new(source, port(&here)).into()));
        }
        let error = send_datagram_from(here.as_fd(), Ipv4Addr::new(192, 0, 2, 1), to, b"x").unwrap_err();
        assert!(error.to_string().contains("192.0.2.1"), "{error}");
    }
}
