//! What the daemon says over its control socket.

use std::{io, time::Instant};

use natf_daemon::control;
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
};

/// Mappings that are written between two looks at the queue.
const PORTION: usize = 64;

/// Answers until the daemon ends.
pub async fn serve(daemon: Shared, listener: UnixListener) {
    control::serve(listener, |question, stream| talk(daemon.clone(), question, stream)).await;
}

async fn talk(daemon: Shared, question: Value, mut stream: UnixStream) -> io::Result<()> {
    match question.get("command").and_then(Value::as_str) {
        Some("mappings") => write_mappings(&daemon, &mut stream, limit(&question)).await?,
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
        "guide" => guide(daemon, limit(question)),
        "names" => names(daemon),
        "why" => why::explain(daemon, question),
        "end" => end(daemon, question),
        "reload" => match daemon.reload() {
            Ok(()) => json!({"reloaded": true}),
            Err(error) => json!({"error": error.to_string()}),
        },
        other => {
            json!({"error": format!("'{other}' is no command; use status, mappings, guide, names, counters, hosts, peers, why, end, reload")})
        }
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
fn guide(daemon: &Daemon, limit: usize) -> Value {
    let (router, now) = (&daemon.router, now());
    let total = router.guide_rows(now).count();
    let rows = router.guide_rows(now).take(limit).map(|row| {
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
    let ended = daemon.router.end_by_user(now(), MappingId(id));
    daemon.carry_out();
    json!({"ended": ended})
}

/// Writes portion by portion: a table of any size neither fills the memory nor holds the queue up.
async fn write_mappings(daemon: &Shared, stream: &mut UnixStream, limit: usize) -> io::Result<()> {
    let ids: Vec<_> = daemon.borrow().router.mappings().iter().map(|(id, _)| id).take(limit).collect();
    let total = daemon.borrow().router.mappings().len();
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
    let limit = question.get("limit").and_then(Value::as_u64).and_then(|limit| usize::try_from(limit).ok());
    limit.unwrap_or(usize::MAX)
}

fn mapping(daemon: &mut Daemon, id: MappingId) -> Option<Value> {
    let Daemon { router, kernel, .. } = daemon;
    let Mapping { transport, source, mapped, inside, peer, stage, .. } = *router.mappings().find(id)?;
    let mapping = router.mappings().find(id)?;
    let entry = (stage == Stage::Live)
        .then(|| kernel.look(&Entry { transport, source, mapped, inside, peer }))
        .flatten();
    let counted = entry.as_ref().and_then(|entry| entry.counters);
    let name = router.peers().find(peer).map_or("anyone", |peer| peer.name.as_str());
    Some(json!({
        "id": id.0,
        "host": router.host_name(mapping).map(|host| host.as_str()),
        "peer": name,
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
