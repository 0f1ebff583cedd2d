//! The router's core against a scripted kernel: what is asked, what is answered, what reaches the NAT's table.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod world;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natf_proto::*;
use natf_routerd::core::{
    access::{AccessTable, HostAddress, HostRow},
    mapping::MappingId,
    output::{Arrival, Entry, Handled},
    peer::PeerSetting,
    router::Limits,
};
use world::*;

fn request(host: &str, s: u16, d: u16) -> MappingRequest {
    MappingRequest {
        transaction: Transaction(u64::from(s) << 16 | u64::from(d)),
        source: SocketAddrV4::new(G1, s),
        destination: SocketAddrV4::new(G2, d),
        transport: Transport::Tcp,
        host: host.parse().unwrap(),
    }
}

fn refusal(response: Option<MappingResponse>) -> Reason {
    response.unwrap().outcome.unwrap_err().unwrap()
}

#[test]
fn n5_n7_n8_a_request_makes_one_entry_and_is_answered_with_its_port_and_lifetime() {
    let mut world = World::new();
    let asked = request("alice", 40000, 80);
    let response = world.ask(&asked).unwrap();
    assert!(response.answers(&asked));
    let grant = response.outcome.unwrap();
    assert_eq!((grant.kind, grant.lifetime), (MappingKind::Exact, Duration::from_secs(7440)));
    let entry = world.entries.values().next().unwrap();
    assert_eq!((entry.source, entry.mapped), (SocketAddrV4::new(G1, 40000), grant.mapped));
    assert_eq!((entry.inside, entry.peer), (SocketAddrV4::new(P1, 80), LAPTOP));
}

#[test]
fn n11_two_hosts_on_the_same_port_have_two_mappings() {
    let mut world = World::new();
    let one = world.ask(&request("alice", 40000, 80)).unwrap().outcome.unwrap();
    let other = world.ask(&request("bob", 40001, 80)).unwrap().outcome.unwrap();
    assert_ne!(one.mapped, other.mapped);
    assert_eq!(world.entries.len(), 2);
}

#[test]
fn n6_a_refusal_names_its_reason_and_makes_no_entry() {
    let mut world = World::new();
    assert_eq!(refusal(world.ask(&request("nobody", 1, 80))), Reason::UnknownHost);
    assert_eq!(refusal(world.ask(&request("mallory", 2, 80))), Reason::Denied);
    assert_eq!(refusal(world.ask(&request("alice", 3, 22))), Reason::ServiceNotAllowed);
    assert!(world.entries.is_empty());
    assert_eq!(world.counter("refused_denied"), 1);
}

#[test]
fn a_repeated_request_gets_the_same_mapping() {
    let mut world = World::new();
    let asked = request("alice", 40000, 80);
    let first = world.ask(&asked).unwrap();
    assert_eq!(world.ask(&asked).unwrap(), first);
    assert_eq!((world.entries.len(), world.router.mappings().len()), (1, 1));
}

#[test]
fn a_repeated_transaction_with_other_facts_is_dropped() {
    let mut world = World::new();
    let asked = request("alice", 40000, 80);
    world.ask(&asked).unwrap();
    let other = MappingRequest { host: "bob".parse().unwrap(), ..asked };
    assert_eq!(world.ask(&other), None);
    assert_eq!(world.counter("transaction_reused"), 1);
}

#[test]
fn a_new_transaction_of_the_same_flow_gets_a_new_port_and_the_old_one_rests() {
    let mut world = World::new();
    let asked = request("alice", 40000, 80);
    let first = world.ask(&asked).unwrap().outcome.unwrap();
    let again = MappingRequest { transaction: Transaction(99), ..asked };
    let second = world.ask(&again).unwrap().outcome.unwrap();
    assert_ne!(first.mapped, second.mapped);
    assert_eq!(world.entries.len(), 1);
}

#[test]
fn n7_a_port_that_somebody_else_has_is_passed_over() {
    let mut world = World::new();
    let first = world.ask(&request("alice", 1, 80)).unwrap().outcome.unwrap().mapped.port();
    world.taken = (first + 1..first + 6).collect();
    let grant = world.ask(&request("alice", 2, 80)).unwrap().outcome.unwrap();
    assert_eq!(grant.mapped.port(), first + 6);
    assert_eq!(world.counter("port_taken"), 5);
}

#[test]
fn a_source_that_another_flow_uses_towards_the_host_is_mapped_all_the_same() {
    let mut world = World::new();
    let forward = Entry {
        transport: Transport::Tcp,
        source: SocketAddrV4::new(G1, 40000),
        mapped: SocketAddrV4::new(G2, 8080),
        inside: SocketAddrV4::new(P1, 80),
        peer: KeyId(0),
    };
    world.entries.insert(key(&forward), forward);
    assert!(world.ask(&request("alice", 40000, 80)).unwrap().outcome.is_ok());
    assert_eq!(world.entries.len(), 2);
}

#[test]
fn after_a_reload_mappings_take_the_new_range_of_ports() {
    let mut world = World::new();
    let moved = Limits { port_first: 40_000, port_last: 40_001, ..limits() };
    world.router.handle_config(world.now, moved, table(false), vec![laptop()], &BTreeMap::new());
    let port = |s| world.ask(&request("alice", s, 80)).unwrap().outcome.unwrap().mapped.port();
    let mut ports = [1, 2].map(port);
    ports.sort_unstable();
    assert_eq!(ports, [40_000, 40_001]);
}

#[test]
fn a_full_kernel_table_is_answered_with_busy_and_leaves_nothing() {
    let mut world = World::new();
    world.full = true;
    assert_eq!(refusal(world.ask(&request("alice", 1, 80))), Reason::Busy);
    assert!(world.router.mappings().is_empty());
}

#[test]
fn limits_per_host_peer_and_in_total_hold() {
    let mut world = World::new();
    let granted = (1..=60).filter(|s| world.ask(&request("alice", *s, 80)).unwrap().outcome.is_ok()).count();
    assert_eq!(granted, 40);
    let granted = (100..=160).filter(|s| world.ask(&request("bob", *s, 80)).unwrap().outcome.is_ok()).count();
    assert_eq!(granted, 24);
    assert_eq!(refusal(world.ask(&request("bob", 1000, 80))), Reason::TableFull);
}

#[test]
fn a_replayed_message_is_ignored_like_any_ping() {
    let mut world = World::new();
    let message = world.sealed(Kind::MappingRequest, &request("alice", 1, 80).emit());
    assert_eq!(world.deliver(world.arrival(), &message), Handled::Consumed);
    assert_eq!(world.deliver(world.arrival(), &message), Handled::NotOurs);
    assert_eq!((world.counter("replayed"), world.sent.len()), (1, 1));
}

#[test]
fn a_wrong_unknown_or_revoked_key_is_ignored_like_any_ping() {
    let mut world = World::new();
    let body = request("alice", 1, 80).emit();
    for (id, key, counter) in [(LAPTOP, [1; 32], "forged"), (KeyId(8), KEY, "unknown_key")] {
        let message = PeerKeys::derive(id, &key).seal(
            Direction::ToRouter,
            Kind::MappingRequest,
            5000,
            &body,
            &mut Seeded(3),
        );
        assert_eq!(world.deliver(world.arrival(), &message), Handled::NotOurs);
        assert_eq!(world.counter(counter), 1);
    }
    assert!(world.sent.is_empty() && world.entries.is_empty());
}

#[test]
fn a_counter_below_the_floor_is_answered_with_the_sealed_floor() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.counter += 5000;
    world.ask(&request("alice", 2, 80)).unwrap();
    world.counter = 10;
    let message = world.sealed(Kind::MappingRequest, &request("alice", 3, 80).emit());
    world.deliver(world.arrival(), &message);
    let (_, answer) = world.sent.pop().unwrap();
    let envelope = Envelope::parse(&answer).unwrap();
    assert_eq!(envelope.header.kind, Kind::Stale);
    let stale = Stale::parse(&world.keys.open(Direction::ToEnd, &envelope).unwrap());
    assert_eq!((stale.transaction, stale.floor), (request("alice", 3, 80).transaction, 6002));
    assert_eq!(world.entries.len(), 2);
}

#[test]
fn an_answer_is_never_larger_than_its_question() {
    let mut world = World::new();
    let message = world.sealed(Kind::MappingRequest, &request("alice", 1, 80).emit());
    world.deliver(world.arrival(), &message);
    assert!(world.sent.iter().all(|(_, answer)| answer.len() <= message.len()));
}

#[test]
fn n15_a_stranger_is_ignored_while_no_host_is_open_to_anyone() {
    let mut world = World::new();
    let message = assemble_anonymous(Kind::MappingRequest, 0, &[0; 24], &request("alice", 1, 80).emit());
    assert_eq!(world.deliver(world.arrival(), &message), Handled::NotOurs);
    assert!(world.sent.is_empty());
}

#[test]
fn n15_a_stranger_gets_a_cookie_first_and_a_mapping_only_with_it() {
    let mut world = World::with(table(true));
    let body = request("alice", 1, 80).emit();
    world.deliver(world.arrival(), &assemble_anonymous(Kind::MappingRequest, 0, &[0; 24], &body));
    assert_eq!(world.router.mappings().len(), 0);
    let (_, offer) = world.sent.pop().unwrap();
    let offer = Envelope::parse(&offer).unwrap();
    assert_eq!(offer.header.kind, Kind::Cookie);
    let cookie = CookieOffer::parse(offer.anonymous_body().unwrap()).cookie;
    let elsewhere = Arrival { from: Ipv4Addr::new(198, 51, 100, 66), ..world.arrival() };
    world.deliver(elsewhere, &assemble_anonymous(Kind::MappingRequest, 0, &cookie, &body));
    assert_eq!(world.router.mappings().len(), 0);
    world.deliver(world.arrival(), &assemble_anonymous(Kind::MappingRequest, 0, &cookie, &body));
    assert_eq!(world.router.mappings().len(), 1);
}

#[test]
fn n15_a_flood_of_strangers_is_limited_and_costs_no_memory() {
    let mut world = World::with(table(true));
    for last in 0..=255 {
        for _ in 0..100 {
            let arrival = Arrival { from: Ipv4Addr::new(198, 51, 100, last), ..world.arrival() };
            let message =
                assemble_anonymous(Kind::MappingRequest, 0, &[0; 24], &request("alice", 1, 80).emit());
            world.deliver(arrival, &message);
        }
    }
    assert!(world.sent.len() <= 2000, "{}", world.sent.len());
    assert_eq!(world.router.mappings().len(), 0);
}

#[test]
fn a_denied_host_loses_its_live_flows_and_the_others_keep_theirs() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.ask(&request("bob", 2, 80)).unwrap();
    let bob_only = AccessTable::new([("bob".parse().unwrap(), row(Ipv4Addr::new(192, 168, 1, 11)))].into());
    world.router.handle_config(world.now, limits(), bob_only, vec![laptop()], &BTreeMap::new());
    world.work();
    assert_eq!(world.entries.values().map(|entry| entry.inside.ip().octets()[3]).collect::<Vec<_>>(), [11]);
    assert_eq!(world.counter("revoked"), 1);
}

#[test]
fn a_removed_peer_loses_its_live_flows() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.router.handle_config(world.now, limits(), table(false), vec![], &BTreeMap::new());
    world.work();
    assert!(world.entries.is_empty() && world.router.mappings().is_empty());
}

#[test]
fn mappings_of_a_lost_wan_address_are_ended() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.router.handle_addresses(world.now, &[G2]);
    world.work();
    assert_eq!(world.entries.len(), 1);
    world.router.handle_addresses(world.now, &[Ipv4Addr::new(203, 0, 113, 9)]);
    world.work();
    assert!(world.entries.is_empty());
}

#[test]
fn n9_the_end_of_a_flow_ends_its_mapping_and_only_its_own() {
    let mut world = World::new();
    let asked = request("alice", 1, 80);
    let grant = world.ask(&asked).unwrap().outcome.unwrap();
    world.ask(&request("bob", 2, 80)).unwrap();
    let end = EndRequest {
        transaction: asked.transaction,
        source: asked.source,
        mapped: grant.mapped,
        transport: Transport::Tcp,
    };
    for ended in [true, false] {
        let message = world.sealed(Kind::EndRequest, &end.emit());
        world.deliver(world.arrival(), &message);
        let (_, answer) = world.sent.pop().unwrap();
        let body = world.keys.open(Direction::ToEnd, &Envelope::parse(&answer).unwrap()).unwrap();
        assert_eq!(EndResponse::parse(&body).unwrap(), EndResponse { request: end, ended });
    }
    assert_eq!(world.entries.len(), 1);
}

#[test]
fn a_peer_cannot_end_the_flow_of_another() {
    let mut world = World::new();
    let asked = request("alice", 1, 80);
    let mapped = world.ask(&asked).unwrap().outcome.unwrap().mapped;
    let other = PeerSetting { name: "phone".into(), keys: PeerKeys::derive(KeyId(8), &KEY), ..laptop() };
    world.router.handle_config(world.now, limits(), table(false), vec![laptop(), other], &BTreeMap::new());
    let end = EndRequest {
        transaction: asked.transaction,
        source: asked.source,
        mapped,
        transport: Transport::Tcp,
    };
    let message = PeerKeys::derive(KeyId(8), &KEY).seal(
        Direction::ToRouter,
        Kind::EndRequest,
        1,
        &end.emit(),
        &mut Seeded(9),
    );
    world.deliver(world.arrival(), &message);
    assert_eq!(world.entries.len(), 1);
}

#[test]
fn an_en_behind_a_nat_is_mapped_by_its_first_packet() {
    let mut world = World::new();
    let private = MappingRequest { source: "10.0.0.5:40000".parse().unwrap(), ..request("alice", 40000, 80) };
    let grant = world.ask(&private).unwrap().outcome.unwrap();
    assert_eq!(grant.kind, MappingKind::AwaitsFirstPacket);
    assert!(world.entries.is_empty());
    assert_eq!(world.awaited.len(), 1);
    let mapped = SocketAddrV4::new(G2, grant.mapped.port());
    world.first_packet(5, Transport::Tcp, SocketAddrV4::new(G1, 61234), mapped);
    assert_eq!((world.released.as_slice(), world.awaited.len()), ([5].as_slice(), 0));
    assert_eq!(world.entries.values().next().unwrap().source, SocketAddrV4::new(G1, 61234));
    assert_eq!(world.ask(&private).unwrap().outcome.unwrap().mapped, grant.mapped);
}

#[test]
fn a_first_packet_from_elsewhere_is_released_untouched() {
    let mut world = World::new();
    let private = MappingRequest { source: "10.0.0.5:40000".parse().unwrap(), ..request("alice", 40000, 80) };
    let grant = world.ask(&private).unwrap().outcome.unwrap();
    let mapped = SocketAddrV4::new(G2, grant.mapped.port());
    world.first_packet(6, Transport::Tcp, "192.0.2.99:1".parse().unwrap(), mapped);
    assert_eq!((world.released.as_slice(), world.entries.len(), world.awaited.len()), ([6].as_slice(), 0, 1));
}

#[test]
fn a_packet_of_a_flow_that_conntrack_knows_spends_no_mapping() {
    let mut world = World::new();
    let private = MappingRequest { source: "10.0.0.5:40000".parse().unwrap(), ..request("alice", 40000, 80) };
    let grant = world.ask(&private).unwrap().outcome.unwrap();
    let mapped = SocketAddrV4::new(G2, grant.mapped.port());
    world.taken = [grant.mapped.port()].into();
    world.first_packet(7, Transport::Tcp, SocketAddrV4::new(G1, 50000), mapped);
    world.taken.clear();
    world.first_packet(8, Transport::Tcp, SocketAddrV4::new(G1, 61234), mapped);
    assert_eq!((world.released.as_slice(), world.entries.len()), ([7, 8].as_slice(), 1));
}

#[test]
fn an_end_that_overtakes_the_first_packet_leaves_no_entry_and_no_stuck_packet() {
    let mut world = World::new();
    let private = MappingRequest { source: "10.0.0.5:40000".parse().unwrap(), ..request("alice", 40000, 80) };
    let grant = world.ask(&private).unwrap().outcome.unwrap();
    let mapped = SocketAddrV4::new(G2, grant.mapped.port());
    let end = EndRequest {
        transaction: private.transaction,
        source: private.source,
        mapped: grant.mapped,
        transport: Transport::Tcp,
    };
    let message = world.sealed(Kind::EndRequest, &end.emit());
    let arrival = world.arrival();
    // Both are in the same batch: nothing is carried out in between.
    world.queue_packet(9, Transport::Tcp, SocketAddrV4::new(G1, 61234), mapped);
    world.router.handle_message(world.now, &arrival, &message);
    world.work();
    assert_eq!((world.released.as_slice(), world.entries.len(), world.awaited.len()), ([9].as_slice(), 0, 0));
    assert!(world.router.mappings().is_empty());
}

#[test]
fn a_repeated_request_in_the_same_batch_as_the_first_packet_does_not_hold_it_for_ever() {
    let mut world = World::new();
    let private = MappingRequest { source: "10.0.0.5:40000".parse().unwrap(), ..request("alice", 40000, 80) };
    let grant = world.ask(&private).unwrap().outcome.unwrap();
    let mapped = SocketAddrV4::new(G2, grant.mapped.port());
    let message = world.sealed(Kind::MappingRequest, &private.emit());
    let arrival = world.arrival();
    world.queue_packet(9, Transport::Tcp, SocketAddrV4::new(G1, 61234), mapped);
    world.router.handle_message(world.now, &arrival, &message);
    world.work();
    assert_eq!((world.released.as_slice(), world.entries.len()), ([9].as_slice(), 1));
}

#[test]
fn a_peer_cannot_take_the_flow_of_another_by_asking_for_it() {
    let mut world = World::new();
    let asked = request("alice", 1, 80);
    world.ask(&asked).unwrap();
    let other = PeerSetting { name: "phone".into(), keys: PeerKeys::derive(KeyId(8), &KEY), ..laptop() };
    world.router.handle_config(world.now, limits(), table(false), vec![laptop(), other], &BTreeMap::new());
    let keys = PeerKeys::derive(KeyId(8), &KEY);
    let message = keys.seal(Direction::ToRouter, Kind::MappingRequest, 1, &asked.emit(), &mut Seeded(9));
    world.deliver(world.arrival(), &message);
    assert_eq!((world.counter("refused_busy"), world.entries.len()), (1, 1));
}

#[test]
fn a_host_whose_lease_is_unknown_for_a_moment_keeps_its_flows() {
    let mac = HostRow { address: HostAddress::Mac([2; 6]), ..row(P1) };
    let mut world = World::with(AccessTable::new([("alice".parse().unwrap(), mac)].into()));
    world.router.handle_neighbours(world.now, [([2; 6], P1)].into());
    world.ask(&request("alice", 1, 80)).unwrap().outcome.unwrap();
    world.router.handle_neighbours(world.now, BTreeMap::new());
    world.work();
    assert_eq!(world.entries.len(), 1);
    world.router.handle_neighbours(world.now, [([2; 6], Ipv4Addr::new(192, 168, 1, 77))].into());
    world.work();
    assert!(world.entries.is_empty(), "moved to another address");
}

#[test]
fn an_en_at_home_is_sent_straight_to_the_host() {
    let mut world = World::new();
    let asked = request("alice", 1, 80);
    let message = world.sealed(Kind::MappingRequest, &asked.emit());
    world.deliver(Arrival { inside: true, ..world.arrival() }, &message);
    let grant = world.answer().unwrap().outcome.unwrap();
    assert_eq!((grant.kind, grant.mapped), (MappingKind::Direct, SocketAddrV4::new(P1, 80)));
    assert!(world.entries.is_empty());
}

#[test]
fn behind_another_nat_the_router_answers_with_the_address_that_was_dialled() {
    let mut world = World::new();
    let asked = request("alice", 1, 80);
    let message = world.sealed(Kind::MappingRequest, &asked.emit());
    let wan = Ipv4Addr::new(100, 64, 0, 2);
    world.deliver(Arrival { to: wan, ..world.arrival() }, &message);
    let grant = world.answer().unwrap().outcome.unwrap();
    assert_eq!(grant.mapped.ip(), &G2);
    assert_eq!(world.entries.values().next().unwrap().mapped, SocketAddrV4::new(wan, grant.mapped.port()));
}

#[test]
fn entries_that_the_kernel_dropped_leave_the_table() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.entries.clear();
    world.now.instant += Duration::from_secs(7);
    assert!(world.router.poll_timeout(world.now.instant) <= world.now.instant);
    world.router.handle_timeout(world.now);
    world.work();
    assert!(world.router.mappings().is_empty());
    assert_eq!(world.counter("timed_out"), 1);
}

#[test]
fn a_row_that_expires_ends_its_flows() {
    let until = HostRow { until: Some(1_795_000_100), ..row(P1) };
    let mut world = World::with(AccessTable::new([("alice".parse().unwrap(), until)].into()));
    world.ask(&request("alice", 1, 80)).unwrap().outcome.unwrap();
    world.now.unix = 1_795_000_100;
    world.router.handle_timeout(world.now);
    world.work();
    assert!(world.entries.is_empty());
    assert_eq!(refusal(world.ask(&request("alice", 2, 80))), Reason::Expired);
}

#[test]
fn a_row_whose_end_comes_a_second_time_as_the_clock_was_set_back_ends_its_flows_then() {
    let until = HostRow { until: Some(1_795_000_100), ..row(P1) };
    let mut world = World::with(AccessTable::new([("alice".parse().unwrap(), until)].into()));
    world.now.unix = 1_795_000_200;
    world.router.handle_timeout(world.now);
    assert_eq!(refusal(world.ask(&request("alice", 1, 80))), Reason::Expired);
    world.now.unix = 1_795_000_095;
    world.router.handle_timeout(world.now);
    world.ask(&request("alice", 2, 80)).unwrap().outcome.unwrap();
    for _ in 0..5 {
        world.now.instant += Duration::from_secs(1);
        world.now.unix += 1;
        world.router.handle_timeout(world.now);
        world.work();
    }
    assert!(world.entries.is_empty());
}

#[test]
fn after_a_restart_allowed_entries_live_on_and_others_end() {
    let mut world = World::new();
    world.ask(&request("alice", 1, 80)).unwrap();
    world.ask(&request("bob", 2, 80)).unwrap();
    let (entries, now) = (world.entries.clone(), world.now);
    let mut restarted = World::with(AccessTable::new([("alice".parse().unwrap(), row(P1))].into()));
    restarted.entries = entries.clone();
    for entry in entries.values() {
        restarted.router.handle_restored(now, *entry);
    }
    restarted.router.finish_restoring(now, &[G2]);
    restarted.work();
    assert_eq!((restarted.entries.len(), restarted.router.mappings().len()), (1, 1));
    let (id, mapping) = restarted.router.mappings().iter().next().unwrap();
    assert_eq!((id, restarted.router.host_name(mapping).unwrap().as_str()), (MappingId(0), "alice"));
}

proptest::proptest! {
    #[test]
    fn hostile_bytes_are_ignored_and_make_nothing(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        let mut world = World::new();
        let arrival = world.arrival();
        assert_eq!(world.deliver(arrival, &bytes), Handled::NotOurs);
        assert!(world.sent.is_empty() && world.entries.is_empty());
    }

    #[test]
    fn a_message_with_any_flipped_bit_is_ignored(at in 0usize..184, bit in 0u8..8) {
        let mut world = World::new();
        let mut message = world.sealed(Kind::MappingRequest, &request("alice", 1, 80).emit());
        message[at] ^= 1 << bit;
        let arrival = world.arrival();
        assert_eq!(world.deliver(arrival, &message), Handled::NotOurs);
        assert!(world.sent.is_empty() && world.entries.is_empty());
    }
}
