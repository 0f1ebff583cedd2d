use std::{net::Ipv4Addr, str::FromStr as _};

use domain::{
    base::{Message, MessageBuilder, message_builder::AdditionalBuilder, rdata::ComposeRecordData},
    rdata::{A, Cname, Mx, Ns, Txt},
};
use proptest::prelude::*;

use super::{
    super::{
        asking::{Manner, tests::Seeded},
        question::{Question, tests::Query},
    },
    *,
};

const LIFETIMES: Lifetimes = Lifetimes { min: 0, max: 86_400, negative_max: 3_600 };

type NameBuf = Name<Vec<u8>>;

fn name(text: &str) -> NameBuf {
    Name::from_str(text).unwrap()
}

/// A question, the query made of it, and the reply that a test composes.
struct Exchange {
    key: Key,
    asking: Asking,
}

impl Exchange {
    fn new(query: &Query, dnssec_ok: bool) -> Self {
        let packet = query.edns(1232, dnssec_ok);
        let key = *Question::parse(&packet).unwrap().key();
        let manner = Manner { random_case: true, edns: true };
        Self { key, asking: Asking::new(&key, manner, &mut Seeded(5)) }
    }

    fn reply(&self, rcode: Rcode) -> Reply {
        let query = Message::from_octets(self.asking.as_slice().to_vec()).unwrap();
        let mut builder = MessageBuilder::new_vec().start_answer(&query, rcode).unwrap();
        builder.header_mut().set_ra(true);
        Reply { answers: Vec::new(), authorities: Vec::new(), builder: builder.additional().finish() }
    }

    fn judge(&self, reply: &[u8]) -> Received {
        judge(&self.asking, &self.key, reply, LIFETIMES)
    }

    fn answer(&self, reply: &[u8]) -> (Answer, usize) {
        match self.judge(reply) {
            Received::Answer(answer, dropped) => (*answer, dropped),
            other => panic!("{other:?}"),
        }
    }
}

/// A reply in the making: header and question, then records in wire format.
struct Reply {
    builder: Vec<u8>,
    answers: Vec<Vec<u8>>,
    authorities: Vec<Vec<u8>>,
}

fn record(owner: &str, ttl: u32, data: impl ComposeRecordData) -> Vec<u8> {
    let mut bytes = Vec::new();
    Record::new(name(owner), Class::IN, Ttl::from_secs(ttl), data).compose(&mut bytes).unwrap();
    bytes
}

impl Reply {
    fn with(mut self, owner: &str, ttl: u32, data: impl ComposeRecordData) -> Self {
        self.answers.push(record(owner, ttl, data));
        self
    }

    fn authority(mut self, owner: &str, ttl: u32, data: impl ComposeRecordData) -> Self {
        self.authorities.push(record(owner, ttl, data));
        self
    }

    fn finish(mut self) -> Vec<u8> {
        for (at, section) in [(6, &self.answers), (8, &self.authorities)] {
            self.builder[at..at + 2].copy_from_slice(&u16::try_from(section.len()).unwrap().to_be_bytes());
        }
        self.answers.into_iter().chain(self.authorities).for_each(|record| self.builder.extend(record));
        self.builder
    }
}

fn soa(minimum: u32) -> Soa<NameBuf> {
    let ttl = Ttl::from_secs;
    Soa::new(
        name("ns.example.net"),
        name("admin.example.net"),
        1.into(),
        ttl(1),
        ttl(2),
        ttl(3),
        ttl(minimum),
    )
}

fn owners(answer: &Answer) -> Vec<String> {
    let message = Message::from_slice(answer.message()).unwrap();
    let sections = message.answer().unwrap().chain(message.authority().unwrap());
    sections
        .map(|record| record.unwrap())
        .map(|r| format!("{} {} {}", r.owner(), r.ttl().as_secs(), r.rtype()))
        .collect()
}

const ALICE: Query = Query("alice.example.net", Rtype::A);

#[test]
fn a_server_without_edns_repeats_the_question_or_none() {
    let exchange = Exchange::new(&Query("www.example.net", Rtype::A), false);
    let error = |rcode| {
        let mut reply = exchange.reply(rcode).builder;
        let end = 12 + exchange.asking.question().len();
        reply.truncate(end);
        reply[10..12].fill(0);
        reply
    };
    assert_eq!(exchange.judge(&error(Rcode::FORMERR)), Received::NoEdns);
    let mut bare = error(Rcode::NOTIMP);
    bare.truncate(12);
    assert_eq!(exchange.judge(&bare), Received::NoEdns, "a header that still counts the question");
    bare[5] = 0;
    assert_eq!(exchange.judge(&bare), Received::NoEdns);
    let mut forged = error(Rcode::FORMERR);
    forged[14] ^= 0x20;
    assert_eq!(exchange.judge(&forged), Received::OtherCase);
    forged[14] ^= 1;
    assert_eq!(exchange.judge(&forged), Received::Foreign);
}

#[test]
fn a_thousand_records_are_one_answer() {
    let exchange = Exchange::new(&Query("www.example.net", Rtype::A), false);
    let mut reply = exchange.reply(Rcode::NOERROR);
    for number in 0..1_000_u16 {
        let [high, low] = number.to_be_bytes();
        reply = reply.with("www.example.net", 60, A::from_octets(192, 0, high, low));
    }
    assert_eq!(exchange.answer(&reply.finish()).0.addresses().count(), 1_000);
}

#[test]
fn an_answer_is_kept_with_its_shortest_lifetime() {
    let exchange = Exchange::new(&ALICE, false);
    let reply = exchange
        .reply(Rcode::NOERROR)
        .with("alice.example.net", 300, A::from_octets(192, 0, 2, 1))
        .with("ALICE.example.net", 200, A::from_octets(192, 0, 2, 2))
        .finish();
    let (answer, dropped) = exchange.answer(&reply);
    assert_eq!((answer.lifetime(), dropped, answer.rcode()), (200, 0, Rcode::NOERROR));
    assert_eq!(
        answer.addresses().collect::<Vec<_>>(),
        [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)]
    );
    assert_eq!(answer.key(), exchange.key.as_slice());
}

#[test]
fn other_ids_questions_and_directions_are_foreign() {
    let exchange = Exchange::new(&ALICE, false);
    let good =
        exchange.reply(Rcode::NOERROR).with("alice.example.net", 300, A::from_octets(192, 0, 2, 1)).finish();
    for (at, mask) in [(0, 1), (1, 1), (2, 0x80), (2, 0x08), (5, 2), (13, 1), (31, 1), (33, 1)] {
        let mut reply = good.clone();
        reply[at] ^= mask;
        assert_eq!(exchange.judge(&reply), Received::Foreign, "{at}");
    }
    assert_eq!(exchange.judge(&[]), Received::Foreign);
}

#[test]
fn other_letters_are_told_apart_from_other_names() {
    let exchange = Exchange::new(&ALICE, false);
    let mut reply =
        exchange.reply(Rcode::NOERROR).with("alice.example.net", 300, A::from_octets(192, 0, 2, 1)).finish();
    reply[13] ^= 0x20;
    assert_eq!(exchange.judge(&reply), Received::OtherCase);
}

#[test]
fn truncated_and_helpless_replies_are_no_answers() {
    let exchange = Exchange::new(&ALICE, false);
    let mut truncated = exchange.reply(Rcode::NOERROR).finish();
    truncated[2] |= 0x02;
    assert_eq!(exchange.judge(&truncated), Received::Truncated);
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::YXDOMAIN] {
        let reply = exchange.reply(rcode).finish();
        assert_eq!(exchange.judge(&reply), Received::Helpless(rcode, None));
    }
    let mut referral = exchange.reply(Rcode::NOERROR).authority("net", 300, Ns::new(name("ns.net"))).finish();
    referral[3] &= !0x80;
    assert_eq!(exchange.judge(&referral), Received::Helpless(Rcode::REFUSED, None));
}

#[test]
fn a_server_without_edns_is_recognised() {
    let exchange = Exchange::new(&ALICE, false);
    assert_eq!(exchange.judge(&exchange.reply(Rcode::FORMERR).finish()), Received::NoEdns);
    let mut bare = exchange.reply(Rcode::FORMERR).finish();
    bare.truncate(12);
    bare[5] = 0;
    assert_eq!(exchange.judge(&bare), Received::NoEdns);
}

#[test]
fn extended_errors_come_along() {
    let exchange = Exchange::new(&ALICE, false);
    let query = Message::from_octets(exchange.asking.as_slice().to_vec()).unwrap();
    let builder = MessageBuilder::new_vec().start_answer(&query, Rcode::SERVFAIL).unwrap();
    let mut builder: AdditionalBuilder<_> = builder.additional();
    builder
        .opt(|opt| {
            opt.push_raw_option(15.into(), 2, |target| {
                domain::dep::octseq::OctetsBuilder::append_slice(target, &[0, 6])
            })
        })
        .unwrap();
    assert_eq!(exchange.judge(&builder.finish()), Received::Helpless(Rcode::SERVFAIL, Some(6)));
}

#[test]
fn aliases_come_in_their_order_and_end_at_the_address() {
    let exchange = Exchange::new(&ALICE, false);
    let reply = exchange
        .reply(Rcode::NOERROR)
        .with("host.example.org", 60, A::from_octets(192, 0, 2, 1))
        .with("www.example.org", 50, Cname::new(name("host.example.org")))
        .with("alice.example.net", 40, Cname::new(name("www.example.org")))
        .finish();
    let (answer, dropped) = exchange.answer(&reply);
    assert_eq!(
        owners(&answer),
        ["alice.example.net 40 CNAME", "www.example.org 50 CNAME", "host.example.org 60 A"]
    );
    assert_eq!((answer.lifetime(), dropped), (40, 0));
}

#[test]
fn records_that_nobody_asked_for_are_dropped() {
    let exchange = Exchange::new(&ALICE, false);
    let reply = exchange
        .reply(Rcode::NOERROR)
        .with("bank.example.org", 60, A::from_octets(203, 0, 113, 66))
        .with("alice.example.net", 60, A::from_octets(192, 0, 2, 1))
        .with("alice.example.net", 60, Txt::<Vec<u8>>::build_from_slice(b"x").unwrap())
        .with("bank.example.org", 60, Cname::new(name("alice.example.net")))
        .authority("org", 60, Ns::new(name("ns.attacker.example")))
        .authority("bank.example.org", 60, soa(60))
        .finish();
    let (answer, dropped) = exchange.answer(&reply);
    assert_eq!(owners(&answer), ["alice.example.net 60 A"]);
    assert_eq!(dropped, 4);
}

#[test]
fn circles_of_aliases_end() {
    let exchange = Exchange::new(&ALICE, false);
    let reply = exchange
        .reply(Rcode::NOERROR)
        .with("alice.example.net", 60, Cname::new(name("bob.example.net")))
        .with("bob.example.net", 60, Cname::new(name("alice.example.net")))
        .finish();
    let (answer, _) = exchange.answer(&reply);
    assert_eq!((owners(&answer).len(), answer.lifetime()), (1, 0));
}

#[test]
fn what_does_not_exist_is_kept_as_long_as_its_soa_says() {
    let exchange = Exchange::new(&ALICE, false);
    for (ttl, minimum, expected) in [(300, 60, 60), (30, 60, 30), (90_000, 90_000, 3_600)] {
        for rcode in [Rcode::NXDOMAIN, Rcode::NOERROR] {
            let reply = exchange.reply(rcode).authority("example.net", ttl, soa(minimum)).finish();
            let (answer, _) = exchange.answer(&reply);
            assert_eq!((answer.lifetime(), answer.rcode()), (expected, rcode));
            assert_eq!(owners(&answer), [format!("example.net {expected} SOA")]);
        }
    }
    let (answer, _) = exchange.answer(&exchange.reply(Rcode::NXDOMAIN).finish());
    assert_eq!(answer.lifetime(), 0);
    let foreign = exchange.reply(Rcode::NXDOMAIN).authority("example.org", 300, soa(300)).finish();
    let (answer, dropped) = exchange.answer(&foreign);
    assert_eq!((answer.lifetime(), dropped), (0, 1));
}

#[test]
fn ttls_are_clamped() {
    let exchange = Exchange::new(&ALICE, false);
    let bounds = Lifetimes { min: 10, max: 100, negative_max: 50 };
    for (ttl, expected) in [(0, 10), (50, 50), (5_000, 100), (0x8000_0001, 10)] {
        let reply = exchange
            .reply(Rcode::NOERROR)
            .with("alice.example.net", ttl, A::from_octets(192, 0, 2, 1))
            .finish();
        let Received::Answer(answer, _) = judge(&exchange.asking, &exchange.key, &reply, bounds) else {
            panic!()
        };
        assert_eq!(answer.lifetime(), expected);
        assert_eq!(owners(&answer), [format!("alice.example.net {expected} A")]);
    }
}

#[test]
fn unreadable_data_makes_the_reply_malformed() {
    let exchange = Exchange::new(&ALICE, false);
    let good =
        exchange.reply(Rcode::NOERROR).with("alice.example.net", 60, A::from_octets(192, 0, 2, 1)).finish();
    for end in good.len() - 20..good.len() {
        assert_eq!(exchange.judge(&good[..end]), Received::Malformed, "{end}");
    }
    let mut three_octets = good.clone();
    three_octets.pop();
    let length = three_octets.len() - 4;
    three_octets[length] = 3;
    assert_eq!(exchange.judge(&three_octets), Received::Malformed);
}

#[test]
fn names_in_data_may_be_compressed() {
    let exchange = Exchange::new(&Query("example.net", Rtype::MX), false);
    let mut reply = exchange.reply(Rcode::NOERROR).finish();
    reply[7] = 1;
    reply.extend(b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x09\x00\x05\x04mail\xc0\x0c");
    let (answer, _) = exchange.answer(&reply);
    let message = Message::from_slice(answer.message()).unwrap();
    let record = message.answer().unwrap().limit_to::<Mx<_>>().next().unwrap().unwrap();
    assert_eq!(record.data().exchange().to_string().to_lowercase(), "mail.example.net");
}

#[test]
fn pointers_in_circles_are_malformed() {
    let exchange = Exchange::new(&ALICE, false);
    let start = u8::try_from(exchange.reply(Rcode::NOERROR).finish().len()).unwrap();
    for pointer in [start, start + 1, start.saturating_add(12)] {
        let mut reply = exchange.reply(Rcode::NOERROR).finish();
        reply[7] = 1;
        reply.extend([0xc0, pointer]);
        reply.extend(b"\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x02");
        reply.extend([0xc0, start]);
        assert_eq!(exchange.judge(&reply), Received::Malformed, "{pointer}");
    }
}

#[test]
fn sixty_four_kilobytes_of_pointers_are_bounded_work() {
    let exchange = Exchange::new(&ALICE, false);
    let mut reply = exchange.reply(Rcode::NOERROR).finish();
    let mut count = 0_u16;
    let mut before = 12_u16;
    while reply.len() < 65_500 {
        let here = u16::try_from(reply.len()).unwrap();
        // Each owner is one label and a pointer to the owner before.
        reply.extend(b"\x01a");
        reply.extend((0xc000 | before & 0x3fff).to_be_bytes());
        reply.extend(b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01");
        before = here;
        count += 1;
    }
    reply[6..8].copy_from_slice(&count.to_be_bytes());
    let start = std::time::Instant::now();
    for _ in 0..10 {
        assert_eq!(exchange.judge(&reply), Received::Malformed);
    }
    assert!(start.elapsed() < std::time::Duration::from_secs(1));
}

fn arbitrary_record() -> impl Strategy<Value = Vec<u8>> {
    let owner = prop_oneof![
        Just("alice.example.net"),
        Just("bob.example.net"),
        Just("example.net"),
        Just("x.org"),
        Just(".")
    ];
    let owner2 = owner.clone();
    (owner, owner2, 0_u8..6, any::<u32>()).prop_map(|(owner, target, kind, ttl)| match kind {
        0 => record(owner, ttl, A::from_octets(192, 0, 2, 1)),
        1 => record(owner, ttl, Cname::new(name(target))),
        2 => record(owner, ttl, domain::rdata::Dname::new(name(target))),
        3 => record(owner, ttl, Ns::new(name(target))),
        4 => record(owner, ttl, soa(ttl)),
        _ => record(owner, ttl, Mx::new(1, name(target))),
    })
}

proptest! {
    #[test]
    fn whatever_is_kept_can_be_read_and_belongs_there(
        answers in prop::collection::vec(arbitrary_record(), 0..12),
        authorities in prop::collection::vec(arbitrary_record(), 0..6),
        nothing: bool,
    ) {
        let exchange = Exchange::new(&ALICE, true);
        let mut reply = exchange.reply(if nothing { Rcode::NXDOMAIN } else { Rcode::NOERROR });
        let total = answers.len() + authorities.len();
        (reply.answers, reply.authorities) = (answers, authorities);
        if let Received::Answer(answer, dropped) = exchange.judge(&reply.finish()) {
            let message = Message::from_slice(answer.message()).unwrap();
            let kept: Vec<_> = message.answer().unwrap().map(Result::unwrap).collect();
            prop_assert!(kept.len() + dropped <= total);
            prop_assert!(answer.lifetime() <= LIFETIMES.max);
            let first = kept.iter().find(|record| record.rtype() != Rtype::DNAME);
            prop_assert!(first.is_none_or(|record| record.owner().name_eq(&name("alice.example.net"))));
            prop_assert_eq!(answer.records().count(), kept.len() + usize::from(message.header_counts().nscount()));
        }
    }

    #[test]
    fn no_octet_makes_it_panic(at in 0_usize..120, bytes in prop::collection::vec(any::<u8>(), 1..20)) {
        let exchange = Exchange::new(&ALICE, true);
        let mut reply = exchange
            .reply(Rcode::NOERROR)
            .with("alice.example.net", 40, Cname::new(name("www.example.org")))
            .with("www.example.org", 50, A::from_octets(192, 0, 2, 1))
            .authority("example.org", 50, soa(5))
            .finish();
        let end = reply.len().min(at + bytes.len());
        let start = at.min(end);
        reply.splice(start..end, bytes);
        if let Received::Answer(answer, _) = exchange.judge(&reply) {
            prop_assert!(Message::from_slice(answer.message()).unwrap().answer().unwrap().all(|record| record.is_ok()));
        }
    }

    #[test]
    fn noise_behind_a_good_question_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300), counts: [u8; 3]) {
        let exchange = Exchange::new(&ALICE, true);
        let mut reply = exchange.reply(Rcode::NOERROR).finish();
        for (at, count) in [7, 9, 11].into_iter().zip(counts) {
            reply[at] = count % 8;
        }
        reply.extend(noise);
        let _ = exchange.judge(&reply);
    }
}
