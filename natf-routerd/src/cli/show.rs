//! The daemon's answers as text for people, or as they are with `--json`.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Call, ask::ask};
use crate::error::Error;

type Shown = Result<ExitCode, Error>;

fn shown(call: &Call, question: &Value, print: impl FnOnce(&Value)) -> Shown {
    let answer = ask(&call.paths.socket(), question)?;
    match call.json {
        true => println!("{answer}"),
        false => print(&answer),
    }
    Ok(ExitCode::SUCCESS)
}

/// A value as a cell of a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        // A name and where it was seen.
        Value::Object(fields) => fields.get("name").map(cell).unwrap_or_default(),
        Value::Array(values) => match values.is_empty() {
            true => "all".to_owned(),
            false => values.iter().map(cell).collect::<Vec<_>>().join(","),
        },
        other => other.to_string(),
    }
}

fn table(rows: Option<&Value>, columns: &[&str], none: &str) {
    natf_daemon::table::print(rows, columns, none, cell);
}

/// `status`
pub fn status(call: &Call) -> Shown {
    shown(call, &json!({"command": "status"}), |answer| {
        for key in [
            "version",
            "uptime",
            "domains",
            "addresses",
            "hosts",
            "peers",
            "mappings",
            "guide",
            "router_us",
            "queue_full",
        ] {
            println!("{key:<12}{}", cell(answer.get(key).unwrap_or(&Value::Null)));
        }
        if answer.get("peers").and_then(Value::as_u64) == Some(0) {
            println!("\nno peer is enrolled: see 'natf-routerd peer add NAME'");
        }
    })
}

/// `counters`
pub fn counters(call: &Call) -> Shown {
    shown(call, &json!({"command": "counters"}), |answer| {
        for (name, value) in answer.as_object().into_iter().flatten() {
            println!("{name:<28}{value}");
        }
    })
}

/// `mappings`
pub fn mappings(call: &Call) -> Shown {
    let columns =
        ["id", "host", "peer", "protocol", "source", "mapped", "inside", "state", "age", "remaining"];
    shown(call, &json!({"command": "mappings"}), |answer| {
        table(answer.get("mappings"), &columns, "no live mapping")
    })
}

/// `guide`
pub fn guide(call: &Call) -> Shown {
    let columns = ["source", "host", "inside", "services", "peer", "waiting", "remaining"];
    shown(call, &json!({"command": "guide"}), |answer| {
        table(answer.get("guide"), &columns, "no client is announced")
    })
}

/// `names`
pub fn names(call: &Call) -> Shown {
    let columns = ["name", "address", "hosts", "server", "remaining"];
    shown(call, &json!({"command": "names"}), |answer| {
        table(answer.get("names"), &columns, "no name has been learned")
    })
}

/// `hosts`
pub fn hosts(call: &Call) -> Shown {
    let columns = ["name", "address", "access", "services", "peers", "anyone", "until"];
    shown(call, &json!({"command": "hosts"}), |answer| {
        table(answer.get("hosts"), &columns, "the table is empty")
    })
}

/// `hosts --discovered`
pub fn discovered(call: &Call) -> Shown {
    let columns = ["address", "mac", "names", "seen", "hosts", "access", "proposed", "claims"];
    shown(call, &json!({"command": "hosts", "discovered": true}), |answer| {
        let mut rows = answer.get("discovered").cloned();
        // Nobody's name is no name, where an empty list of a row means all.
        for names in rows.iter_mut().filter_map(Value::as_array_mut).flatten() {
            if let Some(names) =
                names.get_mut("names").filter(|names| names.as_array().is_some_and(Vec::is_empty))
            {
                *names = Value::Null;
            }
        }
        table(rows.as_ref(), &columns, "nobody has been seen");
        println!(
            "\nNames are what hosts call themselves; anybody on the LAN may take any. A host becomes reachable only by a\n\
             section 'config host' of its own; bind it to the MAC. CLAIMS: a name that belongs to another host's section."
        );
    })
}

/// `peer list`
pub fn peers(call: &Call) -> Shown {
    let columns = ["name", "id", "role", "hosts", "last_seen", "mappings"];
    shown(call, &json!({"command": "peers"}), |answer| {
        table(answer.get("peers"), &columns, "no peer is enrolled")
    })
}

/// `end ID`
pub fn end(call: &Call, id: &str) -> Shown {
    let number: u32 = id
        .parse()
        .map_err(|_| Error::Usage(format!("'{id}' is no mapping's id; see 'natf-routerd mappings'")))?;
    let answer = ask(&call.paths.socket(), &json!({"command": "end", "id": number}))?;
    let ended = answer.get("ended").and_then(Value::as_bool) == Some(true);
    println!("{}", if ended { "ended" } else { "there is no such mapping" });
    Ok(if ended { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `reload`
pub fn reload(call: &Call) -> Shown {
    shown(call, &json!({"command": "reload"}), |_| println!("reloaded"))
}

/// `end all`
pub fn end_all(call: &Call) -> Shown {
    shown(call, &json!({"command": "end", "all": true}), |answer| {
        println!("{} ended", answer.get("ended").map(cell).unwrap_or_default());
    })
}

/// `why NAME [SERVICE] [--peer PEER]`; exit status 1 where the answer is no.
pub fn why(call: &Call, name: &str, service: Option<&str>) -> Shown {
    let question = json!({"command": "why", "name": name, "service": service, "peer": call.peer});
    let answer = ask(&call.paths.socket(), &question)?;
    let text = |key: &str| answer.get(key).map(cell).unwrap_or_default();
    let allowed = answer.get("allowed").and_then(Value::as_bool) == Some(true);
    if call.json {
        println!("{answer}");
    } else {
        println!("{} {} for {}", text("host"), text("service"), text("peer"));
        for step in answer.get("steps").and_then(Value::as_array).into_iter().flatten() {
            let passed = step.get("passed").and_then(Value::as_bool) == Some(true);
            let (check, detail) = (
                step.get("check").map(cell).unwrap_or_default(),
                step.get("detail").map(cell).unwrap_or_default(),
            );
            println!("  {} {check:<54}{detail}", if passed { "yes" } else { " NO" });
        }
        println!("{}: {}", if allowed { "allowed" } else { "refused" }, text("because"));
    }
    Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
