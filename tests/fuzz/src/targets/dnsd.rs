//! tsn-dnsd: questions of clients, replies of upstream servers, dynamic updates.

use natf_proto::Random;
use tsn_dnsd::{
    core::{
        answer::Age,
        asking::{Asking, Manner},
        question::Question,
        received::{Lifetimes, Received, judge},
        reply::Reply,
    },
    zone::{Config, KeySetting, UpdateOutcome, ZoneSetting, Zones},
};

use crate::unhex;

const QUESTION: &str = "beef 0100 0001 0000 0000 0001 03777777 076578616d706c65 036f7267 00 0001 0001 \
    00 0029 04d0 00008000 0000";
const LIFETIMES: Lifetimes = Lifetimes { min: 0, max: 86_400, negative_max: 3600 };

/// The same number again and again.
struct Constant;

impl Random for Constant {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0x5a);
    }
}

/// Any packet of a client: what is read is answered, in the size that the client takes.
pub fn question(data: &[u8]) {
    let Ok(question) = Question::parse(data) else { return };
    assert_eq!(question.packet(), data);
    let mut out = Vec::new();
    for over_udp in [true, false] {
        let reply = Reply::to(&question, over_udp);
        out.clear();
        reply.any(&mut out);
        assert!(out.len() >= 12 && out.get(..2) == data.get(..2));
        out.clear();
        reply.bad_version(&mut out);
        out.clear();
        reply.empty(0, &mut out);
        assert!(!over_udp || out.len() <= question.udp_size().max(512));
    }
    let asking = Asking::new(question.key(), Manner { random_case: true, edns: true }, &mut Constant);
    assert!(Question::parse(asking.as_slice()).is_ok(), "our own query is read");
}

/// With EDNS and without.
pub fn question_seeds() -> Vec<Vec<u8>> {
    let whole = unhex(QUESTION);
    let mut plain = whole.get(..whole.len() - 11).unwrap().to_vec();
    plain[11] = 0;
    vec![whole, plain]
}

/// Any reply of an upstream server to one question: what is kept is well-formed and can be sent on.
pub fn reply(data: &[u8]) {
    let packet = unhex(QUESTION);
    let question = Question::parse(&packet).unwrap();
    let asking = Asking::new(question.key(), Manner { random_case: false, edns: true }, &mut Constant);
    let Received::Answer(answer, _) = judge(&asking, question.key(), data, LIFETIMES) else { return };
    assert!(answer.lifetime() <= LIFETIMES.max);
    assert!(answer.addresses().count() * 4 <= data.len());
    let mut out = Vec::new();
    if Reply::to(&question, true).answer(&answer, Age::NEW, &mut out) {
        assert!(out.len() <= question.udp_size());
    }
    // What we send can be read by the same rules.
    let mut whole = Vec::new();
    Reply::to(&question, false).answer(&answer, Age::NEW, &mut whole);
    whole[..2].copy_from_slice(asking.id());
    let again = judge(&asking, question.key(), &whole, LIFETIMES);
    assert!(matches!(again, Received::Answer(..)), "{again:?}");
}

/// An address, a chain of aliases, a name that does not exist.
pub fn reply_seeds() -> Vec<Vec<u8>> {
    let head = "5a5a 8180 0001";
    let question = "03777777 076578616d706c65 036f7267 00 0001 0001";
    [
        format!("{head} 0001 0000 0000 {question} c00c 0001 0001 0000003c 0004 c6336514"),
        format!(
            "{head} 0002 0000 0001 {question} c00c 0005 0001 0000003c 0006 036e6577 c010 \
             c02d 0001 0001 0000003c 0004 c6336514 00 0029 04d0 00000000 0000"
        ),
        format!(
            "5a5a 8183 0001 0000 0001 0000 {question} c010 0006 0001 0000003c 0018 c010 c010 \
             00000001 00000e10 00000258 00015180 0000003c"
        ),
    ]
    .map(|text| unhex(&text))
    .to_vec()
}

fn zones() -> Zones {
    let config = Config {
        zones: vec![ZoneSetting {
            name: "dyn.example.net".into(),
            ttl: 60,
            ns: Vec::new(),
            mail: None,
            update_keys: vec!["alice".into()],
            records_max: 100,
        }],
        records: Vec::new(),
        keys: vec![KeySetting {
            name: "alice".into(),
            algorithm: "hmac-sha256".into(),
            secret: vec![7; 32].into(),
        }],
    };
    Zones::new(&config, 1_800_000_000).unwrap()
}

/// Any update: without the key's signature nothing is to be saved.
pub fn update(data: &[u8]) {
    let mut zones = zones();
    match zones.handle_update(data, 1_800_000_000) {
        UpdateOutcome::Ignore => {}
        UpdateOutcome::Reply(reply) => assert!(reply.len() >= 12 && reply.get(..2) == data.get(..2)),
        UpdateOutcome::Save(change) => panic!("accepted unsigned: {change}"),
    }
}

/// An update that adds an address, unsigned and with a TSIG record of nobody.
pub fn update_seeds() -> Vec<Vec<u8>> {
    let update = "1234 2800 0001 0000 0001 0000 0364796e 076578616d706c65 036e6574 00 0006 0001 \
        05616c696365 c00c 0001 0001 0000003c 0004 cb007102";
    let tsig = "05616c696365 00 00fa 00ff 00000000 001d 0b 686d61632d736861323536 00 \
        00006b49d200 012c 0000 1234 0000 0000";
    let mut signed = unhex(&format!("{update} {tsig}"));
    signed[11] = 1;
    vec![unhex(update), signed]
}
