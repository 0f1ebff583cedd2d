//! `why`: the whole way of a decision, check by check, for a name, a service and a peer.

use std::net::Ipv4Addr;

use natf_proto::{HostName, KeyId, Reason, Transport};
use serde_json::{Value, json};

use super::daemon::{Daemon, now};
use crate::core::{access::HostRow, peer::Role};

/// The checks in the order in which the access control table makes them, and the one that comes with the mapping.
const ORDER: [(Reason, &str); 7] = [
    (Reason::UnknownHost, "the access control table has a row of this name"),
    (Reason::Denied, "the row says allow"),
    (Reason::Expired, "the row has not expired"),
    (Reason::PeerNotAllowed, "the row and the peer allow each other"),
    (Reason::ServiceNotAllowed, "the service is allowed"),
    (Reason::HostAway, "the host's address is known"),
    (Reason::TableFull, "there is room for one more mapping"),
];

/// Explains what would become of a request for `name` and `service` (`tcp:22`) by `peer` (absent = anyone).
pub fn explain(daemon: &Daemon, question: &Value) -> Value {
    let text = |key| question.get(key).and_then(Value::as_str);
    let Some((host, learned)) = text("name").and_then(|name| resolve(name, daemon)) else {
        return json!({"error": "'why' needs the private name of a host, such as alice"});
    };
    let Some((transport, port)) = text("service").map_or(Some((Transport::Tcp, None)), service) else {
        return json!({"error": "a service is tcp:PORT or udp:PORT"});
    };
    let Some(peer) = find_peer(daemon, text("peer")) else {
        return json!({"error": format!("no peer '{}' is enrolled and enabled", text("peer").unwrap_or_default())});
    };
    let access = daemon.router.access();
    // Without a service any that the row allows will do.
    let row = access.rows().find(|(name, _)| **name == host).map(|(_, row)| row);
    let (transport, port) = match port {
        Some(port) => (transport, port),
        None => row.and_then(some_service).unwrap_or((transport, 1)),
    };
    let room = |inside| match daemon.router.has_room(peer, &host) {
        true => Ok(inside),
        false => Err(Reason::TableFull),
    };
    let outcome = daemon.router.decide(peer, &host, transport, port, now().unix).and_then(room);
    json!({
        "host": host.as_str(),
        "service": format!("{transport}:{port}"),
        "peer": text("peer").unwrap_or("anyone"),
        "steps": steps(outcome, row, daemon),
        "allowed": outcome.is_ok(),
        "learned": learned,
        "because": outcome.map_or_else(|reason| reason.to_string(), |inside| {
            let what = if announces(daemon, peer) { "clients that it announces are led to" } else { "mapped to" };
            format!("{what} {inside}:{port}")
        }),
    })
}

/// The host that a name stands for, and whether that was learned from a dynamic update (T1).
/// `alice.home.example.net` is `alice` where the home's domain is known.
fn resolve(name: &str, daemon: &Daemon) -> Option<(HostName, bool)> {
    let full: HostName = name.parse().ok()?;
    let access = daemon.router.access();
    let known = |host: &HostName| access.rows().any(|(name, _)| name == host);
    let has_domain = !daemon.settings.router.domains.is_empty();
    let below = has_domain.then(|| daemon.router.below_domain(&full)).flatten();
    let host = below.unwrap_or(full);
    let learned = || daemon.router.learned_names(now().instant).find(|(name, ..)| **name == full);
    match learned().filter(|_| !known(&host)) {
        Some((_, learned, _)) => {
            access.names_of(learned.address).next().map(|host| (*host, true)).or(Some((host, false)))
        }
        None => Some((host, false)),
    }
}

/// Whether a peer is a TSN server.
fn announces(daemon: &Daemon, peer: KeyId) -> bool {
    daemon.router.peers().find(peer).is_some_and(|peer| peer.role == Role::Tsn)
}

fn service(text: &str) -> Option<(Transport, Option<u16>)> {
    let (protocol, port) = text.split_once(':')?;
    let transport = match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return None,
    };
    Some((transport, Some(port.parse().ok().filter(|port| *port > 0)?)))
}

fn some_service(row: &HostRow) -> Option<(Transport, u16)> {
    let first = row.services.first()?;
    let port = first.ports().0.max(1);
    let transport = if first.allows(Transport::Tcp as u8, port) { Transport::Tcp } else { Transport::Udp };
    Some((transport, port))
}

fn find_peer(daemon: &Daemon, name: Option<&str>) -> Option<KeyId> {
    match name {
        None => Some(KeyId::ANONYMOUS),
        Some(name) => daemon.router.peers().iter().find(|(_, peer)| peer.name == name).map(|(id, _)| id),
    }
}

fn steps(outcome: Result<Ipv4Addr, Reason>, row: Option<&HostRow>, daemon: &Daemon) -> Vec<Value> {
    let failed = outcome.err().and_then(|reason| ORDER.iter().position(|(check, _)| *check == reason));
    let reached = ORDER.iter().enumerate().take(failed.map_or(ORDER.len(), |failed| failed + 1));
    let step = |(at, (reason, check)): (usize, &(Reason, &str))| {
        let detail = row.map_or(String::new(), |row| detail(*reason, row, daemon));
        json!({"check": check, "reason": reason.name(), "passed": Some(at) != failed, "detail": detail})
    };
    reached.map(step).collect()
}

fn detail(reason: Reason, row: &HostRow, daemon: &Daemon) -> String {
    match reason {
        Reason::Denied => format!("access {}", if row.allow { "allow" } else { "deny" }),
        Reason::Expired => {
            row.until.map_or("no end".into(), |until| format!("until {}", natf_config::format_utc(until)))
        }
        Reason::PeerNotAllowed => match (&row.peers, row.anyone) {
            (_, true) => "open to anyone".into(),
            (None, _) => "every enrolled peer".into(),
            (Some(peers), _) => format!("peers: {}", peers.iter().cloned().collect::<Vec<_>>().join(", ")),
        },
        Reason::ServiceNotAllowed if row.services.is_empty() => "all services".into(),
        Reason::ServiceNotAllowed => {
            row.services.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        }
        Reason::HostAway => {
            daemon.router.access().address(row).map_or("unknown".into(), |address| address.to_string())
        }
        Reason::TableFull => {
            let (mappings, most) = (daemon.router.mappings().len(), daemon.settings.router.max_mappings);
            format!("{mappings} mappings of {most}")
        }
        _ => String::new(),
    }
}
