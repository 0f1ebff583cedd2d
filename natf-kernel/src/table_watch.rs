//! Notices at once when a table of ours is removed: other programs flush rulesets.
//!
//! [`TableWatch`] becomes readable when nftables changes. Set elements come and go with every flow; a filter in the
//! kernel keeps these changes from waking anybody. The kernel tells a transaction in one piece, and the filter sees its
//! beginning only: who begins with an element and goes on to remove our table is not noticed. So this shortens the
//! time until somebody looks, and does not replace looking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_bindings::utils::IterableChunks;

use crate::error::KernelError;
use crate::netlink::{Message, Messages, open as open_netlink};
use crate::sys;

const GROUP_NFTABLES: u32 = 1 << 6;
const DELETE_TABLE: u16 = 0xa02;
const NEW_ELEMENT: u16 = 0xa0c;
const DELETE_ELEMENT: u16 = 0xa0e;
const NEW_GENERATION: u16 = 0xa0f;
const FAMILY: u8 = 2;
const TABLE_NAME: u16 = 1;
const MODULE: &str = "nf_tables";

/// Becomes readable when tables, chains or rules change.
#[derive(Debug)]
pub struct TableWatch {
    fd: OwnedFd,
    input: Vec<u8>,
}

impl TableWatch {
    /// Starts watching. Needs CAP_NET_ADMIN.
    ///
    /// # Errors
    /// Where the kernel has no nftables, or refuses.
    pub fn open() -> Result<Self, KernelError> {
        let fd = open_netlink(libc::NETLINK_NETFILTER, GROUP_NFTABLES, MODULE, 1 << 18)?;
        sys::attach_filter(fd.as_fd(), &mut filter())
            .map_err(|e| KernelError::system("attach a socket filter", "", e))?;
        Ok(Self { fd, input: vec![0; 16384] })
    }

    /// Reads all news that wait; true where the table of family `ip` may have been removed.
    ///
    /// # Errors
    /// Where the socket fails.
    pub fn drain(&mut self, table: &str) -> Result<bool, KernelError> {
        let mut removed = false;
        loop {
            match sys::receive(self.fd.as_fd(), &mut self.input) {
                // What does not fit is not known: it may be anything.
                Ok(length) => {
                    removed |= self.input.get(..length).is_none_or(|datagram| {
                        Messages::new(datagram).any(|message| is_removal(&message, table))
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(removed),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // News were lost.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => removed = true,
                Err(error) => return Err(KernelError::system("watch the nftables tables", MODULE, error)),
            }
        }
    }
}

impl AsFd for TableWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn is_removal(message: &Message<'_>, table: &str) -> bool {
    let is_named = |name: &[u8]| name.strip_suffix(&[0]).unwrap_or(name) == table.as_bytes();
    message.kind == DELETE_TABLE
        && message.payload.first() == Some(&FAMILY)
        && IterableChunks::new(message.attributes())
            .any(|(header, value)| header.r#type == TABLE_NAME && is_named(value))
}

/// Classic BPF: passes what does not begin with a set element or the number of a new generation.
fn filter() -> [libc::sock_filter; 6] {
    const LOAD_HALF: u16 = 0x28; // ldh abs, as if in network byte order
    const JUMP_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const KIND: u32 = 4;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let kind = |kind: u16| u32::from(u16::from_be_bytes(kind.to_ne_bytes()));
    [
        step(LOAD_HALF, 0, 0, KIND),
        step(JUMP_EQUAL, 3, 0, kind(NEW_ELEMENT)),
        step(JUMP_EQUAL, 2, 0, kind(DELETE_ELEMENT)),
        step(JUMP_EQUAL, 1, 0, kind(NEW_GENERATION)),
        step(RETURN, 0, 0, u32::MAX),
        step(RETURN, 0, 0, 0),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{begin_message, end_message};
    use netlink_bindings::utils::push_header;

    fn news(kind: u16, family: u8, name: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = begin_message(&mut out, kind, 0, 0, family, 0);
        push_header(&mut out, TABLE_NAME, u16::try_from(name.len()).unwrap());
        out.extend(name);
        end_message(&mut out, start);
        out
    }

    #[test]
    fn only_the_removal_of_the_table_itself_counts() {
        let counts = |bytes: Vec<u8>| Messages::new(&bytes).any(|message| is_removal(&message, "natf_end"));
        assert!(counts(news(DELETE_TABLE, FAMILY, b"natf_end\0")));
        assert!(!counts(news(DELETE_TABLE, FAMILY, b"natf\0")));
        assert!(!counts(news(DELETE_TABLE, 1, b"natf_end\0")));
        assert!(!counts(news(DELETE_TABLE - 2, FAMILY, b"natf_end\0")));
    }
}
