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

use crate::{Outcome, median};

/// Requests that are under way at once when the rate is measured.
pub const WINDOW: usize = 64;
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
        let mut bytes = [0; 32];
        for (place, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *place = u8::from_str_radix(key.get(at..at + 2)?, 16).ok()?;
        }
        Some(Self {
            router: router.parse().ok()?,
            source: source.parse().ok()?,
            keys: PeerKeys::derive(KeyId(id.parse().ok()?), &bytes),
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

/// Nonces of a benchmark: unlike, not secret.
pub struct Nonces(pub u64);

impl Random for Nonces {
    fn fill(&mut self, bytes: &mut [u8]) {
        for (place, byte) in bytes.iter_mut().zip(self.0.to_be_bytes().into_iter().cycle()) {
            *place = byte;
        }
    }
}

/// How many requests a second are granted, with [`WINDOW`] under way at once.
pub fn rate(settings: &Settings) -> Outcome {
    let (mut socket, sender) = (EchoSocket::open(MAGIC)?, RawSender::open()?);
    let requests = settings.requests();
    let (mut sent, mut answered, mut granted) = (0usize, 0usize, 0usize);
    let mut last = None;
    let mut batch = PacketBatch::new();
    let start = Instant::now();
    let mut progress = start;
    while answered < requests.len() {
        batch.clear();
        for message in requests.iter().skip(sent).take(WINDOW.saturating_sub(sent - answered)) {
            let sequence = u16::try_from(sent % 65_536).unwrap_or(0);
            batch.push_echo_request(settings.source, settings.router, 7, sequence, message);
            sent += 1;
        }
        sender.send_batch(&batch);
        while let Some(reply) = socket.recv_from()? {
            answered += 1;
            last = Some(reply.payload.to_vec());
            granted += usize::from(reply.payload.get(5) == Some(&2));
            progress = Instant::now();
        }
        if progress.elapsed() > PATIENCE {
            break;
        }
    }
    let seconds = progress.duration_since(start).as_secs_f64();
    let good = last.is_some_and(|payload| settings.is_grant(&payload));
    println!(
        "{}",
        json!({"asked": sent, "answered": answered, "responses": granted, "last_is_grant": good,
            "requests_per_s": per_second(answered, seconds)})
    );
    Ok(())
}

/// A rate.
pub fn per_second(count: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(0)) / seconds.max(1e-9)
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
    println!("{}", json!({"answered": answered, "granted": grants, "median_us": median(&mut samples)}));
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
