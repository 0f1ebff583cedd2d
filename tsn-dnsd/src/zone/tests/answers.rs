//! Answers: RFC 1034, RFC 2308, RFC 4592, RFC 8482.

use domain::base::Rtype;

use super::{super::Origin, *};

const SOA: &str = "60 SOA ns.example.net hostmaster.home.example.net 1763700000 3600 600 604800 60";

fn soa(section: &str) -> String {
    format!("{section} home.example.net {SOA}")
}

#[test]
fn rfc1034_4_3_2_name_of_ours_is_answered_with_authority() {
    let zones =
        zones(&[("www.home.example.net", "A", "192.0.2.1"), ("www.home.example.net", "A", "192.0.2.2")]);
    let expected =
        ["NOERROR aa", "an WWW.home.Example.net 60 A 192.0.2.1", "an WWW.home.Example.net 60 A 192.0.2.2"];
    assert_eq!(asked(&zones, "WWW.home.Example.net", Rtype::A), expected);
    let answer = zones.answer(&name("www.home.example.net"), Rtype::A).unwrap();
    let addresses: Vec<String> = answer.addresses().map(|address| address.to_string()).collect();
    assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
}

#[test]
fn rfc2308_2_absent_name_and_absent_type_are_told_apart_with_the_soa() {
    let zones = zones(&[("www.home.example.net", "A", "192.0.2.1")]);
    assert_eq!(asked(&zones, "mail.home.example.net", Rtype::A), ["NXDOMAIN aa".into(), soa("ns")]);
    assert_eq!(asked(&zones, "www.home.example.net", Rtype::AAAA), ["NOERROR aa".into(), soa("ns")]);
    assert_eq!(asked(&zones, "a.b.c.home.example.net", Rtype::A), ["NXDOMAIN aa".into(), soa("ns")]);
}

#[test]
fn rfc2308_5_absence_is_not_believed_for_longer_than_three_hours() {
    let mut config = config(&[]);
    config.zones[0].ttl = 86_400;
    let zones = Zones::new(&config, NOW).unwrap();
    let answer = asked(&zones, "x.home.example.net", Rtype::A);
    assert!(
        answer[1].starts_with("ns home.example.net 10800 SOA") && answer[1].ends_with(" 604800 10800"),
        "{answer:?}"
    );
}

#[test]
fn names_outside_every_zone_are_not_ours() {
    let zones = zones(&[("www.home.example.net", "A", "192.0.2.1")]);
    for other in ["example.net", "net", ".", "other.example.net", "xhome.example.net", "home.example.net.org"]
    {
        assert_eq!(asked(&zones, other, Rtype::A), ["not ours"], "{other}");
    }
    assert!(Zones::default().answer(&name("example.net"), Rtype::A).is_none());
}

#[test]
fn apex_has_soa_and_ns() {
    let zones = zones(&[("home.example.net", "A", "192.0.2.9")]);
    assert_eq!(asked(&zones, "home.example.net", Rtype::SOA), ["NOERROR aa".into(), soa("an")]);
    assert_eq!(
        asked(&zones, "home.example.net", Rtype::NS),
        ["NOERROR aa", "an home.example.net 60 NS ns.example.net"]
    );
    assert_eq!(
        asked(&zones, "home.example.net", Rtype::A),
        ["NOERROR aa", "an home.example.net 60 A 192.0.2.9"]
    );
    assert_eq!(asked(&zones, "home.example.net", Rtype::MX), ["NOERROR aa".into(), soa("ns")]);
}

#[test]
fn zone_without_servers_names_itself() {
    let mut config = config(&[]);
    config.zones[0].ns.clear();
    let zones = Zones::new(&config, NOW).unwrap();
    let expected = ["NOERROR aa", "an home.example.net 60 NS home.example.net"];
    assert_eq!(asked(&zones, "home.example.net", Rtype::NS), expected);
}

#[test]
fn lowest_zone_has_the_name() {
    let mut config = config(&[("www.sub.home.example.net", "A", "192.0.2.1")]);
    config.zones.push(zone("sub.home.example.net"));
    let zones = Zones::new(&config, NOW).unwrap();
    assert_eq!(
        asked(&zones, "www.sub.home.example.net", Rtype::A)[1],
        "an www.sub.home.example.net 60 A 192.0.2.1"
    );
    assert!(
        asked(&zones, "x.sub.home.example.net", Rtype::A)[1].starts_with("ns sub.home.example.net 60 SOA")
    );
}

/// The zone of RFC 4592, 2.2.1.
fn rfc4592() -> Zones {
    let mut zones = config(&[
        ("*.example", "TXT", "this is a wildcard"),
        ("*.example", "MX", "10 host1.example"),
        ("sub.*.example", "TXT", "this is not a wildcard"),
        ("host1.example", "A", "192.0.2.1"),
        ("_ssh._tcp.host1.example", "SRV", "0 0 22 host1.example"),
        ("_ssh._tcp.host2.example", "SRV", "0 0 22 host2.example"),
        ("subdel.example", "NS", "ns.example.com"),
        ("subdel.example", "NS", "ns.example.net"),
    ]);
    zones.zones = vec![ZoneSetting { update_keys: Vec::new(), ..zone("example") }];
    Zones::new(&zones, NOW).unwrap()
}

#[test]
fn rfc4592_2_2_1_wildcard_stands_for_names_that_do_not_exist() {
    let zones = rfc4592();
    let mx = |owner: &str| vec!["NOERROR aa".into(), format!("an {owner} 60 MX 10 host1.example")];
    assert_eq!(asked(&zones, "host3.example", Rtype::MX), mx("host3.example"));
    assert_eq!(
        asked(&zones, "foo.bar.example", Rtype::TXT)[1],
        "an foo.bar.example 60 TXT \"this is a wildcard\""
    );
    assert_eq!(asked(&zones, "*.example", Rtype::MX), mx("*.example"));
    let no_data = asked(&zones, "host3.example", Rtype::A);
    assert!(no_data[0] == "NOERROR aa" && no_data[1].starts_with("ns example 60 SOA"), "{no_data:?}");
}

#[test]
fn rfc4592_2_2_1_wildcard_does_not_stand_for_what_exists_or_lies_below_it() {
    let zones = rfc4592();
    let answer = |qname, qtype| {
        let answer = asked(&zones, qname, qtype);
        (answer[0].clone(), answer[1].split(' ').take(2).collect::<Vec<_>>().join(" "))
    };
    let no_data = ("NOERROR aa".to_owned(), "ns example".to_owned());
    let no_name = ("NXDOMAIN aa".to_owned(), "ns example".to_owned());
    assert_eq!(answer("host1.example", Rtype::MX), no_data, "host1 exists");
    assert_eq!(answer("sub.*.example", Rtype::MX), no_data, "sub.*.example exists");
    assert_eq!(
        answer("_telnet._tcp.host1.example", Rtype::SRV),
        no_name,
        "_tcp.host1 exists, no wildcard below it"
    );
    assert_eq!(answer("ghost.*.example", Rtype::MX), no_name, "*.example exists, no wildcard below it");
}

#[test]
fn rfc4592_2_2_2_empty_non_terminals_exist() {
    let zones = rfc4592();
    for owner in ["_tcp.host1.example", "host2.example", "_tcp.host2.example"] {
        let answer = asked(&zones, owner, Rtype::A);
        assert!(answer[0] == "NOERROR aa" && answer[1].starts_with("ns example"), "{owner}: {answer:?}");
    }
    assert_eq!(asked(&zones, "foo.host2.example", Rtype::A)[0], "NXDOMAIN aa");
}

#[test]
fn rfc4592_4_wildcard_without_records_answers_no_data() {
    let zones = zones(&[("a.*.home.example.net", "A", "192.0.2.1")]);
    assert_eq!(asked(&zones, "b.home.example.net", Rtype::A), ["NOERROR aa".into(), soa("ns")]);
}

#[test]
fn rfc1034_4_3_2_zone_cut_is_a_referral_with_glue() {
    let zones = zones(&[
        ("lab.home.example.net", "NS", "ns.lab.home.example.net"),
        ("lab.home.example.net", "NS", "ns.example.org"),
        ("lab.home.example.net", "NS", "ns2.lab.home.example.net"),
        ("ns.lab.home.example.net", "A", "192.0.2.53"),
        ("ns2.lab.home.example.net", "AAAA", "2001:db8::53"),
    ]);
    let expected = [
        "NOERROR",
        "ns lab.home.example.net 60 NS ns.lab.home.example.net",
        "ns lab.home.example.net 60 NS ns.example.org",
        "ns lab.home.example.net 60 NS ns2.lab.home.example.net",
        "ad ns2.lab.home.example.net 60 AAAA 2001:db8::53",
        "ad ns.lab.home.example.net 60 A 192.0.2.53",
    ];
    assert_eq!(asked(&zones, "x.y.lab.home.example.net", Rtype::A), expected);
    assert_eq!(asked(&zones, "lab.home.example.net", Rtype::A), expected);
    assert_eq!(asked(&zones, "ns.lab.home.example.net", Rtype::A), expected, "glue is no answer");
    assert_eq!(
        asked(&zones, "lab.home.example.net", Rtype::DS),
        ["NOERROR aa".into(), soa("ns")],
        "RFC 4035, 3.1.4.1"
    );
}

#[test]
fn rfc1034_3_6_2_aliases_are_followed_inside_own_names() {
    let mut config = config(&[
        ("www.home.example.net", "CNAME", "Web.home.example.net"),
        ("web.home.example.net", "CNAME", "host.lab.example"),
        ("host.lab.example", "A", "192.0.2.7"),
        ("out.home.example.net", "CNAME", "www.example.org"),
        ("bad.home.example.net", "CNAME", "none.home.example.net"),
    ]);
    config.zones.push(zone("lab.example"));
    let zones = Zones::new(&config, NOW).unwrap();
    let expected = [
        "NOERROR aa",
        "an www.home.example.net 60 CNAME Web.home.example.net",
        "an Web.home.example.net 60 CNAME host.lab.example",
        "an host.lab.example 60 A 192.0.2.7",
    ];
    assert_eq!(asked(&zones, "www.home.example.net", Rtype::A), expected);
    assert_eq!(asked(&zones, "www.home.example.net", Rtype::CNAME), expected[..2]);
    let expected =
        ["NOERROR aa", "an out.home.example.net 60 CNAME www.example.org", "beyond www.example.org"];
    assert_eq!(asked(&zones, "out.home.example.net", Rtype::A), expected);
    let answer = asked(&zones, "bad.home.example.net", Rtype::A);
    let expected =
        ["NXDOMAIN aa".into(), "an bad.home.example.net 60 CNAME none.home.example.net".into(), soa("ns")];
    assert_eq!(answer, expected, "RFC 6604, 2.1: the rcode is that of the last name");
    let answer = asked(&zones, "www.home.example.net", Rtype::AAAA);
    assert!(answer.len() == 4 && answer[3].starts_with("ns lab.example 60 SOA"), "{answer:?}");
    let addresses = zones.answer(&name("www.home.example.net"), Rtype::A).unwrap();
    assert_eq!(addresses.addresses().map(|address| address.to_string()).collect::<Vec<_>>(), ["192.0.2.7"]);
}

#[test]
fn circle_of_aliases_ends() {
    let zones = zones(&[
        ("a.home.example.net", "CNAME", "b.home.example.net"),
        ("b.home.example.net", "CNAME", "A.home.example.net"),
    ]);
    assert_eq!(asked(&zones, "a.home.example.net", Rtype::A).len(), 3);
    let chain: Vec<(String, String)> =
        (0..30).map(|n| (format!("c{n}.home.example.net"), format!("c{}.home.example.net", n + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(from, to)| (from.as_str(), "CNAME", to.as_str())).collect();
    assert_eq!(asked(&super::zones(&chain), "c0.home.example.net", Rtype::A).len(), 9);
}

#[test]
fn wildcard_alias_is_followed() {
    let zones =
        zones(&[("*.home.example.net", "CNAME", "home.example.net"), ("home.example.net", "A", "192.0.2.1")]);
    let expected = [
        "NOERROR aa",
        "an alice.home.example.net 60 CNAME home.example.net",
        "an home.example.net 60 A 192.0.2.1",
    ];
    assert_eq!(asked(&zones, "alice.home.example.net", Rtype::A), expected);
}

#[test]
fn rfc8482_4_1_any_gets_one_rrset() {
    let zones = zones(&[
        ("www.home.example.net", "TXT", "hello"),
        ("www.home.example.net", "A", "192.0.2.1"),
        ("www.home.example.net", "TXT", "world"),
    ]);
    let expected = [
        "NOERROR aa",
        "an www.home.example.net 60 TXT \"hello\"",
        "an www.home.example.net 60 TXT \"world\"",
    ];
    assert_eq!(asked(&zones, "www.home.example.net", Rtype::ANY), expected);
    assert_eq!(asked(&zones, "home.example.net", Rtype::ANY), ["NOERROR aa".into(), soa("an")]);
}

#[test]
fn transfers_are_refused() {
    let zones = zones(&[]);
    assert_eq!(asked(&zones, "home.example.net", Rtype::AXFR), ["REFUSED aa"]);
    assert_eq!(asked(&zones, "home.example.net", Rtype::MAILB), ["NOTIMP aa"]);
}

#[test]
fn record_outside_every_zone_makes_its_name_known() {
    let zones = zones(&[
        ("printer.lan", "A", "192.168.1.9"),
        ("*.ads.example", "A", "0.0.0.0"),
        ("cam.ads.example", "CNAME", "printer.lan"),
    ]);
    assert_eq!(asked(&zones, "printer.lan", Rtype::A), ["NOERROR aa", "an printer.lan 60 A 192.168.1.9"]);
    let no_data = "ns printer.lan 60 SOA localhost nobody.invalid 1 3600 1200 604800 60";
    assert_eq!(asked(&zones, "printer.lan", Rtype::AAAA), ["NOERROR aa", no_data]);
    assert_eq!(asked(&zones, "x.y.ads.example", Rtype::A)[1], "an x.y.ads.example 60 A 0.0.0.0");
    assert_eq!(asked(&zones, "cam.ads.example", Rtype::A).len(), 3);
    for other in ["lan", "x.printer.lan", "ads.example"] {
        assert_eq!(asked(&zones, other, Rtype::A), ["not ours"], "{other}");
    }
}

#[test]
fn every_type_is_read_from_its_text() {
    let owner = "x.home.example.net";
    let zones = zones(&[
        (owner, "A", "192.0.2.1"),
        (owner, "aaaa", "2001:db8::1"),
        (owner, "TXT", "v=spf1  -all"),
        (owner, "MX", "10 Mail.example.net."),
        (owner, "SRV", "1 2 5060 sip.example.net"),
        ("1.2.0.192.in-addr.arpa", "PTR", "x.home.example.net"),
    ]);
    for (rtype, data) in [
        (Rtype::AAAA, "2001:db8::1"),
        (Rtype::TXT, "\"v=spf1  -all\""),
        (Rtype::MX, "10 Mail.example.net"),
        (Rtype::SRV, "1 2 5060 sip.example.net"),
    ] {
        assert_eq!(asked(&zones, owner, rtype)[1], format!("an {owner} 60 {rtype} {data}"));
    }
    assert_eq!(
        asked(&zones, "1.2.0.192.in-addr.arpa", Rtype::PTR)[1],
        format!("an 1.2.0.192.in-addr.arpa 60 PTR {owner}")
    );
}

#[test]
fn long_text_becomes_several_strings() {
    let long = "x".repeat(300);
    let zones = zones(&[("x.home.example.net", "TXT", &long)]);
    let answer = asked(&zones, "x.home.example.net", Rtype::TXT);
    assert!(answer[1].ends_with(&format!("\"{}\" \"{}\"", "x".repeat(255), "x".repeat(45))), "{answer:?}");
}

#[test]
fn wrong_settings_are_all_named_with_what_is_accepted() {
    let mut config = config(&[
        ("www.home.example.net", "A", "2001:db8::1"),
        ("www.home.example.net", "WKS", "x"),
        ("a..b", "A", "192.0.2.1"),
        ("home.example.net", "CNAME", "x.example.net"),
        ("mail.home.example.net", "MX", "mail.example.net"),
    ]);
    config.zones.push(zone("home.example.net"));
    config.zones.push(ZoneSetting { update_keys: vec!["nobody".into()], ..zone("other.example") });
    config.keys.push(key("Alice", "hmac-sha256"));
    config.keys.push(key("bob", "hmac-md5"));
    config.keys.push(KeySetting { secret: b"short".to_vec().into(), ..key("carol", "hmac-sha256") });
    let errors = Zones::new(&config, NOW).unwrap_err();
    assert_eq!(errors[0].origin, Origin::Key(4));
    let errors: Vec<String> = errors.iter().map(|finding| finding.error.to_string()).collect();
    for expected in [
        "'alice' stands twice",
        "hmac-md5",
        "'carol' has a secret of 5 bytes; accepted are 16 to 512",
        "'home.example.net' stands twice",
        "update key 'nobody'",
        "'2001:db8::1' is no A; accepted is an IPv4 address",
        "has type 'WKS'",
        "'a..b' is no domain name",
        "'home.example.net': a CNAME stands alone",
        "'mail.example.net' is no MX",
    ] {
        let found = errors.iter().any(|error| error.to_lowercase().contains(&expected.to_lowercase()));
        assert!(found, "{expected} in {errors:#?}");
    }
    assert_eq!(errors.len(), 10, "{errors:#?}");
}
