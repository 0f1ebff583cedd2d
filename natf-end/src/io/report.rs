//! What a node says of itself, as JSON.

use std::time::{Duration, Instant};

use natf_proto::MappingKind;
use serde_json::{Map, Value, json};

use super::service::Service;
use crate::{
    engine::FlowRow,
    outcome::{PingEvent, PingReport},
    steps::Step,
};

/// The answer to `status`.
pub fn status(service: &Service) -> Value {
    let mut node = service.node.borrow_mut();
    let now = Instant::now();
    let losses = node.kernel().losses();
    let mut names: Vec<_> = node.relations.iter().collect();
    names.sort_by_key(|(address, _)| *address);
    let names: Vec<Value> = names
        .into_iter()
        .map(|(address, relation)| {
            json!({
                "name": relation.name().full(),
                "address": address.to_string(),
                "home": relation.home().to_string(),
                "routers": relation.targets().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "fresh": relation.is_fresh(now),
            })
        })
        .collect();
    let mut counters: Map<String, Value> =
        node.engine.counters().iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    counters.insert("queue_full".into(), losses.queue_full.into());
    counters.insert("socket_full".into(), losses.socket_full.into());
    let dns: Map<String, Value> =
        service.proxy.counters().iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    json!({
        "virtual": node.relations.prefix().to_string(),
        "homes": service.domains(),
        "upstream": service.upstreams.servers().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "held": node.engine.held(),
        "names": names,
        "flows": node.engine.flows().iter().map(flow).collect::<Vec<_>>(),
        "counters": counters,
        "dns_counters": dns,
        "steps_us": steps(|step| node.engine.steps.median(step)),
    })
}

fn flow(row: &FlowRow) -> Value {
    json!({
        "name": row.name.to_string(),
        "protocol": row.flow.transport.to_string(),
        "source": row.flow.source.to_string(),
        "destination": row.flow.destination.to_string(),
        "outside": row.source.to_string(),
        "mapped": row.mapped.map(|mapped| mapped.to_string()),
        "state": row.state,
        "way": row.way,
    })
}

fn steps(median: impl Fn(Step) -> Option<Duration>) -> Value {
    let step = |step: Step| (step.name().to_owned(), json!(median(step).map(microseconds)));
    Value::Object(Step::ALL.into_iter().map(step).collect())
}

/// Microseconds with one decimal.
fn microseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// The answer to `ping`.
pub fn ping(report: &PingReport) -> Value {
    let step = |(at, event): &(Duration, PingEvent)| {
        let mut step = self::event(event);
        if let Value::Object(fields) = &mut step {
            fields.insert("at_us".into(), json!(microseconds(*at)));
            fields.insert("text".into(), text(event).into());
        }
        step
    };
    json!({
        "name": report.name.to_string(),
        "service": format!("{}/{}", report.flow.transport, report.flow.destination.port()),
        "virtual": report.flow.destination.ip().to_string(),
        "source": report.flow.source.to_string(),
        "granted": report.is_granted(),
        "plain": report.plain().map(|address| address.to_string()),
        "steps": report.events.iter().map(step).collect::<Vec<_>>(),
    })
}

fn event(event: &PingEvent) -> Value {
    match event {
        PingEvent::Asked { router, carrier } => {
            json!({"step": "asked", "router": router.to_string(), "carrier": carrier.to_string()})
        }
        PingEvent::Stale => json!({"step": "stale"}),
        PingEvent::Cookie => json!({"step": "cookie"}),
        PingEvent::Mirrored(router) => json!({"step": "mirrored", "router": router.to_string()}),
        PingEvent::Granted { grant, observed } => json!({
            "step": "granted",
            "mapped": grant.mapped.to_string(),
            "kind": kind(grant.kind),
            "pending": grant.pending.as_secs(),
            "lifetime": grant.lifetime.as_secs(),
            "observed": observed.to_string(),
        }),
        PingEvent::Refused(why) => json!({"step": "refused", "reason": why.name()}),
        PingEvent::Plain(address) => json!({"step": "plain", "address": address.to_string()}),
        PingEvent::Ended(ended) => json!({"step": "ended", "ended": ended}),
        PingEvent::EndUnconfirmed => json!({"step": "end_unconfirmed"}),
    }
}

fn kind(kind: MappingKind) -> &'static str {
    match kind {
        MappingKind::Exact => "exact",
        MappingKind::AwaitsFirstPacket => "awaits_first_packet",
        MappingKind::Direct => "direct",
    }
}

fn text(event: &PingEvent) -> String {
    match event {
        PingEvent::Asked { router, carrier } => format!("request sent to {router} by {carrier}"),
        PingEvent::Stale => "the router asks for a higher counter (is this clock wrong?)".into(),
        PingEvent::Cookie => "the router asks for a cookie: it wants to see that we receive here".into(),
        PingEvent::Mirrored(router) => {
            format!("{router} mirrors the request: it runs no NAT-f, or does not know our key")
        }
        PingEvent::Granted { grant, observed } => {
            let how = match grant.kind {
                MappingKind::Exact => "for this source only",
                MappingKind::AwaitsFirstPacket => "awaiting our first packet, as a NAT stands before us",
                MappingKind::Direct => "the host itself, as no NAT stands between",
            };
            format!("mapped to {}, {how}; the router sees us as {observed}", grant.mapped)
        }
        PingEvent::Refused(why) => why.to_string(),
        PingEvent::Plain(address) => format!("applications reach the router itself at {address}"),
        PingEvent::Ended(true) => "the mapping is ended again".into(),
        PingEvent::Ended(false) => "the router knew of no mapping to end".into(),
        PingEvent::EndUnconfirmed => "the router did not confirm the end; the mapping times out".into(),
    }
}
