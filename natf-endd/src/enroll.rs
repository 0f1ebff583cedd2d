//! `enroll URI`: writes the home and its key.

use std::process::ExitCode;

use natf_config::{Editor, EnrolUri, KeyEntry, KeyFile, Setting, section_name_of};

use crate::{cli::Places, error::Error};

/// Adds a home. Where it is there already, its key is replaced by the new one.
///
/// # Errors
/// A URI that cannot be read, files that cannot be written, a name in use by another section.
pub fn enroll(places: &Places, uri: &str, name: Option<&str>) -> Result<ExitCode, Error> {
    let uri = EnrolUri::parse(uri)?;
    let mut editor = Editor::open(&places.config)?;
    let domain = uri.domain.as_str();
    let known = editor.sections().iter().find(|section| {
        section.kind == "home" && section.options.iter().any(|it| it.name == "domain" && it.value == domain)
    });
    let known = known.and_then(|section| section.name.clone());
    let name = known.clone().or(name.map(str::to_owned)).unwrap_or_else(|| section_name_of(&uri.domain));
    let (id, port) = (uri.id.to_string(), uri.udp_port.map(|port| port.to_string()));
    if known.is_some() {
        editor.set_option("home", &name, "id", &id)?;
        if let Some(port) = &port {
            editor.set_option("home", &name, "udp_port", port)?;
        }
    } else {
        let mut settings = vec![Setting::Option("domain", domain), Setting::Option("id", &id)];
        settings.extend(port.as_deref().map(|port| Setting::Option("udp_port", port)));
        editor.append_section("home", &name, &settings)?;
    }
    if let Some(directory) = places.keys.parent() {
        std::fs::create_dir_all(directory).map_err(Error::io("cannot make", directory))?;
    }
    KeyFile::update(&places.keys, |keys| {
        if keys.entry(&name).is_some() {
            keys.remove(&name)?;
        }
        keys.add(KeyEntry { name: name.clone(), id: uri.id, key: uri.key.clone() })
    })?;
    editor.save()?;
    println!("home '{name}': names below {domain} are reached as peer '{}' (key id {id})", uri.peer);
    println!("if natf-endd is running, make it read this: kill -HUP $(pidof natf-endd)");
    Ok(ExitCode::SUCCESS)
}
