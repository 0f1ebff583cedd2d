//! Names whose router is told who is about to connect, before the client gets the address (T4).
//!
//! ```text
//!  answer with addresses ─▶ announced name? ─ no ─▶ client
//!                               │ yes
//!                               ▼
//!                           Announcer ─▶ Verdict::Send: addresses, short TTL
//!                                     └▶ Verdict::Refuse: no address, with the reason (RFC 8914)
//! ```
//!
//! Other types that lead to a host (AAAA, HTTPS, SVCB) are empty for such names: they would lead around the announcement.

use std::{
    collections::BTreeSet,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
};

use domain::base::iana::Rtype;

use super::question::labels;

/// Who is about to connect where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// The client that asks.
    pub client: IpAddr,
    /// The id of its DNS message (T5).
    pub id: u16,
    /// The name, in lower case, without the final dot; None: no host name.
    pub name: Option<String>,
    /// The addresses of the answer.
    pub addresses: Vec<Ipv4Addr>,
}

/// What becomes of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client may have these addresses.
    Send(Vec<Ipv4Addr>),
    /// The client gets no address, but this extended error (RFC 8914) and these words.
    Refuse(u16, String),
}

/// A verdict in the making.
pub type Announcing<'a> = Pin<Box<dyn Future<Output = Verdict> + 'a>>;

/// Tells routers.
pub trait Announcer {
    /// Tells the router of the name, and waits for its answer within a bounded time.
    fn announce(&self, announcement: Announcement) -> Announcing<'_>;
}

/// What an announced name's question is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// For addresses that are announced.
    Address,
    /// For something that leads around the announcement. The zone's name starts at this octet of the question's.
    Around(usize),
}

/// The announced domains.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// In wire format and lower case.
    names: BTreeSet<Box<[u8]>>,
}

impl Domains {
    /// The names, in lower case and without the final dot, and all below them.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().filter_map(wire_name).collect() }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Where in a name (in wire format and lower case) the longest announced domain starts that it is in.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        if self.names.is_empty() {
            return None;
        }
        let mut start = 0;
        for label in labels(name) {
            if self.names.contains(name.get(start..)?) {
                return Some(start);
            }
            start += label.len() + 1;
        }
        None
    }

    /// What a question for this name and type is.
    pub fn classify(&self, name: &[u8], qtype: Rtype) -> Option<Announced> {
        match qtype {
            Rtype::A => self.find(name).map(|_| Announced::Address),
            Rtype::AAAA | Rtype::HTTPS | Rtype::SVCB => self.find(name).map(Announced::Around),
            _ => None,
        }
    }
}

fn wire_name(text: &str) -> Option<Box<[u8]>> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    for label in text.split('.') {
        wire.push(u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?);
        wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
    }
    wire.push(0);
    (wire.len() <= super::wire::NAME_MAX).then(|| wire.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        Domains::new(["home.example.net", "example.org", "guest.home.example.net"])
    }

    #[test]
    fn the_longest_domain_is_found_on_label_borders() {
        for (name, expected) in [
            ("home.example.net", Some(0)),
            ("alice.home.example.net", Some(6)),
            ("a.b.home.example.net", Some(4)),
            ("x.guest.home.example.net", Some(2)),
            ("notmyhome.example.net", None),
            ("example.net", None),
            ("www.example.org", Some(4)),
            ("org", None),
        ] {
            assert_eq!(domains().find(&wire_name(name).unwrap()), expected, "{name}");
        }
        assert_eq!(domains().find(b"\0"), None);
        assert_eq!(Domains::default().find(b"\0"), None);
    }

    #[test]
    fn what_leads_around_the_announcement_is_told_apart_from_addresses() {
        let name = wire_name("alice.home.example.net").unwrap();
        assert_eq!(domains().classify(&name, Rtype::A), Some(Announced::Address));
        for rtype in [Rtype::AAAA, Rtype::HTTPS, Rtype::SVCB] {
            assert_eq!(domains().classify(&name, rtype), Some(Announced::Around(6)));
        }
        assert_eq!(domains().classify(&name, Rtype::MX), None);
        assert_eq!(domains().classify(&wire_name("example.net").unwrap(), Rtype::A), None);
    }
}
