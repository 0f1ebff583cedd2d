//! UDP in batches: up to 32 datagrams per system call, and every answer leaves from the very address that was asked.
//!
//! ```text
//!   recvmmsg ──▶ UdpInbox: datagram, UdpPath (peer, own address) ──▶ server
//!   sendmmsg ◀── UdpOutbox: answer, the same UdpPath ◀──────────────┘
//! ```
//!
//! A socket that is bound to one address needs nothing for that; on a wildcard address the kernel tells with each
//! datagram which address it was sent to (IP_PKTINFO, RFC 3542, 6). Each `unsafe` below only hands memory of this file
//! to the kernel or reads what the kernel wrote there.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use crate::error::KernelError;
use crate::sys::{self, BATCH};

/// Room for one control message with an address (40 bytes where words have 64 bits).
const CONTROL: usize = 64;
/// Datagrams wait here while the server works; the kernel's own limit may be lower.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;
/// Never "don't fragment", and what ICMP says about the path is not believed: nobody can make answers smaller or lost.
const PMTUDISC_OMIT: libc::c_int = 5;

/// A bound UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    fd: OwnedFd,
    local: SocketAddr,
}

/// The way of a datagram; its answer takes the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpPath {
    /// Who sent it.
    pub peer: SocketAddr,
    /// Where it was sent to and through which interface, on a wildcard socket.
    own: Option<(IpAddr, u32)>,
}

impl UdpSocket {
    /// Binds a non-blocking socket. An IPv6 one takes IPv6 only.
    ///
    /// # Errors
    /// The system's, with the address.
    pub fn bind(address: SocketAddr) -> Result<Self, KernelError> {
        Self::open(address).map_err(|e| KernelError::system(format!("bind a UDP socket to {address}"), "", e))
    }

    fn open(address: SocketAddr) -> io::Result<Self> {
        let v4 = address.is_ipv4();
        let fd = sys::socket(if v4 { libc::AF_INET } else { libc::AF_INET6 }, libc::SOCK_DGRAM, 0)?;
        let set = |level, name, value| sys::set_option(fd.as_fd(), level, name, value);
        if v4 {
            set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, PMTUDISC_OMIT)?;
        } else {
            set(libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, 1)?;
            set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, PMTUDISC_OMIT)?;
        }
        match (address.ip().is_unspecified(), v4) {
            (true, true) => set(libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
            (true, false) => set(libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
            (false, _) => {}
        }
        // As much as is allowed; less does not hinder.
        let _less = set(libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE_BUFFER);
        let (raw, length) = Raw::of(address);
        // SAFETY: pointer and length describe `raw`, which outlives the call.
        let bound = unsafe { libc::bind(fd.as_raw_fd(), ptr::from_ref(&raw).cast(), length) };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = std::net::UdpSocket::from(fd);
        let local = socket.local_addr()?;
        Ok(Self { fd: socket.into(), local })
    }

    /// The address and port that it is bound to.
    pub fn local(&self) -> SocketAddr {
        self.local
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A socket address of either family in the kernel's form.
#[derive(Clone, Copy)]
#[repr(C)]
union Raw {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Raw {
    fn of(address: SocketAddr) -> (Self, libc::socklen_t) {
        match address {
            SocketAddr::V4(address) => {
                (Raw { v4: sys::socket_address(address) }, length::<libc::sockaddr_in>())
            }
            SocketAddr::V6(address) => {
                (Raw { v6: socket_address_v6(address) }, length::<libc::sockaddr_in6>())
            }
        }
    }

    /// The address, if the kernel wrote one of these families.
    fn read(&self, written: libc::socklen_t) -> Option<SocketAddr> {
        if written < length::<libc::sockaddr_in>() {
            return None;
        }
        // SAFETY: both members consist of integers, start with the family, and were initialised as a whole.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        match libc::c_int::from(v4.sin_family) {
            libc::AF_INET => {
                let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
                Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
            }
            libc::AF_INET6 if written >= length::<libc::sockaddr_in6>() => {
                let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id).into())
            }
            _ => None,
        }
    }

    fn zeroed() -> Self {
        // SAFETY: both members consist of integers: all zeroes is a valid value.
        unsafe { mem::zeroed() }
    }
}

fn socket_address_v6(address: SocketAddrV6) -> libc::sockaddr_in6 {
    // SAFETY: sockaddr_in6 consists of integers: all zeroes is a valid value.
    let mut raw: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    raw.sin6_family = sys::family(libc::AF_INET6);
    raw.sin6_port = address.port().to_be();
    raw.sin6_addr.s6_addr = address.ip().octets();
    raw.sin6_scope_id = address.scope_id();
    raw
}

fn length<T>() -> libc::socklen_t {
    sys::length_of::<T>()
}

/// Room for control messages, aligned as they are.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// What one call received.
pub struct UdpInbox {
    slot: usize,
    storage: Box<[u8]>,
    names: Box<[Raw; BATCH]>,
    controls: Box<[Control; BATCH]>,
    received: Vec<Received>,
}

#[derive(Debug, Clone, Copy)]
struct Received {
    length: usize,
    whole: bool,
    path: Option<UdpPath>,
}

/// A received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Its way.
    pub path: UdpPath,
    /// What it carries; None: more than fits a slot.
    pub bytes: Option<&'a [u8]>,
}

impl UdpInbox {
    /// With slots for datagrams of up to `slot` bytes.
    pub fn new(slot: usize) -> Self {
        Self {
            slot,
            storage: vec![0; slot.saturating_mul(BATCH)].into(),
            names: Box::new([Raw::zeroed(); BATCH]),
            controls: Box::new([Control([0; CONTROL]); BATCH]),
            received: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits at the socket, up to a full batch; true where more may wait.
    ///
    /// # Errors
    /// The system's; nothing waiting is none.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<bool> {
        self.received.clear();
        let wildcard = socket.local.ip().is_unspecified();
        let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
        // SAFETY: mmsghdr consists of integers and pointers: all zeroes (null) is a valid value.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        let mut slots: libc::c_uint = 0;
        let places = vectors.iter_mut().zip(headers.iter_mut());
        let buffers = self.storage.chunks_exact_mut(self.slot.max(1));
        let notes = self.names.iter_mut().zip(self.controls.iter_mut());
        for (((vector, header), buffer), (name, control)) in places.zip(buffers).zip(notes) {
            *vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = length::<Raw>();
            if wildcard {
                header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
                header.msg_hdr.msg_controllen = CONTROL as _;
            }
            slots += 1;
        }
        // SAFETY: the first `slots` headers point to vectors of this frame, and these, the names and the controls to
        // disjoint parts of `self`, which is borrowed mutably; the timeout may be null.
        let count = unsafe {
            libc::recvmmsg(
                socket.fd.as_raw_fd(),
                headers.as_mut_ptr(),
                slots,
                libc::MSG_DONTWAIT as _,
                ptr::null_mut(),
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(false),
                io::ErrorKind::Interrupted => Ok(true),
                _ => Err(error),
            };
        };
        for (header, name) in headers.iter().zip(self.names.iter()).take(count) {
            let peer = name.read(header.msg_hdr.msg_namelen);
            // SAFETY: the kernel filled this header; its control points into `self.controls`, or is null.
            let own = if wildcard { unsafe { own_address(&header.msg_hdr) } } else { None };
            self.received.push(Received {
                length: usize::try_from(header.msg_len).unwrap_or(0).min(self.slot),
                whole: header.msg_hdr.msg_flags & libc::MSG_TRUNC == 0,
                path: peer.map(|peer| UdpPath { peer, own }),
            });
        }
        Ok(count == BATCH)
    }

    /// What the last call received.
    pub fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let slots = self.storage.chunks_exact(self.slot.max(1));
        self.received.iter().zip(slots).filter_map(|(received, slot)| {
            let bytes = if received.whole { slot.get(..received.length) } else { None };
            Some(Datagram { path: received.path?, bytes })
        })
    }
}

/// The own address that the control messages of a received datagram name.
///
/// # Safety
/// The header's control pointer and length describe memory that the kernel filled, or nothing.
unsafe fn own_address(header: &libc::msghdr) -> Option<(IpAddr, u32)> {
    // SAFETY: the caller vouches for the header; the macros stay within the length that it names.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: the macros returned this non-null pointer, so that a whole header stands there.
        let (kind, data) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        match (kind, data) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel writes an in_pktinfo behind this type; it may be unaligned.
                let info: libc::in_pktinfo =
                    unsafe { libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().read_unaligned() };
                return Some((Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes()).into(), 0));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel writes an in6_pktinfo behind this type; it may be unaligned.
                let info: libc::in6_pktinfo =
                    unsafe { libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>().read_unaligned() };
                let address = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                // The way back to any other address is what the routes say.
                let interface = if address.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
                return Some((address.into(), interface));
            }
            // SAFETY: header and message belong together.
            _ => message = unsafe { libc::CMSG_NXTHDR(header, message) },
        }
    }
    None
}

/// Answers that leave together.
#[derive(Default)]
pub struct UdpOutbox {
    bytes: Vec<u8>,
    /// Where each datagram ends, and its way.
    datagrams: Vec<(usize, UdpPath)>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct UdpSent {
    /// Datagrams that the kernel took.
    pub sent: usize,
    /// Datagrams that it refused.
    pub failed: usize,
    /// Why it refused the last of them.
    pub last_error: Option<io::Error>,
}

impl UdpOutbox {
    /// Empty.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one datagram, which `write` appends to the bytes; none if it appends nothing.
    pub fn push<T>(&mut self, path: UdpPath, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        if self.bytes.len() > start {
            self.datagrams.push((self.bytes.len(), path));
        }
        result
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Sends everything. A datagram that the kernel refuses is skipped and reported.
    pub fn flush(&mut self, socket: &UdpSocket) -> UdpSent {
        let mut report = UdpSent::default();
        let mut first = 0;
        let mut start = 0;
        while let Some(rest) = self.datagrams.get(first..).filter(|rest| !rest.is_empty()) {
            let done = match send(socket, &self.bytes, start, rest) {
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
            if let Some((end, _)) = done.checked_sub(1).and_then(|last| rest.get(last)) {
                start = *end;
            }
            first += done;
        }
        self.bytes.clear();
        self.datagrams.clear();
        report
    }
}

/// Sends up to a batch of datagrams, the first of which begins at `start`; returns how many the kernel took.
fn send(socket: &UdpSocket, bytes: &[u8], start: usize, datagrams: &[(usize, UdpPath)]) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: mmsghdr consists of integers and pointers: all zeroes (null) is a valid value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut names = [Raw::zeroed(); BATCH];
    let mut controls = [Control([0; CONTROL]); BATCH];
    let mut count: libc::c_uint = 0;
    let mut start = start;
    let places = vectors.iter_mut().zip(headers.iter_mut()).zip(names.iter_mut().zip(controls.iter_mut()));
    for (((vector, header), (name, control)), (end, path)) in places.zip(datagrams) {
        let datagram = bytes.get(start..*end).unwrap_or_default();
        start = *end;
        let (raw, size) = Raw::of(path.peer);
        *name = raw;
        // The kernel only reads from the vectors of sendmmsg(2), though their type is mutable.
        *vector = libc::iovec { iov_base: datagram.as_ptr().cast_mut().cast(), iov_len: datagram.len() };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size;
        if let Some((address, interface)) = path.own {
            write_own_address(&mut header.msg_hdr, control, address, interface);
        }
        count += 1;
    }
    // SAFETY: the first `count` headers point to vectors, names and controls of this frame, and these to the bytes,
    // which are borrowed for the call and only read.
    let sent = unsafe {
        libc::sendmmsg(socket.fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL as _)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Has a datagram leave from this own address.
fn write_own_address(header: &mut libc::msghdr, control: &mut Control, address: IpAddr, interface: u32) {
    header.msg_control = control.0.as_mut_ptr().cast();
    match address {
        IpAddr::V4(address) => {
            // SAFETY: in_pktinfo consists of integers: all zeroes is a valid value.
            let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
            info.ipi_spec_dst.s_addr = u32::from_ne_bytes(address.octets());
            write_control(header, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        IpAddr::V6(address) => {
            // SAFETY: in6_pktinfo consists of integers: all zeroes is a valid value.
            let mut info: libc::in6_pktinfo = unsafe { mem::zeroed() };
            info.ipi6_addr.s6_addr = address.octets();
            info.ipi6_ifindex = interface;
            write_control(header, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
    }
}

/// Writes one control message into the header's control memory, which has [`CONTROL`] bytes.
fn write_control<T>(header: &mut libc::msghdr, level: libc::c_int, kind: libc::c_int, data: T) {
    const { assert!(mem::size_of::<T>() <= CONTROL - 24) };
    let size = length::<T>();
    // SAFETY: the macro computes from numbers only.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(size) } as _;
    // SAFETY: the control memory has CONTROL aligned bytes: room for a header (16 bytes at most) and `T`, as asserted.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(size) as _;
        libc::CMSG_DATA(message).cast::<T>().write_unaligned(data);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn client(address: &str) -> std::net::UdpSocket {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        socket
    }

    /// Receives until `count` datagrams came, and answers each with its own bytes.
    fn echo(server: &UdpSocket, count: usize) -> Vec<UdpPath> {
        let (mut inbox, mut outbox, mut paths) = (UdpInbox::new(64), UdpOutbox::new(), Vec::new());
        while paths.len() < count {
            assert!(sys::wait_readable(server.as_fd(), Duration::from_secs(5)).unwrap());
            inbox.receive(server).unwrap();
            for datagram in inbox.datagrams() {
                outbox
                    .push(datagram.path, |bytes| bytes.extend_from_slice(datagram.bytes.unwrap_or(b"long")));
                paths.push(datagram.path);
            }
            let report = outbox.flush(server);
            assert_eq!(report.failed, 0, "{:?}", report.last_error);
            assert!(outbox.is_empty());
        }
        paths
    }

    #[test]
    fn more_than_a_batch_comes_and_goes() {
        let server = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = client("127.0.0.1:0");
        for number in 0..40_u8 {
            client.send_to(&[number; 20], server.local()).unwrap();
        }
        let paths = echo(&server, 40);
        assert!(paths.iter().all(|path| path.peer == client.local_addr().unwrap()));
        for number in 0..40_u8 {
            let mut buffer = [0; 64];
            assert_eq!(client.recv(&mut buffer).unwrap(), 20);
            assert_eq!(buffer[0], number);
        }
    }

    #[test]
    fn a_wildcard_socket_answers_from_the_address_that_was_asked() {
        for (wildcard, own, from) in
            [("0.0.0.0:0", "127.0.0.77", "127.0.0.1:0"), ("[::]:0", "::1", "[::1]:0")]
        {
            let Ok(server) = UdpSocket::bind(wildcard.parse().unwrap()) else { continue };
            let client = client(from);
            let asked = SocketAddr::new(own.parse().unwrap(), server.local().port());
            // A connected socket takes answers from nobody else.
            client.connect(asked).unwrap();
            client.send(b"whom?").unwrap();
            echo(&server, 1);
            let mut buffer = [0; 64];
            assert_eq!(client.recv(&mut buffer).unwrap(), 5);
        }
    }

    #[test]
    fn a_datagram_longer_than_a_slot_is_told_apart() {
        let server = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = client("127.0.0.1:0");
        client.send_to(&[1; 65], server.local()).unwrap();
        client.send_to(&[2; 64], server.local()).unwrap();
        echo(&server, 2);
        let mut buffer = [0; 128];
        assert_eq!(client.recv(&mut buffer).unwrap(), 4);
        assert_eq!(client.recv(&mut buffer).unwrap(), 64);
    }

    #[test]
    fn an_address_that_is_not_ours_is_named() {
        let error = UdpSocket::bind("192.0.2.1:5353".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("192.0.2.1:5353"), "{error}");
    }
}
