//! What an upstream's reply says: the IPv4 addresses at the end of its alias chain.

use std::{net::Ipv4Addr, time::Duration};

use domain::{
    base::{
        Message, Name, ParsedName, ToName,
        iana::{Class, Opcode, Rcode, Rtype},
    },
    rdata::{A, Cname},
};
use thiserror::Error;

use super::question::Question;

/// Records looked at per pass; a longer answer is read up to here.
const RECORDS_MAX: usize = 128;
/// Aliases followed (the figure of widespread resolvers).
const ALIASES_MAX: usize = 11;
/// Addresses taken from one answer.
const ADDRESSES_MAX: usize = 16;

/// A reply that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplyError {
    /// It ends early, or a name or record in it is broken.
    #[error("malformed DNS reply")]
    Malformed,
    /// Its aliases run in a circle or are too many.
    #[error("DNS reply with more than {ALIASES_MAX} aliases")]
    AliasChain,
}

/// The addresses that a name has, through any aliases inside the answer section (N1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// In the order of the answer, without repetitions; never empty.
    pub list: Vec<Ipv4Addr>,
    /// The smallest TTL of the chain.
    pub ttl: Duration,
    /// Whether the answer carries signatures.
    pub signed: bool,
}

impl Addresses {
    /// Reads the addresses of the name asked for out of `reply`; `None` if it has none there.
    pub fn of(reply: &Message<[u8]>) -> Result<Option<Self>, ReplyError> {
        let asked = reply.sole_question().map_err(|_| ReplyError::Malformed)?;
        // An alias target may be compressed; it is followed in the shape in which it stands in the message.
        let mut owner: ParsedName<&[u8]> = *asked.qname();
        let mut found = Self { list: Vec::new(), ttl: Duration::MAX, signed: false };
        for _ in 0..=ALIASES_MAX {
            let mut next = None;
            for record in reply.answer().map_err(|_| ReplyError::Malformed)?.take(RECORDS_MAX) {
                let record = record.map_err(|_| ReplyError::Malformed)?;
                found.signed |= record.rtype() == Rtype::RRSIG;
                if record.class() != Class::IN || !record.owner().name_eq(&owner) {
                    continue;
                }
                let ttl = Duration::from_secs(record.ttl().as_secs().into());
                if let Some(a) = record.to_record::<A>().map_err(|_| ReplyError::Malformed)? {
                    found.push(a.data().addr(), ttl);
                } else if next.is_none()
                    && let Some(alias) = record.to_record::<Cname<_>>().map_err(|_| ReplyError::Malformed)?
                {
                    found.ttl = found.ttl.min(ttl);
                    next = Some(alias.into_data().into_cname());
                }
            }
            match next {
                _ if !found.list.is_empty() => return Ok(Some(found)),
                Some(alias) => owner = alias,
                None => return Ok(None),
            }
        }
        Err(ReplyError::AliasChain)
    }

    fn push(&mut self, address: Ipv4Addr, ttl: Duration) {
        self.ttl = self.ttl.min(ttl);
        if self.list.len() < ADDRESSES_MAX && !self.list.contains(&address) {
            self.list.push(address);
        }
    }
}

/// Whether `reply` belongs to `query`: id, opcode and question are the same (RFC 5452, 9.1).
///
/// A server that understands nothing may leave the question out, but then only to say so.
pub fn is_reply_to(query: &[u8], reply: &[u8]) -> bool {
    let (Ok(query), Ok(reply)) = (Message::from_slice(query), Message::from_slice(reply)) else {
        return false;
    };
    let (asked, answered) = (query.header(), reply.header());
    if !answered.qr() || answered.id() != asked.id() || answered.opcode() != asked.opcode() {
        return false;
    }
    if reply.header_counts().qdcount() == 0 {
        let helpless = [Rcode::FORMERR, Rcode::NOTIMP, Rcode::SERVFAIL, Rcode::REFUSED];
        // RFC 2136, 3.8: the answer to an UPDATE may be the header alone.
        return answered.opcode() == Opcode::UPDATE || helpless.contains(&answered.rcode());
    }
    match (query.first_question(), reply.first_question()) {
        (Some(one), Some(other)) => {
            one.qtype() == other.qtype()
                && one.qclass() == other.qclass()
                && one.qname().name_eq(other.qname())
                && reply.header_counts().qdcount() == query.header_counts().qdcount()
        }
        _ => false,
    }
}

/// Whether the answer section has an alias for anything.
pub(super) fn has_alias(reply: &Message<[u8]>) -> Result<bool, ReplyError> {
    for record in reply.answer().map_err(|_| ReplyError::Malformed)?.take(RECORDS_MAX) {
        let record = record.map_err(|_| ReplyError::Malformed)?;
        if matches!(record.rtype(), Rtype::CNAME | Rtype::DNAME) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the name asked for in `reply` is that of `question`.
pub(super) fn is_about(reply: &Message<[u8]>, question: &Question<'_>) -> bool {
    let same =
        |asked: domain::base::Question<ParsedName<&[u8]>>| asked.qname().name_eq(question.asked().qname());
    reply.sole_question().is_ok_and(same)
}

/// Parses a text into a wire name.
pub(super) fn wire_name(text: &str) -> Option<Name<Vec<u8>>> {
    Name::vec_from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{Reply, query, reply},
        *,
    };

    fn addresses(reply: Reply) -> Result<Option<Addresses>, ReplyError> {
        let packet = reply.build();
        Addresses::of(Message::from_slice(&packet).unwrap())
    }

    fn g2(n: u8) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, n)
    }

    #[test]
    fn n1_wildcard_a_is_read() {
        let found = addresses(reply("alice.home.example.net").a("Alice.home.example.net", 300, g2(7)));
        let expected = Addresses { list: vec![g2(7)], ttl: Duration::from_secs(300), signed: false };
        assert_eq!(found, Ok(Some(expected)));
    }

    #[test]
    fn n1_aliases_are_followed_in_any_order_with_the_smallest_ttl() {
        let found = addresses(
            reply("alice.home.example.net")
                .a("gate.example.org", 300, g2(7))
                .cname("home.example.net", 20, "gate.example.org")
                .cname("alice.home.example.net", 600, "home.example.net"),
        );
        let expected = Addresses { list: vec![g2(7)], ttl: Duration::from_secs(20), signed: false };
        assert_eq!(found, Ok(Some(expected)));
    }

    #[test]
    fn n1_several_addresses_are_read_without_repetitions() {
        let name = "alice.home.example.net";
        let found = addresses(reply(name).a(name, 60, g2(1)).a(name, 50, g2(2)).a(name, 60, g2(1)));
        let expected = Addresses { list: vec![g2(1), g2(2)], ttl: Duration::from_secs(50), signed: false };
        assert_eq!(found, Ok(Some(expected)));
    }

    #[test]
    fn addresses_of_other_names_do_not_count() {
        let name = "alice.home.example.net";
        assert_eq!(addresses(reply(name).a("bob.home.example.net", 60, g2(1))), Ok(None));
        assert_eq!(addresses(reply(name)), Ok(None));
    }

    #[test]
    fn circles_end() {
        let (a, b) = ("alice.home.example.net", "bob.home.example.net");
        assert_eq!(addresses(reply(a).cname(a, 60, b).cname(b, 60, a)), Err(ReplyError::AliasChain));
        let mut long = reply("n0.example.net");
        for n in 0..20 {
            long = long.cname(&format!("n{n}.example.net"), 60, &format!("n{}.example.net", n + 1));
        }
        assert_eq!(addresses(long), Err(ReplyError::AliasChain));
    }

    #[test]
    fn reply_must_match_the_query() {
        let asked = query("alice.home.example.net", Rtype::A).build();
        let good = reply("ALICE.home.example.net").build();
        assert!(is_reply_to(&asked, &good));
        assert!(!is_reply_to(&asked, &asked), "a query is no reply");
        assert!(!is_reply_to(&asked, &reply("bob.home.example.net").build()));
        assert!(!is_reply_to(&asked, &reply("alice.home.example.net").qtype(Rtype::AAAA).build()));
        let mut other_id = good.clone();
        other_id[0] ^= 1;
        assert!(!is_reply_to(&asked, &other_id));
        assert!(!is_reply_to(&asked, &good[..11]));
    }

    #[test]
    fn reply_without_question_may_only_be_a_failure() {
        let asked = query("alice.home.example.net", Rtype::A).build();
        let mut bare = reply("alice.home.example.net").build()[..12].to_vec();
        bare[4..12].fill(0);
        assert!(!is_reply_to(&asked, &bare));
        bare[3] |= 1;
        assert!(is_reply_to(&asked, &bare));
    }
}
