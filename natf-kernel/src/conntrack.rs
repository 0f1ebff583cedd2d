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

mod entry;
mod message;

use std::time::Duration;

use crate::error::KernelError;
use crate::netlink::{ACK, CREATE, DUMP, EXCL, Message, NLMSG_DONE, NLMSG_ERROR, Netlink, REQUEST};

pub use entry::{
    Counters, Entry, Flow, Insert, InsertError, Label, STATUS_ASSURED, STATUS_CONFIRMED, STATUS_DST_NAT,
    STATUS_SEEN_REPLY, STATUS_SRC_NAT, TcpState,
};
use message::{emit, parse_entry, push_insert, push_tuple, seconds};

const CT_NEW: u16 = 0x100;
const CT_GET: u16 = 0x101;
const CT_DELETE: u16 = 0x102;

const MODULE: &str = "nf_conntrack_netlink";

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_numbers_wrap() {
        let numbers: Vec<_> = sequences(u32::MAX).take(2).collect();
        assert_eq!(numbers, [u32::MAX, 0]);
    }
}
