//! Writes the test vectors of the notices (T4, T5) to stdout; the same on every run.
//!
//! ```text
//! cargo run -p natf-proto --example notice_vectors > tests/vectors/tsn-1.json
//! ```
//!
//! Key and key id are those of `natf-1.json`. 64-bit numbers are hexadecimal texts, because JSON's numbers end at 2^53.

#![allow(clippy::unwrap_used, reason = "made-up data of our own: wrong is a bug here")]

use std::{net::Ipv4Addr, time::Duration};

use natf_proto::{
    GuideOutcome, KeyId, NONCE_LEN, NoticeBody, NoticeKind, Notification, NotificationAnswer, PeerKeys,
    Random, Reason,
};
use serde_json::{Value, json};

const KEY_ID: KeyId = KeyId(4711);
const COUNTER: u64 = 0x006a_8f2c_4000_0001;
const ID: u16 = 0xbeef;
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);

#[allow(dead_code, reason = "the tests include this file and call `generate`")]
fn main() {
    println!("{:#}", generate());
}

/// All vectors as one JSON value.
pub fn generate() -> Value {
    json!({
        "about": "Test vectors of the notices between a TSN server and a router, NAT-f protocol version 1; \
            docs/protocol.md says what the fields mean. Byte strings and 64-bit numbers are hexadecimal.",
        "enrolled_key": hex(&enrolled_key()),
        "key_id": KEY_ID.0,
        "notices": notices(),
        "refused": refused(),
    })
}

fn enrolled_key() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

/// Hands out one prepared nonce.
struct Prepared(u8);

impl Random for Prepared {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = 0x80u8.wrapping_add(self.0).wrapping_add(u8::try_from(at).unwrap() * 5);
        }
    }
}

fn notices() -> Vec<Value> {
    let longest = "a-name_as.long.as-it-may-be.".repeat(3).get(..64).unwrap().to_owned();
    let mut list = vec![
        notification("notification", Some(CLIENT), "alice.home.example.net"),
        notification("notification, the longest name, origin is the sender", None, &longest),
        answer("answer, guided", GuideOutcome::Guided { lifetime: Duration::from_secs(30) }),
        answer("answer, stale", GuideOutcome::Stale { floor: COUNTER + (1 << 20) }),
    ];
    list.extend(Reason::ALL.iter().map(|reason| {
        answer(&format!("answer, refused: {}", reason.name()), GuideOutcome::Refused(Some(*reason)))
    }));
    list.into_iter()
        .zip(0..)
        .map(|((kind, body, value), number)| sealed(kind, &body, value, number))
        .collect()
}

type Unsealed = (NoticeKind, NoticeBody, Value);

fn notification(name: &str, origin: Option<Ipv4Addr>, host: &str) -> Unsealed {
    let body = Notification { id: ID, origin, name: host.parse().unwrap() }.emit();
    (
        NoticeKind::Notification,
        body,
        json!({ "name": name, "fields": { "type": 1, "id": ID, "origin": text(origin), "host": host } }),
    )
}

fn answer(name: &str, outcome: GuideOutcome) -> Unsealed {
    let answer = NotificationAnswer { id: ID, origin: Some(CLIENT), outcome };
    let mut fields = json!({ "type": 2, "id": ID, "origin": text(answer.origin) });
    let object = fields.as_object_mut().unwrap();
    match outcome {
        GuideOutcome::Guided { lifetime } => {
            object.insert("outcome".into(), 0.into());
            object.insert("lifetime".into(), lifetime.as_secs().into());
        }
        GuideOutcome::Refused(reason) => {
            object.insert("outcome".into(), reason.map_or(254, |reason| reason as u8).into());
        }
        GuideOutcome::Stale { floor } => {
            object.insert("outcome".into(), 255.into());
            object.insert("floor".into(), format!("{floor:016x}").into());
        }
    }
    (NoticeKind::Answer, answer.emit(), json!({ "name": name, "fields": fields }))
}

fn text(origin: Option<Ipv4Addr>) -> String {
    origin.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string()
}

fn sealed(kind: NoticeKind, body: &NoticeBody, mut value: Value, number: u8) -> Value {
    let keys = PeerKeys::derive(KEY_ID, &enrolled_key());
    let message = keys.seal_notice(kind, COUNTER, body, &mut Prepared(number));
    let mut nonce = [0; NONCE_LEN];
    Prepared(number).fill(&mut nonce);
    let object = value.as_object_mut().unwrap();
    object.insert("kind".into(), (kind as u8).into());
    object.insert("key_id".into(), KEY_ID.0.into());
    object.insert("counter".into(), format!("{COUNTER:016x}").into());
    object.insert("nonce".into(), hex(&nonce).into());
    object.insert("body".into(), hex(body).into());
    object.insert("message".into(), hex(&message).into());
    value
}

/// Notices that are not accepted, and where they fail.
fn refused() -> Vec<Value> {
    let keys = PeerKeys::derive(KEY_ID, &enrolled_key());
    let good =
        Notification { id: ID, origin: Some(CLIENT), name: "alice.home.example.net".parse().unwrap() }.emit();
    let seal = |body: &NoticeBody| {
        keys.seal_notice(NoticeKind::Notification, COUNTER, body, &mut Prepared(99)).to_vec()
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = seal(&good);
        *bytes.get_mut(at).unwrap() = byte;
        bytes
    };
    let resealed = |at: usize, byte: u8| {
        let mut body = good;
        *body.get_mut(at).unwrap() = byte;
        seal(&body)
    };
    let one = |name: &str, stage: &str, error: &str, bytes: Vec<u8>| json!({ "name": name, "stage": stage, "error": error, "message": hex(&bytes) });
    let cut = |length: usize| seal(&good).get(..length).unwrap().to_vec();
    vec![
        one("one byte short", "parse", "length", cut(127)),
        one("empty", "parse", "length", Vec::new()),
        one("another magic number", "parse", "magic", changed(0, b'n')),
        one("version 2", "parse", "version", changed(4, 2)),
        one("kind 1 in the size of a notice", "parse", "kind", changed(5, 1)),
        one("kind 9", "parse", "kind", changed(5, 9)),
        one("a notification sent back as its answer", "open", "forged", changed(5, 8)),
        one("another counter", "open", "forged", changed(15, 0)),
        one("a changed name", "open", "forged", changed(30, 0)),
        one("a changed nonce", "open", "forged", changed(90, 0)),
        one("a changed tag", "open", "forged", changed(127, 0)),
        one("TSN type 2 in a notification", "body", "field", resealed(0, 2)),
        one("no name", "body", "host_name", resealed(8, 0)),
        one("bytes behind the name", "body", "host_name", resealed(60, b'x')),
        one("a space in the name", "body", "host_name", resealed(9, b' ')),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
