//! What the daemon says over its control socket.

use std::{io, net::Ipv4Addr, rc::Rc, time::Instant};

use natf_daemon::control;
use natf_proto::KeyId;
use serde_json::{Map, Value, json};
use smol::net::unix::{UnixListener, UnixStream};

use super::daemon::Daemon;

/// Answers until the daemon ends.
pub async fn serve(daemon: Rc<Daemon>, listener: UnixListener) {
    control::serve(listener, |question, stream| talk(daemon.clone(), question, stream)).await;
}

async fn talk(daemon: Rc<Daemon>, question: Value, mut stream: UnixStream) -> io::Result<()> {
    let command = question.get("command").and_then(Value::as_str).unwrap_or_default();
    let answer = match command {
        "reload" => match daemon.reload().await {
            Ok(()) => json!({"reloaded": true}),
            Err(error) => json!({"error": error.to_string()}),
        },
        command => answer(&daemon, command),
    };
    control::write(&mut stream, &answer).await
}

fn answer(daemon: &Daemon, command: &str) -> Value {
    match command {
        "status" => status(daemon),
        "counters" => Value::Object(counters(daemon)),
        "routers" => routers(daemon),
        "zones" => zones(daemon),
        "flush" => json!({"flushed": daemon.service.server.borrow_mut().cache().flush()}),
        other => {
            json!({"error": format!("'{other}' is no command; use status, counters, routers, zones, flush, reload")})
        }
    }
}

fn status(daemon: &Daemon) -> Value {
    let service = &daemon.service;
    let listen: Vec<_> = service.udp().iter().map(|socket| socket.local().to_string()).collect();
    let limit = daemon.config.borrow().server.cache_size;
    let (entries, bytes) = {
        let mut server = service.server.borrow_mut();
        (server.cache().len(), server.cache().bytes())
    };
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime": daemon.started.elapsed().as_secs(),
        "listen": listen,
        "upstream": upstream(daemon),
        "cache": {"answers": entries, "bytes": bytes, "answers_max": limit},
        "under_way": service.flights(),
        "connections": service.streams().borrow().len(),
        "routers": daemon.config.borrow().routers.len(),
        "zones": daemon.config.borrow().zones.len(),
        "counters": counters(daemon),
    })
}

fn upstream(daemon: &Daemon) -> Value {
    let upstreams = daemon.service.resolver.upstreams.borrow();
    let now = Instant::now();
    let rows = upstreams.servers().iter().map(|server| {
        let manner = server.manner(now);
        json!({
            "address": server.address.to_string(),
            "state": if server.is_back(now) { "failing" } else { "in use" },
            "round_trip_ms": server.round_trip.map(|mean| mean.as_secs_f64() * 1e3),
            "failures": server.failures,
            "edns": manner.edns,
            "random_case": manner.random_case,
        })
    });
    rows.collect()
}

fn counters(daemon: &Daemon) -> Map<String, Value> {
    let server = daemon.service.server.borrow_mut();
    let mut all: Map<_, _> =
        server.counters().iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    drop(server);
    let mut server = daemon.service.server.borrow_mut();
    all.extend(server.zones().counters().iter().map(|(name, value)| (name.to_owned(), value.into())));
    if let Some(notifier) = daemon.announcements.notifier().as_ref() {
        let notifier = notifier.borrow();
        let announced = notifier.announcer().counters().iter();
        all.extend(announced.map(|(name, value)| (name.to_owned(), value.into())));
        all.insert("notifications_unsent".to_owned(), notifier.unsent().into());
    }
    all
}

fn routers(daemon: &Daemon) -> Value {
    let config = daemon.config.borrow();
    let rows = config.routers.values().map(|row| {
        json!({
            "name": row.name,
            "id": row.id.get(),
            "domains": row.domains.iter().map(|domain| domain.as_str()).collect::<Vec<_>>(),
            "address": row.address.map(|address| address.to_string()),
            "enabled": row.enabled,
            "state": row.address.map(|address| capability(daemon, address, KeyId(row.id.get()))),
        })
    });
    json!({"routers": rows.collect::<Vec<_>>()})
}

fn capability(daemon: &Daemon, router: Ipv4Addr, key: KeyId) -> Option<&'static str> {
    let notifier = daemon.announcements.notifier();
    let notifier = notifier.as_ref()?.borrow();
    Some(notifier.announcer().capability(Instant::now(), router, key).name())
}

fn zones(daemon: &Daemon) -> Value {
    let mut server = daemon.service.server.borrow_mut();
    let rows: Vec<_> = server
        .zones()
        .list()
        .map(|zone| {
            json!({
                "name": zone.name,
                "serial": zone.serial,
                "names": zone.names,
                "learned": zone.learned,
                "learned_max": zone.learned_max,
                "update_keys": zone.update_keys,
            })
        })
        .collect();
    json!({"zones": rows})
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::{announce, core, zone};

    #[test]
    fn no_counter_hides_another_one_of_its_name() {
        let server = core::counters::Counters::default();
        let (zones, announcer) = (zone::Counters::default(), announce::Counters::default());
        let mut seen = BTreeSet::new();
        for (name, _) in server.iter().chain(zones.iter()).chain(announcer.iter()) {
            assert!(seen.insert(name), "{name} stands twice");
        }
    }
}
