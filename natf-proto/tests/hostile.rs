//! Hostile bytes: valid messages that were cut, grown, flipped, spliced or resealed by a peer gone bad. Nothing panics,
//! nothing forged opens, what is read can be written and read again, and no input takes long.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    net::Ipv4Addr,
    sync::LazyLock,
    time::{Duration, Instant},
};

use natf_proto::{
    BODY_LEN, Body, CookieJar, CookieOffer, Direction, EndRequest, EndResponse, Envelope, Freshness,
    HEADER_LEN, HostName, KeyId, MESSAGE_LEN, MappingRequest, MappingResponse, PeerKeys, Random,
    ReplayWindow, Stale, Transaction, Transport,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::{Value, from_str};

#[path = "../examples/vectors.rs"]
mod generator;

/// SplitMix64.
struct Seeded(u64);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            *byte = (mixed >> 56) as u8;
        }
    }
}

static PUBLISHED: LazyLock<Value> =
    LazyLock::new(|| from_str(include_str!("../../tests/vectors/natf-1.json")).unwrap());

fn keys() -> PeerKeys {
    let file = &*PUBLISHED;
    let enrolled = generator::unhex(&file["enrolled_key"]).try_into().unwrap();
    PeerKeys::derive(KeyId(u16::try_from(file["key_id"].as_u64().unwrap()).unwrap()), &enrolled)
}

/// The published messages and bodies, which cover every kind and reason.
fn seeds(list: &'static [&'static str], part: &'static str) -> Vec<Vec<u8>> {
    let file = &*PUBLISHED;
    let vectors = list.iter().flat_map(|list| file[*list].as_array().unwrap());
    vectors.map(|vector| generator::unhex(&vector[part])).collect()
}

/// One thing that happens to bytes on their way.
#[derive(Debug, Clone)]
enum Harm {
    Flip(Index, u8),
    Set(Index, u8),
    Cut(Index),
    Grow(Vec<u8>),
    Splice(Index, Index),
    Swap(Index, Index),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        4 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        4 => (any::<Index>(), prop::sample::select(vec![0u8, 1, 2, 3, 6, 17, 46, 64, 65, 127, 128, 254, 255]))
            .prop_map(|(at, byte)| Harm::Set(at, byte)),
        1 => any::<Index>().prop_map(Harm::Cut),
        1 => vec(any::<u8>(), 1..64).prop_map(Harm::Grow),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(seed, at)| Harm::Splice(seed, at)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(one, other)| Harm::Swap(one, other)),
    ]
}

fn harmed(mut bytes: Vec<u8>, harms: &[Harm], seeds: &[Vec<u8>]) -> Vec<u8> {
    for harm in harms {
        let length = bytes.len();
        if length == 0 {
            break;
        }
        match harm {
            Harm::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Harm::Set(at, byte) => bytes[at.index(length)] = *byte,
            Harm::Cut(at) => bytes.truncate(at.index(length)),
            Harm::Grow(more) => bytes.extend(more),
            Harm::Splice(seed, at) => {
                let (other, at) = (&seeds[seed.index(seeds.len())], at.index(length));
                bytes.truncate(at);
                bytes.extend(other.iter().skip(at));
            }
            Harm::Swap(one, other) => bytes.swap(one.index(length), other.index(length)),
        }
    }
    bytes
}

/// Reads a body as everything that it might be; whatever is read survives being written.
fn read_as_everything(body: &Body) {
    if let Ok(request) = MappingRequest::parse(body) {
        assert_eq!(MappingRequest::parse(&request.emit()), Ok(request));
        assert!(matches!(request.host.as_str().len(), 1..=64));
        assert!(request.source.port() != 0 && request.destination.port() != 0);
    }
    if let Ok(response) = MappingResponse::parse(body) {
        assert_eq!(MappingResponse::parse(&response.emit()), Ok(response));
        assert!(response.outcome.is_ok_and(|grant| grant.mapped.port() != 0) || response.outcome.is_err());
    }
    if let Ok(response) = EndResponse::parse(body) {
        assert_eq!(EndResponse::parse(&response.emit()), Ok(response));
        assert_eq!(EndRequest::parse(body), Ok(response.request));
    }
    let (stale, offer) = (Stale::parse(body), CookieOffer::parse(body));
    assert_eq!(Stale::parse(&stale.emit()), stale);
    assert_eq!(CookieOffer::parse(&offer.emit()), offer);
    let _ = HostName::new(&body[24..88]);
    let _ = Transport::parse(body[20]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_harmed_message_opens_only_if_it_is_one_that_was_sent(which: Index, harms in vec(harm(), 1..6)) {
        let (keys, mut seeds) = (keys(), seeds(&["messages", "refused"], "message"));
        // Some refusals are one sealed message with a byte changed: harm may put that byte right again.
        let grown = seeds.iter().find(|seed| seed.len() == MESSAGE_LEN + 1).unwrap();
        seeds.push(grown[..MESSAGE_LEN].to_vec());
        let message = harmed(which.get(&seeds).clone(), &harms, &seeds);
        let Ok(envelope) = Envelope::parse(&message) else { return Ok(()) };
        prop_assert_eq!(message.len(), MESSAGE_LEN);
        for direction in [Direction::ToRouter, Direction::ToEnd] {
            if let Ok(body) = keys.open(direction, &envelope) {
                prop_assert!(seeds.contains(&message), "a message that nobody sealed was opened");
                read_as_everything(&body);
            }
        }
        if let Some(body) = envelope.anonymous_body() {
            prop_assert_eq!(envelope.header.key, KeyId::ANONYMOUS);
            read_as_everything(body);
        }
    }

    #[test]
    fn a_peer_gone_bad_may_seal_any_body(which: Index, harms in vec(harm(), 0..8), counter: u64, seed: u64) {
        let (keys, seeds) = (keys(), seeds(&["messages", "tolerated"], "body"));
        let mut bytes = harmed(which.get(&seeds).clone(), &harms, &seeds);
        bytes.resize(BODY_LEN, 0xff);
        let body: Body = bytes.try_into().unwrap();
        read_as_everything(&body);
        for kind in (1..=6).map(generator::kind) {
            let direction = generator::direction(kind);
            let message = keys.seal(direction, kind, counter, &body, &mut Seeded(seed));
            let envelope = Envelope::parse(&message).unwrap();
            prop_assert_eq!(envelope.header.counter, counter);
            prop_assert_eq!(keys.open(direction, &envelope), Ok(body));
        }
    }

    #[test]
    fn any_bytes_behind_a_right_header_are_harmless(rest in vec(any::<u8>(), MESSAGE_LEN - HEADER_LEN), kind in 1u8..=6, id: u16) {
        let mut message = [b"NATf\x01".as_slice(), &[kind], &id.to_be_bytes(), &[0; 8]].concat();
        message.extend(&rest);
        let envelope = Envelope::parse(&message).unwrap();
        prop_assert!(keys().open(Direction::ToRouter, &envelope).is_err());
        read_as_everything(&rest[24..24 + BODY_LEN].try_into().unwrap());
    }

    #[test]
    fn host_names_are_refused_or_can_be_written_into_any_file(name in vec(any::<u8>(), 0..80)) {
        if let Ok(host) = HostName::new(&name) {
            prop_assert!(host.as_str().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte)));
            prop_assert_eq!(host.as_str(), String::from_utf8(name).unwrap().to_ascii_lowercase());
        }
    }

    #[test]
    fn counters_far_apart_neither_panic_nor_come_back(counters in vec(prop_oneof![any::<u64>(), 0..3000u64, u64::MAX - 3000..=u64::MAX], 1..60), floor: u64) {
        let mut window = ReplayWindow::above(floor);
        for counter in counters {
            if window.judge(counter) == Freshness::Fresh {
                window.accept(counter);
                prop_assert!(counter > floor);
            }
            prop_assert_ne!(window.judge(counter), Freshness::Fresh);
            prop_assert!(window.highest() >= floor);
        }
    }

    #[test]
    fn a_made_up_cookie_is_not_good(seed: u64, source: u32, transaction: u64, cookie: [u8; 24]) {
        let jar = CookieJar::new(Instant::now(), &mut Seeded(seed));
        prop_assert!(!jar.check(Ipv4Addr::from(source), Transaction(transaction), &cookie));
    }
}

#[test]
fn no_message_takes_long() {
    const MESSAGES: u32 = 2000;
    let (keys, seeds) = (keys(), seeds(&["messages", "refused"], "message"));
    let mut random = Seeded(1);
    let start = Instant::now();
    for _ in 0..MESSAGES {
        let mut message =
            seeds[usize::try_from(random.below(u32::try_from(seeds.len()).unwrap())).unwrap()].clone();
        let length = u32::try_from(message.len()).unwrap();
        if length > 0 {
            message[usize::try_from(random.below(length)).unwrap()] ^= 1;
        }
        if let Ok(envelope) = Envelope::parse(&message) {
            let _ = keys.open(Direction::ToRouter, &envelope).map(|body| read_as_everything(&body));
        }
    }
    // A few microseconds with optimisation; a hundred times that is room for a slow machine without it.
    let each = start.elapsed() / MESSAGES;
    assert!(each < Duration::from_millis(2), "{each:?} for each message");
}
