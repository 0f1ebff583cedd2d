//! A notification under way, and what an answer has to fit.

use std::{net::Ipv4Addr, rc::Rc, time::Instant};

use natf_proto::{HostName, NONCE_LEN, NOTICE_LEN, NoticeMessage};

use super::{capability::RouterKey, origin::Origin, routers::RouterRow};

/// What is announced to whom: questions that agree in this share one notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    pub router: Ipv4Addr,
    pub origin: Origin,
    pub name: HostName,
}

/// One notification with its repetitions.
#[derive(Debug)]
pub(super) struct Exchange {
    pub subject: Subject,
    pub row: Rc<RouterRow>,
    /// Id of the DNS question that came first.
    pub id: u16,
    /// Counters and nonces of what was sent.
    pub sent: Vec<Sent>,
    /// Times that it was sent because no answer came.
    pub tries: u8,
    /// Times that the router asked for a higher counter.
    pub stale: u8,
    /// Times that it came back as it was sent.
    pub mirrors: u8,
    /// Whether somebody waits.
    pub awaited: bool,
    /// When the next thing happens.
    pub due: Instant,
    /// When nobody waits any longer.
    pub end: Instant,
}

impl Exchange {
    /// Whom it tells, under which key.
    pub fn router(&self) -> RouterKey {
        (self.subject.router, self.row.keys.id())
    }
}

/// What tells an answer, or a mirror, of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    pub counter: u64,
    nonce: [u8; NONCE_LEN],
}

impl Sent {
    pub fn of(counter: u64, message: &NoticeMessage) -> Self {
        Self { counter, nonce: nonce(message).unwrap_or([0; NONCE_LEN]) }
    }

    /// Whether `bytes` are that message, sent back: nobody off the path knows its nonce.
    pub fn is_mirrored_by(&self, bytes: &[u8]) -> bool {
        nonce(bytes) == Some(self.nonce)
    }
}

/// The nonce stands before the tag, at the end.
fn nonce(message: &[u8]) -> Option<[u8; NONCE_LEN]> {
    const AT: usize = NOTICE_LEN - 16 - NONCE_LEN;
    message.get(AT..)?.first_chunk().copied()
}
