//! Atomic batches of nftables messages: either all of a batch takes effect, or nothing.
//!
//! A batch is one datagram: BATCH_BEGIN, the messages, BATCH_END. The kernel reports every message that
//! fails, and acknowledges the last one; a failure of the batch as a whole is reported on its first.

use std::time::Duration;

use crate::error::KernelError;
use crate::netlink::{ACK, NLMSG_ERROR, Netlink, REQUEST, begin_message, end_message};

const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NFTABLES: u16 = 10;
/// All own tables are of family `ip`.
const FAMILY: u8 = 2;
const MODULE: &str = "nf_tables";
/// The first refused message of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Its place in the batch; none if the batch was refused as a whole.
    pub place: Option<usize>,
    pub errno: i32,
    pub remark: Option<String>,
}

/// A command socket for nftables.
#[derive(Debug)]
pub(crate) struct Nft {
    pub netlink: Netlink,
    first: u32,
    count: u32,
    last_start: usize,
}

impl Nft {
    pub fn open() -> Result<Self, KernelError> {
        let netlink = Netlink::open(libc::NETLINK_NETFILTER, MODULE)?;
        Ok(Self { netlink, first: 0, count: 0, last_start: 0 })
    }

    /// Starts a batch.
    pub fn begin(&mut self) {
        self.first = self.netlink.start(1);
        self.count = 0;
        let start = begin_message(&mut self.netlink.out, BATCH_BEGIN, REQUEST, self.first, 0, NFTABLES);
        end_message(&mut self.netlink.out, start);
    }

    /// Adds a message, whose attributes `body` writes.
    pub fn push(&mut self, kind: u16, flags: u16, body: impl FnOnce(&mut Vec<u8>)) {
        let sequence = self.netlink.reserve();
        self.last_start = begin_message(&mut self.netlink.out, kind, REQUEST | flags, sequence, FAMILY, 0);
        body(&mut self.netlink.out);
        end_message(&mut self.netlink.out, self.last_start);
        self.count += 1;
    }

    /// Sends the batch, which must hold a message, and waits for the kernel's decision.
    pub fn commit(&mut self, action: &dyn Fn() -> String) -> Result<Option<Refusal>, KernelError> {
        self.acknowledge_last();
        let sequence = self.netlink.reserve();
        let start = begin_message(&mut self.netlink.out, BATCH_END, REQUEST, sequence, 0, NFTABLES);
        end_message(&mut self.netlink.out, start);
        self.decide(action)
    }

    /// Sends the batch without its end: the kernel checks every message and then undoes them all.
    pub fn try_out(&mut self, action: &dyn Fn() -> String) -> Result<Option<Refusal>, KernelError> {
        self.acknowledge_last();
        self.decide(action)
    }

    fn acknowledge_last(&mut self) {
        let place = self.last_start + 6..self.last_start + 8;
        if let Some([low, high]) = self.netlink.out.get_mut(place) {
            [*low, *high] = (u16::from_ne_bytes([*low, *high]) | ACK).to_ne_bytes();
        }
    }

    fn decide(&mut self, action: &dyn Fn() -> String) -> Result<Option<Refusal>, KernelError> {
        let (first, count) = (self.first, self.count);
        let mut refusal = None;
        self.netlink.send(action)?;
        self.netlink.receive(action, |message| {
            let place = message.sequence.wrapping_sub(first);
            if message.kind != NLMSG_ERROR || place > count {
                return false;
            }
            if message.errno() != 0 && refusal.is_none() {
                let place = place.checked_sub(1).and_then(|place| usize::try_from(place).ok());
                refusal = Some(Refusal { place, errno: message.errno(), remark: message.remark() });
            }
            place == 0 || place == count
        })?;
        Ok(refusal)
    }

    /// The error that a refusal is, where it is not expected.
    pub fn error(&self, action: String, refusal: Refusal) -> KernelError {
        self.netlink.refused(action, refusal.errno, refusal.remark)
    }
}

/// A time span as nftables takes it: milliseconds, and zero would mean "for ever".
pub(crate) fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1)
}
