//! The daemon's answers as text for people, or as they are with `--json`.

use std::process::ExitCode;

use natf_daemon::control::ask;
use serde_json::{Value, json};

use super::Call;
use crate::error::Error;

type Shown = Result<ExitCode, Error>;

fn shown(call: &Call, command: &str, print: impl FnOnce(&Value)) -> Shown {
    let answer = ask(&call.paths.socket(), "tsn-dnsd", &json!({"command": command}))?;
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
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(values) if values.is_empty() => "-".to_owned(),
        Value::Array(values) => values.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Number(number) if number.is_f64() => format!("{:.1}", number.as_f64().unwrap_or(0.0)),
        other => other.to_string(),
    }
}

fn table(rows: Option<&Value>, columns: &[&str], none: &str) {
    natf_daemon::table::print(rows, columns, none, cell);
}

/// `status`
pub fn status(call: &Call) -> Shown {
    shown(call, "status", |answer| {
        let text = |value: Option<&Value>| cell(value.unwrap_or(&Value::Null));
        for key in ["version", "uptime", "listen", "under_way", "connections", "routers", "zones"] {
            println!("{key:<13}{}", text(answer.get(key)));
        }
        let cache = |key| text(answer.pointer(&format!("/cache/{key}")));
        println!(
            "cache        {} of {} answers, {} bytes\n",
            cache("answers"),
            cache("answers_max"),
            cache("bytes")
        );
        table(
            answer.get("upstream"),
            &["address", "state", "round_trip_ms", "failures"],
            "no upstream server",
        );
    })
}

/// `counters`
pub fn counters(call: &Call) -> Shown {
    shown(call, "counters", |answer| {
        for (name, value) in answer.as_object().into_iter().flatten() {
            println!("{name:<28}{value}");
        }
    })
}

/// `routers`
pub fn routers(call: &Call) -> Shown {
    let columns = ["name", "id", "domains", "address", "enabled", "state"];
    shown(call, "routers", |answer| table(answer.get("routers"), &columns, "no router is enrolled"))
}

/// `zone list`
pub fn zones(call: &Call) -> Shown {
    let columns = ["name", "serial", "names", "learned", "update_keys"];
    shown(call, "zones", |answer| table(answer.get("zones"), &columns, "no own zone"))
}

/// `reload`
pub fn reload(call: &Call) -> Shown {
    shown(call, "reload", |_| println!("reloaded"))
}

/// `cache flush`
pub fn flush(call: &Call) -> Shown {
    shown(call, "flush", |answer| {
        println!("{} answers forgotten", cell(answer.get("flushed").unwrap_or(&Value::Null)));
    })
}
