//! Packets for the tests of this module, the tests of whole rewritings, and hostile packets.

use std::{
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use domain::{
    base::{
        Message, MessageBuilder, Name, Ttl,
        iana::{Class, Rcode, Rtype},
        rdata::UnknownRecordData,
    },
    rdata::{A, Cname, Ptr, Soa},
};
use proptest::prelude::*;

use super::*;
use crate::{
    relation::{Full, Limits, RelationTable},
    virtual_address::VirtualPrefix,
};

pub(crate) const ID: u16 = 0x4e41;

pub(crate) fn name(text: &str) -> Name<Vec<u8>> {
    Name::vec_from_str(text).unwrap()
}

pub(crate) struct Query {
    name: Name<Vec<u8>>,
    qtype: Rtype,
    edns: Option<(u16, bool)>,
}

pub(crate) fn query(qname: &str, qtype: Rtype) -> Query {
    Query { name: name(qname), qtype, edns: None }
}

impl Query {
    pub(crate) fn edns(mut self, size: u16, dnssec_ok: bool) -> Self {
        self.edns = Some((size, dnssec_ok));
        self
    }

    pub(crate) fn build(self) -> Vec<u8> {
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_id(ID);
        builder.header_mut().set_rd(true);
        let mut builder = builder.question();
        builder.push((self.name, self.qtype)).unwrap();
        let mut builder = builder.additional();
        if let Some((size, dnssec_ok)) = self.edns {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(size);
                    opt.set_dnssec_ok(dnssec_ok);
                    Ok(())
                })
                .unwrap();
        }
        builder.finish()
    }
}

type Records = Vec<(Name<Vec<u8>>, u32, Rtype, Vec<u8>)>;

#[derive(Clone)]
pub(crate) struct Reply {
    name: Name<Vec<u8>>,
    qtype: Rtype,
    rcode: Rcode,
    answers: Records,
    soa: Option<Name<Vec<u8>>>,
    glue: Option<(Name<Vec<u8>>, Ipv4Addr)>,
    edns: bool,
}

pub(crate) fn reply(qname: &str) -> Reply {
    Reply {
        name: name(qname),
        qtype: Rtype::A,
        rcode: Rcode::NOERROR,
        answers: Vec::new(),
        soa: None,
        glue: None,
        edns: false,
    }
}

impl Reply {
    pub(crate) fn qtype(mut self, qtype: Rtype) -> Self {
        self.qtype = qtype;
        self
    }

    pub(crate) fn a(self, owner: &str, ttl: u32, address: Ipv4Addr) -> Self {
        self.record(owner, ttl, Rtype::A, address.octets().to_vec())
    }

    pub(crate) fn cname(self, owner: &str, ttl: u32, target: &str) -> Self {
        self.record(owner, ttl, Rtype::CNAME, name(target).as_slice().to_vec())
    }

    pub(crate) fn record(mut self, owner: &str, ttl: u32, rtype: Rtype, data: Vec<u8>) -> Self {
        self.answers.push((name(owner), ttl, rtype, data));
        self
    }

    pub(crate) fn rcode(mut self, rcode: Rcode) -> Self {
        self.rcode = rcode;
        self
    }

    pub(crate) fn soa(mut self, zone: &str) -> Self {
        self.soa = Some(name(zone));
        self
    }

    pub(crate) fn glue(mut self, owner: &str, address: Ipv4Addr) -> Self {
        self.glue = Some((name(owner), address));
        self
    }

    pub(crate) fn edns(mut self) -> Self {
        self.edns = true;
        self
    }

    pub(crate) fn build(self) -> Vec<u8> {
        let target = domain::base::StaticCompressor::new(Vec::new());
        let mut builder = MessageBuilder::from_target(target).unwrap();
        let header = builder.header_mut();
        header.set_id(ID);
        header.set_qr(true);
        header.set_rd(true);
        header.set_ra(true);
        header.set_aa(true);
        header.set_ad(true);
        header.set_rcode(self.rcode);
        let mut builder = builder.question();
        builder.push((&self.name, self.qtype)).unwrap();
        let mut builder = builder.answer();
        for (owner, ttl, rtype, data) in &self.answers {
            let ttl = Ttl::from_secs(*ttl);
            let data = UnknownRecordData::from_octets(*rtype, data.clone()).unwrap();
            // Through the typed data, so that names in it are compressed as servers do it.
            match *rtype {
                Rtype::CNAME => {
                    let target = Name::from_octets(data.data().clone()).unwrap();
                    builder.push((owner, Class::IN, ttl, Cname::new(target))).unwrap();
                }
                _ => builder.push((owner, Class::IN, ttl, data)).unwrap(),
            }
        }
        let mut builder = builder.authority();
        if let Some(zone) = &self.soa {
            let soa = Soa::new(zone, zone, 1.into(), Ttl::HOUR, Ttl::HOUR, Ttl::HOUR, Ttl::HOUR);
            builder.push((zone, Class::IN, Ttl::HOUR, soa)).unwrap();
        }
        let mut builder = builder.additional();
        if let Some((owner, address)) = &self.glue {
            builder.push((owner, Class::IN, Ttl::HOUR, A::new(*address))).unwrap();
        }
        if self.edns {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(4096);
                    Ok(())
                })
                .unwrap();
        }
        builder.finish().into_target()
    }
}

pub(crate) struct Table {
    homes: Rc<Homes>,
    pub(crate) relations: RelationTable,
    pub(crate) plain: Vec<Ipv4Addr>,
}

impl Names for Table {
    fn homes(&self) -> Rc<Homes> {
        self.homes.clone()
    }

    fn prefix(&self) -> VirtualPrefix {
        self.relations.prefix()
    }

    fn relate(
        &mut self,
        ours: &Ours<'_>,
        targets: &[Ipv4Addr],
        ttl: Duration,
        now: Instant,
    ) -> Result<Ipv4Addr, Full> {
        self.relations.relate(ours.name, &ours.home, targets, ttl, now)
    }

    fn is_plain_router(&self, address: Ipv4Addr, _now: Instant) -> bool {
        self.plain.contains(&address)
    }

    fn name_of(&self, address: Ipv4Addr) -> Option<String> {
        Some(self.relations.relation(address)?.name().full().to_owned())
    }
}

pub(crate) const G2: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
pub(crate) const ALICE: &str = "alice.home.example.net";
pub(crate) const HOME: &str = "home.example.net";

fn table_of(homes: &[(&str, &str)]) -> Table {
    let mut list = Homes::new();
    for (home, domain) in homes {
        list.add(home, domain, []).unwrap();
    }
    let relations = RelationTable::new(VirtualPrefix::DEFAULT, Limits { names: 3, ..Limits::default() });
    Table { homes: Rc::new(list), relations, plain: Vec::new() }
}

pub(crate) fn table() -> Table {
    table_of(&[("home", HOME), ("any", "*")])
}

fn run(table: &mut Table, query: &[u8], upstream: &[u8]) -> (Plan, Settled) {
    let question = Question::parse(query).unwrap();
    let plan = plan(&question, &table.homes, table.prefix());
    let settled = settle(&question, plan, upstream, table, Instant::now());
    (plan, settled)
}

fn rewritten(table: &mut Table, query: &[u8], upstream: &[u8]) -> (Vec<u8>, Ipv4Addr, bool) {
    match run(table, query, upstream) {
        (Plan::Rewrite, Settled::Rewritten { reply, address, bogus }) => (reply, address, bogus),
        other => panic!("{other:?}"),
    }
}

fn reduced(table: &mut Table, query: &[u8], upstream: &[u8]) -> Vec<u8> {
    match run(table, query, upstream) {
        (_, Settled::Reduced(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn counts(packet: &[u8]) -> (u16, u16, u16, u16) {
    let counts = Message::from_slice(packet).unwrap().header_counts();
    (counts.qdcount(), counts.ancount(), counts.nscount(), counts.arcount())
}

/// The one A record of a flattened reply: owner, TTL in seconds, address.
pub(crate) fn only_a(packet: &[u8]) -> (String, u32, Ipv4Addr) {
    let message = Message::from_slice(packet).unwrap();
    assert_eq!(message.header_counts().ancount(), 1);
    let record = message.answer().unwrap().limit_to_in::<A>().next().unwrap().unwrap();
    (record.owner().to_string(), record.ttl().as_secs(), record.data().addr())
}

#[test]
fn n2_answer_becomes_one_record_with_the_virtual_address() {
    let mut table = table();
    let upstream = reply(ALICE).cname(ALICE, 600, HOME).a(HOME, 300, G2).build();
    let asked = query("aLiCe.home.example.net", Rtype::A).build();
    let (reply, v, bogus) = rewritten(&mut table, &asked, &upstream);
    assert_eq!(only_a(&reply), ("aLiCe.home.example.net".into(), 60, v));
    assert!(VirtualPrefix::DEFAULT.contains(v) && !bogus);
    assert_eq!(table.relations.relation(v).unwrap().targets(), [G2]);
    let header = Message::from_slice(&reply).unwrap().header();
    assert_eq!((header.id(), header.qr(), header.ra(), header.rd()), (ID, true, true, true));
    assert!(!header.aa() && !header.ad() && !header.tc());
}

#[test]
fn n1_all_three_dns_patterns_lead_to_the_same_virtual_address() {
    let mut table = table();
    let asked = query(ALICE, Rtype::A).build();
    let second = Ipv4Addr::new(203, 0, 113, 8);
    let wildcard = rewritten(&mut table, &asked, &reply(ALICE).a(ALICE, 30, G2).build());
    let alias = rewritten(&mut table, &asked, &reply(ALICE).cname(ALICE, 9, HOME).a(HOME, 30, G2).build());
    let several = rewritten(&mut table, &asked, &reply(ALICE).a(ALICE, 30, G2).a(ALICE, 30, second).build());
    assert_eq!((wildcard.1, alias.1), (several.1, several.1));
    assert_eq!((only_a(&wildcard.0).1, only_a(&alias.0).1), (30, 9));
    assert_eq!(table.relations.relation(several.1).unwrap().targets(), [G2, second]);
}

#[test]
fn n11_two_hosts_of_one_home_get_two_virtual_addresses() {
    let mut table = table();
    let bob = "bob.home.example.net";
    let one = rewritten(&mut table, &query(ALICE, Rtype::A).build(), &reply(ALICE).a(ALICE, 9, G2).build());
    let two = rewritten(&mut table, &query(bob, Rtype::A).build(), &reply(bob).a(bob, 9, G2).build());
    assert_ne!(one.1, two.1);
}

#[test]
fn opt_is_kept_for_clients_with_edns_only() {
    let mut table = table();
    let upstream = reply(ALICE).a(ALICE, 9, G2).edns().build();
    let (with, ..) = rewritten(&mut table, &query(ALICE, Rtype::A).edns(1232, false).build(), &upstream);
    assert_eq!(counts(&with), (1, 1, 0, 1));
    assert_eq!(Message::from_slice(&with).unwrap().opt().unwrap().udp_payload_size(), 4096);
    let (without, ..) = rewritten(&mut table, &query(ALICE, Rtype::A).build(), &upstream);
    assert_eq!(counts(&without), (1, 1, 0, 0));
}

#[test]
fn signatures_are_dropped_and_a_validating_client_is_reported() {
    let mut table = table();
    let upstream = reply(ALICE).a(ALICE, 9, G2).record(ALICE, 9, Rtype::RRSIG, vec![0; 40]).edns().build();
    let (reply, _, bogus) =
        rewritten(&mut table, &query(ALICE, Rtype::A).edns(1232, true).build(), &upstream);
    assert!(bogus);
    assert_eq!(counts(&reply), (1, 1, 0, 1));
    let (_, _, bogus) = rewritten(&mut table, &query(ALICE, Rtype::A).edns(1232, false).build(), &upstream);
    assert!(!bogus);
}

#[test]
fn failures_and_missing_addresses_pass_unchanged() {
    for name in [ALICE, "alice.elsewhere.example.org"] {
        let asked = query(name, Rtype::A).build();
        for rcode in [Rcode::NXDOMAIN, Rcode::SERVFAIL, Rcode::REFUSED, Rcode::NOERROR] {
            let upstream = reply(name).rcode(rcode).soa("example.net").build();
            assert_eq!(run(&mut table(), &asked, &upstream), (Plan::Rewrite, Settled::Unchanged));
        }
    }
}

#[test]
fn alias_of_a_home_does_not_reach_the_client_without_an_address() {
    let upstream = reply(ALICE).cname(ALICE, 600, HOME).soa("example.net").build();
    let reply = reduced(&mut table(), &query(ALICE, Rtype::A).build(), &upstream);
    assert_eq!(counts(&reply), (1, 0, 1, 0));
}

#[test]
fn types_that_lead_around_are_answered_without_data() {
    let types = [Rtype::AAAA, Rtype::HTTPS, Rtype::SVCB, Rtype::ANY, Rtype::A6, Rtype::CNAME];
    for qtype in types {
        let upstream = reply(ALICE).qtype(qtype).soa(HOME);
        let upstream = match qtype {
            Rtype::CNAME => upstream.cname(ALICE, 9, HOME).build(),
            _ => upstream.record(ALICE, 9, qtype, vec![0; 16]).build(),
        };
        let asked = query(ALICE, qtype).edns(1232, false).build();
        let reply = reduced(&mut table(), &asked, &upstream);
        assert_eq!(counts(&reply), (1, 0, 1, 0), "{qtype}");
        assert!(Message::from_slice(&reply).unwrap().no_error());
    }
    let gone = reply(ALICE).qtype(Rtype::AAAA).rcode(Rcode::NXDOMAIN).soa(HOME).build();
    let asked = query(ALICE, Rtype::AAAA).build();
    assert_eq!(run(&mut table(), &asked, &gone), (Plan::NoData, Settled::Unchanged));
}

#[test]
fn service_binding_of_a_port_counts_as_the_hosts() {
    let name = "_8443._https.alice.home.example.net";
    let upstream = reply(name).qtype(Rtype::HTTPS).record(name, 9, Rtype::HTTPS, vec![0; 16]).build();
    let reply = reduced(&mut table(), &query(name, Rtype::HTTPS).build(), &upstream);
    assert_eq!(counts(&reply), (1, 0, 0, 0));
}

#[test]
fn apex_of_a_home_and_other_types_pass() {
    let asked = query(HOME, Rtype::A).build();
    let upstream = reply(HOME).a(HOME, 9, G2).build();
    assert_eq!(run(&mut table(), &asked, &upstream), (Plan::Around, Settled::Unchanged));
    let asked = query(ALICE, Rtype::TXT).build();
    let upstream = reply(ALICE).qtype(Rtype::TXT).record(ALICE, 9, Rtype::TXT, vec![1, b'x']).build();
    assert_eq!(run(&mut table(), &asked, &upstream), (Plan::Plain, Settled::Unchanged));
}

#[test]
fn additional_addresses_near_a_home_are_cut() {
    let name = "_ssh._tcp.home.example.net";
    let srv = reply(name).qtype(Rtype::SRV).record(name, 9, Rtype::SRV, vec![0; 7]).glue(ALICE, G2).edns();
    let upstream = srv.build();
    let asked = query(name, Rtype::SRV).edns(1232, false).build();
    let reply = reduced(&mut table(), &asked, &upstream);
    assert_eq!(counts(&reply), (1, 1, 0, 1));
    assert!(Message::from_slice(&reply).unwrap().opt().is_some());
}

#[test]
fn n10_any_rewrites_until_the_router_is_known_to_be_plain() {
    let (mut table, name) = (table(), "www.example.org");
    let asked = query(name, Rtype::A).build();
    let upstream = reply(name).a(name, 9, G2).build();
    rewritten(&mut table, &asked, &upstream);
    table.plain.push(G2);
    assert_eq!(run(&mut table, &asked, &upstream), (Plan::Rewrite, Settled::Unchanged));
    let (asked, upstream) = (query(ALICE, Rtype::A).build(), reply(ALICE).a(ALICE, 9, G2).build());
    rewritten(&mut table, &asked, &upstream);
}

#[test]
fn any_hides_other_types_only_of_names_with_a_dialable_address() {
    let (mut table, name) = (table(), "www.example.org");
    let asked = query(name, Rtype::AAAA).build();
    let a_reply = reply(name).a(name, 9, G2).build();
    let (plan, settled) = run(&mut table, &asked, &a_reply);
    assert_eq!(plan, Plan::AskA);
    let Settled::Reduced(none) = settled else { panic!("{settled:?}") };
    assert_eq!(counts(&none), (1, 0, 0, 0));
    assert_eq!(Message::from_slice(&none).unwrap().sole_question().unwrap().qtype(), Rtype::AAAA);
    assert_eq!(run(&mut table, &asked, &reply(name).build()).1, Settled::Unchanged);
    table.plain.push(G2);
    assert_eq!(run(&mut table, &asked, &a_reply).1, Settled::Unchanged);
    let question = Question::parse(&asked).unwrap();
    let a = a_query(&question).unwrap();
    let a = Question::parse(&a).unwrap();
    assert_eq!((a.name(), a.qtype()), (Some(name), Rtype::A));
}

#[test]
fn inside_addresses_are_rewritten_for_a_home_only() {
    let inside = Ipv4Addr::new(192, 168, 1, 1);
    let other = "www.example.org";
    let (asked, upstream) = (query(other, Rtype::A).build(), reply(other).a(other, 9, inside).build());
    assert_eq!(run(&mut table(), &asked, &upstream).1, Settled::Unchanged);
    let (asked, upstream) = (query(ALICE, Rtype::A).build(), reply(ALICE).a(ALICE, 9, inside).build());
    rewritten(&mut table(), &asked, &upstream);
    for nobody in [[127, 0, 0, 1], [240, 0, 1, 1], [0, 0, 0, 0], [224, 0, 0, 1], [169, 254, 1, 1]] {
        let upstream = reply(ALICE).a(ALICE, 9, nobody.into()).build();
        assert_eq!(run(&mut table(), &asked, &upstream).1, Settled::Unchanged, "{nobody:?}");
    }
}

#[test]
fn full_table_is_a_failure_for_a_home_and_plain_dns_for_any() {
    let mut table = table();
    for n in 0..3 {
        let name = format!("host{n}.home.example.net");
        rewritten(&mut table, &query(&name, Rtype::A).build(), &reply(&name).a(&name, 9, G2).build());
    }
    let (asked, upstream) = (query(ALICE, Rtype::A).build(), reply(ALICE).a(ALICE, 9, G2).build());
    let (_, Settled::Refused(failure, full)) = run(&mut table, &asked, &upstream) else { panic!() };
    assert_eq!(Message::from_slice(&failure).unwrap().header().rcode(), Rcode::SERVFAIL);
    assert_eq!(full.name, ALICE);
    let other = "www.example.org";
    let (asked, upstream) = (query(other, Rtype::A).build(), reply(other).a(other, 9, G2).build());
    assert_eq!(run(&mut table, &asked, &upstream).1, Settled::Unchanged);
}

#[test]
fn reverse_names_of_virtual_addresses_are_answered_here() {
    let mut table = table();
    let (_, v, _) =
        rewritten(&mut table, &query(ALICE, Rtype::A).build(), &reply(ALICE).a(ALICE, 9, G2).build());
    let [a, b, c, d] = v.octets();
    let asked = query(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), Rtype::PTR).build();
    let question = Question::parse(&asked).unwrap();
    assert_eq!(plan(&question, &table.homes, table.prefix()), Plan::Reverse(v));
    let reply = reverse_reply(&question, table.name_of(v).as_deref());
    let message = Message::from_slice(&reply).unwrap();
    let ptr = message.answer().unwrap().limit_to_in::<Ptr<_>>().next().unwrap().unwrap();
    assert_eq!(ptr.data().to_string(), format!("{ALICE}."));
    let nobody = reverse_reply(&question, None);
    assert_eq!(Message::from_slice(&nobody).unwrap().header().rcode(), Rcode::NXDOMAIN);
    let other = query("1.2.0.192.in-addr.arpa", Rtype::PTR).build();
    assert_eq!(plan(&Question::parse(&other).unwrap(), &table.homes, table.prefix()), Plan::Pass);
}

#[test]
fn truncated_reply_has_the_question_and_nothing_else() {
    let upstream = reply(ALICE).a(ALICE, 9, G2).edns().build();
    let asked = query(ALICE, Rtype::A).edns(512, false).build();
    let short = truncated(&Question::parse(&asked).unwrap(), &upstream);
    assert_eq!(counts(&short), (1, 0, 0, 1));
    assert!(Message::from_slice(&short).unwrap().header().tc());
}

#[test]
fn names_without_homes_pass() {
    let asked = query(ALICE, Rtype::A).build();
    let upstream = reply(ALICE).a(ALICE, 9, G2).build();
    assert_eq!(run(&mut table_of(&[]), &asked, &upstream), (Plan::Pass, Settled::Unchanged));
}

fn every_plan(asked: &[u8], upstream: &[u8]) {
    let Ok(question) = Question::parse(asked) else {
        let _ = format_error(asked);
        return;
    };
    let plans = [Plan::Pass, Plan::Rewrite, Plan::NoData, Plan::AskA, Plan::Plain, Plan::Around];
    for plan in plans {
        match settle(&question, plan, upstream, &mut table(), Instant::now()) {
            Settled::Rewritten { reply, .. } | Settled::Refused(reply, _) | Settled::Malformed(reply) => {
                assert!(reply.len() <= 1232);
                assert!(is_reply_to(asked, &reply), "{reply:02x?}");
            }
            Settled::Reduced(reply) => assert!(reply.len() <= upstream.len().max(1232)),
            Settled::Unchanged => {}
        }
    }
    assert!(truncated(&question, upstream).len() <= 1232);
    let _ = (is_reply_to(asked, upstream), a_query(&question));
}

fn samples() -> Vec<Vec<u8>> {
    let full = reply(ALICE).cname(ALICE, 9, HOME).a(HOME, 9, G2).soa(HOME).glue(HOME, G2).edns();
    vec![
        query(ALICE, Rtype::A).edns(1232, true).build(),
        query("www.example.org", Rtype::HTTPS).build(),
        full.clone().build(),
        full.qtype(Rtype::TXT).build(),
    ]
}

proptest! {
    #[test]
    fn random_packets_never_panic(
        asked in prop::collection::vec(any::<u8>(), 0..200),
        upstream in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        every_plan(&asked, &upstream);
    }

    #[test]
    fn mutated_packets_never_panic(
        asked in prop::sample::select(samples()),
        upstream in prop::sample::select(samples()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<bool>()), 0..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut asked, mut upstream) = (asked, upstream);
        for (index, value, first) in changes {
            let packet = if first { &mut asked } else { &mut upstream };
            let place = index.index(packet.len());
            packet[place] = value;
        }
        if let Some(cut) = cut {
            upstream.truncate(cut.index(upstream.len()));
        }
        every_plan(&asked, &upstream);
    }
}
