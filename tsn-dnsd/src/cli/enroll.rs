//! `enroll URI`: writes the router and its key.

use std::process::ExitCode;

use natf_config::{Editor, EnrolUri, KeyEntry, KeyFile, Setting, section_name_of};
use serde_json::json;

use super::Call;
use crate::error::Error;

/// Adds a router. Where its domain is there already, its key is replaced by the new one.
///
/// # Errors
/// A URI that cannot be read, files that cannot be written, a name in use by another section.
pub fn enroll(call: &Call, uri: &str) -> Result<ExitCode, Error> {
    let uri = EnrolUri::parse(uri)?;
    let mut editor = Editor::open_dnsd(&call.paths.config)?;
    let domain = uri.domain.as_str();
    let known = editor.sections().iter().find(|section| {
        section.kind == "router" && section.options.iter().any(|it| it.name == "domain" && it.value == domain)
    });
    let known = known.and_then(|section| section.name.clone());
    let name = known.clone().or(call.name.clone()).unwrap_or_else(|| section_name_of(&uri.domain));
    let id = uri.id.to_string();
    match &known {
        Some(name) => editor.set_option("router", name, "id", &id)?,
        None => {
            let settings = [Setting::List("domain", domain), Setting::Option("id", &id)];
            editor.append_section("router", &name, &settings)?;
        }
    }
    if let Some(directory) = call.paths.keys.parent() {
        std::fs::create_dir_all(directory).map_err(Error::io("cannot make", directory))?;
    }
    KeyFile::update(&call.paths.keys, |keys| {
        if keys.entry(&name).is_some() {
            keys.remove(&name)?;
        }
        keys.add(KeyEntry { name: name.clone(), id: uri.id, key: uri.key.clone() })
    })?;
    editor.save()?;
    if call.json {
        println!("{}", json!({"router": name, "domain": domain, "id": uri.id}));
    } else {
        println!("router '{name}': names below {domain} are announced as peer '{}' (key id {id})", uri.peer);
        println!("if tsn-dnsd is running, make it read this: kill -HUP $(pidof tsn-dnsd)");
    }
    Ok(ExitCode::SUCCESS)
}
