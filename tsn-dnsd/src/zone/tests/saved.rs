//! What is saved survives a crash at any moment, and what is loaded is not trusted.

use domain::base::Rtype;
use proptest::prelude::*;

use super::{super::Loaded, *};

const APEX: &str = "home.example.net";

/// Applies updates and keeps the file as io does: snapshot, then change after change.
fn file_of(updates: &[Update]) -> (Zones, String, Vec<usize>) {
    let mut zones = zones(&[]);
    let mut file = zones.snapshot(APEX).unwrap();
    let mut ends = vec![file.len()];
    for update in updates {
        if let UpdateOutcome::Save(change) = zones.handle_update(&update.signed(), NOW) {
            assert_eq!(change.zone_name(), APEX);
            file.push_str(change.journal());
            zones.commit(*change);
        }
        ends.push(file.len());
    }
    (zones, file, ends)
}

fn loaded(file: &str) -> (Zones, Loaded) {
    let mut zones = zones(&[]);
    let loaded = zones.load(APEX, file).unwrap();
    (zones, loaded)
}

fn some_updates() -> Vec<Update> {
    vec![
        Update::new().add_a("alice.home.example.net", 1).add(
            "alice.home.example.net",
            Rtype::TXT,
            b"\x03a;\"",
        ),
        Update::new().add_a("bob.home.example.net", 2).delete("alice.home.example.net", Rtype::A),
        Update::new().delete("bob.home.example.net", Rtype::ANY).add_a("a\\032b.home.example.net", 3),
        Update::new().add("home.example.net", Rtype::AAAA, &[1; 16]),
    ]
}

#[test]
fn file_is_a_zone_file_whose_comments_tell_where_a_change_ends() {
    let (_, file, _) = file_of(&[Update::new().add_a("alice.home.example.net", 5)]);
    let lines: Vec<&str> = file.lines().collect();
    assert_eq!(lines[0], "; tsn-dnsd zone 1 home.example.net");
    assert_eq!(lines[2], "; forget alice.home.example.net.");
    assert_eq!(lines[3], "alice.home.example.net. 300 IN A \\# 4 c0000205 ; 192.0.2.5");
    assert_eq!(lines[4], format!("; signed alice {NOW}"));
    assert!(lines[5].starts_with(&format!("; commit {} ", NOW + 1)), "{file}");
}

#[test]
fn answered_updates_are_there_wherever_a_crash_cuts_the_file() {
    let (_, file, ends) = file_of(&some_updates());
    for cut in ends[0]..=file.len() {
        let (zones, loaded) = loaded(&file[..cut]);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(loaded.changes, whole);
        assert_eq!(loaded.remarks.is_empty(), ends.contains(&cut), "cut at {cut}");
        let (expected, _, _) = file_of(&some_updates()[..whole - 1]);
        assert_eq!(zones.snapshot(APEX), expected.snapshot(APEX));
    }
}

#[test]
fn snapshot_loads_to_the_same_contents() {
    let (zones, file, _) = file_of(&some_updates());
    let snapshot = zones.snapshot(APEX).unwrap();
    assert!(snapshot.len() < file.len());
    for text in [&snapshot, &file] {
        let (again, loaded) = loaded(text);
        assert_eq!(loaded.remarks, Vec::<String>::new());
        assert_eq!(again.snapshot(APEX), Some(snapshot.clone()));
        assert_eq!(again.list().collect::<Vec<_>>(), zones.list().collect::<Vec<_>>());
    }
}

#[test]
fn damaged_change_is_left_out_and_named() {
    let (_, file, ends) = file_of(&some_updates());
    let mut damaged = file.clone();
    damaged.replace_range(ends[1] + 10..ends[1] + 11, "X");
    let (zones, loaded) = loaded(&damaged);
    assert_eq!((loaded.changes, loaded.remarks.len()), (4, 1));
    let line = 1 + file[..ends[2]].lines().count() - 1;
    assert_eq!(loaded.remarks[0], format!("the change that ends in line {line} is damaged and left out"));
    assert_eq!(asked(&zones, "home.example.net", Rtype::AAAA).len(), 2, "later changes count");
}

#[test]
fn file_of_another_zone_is_not_taken_up() {
    let mut zones = zones(&[]);
    let foreign = zones.snapshot(APEX).unwrap().replace(APEX, "other.example.net");
    let error = zones.load(APEX, &foreign).unwrap_err();
    assert_eq!(error.to_string(), "the file does not begin with '; tsn-dnsd zone 1 home.example.net'");
    assert!(zones.load(APEX, "").is_err());
    assert!(zones.load("other.example.net", &foreign).is_err());
}

#[test]
fn configuration_goes_before_what_was_learned() {
    let (_, file, _) = file_of(&[Update::new()
        .add_a("alice.home.example.net", 1)
        .add("alice.home.example.net", Rtype::TXT, b"\x01x")
        .add("bob.home.example.net", Rtype::CNAME, name("alice.home.example.net").as_slice())]);
    let mut zones =
        zones(&[("alice.home.example.net", "A", "192.0.2.99"), ("bob.home.example.net", "TXT", "x")]);
    let loaded = zones.load(APEX, &file).unwrap();
    let expected = [
        "bob.home.example.net CNAME is left out: a CNAME stands alone",
        "alice.home.example.net A is left out: the configuration has records of that type",
    ];
    assert_eq!(loaded.remarks, expected);
    assert_eq!(
        asked(&zones, "alice.home.example.net", Rtype::A),
        ["NOERROR aa", "an alice.home.example.net 60 A 192.0.2.99"]
    );
    assert_eq!(asked(&zones, "alice.home.example.net", Rtype::TXT).len(), 2);
}

#[test]
fn records_beyond_the_bound_are_left_out_on_load() {
    let many = (0..20).fold(Update::new(), |update, n| update.add_a(&format!("h{n}.home.example.net"), n));
    let (_, file, _) = file_of(&[many]);
    let mut config = config(&[]);
    config.zones[0].records_max = 15;
    let mut zones = Zones::new(&config, NOW).unwrap();
    let loaded = zones.load(APEX, &file).unwrap();
    assert_eq!((loaded.remarks.len(), zones.list().next().unwrap().learned), (5, 15));
}

#[test]
fn serial_goes_on_where_it_was() {
    let (zones, file, _) = file_of(&some_updates());
    let mut later = Zones::new(&config(&[]), NOW + 999).unwrap();
    later.load(APEX, &file).unwrap();
    assert_eq!(later.list().next().unwrap().serial, zones.list().next().unwrap().serial);
}

#[test]
fn reload_keeps_what_was_learned_where_the_zone_is_still_there() {
    let (mut zones, _, _) = file_of(&some_updates());
    let before = zones.snapshot(APEX);
    let mut config = config(&[("www.home.example.net", "A", "192.0.2.80")]);
    config.zones.push(zone("new.example.net"));
    let mut reloaded = Zones::new(&config, NOW + 5).unwrap();
    assert_eq!(reloaded.adopt(&mut zones), Vec::<String>::new());
    assert_eq!(reloaded.snapshot(APEX), before);
    assert_eq!(reloaded.counters(), zones.counters());
    assert_eq!(asked(&reloaded, "www.home.example.net", Rtype::A).len(), 2);
}

proptest! {
    #[test]
    fn any_text_is_loaded_without_a_panic(text in ".{0,400}") {
        let mut zones = zones(&[]);
        let _ = zones.load(APEX, &format!("; tsn-dnsd zone 1 home.example.net\n{text}"));
    }

    #[test]
    fn any_change_of_a_file_is_noticed_or_harmless(at in 0_usize..600, octet in 32_u8..127) {
        let (_, file, ends) = file_of(&some_updates());
        let mut octets = file.clone().into_bytes();
        let at = ends[0] + at % (file.len() - ends[0]);
        octets[at] = octet;
        let damaged = String::from_utf8(octets).unwrap();
        let (_, loaded) = loaded(&damaged);
        prop_assert_eq!(loaded.remarks.is_empty(), damaged == file);
    }
}
