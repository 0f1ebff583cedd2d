//! For rpcd's exec plugin `natf`: the methods of `ubus call natf METHOD`, their arguments, and who answers them.
//!
//! ```text
//!   ubus ──▶ rpcd ──▶ /usr/libexec/rpcd/natf list | call METHOD ──▶ natf-routerd rpc … ──▶ control socket
//!                                  (passes its words on)              JSON in, JSON out
//! ```
//!
//! rpcd has checked the caller's rights by method, so what a method may do must not depend on its arguments: reading
//! methods write nothing, and no key leaves by any method but `peer_add`, which hands out the new one. rpcd looks at no
//! exit status: an answer is always one JSON object, `{"error": …}` where something is wrong.

use std::{
    io::{self, Read},
    path::PathBuf,
    process::ExitCode,
};

use natf_daemon::control;
use serde_json::{Map, Value, json};

use super::{Call, ask::ask, enrol};
use crate::{error::Error, io::settings::Settings};

/// Longest arguments, in bytes.
const ARGUMENTS_LIMIT: u64 = 4096;
/// Most rows of a table in an answer: a message of ubus holds 1 MiB, and all rows of a large one would not fit into the
/// memory of a small router either. `total` says how many there are.
const MAX_ROWS: u32 = 1000;
/// Most hosts in one call.
const MAX_HOSTS: usize = 64;
/// uhttpd adds the caller's session.
const SESSION: &str = "ubus_rpc_session";

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Texts,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doer {
    /// The running natf-routerd, asked with this command.
    Router(&'static str),
    /// The running tsn-dnsd.
    Dnsd(&'static str),
    /// The running natf-endd.
    Endd(&'static str),
    /// This program, with the files.
    Check,
    PeerAdd,
    PeerRename,
    PeerRemove,
}

struct Method {
    name: &'static str,
    arguments: &'static [(&'static str, Kind)],
    doer: Doer,
}

const fn plain(name: &'static str, doer: Doer) -> Method {
    Method { name, arguments: &[], doer }
}

/// Reading methods first, then those that change something; the rights in `acl.d/natf.json` follow this list.
const METHODS: [Method; 23] = [
    plain("status", Doer::Router("status")),
    Method { name: "mappings", arguments: &[("from", Kind::Number)], doer: Doer::Router("mappings") },
    Method { name: "guide", arguments: &[("from", Kind::Number)], doer: Doer::Router("guide") },
    plain("names", Doer::Router("names")),
    plain("hosts", Doer::Router("hosts")),
    plain("peers", Doer::Router("peers")),
    plain("counters", Doer::Router("counters")),
    Method {
        name: "why",
        arguments: &[("name", Kind::Text), ("service", Kind::Text), ("peer", Kind::Text)],
        doer: Doer::Router("why"),
    },
    plain("refusals", Doer::Router("refusals")),
    plain("check", Doer::Check),
    plain("dnsd_status", Doer::Dnsd("status")),
    plain("dnsd_counters", Doer::Dnsd("counters")),
    plain("dnsd_routers", Doer::Dnsd("routers")),
    plain("dnsd_zones", Doer::Dnsd("zones")),
    plain("endd_status", Doer::Endd("status")),
    Method {
        name: "peer_add",
        arguments: &[
            ("name", Kind::Text),
            ("role", Kind::Text),
            ("hosts", Kind::Texts),
            ("domain", Kind::Text),
        ],
        doer: Doer::PeerAdd,
    },
    Method {
        name: "peer_rename",
        arguments: &[("name", Kind::Text), ("to", Kind::Text)],
        doer: Doer::PeerRename,
    },
    Method { name: "peer_remove", arguments: &[("name", Kind::Text)], doer: Doer::PeerRemove },
    Method {
        name: "end",
        arguments: &[("id", Kind::Number), ("source", Kind::Text)],
        doer: Doer::Router("end"),
    },
    plain("reload", Doer::Router("reload")),
    plain("dnsd_flush", Doer::Dnsd("flush")),
    plain("dnsd_reload", Doer::Dnsd("reload")),
    plain("endd_reload", Doer::Endd("reload")),
];

/// `rpc list`: every method with an example of each argument, by which rpcd knows the types.
///
/// # Errors
/// None.
pub fn list() -> Result<ExitCode, Error> {
    let example = |kind| match kind {
        Kind::Text => json!("text"),
        Kind::Number => json!(0),
        Kind::Texts => json!([]),
    };
    let signature = |method: &Method| {
        let arguments = method.arguments.iter().map(|(name, kind)| ((*name).to_owned(), example(*kind)));
        (method.name.to_owned(), Value::Object(arguments.collect()))
    };
    println!("{}", Value::Object(METHODS.iter().map(signature).collect()));
    Ok(ExitCode::SUCCESS)
}

/// `rpc call METHOD`: reads the arguments from stdin and prints the answer.
///
/// # Errors
/// None: what is wrong is an answer, too.
pub fn call(call: &Call, method: &str) -> Result<ExitCode, Error> {
    let answer = answer(call, method, io::stdin().lock());
    println!("{}", answer.unwrap_or_else(|error| json!({"error": error.to_string()})));
    Ok(ExitCode::SUCCESS)
}

fn answer(call: &Call, name: &str, input: impl Read) -> Result<Value, Error> {
    let method = METHODS.iter().find(|method| method.name == name);
    let method =
        method.ok_or_else(|| Error::Refused(format!("there is no method '{}'", name.escape_debug())))?;
    let arguments = arguments(method, input).map_err(Error::Refused)?;
    let socket = |file: &str| -> PathBuf { call.paths.run_dir.join(file) };
    let question = |command: &str| {
        let mut question = arguments.clone();
        question.insert("command".to_owned(), command.into());
        match command {
            "hosts" => question.insert("discovered".to_owned(), true.into()),
            "mappings" | "guide" => question.insert("limit".to_owned(), MAX_ROWS.into()),
            _ => None,
        };
        Value::Object(question)
    };
    match method.doer {
        Doer::Router(command) => Ok(ask(&call.paths.socket(), &question(command))?),
        Doer::Dnsd(command) => Ok(control::ask(&socket("dnsd.sock"), "tsn-dnsd", &question(command))?),
        Doer::Endd(command) => Ok(control::ask(&socket("endd.sock"), "natf-endd", &question(command))?),
        Doer::Check => Ok(check(call)),
        Doer::PeerAdd => peer_add(call, &arguments),
        Doer::PeerRename => {
            let [name, to] = ["name", "to"].map(|name| text(&arguments, name).unwrap_or_default());
            Ok(told("renamed", enrol::rename(call, name, to)?))
        }
        Doer::PeerRemove => {
            Ok(told("removed", enrol::revoke(call, text(&arguments, "name").unwrap_or_default())?))
        }
    }
}

/// An object with the method's arguments and no others; `null` is as good as absent.
fn arguments(method: &Method, input: impl Read) -> Result<Map<String, Value>, String> {
    let mut bytes = Vec::new();
    let read = input.take(ARGUMENTS_LIMIT + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("the arguments cannot be read: {error}"))?;
    if bytes.len() as u64 > ARGUMENTS_LIMIT {
        return Err(format!("the arguments have more than {ARGUMENTS_LIMIT} bytes"));
    }
    let mut given = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(given)) => given,
        _ if bytes.iter().all(u8::is_ascii_whitespace) => Map::new(),
        Ok(_) => return Err("the arguments are no JSON object".to_owned()),
        Err(error) => return Err(format!("the arguments are no JSON: {error}")),
    };
    given.remove(SESSION);
    given.retain(|_, value| !value.is_null());
    for (name, value) in &given {
        let kind = method.arguments.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
        let accepted = method.arguments.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let (name, method) = (name.escape_debug(), method.name);
        match kind {
            None if accepted.is_empty() => {
                return Err(format!("'{method}' takes no argument '{name}'; it takes none"));
            }
            None => return Err(format!("'{method}' takes no argument '{name}'; it takes {accepted}")),
            Some(kind) if fits(kind, value) => {}
            Some(kind) => return Err(format!("argument '{name}' of '{method}' must be {}", kind.accepted())),
        }
    }
    Ok(given)
}

impl Kind {
    fn accepted(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Number => "a number from 0 to 4294967295",
            Self::Texts => "a list of at most 64 texts",
        }
    }
}

fn fits(kind: Kind, value: &Value) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::Number => value.as_u64().is_some_and(|number| u32::try_from(number).is_ok()),
        Kind::Texts => {
            value.as_array().is_some_and(|list| list.len() <= MAX_HOSTS && list.iter().all(Value::is_string))
        }
    }
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    arguments.get(name).and_then(Value::as_str)
}

/// That it was done, how many live flows ended by it, and what stands in the way of its counting at once.
fn told(done: &str, told: enrol::Told) -> Value {
    match told {
        Ok(ended) => json!({done: true, "ended": ended}),
        Err(problem) => json!({done: true, "warning": problem}),
    }
}

/// Enrols a peer; its key is in this answer and in no other.
fn peer_add(call: &Call, arguments: &Map<String, Value>) -> Result<Value, Error> {
    let hosts = arguments.get("hosts").and_then(Value::as_array).into_iter().flatten();
    let call = Call {
        role: text(arguments, "role").map(str::to_owned),
        domain: text(arguments, "domain").map(str::to_owned),
        hosts: hosts.filter_map(Value::as_str).map(str::to_owned).collect(),
        ..call.clone()
    };
    let (uri, told) = enrol::enrol(&call, text(arguments, "name").unwrap_or_default())?;
    let text = uri.to_uri();
    let mut answer = json!({"peer": uri.peer, "id": uri.id, "uri": *text, "qr": modules(&text)});
    if let (Err(problem), Value::Object(fields)) = (told, &mut answer) {
        fields.insert("warning".to_owned(), problem.into());
    }
    Ok(answer)
}

/// The rows of the QR code, `1` for a dark module; without the quiet zone of four modules around it.
fn modules(text: &str) -> Option<Vec<String>> {
    let code = qrcode::QrCode::new(text.as_bytes()).ok()?;
    let colors = code.to_colors();
    let rows = colors.chunks(code.width());
    Some(rows.map(|row| row.iter().map(|color| color.select('1', '0')).collect()).collect())
}

/// What `check` says, whether or not the daemon runs.
fn check(call: &Call) -> Value {
    let file = call.paths.config.display().to_string();
    let warnings: Vec<String> = natf_config::load_router(&call.paths.config)
        .map(|config| config.warnings.iter().map(ToString::to_string).collect())
        .unwrap_or_default();
    match Settings::load(&call.paths.config, &call.paths.keys) {
        Ok(settings) => json!({
            "good": true,
            "file": file,
            "hosts": settings.access.rows().count(),
            "peers": settings.peers.len(),
            "warnings": warnings,
        }),
        Err(error) => {
            let errors: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
            json!({"good": false, "file": file, "errors": errors, "warnings": warnings})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(name: &str, input: &str) -> Result<Map<String, Value>, String> {
        arguments(METHODS.iter().find(|method| method.name == name).unwrap(), input.as_bytes())
    }

    #[test]
    fn a_method_takes_its_own_arguments_and_the_session() {
        assert_eq!(taken("status", "{ }"), Ok(Map::new()));
        assert_eq!(taken("status", ""), Ok(Map::new()));
        assert_eq!(taken("status", r#"{"ubus_rpc_session": "0123"}"#), Ok(Map::new()));
        let why = taken("why", r#"{"name": "alice", "service": null, "peer": "laptop"}"#).unwrap();
        assert_eq!((text(&why, "name"), why.len()), (Some("alice"), 2));
    }

    #[test]
    fn hostile_arguments_are_named_and_refused() {
        let refused = |name, input: &str| taken(name, input).unwrap_err();
        assert!(refused("status", r#"{"command": "reload"}"#).contains("takes no argument 'command'"));
        assert!(refused("why", r#"{"command": "reload"}"#).contains("it takes name, service, peer"));
        assert!(refused("why", r#"{"name": 7}"#).contains("'name' of 'why' must be a text"));
        assert!(refused("end", r#"{"id": -1}"#).contains("must be a number"));
        assert!(refused("end", r#"{"id": 4294967296}"#).contains("must be a number"));
        assert!(refused("end", r#"{"id": "1"}"#).contains("must be a number"));
        assert!(refused("peer_add", r#"{"hosts": ["a", 1]}"#).contains("must be a list"));
        assert!(refused("peer_add", &json!({"hosts": vec!["a"; 65]}).to_string()).contains("at most 64"));
        assert!(refused("status", "[]").contains("no JSON object"));
        assert!(refused("status", "{").contains("no JSON"));
        assert!(refused("status", "\u{0}").contains("no JSON"));
        assert!(refused("status", &"[".repeat(4000)).contains("no JSON"));
        assert!(refused("status", &" ".repeat(5000)).contains("more than 4096 bytes"));
        let sign = refused("status", r#"{"\u001b[2J": 1}"#);
        assert!(!sign.contains('\u{1b}') && sign.contains("\\u{1b}"), "{sign}");
    }

    #[test]
    fn the_rights_name_every_method_once() {
        let rights = include_str!("../../../openwrt/natf/files/usr/share/rpcd/acl.d/natf.json");
        let rights: Value = serde_json::from_str(rights).unwrap();
        let of = |place: &str| -> Vec<String> {
            serde_json::from_value(rights.pointer(&format!("/natf/{place}/ubus/natf")).unwrap().clone())
                .unwrap()
        };
        let all: Vec<_> = of("read").into_iter().chain(of("write")).collect();
        assert_eq!(all, METHODS.map(|method| method.name));
        let first_change = METHODS.iter().position(|method| method.name == "peer_add").unwrap();
        assert_eq!(of("read").len(), first_change);
        // The configuration may be read with the reading right, the key files with none.
        assert!(!rights.to_string().contains("/etc/natf"));
    }
}
