//! Enrolling and revoking peers: a key in the key file, a section in the configuration, and word to the daemon.

use std::{num::NonZeroU16, process::ExitCode};

use natf_config::{
    DomainName, Editor, EnrolUri, EnrolledKey, KeyEntry, KeyFile, RouterConfig, Setting, is_section_name,
};
use natf_proto::Random as _;
use serde_json::{Value, json};

use super::{Call, ask::ask};
use crate::error::Error;
use natf_daemon::random::SystemRandom;

/// Draws so often for a key id that nobody has; with 65,535 ids and few peers the first does.
const ID_TRIES: usize = 64;

/// How many live flows ended when the daemon read the files, or why that has to wait.
pub type Told = Result<u64, String>;

/// `peer add NAME`: prints the key once, as text and as QR code.
pub fn add(call: &Call, name: &str) -> Result<ExitCode, Error> {
    let (uri, told) = enrol(call, name)?;
    show(call, &uri, enrolling(call));
    report(told);
    Ok(ExitCode::SUCCESS)
}

/// Adds a peer to both files and tells the daemon; says so where that could not be done.
///
/// # Errors
/// What is wrong with the words of the call or with the files; then nothing is changed.
pub fn enrol(call: &Call, name: &str) -> Result<(EnrolUri, Told), Error> {
    let config = natf_config::load_router(&call.paths.config).map_err(Error::Config)?;
    if !is_section_name(name) {
        return Err(Error::Usage(format!("'{name}' is no name for a peer; use letters, digits and '_'")));
    }
    let (domain, udp_port) = home(call, &config)?;
    let id = free_id(&config)?;
    let key = EnrolledKey::generate()?;
    let mut editor = Editor::open(&call.paths.config)?;
    let number = id.to_string();
    let hosts = call.hosts.iter().map(|host| Setting::List("host", host));
    let role = role(call)?.map(|role| Setting::Option("role", role));
    let settings: Vec<_> = [Setting::Option("id", &number)].into_iter().chain(role).chain(hosts).collect();
    editor.append_section("peer", name, &settings)?;
    // The key first: a section without a key would be an error at the next start, a key without section is idle.
    KeyFile::update(&call.paths.keys, |keys| {
        keys.add(KeyEntry { name: name.to_owned(), id, key: key.clone() })
    })?;
    if let Err(error) = editor.save() {
        KeyFile::update(&call.paths.keys, |keys| keys.remove(name))?;
        return Err(error.into());
    }
    Ok((EnrolUri { domain, id, key, peer: name.to_owned(), udp_port }, tell_daemon(call)))
}

/// `peer remove NAME`: the daemon ends the peer's live flows.
pub fn remove(call: &Call, name: &str) -> Result<ExitCode, Error> {
    let told = revoke(call, name)?;
    println!("peer '{name}' is revoked");
    report(told);
    Ok(ExitCode::SUCCESS)
}

/// `peer rename NAME NEW`: the device keeps its key, and does not notice.
pub fn rename_peer(call: &Call, name: &str, new: &str) -> Result<ExitCode, Error> {
    let told = rename(call, name, new)?;
    println!("peer '{name}' is now '{new}'");
    report(told);
    Ok(ExitCode::SUCCESS)
}

/// Gives a peer another name, in both files and in the rows that name it, and tells the daemon.
///
/// # Errors
/// Where there is no such peer, the new name is taken or none, or the files cannot be written.
pub fn rename(call: &Call, name: &str, new: &str) -> Result<Told, Error> {
    let mut editor = Editor::open(&call.paths.config)?;
    editor.rename_section("peer", name, new, "host")?;
    // The key has both names while the configuration changes: whichever counts has one, whatever happens.
    KeyFile::update(&call.paths.keys, |keys| {
        let KeyEntry { id, key, .. } = keys.entry(name).cloned().ok_or_else(|| keys.no_key(name))?;
        keys.add(KeyEntry { name: new.to_owned(), id, key })
    })?;
    let (saved, former) = match editor.save() {
        Ok(()) => (Ok(()), name),
        Err(error) => (Err(error), new),
    };
    KeyFile::update(&call.paths.keys, |keys| keys.remove(former))?;
    saved?;
    Ok(tell_daemon(call))
}

/// Takes a peer out of both files and tells the daemon; says so where that could not be done.
///
/// # Errors
/// Where there is no such peer, or the configuration cannot be written.
pub fn revoke(call: &Call, name: &str) -> Result<Told, Error> {
    let mut editor = Editor::open(&call.paths.config)?;
    editor.delete_section("peer", name)?;
    editor.save()?;
    let had_key = KeyFile::update(&call.paths.keys, |keys| keys.remove(name));
    if let Err(error) = had_key {
        eprintln!("natf-routerd: {error}");
    }
    Ok(tell_daemon(call))
}

/// The role to be written; an outside node is the default and needs none.
fn role(call: &Call) -> Result<Option<&str>, Error> {
    match call.role.as_deref() {
        None | Some("node") => Ok(None),
        Some("tsn") => Ok(Some("tsn")),
        Some(other) => Err(Error::Usage(format!("--role '{other}' is not accepted; use node or tsn"))),
    }
}

/// Who takes the text of the key, where and how.
fn enrolling(call: &Call) -> &'static str {
    match call.role.as_deref() {
        Some("tsn") => "On the TSN server: tsn-dnsd",
        _ => "On the outside node: natf-endd",
    }
}

fn home(call: &Call, config: &RouterConfig) -> Result<(DomainName, Option<NonZeroU16>), Error> {
    let router = config.router.as_ref();
    let domain = match &call.domain {
        Some(domain) => {
            Some(domain.parse().map_err(|error| Error::Usage(format!("--domain '{domain}': {error}")))?)
        }
        None => router.and_then(|router| router.domains.first().cloned()),
    };
    let missing = "the peer has to know this home's name: set 'option domain' in 'config router', or give --domain NAME";
    let domain = domain.ok_or_else(|| Error::Usage(missing.to_owned()))?;
    Ok((domain, router.and_then(|router| router.udp_port).and_then(NonZeroU16::new)))
}

/// Random, so that an id says nothing and is not used again soon after a removal.
fn free_id(config: &RouterConfig) -> Result<NonZeroU16, Error> {
    let mut random = SystemRandom::new()?;
    let draws =
        std::iter::repeat_with(|| u16::try_from(random.below(65_535) + 1).ok().and_then(NonZeroU16::new));
    let free = |id: &NonZeroU16| config.peers.values().all(|peer| peer.id != *id);
    let id = draws.take(ID_TRIES).flatten().find(free);
    id.ok_or_else(|| Error::Refused("no key id is free: remove peers that are no longer used".to_owned()))
}

fn show(call: &Call, uri: &EnrolUri, enrolling: &str) {
    let text = uri.to_uri();
    if call.json {
        println!("{}", json!({"peer": uri.peer, "id": uri.id, "uri": *text}));
        return;
    }
    println!("peer '{}' is enrolled. This key is shown once:\n\n{}\n", uri.peer, *text);
    match qrcode::QrCode::new(text.as_bytes()) {
        Ok(code) => println!("{}", code.render::<qrcode::render::unicode::Dense1x2>().build()),
        Err(error) => eprintln!("natf-routerd: no QR code: {error}"),
    }
    println!("{enrolling} enroll '{}'", *text);
}

/// A daemon that does not run reads the files when it starts.
fn tell_daemon(call: &Call) -> Told {
    match ask(&call.paths.socket(), &json!({"command": "reload"})) {
        Ok(answer) => Ok(answer.get("ended").and_then(Value::as_u64).unwrap_or_default()),
        Err(error) => Err(format!("the change counts from the daemon's next start: {error}")),
    }
}

fn report(told: Told) {
    if let Err(problem) = told {
        eprintln!("natf-routerd: {problem}");
    }
}
