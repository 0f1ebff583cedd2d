//! The negotiation client against scripted routers, under a virtual clock: N4, N5, N8, N10, N11, N15.
#![allow(clippy::cast_possible_truncation)]

mod sim;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natf_end::{Carrier, Home, PacketId, PingEvent, Refusal, Role, Silent};
use natf_proto::{
    Direction, Envelope, Grant, Kind, MappingKind, MappingRequest, MappingResponse, Reason, ReplayWindow,
    Transaction, assemble_anonymous,
};
use sim::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);

#[test]
fn n4_the_first_packet_is_held_until_the_kernel_has_the_translation() {
    let mut world = World::new(1, home(Some(7)));
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    assert!(world.released.is_empty() && world.vat.is_empty());
    world.run_ms(100);
    assert_eq!(world.vat[&tcp(40_000, ALICE, 22)], (SocketAddrV4::new(G2, 20_000), None));
    assert_eq!(world.released.len(), 1);
    assert_eq!((world.counter("held"), world.counter("released"), world.engine.held()), (1, 1, 0));
}

#[test]
fn n4_packets_of_one_flow_are_released_in_their_order() {
    let mut world = World::new(2, home(Some(7)));
    (1..=20).for_each(|id| world.packet(id, udp(5000, ALICE, 53), "alice"));
    world.run_ms(100);
    let order: Vec<u32> = world.released.iter().map(|(packet, _)| packet.0).collect();
    assert_eq!(order, (1..=20).collect::<Vec<u32>>());
    assert_eq!(world.router().requests, 1);
    // This one was in the queue when the others were released.
    world.packet(21, udp(5000, ALICE, 53), "alice");
    assert_eq!(world.released.last().unwrap().0, PacketId(21));
    assert_eq!(world.router().requests, 1);
}

#[test]
fn n4_a_flow_that_holds_too_many_packets_loses_the_newest_without_an_error() {
    let mut world = World::new(3, home(Some(7)));
    (1..=260).for_each(|id| world.packet(id, udp(5000, ALICE, 53), "alice"));
    assert_eq!((world.dropped.len(), world.counter("held_too_many_of_flow")), (4, 4));
    assert!(world.refused.is_empty(), "the application would give up a flow that is about to work");
    world.run_ms(100);
    let order: Vec<u32> = world.released.iter().map(|(packet, _)| packet.0).collect();
    assert_eq!(order, (1..=256).collect::<Vec<u32>>());
}

#[test]
fn n4_flows_that_hold_many_packets_leave_room_for_the_first_ones_of_others() {
    let mut world = World::new(31, home(Some(7)));
    world.boxes.insert(G2, Peer::Dark);
    for id in 0..8 * 256 {
        world.packet(id, udp(5000 + id as u16 / 256, ALICE, 53), "alice");
    }
    assert_eq!((world.engine.held(), world.dropped.len()), (1024 + 4, 1024 - 4));
    assert_eq!(world.counter("held_too_many"), 1024 - 4);
    world.packet(9999, tcp(40_000, ALICE, 22), "alice");
    assert_eq!((world.engine.held(), world.refused.len()), (1024 + 5, 0));
}

#[test]
fn n4_packets_held_in_all_are_bounded() {
    let mut world = World::new(4, home(Some(7)));
    world.boxes.insert(G2, Peer::Dark);
    for id in 0..2100 {
        world.packet(id, tcp(10_000 + id as u16, ALICE, 22), "alice");
    }
    assert_eq!((world.engine.held(), world.counter("held_too_many")), (2048, 52));
    world.run(Duration::from_secs(5));
    assert_eq!((world.engine.held(), world.refused.len()), (0, 2100));
    assert!(world.engine.flows().is_empty());
}

#[test]
fn n4_a_virtual_address_without_a_name_is_refused_at_once() {
    let mut world = World::new(5, home(Some(7)));
    world.packet_of(1, tcp(40_000, ALICE, 22), true, None);
    assert_eq!(world.refused[0].1, Refusal::UnknownAddress);
    assert!(world.sends.is_empty());
}

#[test]
fn n5_the_request_says_who_asks_for_whom() {
    let mut world = World::new(6, home(Some(7)));
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    let envelope = Envelope::parse(&world.sends[0].3).unwrap();
    let keys = home(Some(7)).keys.unwrap();
    let request = MappingRequest::parse(&keys.open(Direction::ToRouter, &envelope).unwrap()).unwrap();
    assert_eq!(request.source, SocketAddrV4::new(G1, 40_000));
    assert_eq!(request.destination, SocketAddrV4::new(G2, 22));
    assert_eq!(request.host.as_str(), "alice");
    assert!(!world.sends[0].3.windows(5).any(|bytes| bytes == b"alice"), "the name is not readable");
}

#[test]
fn n5_every_message_has_a_counter_of_its_own_and_one_flow_one_transaction() {
    let mut world = World::new(7, home(Some(7)));
    world.boxes.insert(G2, Peer::Dark);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run(Duration::from_secs(5));
    let keys = home(Some(7)).keys.unwrap();
    let mut counters = Vec::new();
    let mut transactions = Vec::new();
    for (_, _, _, bytes) in &world.sends {
        let envelope = Envelope::parse(bytes).unwrap();
        counters.push(envelope.header.counter);
        let body = keys.open(Direction::ToRouter, &envelope).unwrap();
        transactions.push(MappingRequest::parse(&body).unwrap().transaction);
    }
    assert_eq!(counters.len(), 4);
    assert!(counters.is_sorted_by(|a, b| a < b) && counters[0] > 1_700_000_000 << 24);
    transactions.dedup();
    assert_eq!(transactions.len(), 1);
    let at: Vec<u128> = world.sends.iter().map(|(at, ..)| at.as_millis()).collect();
    assert_eq!(at, [0, 250, 750, 1750]);
    assert_eq!(world.refused[0].1, Refusal::Silent(G2));
    assert_eq!(world.refused[0].2 - world.start, Duration::from_millis(3750));
}

#[test]
fn n8_a_refusal_reaches_the_application_at_once_and_is_remembered_for_a_moment() {
    let mut world = World::new(8, home(Some(7)));
    world.router().refuses.insert("alice", Reason::ServiceNotAllowed);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(50);
    assert_eq!(world.refused[0].1, Refusal::Router(Some(Reason::ServiceNotAllowed)));
    assert_eq!(world.refused[0].1.to_string(), "the router refused: this service of the host is not allowed");
    (2..50).for_each(|id| world.packet(id, tcp(40_000 + id as u16, ALICE, 22), "alice"));
    assert_eq!((world.sends.len(), world.refused.len()), (1, 49));
    world.run(Duration::from_secs(2));
    world.packet(99, tcp(41_000, ALICE, 22), "alice");
    assert_eq!(world.sends.len(), 2);
}

#[test]
fn n8_a_direct_mapping_leads_to_the_host_itself() {
    let mut world = World::new(9, home(Some(7)));
    let p1 = SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, 20), 22);
    world.router().kind = MappingKind::Direct;
    world.router().map_to = Some(p1);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!(world.vat[&tcp(40_000, ALICE, 22)].0, p1);
    // Nothing is kept at the router, so that nothing has to be ended.
    world.run(Duration::from_secs(5));
    assert_eq!(world.sends.len(), 1);
    assert!(world.engine.flows().is_empty());
}

#[test]
fn n8_addresses_that_cannot_be_meant_are_not_accepted() {
    for (key, bad) in [(Some(7), [127, 0, 0, 1]), (Some(7), [240, 0, 17, 94]), (None, [192, 0, 2, 1])] {
        let mut world = World::new(10, home(key));
        world.router().map_to = Some(SocketAddrV4::new(bad.into(), 22));
        world.packet(1, tcp(40_000, ALICE, 22), "alice");
        world.run_ms(100);
        assert!(matches!(world.refused[0].1, Refusal::Unacceptable(_)), "{bad:?}");
        assert!(world.vat.is_empty());
    }
}

#[test]
fn n10_a_home_without_key_is_dialled_itself_when_its_router_runs_no_natf() {
    let mut world = World::new(11, Home { wildcard: true, ..home(None) });
    world.boxes.insert(G2, Peer::Mirror);
    world.packet(1, tcp(40_000, ALICE, 80), "alice");
    world.run_ms(100);
    assert_eq!(world.vat[&tcp(40_000, ALICE, 80)].0, SocketAddrV4::new(G2, 80));
    assert_eq!(world.released.len(), 1);
    assert!(world.engine.is_not_capable(G2, world.now));
    // From now on nobody asks.
    world.packet(2, tcp(40_001, ALICE, 80), "alice");
    assert_eq!((world.released.len(), world.sends.len()), (2, 1));
    world.run(Duration::from_secs(601));
    assert!(!world.engine.is_not_capable(G2, world.now));
    assert!(world.engine.flows().is_empty());
}

#[test]
fn n10_a_mirror_is_a_refusal_for_an_enrolled_home_and_never_a_connection_to_the_router() {
    for silent in [Silent::Refuse, Silent::Release] {
        for peer in [Peer::Mirror, Peer::Dark] {
            let mut world = World::with(12, home(Some(7)), Role::Host, silent);
            let is_mirror = matches!(peer, Peer::Mirror);
            world.boxes.insert(G2, peer);
            world.packet(1, tcp(40_000, ALICE, 22), "alice");
            world.run(Duration::from_secs(10));
            assert!(world.vat.is_empty() && world.released.is_empty());
            let expected = if is_mirror { Refusal::NotRecognised(G2) } else { Refusal::Silent(G2) };
            assert_eq!(world.refused[0].1, expected);
            assert!(!is_mirror || world.refused[0].2 - world.start < Duration::from_millis(200));
            assert!(!world.engine.is_not_capable(G2, world.now));
        }
    }
}

#[test]
fn n10_a_wrong_key_is_a_refusal() {
    let mut world = World::new(13, home(Some(7)));
    world.router().keys = home(Some(8)).keys;
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run(Duration::from_secs(1));
    assert_eq!(world.refused[0].1, Refusal::NotRecognised(G2));
}

#[test]
fn n10_a_mirror_while_the_daemon_starts_does_not_refuse() {
    let mut world = World::new(14, home(Some(7)));
    world.boxes.insert(G2, Peer::Mirror);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(30);
    world.boxes.insert(G2, Peer::Router(Box::new(Router::new(Some(7), world.now))));
    world.run_ms(200);
    assert_eq!((world.released.len(), world.counter("mirrored")), (1, 1));
}

#[test]
fn n10_a_forged_mirror_does_not_beat_the_real_answer() {
    let mut world = World::new(15, home(Some(7)));
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    let question = world.sends[0].3.clone();
    // Repeated as often as the attacker likes: one question has one mirror.
    (0..10).for_each(|_| world.inject(G2, Carrier::Icmp, &question));
    world.run_ms(100);
    assert_eq!((world.released.len(), world.refused.len()), (1, 0));
}

#[test]
fn n10_silence_of_a_home_without_key_is_as_configured() {
    for (silent, released) in [(Silent::Refuse, 0), (Silent::Release, 1)] {
        let mut world = World::with(16, home(None), Role::Host, silent);
        world.boxes.insert(G2, Peer::Dark);
        world.packet(1, tcp(40_000, ALICE, 80), "alice");
        world.run(Duration::from_secs(5));
        assert_eq!((world.released.len(), world.refused.len()), (released, 1 - released));
        assert!(world.engine.is_not_capable(G2, world.now));
        // The next one learns it at once, or the hard way again: nobody says that no NAT-f is there.
        world.packet(2, tcp(40_001, ALICE, 80), "alice");
        assert_eq!(world.released.len(), 2 * released);
    }
}

#[test]
fn n11_two_hosts_behind_one_router_have_the_same_port_at_the_same_time() {
    let mut world = World::new(17, home(Some(7)));
    world.packet(1, tcp(40_000, ALICE, 80), "alice");
    world.packet(2, tcp(40_000, BOB, 80), "bob");
    world.run_ms(100);
    let (alice, bob) = (world.vat[&tcp(40_000, ALICE, 80)].0, world.vat[&tcp(40_000, BOB, 80)].0);
    assert_eq!((alice.ip(), bob.ip()), (&G2, &G2));
    assert_ne!(alice.port(), bob.port());
    assert_eq!(world.released.len(), 2);
}

#[test]
fn n1_the_second_address_of_a_home_is_used_when_the_first_is_dead() {
    let mut world = World::new(18, home(Some(7)));
    world.boxes.insert(OTHER, Peer::Dark);
    let mut both = dial("alice");
    both.targets = vec![OTHER, G2];
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(both));
    world.run(Duration::from_secs(1));
    assert_eq!(world.vat[&tcp(40_000, ALICE, 22)].0, SocketAddrV4::new(G2, 20_000));
}

#[test]
fn n15_a_cookie_is_brought_back() {
    let mut world = World::new(19, home(None));
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!((world.released.len(), world.sends.len(), world.counter("cookies")), (1, 2, 1));
}

#[test]
fn n15_a_router_that_never_likes_our_cookie_is_given_up() {
    let mut world = World::new(20, home(None));
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    for _ in 0..20 {
        world.run_ms(10);
        let now = world.now;
        world.router().jar = natf_proto::CookieJar::new(now, &mut Seeded(now.elapsed().as_nanos() as u64));
    }
    world.run(Duration::from_secs(5));
    assert!(world.sends.len() <= 16, "{} requests", world.sends.len());
}

#[test]
fn n15_a_stale_counter_goes_on_above_the_routers_floor() {
    let mut world = World::new(21, home(Some(7)));
    let floor = 1_800_000_000u64 << 24;
    world.router().window = ReplayWindow::above(floor);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!((world.released.len(), world.sends.len(), world.counter("stale")), (1, 2, 1));
    assert!(Envelope::parse(&world.sends[1].3).unwrap().header.counter > floor);
    world.packet(2, tcp(40_001, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!((world.released.len(), world.sends.len()), (2, 3));
}

#[test]
fn n15_answers_that_are_not_the_routers_raise_a_counter_and_nothing_else() {
    let mut world = World::new(22, home(Some(7)));
    world.boxes.insert(G2, Peer::Dark);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    let question = world.sends[0].3.clone();
    let mut answer = question.clone();
    answer[5] = Kind::MappingResponse as u8;
    world.inject(G2, Carrier::Icmp, &answer);
    assert_eq!(world.counter("answer_forged"), 1);
    world.inject(OTHER, Carrier::Icmp, &answer);
    world.inject(G2, Carrier::Udp(4451), &answer);
    assert_eq!(world.counter("answer_unexpected"), 2);
    world.inject(G2, Carrier::Icmp, &answer[..100]);
    answer[4] = 9;
    world.inject(G2, Carrier::Icmp, &answer);
    assert_eq!(world.counter("answer_malformed"), 2);
    assert!(world.released.is_empty() && world.refused.is_empty());
}

#[test]
fn n15_without_a_key_only_who_has_seen_the_question_can_answer_it() {
    let mut world = World::new(33, home(None));
    world.boxes.insert(G2, Peer::Dark);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    let message = world.sends[0].3.clone();
    let question = Envelope::parse(&message).unwrap();
    let asked = MappingRequest::parse(question.anonymous_body().unwrap()).unwrap();
    let lifetime = Duration::from_secs(60);
    let mapped = SocketAddrV4::new(G2, 20_000);
    let grant = Grant { kind: MappingKind::Exact, mapped, pending: lifetime, lifetime };
    let guessed = Transaction(asked.transaction.0 ^ 1);
    for (transaction, released) in [(guessed, 0), (asked.transaction, 1)] {
        let known = MappingRequest { transaction, ..asked };
        let body = MappingResponse::to(&known, *asked.source.ip(), Ok(grant)).emit();
        let answer = assemble_anonymous(Kind::MappingResponse, question.header.counter, &[0; 24], &body);
        world.inject(G2, Carrier::Icmp, &answer);
        assert_eq!((world.released.len(), world.counter("answer_mismatch")), (released, 1));
    }
}

#[test]
fn n15_an_answer_is_taken_once() {
    let mut world = World::new(23, home(Some(7)));
    world.link.duplication = 100;
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!((world.released.len(), world.counter("granted")), (1, 1));
    assert!(world.counter("answer_unexpected") > 0);
}

#[test]
fn udp_carries_the_request_where_icmp_is_eaten_and_is_remembered() {
    let mut world = World::new(24, Home { udp_port: Some(4451), ..home(Some(7)) });
    world.router().by_icmp = false;
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(300);
    assert_eq!(world.released.len(), 1);
    let sent = world.sends.len();
    world.packet(2, tcp(40_001, ALICE, 22), "alice");
    world.run_ms(20);
    assert_eq!((world.released.len(), world.sends.len()), (2, sent + 1));
    assert_eq!(world.sends[sent].2, Carrier::Udp(4451));
}

#[test]
fn an_out_of_date_name_without_key_waits_for_dns() {
    let mut world = World::new(25, home(None));
    let stale = natf_end::Dial { fresh: false, targets: vec![OTHER], ..dial("alice") };
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(stale));
    assert_eq!((world.sends.len(), &world.resolves[..]), (0, &[ALICE][..]));
    world.engine.handle_targets(world.now, ALICE, &[G2]);
    world.drain();
    world.run_ms(100);
    assert_eq!(world.released.len(), 1);
}

#[test]
fn an_out_of_date_name_with_a_key_asks_at_once_and_again_when_dns_knows_better() {
    let mut world = World::new(26, home(Some(7)));
    world.boxes.insert(OTHER, Peer::Mirror);
    let stale = natf_end::Dial { fresh: false, targets: vec![OTHER], ..dial("alice") };
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(stale));
    assert_eq!(world.sends.len(), 1);
    world.engine.handle_targets(world.now, ALICE, &[G2]);
    world.drain();
    world.run_ms(100);
    assert_eq!((world.released.len(), world.refused.len()), (1, 0));
}

#[test]
fn a_router_that_is_silent_may_have_moved_and_dns_is_asked_before_its_ttl_is_over() {
    let mut world = World::new(32, home(Some(7)));
    world.boxes.insert(OTHER, Peer::Dark);
    let moved = natf_end::Dial { targets: vec![OTHER], ..dial("alice") };
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(moved));
    assert!(world.resolves.is_empty());
    world.run_ms(300);
    assert_eq!(world.resolves, [ALICE]);
    world.engine.handle_targets(world.now, ALICE, &[G2]);
    world.drain();
    world.run_ms(100);
    assert_eq!((world.released.len(), &world.resolves[..]), (1, &[ALICE][..]), "once is enough");
}

#[test]
fn dns_servers_that_rotate_addresses_keep_no_packet_held_for_ever() {
    let mut world = World::new(33, home(Some(7)));
    world.boxes = [(OTHER, Peer::Dark), (G2, Peer::Dark)].into();
    let both = natf_end::Dial { targets: vec![OTHER, G2], ..dial("alice") };
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(both));
    for round in 0..50 {
        world.run_ms(100);
        let turned = if round % 2 == 0 { [G2, OTHER] } else { [OTHER, G2] };
        world.engine.handle_targets(world.now, ALICE, &turned);
        world.drain();
    }
    assert_eq!((world.refused.len(), world.resolves.len()), (1, 1));
}

#[test]
fn dns_servers_that_always_say_something_else_keep_no_packet_held_for_ever() {
    let mut world = World::new(34, home(Some(7)));
    world.boxes = BTreeMap::new();
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    for round in 0..50 {
        world.run_ms(300);
        let other = Ipv4Addr::new(192, 0, 2, round);
        world.engine.handle_targets(world.now, ALICE, &[other]);
        world.drain();
    }
    assert_eq!((world.refused.len(), world.engine.held()), (1, 0));
    assert!(world.refused[0].2 - world.start < Duration::from_secs(8), "{:?}", world.refused);
}

#[test]
fn a_name_that_has_no_address_any_more_is_refused() {
    let mut world = World::new(27, home(None));
    let stale = natf_end::Dial { fresh: false, ..dial("alice") };
    world.packet_of(1, tcp(40_000, ALICE, 22), true, Some(stale));
    world.engine.handle_targets(world.now, ALICE, &[]);
    world.drain();
    assert_eq!(world.refused[0].1, Refusal::NoTarget);
}

#[test]
fn a_translation_that_the_kernel_refuses_is_a_refusal_and_ends_the_mapping() {
    let mut world = World::new(28, home(Some(7)));
    world.kernel_says.push(natf_end::Translated::Failed);
    world.packet(1, tcp(40_000, ALICE, 22), "alice");
    world.run_ms(100);
    assert_eq!(world.refused[0].1, Refusal::Kernel);
    assert_eq!(world.router().ended.len(), 1);
}

#[test]
fn a_ping_negotiates_and_ends_what_it_was_granted() {
    let mut world = World::new(29, home(Some(7)));
    world.engine.handle_ping(world.now, 5, udp(50_000, ALICE, 9), dial("alice"));
    world.drain();
    world.run_ms(100);
    let report = world.pings.pop().unwrap();
    assert!(report.is_granted() && report.id == 5);
    assert!(matches!(report.events.last(), Some((_, PingEvent::Ended(true)))), "{report:?}");
    assert_eq!(world.router().ended.len(), 1);
    assert!(world.vat.is_empty() && world.engine.flows().is_empty());
}

#[test]
fn a_ping_tells_a_refusal() {
    let mut world = World::new(30, home(Some(7)));
    world.router().refuses.insert("alice", Reason::Denied);
    world.engine.handle_ping(world.now, 5, udp(50_000, ALICE, 9), dial("alice"));
    world.drain();
    world.run_ms(100);
    let report = world.pings.pop().unwrap();
    let refused = PingEvent::Refused(Refusal::Router(Some(Reason::Denied)));
    assert_eq!(report.events.last().unwrap().1, refused);
}

#[test]
fn a_bad_network_loses_no_packet_and_asks_for_no_second_mapping() {
    for seed in 0..100 {
        let key = (seed % 3 != 0).then_some(7);
        let mut world = World::new(seed, home(key));
        world.link = Link { loss: 15, duplication: 30, jitter_ms: 300 };
        for id in 0..30u32 {
            let (to, host) = if id % 2 == 0 { (ALICE, "alice") } else { (BOB, "bob") };
            world.packet(3 * id, udp(5000 + id as u16, to, 53), host);
            world.packet(3 * id + 1, udp(5000 + id as u16, to, 53), host);
            world.run_ms(7);
            world.packet(3 * id + 2, udp(5000 + id as u16, to, 53), host);
        }
        world.run(Duration::from_secs(6));
        assert_eq!(world.released.len() + world.refused.len(), 90, "seed {seed}");
        assert!(world.refused.len() <= 15, "seed {seed}: {:?}", world.refused);
        assert!(world.router().mapped.len() <= 30, "seed {seed}: one transaction, one mapping");
        assert_eq!(world.engine.held(), 0);
        for flow in 0..30 {
            let order: Vec<u32> =
                world.released.iter().map(|it| it.0.0).filter(|id| id / 3 == flow).collect();
            assert!(order.is_sorted(), "seed {seed}: {order:?}");
        }
    }
}
