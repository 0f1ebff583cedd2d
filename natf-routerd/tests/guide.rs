//! The guide table against a scripted kernel: who is announced, and what becomes of rows.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

mod world;

use std::net::{Ipv4Addr, SocketAddrV4};

use natf_proto::*;
use natf_routerd::core::{
    access::{AccessTable, HostAddress, HostRow},
    output::{Arrival, Handled},
    peer::{PeerSetting, Role},
    registration::Ddns,
    registration_seen::{Seen, SeenData},
};
use world::{guided::*, *};

#[test]
fn t4_the_answer_follows_the_row_and_the_rule_that_catches_the_client() {
    let mut home = Home::new();
    assert_eq!(home.announce("alice.home.example.net", 1), guided(30));
    assert_eq!(home.world.caught, [G3].into());
    let now = home.world.now;
    let row = home.world.router.guide_rows(now).next().unwrap();
    assert_eq!((row.source, row.peer, row.host.as_str(), row.waiting), (G3, ISP, "alice", 1));
}

#[test]
fn t4_without_an_origin_the_client_is_where_the_notification_comes_from() {
    let mut home = Home::new();
    assert_eq!(home.announce_of(None, "alice.home.example.net", 1), guided(30));
    assert_eq!(home.world.caught, [G1].into());
}

#[test]
fn t4_a_kernel_that_cannot_catch_the_client_is_answered_with_busy_and_leaves_no_row() {
    let mut home = Home::new();
    home.world.full = true;
    assert_eq!(home.announce("alice.home.example.net", 1), refused(Reason::Busy));
    assert_eq!(home.rows(), 0);
    home.world.full = false;
    assert_eq!(home.announce("alice.home.example.net", 2), guided(30));
}

#[test]
fn t4_a_refusal_names_its_reason_and_makes_no_row() {
    let mut home = Home::with(table(false), isp(&["alice", "mallory", "nobody"]));
    for (name, reason) in [
        ("nobody.home.example.net", Reason::UnknownHost),
        ("home.example.net", Reason::UnknownHost),
        ("alice.other.example.net", Reason::UnknownHost),
        ("alice.xhome.example.net", Reason::UnknownHost),
        ("mallory.home.example.net", Reason::Denied),
        ("bob.home.example.net", Reason::PeerNotAllowed),
    ] {
        assert_eq!(home.announce(name, 1), refused(reason), "{name}");
    }
    assert_eq!((home.rows(), home.world.caught.len()), (0, 0));
    assert_eq!(home.world.counter("refused_denied"), 1);
}

#[test]
fn t4_only_tsn_servers_announce_and_only_nodes_ask_for_mappings() {
    let mut home = Home::with(table(false), PeerSetting { role: Role::Node, ..isp(&[]) });
    assert_eq!(home.announce("alice.home.example.net", 1), refused(Reason::PeerNotAllowed));
    home.configure(limits(), table(false), vec![PeerSetting { role: Role::Tsn, ..laptop() }]);
    let request = MappingRequest {
        transaction: Transaction(1),
        source: SocketAddrV4::new(G1, 1),
        destination: SocketAddrV4::new(G2, 80),
        transport: Transport::Tcp,
        host: "alice".parse().unwrap(),
    };
    let response = home.world.ask(&request).unwrap();
    assert_eq!(response.outcome.unwrap_err(), Some(Reason::PeerNotAllowed));
}

#[test]
fn t4_forged_and_replayed_notifications_are_treated_as_pings() {
    let mut home = Home::new();
    let notification =
        Notification { id: 1, origin: Some(G3), name: "alice.home.example.net".parse().unwrap() };
    let message = home.sealed(&notification);
    let arrival = home.world.arrival();
    for at in [5, 7, 40, 127] {
        let mut forged = message;
        forged[at] ^= 64;
        assert_eq!(home.world.deliver(arrival, &forged), Handled::NotOurs, "byte {at}");
    }
    assert_eq!(home.world.deliver(arrival, &message), Handled::Consumed);
    assert_eq!(home.world.deliver(arrival, &message), Handled::NotOurs);
    assert_eq!((home.world.counter("replayed"), home.world.counter("forged")), (1, 2));
    assert_eq!((home.world.answers.len(), home.rows()), (1, 1));
}

#[test]
fn t4_a_counter_below_the_floor_is_answered_with_the_sealed_floor() {
    let mut home = Home::new();
    home.counter = 5000;
    home.announce("alice.home.example.net", 1);
    home.counter = 10;
    assert_eq!(home.announce("bob.home.example.net", 2), GuideOutcome::Stale { floor: 5001 });
    assert_eq!(home.rows(), 1);
}

#[test]
fn t4_origins_that_no_client_has_are_malformed() {
    let mut home = Home::new();
    for origin in [Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, Ipv4Addr::new(224, 0, 0, 1)] {
        let name = "alice.home.example.net".parse().unwrap();
        let message = home.sealed(&Notification { id: 1, origin: Some(origin), name });
        let arrival = home.world.arrival();
        home.world.deliver(arrival, &message);
    }
    assert_eq!((home.world.counter("malformed"), home.world.answers.len(), home.rows()), (3, 0, 0));
}

#[test]
fn t4_an_answer_is_as_long_as_its_notification() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    let message = home.sealed(&Notification { id: 1, origin: None, name: "x".parse().unwrap() });
    let arrival = Arrival { inside: true, ..home.world.arrival() };
    home.world.deliver(arrival, &message);
    assert_eq!(home.world.answers.pop().unwrap().1.len(), message.len());
}

#[test]
fn t4_the_kernel_is_not_bothered_with_every_notification_of_a_client() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.world.full = true;
    home.wait(20);
    assert_eq!(home.announce("alice.home.example.net", 2), guided(30), "caught for long enough");
    home.wait(29);
    assert_eq!(home.announce("alice.home.example.net", 3), refused(Reason::Busy));
}

#[test]
fn t2_rows_of_a_host_that_is_denied_end_with_its_flows() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(1, Transport::Tcp, 40_000, 80);
    let bob = AccessTable::new([("bob".parse().unwrap(), row(P2))].into());
    home.configure(limits(), bob, vec![isp(&[])]);
    assert_eq!((home.rows(), home.world.entries.len(), home.world.caught.len()), (0, 0, 0));
}

#[test]
fn t2_rows_of_a_peer_that_is_removed_end_with_its_flows() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(1, Transport::Tcp, 40_000, 80);
    home.configure(limits(), table(false), vec![]);
    assert_eq!((home.rows(), home.world.entries.len()), (0, 0));
}

#[test]
fn t2_a_row_that_the_table_closes_by_its_date_ends() {
    let until = HostRow { until: Some(1_795_000_010), ..row(P1) };
    let mut home = Home::with(AccessTable::new([("alice".parse().unwrap(), until)].into()), isp(&[]));
    home.announce("alice.home.example.net", 1);
    home.wait(10);
    assert_eq!(home.rows(), 0);
}

#[test]
fn t2_a_host_that_moves_is_found_at_its_new_address() {
    let mac = HostRow { address: HostAddress::Mac([2; 6]), ..row(P1) };
    let mut home = Home::with(AccessTable::new([("alice".parse().unwrap(), mac)].into()), isp(&[]));
    assert_eq!(home.announce("alice.home.example.net", 1), refused(Reason::HostAway));
    home.world.router.handle_neighbours(home.world.now, [([2; 6], P1)].into());
    home.announce("alice.home.example.net", 2);
    home.world.router.handle_neighbours(home.world.now, [([2; 6], P2)].into());
    home.connect(1, Transport::Tcp, 40_000, 80);
    assert_eq!(home.inside(40_000), Some(SocketAddrV4::new(P2, 80)));
}

#[test]
fn t2_a_full_table_is_a_reason() {
    let mut home = Home::new();
    let outcomes: Vec<_> = (1..=20)
        .map(|last| home.announce_of(Some(Ipv4Addr::new(198, 51, 101, last)), "alice.home.example.net", 1))
        .collect();
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == guided(30)).count(), 15, "three quarters");
    assert_eq!(outcomes[15], refused(Reason::TableFull));
    home.wait(31);
    assert_eq!(home.announce("alice.home.example.net", 1), guided(30));
}

#[test]
fn t2_after_a_restart_flows_live_on_and_rows_are_announced_anew() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.connect(1, Transport::Tcp, 40_000, 80);
    let mut restarted = Home::new();
    restarted.world.entries = home.world.entries.clone();
    let now = restarted.world.now;
    for entry in home.world.entries.values() {
        restarted.world.router.handle_restored(now, *entry);
    }
    restarted.world.router.finish_restoring(now, &[G2]);
    restarted.world.work();
    assert_eq!((restarted.world.entries.len(), restarted.world.router.mappings().len()), (1, 1));
    assert_eq!(restarted.rows(), 0);
}

const DDNS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 54);

impl Home {
    /// A host registers `kitchen.dyn.example.net` with the router's address; the server consents.
    fn register(&mut self, host: Ipv4Addr) {
        let server = vec![DDNS];
        self.world.router.set_ddns(vec![Ddns { servers: server, zones: vec!["dyn.example.net".into()] }]);
        let mut update = vec![0x12, 0x34, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        update.extend(b"\x03dyn\x07example\x03net\0\0\x06\0\x01");
        update.extend(b"\x07kitchen\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x02");
        let mut answer = update[..12].to_vec();
        answer[2] |= 0x80;
        for (upward, bytes) in [(true, update), (false, answer)] {
            let client = SocketAddrV4::new(host, 40_000);
            let seen = Seen { client, server: DDNS, upward, data: SeenData::Datagram(&bytes) };
            self.world.router.handle_seen(self.world.now, &seen);
        }
    }
}

#[test]
fn t1_clients_are_announced_to_the_name_that_a_host_registered() {
    let mut home = Home::new();
    assert_eq!(home.announce("kitchen.dyn.example.net", 1), refused(Reason::UnknownHost));
    home.register(P1);
    assert_eq!(home.announce("kitchen.dyn.example.net", 2), guided(30));
    home.connect(1, Transport::Tcp, 40_000, 80);
    assert_eq!(home.inside(40_000), Some(SocketAddrV4::new(P1, 80)));
}

#[test]
fn t1_a_learned_name_gives_nobody_access_that_the_table_does_not_give() {
    let mut home = Home::new();
    home.register(Ipv4Addr::new(192, 168, 1, 66));
    assert_eq!(home.announce("kitchen.dyn.example.net", 1), refused(Reason::Denied), "mallory");
    home.register(Ipv4Addr::new(192, 168, 1, 99));
    assert_eq!(home.announce("kitchen.dyn.example.net", 2), refused(Reason::UnknownHost), "in no row");
    home.configure(limits(), table(false), vec![isp(&["bob"])]);
    home.register(P1);
    assert_eq!(home.announce("kitchen.dyn.example.net", 3), refused(Reason::PeerNotAllowed), "not in scope");
}

#[test]
fn t1_a_host_bound_to_its_mac_has_the_names_that_its_lease_registered() {
    let mac = HostRow { address: HostAddress::Mac([2; 6]), ..row(P1) };
    let mut home = Home::with(AccessTable::new([("alice".parse().unwrap(), mac)].into()), isp(&[]));
    home.world.router.handle_neighbours(home.world.now, [([2; 6], P2)].into());
    home.register(P1);
    assert_eq!(home.announce("kitchen.dyn.example.net", 1), refused(Reason::UnknownHost));
    home.register(P2);
    assert_eq!(home.announce("kitchen.dyn.example.net", 2), guided(30));
}

#[test]
fn t1_no_host_takes_a_name_of_the_table_by_registering_it() {
    let mut home = Home::new();
    home.world.router.set_domains(["dyn.example.net"].into_iter());
    let kitchen = [("kitchen".parse().unwrap(), row(P1)), ("mallory".parse().unwrap(), row(P2))];
    home.configure(limits(), AccessTable::new(kitchen.into()), vec![isp(&[])]);
    home.register(P2);
    home.announce("kitchen.dyn.example.net", 1);
    home.connect(1, Transport::Tcp, 40_000, 80);
    assert_eq!(home.inside(40_000), Some(SocketAddrV4::new(P1, 80)));
}

#[test]
fn after_a_flushed_ruleset_clients_are_caught_again() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.world.caught.clear();
    home.world.router.handle_sets_lost(home.world.now.instant);
    home.world.work();
    assert_eq!(home.world.caught, [G3].into());
}

#[test]
fn a_notification_and_the_first_packet_in_one_batch_find_each_other() {
    let mut home = Home::new();
    let name = "alice.home.example.net".parse().unwrap();
    let message = home.sealed(&Notification { id: 1, origin: Some(G3), name });
    let (now, arrival) = (home.world.now, home.world.arrival());
    home.world.router.handle_message(now, &arrival, &message);
    home.world.queue_packet(1, Transport::Tcp, from(40_000), SocketAddrV4::new(G2, 80));
    home.world.work();
    assert_eq!((home.world.released.as_slice(), home.world.entries.len()), (&[1][..], 1));
}

#[test]
fn a_flow_whose_host_is_denied_while_it_waits_is_dropped_and_leaves_no_entry() {
    let mut home = Home::new();
    home.announce("alice.home.example.net", 1);
    home.world.queue_packet(1, Transport::Tcp, from(40_000), SocketAddrV4::new(G2, 80));
    // Look has been answered, the insert is under way.
    home.world.work_until_insert();
    let denied = AccessTable::new([("alice".parse().unwrap(), HostRow { allow: false, ..row(P1) })].into());
    home.configure(limits(), denied, vec![isp(&[])]);
    assert_eq!((home.world.dropped.as_slice(), home.world.entries.len()), (&[1][..], 0));
}

proptest::proptest! {
    #[test]
    fn a_notice_with_any_flipped_bit_is_ignored(at in 0usize..128, bit in 0u8..8) {
        let mut home = Home::new();
        let name = "alice.home.example.net".parse().unwrap();
        let mut message = home.sealed(&Notification { id: 1, origin: Some(G3), name });
        message[at] ^= 1 << bit;
        let arrival = home.world.arrival();
        assert_eq!(home.world.deliver(arrival, &message), Handled::NotOurs);
        assert!(home.world.answers.is_empty() && home.rows() == 0);
    }

    #[test]
    fn every_caught_packet_is_released_or_dropped_once(
        steps in proptest::collection::vec((0u8..4, 0u16..6, 0u8..2), 1..60),
        room in 0usize..3,
    ) {
        let mut home = Home::new();
        let (mut packet, mut id) = (0, 0);
        for (what, port, host) in steps {
            home.world.full = room == 0 && port == 3;
            match what {
                0 => {
                    id += 1;
                    let name = ["alice.home.example.net", "bob.home.example.net"][usize::from(host)];
                    home.announce(name, id);
                }
                1 => home.wait(u64::from(port) * 3),
                _ => {
                    packet += 1;
                    let transport = if what == 2 { Transport::Tcp } else { Transport::Udp };
                    home.world.queue_packet(packet, transport, from(port + 1), SocketAddrV4::new(G2, 80));
                    if host == 0 {
                        home.world.work();
                    }
                }
            }
        }
        home.world.work();
        let mut seen: Vec<_> = home.world.released.iter().chain(&home.world.dropped).copied().collect();
        seen.sort_unstable();
        assert_eq!(seen, (1..=packet).collect::<Vec<_>>());
    }
}
