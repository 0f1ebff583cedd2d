//! natf-proto: messages, notices and their bodies.

use natf_proto::{
    BODY_LEN, Body, CookieOffer, Direction, EndRequest, EndResponse, Envelope, KeyId, Kind, MappingRequest,
    MappingResponse, NOTICE_BODY_LEN, Notice, NoticeBody, Notification, NotificationAnswer, PeerKeys, Stale,
};

use crate::{unhex, vectors};

const MESSAGES: &str = include_str!("../../../vectors/natf-1.json");
const NOTICES: &str = include_str!("../../../vectors/tsn-1.json");

/// The key of the published vectors, so that some inputs open.
fn keys() -> PeerKeys {
    let enrolled = unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    PeerKeys::derive(KeyId(4711), &enrolled.try_into().unwrap())
}

/// Any bytes as a message.
pub fn message(data: &[u8]) {
    let Ok(envelope) = Envelope::parse(data) else { return };
    let direction = match envelope.header.kind {
        Kind::MappingRequest | Kind::EndRequest => Direction::ToRouter,
        _ => Direction::ToEnd,
    };
    if let Ok(body) = keys().open(direction, &envelope) {
        every_body(&body);
    }
    if let Some(body) = envelope.anonymous_body() {
        every_body(body);
    }
}

/// The published messages.
pub fn message_seeds() -> Vec<Vec<u8>> {
    vectors(MESSAGES, "message")
}

/// Any 128 bytes as each kind of body.
pub fn body(data: &[u8]) {
    if let Some(body) = data.first_chunk::<BODY_LEN>() {
        every_body(body);
    }
}

/// What is read can be written, and reads as the same again.
fn every_body(body: &Body) {
    if let Ok(request) = MappingRequest::parse(body) {
        assert_eq!(MappingRequest::parse(&request.emit()), Ok(request));
    }
    if let Ok(response) = MappingResponse::parse(body) {
        assert_eq!(MappingResponse::parse(&response.emit()), Ok(response));
    }
    if let Ok(request) = EndRequest::parse(body) {
        assert_eq!(EndRequest::parse(&request.emit()), Ok(request));
    }
    if let Ok(response) = EndResponse::parse(body) {
        assert_eq!(EndResponse::parse(&response.emit()), Ok(response));
    }
    let stale = Stale::parse(body);
    assert_eq!(Stale::parse(&stale.emit()), stale);
    let offer = CookieOffer::parse(body);
    assert_eq!(CookieOffer::parse(&offer.emit()), offer);
}

/// The published bodies.
pub fn body_seeds() -> Vec<Vec<u8>> {
    vectors(MESSAGES, "body")
}

/// Any bytes as a notice (T5).
pub fn notice(data: &[u8]) {
    let Ok(notice) = Notice::parse(data) else { return };
    if let Ok(body) = keys().open_notice(&notice) {
        every_notice_body(&body);
    }
}

/// The published notices.
pub fn notice_seeds() -> Vec<Vec<u8>> {
    vectors(NOTICES, "message")
}

/// Any 72 bytes as a notification and as an answer.
pub fn notice_body(data: &[u8]) {
    if let Some(body) = data.first_chunk::<NOTICE_BODY_LEN>() {
        every_notice_body(body);
    }
}

fn every_notice_body(body: &NoticeBody) {
    if let Ok(notification) = Notification::parse(body) {
        assert_eq!(Notification::parse(&notification.emit()), Ok(notification));
        assert!(!notification.name.as_str().is_empty());
    }
    if let Ok(answer) = NotificationAnswer::parse(body) {
        assert_eq!(NotificationAnswer::parse(&answer.emit()), Ok(answer));
    }
}

/// The published bodies.
pub fn notice_body_seeds() -> Vec<Vec<u8>> {
    vectors(NOTICES, "body")
}
