//! tsn-dnsd: questions of clients, replies of upstream servers, dynamic updates.

use hmac::{Hmac, KeyInit as _, Mac as _};
use natf_proto::Random;
use sha2::{Digest as _, Sha256};
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
/// Bounds of TTLs.
pub(crate) const LIFETIMES: Lifetimes = Lifetimes { min: 0, max: 86_400, negative_max: 3600 };

/// Some moment, in Unix seconds.
pub(crate) const NOW: u64 = 1_800_000_000;

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

/// A zone that takes updates.
pub(crate) fn zones() -> Zones {
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
    Zones::new(&config, NOW).unwrap()
}

/// Any update: without the key's signature nothing is to be saved.
pub fn update(data: &[u8]) {
    let mut zones = zones();
    match zones.handle_update(data, NOW) {
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

/// Any update that is signed: what is accepted can be saved, loaded and asked for.
pub fn signed_update(data: &[u8]) {
    let mut zones = zones();
    match zones.handle_update(&signed(data), NOW) {
        UpdateOutcome::Ignore => {}
        UpdateOutcome::Reply(reply) => assert!(reply.len() >= 12 && reply.get(..2) == data.get(..2)),
        UpdateOutcome::Save(change) => {
            zones.commit(*change);
            loads_again(&zones);
        }
    }
}

/// Adds, deletes, prerequisites.
pub fn signed_update_seeds() -> Vec<Vec<u8>> {
    let head = "1234 2800 0001";
    let zone = "0364796e 076578616d706c65 036e6574 00 0006 0001";
    let add = "05616c696365 c00c 0001 0001 0000003c 0004 cb007102";
    let mail = "c00c 000f 0001 0000003c 0009 000a 046d61696c c00c";
    let delete = "05616c696365 c00c 00ff 00ff 00000000 0000";
    let unused = "05616c696365 c00c 00ff 00fe 00000000 0000";
    let soa = "c00c 0006 0001 00000000 0016 00 00 fffffff0 00000001 00000002 00000003 00000004";
    [
        format!("{head} 0000 0001 0000 {zone} {add}"),
        format!("{head} 0001 0003 0000 {zone} {unused} {delete} {add} {mail}"),
        format!("{head} 0000 0002 0000 {zone} {soa} {add}"),
    ]
    .map(|text| unhex(&text))
    .to_vec()
}

/// Any text in a zone's file, as one change whose check is right: what is taken up can be saved and loaded again.
pub fn zone_file(data: &[u8]) {
    let body = String::from_utf8_lossy(data);
    let body = if body.ends_with('\n') { body.into_owned() } else { format!("{body}\n") };
    let digest = Sha256::new().chain_update(&body).chain_update(7_u32.to_be_bytes()).finalize();
    let check: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let mut zones = zones();
    let text = format!("; tsn-dnsd zone 1 dyn.example.net\n{body}; commit 7 {check}\n");
    zones.load("dyn.example.net", &text).unwrap();
    loads_again(&zones);
}

/// An address, an alias, a text.
pub fn zone_file_seeds() -> Vec<Vec<u8>> {
    let texts = [
        "; forget alice.dyn.example.net.\nalice.dyn.example.net. 60 IN A \\# 4 c0000205 ; 192.0.2.5\n",
        "; forget dyn.example.net.\ndyn.example.net. 60 IN TXT \\# 2 0161\n; signed alice 1763712345\n",
        "; forget a\\032b.dyn.example.net.\na\\032b.dyn.example.net. 60 IN CNAME \\# 3 016100\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn loads_again(saved: &Zones) {
    let text = saved.snapshot("dyn.example.net").unwrap();
    let mut again = zones();
    let loaded = again.load("dyn.example.net", &text).unwrap();
    assert_eq!(loaded.remarks, Vec::<String>::new(), "{text}");
    assert_eq!(again.snapshot("dyn.example.net").unwrap(), text);
}

/// RFC 8945, 4.3, with the key of [`zones`].
pub(crate) fn signed(data: &[u8]) -> Vec<u8> {
    let mut packet = data.to_vec();
    if packet.len() < 12 {
        return packet;
    }
    let time = &NOW.to_be_bytes()[2..];
    let mut mac = Hmac::<Sha256>::new_from_slice(&[7; 32]).unwrap();
    mac.update(&packet);
    mac.update(b"\x05alice\0\0\xff\0\0\0\0\x0bhmac-sha256\0");
    mac.update(&[time, &[1, 44, 0, 0, 0, 0]].concat());
    packet.extend(b"\x05alice\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0");
    packet.extend(time);
    packet.extend([1, 44, 0, 32]);
    packet.extend(mac.finalize().into_bytes());
    packet.extend(&data[..2]);
    packet.extend([0, 0, 0, 0]);
    packet[11] = packet[11].wrapping_add(1);
    packet
}
