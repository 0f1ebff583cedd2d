//! `status`: the running daemon, for a person or as JSON.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{cli::Places, error::Error};

/// Shows the status.
///
/// # Errors
/// Where no daemon answers.
pub fn show(places: &Places, json: bool) -> Result<ExitCode, Error> {
    let answer = natf_daemon::control::ask(&places.socket(), "natf-endd", &json!({"command": "status"}))?;
    if json {
        println!("{answer}");
    } else {
        print!("{}", text(&answer));
    }
    Ok(ExitCode::SUCCESS)
}

/// `reload`: makes the daemon read its configuration anew.
///
/// # Errors
/// Where no daemon answers, or the configuration is wrong; then the one in force is kept.
pub fn reload(places: &Places) -> Result<ExitCode, Error> {
    natf_daemon::control::ask(&places.socket(), "natf-endd", &json!({"command": "reload"}))?;
    println!("reloaded");
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Value) -> String {
    let mut text = format!(
        "natf-endd {} up {} s, virtual addresses {}\n",
        word(answer, "version"),
        answer.get("uptime").and_then(Value::as_u64).unwrap_or_default(),
        word(answer, "virtual"),
    );
    text.push_str(&format!("homes: {}; upstream: {}\n", words(answer, "homes"), words(answer, "upstream")));
    text.push_str("\nnames\n");
    for row in rows(answer, "names") {
        let (name, address) = (word(row, "name"), word(row, "address"));
        text.push_str(&format!("  {name:<40} {address:<16} {}\n", words(row, "routers")));
    }
    text.push_str("\nflows\n");
    for row in rows(answer, "flows") {
        let (protocol, source) = (word(row, "protocol"), word(row, "source"));
        let (name, state) = (word(row, "name"), word(row, "state"));
        let port = word(row, "destination").rsplit(':').next().unwrap_or("?");
        let (mapped, way) = (word(row, "mapped"), word(row, "way"));
        text.push_str(&format!("  {protocol} {source} -> {name}:{port} = {mapped} ({way}, {state})\n"));
    }
    text.push_str("\nsteps, median us\n");
    for (name, value) in fields(answer, "steps_us") {
        let value = value.as_f64().map_or("-".to_owned(), |value| format!("{value:.1}"));
        text.push_str(&format!("  {name:<24} {value:>10}\n"));
    }
    text.push_str("\ncounters\n");
    for (name, value) in fields(answer, "counters").chain(fields(answer, "dns_counters")) {
        if value.as_u64() != Some(0) {
            text.push_str(&format!("  {name:<24} {value:>10}\n"));
        }
    }
    text
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("-")
}

fn words(value: &Value, field: &str) -> String {
    let list: Vec<&str> = rows(value, field).iter().filter_map(Value::as_str).collect();
    if list.is_empty() { "none".into() } else { list.join(", ") }
}

fn rows<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn fields<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value.get(field).and_then(Value::as_object).into_iter().flatten()
}
