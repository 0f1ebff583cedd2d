//! Dynamic update: RFC 2136.

use domain::base::Rtype;

use super::*;

const ALICE: &str = "alice.home.example.net";
const APEX: &str = "home.example.net";

/// A zone that knows alice by update, and www by configuration.
fn lived_in() -> Zones {
    let mut zones = zones(&[("www.home.example.net", "A", "192.0.2.80")]);
    let update = Update::new().at(NOW - 1).add_a(ALICE, 1).add_a(ALICE, 2).add(ALICE, Rtype::TXT, b"\x02hi");
    assert_eq!(update.send(&mut zones), Rcode::NOERROR);
    zones
}

fn addresses(zones: &Zones, owner: &str) -> Vec<String> {
    let answer = zones.answer(&name(owner), Rtype::A).unwrap();
    answer.addresses().map(|address| address.to_string()).collect()
}

fn serial(zones: &Zones) -> u32 {
    zones.list().next().unwrap().serial
}

fn fails(update: Update, expected: Rcode) {
    let mut zones = lived_in();
    let before = (zones.snapshot(APEX), serial(&zones));
    assert_eq!(update.add_a("late.home.example.net", 9).send(&mut zones), expected);
    assert_eq!((zones.snapshot(APEX), serial(&zones)), before, "all or nothing");
}

fn succeeds(update: Update) -> Zones {
    let mut zones = lived_in();
    assert_eq!(update.send(&mut zones), Rcode::NOERROR);
    zones
}

#[test]
fn rfc2136_2_4_1_rrset_exists() {
    let exists = |owner, rtype| Update::new().needs(owner, rtype, Class::ANY, &[]);
    succeeds(exists(ALICE, Rtype::A));
    succeeds(exists("WWW.home.example.net", Rtype::A));
    succeeds(exists(APEX, Rtype::SOA));
    fails(exists(ALICE, Rtype::MX), Rcode::NXRRSET);
    fails(exists("bob.home.example.net", Rtype::A), Rcode::NXRRSET);
}

#[test]
fn rfc2136_2_4_2_rrset_exists_with_just_these_values() {
    let is = |values: &[u8]| {
        values
            .iter()
            .fold(Update::new(), |update, last| update.needs(ALICE, Rtype::A, Class::IN, &[192, 0, 2, *last]))
    };
    succeeds(is(&[1, 2]));
    succeeds(is(&[2, 1, 1]));
    fails(is(&[1]), Rcode::NXRRSET);
    fails(is(&[1, 2, 3]), Rcode::NXRRSET);
    fails(Update::new().needs(ALICE, Rtype::MX, Class::IN, b"\0\x0a\x01a\0"), Rcode::NXRRSET);
    let server = name("NS.Example.net");
    succeeds(Update::new().needs(APEX, Rtype::NS, Class::IN, server.as_slice()));
}

#[test]
fn rfc2136_2_4_3_rrset_does_not_exist() {
    let absent = |owner, rtype| Update::new().needs(owner, rtype, Class::NONE, &[]);
    succeeds(absent(ALICE, Rtype::MX));
    succeeds(absent("bob.home.example.net", Rtype::A));
    fails(absent(ALICE, Rtype::A), Rcode::YXRRSET);
    fails(absent(APEX, Rtype::SOA), Rcode::YXRRSET);
}

#[test]
fn rfc2136_2_4_4_name_is_in_use() {
    let in_use = |owner| Update::new().needs(owner, Rtype::ANY, Class::ANY, &[]);
    succeeds(in_use(ALICE));
    succeeds(in_use(APEX));
    fails(in_use("bob.home.example.net"), Rcode::NXDOMAIN);
    let mut zones = zones(&[("a.b.home.example.net", "A", "192.0.2.1")]);
    assert_eq!(
        in_use("b.home.example.net").send(&mut zones),
        Rcode::NXDOMAIN,
        "an empty non-terminal is not in use"
    );
}

#[test]
fn rfc2136_2_4_5_name_is_not_in_use() {
    let free = |owner| Update::new().needs(owner, Rtype::ANY, Class::NONE, &[]);
    succeeds(free("bob.home.example.net"));
    fails(free(ALICE), Rcode::YXDOMAIN);
}

#[test]
fn rfc2136_3_2_malformed_prerequisites_are_format_errors() {
    fails(Update::new().needs(ALICE, Rtype::A, Class::ANY, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().needs(ALICE, Rtype::A, Class::NONE, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().needs(ALICE, Rtype::A, Class::CH, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().needs(ALICE, Rtype::ANY, Class::IN, &[]), Rcode::FORMERR);
    fails(Update::new().needs("alice.example.org", Rtype::A, Class::ANY, &[]), Rcode::NOTZONE);
}

#[test]
fn rfc2136_3_1_zone_section_names_a_zone_of_ours() {
    fails(Update::new().of_zone("example.org"), Rcode::NOTAUTH);
    fails(Update::new().of_zone("alice.home.example.net"), Rcode::NOTAUTH);
    fails(Update::new().of_zone("example.net"), Rcode::NOTAUTH);
    for (at, value) in [(31, 1), (33, 3), (5, 0), (5, 2)] {
        // Type A, class CH, no zone, two zones: octets of the header and of the zone section.
        let mut packet = Update::new().bare();
        packet[at] = value;
        let packet = sign(packet, "alice", NOW, &[], 32);
        let reply = deliver(&mut lived_in(), &packet);
        let expected = if at == 33 { Rcode::NOTAUTH } else { Rcode::FORMERR };
        assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), expected, "octet {at}");
    }
}

#[test]
fn rfc2136_3_3_only_listed_keys_may_update() {
    let bare = Update::new().add_a(ALICE, 9).bare();
    for packet in [bare.clone(), sign(bare, "bob", NOW, &[], 32)] {
        let mut config = config(&[]);
        config.keys.push(key("bob", "hmac-sha256"));
        let mut zones = Zones::new(&config, NOW).unwrap();
        let reply = deliver(&mut zones, &packet);
        assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::REFUSED);
        assert_eq!(zones.counters().updates_refused, 1);
    }
    let mut config = config(&[]);
    config.zones[0].update_keys.clear();
    assert_eq!(Update::new().add_a(ALICE, 9).send(&mut Zones::new(&config, NOW).unwrap()), Rcode::REFUSED);
}

#[test]
fn rfc3007_3_1_prerequisites_tell_strangers_nothing() {
    let packet = Update::new().needs("bob.home.example.net", Rtype::ANY, Class::ANY, &[]).bare();
    let reply = deliver(&mut lived_in(), &packet);
    assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::REFUSED);
}

#[test]
fn rfc2136_3_4_1_prescan_refuses_before_anything_is_done() {
    fails(Update::new().add_a(ALICE, 3).add_a("alice.example.org", 1), Rcode::NOTZONE);
    fails(Update::new().part(ALICE, Rtype::ANY, Class::IN, 0, &[]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::A, Class::IN, 0, &[]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::A, Class::ANY, 0, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::A, Class::ANY, 60, &[]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::A, Class::NONE, 60, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::ANY, Class::NONE, 0, &[]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::AXFR, Class::ANY, 0, &[]), Rcode::FORMERR);
    fails(Update::new().part(ALICE, Rtype::A, Class::CH, 0, &[192, 0, 2, 1]), Rcode::FORMERR);
    fails(Update::new().add(ALICE, Rtype::A, &[192, 0, 2]), Rcode::FORMERR);
    fails(Update::new().add(ALICE, Rtype::TXT, &[5, 1]), Rcode::FORMERR);
}

#[test]
fn rfc2136_3_4_2_2_record_is_added_and_its_type_gets_its_ttl() {
    let zones = succeeds(Update::new().part(ALICE, Rtype::A, Class::IN, 7, &[192, 0, 2, 3]));
    let expected =
        ["NOERROR aa".to_owned()].into_iter().chain((1..=3).map(|n| format!("an {ALICE} 7 A 192.0.2.{n}")));
    assert_eq!(asked(&zones, ALICE, Rtype::A), expected.collect::<Vec<_>>());
}

#[test]
fn rfc2136_3_4_2_2_alias_and_other_records_exclude_each_other_silently() {
    let target = name("www.home.example.net");
    let zones = succeeds(Update::new().add(ALICE, Rtype::CNAME, target.as_slice()));
    assert_eq!(addresses(&zones, ALICE), ["192.0.2.1", "192.0.2.2"]);
    let add = |to: &str| Update::new().add("bob.home.example.net", Rtype::CNAME, name(to).as_slice());
    let mut zones = succeeds(add("x.example.org").add_a("bob.home.example.net", 3));
    assert_eq!(add("www.home.example.net").at(NOW + 1).send(&mut zones), Rcode::NOERROR);
    assert_eq!(addresses(&zones, "bob.home.example.net"), ["192.0.2.80"], "an alias replaces an alias");
    let zones = succeeds(Update::new().add(APEX, Rtype::CNAME, target.as_slice()));
    assert_eq!(asked(&zones, APEX, Rtype::CNAME).len(), 2, "the apex stays what it is");
}

#[test]
fn rfc2136_3_4_2_2_soa_sets_the_serial_if_it_is_later() {
    let soa = |serial: u32| {
        let mut rdata = [name("x.example.org").as_slice(), name("y.example.org").as_slice()].concat();
        rdata.extend(serial.to_be_bytes());
        rdata.extend([0; 16]);
        rdata
    };
    let now = serial(&lived_in());
    let later = now.wrapping_add(1000);
    assert_eq!(serial(&succeeds(Update::new().add(APEX, Rtype::SOA, &soa(later)))), later);
    assert_eq!(serial(&succeeds(Update::new().add(APEX, Rtype::SOA, &soa(later)).add_a(ALICE, 9))), later);
    assert_eq!(serial(&succeeds(Update::new().add(APEX, Rtype::SOA, &soa(now - 1)))), now);
    assert_eq!(serial(&succeeds(Update::new().add(ALICE, Rtype::SOA, &soa(later)))), now, "only at the apex");
}

#[test]
fn rfc2136_3_4_2_3_type_is_deleted() {
    let zones = succeeds(Update::new().delete("ALICE.home.example.net", Rtype::A));
    assert_eq!(addresses(&zones, ALICE).len(), 0);
    assert_eq!(asked(&zones, ALICE, Rtype::TXT)[1], format!("an {ALICE} 300 TXT \"hi\""));
}

#[test]
fn rfc2136_3_4_2_3_name_is_deleted_with_all_types() {
    let zones = succeeds(Update::new().delete(ALICE, Rtype::ANY));
    assert_eq!(asked(&zones, ALICE, Rtype::A)[0], "NXDOMAIN aa");
}

#[test]
fn rfc2136_3_4_2_4_one_record_is_deleted() {
    let zones = succeeds(Update::new().delete_one(ALICE, Rtype::A, &[192, 0, 2, 1]));
    assert_eq!(addresses(&zones, ALICE), ["192.0.2.2"]);
}

#[test]
fn rfc2136_3_4_2_3_soa_and_servers_of_the_apex_stay() {
    let server = name("ns.example.net");
    let update = Update::new()
        .delete(APEX, Rtype::SOA)
        .delete(APEX, Rtype::NS)
        .delete(APEX, Rtype::ANY)
        .delete_one(APEX, Rtype::NS, server.as_slice());
    let mut zones = lived_in();
    let before = serial(&zones);
    assert_eq!(update.send(&mut zones), Rcode::NOERROR);
    assert_eq!(asked(&zones, APEX, Rtype::NS)[1], "an home.example.net 60 NS ns.example.net");
    assert_eq!(serial(&zones), before, "nothing has changed");
    assert_eq!(zones.counters().updates_without_change, 1);
}

#[test]
fn rfc2136_3_4_2_operations_follow_each_other_in_one_update() {
    let zones = succeeds(Update::new().delete(ALICE, Rtype::A).add_a(ALICE, 7).add_a(ALICE, 8).delete_one(
        ALICE,
        Rtype::A,
        &[192, 0, 2, 7],
    ));
    assert_eq!(addresses(&zones, ALICE), ["192.0.2.8"]);
}

#[test]
fn rfc2136_3_6_serial_rises_with_every_change_and_only_then() {
    let mut zones = lived_in();
    let before = serial(&zones);
    assert_eq!(Update::new().add_a(ALICE, 1).add_a(ALICE, 2).send(&mut zones), Rcode::NOERROR);
    assert_eq!(serial(&zones), before);
    assert_eq!(Update::new().add_a(ALICE, 3).send(&mut zones), Rcode::NOERROR);
    assert_eq!(serial(&zones), before + 1);
    assert!(asked(&zones, APEX, Rtype::SOA)[1].contains(&format!(" {} 3600 ", before + 1)));
}

#[test]
fn configured_records_are_not_changed_by_updates() {
    let www = "www.home.example.net";
    fails(Update::new().add_a(www, 1), Rcode::REFUSED);
    fails(Update::new().delete(www, Rtype::A), Rcode::REFUSED);
    fails(Update::new().delete(www, Rtype::ANY), Rcode::REFUSED);
    fails(Update::new().delete_one(www, Rtype::A, &[192, 0, 2, 80]), Rcode::REFUSED);
    fails(Update::new().add(APEX, Rtype::NS, name("ns9.example.net").as_slice()), Rcode::REFUSED);
    let zones = succeeds(Update::new().add_a(www, 80).add(www, Rtype::TXT, b"\x01x").delete_one(
        www,
        Rtype::A,
        &[0; 4],
    ));
    assert_eq!(addresses(&zones, www), ["192.0.2.80"]);
    assert_eq!(asked(&zones, www, Rtype::TXT).len(), 2, "other types of the name may come and go");
}

#[test]
fn types_of_signed_zones_are_refused() {
    fails(Update::new().add(ALICE, Rtype::DNAME, b"\x01x\0"), Rcode::REFUSED);
    fails(Update::new().add(ALICE, Rtype::RRSIG, &[0; 40]), Rcode::REFUSED);
    let zones =
        succeeds(Update::new().add(ALICE, Rtype::DHCID, &[1; 35]).add(ALICE, 65_280.into(), &[1, 2, 3]));
    assert_eq!(asked(&zones, ALICE, Rtype::DHCID).len(), 2);
}

#[test]
fn number_of_records_is_bounded_per_name_and_per_zone() {
    let many = (0..65).fold(Update::new(), |update, n| update.add_a(ALICE, n));
    fails(many, Rcode::REFUSED);
    let mut zones = lived_in();
    let fill = |range: std::ops::Range<u8>| {
        range.fold(Update::new(), |update, n| update.add_a(&format!("host{n}.home.example.net"), n))
    };
    assert_eq!(fill(0..97).send(&mut zones), Rcode::NOERROR);
    assert_eq!(fill(97..98).send(&mut zones), Rcode::REFUSED);
    assert_eq!(zones.counters().updates_too_many_records, 1);
    let swap = Update::new().delete(ALICE, Rtype::ANY).add_a("bob.home.example.net", 1);
    assert_eq!(swap.send(&mut zones), Rcode::NOERROR, "what goes makes room for what comes");
    assert_eq!(zones.list().next().unwrap().learned, 98);
}

#[test]
fn update_that_cannot_be_saved_is_answered_servfail_and_not_made() {
    let mut zones = zones(&[]);
    let UpdateOutcome::Save(change) = zones.handle_update(&Update::new().add_a(ALICE, 1).signed(), NOW)
    else {
        panic!("a change is expected");
    };
    assert_eq!(asked(&zones, ALICE, Rtype::A)[0], "NXDOMAIN aa");
    let reply = zones.abandon(*change);
    assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::SERVFAIL);
    assert_eq!(asked(&zones, ALICE, Rtype::A)[0], "NXDOMAIN aa");
    assert_eq!(Update::new().add_a(ALICE, 1).send(&mut zones), Rcode::NOERROR, "the client's next try works");
}

#[test]
fn change_planned_before_another_one_is_not_made() {
    let mut zones = zones(&[]);
    let UpdateOutcome::Save(change) = zones.handle_update(&Update::new().add_a(ALICE, 1).signed(), NOW)
    else {
        panic!("a change is expected");
    };
    assert_eq!(Update::new().add_a(ALICE, 2).send(&mut zones), Rcode::NOERROR);
    let reply = zones.commit(*change);
    assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::SERVFAIL);
    assert_eq!(addresses(&zones, ALICE), ["192.0.2.2"]);
}

#[test]
fn wildcards_and_names_below_each_other_are_updated_like_others() {
    let zones = succeeds(Update::new().add_a("*.home.example.net", 7).add_a("a.b.home.example.net", 8));
    assert_eq!(addresses(&zones, "x.home.example.net"), ["192.0.2.7"]);
    assert_eq!(asked(&zones, "b.home.example.net", Rtype::A)[0], "NOERROR aa");
    assert_eq!(addresses(&zones, "a.b.home.example.net"), ["192.0.2.8"]);
    assert_eq!(asked(&zones, "c.b.home.example.net", Rtype::A)[0], "NXDOMAIN aa");
}

#[test]
fn compressed_names_are_stored_whole() {
    let mut packet = Update::new()
        .add("mail.home.example.net", Rtype::MX, &[0, 10, 4, b'm', b'a', b'i', b'l', 0xc0, 12])
        .bare();
    packet[3] = 0;
    let mut zones = zones(&[]);
    let reply = deliver(&mut zones, &sign(packet, "alice", NOW, &[], 32));
    assert_eq!(Message::from_slice(&reply).unwrap().header().rcode(), Rcode::NOERROR);
    let expected = "an mail.home.example.net 300 MX 10 mail.home.example.net";
    assert_eq!(asked(&zones, "mail.home.example.net", Rtype::MX)[1], expected);
}

#[test]
fn rfc6891_6_1_edns_is_answered_with_edns() {
    let with_opt = |version: u8| {
        let mut packet = Update::new().add_a(ALICE, 1).bare();
        packet.extend([0, 0, 41, 4, 208, 0, version, 0, 0, 0, 0]);
        packet[11] += 1;
        let reply = deliver(&mut zones(&[]), &sign(packet, "alice", NOW, &[], 32));
        let message = Message::from_octets(reply).unwrap();
        let opt = message.opt().unwrap();
        (opt.rcode(message.header()), opt.version())
    };
    assert_eq!(with_opt(0), (domain::base::iana::OptRcode::NOERROR, 0));
    assert_eq!(with_opt(1), (domain::base::iana::OptRcode::BADVERS, 0));
}

#[test]
fn rfc2136_3_8_reply_repeats_id_opcode_and_zone() {
    let reply = deliver(&mut lived_in(), &Update::new().add_a(ALICE, 1).signed());
    let message = Message::from_slice(&reply).unwrap();
    let header = message.header();
    assert_eq!((header.id(), header.opcode(), header.qr(), header.aa()), (7, Opcode::UPDATE, true, false));
    assert_eq!(message.sole_question().unwrap().qname(), &name(APEX));
}
