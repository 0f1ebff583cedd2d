//! A netlink socket for commands: many requests in one datagram, then the kernel's answers.
//!
//! The kernel handles netlink requests inside `sendmsg`, so that the answers are readable when the call
//! returns; waiting for them is bounded nevertheless. Buffers are reused. Answers are told apart by
//! sequence numbers: what an earlier, abandoned request left behind is skipped.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use netlink_bindings::utils::{IterableChunks, parse_u16, parse_u32};

use crate::error::KernelError;
use crate::sys;

/// How long an answer of the kernel is awaited.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// The receive buffer that is asked for.
const RECEIVE_BUFFER: libc::c_int = 1 << 20;
/// What one acknowledgement takes from the receive buffer (an skb with its overhead).
const ACK_COST: usize = 1024;
/// More messages might not fit the send buffer of small machines (160 KiB).
const MOST_MESSAGES: usize = 400;
/// The kernel writes dumps in datagrams of at most this size.
const DATAGRAM: usize = 32 * 1024;

/// Length of a netlink message header.
pub(crate) const HEADER: usize = 16;
/// Length of the nfnetlink header that follows it (family, version, resource).
pub(crate) const NF_HEADER: usize = 4;

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const EXCL: u16 = 0x200;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const APPEND: u16 = 0x800;

pub(crate) const NLMSG_ERROR: u16 = 2;
pub(crate) const NLMSG_DONE: u16 = 3;

const NETLINK_EXT_ACK: libc::c_int = 11;
const NETLINK_CAP_ACK: libc::c_int = 10;
const ERROR_REMARK: u16 = 1;

/// One message out of a datagram.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    pub payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// The errno of an NLMSG_ERROR or NLMSG_DONE message, positive; 0 is success.
    pub fn errno(&self) -> i32 {
        parse_u32(self.payload).map_or(0, |raw| raw.cast_signed().wrapping_neg())
    }

    /// What the kernel remarks on an error (extended ack).
    pub fn remark(&self) -> Option<String> {
        let attributes = self.payload.get(4 + HEADER..)?;
        let (_, text) = IterableChunks::new(attributes).find(|(header, _)| header.r#type == ERROR_REMARK)?;
        Some(String::from_utf8_lossy(text).trim_end_matches('\0').to_owned())
    }

    /// The attributes behind the nfnetlink header.
    pub fn attributes(&self) -> &'a [u8] {
        self.payload.get(NF_HEADER..).unwrap_or_default()
    }
}

/// Iterates over the messages of a datagram; stops at the first one that does not fit.
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::try_from(parse_u32(self.rest)?).ok()?;
        let kind = parse_u16(self.rest.get(4..)?)?;
        let sequence = parse_u32(self.rest.get(8..)?)?;
        let payload = self.rest.get(HEADER..length)?;
        let next = length.checked_next_multiple_of(4)?;
        self.rest = self.rest.get(next..).unwrap_or_default();
        Some(Message { kind, sequence, payload })
    }
}

/// Appends the header of a netlink message; [`end_message`] writes its length.
pub(crate) fn begin_plain(out: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32) -> usize {
    let start = out.len();
    out.extend(0u32.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    out.extend(sequence.to_ne_bytes());
    out.extend(0u32.to_ne_bytes());
    start
}

/// Appends the headers of an nfnetlink message; [`end_message`] writes its length.
pub(crate) fn begin_message(
    out: &mut Vec<u8>,
    kind: u16,
    flags: u16,
    sequence: u32,
    family: u8,
    resource: u16,
) -> usize {
    let start = begin_plain(out, kind, flags, sequence);
    out.extend([family, 0]);
    out.extend(resource.to_be_bytes());
    start
}

/// Pads the message that starts at `start` and writes its length.
pub(crate) fn end_message(out: &mut Vec<u8>, start: usize) {
    netlink_bindings::utils::align(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start.saturating_add(4)) {
        place.copy_from_slice(&length.to_ne_bytes());
    }
}

/// Opens a netlink socket, bound, non-blocking, with a large receive buffer.
pub(crate) fn open(
    protocol: libc::c_int,
    groups: u32,
    module: &'static str,
    receive_buffer: libc::c_int,
) -> Result<OwnedFd, KernelError> {
    let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol)
        .map_err(|e| KernelError::system(format!("open a netlink socket, protocol {protocol}"), module, e))?;
    sys::bind_netlink(fd.as_fd(), groups)
        .map_err(|e| KernelError::system(format!("bind a netlink socket, protocol {protocol}"), module, e))?;
    // Without the right to exceed net.core.rmem_max the smaller buffer has to do.
    if sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, receive_buffer).is_err() {
        let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, receive_buffer);
    }
    // Old kernels have neither; then acks are longer and without the kernel's remark.
    let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, NETLINK_CAP_ACK, 1);
    let _ = sys::set_option(fd.as_fd(), libc::SOL_NETLINK, NETLINK_EXT_ACK, 1);
    Ok(fd)
}

/// A command socket.
#[derive(Debug)]
pub(crate) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
    /// How many acknowledgements the receive buffer holds.
    capacity: usize,
    module: &'static str,
    /// The request datagram; cleared by [`Netlink::start`].
    pub out: Vec<u8>,
    input: Vec<u8>,
}

impl Netlink {
    /// Opens a command socket. `module` is named when the kernel lacks the function.
    pub fn open(protocol: libc::c_int, module: &'static str) -> Result<Self, KernelError> {
        let fd = open(protocol, 0, module, RECEIVE_BUFFER)?;
        let buffer = sys::option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF)
            .map_err(|e| KernelError::system("read SO_RCVBUF of a netlink socket", "", e))?;
        let capacity = (usize::try_from(buffer).unwrap_or(0) / ACK_COST).clamp(1, MOST_MESSAGES);
        Ok(Self { fd, sequence: 1, capacity, module, out: Vec::new(), input: Vec::new() })
    }

    /// How many acknowledged messages may go into one datagram.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Clears the request datagram and reserves `count` sequence numbers, of which it returns the first.
    pub fn start(&mut self, count: usize) -> u32 {
        self.out.clear();
        let first = self.sequence;
        self.sequence = self.sequence.wrapping_add(u32::try_from(count).unwrap_or(u32::MAX));
        first
    }

    /// Reserves one more sequence number for the datagram that is being written.
    pub fn reserve(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        sequence
    }

    /// Sends the request datagram.
    pub fn send(&mut self, action: &dyn Fn() -> String) -> Result<(), KernelError> {
        loop {
            match sys::send(self.fd.as_fd(), &self.out) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(KernelError::system(action(), self.module, error)),
            }
        }
    }

    /// Hands every message of the next datagrams to `handle` until that says that it has all it needs.
    pub fn receive(
        &mut self,
        action: &dyn Fn() -> String,
        mut handle: impl FnMut(Message<'_>) -> bool,
    ) -> Result<(), KernelError> {
        self.input.resize(DATAGRAM, 0);
        let mut deadline = None;
        loop {
            match sys::receive(self.fd.as_fd(), &mut self.input) {
                Ok(length) => {
                    let Some(datagram) = self.input.get(..length) else {
                        let detail = "datagram longer than the receive buffer";
                        return Err(KernelError::Malformed { action: action(), detail });
                    };
                    for message in Messages::new(datagram) {
                        if handle(message) {
                            return Ok(());
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + ANSWER_LIMIT);
                    let left = deadline.saturating_duration_since(Instant::now());
                    let readable = !left.is_zero()
                        && sys::wait_readable(self.fd.as_fd(), left)
                            .map_err(|e| KernelError::system(action(), self.module, e))?;
                    if !readable && Instant::now() >= deadline {
                        return Err(KernelError::NoAnswer { action: action(), waited: ANSWER_LIMIT });
                    }
                }
                Err(error) => return Err(KernelError::system(action(), self.module, error)),
            }
        }
    }

    /// Sends the datagram and awaits the acknowledgement of its one message; gives the errno, 0 = done.
    pub fn acknowledge(&mut self, first: u32, action: &dyn Fn() -> String) -> Result<i32, KernelError> {
        self.send(action)?;
        let mut errno = 0;
        self.receive(action, |message| {
            let mine = message.sequence == first && message.kind == NLMSG_ERROR;
            if mine {
                errno = message.errno();
            }
            mine
        })?;
        Ok(errno)
    }

    /// The error of a refused request.
    pub fn refused(&self, action: String, errno: i32, remark: Option<String>) -> KernelError {
        let source = io::Error::from_raw_os_error(errno);
        KernelError::Refused { action, module: self.module, remark, source }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_back_the_messages_that_it_writes() {
        let mut out = Vec::new();
        for (kind, body) in [(7u16, &[1u8, 2, 3][..]), (9, &[][..])] {
            let start = begin_message(&mut out, kind, REQUEST, u32::from(kind), 2, 0);
            out.extend(body);
            end_message(&mut out, start);
        }
        let messages: Vec<_> =
            Messages::new(&out).map(|m| (m.kind, m.sequence, m.attributes().len())).collect();
        assert_eq!(messages, [(7, 7, 4), (9, 9, 0)]);
    }

    #[test]
    fn reads_errno_and_remark_of_an_error() {
        let mut payload = (-17i32).to_ne_bytes().to_vec();
        payload.extend([0; HEADER]);
        netlink_bindings::utils::push_header(&mut payload, ERROR_REMARK, 5);
        payload.extend(b"taken");
        let message = Message { kind: NLMSG_ERROR, sequence: 1, payload: &payload };
        assert_eq!((message.errno(), message.remark().as_deref()), (17, Some("taken")));
    }

    proptest! {
        #[test]
        fn survives_any_datagram(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in Messages::new(&bytes) {
                let _ = (message.errno(), message.remark(), message.attributes());
            }
        }
    }
}
