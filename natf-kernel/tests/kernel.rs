//! The kernel layer against the real kernel, each test in a network namespace of its own thread.
//!
//! ```text
//!   fresh network namespace:   lo 127.0.0.1, 10.1.0.1 (G1), 10.2.0.1 (G2), 10.3.0.1 (P1)
//!                              table ip lab: a nat chain, a rule that refers to ct label
//! ```
//!
//! Needs root; without it each test prints SKIPPED.
#![allow(unsafe_code, reason = "unshare(2) has no safe form in the standard library")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests fail by panicking")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::{Duration, Instant};

use natf_kernel::KernelError;
use natf_kernel::address::{AddressWatch, Addresses, Network, Route, interface_index};
use natf_kernel::conntrack::{Conntrack, Flow, Insert, InsertError, STATUS_DST_NAT, STATUS_SEEN_REPLY};
use natf_kernel::elements::{Added, Concat, Element, Elements, SetName};
use natf_kernel::packet::{Ipv4View, PacketBatch, Transport};
use natf_kernel::queue::{Queue, ReceiveStamps, Verdict};
use natf_kernel::raw::{EchoSocket, RawSender};
use natf_kernel::ruleset::Ruleset;
use natf_kernel::table_watch::TableWatch;
use natf_kernel::timeouts::Timeouts;

const G1: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const G2: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
const P1: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

const LAB: &str = "table ip lab {
  chain nat { type nat hook prerouting priority -100; ct state new accept; }
  chain output_nat { type nat hook output priority -100; ct state new accept; }
  chain labels { type filter hook prerouting priority 0; ct label 127 counter; }
}";

/// Runs `test` in a fresh network namespace, or says that it cannot.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let done = std::thread::spawn(|| {
        // SAFETY: unshare(2) takes no pointers; it changes the namespace of this thread only.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            println!("SKIPPED: needs root");
            return;
        }
        run("ip", &["link", "set", "lo", "up"]);
        for address in [G1, G2, P1] {
            run("ip", &["addr", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        test();
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {error}");
    text
}

/// `nft -f -`
fn nft(script: &str) {
    let path = format!("/tmp/natf-kernel-test-{:?}.nft", std::thread::current().id()).replace(['(', ')'], "");
    std::fs::write(&path, script).unwrap();
    run("nft", &["-f", &path]);
    std::fs::remove_file(&path).unwrap();
}

fn socket(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

fn mapping(port: u16) -> Insert<'static> {
    Insert {
        original: Flow { proto: 17, source: socket(G1, 4000), destination: socket(G2, port) },
        dnat: Some(socket(P1, 5000)),
        snat: None,
        timeout: Duration::from_secs(30),
        label: Some(*b"natf label \0\x01\x02\x03\x80"),
        helper: None,
    }
}

#[test]
fn inserts_refuses_finds_and_deletes_a_mapping() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        let insert = mapping(16384);
        let flow = insert.original;
        assert_eq!(conntrack.get(&flow).unwrap(), None);
        assert_eq!(conntrack.insert(&insert).unwrap(), Ok(()));
        assert_eq!(conntrack.insert(&insert).unwrap(), Err(InsertError::Exists));
        let entry = conntrack.get(&flow).unwrap().unwrap();
        let answers = Flow { proto: 17, source: socket(P1, 5000), destination: socket(G1, 4000) };
        assert_eq!((entry.original, entry.reply), (flow, answers));
        assert_eq!(entry.label, insert.label, "the label survives");
        assert!(entry.status & STATUS_SEEN_REPLY != 0 && entry.status & STATUS_DST_NAT != 0, "{entry:?}");
        assert!((28..=30).contains(&entry.timeout.as_secs()), "{entry:?}");
        assert_eq!(conntrack.get(&answers).unwrap(), None, "only the original tuple counts");
        assert_eq!(conntrack.get_reply_taken(&answers).unwrap(), Some(entry));
        assert!(conntrack.set_timeout(&flow, Duration::from_secs(300)).unwrap());
        assert!(conntrack.get(&flow).unwrap().unwrap().timeout.as_secs() > 290);
        assert!(conntrack.delete(&flow).unwrap());
        assert!(!conntrack.delete(&flow).unwrap());
        assert!(!conntrack.set_timeout(&flow, Duration::from_secs(3)).unwrap());
    });
}

#[test]
fn a_label_is_dropped_silently_while_no_rule_refers_to_ct_label() {
    in_namespace(|| {
        nft("table ip lab { chain nat { type nat hook prerouting priority -100; ct state new accept; }; }");
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.insert(&mapping(16384)).unwrap(), Ok(()));
        assert_eq!(conntrack.get(&mapping(16384).original).unwrap().unwrap().label, None);
    });
}

#[test]
fn a_mapping_translates_both_directions() {
    in_namespace(|| {
        nft(LAB);
        let inside = UdpSocket::bind((P1, 5000)).unwrap();
        let outside = UdpSocket::bind((G1, 4000)).unwrap();
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.insert(&mapping(16384)).unwrap(), Ok(()));
        for socket in [&inside, &outside] {
            socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        }
        outside.send_to(b"hello", (G2, 16384)).unwrap();
        let mut buffer = [0; 16];
        let (length, from) = inside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"hello"[..], socket(G1, 4000).into()));
        inside.send_to(b"answer", from).unwrap();
        let (length, from) = outside.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], socket(G2, 16384).into()));
    });
}

#[test]
fn a_second_mapping_to_the_same_inside_port_gets_another_source_port() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        assert_eq!(conntrack.insert(&mapping(16384)).unwrap(), Ok(()));
        assert_eq!(conntrack.insert(&mapping(16385)).unwrap(), Ok(()));
        let entry = conntrack.get(&mapping(16385).original).unwrap().unwrap();
        assert_eq!((entry.reply.source, *entry.reply.destination.ip()), (socket(P1, 5000), G1));
        assert_ne!(entry.reply.destination.port(), 4000);
        // A source that is asked for is kept to.
        let wanted = Insert { snat: Some(socket(G1, 4000)), ..mapping(16386) };
        assert_eq!(conntrack.insert(&wanted).unwrap(), Err(InsertError::Exists));
    });
}

#[test]
fn one_entry_carries_both_translations() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        let insert = Insert { snat: Some(socket(G2, 7000)), ..mapping(16384) };
        assert_eq!(conntrack.insert(&insert).unwrap(), Ok(()));
        let entry = conntrack.get(&insert.original).unwrap().unwrap();
        assert_eq!((entry.reply.source, entry.reply.destination), (socket(P1, 5000), socket(G2, 7000)));
    });
}

#[test]
fn a_tcp_entry_needs_no_state_and_starts_without_one() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        let mut insert = mapping(16384);
        insert.original.proto = 6;
        assert_eq!(conntrack.insert(&insert).unwrap(), Ok(()));
        let entry = conntrack.get(&insert.original).unwrap().unwrap();
        assert!(entry.tcp_state.is_some_and(|state| !state.is_over()), "{entry:?}");
    });
}

#[test]
fn attaches_the_ftp_helper_or_names_the_errno() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        let mut insert = Insert { helper: Some("ftp"), ..mapping(21) };
        insert.original.proto = 6;
        match conntrack.insert(&insert).unwrap() {
            Ok(()) => {}
            Err(InsertError::Kernel(libc::EOPNOTSUPP)) => println!("SKIPPED: no ftp helper in this kernel"),
            Err(other) => panic!("{other}"),
        }
        insert.helper = Some("no-such-helper");
        insert.original.destination.set_port(22);
        insert.dnat = Some(socket(P1, 22));
        assert!(matches!(conntrack.insert(&insert).unwrap(), Err(InsertError::Kernel(_))));
    });
}

#[test]
fn batches_of_thousands_are_answered_in_order() {
    in_namespace(|| {
        nft(LAB);
        let mut conntrack = Conntrack::open().unwrap();
        let inserts: Vec<_> = (0..3000u16)
            .map(|n| {
                let mut insert = mapping(16384 + n);
                // Every tenth repeats the one before.
                if n % 10 == 9 {
                    insert.original.destination.set_port(16384 + n - 1);
                }
                insert.dnat = Some(socket(P1, insert.original.destination.port()));
                insert
            })
            .collect();
        let mut results = Vec::new();
        conntrack.insert_batch(&inserts, &mut results).unwrap();
        assert_eq!(results.len(), 3000);
        for (n, result) in results.iter().enumerate() {
            assert_eq!(result.is_ok(), n % 10 != 9, "insert {n}: {result:?}");
        }
        let mut listed = 0;
        conntrack.dump(|entry| listed += usize::from(entry.label == inserts[0].label)).unwrap();
        assert_eq!(listed, 2700);
        let flows: Vec<_> = inserts.iter().map(|insert| insert.original).collect();
        assert_eq!(conntrack.delete_batch(&flows).unwrap(), 2700);
    });
}

fn element(port: u16, data: u16, seconds: u64) -> Element {
    Element {
        key: Concat::new().address(G1).protocol(17).port(port),
        data: Some(Concat::new().socket(socket(P1, data))),
        timeout: Some(Duration::from_secs(seconds)),
    }
}

const VAT: SetName<'_> = SetName { table: "lab", set: "vat" };

fn make_map() {
    nft("table ip lab { map vat { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        flags timeout; size 600; }
    }");
}

fn listing() -> String {
    run("nft", &["list", "map", "ip", "lab", "vat"])
}

/// Adds, refreshes, replaces, deletes and empties.
fn change_elements(mut elements: Elements) {
    make_map();
    assert_eq!(elements.add(VAT, &[element(80, 5000, 60)]).unwrap(), Added::Done);
    assert!(listing().contains("10.1.0.1 . udp . 80 timeout 1m"), "{}", listing());
    assert_eq!(elements.add(VAT, &[element(80, 5000, 90)]).unwrap(), Added::Done);
    assert!(listing().contains("timeout 1m30s"), "{}", listing());
    assert_eq!(elements.add(VAT, &[element(79, 1, 9), element(80, 5001, 120)]).unwrap(), Added::Done);
    assert!(listing().contains("timeout 2m") && listing().contains("10.3.0.1 . 5001"), "{}", listing());
    elements.delete(VAT, &[element(80, 0, 1).key, element(81, 0, 1).key, element(79, 0, 1).key]).unwrap();
    assert!(!listing().contains("udp"), "{}", listing());
    elements.add(VAT, &[element(80, 5000, 60)]).unwrap();
    elements.flush(VAT).unwrap();
    elements.flush(VAT).unwrap();
    assert!(!listing().contains("udp"), "{}", listing());
}

#[test]
fn adds_refreshes_and_deletes_map_elements() {
    in_namespace(|| change_elements(Elements::open().unwrap()));
}

#[test]
fn changes_map_elements_on_a_kernel_that_cannot_destroy_them() {
    in_namespace(|| change_elements(Elements::open().unwrap().without_destroy()));
}

#[test]
fn an_element_expires() {
    in_namespace(|| {
        make_map();
        let mut elements = Elements::open().unwrap();
        let mut short = element(80, 5000, 1);
        short.timeout = Some(Duration::from_millis(300));
        elements.add(VAT, &[short]).unwrap();
        assert!(listing().contains("udp . 80"));
        std::thread::sleep(Duration::from_millis(600));
        assert!(!listing().contains("udp . 80"));
    });
}

#[test]
fn says_that_a_map_is_full_and_names_a_map_that_is_missing() {
    in_namespace(|| {
        make_map();
        let mut elements = Elements::open().unwrap();
        let many: Vec<_> = (0..700).map(|port| element(port, 5000, 60)).collect();
        assert_eq!(elements.add(VAT, &many[..600]).unwrap(), Added::Done);
        assert_eq!(elements.add(VAT, &many[600..]).unwrap(), Added::Full);
        assert_eq!(elements.add(VAT, &many[..100]).unwrap(), Added::Done, "replacing needs no room");
        let missing = SetName { table: "lab", set: "none" };
        let error = elements.add(missing, &many[..1]).unwrap_err();
        assert!(error.to_string().contains("ip lab none") && error.errno() == Some(libc::ENOENT), "{error}");
    });
}

const OWN_TABLE: &str = "table ip natf_test
    delete table ip natf_test
    table ip natf_test {
        chain intake { type filter hook prerouting priority -301; policy accept; }
        chain to_daemon { }
    }";

#[test]
fn the_removal_of_a_table_is_noticed_at_once_and_elements_wake_nobody() {
    in_namespace(|| {
        nft("table ip own { set s { type ipv4_addr; flags timeout; }; }; table ip other { }");
        let mut watch = TableWatch::open().unwrap();
        let readable = |watch: &TableWatch| {
            let mut entry = libc::pollfd { fd: watch.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the pointer describes one pollfd, which outlives the call.
            unsafe { libc::poll(&mut entry, 1, 0) == 1 }
        };
        run("nft", &["add", "element", "ip", "own", "s", "{ 192.0.2.1 timeout 1m }"]);
        run("nft", &["delete", "element", "ip", "own", "s", "{ 192.0.2.1 }"]);
        assert!(!readable(&watch), "elements");
        run("nft", &["delete", "table", "ip", "other"]);
        assert!(readable(&watch) && !watch.drain("own").unwrap(), "another table");
        run("nft", &["flush", "ruleset"]);
        assert!(readable(&watch) && watch.drain("own").unwrap(), "a flushed ruleset");
        assert!(!readable(&watch) && !watch.drain("own").unwrap(), "told once");
    });
}

#[test]
fn applies_an_own_table_twice_and_removes_it() {
    in_namespace(|| {
        let mut ruleset = Ruleset::open().unwrap();
        assert!(!ruleset.exists("natf_test").unwrap());
        for _ in 0..2 {
            ruleset.apply_script("natf_test", OWN_TABLE).unwrap();
            for _ in 0..2 {
                ruleset.write_queue_rule("natf_test", "to_daemon", 7).unwrap();
            }
            assert!(ruleset.exists("natf_test").unwrap());
        }
        let text = run("nft", &["list", "table", "ip", "natf_test"]);
        assert_eq!(text.matches("queue").count() + text.matches("NFQUEUE").count(), 1, "{text}");
        assert!(ruleset.remove("natf_test").unwrap());
        assert!(!ruleset.remove("natf_test").unwrap());
        let error = ruleset.write_queue_rule("natf_test", "to_daemon", 7).unwrap_err();
        assert!(error.to_string().contains("ip natf_test to_daemon"), "{error}");
        assert!(!run("nft", &["list", "tables"]).contains("probe"), "the probe leaves nothing behind");
    });
}

#[test]
fn nat_stays_in_place_when_the_ruleset_is_flushed() {
    in_namespace(|| {
        let mut ruleset = Ruleset::open().unwrap();
        ruleset.hold_nat("natf_test").unwrap();
        run("nft", &["flush", "ruleset"]);
        assert!(ruleset.exists("natf_test").unwrap());
        let listing = run("nft", &["list", "ruleset"]);
        assert!(listing.contains("type nat hook prerouting") && listing.contains("flags owner"), "{listing}");
        drop(ruleset);
        assert!(!Ruleset::open().unwrap().exists("natf_test").unwrap());
    });
}

#[test]
fn applies_a_script_and_names_what_nft_refuses_in_it() {
    in_namespace(|| {
        let mut ruleset = Ruleset::open().unwrap();
        let script = "table ip natf_test { }\ndelete table ip natf_test\ntable ip natf_test {
            map vat { type ipv4_addr . inet_service : ipv4_addr . inet_service; flags timeout; }
        }";
        for _ in 0..2 {
            ruleset.apply_script("natf_test", script).unwrap();
        }
        assert!(run("nft", &["list", "map", "ip", "natf_test", "vat"]).contains("timeout"));
        let error = ruleset.apply_script("natf_test", "table ip natf_test { nonsense; }").unwrap_err();
        assert!(
            error.to_string().contains("natf_test: /dev/stdin:1") || error.to_string().contains("nonsense")
        );
        let missing = ruleset.apply_script("natf_other", script).unwrap_err();
        assert!(matches!(missing, KernelError::Missing { .. }), "{missing}");
    });
}

/// Sends echo requests to `destination` through a queue rule for what comes in for it.
fn queue_lab(destination: Ipv4Addr) -> (Queue, EchoSocket) {
    let mut ruleset = Ruleset::open().unwrap();
    nft(&format!(
        "table ip natf_test {{
            chain intake {{ type filter hook prerouting priority -301;
                ip daddr {destination} icmp type echo-request @th,64,32 0x4e415466 jump to_daemon; }}
            chain to_daemon {{ }}
        }}"
    ));
    ruleset.write_queue_rule("natf_test", "to_daemon", 9).unwrap();
    (Queue::open(9, 512, 64).unwrap(), EchoSocket::open(*b"NATf").unwrap())
}

/// Waits until the queue holds packets and gives each the verdict.
fn serve(queue: &mut Queue, verdict: Verdict) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + Duration::from_secs(2);
    let (mut ids, mut packets) = (Vec::new(), Vec::new());
    while packets.is_empty() && Instant::now() < deadline {
        queue
            .recv_batch(|packet| {
                assert_eq!((packet.hook, packet.in_ifindex), (0, 1));
                assert!(packet.timestamp.is_some());
                ids.push((packet.id, verdict));
                packets.push(packet.payload.to_vec());
            })
            .unwrap();
    }
    queue.verdicts(&ids).unwrap();
    packets
}

#[test]
fn holds_a_ping_in_the_queue_then_accepts_or_drops_it() {
    in_namespace(|| {
        let _stamps = ReceiveStamps::enable().unwrap();
        let (mut queue, mut echo) = queue_lab(G2);
        let busy = Queue::open(9, 512, 64).unwrap_err();
        assert!(busy.to_string().contains("another process"), "{busy}");
        for (sequence, verdict) in [(1, Verdict::Accept), (2, Verdict::Drop), (3, Verdict::Accept)] {
            echo.send_to(G2, 77, sequence, b"NATf payload").unwrap();
            let packets = serve(&mut queue, verdict);
            assert_eq!(packets.len(), 1);
            let view = Ipv4View::parse(&packets[0]).unwrap();
            assert_eq!((view.destination, view.payload()), (G2, &b"NATf payload"[..]));
            std::thread::sleep(Duration::from_millis(20));
            let answered = echo.recv_from().unwrap().map(|reply| (reply.source, reply.sequence));
            assert_eq!(answered, (verdict == Verdict::Accept).then_some((G2, sequence)));
        }
        queue.verdicts(&[(12_345, Verdict::Accept)]).unwrap();
        queue.recv_batch(|_| {}).unwrap();
        assert_eq!(queue.refused_verdicts(), 1);
    });
}

#[test]
fn many_packets_are_read_at_once_and_too_many_are_counted() {
    in_namespace(|| {
        let _stamps = ReceiveStamps::enable().unwrap();
        let (mut queue, mut echo) = queue_lab(G2);
        for sequence in 0..100 {
            echo.send_to(G2, 1, sequence, b"NATf").unwrap();
        }
        let (mut first, mut total, mut ids) = (0, 0, Vec::new());
        loop {
            let count = queue.recv_batch(|packet| ids.push((packet.id, Verdict::Accept))).unwrap();
            if count == 0 {
                break;
            }
            first = first.max(count);
            total += count;
        }
        queue.verdicts(&ids).unwrap();
        assert_eq!((first, total), (32, 64));
        assert_eq!(queue.losses().unwrap().queue_full, 36);
        std::thread::sleep(Duration::from_millis(20));
        let replies = std::iter::from_fn(|| echo.recv_from().unwrap().map(|reply| reply.sequence)).count();
        assert_eq!(replies, 64);
    });
}

#[test]
fn packets_pass_by_while_nobody_reads_the_queue() {
    in_namespace(|| {
        let (queue, mut echo) = queue_lab(G2);
        drop(queue);
        echo.send_to(G2, 1, 1, b"NATf").unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(echo.recv_from().unwrap().is_some());
    });
}

#[test]
fn the_echo_socket_sees_only_echo_replies_with_the_magic() {
    in_namespace(|| {
        let mut echo = EchoSocket::open(*b"NATf").unwrap();
        for payload in [&b"other"[..], b"NAT", b"", b"NATf yes"] {
            echo.send_to(G2, 5, 6, payload).unwrap();
        }
        std::thread::sleep(Duration::from_millis(20));
        let reply = echo.recv_from().unwrap().unwrap();
        assert_eq!((reply.source, reply.ident, reply.sequence), (G2, 5, 6));
        assert_eq!(reply.payload, b"NATf yes");
        assert_eq!(echo.recv_from().unwrap(), None);
    });
}

#[test]
fn the_kernel_accepts_the_packets_that_are_built() {
    in_namespace(|| {
        // On lo the kernel skips checksums of its own packets, but not of raw ones.
        let udp = UdpSocket::bind((G2, 5353)).unwrap();
        udp.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut echo = EchoSocket::open(*b"NATf").unwrap();
        let sender = RawSender::open().unwrap();
        let mut batch = PacketBatch::new();
        for round in 0..40u16 {
            assert!(batch.push_udp(socket(P1, 1000 + round), socket(G2, 5353), &round.to_be_bytes()));
        }
        assert!(batch.push_echo_request(G1, G2, 8, 9, b"NATf request"));
        assert!(batch.push_echo_reply(P1, G1, 10, 11, b"NATf reply"));
        let report = sender.send_batch(&batch);
        assert_eq!((report.sent, report.failed), (42, 0), "{report:?}");
        let mut buffer = [0; 16];
        for round in 0..40u16 {
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from),
                (&round.to_be_bytes()[..], socket(P1, 1000 + round).into())
            );
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut seen = Vec::new();
        while let Some(reply) = echo.recv_from().unwrap() {
            seen.push((reply.source, reply.ident, reply.payload.to_vec()));
        }
        seen.sort();
        assert_eq!(seen, [(G2, 8, b"NATf request".to_vec()), (P1, 10, b"NATf reply".to_vec())]);
    });
}

#[test]
fn a_packet_without_a_route_is_skipped_and_reported() {
    in_namespace(|| {
        let mut batch = PacketBatch::new();
        batch.push_udp(socket(G1, 1), socket(Ipv4Addr::new(203, 0, 113, 1), 2), b"nowhere");
        batch.push_udp(socket(G1, 1), socket(G2, 2), b"somewhere");
        let report = RawSender::open().unwrap().send_batch(&batch);
        assert_eq!((report.sent, report.failed), (1, 1));
        assert_eq!(report.last_error.and_then(|error| error.raw_os_error()), Some(libc::ENETUNREACH));
    });
}

#[test]
fn the_right_that_is_missing_is_named() {
    let done = std::thread::spawn(|| {
        // SAFETY: setresuid by its number changes this thread only, and takes no pointers.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        if changed != 0 {
            println!("SKIPPED: needs root");
            return;
        }
        let error = EchoSocket::open(*b"NATf").unwrap_err();
        assert!(error.to_string().contains("CAP_NET_RAW"), "{error}");
        let error = Queue::open(9, 512, 64).unwrap_err();
        assert!(
            matches!(error, KernelError::Refused { .. }) && error.to_string().contains("needs root"),
            "{error}"
        );
    });
    done.join().unwrap();
}

#[test]
fn the_view_tells_echo_requests_from_replies() {
    let mut batch = PacketBatch::new();
    batch.push_echo_request(G1, G2, 1, 2, b"x");
    let view = Ipv4View::parse(batch.iter().next().unwrap()).unwrap();
    assert!(matches!(
        view.transport,
        Transport::Echo { request: true, ident: 1, sequence: 2, payload: b"x" }
    ));
}

#[test]
fn lists_the_own_addresses_and_notices_when_they_change() {
    in_namespace(|| {
        let mut addresses = Addresses::open().unwrap();
        let mut watch = AddressWatch::open().unwrap();
        let listed = addresses.local().unwrap();
        let found = listed.iter().find(|local| local.address == G1).unwrap();
        assert_eq!((found.prefix_len, found.ifindex, found.interface.as_str()), (32, 1, "lo"));
        assert_eq!(interface_index("lo"), Some(1));
        assert_eq!(interface_index("none0"), None);
        assert!(!watch.drain().unwrap().any());
        run("ip", &["addr", "del", "10.1.0.1/32", "dev", "lo"]);
        assert!(watch.drain().unwrap().addresses);
        assert!(!watch.drain().unwrap().any());
        assert!(!addresses.local().unwrap().iter().any(|local| local.address == G1));
    });
}

#[test]
fn finds_adds_and_removes_routes() {
    in_namespace(|| {
        run("ip", &["link", "add", "wan", "type", "veth", "peer", "name", "isp"]);
        run("ip", &["addr", "add", "192.0.2.2/24", "dev", "wan"]);
        run("ip", &["link", "set", "wan", "up"]);
        run("ip", &["link", "set", "isp", "up"]);
        let mut addresses = Addresses::open().unwrap();
        let virtual_network = Network { address: Ipv4Addr::new(240, 0, 0, 0), prefix_len: 8 };
        let inside = Ipv4Addr::new(240, 0, 1, 2);
        assert_eq!(addresses.route_to(inside).unwrap(), None);
        assert!(addresses.route_to(G2).unwrap().unwrap().local);
        let route = Route {
            oif: interface_index("wan").unwrap(),
            gateway: Some(Ipv4Addr::new(192, 0, 2, 1)),
            prefsrc: Some(Ipv4Addr::new(192, 0, 2, 2)),
            local: false,
        };
        let mut watch = AddressWatch::open().unwrap();
        for _ in 0..2 {
            addresses.add_route(virtual_network, &route).unwrap();
        }
        assert!(!watch.drain().unwrap().any(), "own routes are no news");
        assert_eq!(addresses.route_to(inside).unwrap(), Some(route));
        assert_eq!(addresses.own_routes().unwrap(), [virtual_network]);
        assert!(addresses.remove_route(virtual_network).unwrap());
        assert!(!addresses.remove_route(virtual_network).unwrap());
        run("ip", &["route", "add", "240.0.0.0/8", "via", "192.0.2.1"]);
        assert!(watch.drain().unwrap().routes);
        assert!(!addresses.remove_route(virtual_network).unwrap(), "a route of somebody else stays");
    });
}

#[test]
fn reads_the_timeouts_of_idle_flows() {
    in_namespace(|| {
        nft(LAB);
        let timeouts = Timeouts::read().unwrap();
        assert!(timeouts.udp_stream >= timeouts.udp && timeouts.tcp_established > timeouts.udp_stream);
    });
}
