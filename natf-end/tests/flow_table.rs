//! The life of flows after their first packet, under a virtual clock: N9, N12, restart, change of network.
#![allow(clippy::cast_possible_truncation)]

mod sim;

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natf_end::{Flow, Gateway, KernelFlow, Limits, RestoredFlow, Role, Silent, Translated};
use natf_proto::{Reason, Transport};
use sim::*;

const OPEN: KernelFlow = KernelFlow { replied: false, closed: false, remaining: Duration::from_secs(110) };
const ESTABLISHED: KernelFlow =
    KernelFlow { replied: true, closed: false, remaining: Duration::from_secs(432_000) };
const CLOSED: KernelFlow = KernelFlow { replied: true, closed: true, remaining: Duration::from_secs(110) };

fn connected(seed: u64, flow: Flow, state: KernelFlow) -> World {
    let mut world = World::new(seed, home(Some(7)));
    world.kernel.insert(flow, state);
    world.packet_of(1, flow, true, Some(dial("alice")));
    world.run_ms(100);
    assert_eq!(world.released.len(), 1);
    world
}

#[test]
fn n9_a_tcp_flow_that_closes_is_ended_at_the_router() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(1, flow, ESTABLISHED);
    world.run(Duration::from_secs(60));
    assert_eq!(world.engine.flows()[0].state, "established");
    assert!(world.router().ended.is_empty());
    world.kernel.insert(flow, CLOSED);
    world.run(Duration::from_secs(11));
    assert_eq!((world.router().ended.len(), world.engine.flows().len()), (1, 0));
    assert_eq!(world.counter("flows_ended"), 1);
}

#[test]
fn n9_an_idle_udp_flow_is_ended_when_the_kernel_forgets_it() {
    let flow = udp(5000, ALICE, 53);
    let mut world = connected(2, flow, KernelFlow { remaining: Duration::from_secs(30), ..ESTABLISHED });
    world.run(Duration::from_secs(5));
    let looks = world.watched;
    world.kernel.remove(&flow);
    world.run(Duration::from_secs(40));
    assert_eq!((world.router().ended.len(), world.engine.flows().len()), (1, 0));
    assert!(world.watched - looks <= 2, "the kernel's timeout says when to look");
}

#[test]
fn n9_a_mapping_is_refreshed_while_no_answer_is_seen_and_not_longer() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(3, flow, OPEN);
    world.run(Duration::from_secs(20));
    let refreshed = world.counter("refreshed");
    assert!((8..=11).contains(&refreshed), "{refreshed} in 20 s");
    assert_eq!(world.router().mapped.len(), 1, "a refresh is the same transaction");
    world.kernel.insert(flow, ESTABLISHED);
    world.run(Duration::from_secs(30));
    assert!(world.counter("refreshed") <= refreshed + 1);
}

/// Runs until so many seconds after the start, in small steps; the kernel's entry lives for 120 s from the last of
/// these packets on, as a SYN's does.
fn run_with_packets_at(world: &mut World, flow: Flow, sent_at: &[u64], seconds: u64) {
    while world.elapsed() < Duration::from_secs(seconds) {
        let last = sent_at.iter().map(|at| Duration::from_secs(*at)).filter(|at| *at <= world.elapsed());
        let expires = last.max().unwrap_or_default() + Duration::from_secs(120);
        let remaining = Duration::from_secs(expires.saturating_sub(world.elapsed()).as_secs());
        match remaining.is_zero() || world.forgotten.contains(&flow) {
            true => world.kernel.remove(&flow),
            false => world.kernel.insert(flow, KernelFlow { remaining, ..OPEN }),
        };
        world.run_ms(130);
    }
}

#[test]
fn n9_a_connect_that_was_given_up_is_ended_and_not_refreshed_for_two_minutes() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(22, flow, OPEN);
    run_with_packets_at(&mut world, flow, &[0, 1], 12);
    assert_eq!((world.router().ended.len(), world.engine.flows().len()), (1, 0), "closed after two SYNs");
    assert_eq!(world.forgotten, [flow], "another SYN would be led to a port that nobody maps");
}

#[test]
fn n9_a_mapping_is_refreshed_between_the_repeats_of_a_syn_and_ended_after_the_last() {
    for sent_at in [&[0, 1, 3, 7, 15, 31][..], &[0, 1, 2, 3, 4, 5, 7, 11, 19, 35], &[0, 3, 9, 21]] {
        let flow = tcp(40_000, ALICE, 22);
        let mut world = connected(23, flow, OPEN);
        let last = *sent_at.last().unwrap();
        run_with_packets_at(&mut world, flow, sent_at, 2 * last);
        assert!(world.router().ended.is_empty(), "{sent_at:?}: the next repeat may come");
        assert!(world.counter("refreshed") >= last - 2, "{sent_at:?}: every two seconds");
        run_with_packets_at(&mut world, flow, sent_at, 3 * last + 10);
        assert_eq!((world.router().ended.len(), world.engine.flows().len()), (1, 0), "{sent_at:?}");
    }
}

#[test]
fn n9_a_datagram_without_an_answer_keeps_its_mapping_while_the_kernel_knows_its_flow() {
    let flow = udp(5000, ALICE, 53);
    let mut world = connected(24, flow, OPEN);
    run_with_packets_at(&mut world, flow, &[0], 110);
    assert!(world.router().ended.is_empty(), "an answer may come late");
    run_with_packets_at(&mut world, flow, &[0], 130);
    assert_eq!((world.router().ended.len(), world.engine.flows().len()), (1, 0));
}

#[test]
fn n9_refreshing_ends_when_tcp_gives_up() {
    let mut world = connected(4, tcp(40_000, ALICE, 22), OPEN);
    world.run(Duration::from_secs(600));
    assert!(world.counter("refreshed") <= 65);
}

#[test]
fn n9_access_withdrawn_before_the_first_answer_starts_the_flow_anew() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(5, flow, OPEN);
    world.router().refuses.insert("alice", Reason::Denied);
    world.run(Duration::from_secs(5));
    assert_eq!(world.forgotten, [flow]);
    assert!(world.engine.flows().is_empty());
}

#[test]
fn n9_a_lost_kernel_entry_keeps_its_mapping_and_a_new_connection_gets_a_new_one() {
    let flow = udp(5000, ALICE, 53);
    let mut world = connected(6, flow, ESTABLISHED);
    let first = world.vat[&flow].0;
    world.run(Duration::from_secs(8));
    world.packet(2, flow, "alice");
    world.run_ms(100);
    assert_eq!((world.vat[&flow].0, world.released.len()), (first, 2));

    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(7, flow, ESTABLISHED);
    let first = world.vat[&flow].0;
    world.run_ms(100);
    world.packet_of(2, flow, true, Some(dial("alice")));
    world.run_ms(100);
    assert_ne!(world.vat[&flow].0, first, "the old one may be in TIME_WAIT");
    assert_eq!((world.released.len(), world.router().ended.len()), (2, 1));
}

#[test]
fn n9_a_refused_second_connection_does_not_slip_through_the_first_ones_translation() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(15, flow, ESTABLISHED);
    world.run_ms(500);
    world.router().refuses.insert("alice", Reason::Denied);
    world.packet_of(2, flow, true, Some(dial("alice")));
    world.run_ms(100);
    assert_eq!((world.refused.len(), world.vat.len()), (1, 0));
}

#[test]
fn n9_a_flow_that_is_over_leaves_no_translation_to_a_new_socket_on_its_port() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(17, flow, CLOSED);
    world.run(Duration::from_secs(2));
    assert_eq!((world.engine.flows().len(), world.vat.len()), (0, 0), "ended");

    let mut world = connected(18, flow, OPEN);
    world.router().refuses.insert("alice", Reason::Denied);
    world.run(Duration::from_secs(4));
    assert_eq!((world.forgotten.len(), world.vat.len()), (1, 0), "its refresh was refused");

    let mut world = connected(19, flow, ESTABLISHED);
    world.engine.handle_network_change(world.now, &[]);
    world.drain();
    assert!(world.vat.is_empty(), "its address is gone");

    let mut world = World::new(20, home(None));
    world.boxes.insert(G2, Peer::Mirror);
    world.packet_of(1, flow, true, Some(dial("alice")));
    world.run(Duration::from_secs(6));
    assert_eq!((world.released.len(), world.vat.len()), (1, 0), "to the router itself (N10)");
}

#[test]
fn n12_a_syn_repeated_while_the_first_was_held_belongs_to_it() {
    let role = Role::Gateway(Gateway::new(G1, 24_000..=24_100));
    let mut world = World::with(16, home(Some(7)), role, Silent::Refuse);
    world.packet_of(1, lan(2, 40_000), true, Some(dial("alice")));
    world.run_ms(50);
    world.packet_of(2, lan(2, 40_000), true, Some(dial("alice")));
    assert_eq!((world.released.len(), world.router().requests), (2, 1));
}

#[test]
fn n15_a_router_that_never_likes_our_counter_is_left_alone_in_every_state() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(21, flow, OPEN);
    world.router().never_content = true;
    let sent = world.sends.len();
    world.run(Duration::from_secs(20));
    let (asked, refreshed) = (world.sends.len() - sent, world.counter("refreshed") as usize);
    assert!(asked > refreshed && asked <= 4 * refreshed, "{asked} requests for {refreshed} refreshes");
    assert_eq!(world.engine.flows().len(), 1, "the flow itself is none of the router's business");
    world.kernel.remove(&flow);
    let sent = world.sends.len();
    world.run(Duration::from_secs(5));
    assert!(world.sends.len() - sent <= 8, "{} requests for two ends", world.sends.len() - sent);
    assert!(world.engine.flows().is_empty() && world.counter("never_content") > 0);
}

#[test]
fn n9_the_end_is_said_twice_at_most() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = connected(8, flow, ESTABLISHED);
    world.boxes.insert(G2, Peer::Dark);
    let sent = world.sends.len();
    world.kernel.remove(&flow);
    world.run(Duration::from_secs(20));
    assert_eq!((world.sends.len() - sent, world.engine.flows().len()), (2, 0));
}

#[test]
fn a_full_table_forgets_a_live_flow_and_not_the_new_one() {
    let limits = Limits { flows: 300, ..Limits::default() };
    let mut world = World::limited(9, home(Some(7)), Role::Host, Silent::Refuse, limits);
    for n in 0..300 {
        let flow = udp(1024 + n as u16, ALICE, 53);
        world.kernel.insert(flow, ESTABLISHED);
        world.packet(n, flow, "alice");
        world.run_ms(15);
    }
    assert_eq!(world.engine.flows().len(), 300);
    world.packet(9999, udp(60_000, ALICE, 53), "alice");
    world.run_ms(50);
    assert_eq!((world.engine.flows().len(), world.counter("flows_forgotten")), (300, 1));
    assert_eq!(world.released.last().unwrap().0.0, 9999);
}

#[test]
fn flows_of_the_former_run_are_taken_over_from_the_kernel() {
    let (flow, strange) = (tcp(40_000, ALICE, 22), tcp(40_001, BOB, 22));
    let mut world = World::new(10, home(Some(7)));
    let row = |flow: Flow| RestoredFlow { flow, mapped: SocketAddrV4::new(G2, 20_005), source: flow.source };
    world.engine.restore(world.now, [row(flow), row(strange)], |v| (v == ALICE).then(|| dial("alice")));
    assert_eq!(world.engine.flows().len(), 1);
    world.kernel.insert(flow, ESTABLISHED);
    world.run(Duration::from_secs(30));
    assert_eq!((world.sends.len(), world.engine.flows()[0].state), (0, "established"));
    world.kernel.remove(&flow);
    world.run(Duration::from_secs(30));
    assert_eq!(world.router().ended.len(), 1);
}

#[test]
fn a_flow_of_the_former_run_that_the_kernel_has_just_forgotten_is_negotiated_anew() {
    let flow = tcp(40_000, ALICE, 22);
    let mut world = World::new(10, home(Some(7)));
    let row = RestoredFlow { flow, mapped: SocketAddrV4::new(G2, 20_005), source: flow.source };
    world.engine.restore(world.now, [row], |_| Some(dial("alice")));
    world.packet_of(1, flow, true, Some(dial("alice")));
    assert!(world.released.is_empty(), "nothing would translate it");
    world.run(Duration::from_millis(100));
    assert_eq!((world.released.len(), world.vat.len()), (1, 1));
}

#[test]
fn a_change_of_network_drops_flows_of_addresses_that_are_gone_and_says_nothing() {
    let mut world = connected(11, tcp(40_000, ALICE, 22), ESTABLISHED);
    world.packet_of(2, tcp(40_001, BOB, 22), true, Some(dial("bob")));
    let sent = world.sends.len();
    world.engine.handle_network_change(world.now, &[G1]);
    world.drain();
    assert_eq!(world.engine.flows().len(), 2);
    world.engine.handle_network_change(world.now, &[Ipv4Addr::new(10, 0, 0, 5)]);
    world.drain();
    assert_eq!((world.engine.flows().len(), world.sends.len()), (0, sent));
    assert_eq!((world.refused.len(), world.engine.held()), (1, 0));
}

fn lan(host: u8, port: u16) -> Flow {
    Flow {
        transport: Transport::Tcp,
        source: SocketAddrV4::new(Ipv4Addr::new(192, 168, 1, host), port),
        destination: SocketAddrV4::new(ALICE, 80),
    }
}

#[test]
fn n12_a_gateway_names_the_port_that_the_far_router_will_see() {
    let role = Role::Gateway(Gateway::new(G1, 24_000..=24_001));
    let mut world = World::with(12, home(Some(7)), role, Silent::Refuse);
    world.packet(1, lan(2, 40_000), "alice");
    world.packet(2, lan(3, 40_000), "alice");
    world.packet(3, lan(4, 40_000), "alice");
    world.run_ms(100);
    let sources: Vec<_> = world.vat.values().map(|(_, source)| source.unwrap()).collect();
    assert_eq!(sources.len(), 2, "no port is left for the third");
    assert_ne!(sources[0], sources[1]);
    assert_eq!(world.router().sources.iter().copied().collect::<Vec<_>>(), {
        let mut sorted = sources;
        sorted.sort();
        sorted
    });
    assert_eq!(world.refused.len(), 1);
    // The flows end, their ports are free again.
    world.run(Duration::from_secs(5));
    world.packet(4, lan(4, 40_000), "alice");
    world.run_ms(100);
    assert_eq!(world.released.len(), 3);
}

#[test]
fn n12_a_port_that_masquerading_uses_is_replaced_by_another() {
    let role = Role::Gateway(Gateway::new(G1, 24_000..=24_100));
    let mut world = World::with(13, home(Some(7)), role, Silent::Refuse);
    world.kernel_says.push(Translated::PortTaken);
    world.packet(1, lan(2, 40_000), "alice");
    world.run_ms(100);
    assert_eq!((world.released.len(), world.router().sources.len()), (1, 2));
    assert_eq!(world.router().ended.len(), 1);
    assert_eq!(world.counter("port_taken"), 1);
}

#[test]
fn n12_a_new_outside_address_lets_lan_flows_start_anew() {
    let role = Role::Gateway(Gateway::new(G1, 24_000..=24_100));
    let mut world = World::with(14, home(Some(7)), role, Silent::Refuse);
    world.packet(1, lan(2, 40_000), "alice");
    world.run_ms(100);
    let new = Ipv4Addr::new(198, 51, 100, 99);
    world.engine.handle_outside_address(world.now, new);
    world.drain();
    assert_eq!(world.forgotten, [lan(2, 40_000)]);
    world.packet(2, lan(2, 40_000), "alice");
    world.run_ms(100);
    assert_eq!(world.vat[&lan(2, 40_000)].1.unwrap().ip(), &new);
}
