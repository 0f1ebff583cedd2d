//! The published test vectors of the notices (T4, T5), both ways.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{net::Ipv4Addr, time::Duration};

use natf_proto::{
    GuideOutcome, KeyId, Notice, NoticeBody, NoticeKind, Notification, NotificationAnswer, OpenError,
    ParseError, PeerKeys, Random, Reason,
};
use serde_json::{Value, from_str};

#[path = "../examples/notice_vectors.rs"]
mod generator;

fn file() -> Value {
    from_str(include_str!("../../tests/vectors/tsn-1.json")).unwrap()
}

fn unhex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
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

fn origin(fields: &Value) -> Option<Ipv4Addr> {
    let origin: Ipv4Addr = fields["origin"].as_str().unwrap().parse().unwrap();
    (!origin.is_unspecified()).then_some(origin)
}

fn id(fields: &Value) -> u16 {
    u16::try_from(fields["id"].as_u64().unwrap()).unwrap()
}

fn notification(fields: &Value) -> Notification {
    Notification {
        id: id(fields),
        origin: origin(fields),
        name: fields["host"].as_str().unwrap().parse().unwrap(),
    }
}

fn answer(fields: &Value) -> NotificationAnswer {
    let outcome = match fields["outcome"].as_u64().unwrap() {
        0 => GuideOutcome::Guided { lifetime: Duration::from_secs(fields["lifetime"].as_u64().unwrap()) },
        255 => {
            GuideOutcome::Stale { floor: u64::from_str_radix(fields["floor"].as_str().unwrap(), 16).unwrap() }
        }
        number => GuideOutcome::Refused(Reason::parse(u8::try_from(number).unwrap())),
    };
    NotificationAnswer { id: id(fields), origin: origin(fields), outcome }
}

#[test]
fn t5_notices_are_read_and_written_as_their_vector_says() {
    let file = file();
    let keys = keys(&file);
    for vector in file["notices"].as_array().unwrap() {
        let (name, fields) = (&vector["name"], &vector["fields"]);
        let bytes = unhex(&vector["message"]);
        let notice = Notice::parse(&bytes).unwrap();
        let body = keys.open_notice(&notice).unwrap();
        assert_eq!(body[..], unhex(&vector["body"]), "{name}");
        assert_eq!(format!("{:016x}", notice.counter), vector["counter"], "{name}");
        let emitted: NoticeBody = match notice.kind {
            NoticeKind::Notification => {
                assert_eq!(Notification::parse(&body), Ok(notification(fields)), "{name}");
                notification(fields).emit()
            }
            NoticeKind::Answer => {
                assert_eq!(NotificationAnswer::parse(&body), Ok(answer(fields)), "{name}");
                answer(fields).emit()
            }
        };
        let mut nonce = Known(unhex(&vector["nonce"]));
        assert_eq!(keys.seal_notice(notice.kind, notice.counter, &emitted, &mut nonce)[..], bytes, "{name}");
    }
}

#[test]
fn every_refusal_fails_where_its_vector_says() {
    let file = file();
    for vector in file["refused"].as_array().unwrap() {
        let bytes = unhex(&vector["message"]);
        let found = match Notice::parse(&bytes) {
            Err(error) => ("parse", word(error)),
            Ok(notice) => match keys(&file).open_notice(&notice) {
                Err(OpenError::Forged) => ("open", "forged"),
                Ok(body) => ("body", word(Notification::parse(&body).unwrap_err())),
            },
        };
        let wanted = (vector["stage"].as_str().unwrap(), vector["error"].as_str().unwrap());
        assert_eq!(found, wanted, "{}", vector["name"]);
    }
}

#[test]
fn the_file_is_what_the_generator_writes() {
    assert_eq!(file(), generator::generate());
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
