//! `tsn-dnsd` as a forwarder, seen from outside.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod daemon;

use std::{
    net::UdpSocket,
    thread,
    time::{Duration, Instant},
};

use daemon::{Daemon, Upstream, addresses, query, read_tcp, receive, summary, truncated, write_tcp};
use domain::base::iana::Rcode;

/// One address; some labels ask for something else.
fn upstream() -> Upstream {
    Upstream::start(|label, query, tcp| match label {
        "slow" => {
            thread::sleep(Duration::from_millis(300));
            Some(addresses(query, 1, 60))
        }
        "brief" => Some(addresses(query, 1, 1)),
        "big" if tcp => Some(addresses(query, 200, 60)),
        "big" => Some(truncated(query)),
        "dead" => None,
        _ => Some(addresses(query, 1, 60)),
    })
}

#[test]
fn t3_a_name_is_asked_once_and_then_known() {
    let upstream = upstream();
    let daemon = Daemon::start("known", &[&upstream], "", "");
    for _ in 0..5 {
        assert_eq!(summary(&daemon.ask("www.example.net")), (Rcode::NOERROR, 1, None));
    }
    assert_eq!((upstream.count(), daemon.counter("answered_cache")), (1, 4));
    assert_eq!(daemon.ask("WWW.Example.NET").sole_question().unwrap().qname().to_string(), "WWW.Example.NET");
}

#[test]
fn equal_questions_of_many_clients_share_one_query() {
    let upstream = upstream();
    let daemon = Daemon::start("shared", &[&upstream], "", "");
    let clients: Vec<_> = (0..30).map(|_| daemon.client()).collect();
    for client in &clients {
        client.send(&query("slow.example.net")).unwrap();
    }
    for client in &clients {
        assert_eq!(summary(&receive(client).unwrap()), (Rcode::NOERROR, 1, None));
    }
    assert_eq!((upstream.count(), daemon.counter("joined")), (1, 29));
}

#[test]
fn a_dead_server_delays_one_answer_at_most() {
    let (first, second) = (upstream(), upstream());
    first.die();
    let daemon = Daemon::start("failover", &[&first, &second], "", "");
    for (number, limit) in [(1, 1500), (2, 1500), (3, 200), (4, 200)] {
        let start = Instant::now();
        assert_eq!(summary(&daemon.ask(&format!("www{number}.example.net"))).1, 1);
        assert!(start.elapsed() < Duration::from_millis(limit), "{number}: {:?}", start.elapsed());
    }
    assert!(daemon.ask_program(&["status"]).1.contains("failing"));
}

#[test]
fn without_any_server_the_failure_comes_in_time_with_its_reason() {
    let upstream = upstream();
    let daemon = Daemon::start("dead", &[&upstream], "", "");
    let start = Instant::now();
    assert_eq!(summary(&daemon.ask("dead.example.net")), (Rcode::SERVFAIL, 0, Some(22)));
    assert!(start.elapsed() < Duration::from_secs(4));
    // Nobody listens there: noticed at once.
    daemon.configure(&[], " list upstream '127.0.0.1#1'\n", "");
    daemon.reload();
    let start = Instant::now();
    assert_eq!(summary(&daemon.ask("other.example.net")), (Rcode::SERVFAIL, 0, Some(23)));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn what_is_out_of_date_serves_when_nobody_answers() {
    let upstream = upstream();
    let daemon = Daemon::start("stale", &[&upstream], "", "");
    assert_eq!(summary(&daemon.ask("brief.example.net")).1, 1);
    upstream.die();
    thread::sleep(Duration::from_millis(1_100));
    let start = Instant::now();
    assert_eq!(summary(&daemon.ask("brief.example.net")), (Rcode::NOERROR, 1, Some(3)));
    assert!((1_700..2_500).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
    // After the failure it serves at once.
    thread::sleep(Duration::from_secs(2));
    let start = Instant::now();
    assert_eq!(summary(&daemon.ask("brief.example.net")), (Rcode::NOERROR, 1, Some(3)));
    assert!(start.elapsed() < Duration::from_millis(200));
}

#[test]
fn what_does_not_fit_a_datagram_comes_by_tcp() {
    let upstream = upstream();
    let daemon = Daemon::start("big", &[&upstream], "", "");
    let short = daemon.ask("big.example.net");
    assert!(short.header().tc() && short.as_slice().len() <= 1232);
    let mut stream = daemon.connect();
    write_tcp(&mut stream, &query("big.example.net"));
    write_tcp(&mut stream, &query("www.example.net"));
    let mut counts: Vec<_> = (0..2)
        .map(|_| summary(&domain::base::Message::from_octets(read_tcp(&mut stream).unwrap()).unwrap()).1)
        .collect();
    counts.sort_unstable();
    assert_eq!(counts, [1, 200]);
    assert_eq!((daemon.counter("upstream_tcp"), daemon.counter("truncated")), (1, 1));
}

#[test]
fn reload_keeps_the_cache_and_a_bad_file_changes_nothing() {
    let upstream = upstream();
    let daemon = Daemon::start("reload", &[&upstream], "", "");
    daemon.ask("www.example.net");
    daemon.configure(&[&upstream], " list allow '192.0.2.0/24'\n option rat 5\n", "");
    assert!(daemon.ask_program(&["check"]).1.contains("did you mean rate?"));
    daemon.reload();
    assert_eq!(summary(&daemon.ask("www.example.net")).0, Rcode::NOERROR);
    daemon.configure(&[&upstream], " list allow '192.0.2.0/24'\n", "");
    daemon.reload();
    assert_eq!(summary(&daemon.ask("www.example.net")).0, Rcode::REFUSED);
    let own = "config record\n option name own.example.net\n option type A\n option value 192.0.2.9\n";
    daemon.configure(&[&upstream], "", own);
    daemon.reload();
    daemon.ask("www.example.net");
    assert_eq!(summary(&daemon.ask("own.example.net")).1, 1);
    assert_eq!(upstream.count(), 1);
    assert!(daemon.ask_program(&["cache", "flush"]).1.contains("1 answers forgotten"));
    daemon.ask("www.example.net");
    assert_eq!(upstream.count(), 2);
}

#[test]
fn what_cannot_be_read_at_a_reload_changes_nothing() {
    let upstream = upstream();
    let daemon = Daemon::start("unread", &[&upstream], "", "");
    // A directory can be opened, but not read.
    std::fs::create_dir_all(daemon.zone_file("lab.example")).unwrap();
    let other = format!("127.0.0.2#{}", daemon.address.port());
    let zone = "config zone 'lab'\n option name lab.example\n";
    daemon.configure(&[&upstream], &format!(" list listen '{other}'\n"), zone);
    daemon.reload();
    let (_, status) = daemon.ask_program(&["status"]);
    assert!(!status.contains("127.0.0.2"), "{status}");
    assert_eq!(summary(&daemon.ask("www.example.net")), (Rcode::NOERROR, 1, None));
    std::fs::remove_dir(daemon.zone_file("lab.example")).unwrap();
    daemon.reload();
    assert!(daemon.ask_program(&["status"]).1.contains("127.0.0.2"));
}

#[test]
fn a_reload_goes_from_the_wildcard_address_to_one_address_and_back() {
    let upstream = upstream();
    let daemon = Daemon::start("wildcard", &[&upstream], "", "");
    for (listen, listening) in [("0.0.0.0", "0.0.0.0:"), ("127.0.0.1", "127.0.0.1:"), ("0.0.0.0", "0.0.0.0:")]
    {
        daemon.configure_at(listen, &[&upstream], "", "");
        daemon.reload();
        assert!(daemon.ask_program(&["status"]).1.contains(listening), "{listen}");
        assert_eq!(summary(&daemon.ask("www.example.net")).1, 1, "{listen}");
    }
    // Somebody else has one of the new addresses: everything is as before.
    let taken = UdpSocket::bind("127.0.0.9:0").unwrap();
    let lines = format!(" list listen '127.0.0.9#{}'\n", taken.local_addr().unwrap().port());
    daemon.configure_at("127.0.0.1", &[&upstream], &lines, "");
    daemon.reload();
    assert!(daemon.ask_program(&["status"]).1.contains("0.0.0.0:"));
    assert_eq!(summary(&daemon.ask("www.example.net")).1, 1);
}

#[test]
fn after_kill_the_next_try_works() {
    let upstream = upstream();
    let mut daemon = Daemon::start("killed", &[&upstream], "", "");
    daemon.ask("www.example.net");
    daemon.run();
    assert_eq!(summary(&daemon.ask("www.example.net")).1, 1);
}

#[test]
fn hostile_packets_change_nothing() {
    let upstream = upstream();
    let daemon = Daemon::start("hostile", &[&upstream], " option rate 0\n", "");
    let client = daemon.client();
    let good = query("www.example.net");
    let mut seed = 7_u64;
    let mut random = |bound: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % bound
    };
    for length in 0..good.len() {
        client.send(&good[..length]).unwrap();
    }
    for number in 0..3_000 {
        if number % 100 == 0 {
            // No more at once than the socket's buffer takes.
            thread::sleep(Duration::from_millis(10));
        }
        let mut packet = good.clone();
        for _ in 0..=random(5) {
            let at = random(packet.len());
            packet[at] = u8::try_from(random(256)).unwrap();
        }
        client.send(&packet).unwrap();
    }
    // Pointers to themselves, to the front and behind the end; labels that run out of the packet.
    for name in [b"\xc0\x0c".as_slice(), b"\x01a\xc0\x0c", b"\xff\xff", b"\x3faaa", &[0x3f; 400]] {
        client.send(&[&good[..12], name, b"\x00\x01\x00\x01"].concat()).unwrap();
    }
    client.send(&[0; 9_000]).unwrap();
    // By TCP: 64 KB of one pointer after the other, a length without message, noise.
    let mut stream = daemon.connect();
    write_tcp(&mut stream, &[good[..12].to_vec(), [0xc0, 0x0c].repeat(32_000)].concat());
    assert_eq!(read_tcp(&mut stream).unwrap()[3] & 15, 1);
    write_tcp(&mut stream, &[]);
    write_tcp(&mut stream, &good);
    assert!(read_tcp(&mut stream).is_some());
    drop(stream);
    assert_eq!(summary(&daemon.ask("www.example.net")), (Rcode::NOERROR, 1, None));
    assert!(daemon.counter("format_errors") > 100 && daemon.counter("too_long") == 1);
}
