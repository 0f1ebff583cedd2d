//! The system calls that the standard library has no safe form of.
//!
//! With `udp_batch.rs` the only file of the project with `unsafe`. Each function takes and returns safe types, checks
//! nothing but memory, and leaves errno in an [`io::Error`]. Structures of the C library are zeroed and
//! then filled field by field, because their padding differs between libraries (musl, glibc) and words.

use std::ffi::CStr;
use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// How many datagrams one `recvmmsg` or `sendmmsg` carries.
pub(crate) const BATCH: usize = 32;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The size of a structure as the kernel's socklen_t. Only small structures are passed.
pub(crate) fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).unwrap_or(0)
}

pub(crate) fn family(number: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(number).unwrap_or(0)
}

/// Opens a non-blocking socket that is not inherited by child processes.
pub(crate) fn socket(domain: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes no pointers.
    let fd =
        check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, protocol) })?;
    // SAFETY: the kernel has just created this descriptor and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds a netlink socket to a port of the kernel's choice and to the groups of the mask.
pub(crate) fn bind_netlink(fd: BorrowedFd<'_>, groups: u32) -> io::Result<()> {
    // SAFETY: sockaddr_nl consists of integers: all zeroes is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { mem::zeroed() };
    address.nl_family = family(libc::AF_NETLINK);
    address.nl_groups = groups;
    let pointer = ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: pointer and length describe `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), pointer, length_of::<libc::sockaddr_nl>()) }).map(drop)
}

/// Gives SIGPIPE back its default action, which ends the process.
pub(crate) fn end_on_broken_pipe() {
    // SAFETY: no handler is installed, so nothing of this program runs when the signal comes.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Sets a socket option that is an integer.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let pointer = ptr::from_ref(&value).cast::<libc::c_void>();
    // SAFETY: pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, pointer, length_of::<libc::c_int>()) })
        .map(drop)
}

/// Reads a socket option that is an integer.
pub(crate) fn option(fd: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let mut length = length_of::<libc::c_int>();
    let pointer = ptr::from_mut(&mut value).cast::<libc::c_void>();
    // SAFETY: pointer and length describe `value`; the kernel writes at most `length` bytes.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, pointer, &mut length) })?;
    Ok(value)
}

/// Attaches a classic BPF program that decides which datagrams the socket receives.
pub(crate) fn attach_filter(fd: BorrowedFd<'_>, program: &mut [libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let description = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let pointer = ptr::from_ref(&description).cast::<libc::c_void>();
    let size = length_of::<libc::sock_fprog>();
    // SAFETY: `description` and the program that it points to outlive the call; the kernel copies both.
    check(unsafe {
        libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, pointer, size)
    })
    .map(drop)
}

/// Sends one datagram to the socket's peer (for netlink: the kernel).
pub(crate) fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length describe `bytes`.
    check_size(unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

pub(crate) fn socket_address(address: SocketAddrV4) -> libc::sockaddr_in {
    // SAFETY: sockaddr_in consists of integers: all zeroes is a valid value.
    let mut raw: libc::sockaddr_in = unsafe { mem::zeroed() };
    raw.sin_family = family(libc::AF_INET);
    raw.sin_port = address.port().to_be();
    raw.sin_addr.s_addr = u32::from_ne_bytes(address.ip().octets());
    raw
}

/// Sends one datagram to an IPv4 address.
pub(crate) fn send_to(fd: BorrowedFd<'_>, bytes: &[u8], destination: Ipv4Addr) -> io::Result<usize> {
    let address = socket_address(SocketAddrV4::new(destination, 0));
    let pointer = ptr::from_ref(&address).cast::<libc::sockaddr>();
    let size = length_of::<libc::sockaddr_in>();
    // SAFETY: both pointer and length pairs describe values that outlive the call.
    check_size(unsafe {
        libc::sendto(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL, pointer, size)
    })
}

/// Sends one datagram to an IPv4 address from an own one (IP_PKTINFO), by that one's route; 0.0.0.0 leaves both to the
/// kernel.
pub(crate) fn send_from(
    fd: BorrowedFd<'_>,
    bytes: &[u8],
    source: Ipv4Addr,
    destination: SocketAddrV4,
) -> io::Result<usize> {
    /// Room for one control message, aligned as it is.
    #[repr(C, align(8))]
    struct Control([u8; 64]);
    let mut control = Control([0; 64]);
    let mut address = socket_address(destination);
    // The kernel only reads from the vector of sendmsg(2), though its type is mutable.
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: in_pktinfo consists of integers: all zeroes is a valid value.
    let mut info: libc::in_pktinfo = unsafe { mem::zeroed() };
    info.ipi_spec_dst.s_addr = u32::from_ne_bytes(source.octets());
    // SAFETY: msghdr consists of integers and pointers: all zeroes (null) is a valid value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_name = ptr::from_mut(&mut address).cast();
    header.msg_namelen = length_of::<libc::sockaddr_in>();
    header.msg_iov = &mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: the macro computes from numbers only; a header (16 bytes at most) and 12 bytes of data fit.
    header.msg_controllen = unsafe { libc::CMSG_SPACE(length_of::<libc::in_pktinfo>()) } as _;
    // SAFETY: the control memory is zeroed, aligned and has room for one header and an in_pktinfo, as computed above.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = libc::IPPROTO_IP;
        (*message).cmsg_type = libc::IP_PKTINFO;
        (*message).cmsg_len = libc::CMSG_LEN(length_of::<libc::in_pktinfo>()) as _;
        libc::CMSG_DATA(message).cast::<libc::in_pktinfo>().write_unaligned(info);
    }
    // SAFETY: the header points to address, vector, bytes and control memory, which outlive the call.
    check_size(unsafe { libc::sendmsg(fd.as_raw_fd(), &header, libc::MSG_NOSIGNAL) })
}

/// Binds an IPv4 socket.
pub(crate) fn bind_ipv4(fd: BorrowedFd<'_>, address: SocketAddrV4) -> io::Result<()> {
    let address = socket_address(address);
    let pointer = ptr::from_ref(&address).cast::<libc::sockaddr>();
    // SAFETY: pointer and length describe `address`, which outlives the call.
    check(unsafe { libc::bind(fd.as_raw_fd(), pointer, length_of::<libc::sockaddr_in>()) }).map(drop)
}

/// Receives one datagram. The result is its full length, also if `buffer` was too small for it.
pub(crate) fn receive(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: pointer and length describe `buffer`, which nobody else holds during the call.
    check_size(unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// Receives up to [`BATCH`] datagrams at once into equal slots of `storage`.
///
/// Writes the length of each into `lengths`, cut to the slot, and returns how many came.
pub(crate) fn receive_batch(
    fd: BorrowedFd<'_>,
    storage: &mut [u8],
    slot: usize,
    lengths: &mut [usize; BATCH],
) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: mmsghdr consists of integers and pointers: all zeroes (null) is a valid value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut slots: libc::c_uint = 0;
    for ((vector, header), part) in
        vectors.iter_mut().zip(headers.iter_mut()).zip(storage.chunks_exact_mut(slot.max(1)))
    {
        *vector = libc::iovec { iov_base: part.as_mut_ptr().cast(), iov_len: part.len() };
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        slots += 1;
    }
    // SAFETY: the first `slots` headers point to vectors of this frame, and these to disjoint parts of
    // `storage`, which is borrowed mutably; the timeout may be null.
    let received = check(unsafe {
        libc::recvmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), slots, libc::MSG_DONTWAIT as _, ptr::null_mut())
    })?;
    for (length, header) in lengths.iter_mut().zip(&headers) {
        *length = usize::try_from(header.msg_len).unwrap_or(0).min(slot);
    }
    Ok(usize::try_from(received).unwrap_or(0))
}

/// Sends up to [`BATCH`] datagrams at once; returns how many the kernel took.
pub(crate) fn send_batch(fd: BorrowedFd<'_>, packets: &[(&[u8], Ipv4Addr)]) -> io::Result<usize> {
    let mut vectors = [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH];
    // SAFETY: mmsghdr consists of integers and pointers: all zeroes (null) is a valid value.
    let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut addresses = [socket_address(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)); BATCH];
    let mut count: libc::c_uint = 0;
    let places = vectors.iter_mut().zip(headers.iter_mut()).zip(addresses.iter_mut());
    for (((vector, header), address), (bytes, destination)) in places.zip(packets) {
        *address = socket_address(SocketAddrV4::new(*destination, 0));
        // The kernel only reads from the vectors of sendmmsg(2), though their type is mutable.
        *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        header.msg_hdr.msg_name = ptr::from_mut(address).cast();
        header.msg_hdr.msg_namelen = length_of::<libc::sockaddr_in>();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        count += 1;
    }
    // SAFETY: the first `count` headers point to vectors and addresses of this frame, and these to the
    // packets' bytes, which are borrowed for the call and only read.
    let sent = check(unsafe {
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_NOSIGNAL as _)
    })?;
    Ok(usize::try_from(sent).unwrap_or(0))
}

/// Waits until the socket has something to read; false when the time is over.
pub(crate) fn wait_readable(fd: BorrowedFd<'_>, limit: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = libc::c_int::try_from(limit.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the pointer describes one pollfd, which outlives the call.
    let ready = check(unsafe { libc::poll(&mut entry, 1, milliseconds) });
    match ready {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// The index of a network interface.
pub(crate) fn interface_index(name: &CStr) -> io::Result<u32> {
    // SAFETY: the pointer is a zero-terminated string that outlives the call.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// The name of a network interface.
pub(crate) fn interface_name(index: u32) -> io::Result<String> {
    let mut name = [0u8; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the IF_NAMESIZE bytes that the function may write.
    if unsafe { libc::if_indextoname(index, name.as_mut_ptr().cast()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    let text = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    Ok(text.to_string_lossy().into_owned())
}
