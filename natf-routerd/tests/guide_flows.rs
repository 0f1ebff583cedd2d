//! Flows of announced clients against a scripted kernel: whose first packet goes where (T7-T9).
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod world;

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, SocketAddrV4},
};

use natf_proto::*;
use natf_routerd::core::output::{FirstFlow, FirstPacket, Shown};
use world::{guided::*, *};

#[test]
fn t7_the_first_packet_is_released_into_an_entry_that_keeps_its_port() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(5, Transport::Tcp, 40_000, 80);
    let entry = *home.world.entries.values().next().unwrap();
    assert_eq!((entry.source, entry.mapped), (from(40_000), SocketAddrV4::new(G2, 80)));
    assert_eq!((entry.inside, entry.peer), (SocketAddrV4::new(P1, 80), ISP));
    assert_eq!(
        (home.world.released.as_slice(), home.world.shown.as_slice()),
        (&[5][..], &[Shown::Source][..])
    );
    let mapping = home.world.router.mappings().iter().next().unwrap().1;
    assert_eq!(home.world.router.host_name(mapping).unwrap().as_str(), "alice");
    assert_eq!(home.world.counter("guided"), 1);
}

#[test]
fn t7_a_row_serves_all_flows_of_its_client_while_it_lives() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    for port in 1..=6 {
        home.connect(port.into(), Transport::Tcp, port, 80);
    }
    assert_eq!((home.world.entries.len(), home.world.released.len()), (6, 6));
    home.wait(30);
    home.connect(7, Transport::Tcp, 7, 80);
    assert_eq!((home.inside(7), home.world.released.len()), (None, 7));
    assert_eq!(home.world.caught, BTreeSet::new());
}

#[test]
fn t7_datagrams_of_one_flow_wait_for_the_first_and_keep_their_order() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    let to = SocketAddrV4::new(G2, 5000);
    for packet in 1..=5 {
        home.world.queue_packet(packet, Transport::Udp, from(40_000), to);
    }
    home.world.work();
    assert_eq!(home.world.released, [1, 2, 3, 4, 5]);
    assert_eq!((home.world.entries.len(), home.world.counter("guided")), (1, 1));
    let flow = FirstFlow { transport: Transport::Udp, source: from(40_000), destination: to };
    assert_eq!(home.world.passing, [flow].into());
}

#[test]
fn t7_a_repeated_syn_is_of_the_same_flow() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.announce("bob.home.example.net", 2);
    home.connect(1, Transport::Tcp, 40_000, 80);
    home.connect(2, Transport::Tcp, 40_000, 80);
    assert_eq!(home.world.released, [1, 2]);
    assert_eq!((home.inside(40_000), home.world.entries.len()), (Some(SocketAddrV4::new(P1, 80)), 1));
    assert_eq!(home.world.counter("guide_passed"), 1);
}

#[test]
fn t7_a_source_that_another_flow_uses_towards_the_host_is_led_all_the_same() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    let forward = natf_routerd::core::output::Entry {
        transport: Transport::Tcp,
        source: from(40_000),
        mapped: SocketAddrV4::new(G2, 8080),
        inside: SocketAddrV4::new(P1, 80),
        peer: KeyId(0),
    };
    home.world.entries.insert(key(&forward), forward);
    home.connect(1, Transport::Tcp, 40_000, 80);
    assert_eq!(home.world.shown, [Shown::Source, Shown::SourceOrOtherPort]);
    assert_eq!((home.world.released.as_slice(), home.world.entries.len()), (&[1][..], 2));
}

#[test]
fn t7_a_port_of_the_client_is_led_anew_when_its_former_entry_has_gone() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(1, Transport::Tcp, 40_000, 80);
    home.world.entries.clear();
    home.connect(2, Transport::Tcp, 40_000, 80);
    assert_eq!((home.world.entries.len(), home.world.router.mappings().len()), (1, 1));
}

#[test]
fn t7_a_flow_that_finds_no_room_does_not_reach_the_router_instead() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.world.full = true;
    home.connect(1, Transport::Tcp, 40_000, 80);
    assert_eq!((home.world.dropped.as_slice(), home.world.released.len()), (&[1][..], 0));
    assert!(home.world.router.mappings().is_empty());
    home.world.full = false;
    home.connect(2, Transport::Tcp, 40_000, 80);
    assert_eq!(home.world.released, [2]);
    assert_eq!(home.world.counter("guide_dropped"), 1);
}

#[test]
fn t7_limits_per_client_host_and_peer_hold_for_guided_flows() {
    let mut home = Home::new();
    let mut flows = |host: &str, clients: std::ops::RangeInclusive<u8>| {
        for last in clients {
            let client = Ipv4Addr::new(198, 51, 101, last);
            home.announce_of(Some(client), host, 1);
            for port in 1..=20 {
                let (source, to) = (SocketAddrV4::new(client, port), SocketAddrV4::new(G2, 80));
                home.world.first_packet(1, Transport::Tcp, source, to);
            }
        }
        (home.world.entries.len(), home.world.dropped.len())
    };
    assert_eq!(flows("bob.home.example.net", 1..=1), (16, 4));
    assert_eq!(flows("bob.home.example.net", 2..=3), (40, 20));
    assert_eq!(flows("alice.home.example.net", 4..=5), (64, 36));
    assert_eq!(home.world.counter("refused_table_full"), 36);
}

#[test]
fn t7_connections_that_are_over_make_room_for_the_clients_next_try() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    for port in 1..=16 {
        home.connect(port.into(), Transport::Tcp, port, 80);
    }
    home.world.entries.clear();
    home.wait(1);
    home.connect(17, Transport::Tcp, 17, 80);
    home.wait(1);
    home.connect(18, Transport::Tcp, 17, 80);
    assert_eq!((home.world.dropped.as_slice(), home.inside(17).is_some()), (&[17][..], true));
    assert_eq!(home.world.router.mappings().len(), 1);
}

#[test]
fn connections_that_are_over_leave_the_table_within_half_a_minute() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(1, Transport::Tcp, 1, 80);
    home.wait(7);
    assert_eq!(home.world.router.mappings().len(), 1);
    home.world.entries.clear();
    home.wait(31);
    assert!(home.world.router.mappings().is_empty());
}

#[test]
fn t7_a_client_at_home_is_led_to_the_host_with_the_router_as_its_source() {
    let mut home = Home::new();
    // The TSN server outside sees the client by the router's own address.
    home.announce_of(Some(G2), "alice.home.example.net", 1);
    let source = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 20), 40_000);
    let flow = FirstFlow { transport: Transport::Tcp, source, destination: SocketAddrV4::new(G2, 80) };
    let now = home.world.now;
    home.world.router.handle_first_packet(now, &FirstPacket { packet: 1, flow, inside: true });
    home.world.work();
    let entry = home.world.entries.values().next().unwrap();
    assert_eq!((entry.source, entry.inside), (source, SocketAddrV4::new(P1, 80)));
    assert_eq!(home.world.shown, [Shown::Router(SocketAddrV4::new(G2, 40_000))]);
}

#[test]
fn t8_a_source_without_a_row_and_a_port_that_is_not_allowed_go_their_way() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.world.first_packet(1, Transport::Tcp, SocketAddrV4::new(G1, 1), SocketAddrV4::new(G2, 80));
    home.connect(2, Transport::Tcp, 40_000, 22);
    home.connect(3, Transport::Tcp, 40_000, 80);
    assert_eq!(home.world.released, [1, 2, 3]);
    assert_eq!((home.world.entries.len(), home.world.counter("guide_unmatched")), (1, 1));
}

#[test]
fn t8_flows_that_conntrack_knows_spend_no_turn() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.announce("bob.home.example.net", 2);
    let tunnel = FirstFlow {
        transport: Transport::Udp,
        source: from(51_820),
        destination: SocketAddrV4::new(G2, 51_820),
    };
    home.world.known.insert(tunnel);
    home.connect(1, Transport::Udp, 51_820, 51_820);
    assert_eq!((home.world.released.as_slice(), home.world.entries.len()), (&[1][..], 0));
    assert_eq!(home.world.passing, [tunnel].into());
    home.connect(2, Transport::Udp, 40_000, 5000);
    assert_eq!(home.inside(40_000), Some(SocketAddrV4::new(P1, 5000)), "alice's turn was not spent");
}

#[test]
fn t8_a_flow_that_fitted_no_row_is_looked_at_again_when_a_new_one_comes() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    // Alice allows no such port, so the flow is the router's.
    home.connect(1, Transport::Udp, 40_000, 9999);
    let early = FirstFlow {
        transport: Transport::Udp,
        source: from(40_000),
        destination: SocketAddrV4::new(G2, 9999),
    };
    let passed = home.world.passing.contains(&early);
    home.announce("bob.home.example.net", 2);
    assert_eq!((passed, home.world.passing.contains(&early)), (true, false));
}

#[test]
fn t9_flows_of_one_address_are_told_apart_by_the_order_of_the_notifications() {
    let mut home = Home::new();
    home.announce("bob.home.example.net", 1);
    home.announce("alice.home.example.net", 2);
    home.connect(1, Transport::Tcp, 40_001, 80);
    home.connect(2, Transport::Tcp, 40_002, 80);
    let inside = [40_001, 40_002].map(|port| *home.inside(port).unwrap().ip());
    assert_eq!(inside, [P2, P1]);
}

#[test]
fn t9_flows_in_one_batch_are_told_apart_too() {
    let mut home = Home::new();
    home.announce("bob.home.example.net", 1);
    home.announce("alice.home.example.net", 2);
    for (packet, port) in [(1, 40_001), (2, 40_002), (3, 40_001)] {
        home.world.queue_packet(packet, Transport::Tcp, from(port), SocketAddrV4::new(G2, 80));
    }
    home.world.work();
    let inside = [40_001, 40_002].map(|port| *home.inside(port).unwrap().ip());
    assert_eq!((inside, home.world.released.len()), ([P2, P1], 3));
}

#[test]
fn t9_the_services_that_are_allowed_tell_hosts_apart_first() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.announce("bob.home.example.net", 2);
    home.connect(1, Transport::Tcp, 40_001, 22);
    home.connect(2, Transport::Tcp, 40_002, 80);
    let inside = [40_001, 40_002].map(|port| *home.inside(port).unwrap().ip());
    assert_eq!(inside, [P2, P1], "alice has no ssh");
}
