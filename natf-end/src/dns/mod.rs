//! DNS answer rewriting without I/O (N1, N2): bytes of a question and of its answer in, bytes of a reply out.
//!
//! ```text
//!   client's packet -> Question -> plan()  -> ask upstream -> settle() -> reply for the client
//!                                   Homes      (as asked,      Names: NRT and plain routers (N10)
//!                                              or for A)
//! ```
//!
//! Replies are *flattened*: whatever chain of aliases leads to the router's address, the client gets one record
//! `alice.home.example.net A V`. A cache behind us would else keep `alice CNAME home` and later combine it with
//! the router's real address.

mod answer;
mod homes;
mod plan;
mod question;
mod reply;
#[cfg(test)]
pub(crate) mod tests;

pub use answer::{Addresses, ReplyError, is_reply_to};
pub use homes::{Homes, HomesError, Ours, Scope};
pub use plan::{Names, Plan, Settled, plan, settle};
pub use question::{NameText, Question, Unreadable};
pub(crate) use reply::failure_of;
pub use reply::{a_query, a_query_for, format_error, no_data, reverse_reply, server_failure, truncated};
