//! NAT-f messages: wire formats, sealing, cookies and replay protection. No sockets, no clock, no randomness of its own.
//!
//! ```text
//!   EN                                                    NAT-f router
//!   MappingRequest ──emit──▶ Body ──seal──▶ Message ═══▶ Envelope::parse ──open──▶ Body ──parse──▶ MappingRequest
//!   (N5)                     128 B          184 B         ICMP ECHO or UDP                              (N6)
//!
//!   MappingResponse ◀─parse── Body ◀─open── Message ◀═══ seal ◀── Body ◀─emit── MappingResponse, Stale, Cookie …
//!   (N8)
//! ```
//!
//! Every message is exactly [`MESSAGE_LEN`] bytes, questions and answers alike: an answer never amplifies, and the
//! length of a host name does not show. The layout is drawn in `docs/protocol.md`.
//!
//! ```text
//!   TSN server                                            TSN router
//!   Notification ──emit──▶ NoticeBody ──seal_notice──▶ ═══▶ Notice::parse ──open_notice──▶ NoticeBody ──▶ Notification
//!   (T4)                   72 B                     128 B   ICMP ECHO
//!
//!   NotificationAnswer ◀───────────────────────────── ◀═══ guide table row ready, refused, or stale (T4)
//! ```

mod cookie;
mod cursor;
mod end;
mod envelope;
mod error;
mod host_name;
mod keys;
mod notice;
mod notification;
mod random;
mod reason;
mod replay;
mod request;
mod response;
mod rising;
mod stale;

pub use cookie::{COOKIE_LEN, Cookie, CookieJar, CookieOffer};
pub use end::{EndRequest, EndResponse};
pub use envelope::{
    BODY_LEN, Body, Direction, Envelope, HEADER_LEN, Header, KeyId, Kind, MAGIC, MESSAGE_LEN, Message,
    NONCE_LEN, VERSION, assemble_anonymous,
};
pub use error::{OpenError, ParseError};
pub use host_name::{HostName, MAX_HOST_NAME};
pub use keys::{PeerKeys, fingerprint};
pub use notice::{NOTICE_BODY_LEN, NOTICE_LEN, Notice, NoticeBody, NoticeKind, NoticeMessage};
pub use notification::{GuideOutcome, Notification, NotificationAnswer};
pub use random::Random;
pub use reason::Reason;
pub use replay::{Freshness, ReplayWindow};
pub use request::{MappingRequest, Transaction, Transport};
pub use response::{Grant, MappingKind, MappingResponse};
pub use rising::RisingCounter;
pub use stale::Stale;
