//! The published test vectors, both ways: bytes to fields and fields to the same bytes.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natf_proto::{
    Body, CookieOffer, Direction, EndRequest, EndResponse, Envelope, Grant, KeyId, Kind, MappingKind,
    MappingRequest, MappingResponse, OpenError, ParseError, PeerKeys, Random, Reason, Stale, Transaction,
    Transport, assemble_anonymous,
};
use serde_json::{Value, from_str};

#[path = "../examples/vectors.rs"]
mod generator;
use generator::unhex;

const FILE: &str = include_str!("../../tests/vectors/natf-1.json");

fn file() -> Value {
    from_str(FILE).unwrap()
}

fn keys(file: &Value) -> PeerKeys {
    let enrolled = unhex(&file["enrolled_key"]).try_into().unwrap();
    PeerKeys::derive(KeyId(u16::try_from(file["key_id"].as_u64().unwrap()).unwrap()), &enrolled)
}

/// A random source that knows the nonce of the vector.
struct Known(Vec<u8>);

impl Random for Known {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0);
    }
}

/// The fields of a vector, by name.
struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn number<T: TryFrom<u64>>(&self, name: &str) -> T {
        T::try_from(self.0[name].as_u64().unwrap_or_else(|| panic!("{name}"))).ok().unwrap()
    }

    fn long(&self, name: &str) -> u64 {
        u64::from_str_radix(self.0[name].as_str().unwrap(), 16).unwrap()
    }

    fn address(&self, name: &str) -> Ipv4Addr {
        self.0[name].as_str().unwrap().parse().unwrap()
    }

    fn socket(&self, address: &str, port: &str) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(address), self.number(port))
    }

    fn transaction(&self) -> Transaction {
        Transaction(self.long("transaction"))
    }

    fn transport(&self) -> Transport {
        Transport::parse(self.number("protocol")).unwrap()
    }

    fn request(&self) -> MappingRequest {
        MappingRequest {
            transaction: self.transaction(),
            source: self.socket("source_address", "source_port"),
            destination: self.socket("dialled_address", "destination_port"),
            transport: self.transport(),
            host: self.0["host"].as_str().unwrap().parse().unwrap(),
        }
    }

    fn response(&self) -> MappingResponse {
        MappingResponse {
            transaction: self.transaction(),
            transport: self.transport(),
            source_port: self.number("source_port"),
            destination_port: self.number("destination_port"),
            observed: self.address("observed_address"),
            outcome: match self.number("result") {
                0 => Ok(self.grant()),
                number => Err(Reason::parse(number)),
            },
        }
    }

    fn grant(&self) -> Grant {
        let kinds = [MappingKind::Exact, MappingKind::AwaitsFirstPacket, MappingKind::Direct];
        Grant {
            kind: kinds.into_iter().find(|kind| *kind as u8 == self.number::<u8>("kind")).unwrap(),
            mapped: self.socket("mapped_address", "mapped_port"),
            pending: Duration::from_secs(self.number("pending_lifetime")),
            lifetime: Duration::from_secs(self.number("lifetime")),
        }
    }

    fn end(&self) -> EndRequest {
        EndRequest {
            transaction: self.transaction(),
            source: self.socket("source_address", "source_port"),
            mapped: self.socket("mapped_address", "mapped_port"),
            transport: self.transport(),
        }
    }

    fn stale(&self) -> Stale {
        Stale { transaction: self.transaction(), floor: self.long("floor") }
    }

    fn offer(&self) -> CookieOffer {
        let cookie = unhex(&self.0["cookie"]).try_into().unwrap();
        CookieOffer { transaction: self.transaction(), cookie }
    }
}

/// Writes the body that the fields stand for.
fn emitted(kind: Kind, fields: &Fields<'_>) -> Body {
    match kind {
        Kind::MappingRequest => fields.request().emit(),
        Kind::MappingResponse => fields.response().emit(),
        Kind::EndRequest => fields.end().emit(),
        Kind::EndResponse => {
            EndResponse { request: fields.end(), ended: fields.0["ended"].as_bool().unwrap() }.emit()
        }
        Kind::Stale => fields.stale().emit(),
        Kind::Cookie => fields.offer().emit(),
    }
}

/// Reads the body and compares it with the fields.
fn assert_parsed(kind: Kind, body: &Body, fields: &Fields<'_>, name: &str) {
    match kind {
        Kind::MappingRequest => assert_eq!(MappingRequest::parse(body), Ok(fields.request()), "{name}"),
        Kind::MappingResponse => assert_eq!(MappingResponse::parse(body), Ok(fields.response()), "{name}"),
        Kind::EndRequest => assert_eq!(EndRequest::parse(body), Ok(fields.end()), "{name}"),
        Kind::EndResponse => {
            let response = EndResponse::parse(body).unwrap();
            assert_eq!(response.ended, fields.0["ended"].as_bool().unwrap(), "{name}");
            assert_eq!(response.request, fields.end(), "{name}");
        }
        Kind::Stale => assert_eq!(Stale::parse(body), fields.stale(), "{name}"),
        Kind::Cookie => assert_eq!(CookieOffer::parse(body), fields.offer(), "{name}"),
    }
}

fn kind_of(vector: &Value) -> Kind {
    generator::kind(vector["kind"].as_u64().unwrap())
}

fn direction_of(vector: &Value) -> Direction {
    if vector["direction"] == "to_router" { Direction::ToRouter } else { Direction::ToEnd }
}

fn each<'a>(file: &'a Value, list: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    file[list].as_array().unwrap().iter().map(|vector| (vector["name"].as_str().unwrap(), vector))
}

#[test]
fn messages_are_read_as_the_fields_of_their_vector() {
    let file = file();
    for (name, vector) in each(&file, "messages") {
        let bytes = unhex(&vector["message"]);
        let envelope = Envelope::parse(&bytes).unwrap();
        assert_eq!(envelope.header.kind, kind_of(vector), "{name}");
        assert_eq!(u64::from(envelope.header.key.0), vector["key_id"].as_u64().unwrap(), "{name}");
        assert_eq!(envelope.header.counter, Fields(vector).long("counter"), "{name}");
        let body = match vector.get("cookie") {
            Some(cookie) => {
                assert_eq!(envelope.cookie()[..], unhex(cookie), "{name}");
                *envelope.anonymous_body().unwrap()
            }
            None => {
                assert_eq!(envelope.cookie()[..], unhex(&vector["nonce"]), "{name}");
                assert_eq!(envelope.anonymous_body(), None, "{name}");
                keys(&file).open(direction_of(vector), &envelope).unwrap()
            }
        };
        assert_eq!(body[..], unhex(&vector["body"]), "{name}");
        assert_parsed(envelope.header.kind, &body, &Fields(&vector["fields"]), name);
    }
}

#[test]
fn fields_are_written_as_the_bytes_of_their_vector() {
    let file = file();
    for (name, vector) in each(&file, "messages") {
        let (kind, counter) = (kind_of(vector), Fields(vector).long("counter"));
        let body = emitted(kind, &Fields(&vector["fields"]));
        assert_eq!(body[..], unhex(&vector["body"]), "{name}");
        let message = match vector.get("cookie") {
            Some(cookie) => assemble_anonymous(kind, counter, &unhex(cookie).try_into().unwrap(), &body),
            None => {
                let mut nonce = Known(unhex(&vector["nonce"]));
                keys(&file).seal(direction_of(vector), kind, counter, &body, &mut nonce)
            }
        };
        assert_eq!(message[..], unhex(&vector["message"]), "{name}");
    }
}

#[test]
fn what_is_not_understood_is_passed_over() {
    let file = file();
    for (name, vector) in each(&file, "tolerated") {
        let body: Body = unhex(&vector["body"]).try_into().unwrap();
        let fields = Fields(&vector["fields"]);
        match kind_of(vector) {
            Kind::EndResponse => {
                let response = EndResponse::parse(&body).unwrap();
                assert_eq!(response.ended, fields.0["ended"].as_bool().unwrap(), "{name}");
                assert_eq!(response.request.transaction, fields.transaction(), "{name}");
            }
            kind => assert_parsed(kind, &body, &fields, name),
        }
    }
}

#[test]
fn every_refusal_fails_where_its_vector_says() {
    let file = file();
    for (name, vector) in each(&file, "refused") {
        let bytes = unhex(&vector["message"]);
        let found = match Envelope::parse(&bytes) {
            Err(error) => ("parse", word(error)),
            Ok(envelope) => {
                let kind = envelope.header.kind;
                match keys(&file).open(generator::direction(kind), &envelope) {
                    Err(OpenError::Forged) => ("open", "forged"),
                    Ok(body) => ("body", word(body_error(kind, &body).unwrap_or_else(|| panic!("{name}")))),
                }
            }
        };
        let wanted = (vector["stage"].as_str().unwrap(), vector["error"].as_str().unwrap());
        assert_eq!(found, wanted, "{name}");
    }
}

fn body_error(kind: Kind, body: &Body) -> Option<ParseError> {
    match kind {
        Kind::MappingRequest => MappingRequest::parse(body).err(),
        Kind::MappingResponse => MappingResponse::parse(body).err(),
        Kind::EndRequest => EndRequest::parse(body).err(),
        Kind::EndResponse => EndResponse::parse(body).err(),
        Kind::Stale | Kind::Cookie => None,
    }
}

fn word(error: ParseError) -> &'static str {
    match error {
        ParseError::Length(_) => "length",
        ParseError::Magic => "magic",
        ParseError::Version(_) => "version",
        ParseError::Kind(_) => "kind",
        ParseError::Field { .. } => "field",
        ParseError::HostName => "host_name",
    }
}

#[test]
fn every_kind_and_every_reason_has_a_vector() {
    let file = file();
    let kinds: std::collections::BTreeSet<_> =
        each(&file, "messages").map(|(_, vector)| kind_of(vector)).collect();
    assert_eq!(kinds.len(), 6);
    for reason in Reason::ALL {
        let number = Value::from(reason as u8);
        assert!(
            each(&file, "messages").any(|(_, vector)| vector["fields"]["result"] == number),
            "{reason:?}"
        );
    }
}

#[test]
fn the_generator_still_makes_the_published_file() {
    assert_eq!(
        generator::generate(),
        file(),
        "cargo run -p natf-proto --example vectors > tests/vectors/natf-1.json"
    );
}
