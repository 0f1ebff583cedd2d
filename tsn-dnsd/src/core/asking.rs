//! The query that goes to an upstream server, composed anew: nothing of the client's leaves but its question and its
//! DO and CD bits. No client subnet (RFC 7871), no other option, no id, no letters' case.

use domain::base::iana::Rtype;
use natf_proto::Random;

use super::{
    question::{Key, flag},
    reply::UDP_SIZE,
    wire::{HEADER, NAME_MAX},
};

/// A query under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    bytes: Vec<u8>,
    question_end: usize,
}

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// With letters of random case, which a forger has to guess (draft-vixie-dnsext-dns0x20).
    pub random_case: bool,
    /// With EDNS (RFC 6891).
    pub edns: bool,
}

impl Asking {
    /// Asks what `key` asks.
    pub fn new(key: &Key, manner: Manner, random: &mut dyn Random) -> Self {
        let mut bytes = Vec::with_capacity(HEADER + key.as_slice().len() + 11);
        let mut id = [0; 2];
        random.fill(&mut id);
        bytes.extend_from_slice(&id);
        // AD says that AD in the answer is understood (RFC 6840, 5.7).
        let flags = flag::RD | flag::AD | if key.checking_disabled() { flag::CD } else { 0 };
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, u8::from(manner.edns)]);
        bytes.extend_from_slice(key.question());
        let question_end = bytes.len();
        if manner.random_case
            && let Some(name) = bytes.get_mut(HEADER..HEADER + key.name().len())
        {
            mix_case(name, random);
        }
        if manner.edns {
            bytes.extend_from_slice(&[0]);
            bytes.extend_from_slice(&Rtype::OPT.to_int().to_be_bytes());
            bytes.extend_from_slice(&UDP_SIZE.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, if key.dnssec_ok() { 0x80 } else { 0 }, 0, 0, 0]);
        }
        Self { bytes, question_end }
    }

    /// The query's octets.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Its id.
    pub fn id(&self) -> &[u8] {
        self.bytes.get(..2).unwrap_or_default()
    }

    /// Its question: name, type, class.
    pub fn question(&self) -> &[u8] {
        self.bytes.get(HEADER..self.question_end).unwrap_or_default()
    }
}

fn mix_case(name: &mut [u8], random: &mut dyn Random) {
    let mut bits = [0; NAME_MAX.div_ceil(8)];
    random.fill(&mut bits);
    for (index, letter) in name.iter_mut().enumerate() {
        let bit = bits.get(index / 8).is_some_and(|byte| byte >> (index % 8) & 1 == 1);
        // Lengths are below 64 and no letters.
        if bit && letter.is_ascii_lowercase() {
            *letter = letter.to_ascii_uppercase();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::base::Message;

    use super::{
        super::question::{Question, tests::Query},
        *,
    };

    /// SplitMix64: the same numbers in every run.
    pub(crate) struct Seeded(pub u64);

    impl Random for Seeded {
        fn fill(&mut self, bytes: &mut [u8]) {
            for byte in bytes {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *byte = (mixed >> 56) as u8;
            }
        }
    }

    const MANNER: Manner = Manner { random_case: true, edns: true };

    #[test]
    fn nothing_of_the_clients_query_leaves_but_question_do_and_cd() {
        let mut packet = Query("Alice.Home.Example.NET", Rtype::MX).edns(4096, true);
        packet[3] |= 0x10;
        // A client subnet (RFC 7871): option 8.
        let end = packet.len();
        packet[end - 1] = 11;
        packet.extend([0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2]);
        let question = Question::parse(&packet).unwrap();
        let asking = Asking::new(question.key(), MANNER, &mut Seeded(1));
        let message = Message::from_octets(asking.as_slice()).unwrap();
        let (header, opt) = (message.header(), message.opt().unwrap());
        assert!(header.rd() && header.ad() && header.cd() && !header.qr());
        assert!(opt.dnssec_ok() && opt.udp_payload_size() == 1232 && opt.version() == 0);
        assert_eq!(opt.opt().len(), 0);
        let asked = message.sole_question().unwrap();
        assert_eq!(
            (asked.qname().to_string().to_lowercase().as_str(), asked.qtype()),
            ("alice.home.example.net", Rtype::MX)
        );
    }

    #[test]
    fn ids_and_letters_differ_from_query_to_query() {
        let packet = Query("alice.home.example.net", Rtype::A).plain();
        let question = Question::parse(&packet).unwrap();
        let mut random = Seeded(7);
        let all: std::collections::BTreeSet<_> =
            (0..50).map(|_| Asking::new(question.key(), MANNER, &mut random).question().to_vec()).collect();
        assert!(all.len() > 45);
        let plain = Manner { random_case: false, edns: false };
        let asking = Asking::new(question.key(), plain, &mut random);
        assert_eq!(asking.question(), question.bytes());
        assert!(Message::from_octets(asking.as_slice()).unwrap().opt().is_none());
        assert_ne!(asking.id(), Asking::new(question.key(), plain, &mut random).id());
    }
}
