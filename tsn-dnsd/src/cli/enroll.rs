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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::io::settings::{Loaded, Paths};

    const URI: &str =
        "natf://home.example.net/?id=4712&key=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE&peer=isp";

    fn call(name: &str) -> Call {
        let directory: PathBuf =
            std::env::temp_dir().join(format!("tsn-dnsd-enroll-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let paths = Paths {
            config: directory.join("tsn-dnsd"),
            keys: directory.join("secret/keys"),
            run_dir: directory.clone(),
            state_dir: directory,
            servers: "/nonexistent".into(),
        };
        Call { paths, json: false, name: None, words: Vec::new(), text: None }
    }

    #[test]
    fn enrolling_makes_a_configuration_that_works() {
        let call = call("new");
        enroll(&call, URI).unwrap();
        let loaded = Loaded::read(&call.paths).unwrap();
        let row = loaded.directory.routers.of("alice.home.example.net").unwrap();
        assert_eq!((row.name.as_str(), row.keys.id().0), ("home", 4712));
        assert!(loaded.settings.announced.find(b"\x05alice\x04home\x07example\x03net\0").is_some());
        fs::remove_dir_all(&call.paths.run_dir).unwrap();
    }

    #[test]
    fn enrolling_again_replaces_the_key_of_the_same_router() {
        let call = call("again");
        enroll(&call, URI).unwrap();
        enroll(&call, &URI.replace("4712", "4713").replace("AQEBAQ", "AgICAg")).unwrap();
        let loaded = Loaded::read(&call.paths).unwrap();
        let [row] = loaded.directory.routers.rows() else { panic!("one router") };
        assert_eq!(row.keys.id().0, 4713);
        fs::remove_dir_all(&call.paths.run_dir).unwrap();
    }

    #[test]
    fn a_router_whose_key_is_missing_is_named_with_its_line() {
        let call = call("keyless");
        enroll(&call, URI).unwrap();
        fs::remove_file(&call.paths.keys).unwrap();
        let error = Loaded::read(&call.paths).unwrap_err().to_string();
        let expected = format!("{}:1: router 'home': ", call.paths.config.display());
        assert!(error.starts_with(&expected) && error.contains("there is no key for 'home'"), "{error}");
        fs::remove_dir_all(&call.paths.run_dir).unwrap();
    }
}
