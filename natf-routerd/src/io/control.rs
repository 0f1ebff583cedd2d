//! What the daemon says over its control socket.

use std::{io, time::Instant};

use natf_daemon::control;
use natf_proto::KeyId;
use serde_json::{Map, Value, json};
use smol::{
    io::AsyncWriteExt as _,
    net::unix::{UnixListener, UnixStream},
};

use super::{
    daemon::{Daemon, Shared, now},
    discovery, why,
};
use crate::core::{
    mapping::{Mapping, MappingId, Stage},
    output::Entry,
    peer::Role,
    refusals::Refusal,
    router::Router,
};

/// Mappings that are written between two looks at the queue.
const PORTION: usize = 64;

/// Answers until the daemon ends.
pub async fn serve(daemon: Shared, listener: UnixListener) {
    control::serve(listener, |question, stream| talk(daemon.clone(), question, stream)).await;
}

async fn talk(daemon: Shared, question: Value, mut stream: UnixStream) -> io::Result<()> {
    match question.get("command").and_then(Value::as_str) {
        Some("mappings") => write_mappings(&daemon, &mut stream, &question).await?,
        Some("hosts") if question.get("discovered") == Some(&Value::Bool(true)) => {
            discovery::ask_hosts(&daemon).await;
            let mut answer = hosts(&daemon.borrow());
            if let Value::Object(fields) = &mut answer {
                fields.insert("discovered".into(), discovery::show(&daemon.borrow()));
            }
            control::write(&mut stream, &answer).await?;
        }
        command => {
            let answer = answer(&mut daemon.borrow_mut(), command.unwrap_or_default(), &question);
            control::write(&mut stream, &answer).await?;
        }
    }
    stream.flush().await
}

fn answer(daemon: &mut Daemon, command: &str, question: &Value) -> Value {
    match command {
        "status" => status(daemon),
        "counters" => Value::Object(counters(daemon)),
        "hosts" => hosts(daemon),
        "peers" => peers(daemon),
        "guide" => guide(daemon, question),
        "names" => names(daemon),
        "refusals" => refusals(daemon),
        "why" => why::explain(daemon, question),
        "end" => end(daemon, question),
        "reload" => reload(daemon),
        other => {
            json!({"error": format!("'{other}' is no command; use status, mappings, guide, names, refusals, counters, hosts, peers, why, end, reload")})
        }
    }
}

/// With how many live flows ended, as the configuration no longer allows them.
fn reload(daemon: &mut Daemon) -> Value {
    let before = daemon.router.mappings().len();
    match daemon.reload() {
        Ok(()) => {
            json!({"reloaded": true, "ended": before.saturating_sub(daemon.router.mappings().len())})
        }
        Err(error) => json!({"error": error.to_string()}),
    }
}

fn status(daemon: &Daemon) -> Value {
    let losses = daemon.kernel.queue().losses().unwrap_or_default();
    let domains: Vec<_> = daemon.settings.router.domains.iter().map(|domain| domain.as_str()).collect();
    let median = daemon.kernel.times().median().map(|time| time.as_secs_f64() * 1e6);
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": daemon.started.elapsed().as_secs(),
        "domains": domains,
        "addresses": daemon.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "outside": daemon.outside.map(|outside| outside.to_string()),
        "hosts": daemon.router.access().rows().count(),
        "peers": daemon.router.peers().iter().count(),
        "mappings": daemon.router.mappings().len(),
        "guide": daemon.router.guide_rows(now()).count(),
        "router_us": median,
        "queue_full": losses.queue_full,
        "socket_full": losses.socket_full,
        "counters": counters(daemon),
        "end": daemon.end.status(),
    })
}

fn counters(daemon: &Daemon) -> Map<String, Value> {
    daemon.router.counters().iter().map(|(name, value)| (name, value.into())).collect()
}

fn hosts(daemon: &Daemon) -> Value {
    let access = daemon.router.access();
    let rows = access.rows().map(|(name, row)| {
        json!({
            "name": name.as_str(),
            "address": access.address(row).map(|address| address.to_string()),
            "access": if row.allow { "allow" } else { "deny" },
            "services": row.services.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "peers": row.peers,
            "anyone": row.anyone,
            "until": row.until,
        })
    });
    json!({"hosts": rows.collect::<Vec<_>>()})
}

fn peers(daemon: &Daemon) -> Value {
    let rows = daemon.router.peers().iter().map(|(id, peer)| {
        json!({
            "name": peer.name,
            "id": id.0,
            "role": match peer.role { Role::Node => "node", Role::Tsn => "tsn", Role::Sip => "sip" },
            "hosts": peer.hosts.iter().map(|host| host.as_str()).collect::<Vec<_>>(),
            "last_seen": (peer.last_seen > 0).then_some(peer.last_seen),
            "mappings": daemon.router.mappings_of(id),
        })
    });
    json!({"peers": rows.collect::<Vec<_>>()})
}

/// Rows of the guide table that live (T2).
fn guide(daemon: &Daemon, question: &Value) -> Value {
    let (router, now) = (&daemon.router, now());
    let total = router.guide_rows(now).count();
    let rows = router.guide_rows(now).skip(from(question)).take(limit(question)).map(|row| {
        let inside = router.may_announce(now, row.peer, row.host);
        let services =
            router.access().rows().find(|(name, _)| *name == row.host).map(|(_, row)| &row.services);
        let services = services.into_iter().flatten().map(ToString::to_string);
        json!({
            "source": row.source.to_string(),
            "host": row.host.as_str(),
            "inside": inside.map(|inside| inside.to_string()).ok(),
            "services": services.collect::<Vec<_>>(),
            "peer": router.peers().find(row.peer).map(|peer| peer.name.as_str()),
            "waiting": row.waiting,
            "remaining": row.remaining,
        })
    });
    json!({"guide": rows.collect::<Vec<_>>(), "total": total})
}

/// The last refusals, the latest first.
fn refusals(daemon: &Daemon) -> Value {
    let rows = daemon.router.refusals().iter().map(|Refusal { refused, times, unix }| {
        json!({
            "time": unix,
            "times": times,
            "peer": peer_name(&daemon.router, refused.peer),
            "from": refused.from.to_string(),
            "host": refused.host.as_str(),
            "service": refused.service.map(|(transport, port)| format!("{transport}:{port}")),
            "reason": refused.reason.name(),
            "because": refused.reason.to_string(),
        })
    });
    json!({"refusals": rows.collect::<Vec<_>>()})
}

/// The name of a peer's section, where there is one.
fn peer_name(router: &Router, peer: KeyId) -> &str {
    router.peers().find(peer).map_or("anyone", |peer| peer.name.as_str())
}

/// Names learned from dynamic updates (T1).
fn names(daemon: &Daemon) -> Value {
    let (router, now) = (&daemon.router, now());
    let rows = router.learned_names(now.instant).map(|(name, learned, remaining)| {
        let hosts = router.access().names_of(learned.address);
        json!({
            "name": name.as_str(),
            "address": learned.address.to_string(),
            "hosts": hosts.map(|host| host.as_str()).collect::<Vec<_>>(),
            "server": learned.server.to_string(),
            "remaining": remaining,
        })
    });
    json!({"names": rows.collect::<Vec<_>>()})
}

fn end(daemon: &mut Daemon, question: &Value) -> Value {
    if question.get("all") == Some(&Value::Bool(true)) {
        let ids: Vec<_> = daemon.router.mappings().iter().map(|(id, _)| id).collect();
        let ended = ids.into_iter().filter(|id| daemon.router.end_by_user(now(), *id)).count();
        daemon.carry_out();
        return json!({"ended": ended});
    }
    let id = question.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok());
    let Some(id) = id else { return json!({"error": "'end' needs the id of a mapping"}) };
    // Numbers are used again: with its source it is the mapping that the asker saw.
    let source = question.get("source").and_then(Value::as_str);
    let is_meant = |mapping: &Mapping| source.is_none_or(|source| mapping.source.to_string() == source);
    let id = MappingId(id);
    let ended =
        daemon.router.mappings().find(id).is_some_and(is_meant) && daemon.router.end_by_user(now(), id);
    daemon.carry_out();
    json!({"ended": ended})
}

/// Writes portion by portion: a table of any size neither fills the memory nor holds the queue up.
async fn write_mappings(daemon: &Shared, stream: &mut UnixStream, question: &Value) -> io::Result<()> {
    let is_wanted = |id: &MappingId| usize::try_from(id.0).is_ok_and(|id| id >= from(question));
    let (ids, total): (Vec<_>, _) = {
        let daemon = daemon.borrow();
        let ids = daemon.router.mappings().iter().map(|(id, _)| id);
        (ids.filter(is_wanted).take(limit(question)).collect(), daemon.router.mappings().len())
    };
    stream.write_all(b"{\"mappings\":[").await?;
    let mut first = true;
    for portion in ids.chunks(PORTION) {
        let mut text = String::new();
        for mapping in portion.iter().filter_map(|id| mapping(&mut daemon.borrow_mut(), *id)) {
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            text.push_str(&mapping.to_string());
        }
        stream.write_all(text.as_bytes()).await?;
        smol::future::yield_now().await;
    }
    stream.write_all(format!("],\"total\":{total}}}\n").as_bytes()).await
}

/// Most rows that the asker wants.
fn limit(question: &Value) -> usize {
    number(question, "limit").unwrap_or(usize::MAX)
}

/// Where they begin: the first number of a mapping, or how many rows of the guide table are passed over.
fn from(question: &Value) -> usize {
    number(question, "from").unwrap_or(0)
}

fn number(question: &Value, name: &str) -> Option<usize> {
    question.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok())
}

fn mapping(daemon: &mut Daemon, id: MappingId) -> Option<Value> {
    let Daemon { router, kernel, .. } = daemon;
    let Mapping { transport, source, mapped, inside, peer, stage, .. } = *router.mappings().find(id)?;
    let mapping = router.mappings().find(id)?;
    let entry = (stage == Stage::Live)
        .then(|| kernel.look(&Entry { transport, source, mapped, inside, peer }))
        .flatten();
    let counted = entry.as_ref().and_then(|entry| entry.counters);
    Some(json!({
        "id": id.0,
        "host": router.host_name(mapping).map(|host| host.as_str()),
        "peer": peer_name(router, peer),
        "protocol": transport.to_string(),
        "source": source.to_string(),
        "mapped": mapped.to_string(),
        "inside": inside.to_string(),
        "state": match stage { Stage::Live => "live", Stage::Awaiting => "awaits first packet", Stage::Inserting => "inserting" },
        "age": router.age(Instant::now(), mapping),
        "remaining": entry.map(|entry| entry.timeout.as_secs()),
        "bytes_in": counted.map(|(to_host, _)| to_host.bytes),
        "bytes_out": counted.map(|(_, from_host)| from_host.bytes),
    }))
}
