//! Many sealed messages to a router, a bounded number of them under way at once, and the answers to them.

use std::{
    error::Error,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_kernel::{
    packet::PacketBatch,
    raw::{EchoSocket, RawSender},
};
use natf_proto::MAGIC;

/// Messages that are under way at once.
const WINDOW: usize = 64;
/// As fast as the window allows.
pub const UNPACED: u32 = u32::MAX;
/// Without any answer for so long, the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of the messages.
pub struct Answered {
    /// How many got an answer.
    pub count: usize,
    /// From the first message to the last answer.
    pub seconds: f64,
}

impl Answered {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        per_second(self.count, self.seconds)
    }
}

/// Sends every message from its own source address, at most `pace` of them per second, and hands each answer with the
/// message's number to `each`.
pub fn ask_all<M: AsRef<[u8]>>(
    router: Ipv4Addr,
    messages: &[(Ipv4Addr, M)],
    pace: u32,
    mut each: impl FnMut(usize, &[u8]),
) -> Result<Answered, Box<dyn Error>> {
    let (mut socket, sender) = (EchoSocket::open(MAGIC)?, RawSender::open()?);
    let (mut sent, mut count) = (0usize, 0usize);
    let mut batch = PacketBatch::new();
    let start = Instant::now();
    let mut progress = start;
    while count < messages.len() {
        batch.clear();
        let room = WINDOW.saturating_sub(sent - count).min(due(start.elapsed(), pace).saturating_sub(sent));
        for (source, message) in messages.iter().skip(sent).take(room) {
            let (ident, sequence) = label(sent);
            batch.push_echo_request(*source, router, ident, sequence, message.as_ref());
            sent += 1;
        }
        if !batch.is_empty() {
            sender.send_batch(&batch);
        }
        while let Some(reply) = socket.recv_from()? {
            count += 1;
            each(usize::from(reply.ident) << 16 | usize::from(reply.sequence), reply.payload);
            progress = Instant::now();
        }
        if sent > count && progress.elapsed() > PATIENCE {
            break;
        }
    }
    Ok(Answered { count, seconds: progress.duration_since(start).as_secs_f64() })
}

/// A message's number as identifier and sequence number of its ping, which the answer repeats.
fn label(number: usize) -> (u16, u16) {
    let half = |bits: usize| u16::try_from(bits & 0xffff).unwrap_or(0);
    (half(number >> 16), half(number))
}

/// How many messages may have left after this time.
fn due(elapsed: Duration, pace: u32) -> usize {
    usize::try_from(elapsed.as_micros() * u128::from(pace) / 1_000_000 + 1).unwrap_or(usize::MAX)
}

/// A rate.
pub fn per_second(count: usize, seconds: f64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(0)) / seconds.max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_holds_messages_back_until_they_are_due() {
        assert_eq!(due(Duration::ZERO, 1000), 1);
        assert_eq!(due(Duration::from_millis(500), 1000), 501);
        assert!(due(Duration::from_millis(500), UNPACED) > 1_000_000);
        assert_eq!(label(0x1_0002), (1, 2));
    }
}
