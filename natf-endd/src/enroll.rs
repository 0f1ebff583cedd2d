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
        std::fs::create_dir_all(directory).map_err(natf_daemon::Error::io("cannot make", directory))?;
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

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::check::configured;

    const URI: &str =
        "natf://home.example.net/?id=4711&key=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE&peer=laptop";

    fn places(name: &str) -> Places {
        let directory: PathBuf =
            std::env::temp_dir().join(format!("natf-enroll-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        Places {
            config: directory.join("natf"),
            keys: directory.join("secret/keys"),
            run_dir: directory.clone(),
            state_dir: directory,
        }
    }

    #[test]
    fn enrolling_makes_a_configuration_that_works() {
        let places = places("new");
        enroll(&places, URI, None).unwrap();
        let configured = configured(&places).unwrap();
        assert_eq!(configured.names.domains().collect::<Vec<_>>(), ["home.example.net"]);
        assert!(configured.homes.iter().all(|home| home.keys.is_some() && home.udp_port.is_none()));
        fs::remove_dir_all(&places.run_dir).unwrap();
    }

    #[test]
    fn enrolling_again_replaces_the_key_of_the_same_home() {
        let places = places("again");
        enroll(&places, URI, Some("mine")).unwrap();
        let newer = URI.replace("4711", "4712").replace("AQEBAQ", "AgICAg") + "&port=4453";
        enroll(&places, &newer, None).unwrap();
        let configured = configured(&places).unwrap();
        let [home] = configured.homes.as_slice() else { panic!("one home") };
        assert_eq!((&*home.name, home.udp_port), ("mine", Some(4453)));
        assert_eq!(home.keys.as_ref().map(|keys| keys.id().0), Some(4712));
        assert_eq!(fs::read_to_string(&places.keys).unwrap().matches("mine").count(), 1);
        fs::remove_dir_all(&places.run_dir).unwrap();
    }

    #[test]
    fn a_home_whose_key_is_missing_is_named() {
        let places = places("keyless");
        enroll(&places, URI, Some("mine")).unwrap();
        fs::remove_file(&places.keys).unwrap();
        let error = configured(&places).unwrap_err().to_string();
        assert!(error.contains("mine") && error.contains("keys"), "{error}");
        fs::remove_dir_all(&places.run_dir).unwrap();
    }
}
