//! Writes the test vectors of the protocol to stdout; the same on every run.
//!
//! ```text
//! cargo run -p natf-proto --example vectors > tests/vectors/natf-1.json
//! ```
//!
//! Keys, nonces and transactions are made up and never used elsewhere. The keys of both directions are derived here
//! once more, step by step, for those who write a second implementation. 64-bit numbers are hexadecimal texts, because
//! JSON's numbers end at 2^53.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "made-up data of our own: wrong is a bug here"
)]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use hkdf::Hkdf;
use natf_proto::{
    BODY_LEN, Body, CookieOffer, Direction, EndRequest, EndResponse, Grant, HostName, KeyId, Kind,
    MappingKind, MappingRequest, MappingResponse, Message, NONCE_LEN, PeerKeys, Random, Reason, Stale,
    Transaction, Transport, assemble_anonymous,
};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// The enrolled key of all sealed vectors: 00 01 02 … 1f.
const KEY_ID: KeyId = KeyId(4711);
const TRANSACTION: Transaction = Transaction(0x0123_4567_89ab_cdef);
const COUNTER: u64 = 0x006a_8f2c_4000_0001;
const EN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 10), 40_000);
const EN_PRIVATE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 7, 23), 40_000);
const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const COOKIE: [u8; 24] = *b"a cookie is opaque to EN";

#[allow(dead_code, reason = "the tests include this file and call `generate`")]
fn main() {
    println!("{:#}", generate());
}

/// All vectors as one JSON value.
pub fn generate() -> Value {
    json!({
        "about": "Test vectors of NAT-f protocol version 1; docs/protocol.md says what the fields mean. Byte strings \
            and 64-bit numbers are hexadecimal.",
        "enrolled_key": hex(&enrolled_key()),
        "key_id": KEY_ID.0,
        "derived": {
            "to_router": hex(&derived("NAT-f 1 to router")),
            "to_end": hex(&derived("NAT-f 1 to end")),
        },
        "messages": messages(),
        "tolerated": tolerated(),
        "refused": refused(),
    })
}

fn enrolled_key() -> [u8; 32] {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

fn derived(label: &str) -> [u8; 32] {
    let mut key = [0; 32];
    let info = [label.as_bytes(), &KEY_ID.0.to_be_bytes()].concat();
    Hkdf::<Sha256>::new(None, &enrolled_key()).expand(&info, &mut key).unwrap();
    key
}

/// Hands out one prepared nonce.
struct Prepared([u8; NONCE_LEN]);

impl Random for Prepared {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

/// Nonces that differ in their first byte.
fn nonce(number: u8) -> [u8; NONCE_LEN] {
    std::array::from_fn(|at| 0x40u8.wrapping_add(number).wrapping_add(u8::try_from(at).unwrap() * 7))
}

fn seal(kind: Kind, number: u8, body: &Body) -> Message {
    let keys = PeerKeys::derive(KEY_ID, &enrolled_key());
    keys.seal(direction(kind), kind, COUNTER, body, &mut Prepared(nonce(number)))
}

/// Which way messages of a kind travel.
pub fn direction(kind: Kind) -> Direction {
    match kind {
        Kind::MappingRequest | Kind::EndRequest => Direction::ToRouter,
        _ => Direction::ToEnd,
    }
}

fn request(transport: Transport, source: SocketAddrV4, port: u16, host: &str) -> MappingRequest {
    MappingRequest {
        transaction: TRANSACTION,
        source,
        destination: SocketAddrV4::new(ROUTER, port),
        transport,
        host: host.parse::<HostName>().unwrap(),
    }
}

fn grant(kind: MappingKind, mapped: SocketAddrV4, lifetime: u64) -> Grant {
    Grant { kind, mapped, pending: Duration::from_secs(5), lifetime: Duration::from_secs(lifetime) }
}

fn end() -> EndRequest {
    let (transaction, transport) = (TRANSACTION, Transport::Tcp);
    EndRequest { transaction, source: EN, mapped: SocketAddrV4::new(ROUTER, 20_000), transport }
}

fn messages() -> Vec<Value> {
    let ssh = request(Transport::Tcp, EN, 22, "alice");
    let longest = "a-name_as.long.as-it-may-be.".repeat(3).get(..64).unwrap().to_owned();
    let natted = request(Transport::Udp, EN_PRIVATE, 5000, &longest);
    let exact = grant(MappingKind::Exact, SocketAddrV4::new(ROUTER, 20_000), 432_000);
    let awaiting = grant(MappingKind::AwaitsFirstPacket, SocketAddrV4::new(ROUTER, 20_001), 120);
    let direct = grant(MappingKind::Direct, SocketAddrV4::new([192, 168, 1, 10].into(), 22), 432_000);
    let at_home = Ipv4Addr::new(192, 168, 1, 23);
    let answer = |request, observed, outcome| MappingResponse::to(request, observed, outcome);
    let mut list = vec![
        of_request("mapping request, TCP", &ssh, None),
        of_request("mapping request, UDP, the longest name, EN behind a NAT", &natted, None),
        of_response("mapping response, exact", &answer(&ssh, *EN.ip(), Ok(exact)), false),
        of_response("mapping response, awaits first packet", &answer(&natted, *EN.ip(), Ok(awaiting)), false),
        of_response("mapping response, direct", &answer(&ssh, at_home, Ok(direct)), false),
    ];
    list.extend(Reason::ALL.iter().map(|reason| {
        let name = format!("mapping response, refused: {}", reason.name());
        of_response(&name, &answer(&ssh, *EN.ip(), Err(*reason)), false)
    }));
    let stale = Stale { transaction: TRANSACTION, floor: COUNTER + (1 << 20) };
    let offer = CookieOffer { transaction: TRANSACTION, cookie: COOKIE };
    list.extend([
        of_end("end request", &end()),
        of_ended("end response, a mapping ended", &EndResponse { request: end(), ended: true }),
        of_ended("end response, there was none", &EndResponse { request: end(), ended: false }),
        sealed("stale", Kind::Stale, &stale.emit(), stale_fields(&stale)),
        of_request("anonymous mapping request without a cookie", &ssh, Some([0; 24])),
        anonymous("cookie offer", Kind::Cookie, [0; 24], &offer.emit(), cookie_fields(&offer)),
        of_request("anonymous mapping request with the cookie", &ssh, Some(COOKIE)),
        of_response("anonymous mapping response", &answer(&ssh, *EN.ip(), Ok(exact)), true),
        anonymous("anonymous end request", Kind::EndRequest, COOKIE, &end().emit(), end_fields(&end())),
    ]);
    for (number, message) in list.iter_mut().enumerate() {
        finish(message, u8::try_from(number).unwrap());
    }
    list
}

/// The nonce depends on the place in the list, so messages are sealed last.
fn finish(message: &mut Value, number: u8) {
    let object = message.as_object_mut().unwrap();
    let kind = kind(object.get("kind").unwrap().as_u64().unwrap());
    let body: Body = unhex(object.get("body").unwrap()).try_into().unwrap();
    let bytes = match object.get("cookie") {
        Some(cookie) => assemble_anonymous(kind, COUNTER, &unhex(cookie).try_into().unwrap(), &body),
        None => {
            object.insert("nonce".into(), hex(&nonce(number)));
            seal(kind, number, &body)
        }
    };
    object.insert("message".into(), hex(&bytes));
}

/// The kind of this number.
pub fn kind(number: u64) -> Kind {
    [
        Kind::MappingRequest,
        Kind::MappingResponse,
        Kind::EndRequest,
        Kind::EndResponse,
        Kind::Stale,
        Kind::Cookie,
    ]
    .into_iter()
    .find(|kind| *kind as u64 == number)
    .unwrap()
}

fn of_request(name: &str, request: &MappingRequest, cookie: Option<[u8; 24]>) -> Value {
    let (kind, body, fields) = (Kind::MappingRequest, request.emit(), request_fields(request));
    match cookie {
        Some(cookie) => anonymous(name, kind, cookie, &body, fields),
        None => sealed(name, kind, &body, fields),
    }
}

fn of_response(name: &str, response: &MappingResponse, stranger: bool) -> Value {
    let (kind, body, fields) = (Kind::MappingResponse, response.emit(), response_fields(response));
    if stranger { anonymous(name, kind, [0; 24], &body, fields) } else { sealed(name, kind, &body, fields) }
}

fn of_end(name: &str, end: &EndRequest) -> Value {
    sealed(name, Kind::EndRequest, &end.emit(), end_fields(end))
}

fn of_ended(name: &str, response: &EndResponse) -> Value {
    let mut fields = end_fields(&response.request);
    fields.as_object_mut().unwrap().insert("ended".into(), response.ended.into());
    sealed(name, Kind::EndResponse, &response.emit(), fields)
}

fn sealed(name: &str, kind: Kind, body: &Body, fields: Value) -> Value {
    json!({
        "name": name,
        "kind": kind as u8,
        "direction": if direction(kind) == Direction::ToRouter { "to_router" } else { "to_end" },
        "key_id": KEY_ID.0,
        "counter": number(COUNTER),
        "fields": fields,
        "body": hex(body),
    })
}

fn anonymous(name: &str, kind: Kind, cookie: [u8; 24], body: &Body, fields: Value) -> Value {
    let mut value = sealed(name, kind, body, fields);
    let object = value.as_object_mut().unwrap();
    object.insert("key_id".into(), 0.into());
    object.insert("cookie".into(), hex(&cookie));
    value
}

fn request_fields(request: &MappingRequest) -> Value {
    json!({
        "transaction": number(request.transaction.0),
        "source_address": request.source.ip().to_string(),
        "source_port": request.source.port(),
        "destination_port": request.destination.port(),
        "dialled_address": request.destination.ip().to_string(),
        "protocol": request.transport as u8,
        "host": request.host.as_str(),
    })
}

fn response_fields(response: &MappingResponse) -> Value {
    let (result, grant) = match &response.outcome {
        Ok(grant) => (0, Some(grant)),
        Err(reason) => (reason.map_or(255, |reason| reason as u8), None),
    };
    let mut fields = json!({
        "transaction": number(response.transaction.0),
        "result": result,
        "observed_address": response.observed.to_string(),
        "source_port": response.source_port,
        "destination_port": response.destination_port,
        "protocol": response.transport as u8,
    });
    if let Some(grant) = grant {
        let object: &mut Map<String, Value> = fields.as_object_mut().unwrap();
        object.insert("kind".into(), (grant.kind as u8).into());
        object.insert("pending_lifetime".into(), grant.pending.as_secs().into());
        object.insert("lifetime".into(), grant.lifetime.as_secs().into());
        object.insert("mapped_address".into(), grant.mapped.ip().to_string().into());
        object.insert("mapped_port".into(), grant.mapped.port().into());
    }
    fields
}

fn end_fields(end: &EndRequest) -> Value {
    json!({
        "transaction": number(end.transaction.0),
        "source_address": end.source.ip().to_string(),
        "source_port": end.source.port(),
        "mapped_port": end.mapped.port(),
        "mapped_address": end.mapped.ip().to_string(),
        "protocol": end.transport as u8,
    })
}

fn stale_fields(stale: &Stale) -> Value {
    json!({ "transaction": number(stale.transaction.0), "floor": number(stale.floor) })
}

fn cookie_fields(offer: &CookieOffer) -> Value {
    json!({ "transaction": number(offer.transaction.0), "cookie": hex(&offer.cookie) })
}

/// Bodies that another implementation may send: they are read, and what is not understood is passed over.
fn tolerated() -> Vec<Value> {
    let ssh = request(Transport::Tcp, EN, 22, "alice");
    let refusal = MappingResponse::to(&ssh, *EN.ip(), Err(Reason::Denied));
    let ended = EndResponse { request: end(), ended: false };
    let one = |name, kind, body: Body, changes: &[(usize, u8)], fields| json!({ "name": name, "kind": kind as u8, "body": hex(&changed(body, changes)), "fields": fields });
    vec![
        one(
            "flags and reserved bytes of a mapping request are set",
            Kind::MappingRequest,
            ssh.emit(),
            &[(21, 0xff), (23, 0xff), (29, b'x'), (88, 1), (127, 0xff)],
            request_fields(&ssh),
        ),
        one(
            "upper case in a private host name",
            Kind::MappingRequest,
            ssh.emit(),
            &[(24, b'A'), (28, b'E')],
            request_fields(&ssh),
        ),
        one(
            "a reason that is not known yet",
            Kind::MappingResponse,
            refusal.emit(),
            &[(8, 200), (31, 1)],
            response_fields(&MappingResponse { outcome: Err(None), ..refusal }),
        ),
        one(
            "ended is neither 0 nor 1",
            Kind::EndResponse,
            ended.emit(),
            &[(21, 2), (127, 9)],
            json!({ "transaction": number(TRANSACTION.0), "ended": false }),
        ),
    ]
}

fn changed<const N: usize>(mut bytes: [u8; N], changes: &[(usize, u8)]) -> [u8; N] {
    for (at, byte) in changes {
        *bytes.get_mut(*at).unwrap() = *byte;
    }
    bytes
}

/// What has to be refused, and where: on `parse` of the envelope, on `open`, or on reading the `body`.
fn refused() -> Vec<Value> {
    let ssh = request(Transport::Tcp, EN, 22, "alice");
    let message = seal(Kind::MappingRequest, 0xa0, &ssh.emit());
    let mut list = Vec::new();
    for (name, length) in [("nothing at all", 0), ("one byte short", 183), ("one byte more", 185)] {
        let mut bytes = message.to_vec();
        bytes.resize(length, 0);
        list.push(refusal(name, "parse", "length", &bytes));
    }
    for (name, error, change) in [
        ("another magic number", "magic", (3, b'F')),
        ("version 0", "version", (4, 0)),
        ("version 2", "version", (4, 2)),
        ("kind 0", "kind", (5, 0)),
        ("kind 7", "kind", (5, 7)),
    ] {
        list.push(refusal(name, "parse", error, &changed(message, &[change])));
    }
    for (name, change) in [
        ("the kind was changed", (5, 3)),
        ("the key id was changed", (7, 0x68)),
        ("the counter was changed", (15, 2)),
        ("the nonce was changed", (16, 0xff)),
        ("the sealed body was changed", (40, message[40] ^ 1)),
        ("the tag was changed", (183, message[183] ^ 0x80)),
    ] {
        list.push(refusal(name, "open", "forged", &changed(message, &[change])));
    }
    let keys = PeerKeys::derive(KEY_ID, &enrolled_key());
    let reflected =
        keys.seal(Direction::ToEnd, Kind::MappingRequest, COUNTER, &ssh.emit(), &mut Prepared(nonce(0xa1)));
    list.push(refusal("sealed for the other direction", "open", "forged", &reflected));
    let stranger = PeerKeys::derive(KEY_ID, &[0x55; 32]);
    let other = stranger.seal(
        Direction::ToRouter,
        Kind::MappingRequest,
        COUNTER,
        &ssh.emit(),
        &mut Prepared(nonce(0xa2)),
    );
    list.push(refusal("sealed with another enrolled key", "open", "forged", &other));
    list.extend(refused_bodies(&ssh));
    list
}

fn refused_bodies(ssh: &MappingRequest) -> Vec<Value> {
    let exact = grant(MappingKind::Exact, SocketAddrV4::new(ROUTER, 20_000), 60);
    let granted = MappingResponse::to(ssh, *EN.ip(), Ok(exact)).emit();
    let (asked, ends) = (ssh.emit(), end().emit());
    let (map, answer, ended) = (Kind::MappingRequest, Kind::MappingResponse, Kind::EndRequest);
    type Case<'a> = (&'a str, Kind, Body, &'a str, &'a [(usize, u8)]);
    let cases: [Case; 17] = [
        ("protocol 1 (ICMP)", map, asked, "field", &[(20, 1)]),
        ("source port 0", map, asked, "field", &[(12, 0), (13, 0)]),
        ("destination port 0", map, asked, "field", &[(15, 0)]),
        ("a name of no bytes", map, asked, "host_name", &[(22, 0)]),
        ("a name of 65 bytes", map, asked, "host_name", &[(22, 65)]),
        ("a name longer than its letters", map, asked, "host_name", &[(22, 6)]),
        ("a space in the name", map, asked, "host_name", &[(26, b' ')]),
        ("a quote in the name", map, asked, "host_name", &[(26, b'"')]),
        ("a byte above 127 in the name", map, asked, "host_name", &[(26, 0xc3)]),
        ("an empty label", map, asked, "host_name", &[(25, b'.'), (26, b'.')]),
        ("a dot at the end", map, asked, "host_name", &[(28, b'.')]),
        ("mapping kind 0", answer, granted, "field", &[(9, 0)]),
        ("mapping kind 4", answer, granted, "field", &[(9, 4)]),
        ("mapped address 0.0.0.0", answer, granted, "field", &[(20, 0), (21, 0), (22, 0), (23, 0)]),
        ("mapped port 0", answer, granted, "field", &[(24, 0), (25, 0)]),
        ("protocol 0 in an answer", answer, granted, "field", &[(30, 0)]),
        ("the end of a flow of protocol 47", ended, ends, "field", &[(20, 47)]),
    ];
    (0xb0u8..)
        .zip(cases)
        .map(|(number, (name, kind, body, error, changes))| {
            refusal(name, "body", error, &seal(kind, number, &changed::<BODY_LEN>(body, changes)))
        })
        .collect()
}

fn refusal(name: &str, stage: &str, error: &str, message: &[u8]) -> Value {
    json!({ "name": name, "stage": stage, "error": error, "message": hex(message) })
}

fn number(value: u64) -> Value {
    format!("{value:016x}").into()
}

fn hex(bytes: &[u8]) -> Value {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// The bytes of a hexadecimal text.
pub fn unhex(text: &Value) -> Vec<u8> {
    let digits: Vec<_> = text
        .as_str()
        .unwrap()
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
