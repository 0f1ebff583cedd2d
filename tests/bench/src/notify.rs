//! Communication notifications (T4), as a TSN server sends them: one, to see what the router says, or many, sealed
//! beforehand, to see how fast it says it.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use natf_kernel::{
    packet::PacketBatch,
    raw::{EchoSocket, RawSender},
};
use natf_proto::{
    GuideOutcome, HostName, MAGIC, Notice, NoticeKind, NoticeMessage, Notification, NotificationAnswer,
};
use serde_json::{Value, json};

use crate::{
    Outcome,
    requests::{Nonces, Settings},
    window::ask_all,
};

/// As many clients as fit into a guide table of the default size beside others.
const CLIENTS: u32 = 2_000;
const PATIENCE: Duration = Duration::from_millis(500);

fn seal(settings: &Settings, counter: u64, notification: &Notification) -> NoticeMessage {
    let body = notification.emit();
    settings.keys.seal_notice(NoticeKind::Notification, counter, &body, &mut Nonces(counter))
}

fn open(settings: &Settings, payload: &[u8]) -> Option<GuideOutcome> {
    let notice = Notice::parse(payload).ok().filter(|notice| notice.kind == NoticeKind::Answer)?;
    let body = settings.keys.open_notice(&notice).ok()?;
    NotificationAnswer::parse(&body).ok().map(|answer| answer.outcome)
}

/// Announces `origin` (`-`: ourselves) to `name` and prints the router's answer.
pub fn once(settings: &Settings, name: &str, origin: &str) -> Outcome {
    let origin: Option<Ipv4Addr> = if origin == "-" { None } else { Some(origin.parse()?) };
    let mut counter = settings.first_counter();
    let mut answer = exchange(settings, counter, name.parse()?, origin)?;
    if let Some(Some(GuideOutcome::Stale { floor })) = answer {
        counter = floor + 1;
        answer = exchange(settings, counter, name.parse()?, origin)?;
    }
    println!("{}", told(answer));
    Ok(())
}

/// The router's answer: nothing, a mirrored notification, or a sealed outcome.
fn exchange(
    settings: &Settings,
    counter: u64,
    name: HostName,
    origin: Option<Ipv4Addr>,
) -> Result<Option<Option<GuideOutcome>>, Box<dyn std::error::Error>> {
    let (mut socket, sender) = (EchoSocket::open(MAGIC)?, RawSender::open()?);
    let id = u16::try_from(counter >> 4 & 0xffff).unwrap_or(0);
    let message = seal(settings, counter, &Notification { id, origin, name });
    let mut batch = PacketBatch::new();
    batch.push_echo_request(settings.source, settings.router, id, 1, &message);
    let start = Instant::now();
    sender.send_batch(&batch);
    while start.elapsed() < PATIENCE {
        if let Some(reply) = socket.recv_from()? {
            return Ok(Some(open(settings, reply.payload)));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(None)
}

fn told(answer: Option<Option<GuideOutcome>>) -> Value {
    match answer {
        None => json!({"outcome": "silent"}),
        Some(None) => json!({"outcome": "mirrored"}),
        Some(Some(GuideOutcome::Guided { lifetime })) => {
            json!({"outcome": "guided", "lifetime": lifetime.as_secs()})
        }
        Some(Some(GuideOutcome::Stale { floor })) => json!({"outcome": "stale", "floor": floor}),
        Some(Some(GuideOutcome::Refused(reason))) => {
            json!({"outcome": "refused", "reason": reason.map(|reason| reason.name())})
        }
    }
}

/// How many notifications a second are answered, where at most `pace` are sent.
pub fn rate(settings: &Settings, name: &str, pace: u32) -> Outcome {
    let name: HostName = name.parse()?;
    let start = settings.first_counter();
    let message = |(at, counter): (u32, u64)| {
        let origin = Some(Ipv4Addr::from(0xc612_0000 + at % CLIENTS));
        let id = u16::try_from(at & 0xffff).unwrap_or(0);
        (settings.source, seal(settings, counter, &Notification { id, origin, name }))
    };
    let messages: Vec<_> = (0..settings.count).zip(start..).map(message).collect();
    let mut payloads = Vec::new();
    let answered = ask_all(settings.router, &messages, pace, |_, payload| payloads.push(payload.to_vec()))?;
    let is_guided = |payload: &&Vec<u8>| matches!(open(settings, payload), Some(GuideOutcome::Guided { .. }));
    let guided = payloads.iter().filter(is_guided).count();
    println!(
        "{}",
        json!({"sent": messages.len(), "answered": answered.count, "guided": guided,
            "notifications_per_s": answered.per_second()})
    );
    Ok(())
}
