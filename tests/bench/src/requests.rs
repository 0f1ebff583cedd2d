//! Mapping requests, sealed beforehand, so that the generator's own cryptography is not measured.

use std::{
    error::Error,
    net::{Ipv4Addr, SocketAddrV4},
    time::{Duration, Instant, SystemTime},
};

use natf_kernel::{
    packet::PacketBatch,
    raw::{EchoSocket, RawSender},
};
use natf_proto::{
    BODY_LEN, Direction, Envelope, KeyId, Kind, MAGIC, MappingRequest, MappingResponse, Message, PeerKeys,
    Random, Transaction, Transport,
};
use serde_json::json;

use crate::{
    Outcome, at_share, median,
    window::{UNPACED, ask_all},
};

const PATIENCE: Duration = Duration::from_millis(500);

/// Whom to ask, as whom, for how many flows.
pub struct Settings {
    /// The router's address.
    pub router: Ipv4Addr,
    /// Our own.
    pub source: Ipv4Addr,
    /// As whom.
    pub keys: PeerKeys,
    /// How many messages.
    pub count: u32,
    first: u32,
}

impl Settings {
    /// Reads `ROUTER SOURCE KEY-HEX KEY-ID COUNT FIRST-FLOW`.
    pub fn parse(words: &[&str]) -> Option<Self> {
        let [router, source, key, id, count, first] = words else { return None };
        Some(Self {
            router: router.parse().ok()?,
            source: source.parse().ok()?,
            keys: PeerKeys::derive(KeyId(id.parse().ok()?), &key_bytes(key)?),
            count: count.parse().ok()?,
            first: first.parse().ok()?,
        })
    }

    /// The request for flow number `flow`, sealed: 50,000 source ports, then the next destination port.
    fn request(&self, flow: u32, counter: u64) -> Message {
        let source = u16::try_from(10_000 + flow % 50_000).unwrap_or(1);
        let destination = u16::try_from(1 + flow / 50_000).unwrap_or(1);
        let request = MappingRequest {
            transaction: Transaction(u64::from(flow) + 1),
            source: SocketAddrV4::new(self.source, source),
            destination: SocketAddrV4::new(self.router, destination),
            transport: Transport::Udp,
            host: match "alice".parse() {
                Ok(name) => name,
                Err(_) => unreachable!("alice is a name"),
            },
        };
        let body: [u8; BODY_LEN] = request.emit();
        self.keys.seal(Direction::ToRouter, Kind::MappingRequest, counter, &body, &mut Nonces(counter))
    }

    /// The counter of the first message: it rises from run to run.
    pub fn first_counter(&self) -> u64 {
        let micros = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_micros();
        u64::try_from(micros).unwrap_or(0) << 4
    }

    fn requests(&self) -> Vec<Message> {
        (0..self.count)
            .zip(self.first_counter()..)
            .map(|(at, counter)| self.request(self.first + at, counter))
            .collect()
    }

    fn is_grant(&self, payload: &[u8]) -> bool {
        let Ok(envelope) = Envelope::parse(payload) else { return false };
        let body = self.keys.open(Direction::ToEnd, &envelope);
        body.ok()
            .and_then(|body| MappingResponse::parse(&body).ok())
            .is_some_and(|response| response.outcome.is_ok())
    }
}

/// A key from its 64 hexadecimal digits.
pub fn key_bytes(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (place, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *place = u8::from_str_radix(digits.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Nonces of a benchmark: unlike, not secret.
pub struct Nonces(pub u64);

impl Random for Nonces {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (place, byte) in bytes.iter_mut().zip(self.0.to_be_bytes().into_iter().cycle()) {
            *place = byte;
        }
    }
}

/// How many requests a second are answered, and whether the answers are grants.
pub fn rate(settings: &Settings) -> Outcome {
    let requests: Vec<_> =
        settings.requests().into_iter().map(|request| (settings.source, request)).collect();
    let (mut responses, mut last) = (0usize, None);
    let answered = ask_all(settings.router, &requests, UNPACED, |_, payload| {
        last = Some(payload.to_vec());
        responses += usize::from(payload.get(5) == Some(&2));
    })?;
    let good = last.is_some_and(|payload| settings.is_grant(&payload));
    println!(
        "{}",
        json!({"asked": requests.len(), "answered": answered.count, "responses": responses, "last_is_grant": good,
            "requests_per_s": answered.per_second()})
    );
    Ok(())
}

/// The time from one request to its answer, one after the other.
pub fn latency(settings: &Settings) -> Outcome {
    let (mut socket, sender) = (EchoSocket::open(MAGIC)?, RawSender::open()?);
    let mut batch = PacketBatch::new();
    let (mut samples, mut grants) = (Vec::new(), 0);
    for (message, sequence) in settings.requests().iter().zip((0..=u16::MAX).cycle()) {
        batch.clear();
        batch.push_echo_request(settings.source, settings.router, 8, sequence, message);
        let start = Instant::now();
        sender.send_batch(&batch);
        if let Some(granted) = answer(settings, &mut socket, sequence, start)? {
            samples.push(start.elapsed().as_secs_f64() * 1e6);
            grants += u32::from(granted);
        }
    }
    let answered = samples.len();
    let median_us = median(&mut samples);
    println!(
        "{}",
        json!({"answered": answered, "granted": grants, "median_us": median_us, "p99_us": at_share(&samples, 99)})
    );
    Ok(())
}

fn answer(
    settings: &Settings,
    socket: &mut EchoSocket,
    sequence: u16,
    start: Instant,
) -> Result<Option<bool>, Box<dyn Error>> {
    while start.elapsed() < PATIENCE {
        match socket.recv_from()? {
            Some(reply) if reply.sequence == sequence => return Ok(Some(settings.is_grant(reply.payload))),
            _ => std::hint::spin_loop(),
        }
    }
    Ok(None)
}
