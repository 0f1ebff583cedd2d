//! Whatever comes: no panic, bounded work, and nothing changes without a signature.

use std::time::Instant;

use domain::base::Rtype;
use proptest::prelude::*;

use super::*;

#[test]
fn packets_that_are_no_updates_are_ignored() {
    let mut zones = zones(&[]);
    let update = Update::new().signed();
    let mut answer = update.clone();
    answer[2] |= 0x80;
    let mut query = update.clone();
    query[2] = 0;
    for packet in [&[][..], &update[..11], &answer, &query] {
        assert!(matches!(zones.handle_update(packet, NOW), UpdateOutcome::Ignore));
    }
}

#[test]
fn cut_updates_are_format_errors() {
    let mut zones = zones(&[]);
    let update = Update::new().add_a("alice.home.example.net", 1).signed();
    for length in 12..update.len() {
        let UpdateOutcome::Reply(reply) = zones.handle_update(&update[..length], NOW) else {
            panic!("cut at {length}")
        };
        assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::FORMERR);
    }
}

#[test]
fn pointer_loops_are_format_errors() {
    let mut zones = zones(&[]);
    for pointer in [12, 0, 30, 0x3fff_u16] {
        let mut packet = Update::new().bare();
        packet.truncate(12);
        packet.extend((0xc000 | pointer).to_be_bytes());
        packet.extend([0, 6, 0, 1]);
        let UpdateOutcome::Reply(reply) = zones.handle_update(&packet, NOW) else {
            panic!("pointer {pointer}")
        };
        assert_eq!(reply[3] & 15, 1);
        assert_eq!(reply.len(), 12, "nothing of it is repeated");
    }
}

#[test]
fn largest_update_takes_bounded_time() {
    let mut config = config(&[]);
    config.zones[0].records_max = 10_000;
    let mut zones = Zones::new(&config, NOW).unwrap();
    // 64 KB of records, each with a name of many labels that points to the one before.
    let mut packet = Update::new().bare();
    let mut count = 0_u16;
    let mut owner = 12_u16;
    while packet.len() < 65_000 {
        let at = u16::try_from(packet.len()).unwrap();
        packet.extend([1, b'a' + u8::try_from(count % 26).unwrap()]);
        packet.extend((0xc000 | owner).to_be_bytes());
        packet.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 1]);
        owner = if count % 100 == 99 || at > 0x3ff0 { 12 } else { at };
        count += 1;
    }
    packet[8..10].copy_from_slice(&count.to_be_bytes());
    let start = Instant::now();
    let packet = sign(packet, "alice", NOW, &[], 32);
    let reply = deliver(&mut zones, &packet);
    assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::NOERROR);
    assert!(start.elapsed().as_millis() < 2000, "{:?}", start.elapsed());
}

#[test]
fn ten_thousand_names_are_found() {
    let mut config = config(&[]);
    config.records =
        (0..10_000).map(|n| record(&format!("host{n}.home.example.net"), "A", "192.0.2.1")).collect();
    let zones = Zones::new(&config, NOW).unwrap();
    assert_eq!(zones.list().next().unwrap().names, 10_001);
    for n in [0, 1, 4711, 9999] {
        assert_eq!(asked(&zones, &format!("host{n}.home.example.net"), Rtype::A).len(), 2);
    }
    assert_eq!(asked(&zones, "host10000.home.example.net", Rtype::A)[0], "NXDOMAIN aa");
}

/// Some names that make the parts of a tree meet: wildcards, cuts, aliases, empty non-terminals.
fn some_name() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "*", "c"]), 0..4)
        .prop_map(|labels| labels.into_iter().chain(["home.example.net"]).collect::<Vec<_>>().join("."))
}

fn some_part() -> impl Strategy<Value = (String, Rtype, Class, u32, Vec<u8>)> {
    let rtype =
        prop::sample::select(vec![Rtype::A, Rtype::CNAME, Rtype::NS, Rtype::TXT, Rtype::ANY, Rtype::SOA]);
    let class = prop::sample::select(vec![Class::IN, Class::IN, Class::IN, Class::NONE, Class::ANY]);
    let rdata = prop::sample::select(vec![
        vec![192, 0, 2, 1],
        vec![1, b'x'],
        vec![],
        name("a.home.example.net").as_slice().to_vec(),
        name("b.home.example.net").as_slice().to_vec(),
    ]);
    (some_name(), rtype, class, prop::sample::select(vec![0_u32, 0, 60]), rdata)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_octets_never_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut zones = zones(&[]);
        let mut packet = Update::new().bare();
        packet.truncate(4);
        packet.extend(&octets);
        for packet in [octets.clone(), packet.clone(), sign([packet, vec![0; 8]].concat(), "alice", NOW, &[], 32)] {
            let changes = matches!(zones.handle_update(&packet, NOW), UpdateOutcome::Save(_));
            prop_assert!(!changes);
            let _ = zones.sign_reply(&packet, || NOW, &octets, || 512);
        }
    }

    #[test]
    fn flipped_octets_never_panic(at in 0_usize..300, octet: u8) {
        let mut zones = zones(&[]);
        let mut packet = Update::new()
            .needs("bob.home.example.net", Rtype::ANY, Class::NONE, &[])
            .add_a("alice.home.example.net", 1)
            .add("m.home.example.net", Rtype::MX, &[0, 1, 0xc0, 12])
            .bare();
        let at = at % packet.len();
        packet[at] = octet;
        let _ = zones.handle_update(&packet, NOW);
        if packet.len() > 12 && packet[11] < 255 {
            let _ = zones.handle_update(&sign(packet, "alice", NOW, &[], 32), NOW);
        }
    }

    #[test]
    fn any_updates_leave_a_zone_that_answers_and_loads(
        updates in prop::collection::vec(prop::collection::vec(some_part(), 1..4), 1..6),
        questions in prop::collection::vec(some_name(), 1..6),
    ) {
        let mut zones = zones(&[("b.home.example.net", "A", "192.0.2.80")]);
        for (n, parts) in updates.into_iter().enumerate() {
            let update = Update::new().at(NOW + u64::try_from(n).unwrap());
            let update = parts.into_iter().fold(update, |update, (owner, rtype, class, ttl, rdata)| {
                update.part(&owner, rtype, class, ttl, &rdata)
            });
            let _ = update.send(&mut zones);
        }
        for question in questions {
            for qtype in [Rtype::A, Rtype::ANY, Rtype::CNAME, Rtype::NS, Rtype::SOA] {
                let lines = asked(&zones, &question, qtype);
                prop_assert!(lines.len() > 1, "{} {}: {:?}", question, qtype, lines);
            }
        }
        let snapshot = zones.snapshot("home.example.net").unwrap();
        let mut again = super::zones(&[("b.home.example.net", "A", "192.0.2.80")]);
        let loaded = again.load("home.example.net", &snapshot).unwrap();
        prop_assert_eq!(loaded.remarks, Vec::<String>::new());
        prop_assert_eq!(again.snapshot("home.example.net").unwrap(), snapshot);
    }
}
