//! `ping NAME[:PORT]`: the daemon negotiates for real and ends the mapping at once; each step is told with its time.

use std::process::ExitCode;

use serde_json::{Value, json};

use crate::{
    cli::{Places, Target},
    error::Error,
};

/// The name is not served by NAT-f: applications reach its address itself (N10).
const PLAIN: u8 = 3;

/// Pings; succeeds where a mapping was granted.
///
/// # Errors
/// Where no daemon answers, or the name cannot be asked for.
pub fn ping(places: &Places, target: &Target, json: bool) -> Result<ExitCode, Error> {
    let question = json!({
        "command": "ping",
        "name": target.name,
        "port": target.port,
        "protocol": target.transport.to_string(),
    });
    let answer = natf_daemon::control::ask(&places.socket(), "natf-endd", &question)?;
    if json {
        println!("{answer}");
    } else {
        print!("{}", text(&answer));
    }
    Ok(ExitCode::from(status(&answer)))
}

/// Neither success nor failure is said of a router without NAT-f: the application connects, but not to the host.
fn status(answer: &Value) -> u8 {
    let is_granted = answer.get("granted").and_then(Value::as_bool).unwrap_or_default();
    let is_plain = answer.get("plain").is_some_and(Value::is_string);
    match (is_granted, is_plain) {
        (true, _) => 0,
        (false, true) => PLAIN,
        (false, false) => 1,
    }
}

fn text(answer: &Value) -> String {
    let word = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or("?");
    let mut text = format!("{} is {} here, {}\n", word("name"), word("virtual"), word("service"));
    let steps = answer.get("steps").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for step in steps {
        let at = step.get("at_us").and_then(Value::as_f64).unwrap_or_default() / 1000.0;
        let said = step.get("text").and_then(Value::as_str).unwrap_or("?");
        text.push_str(&format!("{at:>9.3} ms  {said}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n10_a_router_without_natf_is_told_from_a_mapping_and_from_a_refusal() {
        assert_eq!(status(&json!({"granted": true, "plain": null})), 0);
        assert_eq!(status(&json!({"granted": false, "plain": "203.0.113.2:22"})), PLAIN);
        assert_eq!(status(&json!({"granted": false, "plain": null})), 1);
        assert_eq!(status(&json!({"error": "no such name"})), 1);
    }
}
