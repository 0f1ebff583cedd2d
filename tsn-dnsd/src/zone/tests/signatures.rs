//! Signatures: RFC 8945, with messages of dnspython (vectors.py) and of the second implementation in mod.rs.

use domain::{
    base::{Message, Rtype, iana::TsigRcode},
    rdata::Tsig,
};

use super::{vectors::*, *};

/// The zone with every key allowed.
fn open_zone() -> Zones {
    let mut config = config(&[]);
    config.zones[0].update_keys = ["alice", "old.example.net", "k384", "k512"].map(String::from).to_vec();
    Zones::new(&config, NOW).unwrap()
}

/// Rcode, TSIG error, length of the MAC, other data.
fn verdict(reply: &[u8]) -> (Rcode, Option<TsigRcode>, usize, Vec<u8>) {
    let message = Message::from_slice(reply).unwrap();
    let record = message.get_last_additional::<Tsig<_, _>>();
    let (error, mac, other) = record.map_or((None, 0, Vec::new()), |record| {
        let tsig = record.data();
        (Some(tsig.error()), tsig.mac_slice().len(), tsig.other().to_vec())
    });
    (message.header().rcode(), error, mac, other)
}

fn refused(packet: &[u8]) -> (Rcode, Option<TsigRcode>, usize, Vec<u8>) {
    let mut zones = open_zone();
    let reply = deliver(&mut zones, packet);
    assert_eq!(asked(&zones, "alice.home.example.net", Rtype::A)[0], "NXDOMAIN aa");
    verdict(&reply)
}

#[test]
fn rfc8945_6_every_algorithm_agrees_with_dnspython() {
    for (request, reply) in [
        (SHA256_REQUEST, SHA256_REPLY),
        (SHA1_REQUEST, SHA1_REPLY),
        (SHA384_REQUEST, SHA384_REPLY),
        (SHA512_REQUEST, SHA512_REPLY),
    ] {
        let mut zones = open_zone();
        assert_eq!(deliver(&mut zones, &hex(request)), hex(reply));
        assert_eq!(
            asked(&zones, "alice.home.example.net", Rtype::A)[1],
            "an alice.home.example.net 300 A 192.0.2.5"
        );
    }
}

#[test]
fn rfc8945_5_2_3_late_message_gets_the_servers_time_signed() {
    let mut zones = open_zone();
    let reply = deliver(&mut zones, &hex(LATE_REQUEST));
    assert_eq!(reply, hex(LATE_REPLY));
    let (rcode, error, _, other) = verdict(&reply);
    assert_eq!((rcode, error), (Rcode::NOTAUTH, Some(TsigRcode::BADTIME)));
    assert_eq!(other, NOW.to_be_bytes()[2..]);
    assert_eq!(zones.counters().tsig_bad_time, 1);
}

#[test]
fn rfc8945_5_2_3_fudge_counts_both_ways_and_no_further_than_five_minutes() {
    let update = Update::new().add_a("alice.home.example.net", 1);
    for time in [NOW - 300, NOW + 300] {
        assert_eq!(update.clone().at(time).send(&mut open_zone()), Rcode::NOERROR);
    }
    assert_eq!(update.clone().at(NOW + 301).send(&mut open_zone()), Rcode::NOTAUTH);
}

#[test]
fn rfc8945_5_2_1_unknown_key_is_refused_without_a_mac() {
    let packet = Update::new().add_a("alice.home.example.net", 1).signed_by("mallory").signed();
    assert_eq!(refused(&packet), (Rcode::NOTAUTH, Some(TsigRcode::BADKEY), 0, vec![]));
}

#[test]
fn rfc8945_5_2_1_key_with_another_algorithm_is_refused() {
    let packet = Update::new().add_a("alice.home.example.net", 1).signed_by("k512").signed();
    assert_eq!(refused(&packet), (Rcode::NOTAUTH, Some(TsigRcode::BADKEY), 0, vec![]));
}

#[test]
fn rfc8945_5_2_2_any_changed_octet_is_noticed() {
    let packet = hex(SHA256_REQUEST);
    for at in 0..packet.len() {
        let mut changed = packet.clone();
        changed[at] ^= 1;
        let mut zones = open_zone();
        match zones.handle_update(&changed, NOW) {
            UpdateOutcome::Save(change) => {
                // The id in the header is not covered, the original one is (RFC 8945, 4.3.2), and so is every name,
                // but for the case of the key's.
                assert!(at < 2, "octet {at}: {change}");
            }
            UpdateOutcome::Reply(_) | UpdateOutcome::Ignore => {}
        }
    }
}

#[test]
fn rfc8945_5_2_2_wrong_mac_is_refused_without_a_mac() {
    let mut packet = Update::new().add_a("alice.home.example.net", 1).signed();
    let mac = packet.len() - 7;
    packet[mac] ^= 1;
    assert_eq!(refused(&packet), (Rcode::NOTAUTH, Some(TsigRcode::BADSIG), 0, vec![]));
}

#[test]
fn rfc8945_5_2_4_shortened_mac_is_refused_with_a_whole_one() {
    let packet =
        |length| sign(Update::new().add_a("alice.home.example.net", 1).bare(), "alice", NOW, &[], length);
    assert_eq!(refused(&packet(31)), (Rcode::NOTAUTH, Some(TsigRcode::BADTRUNC), 32, vec![]));
    assert_eq!(refused(&packet(16)), (Rcode::NOTAUTH, Some(TsigRcode::BADTRUNC), 32, vec![]));
    // 5.2.2.1: below half of the hash it is an error of form.
    assert_eq!(refused(&packet(15)), (Rcode::FORMERR, None, 0, vec![]));
    assert_eq!(refused(&packet(0)), (Rcode::FORMERR, None, 0, vec![]));
}

#[test]
fn rfc8945_5_1_signature_stands_last_and_once() {
    let signed = Update::new().add_a("alice.home.example.net", 1).signed();
    let twice = sign(signed.clone(), "alice", NOW, &[], 32);
    assert_eq!(refused(&twice).0, Rcode::FORMERR);
    let mut opt_behind = signed.clone();
    opt_behind.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    opt_behind[11] += 1;
    assert_eq!(refused(&opt_behind).0, Rcode::FORMERR);
    // The same record in the update section.
    let mut moved = signed;
    moved[9] += 1;
    moved[11] -= 1;
    assert_eq!(refused(&moved).0, Rcode::FORMERR);
}

#[test]
fn rfc8945_4_2_class_and_ttl_of_the_signature_are_checked() {
    let bare = Update::new().add_a("alice.home.example.net", 1).bare().len();
    let at = bare + b"\x05alice\0".len();
    for (octet, value) in [(at + 3, 1), (at + 7, 1)] {
        let mut packet = Update::new().add_a("alice.home.example.net", 1).signed();
        packet[octet] = value;
        assert_eq!(refused(&packet).0, Rcode::FORMERR);
    }
}

#[test]
fn errors_of_the_update_itself_are_signed() {
    let mut zones = open_zone();
    let packet = Update::new().add_a("alice.example.org", 1).signed();
    let reply = deliver(&mut zones, &packet);
    assert_eq!(verdict(&reply).0, Rcode::NOTZONE);
    let message = Message::from_slice(&packet).unwrap();
    let mac = message.get_last_additional::<Tsig<_, _>>().unwrap().data().mac_slice().to_vec();
    let mut unsigned = reply.clone();
    unsigned.truncate(12 + name("home.example.net").len() + 4);
    unsigned[11] = 0;
    assert_eq!(reply, sign(unsigned, "alice", NOW, &mac, 32));
}

#[test]
fn key_name_is_compared_without_case() {
    let mut packet = Update::new().add_a("alice.home.example.net", 1).signed();
    let at = packet.windows(6).rposition(|window| window == b"\x05alice").unwrap();
    packet[at + 1] = b'A';
    let mut zones = open_zone();
    assert_eq!(verdict(&deliver(&mut zones, &packet)).0, Rcode::NOERROR);
}

#[test]
fn same_message_is_answered_again_and_not_applied_again() {
    let mut zones = open_zone();
    let first = Update::new()
        .needs("alice.home.example.net", Rtype::ANY, Class::NONE, &[])
        .add_a("alice.home.example.net", 1);
    assert_eq!(first.send(&mut zones), Rcode::NOERROR);
    let serial = zones.list().next().unwrap().serial;
    assert_eq!(first.send(&mut zones), Rcode::NOERROR, "not YXDOMAIN");
    let second = Update::new().delete("alice.home.example.net", Rtype::A).add_a("alice.home.example.net", 2);
    assert_eq!(second.send(&mut zones), Rcode::NOERROR);
    assert_eq!(first.send(&mut zones), Rcode::NOERROR);
    assert_eq!(
        asked(&zones, "alice.home.example.net", Rtype::A)[1],
        "an alice.home.example.net 300 A 192.0.2.2"
    );
    assert_eq!(zones.list().next().unwrap().serial, serial + 1);
    assert_eq!(zones.counters().updates_repeated, 2);
}

#[test]
fn forgotten_message_is_too_old_once_newer_ones_fill_the_list() {
    let mut zones = open_zone();
    let first = Update::new().at(NOW - 100).add_a("alice.home.example.net", 1);
    assert_eq!(first.send(&mut zones), Rcode::NOERROR);
    for n in 0..=1024_u32 {
        let time = NOW - 99 + u64::from(n / 8);
        let again = Update::new().at(time).add("bob.home.example.net", Rtype::TXT, b"\x01x");
        // Each is another message: a prerequisite that does not hold makes it cheap.
        let id = n.to_be_bytes();
        again.needs("bob.home.example.net", Rtype::A, Class::IN, &id).send(&mut zones);
    }
    let reply = deliver(&mut zones, &first.signed());
    assert_eq!(verdict(&reply).1, Some(TsigRcode::BADTIME));
}

#[test]
fn one_key_that_fills_the_list_with_a_fast_clock_makes_no_other_keys_message_too_old() {
    let mut zones = open_zone();
    for n in 0..=1024_u32 {
        let fast = Update::new().at(NOW + 290).add("bob.home.example.net", Rtype::TXT, b"\x01x");
        fast.needs("bob.home.example.net", Rtype::A, Class::IN, &n.to_be_bytes()).send(&mut zones);
    }
    let other = hex(SHA512_REQUEST);
    assert_eq!(verdict(&deliver(&mut zones, &other)).0, Rcode::NOERROR);
}

#[test]
fn replay_after_a_restart_is_too_old() {
    let mut zones = open_zone();
    let first = Update::new().at(NOW - 10).add_a("alice.home.example.net", 1);
    assert_eq!(first.send(&mut zones), Rcode::NOERROR);
    assert_eq!(Update::new().at(NOW - 5).add_a("alice.home.example.net", 2).send(&mut zones), Rcode::NOERROR);
    let saved = zones.snapshot("home.example.net").unwrap();
    let mut restarted = open_zone();
    restarted.load("home.example.net", &saved).unwrap();
    let reply = deliver(&mut restarted, &first.signed());
    assert_eq!(
        verdict(&reply),
        (Rcode::NOTAUTH, Some(TsigRcode::BADTIME), 32, NOW.to_be_bytes()[2..].to_vec())
    );
    let slow_clock = Update::new().at(NOW - 7).add_a("bob.home.example.net", 1);
    let mut reloaded = open_zone();
    reloaded.adopt(&mut zones);
    assert_eq!(slow_clock.send(&mut reloaded), Rcode::NOERROR, "a reload is no restart");
}

/// A question for the SOA, signed.
fn signed_question(key: &str, mac_length: usize) -> Vec<u8> {
    let mut packet = Update::new().bare();
    packet[2] = 1;
    sign(packet, key, NOW, &[], mac_length)
}

#[test]
fn rfc8945_5_3_signed_question_gets_a_signed_answer() {
    let mut zones = open_zone();
    let question = signed_question("alice", 32);
    let reply = [&question[..2], &[0x85, 0x80, 0, 1, 0, 0, 0, 0, 0, 0], &question[12..34]].concat();
    let mac = Message::from_slice(&question).unwrap();
    let mac = mac.get_last_additional::<Tsig<_, _>>().unwrap().data().mac_slice().to_vec();
    let signed = zones.sign_reply(&question, || NOW, &reply, || 1232);
    assert_eq!(signed, Some(sign(reply.clone(), "alice", NOW, &mac, 32)));
    let truncated = zones.sign_reply(&question, || NOW, &reply, || 100).unwrap();
    assert_eq!((truncated[2], truncated[3]), (0x83, 0x80), "TC, RA");
    assert_eq!(verdict(&truncated), (Rcode::NOERROR, Some(TsigRcode::NOERROR), 32, vec![]));
}

#[test]
fn rfc8945_5_3_2_question_with_a_wrong_signature_is_refused() {
    let mut zones = open_zone();
    let mut verdict_of =
        |packet: &[u8]| verdict(&zones.sign_reply(packet, || NOW, &[0; 12], || 1232).unwrap());
    let bad_key = verdict_of(&signed_question("eve", 32));
    assert_eq!(bad_key, (Rcode::NOTAUTH, Some(TsigRcode::BADKEY), 0, vec![]));
    assert_eq!(verdict_of(&signed_question("alice", 15)).0, Rcode::FORMERR);
    assert_eq!((zones.counters().tsig_bad_key, zones.counters().tsig_malformed), (1, 1));
}

#[test]
fn unsigned_questions_and_servers_without_keys_are_left_alone() {
    let mut packet = Update::new().bare();
    packet[2] = 1;
    assert_eq!(open_zone().sign_reply(&packet, || NOW, &[], || 1232), None);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    packet[11] = 1;
    assert_eq!(open_zone().sign_reply(&packet, || NOW, &[], || 1232), None);
    assert_eq!(Zones::default().sign_reply(&signed_question("alice", 32), || NOW, &[], || 1232), None);
}
