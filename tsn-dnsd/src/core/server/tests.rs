use std::{str::FromStr as _, time::Duration};

use domain::{
    base::{Ttl, opt::AllOptData},
    rdata::A,
};
use proptest::prelude::*;

use super::{
    super::{announced::Domains, cache::CacheLimits, question::tests::Query},
    *,
};
use crate::zone::tests::{NOW, key, sign};

const CLIENT: Client = Client { address: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7)), over_udp: true };
const STRANGER: Client = Client { address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7)), over_udp: true };
const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const WWW: Query = Query("www.example.net", Rtype::A);
const ALICE: Query = Query("Alice.home.example.net", Rtype::A);

fn settings() -> Settings {
    Settings {
        allow: vec!["192.168.0.0/16".parse().unwrap()],
        rate: Some(1000),
        cache: CacheLimits { entries: 100, bytes: 100_000, stale: 100 },
        lifetimes: Lifetimes { min: 0, max: 86_400, negative_max: 3_600 },
        announced: Domains::new(["home.example.net"]),
        announce_ttl: 2,
        forwards: true,
        query_log: false,
    }
}

/// The answer with one address.
pub(crate) fn address_answer(query: &Query, ttl: u32) -> Answer {
    let packet = query.plain();
    let question = Question::parse(&packet).unwrap();
    let mut builder = MessageBuilder::new_vec().question();
    let name = Name::<Vec<u8>>::from_str(&query.0.to_lowercase()).unwrap();
    builder.push((&name, Rtype::A)).unwrap();
    let mut builder = builder.answer();
    builder.push((&name, Ttl::from_secs(ttl), A::new(ADDRESS))).unwrap();
    Answer::new(question.key(), &builder.finish(), ttl).unwrap()
}

/// Own records: name, type, value.
pub(crate) fn zones(records: &[(&str, &str, &str)]) -> Zones {
    let records = records.iter().map(|(name, rtype, value)| zone::RecordSetting {
        name: (*name).into(),
        rtype: (*rtype).into(),
        value: (*value).into(),
        ttl: None,
    });
    Zones::new(&zone::Config { records: records.collect(), ..zone::Config::default() }, 1).unwrap()
}

struct Bench {
    server: Server,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        let now = Instant::now();
        Self { server: Server::new(now, settings, Zones::default(), RandomState::new()), now }
    }

    fn ask(&mut self, client: Client, packet: &[u8]) -> (Handled, Vec<u8>) {
        let mut out = Vec::new();
        let handled = self.server.handle_packet(self.now, client, packet, &mut out);
        (handled, out)
    }

    fn reply(&mut self, packet: &[u8]) -> Message<Vec<u8>> {
        let (handled, out) = self.ask(CLIENT, packet);
        assert!(matches!(handled, Handled::Replied), "{handled:?}");
        Message::from_octets(out).unwrap()
    }

    fn learn(&mut self, query: &Query, ttl: u32) {
        self.server.handle_answer(self.now, address_answer(query, ttl));
    }

    fn counter(&self, name: &str) -> u64 {
        self.server.counters().iter().find(|(counter, _)| *counter == name).unwrap().1
    }
}

fn extended_error(message: &Message<Vec<u8>>) -> Option<u16> {
    let opt = message.opt()?;
    let mut options = opt.opt().iter::<AllOptData<_, _>>();
    options.find_map(|option| match option.unwrap() {
        AllOptData::ExtendedError(error) => Some(error.code().to_int()),
        _ => None,
    })
}

fn ttl(message: &Message<Vec<u8>>) -> u32 {
    message.answer().unwrap().next().unwrap().unwrap().ttl().as_secs()
}

#[test]
fn t3_what_is_not_known_is_asked_and_then_known() {
    let mut bench = Bench::new();
    let (handled, out) = bench.ask(CLIENT, &WWW.plain());
    let Handled::Ask(key) = handled else { panic!("{handled:?}") };
    assert!(out.is_empty() && key.to_string() == "www.example.net");
    bench.learn(&WWW, 300);
    bench.now += Duration::from_secs(100);
    assert_eq!(ttl(&bench.reply(&Query("WWW.example.net", Rtype::A).plain())), 200);
    assert_eq!((bench.counter("queries_udp"), bench.counter("answered_cache")), (2, 1));
}

#[test]
fn strangers_are_refused_before_anything_else() {
    let mut bench = Bench::new();
    bench.learn(&ALICE, 300);
    for query in [&WWW, &ALICE] {
        let (handled, out) = bench.ask(STRANGER, &query.edns(1232, false));
        assert!(matches!(handled, Handled::Replied));
        assert_eq!(Message::from_octets(out.clone()).unwrap().header().rcode(), Rcode::REFUSED);
        assert!(out.len() <= query.plain().len());
    }
    let noise = bench.ask(STRANGER, &[7; 30]);
    assert!(matches!(noise.0, Handled::Silent) && noise.1.is_empty());
    let answers = (0..500).filter(|_| !bench.ask(STRANGER, &WWW.plain()).1.is_empty()).count();
    assert!(answers <= 200, "{answers}");
    assert_eq!(bench.counter("queries_udp"), 0);
}

#[test]
fn clients_that_ask_too_often_are_dropped() {
    let mut bench = Bench::with(Settings { rate: Some(5), ..settings() });
    bench.learn(&WWW, 300);
    let answers = (0..100).filter(|_| !bench.ask(CLIENT, &WWW.plain()).1.is_empty()).count();
    assert_eq!((answers, bench.counter("rate_limited")), (10, 90));
}

#[test]
fn what_is_stale_serves_when_nobody_answers() {
    let mut bench = Bench::new();
    bench.learn(&WWW, 10);
    bench.now += Duration::from_secs(20);
    let packet = WWW.edns(1232, false);
    let (handled, _) = bench.ask(CLIENT, &packet);
    let Handled::Ask(key) = handled else { panic!("{handled:?}") };
    assert!(bench.server.has_stale(bench.now, &key));
    bench.server.handle_failure(bench.now, &key, extended::NETWORK_ERROR);
    let mut out = Vec::new();
    bench.server.handle_unanswered(bench.now, CLIENT, &packet, extended::NETWORK_ERROR, &mut out);
    let reply = Message::from_octets(out).unwrap();
    assert_eq!(
        (reply.header().rcode(), extended_error(&reply)),
        (Rcode::NOERROR, Some(extended::STALE_ANSWER))
    );
    assert_eq!(ttl(&reply), 10);
    // For a while it serves without asking.
    assert_eq!(extended_error(&bench.reply(&packet)), Some(extended::STALE_ANSWER));
    bench.now += Duration::from_secs(40);
    assert!(matches!(bench.ask(CLIENT, &packet).0, Handled::Ask(_)));
}

#[test]
fn a_failure_is_told_with_its_reason_and_remembered_for_a_moment() {
    let mut bench = Bench::new();
    let packet = WWW.edns(1232, false);
    let Handled::Ask(key) = bench.ask(CLIENT, &packet).0 else { panic!() };
    bench.server.handle_failure(bench.now, &key, extended::NO_REACHABLE_AUTHORITY);
    let reply = bench.reply(&packet);
    assert_eq!(reply.header().rcode(), Rcode::SERVFAIL);
    assert_eq!(extended_error(&reply), Some(extended::NO_REACHABLE_AUTHORITY));
    // It never counts as something stale: each try asks again.
    for _ in 0..3 {
        bench.now += Duration::from_secs(2);
        assert!(matches!(bench.ask(CLIENT, &packet).0, Handled::Ask(_)));
        assert!(!bench.server.has_stale(bench.now, &key));
        bench.server.handle_failure(bench.now, &key, extended::NO_REACHABLE_AUTHORITY);
    }
}

#[test]
fn questions_that_nobody_else_is_to_answer_end_here() {
    let mut bench = Bench::new();
    for (query, rcode) in [
        (Query("example.net", Rtype::ANY), Rcode::NOERROR),
        (Query("example.net", Rtype::AXFR), Rcode::REFUSED),
        (Query("example.net", Rtype::IXFR), Rcode::REFUSED),
        (Query("example.net", Rtype::TKEY), Rcode::REFUSED),
        (Query("example.net", Rtype::OPT), Rcode::REFUSED),
    ] {
        assert_eq!(bench.reply(&query.plain()).header().rcode(), rcode, "{}", query.1);
    }
    let mut chaos = Query("version.bind", Rtype::TXT).plain();
    let end = chaos.len();
    chaos[end - 1] = 3;
    assert_eq!(bench.reply(&chaos).header().rcode(), Rcode::REFUSED);
    assert_eq!(bench.counter("answered_here"), 6);
}

#[test]
fn broken_and_strange_packets_are_told_apart() {
    let mut bench = Bench::new();
    let good = WWW.plain();
    assert_eq!(bench.reply(&good[..20]).header().rcode(), Rcode::FORMERR);
    let mut no_question = good[..12].to_vec();
    no_question[5] = 0;
    assert_eq!(bench.reply(&no_question).header().rcode(), Rcode::FORMERR);
    let mut notify = good.clone();
    notify[2] |= 4 << 3;
    assert_eq!(bench.reply(&notify).header().rcode(), Rcode::NOTIMP);
    let mut answer = good.clone();
    answer[2] |= 0x80;
    assert!(matches!(bench.ask(CLIENT, &answer).0, Handled::Silent));
    let mut update = good.clone();
    update[2] |= 5 << 3;
    assert!(matches!(bench.ask(CLIENT, &update).0, Handled::Update));
    let counted =
        ["format_errors", "not_implemented", "not_a_query", "queries_update"].map(|name| bench.counter(name));
    assert_eq!(counted, [2, 1, 1, 1]);
}

#[test]
fn who_wants_no_recursion_gets_only_what_is_known() {
    let mut bench = Bench::new();
    let mut packet = WWW.edns(1232, false);
    packet[2] &= !1;
    let reply = bench.reply(&packet);
    assert_eq!(
        (reply.header().rcode(), extended_error(&reply)),
        (Rcode::REFUSED, Some(extended::NOT_AUTHORITATIVE))
    );
    bench.learn(&WWW, 300);
    assert_eq!(bench.reply(&packet).header_counts().ancount(), 1);
}

#[test]
fn t4_an_announced_address_is_held_until_its_router_was_told() {
    let mut bench = Bench::new();
    bench.learn(&ALICE, 300);
    let packet = ALICE.edns(1232, false);
    let (handled, out) = bench.ask(CLIENT, &packet);
    let Handled::Announce(held) = handled else { panic!("{handled:?}") };
    assert!(out.is_empty());
    let announcement = &held.announcement;
    assert_eq!(announcement.name.as_deref(), Some("alice.home.example.net"));
    assert_eq!((announcement.client, announcement.id), (CLIENT.address, 0x1234));
    assert_eq!(announcement.addresses, [ADDRESS]);
    let mut out = Vec::new();
    bench.server.handle_verdict(&held, &Verdict::Send(vec![ADDRESS]), || NOW, &mut out);
    let reply = Message::from_octets(out).unwrap();
    assert_eq!(
        (ttl(&reply), reply.opt().unwrap().rcode(reply.header())),
        (2, domain::base::iana::OptRcode::NOERROR)
    );
    assert_eq!(bench.counter("announced"), 1);
}

/// Octets of the signature that a reply ends with.
fn signature_length(reply: Vec<u8>) -> Option<usize> {
    let reply = Message::from_octets(reply).unwrap();
    let signature = reply.get_last_additional::<domain::rdata::Tsig<_, _>>()?;
    Some(signature.data().mac_slice().len())
}

#[test]
fn rfc8945_5_3_a_signed_question_for_an_announced_name_gets_a_signed_answer() {
    let mut bench = Bench::new();
    let keys = vec![key("alice", "hmac-sha256")];
    *bench.server.zones() = Zones::new(&zone::Config { keys, ..zone::Config::default() }, NOW).unwrap();
    bench.learn(&ALICE, 300);
    for verdict in [Verdict::Send(vec![ADDRESS]), Verdict::Refuse(22, "no daemon".to_owned())] {
        let (handled, mut out) = bench.ask(CLIENT, &sign(ALICE.edns(1232, false), "alice", NOW, &[], 32));
        let Handled::Announce(held) = handled else { panic!("{handled:?}") };
        bench.server.handle_verdict(&held, &verdict, || NOW, &mut out);
        assert_eq!(signature_length(out), Some(32), "{verdict:?}");
    }
}

#[test]
fn t6_a_refused_client_gets_no_address_but_the_reason() {
    let mut bench = Bench::new();
    bench.learn(&ALICE, 300);
    let Handled::Announce(held) = bench.ask(CLIENT, &ALICE.edns(1232, false)).0 else { panic!() };
    for verdict in [Verdict::Refuse(18, "denied".into()), Verdict::Send(Vec::new())] {
        let mut out = Vec::new();
        bench.server.handle_verdict(&held, &verdict, || NOW, &mut out);
        let reply = Message::from_octets(out).unwrap();
        assert_eq!((reply.header().rcode(), reply.header_counts().ancount()), (Rcode::NOERROR, 0));
        assert_eq!(extended_error(&reply), Some(18));
        let soa = reply.authority().unwrap().next().unwrap().unwrap();
        assert_eq!((soa.owner().to_string().as_str(), soa.ttl().as_secs()), ("home.example.net", 5));
    }
    assert_eq!(bench.counter("announce_refused"), 2);
}

#[test]
fn only_the_addresses_whose_routers_agree_are_sent() {
    let mut bench = Bench::new();
    bench.learn(&ALICE, 300);
    let Handled::Announce(mut held) = bench.ask(CLIENT, &ALICE.plain()).0 else { panic!() };
    held.announcement.addresses.push(Ipv4Addr::new(198, 51, 100, 2));
    let mut out = Vec::new();
    bench.server.handle_verdict(&held, &Verdict::Send(vec![ADDRESS]), || NOW, &mut out);
    let reply = Message::from_octets(out).unwrap();
    let records: Vec<_> = reply.answer().unwrap().limit_to::<A>().map(Result::unwrap).collect();
    assert_eq!((records.len(), records[0].data().addr(), records[0].ttl().as_secs()), (1, ADDRESS, 2));
}

#[test]
fn t6_ordinary_names_wait_for_no_router() {
    let mut bench = Bench::new();
    bench.learn(&WWW, 300);
    assert_eq!(ttl(&bench.reply(&WWW.plain())), 300);
}

#[test]
fn what_leads_around_an_announcement_is_empty() {
    let mut bench = Bench::new();
    for qtype in [Rtype::AAAA, Rtype::HTTPS, Rtype::SVCB] {
        let reply = bench.reply(&Query("alice.home.example.net", qtype).plain());
        assert_eq!((reply.header().rcode(), reply.header_counts().ancount()), (Rcode::NOERROR, 0));
        assert_eq!(reply.header_counts().nscount(), 1);
    }
    assert_eq!(bench.counter("announce_emptied"), 3);
    assert!(matches!(
        bench.ask(CLIENT, &Query("alice.home.example.net", Rtype::MX).plain()).0,
        Handled::Ask(_)
    ));
}

#[test]
fn reload_keeps_the_cache() {
    let mut bench = Bench::new();
    bench.learn(&WWW, 300);
    let wider = Settings { allow: vec!["203.0.113.0/24".parse().unwrap()], ..settings() };
    bench.server.handle_settings(bench.now, wider, Zones::default());
    let (_, out) = bench.ask(STRANGER, &WWW.plain());
    assert_eq!(Message::from_octets(out).unwrap().header_counts().ancount(), 1);
    assert_eq!(bench.server.cache().flush(), 1);
}

#[test]
fn too_many_questions_are_told_so() {
    let bench = Bench::new();
    let mut out = Vec::new();
    bench.server.handle_too_many(CLIENT, &WWW.edns(1232, false), &mut out);
    let reply = Message::from_octets(out).unwrap();
    assert_eq!(
        (reply.header().rcode(), extended_error(&reply)),
        (Rcode::SERVFAIL, Some(extended::NOT_READY))
    );
}

#[test]
fn too_many_updates_are_told_so() {
    let bench = Bench::new();
    let mut update = WWW.plain();
    update[2] = 5 << 3;
    let mut out = Vec::new();
    bench.server.handle_too_many(CLIENT, &update, &mut out);
    assert_eq!(out, [update[0], update[1], 0x80 | 5 << 3, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.counter("too_many"), 1);
}

#[test]
fn own_names_are_answered_before_all_others() {
    let mut bench = Bench::new();
    bench.learn(&WWW, 300);
    let own = [("www.example.net", "A", "192.0.2.9"), ("alias.lab", "CNAME", "alice.home.example.net")];
    bench.server.handle_settings(bench.now, settings(), zones(&own));
    let reply = bench.reply(&WWW.plain());
    let record = reply.answer().unwrap().limit_to::<A>().next().unwrap().unwrap();
    assert_eq!(record.data().addr(), Ipv4Addr::new(192, 0, 2, 9));
    assert_eq!(bench.counter("answered_own"), 1);
}

#[test]
fn t4_an_alias_of_an_announced_name_is_announced_as_that_name() {
    let mut bench = Bench::new();
    let own = [("alias.lab", "CNAME", "alice.home.example.net")];
    bench.server.handle_settings(bench.now, settings(), zones(&own));
    let packet = Query("alias.lab", Rtype::A).plain();
    let Handled::Ask(key) = bench.ask(CLIENT, &packet).0 else { panic!() };
    assert_eq!(key.to_string(), "alice.home.example.net");
    let answer = address_answer(&ALICE, 300);
    let mut out = Vec::new();
    let handled = bench.server.handle_answered(CLIENT, &packet, &answer, &mut out);
    let Handled::Announce(held) = handled else { panic!("{handled:?}") };
    assert_eq!(held.announcement.name.as_deref(), Some("alice.home.example.net"));
    bench.server.handle_answer(bench.now, answer);
    assert!(matches!(bench.ask(CLIENT, &packet).0, Handled::Announce(_)));
    let mut out = Vec::new();
    bench.server.handle_verdict(&held, &Verdict::Send(vec![ADDRESS]), || NOW, &mut out);
    let reply = Message::from_octets(out).unwrap();
    let names: Vec<_> = reply.answer().unwrap().map(|record| record.unwrap().owner().to_string()).collect();
    assert_eq!(names, ["alias.lab", "alice.home.example.net"]);
}

#[test]
fn an_own_alias_fails_with_the_name_that_it_leads_to() {
    let mut bench = Bench::new();
    bench.server.handle_settings(bench.now, settings(), zones(&[("alias.lab", "CNAME", "www.example.net")]));
    let packet = Query("alias.lab", Rtype::A).edns(1232, false);
    let Handled::Ask(key) = bench.ask(CLIENT, &packet).0 else { panic!() };
    bench.server.handle_failure(bench.now, &key, 22);
    let mut out = Vec::new();
    bench.server.handle_unanswered(bench.now, CLIENT, &packet, 22, &mut out);
    assert_eq!(Message::from_octets(out).unwrap().header().rcode(), Rcode::SERVFAIL);
}

#[test]
fn an_own_alias_that_changes_while_others_are_asked_breaks_no_reply() {
    let packet = Query("alias.lab", Rtype::A).plain();
    let answer = address_answer(&Query("www.example.net", Rtype::A), 300);
    for after in [vec![], vec![("alias.lab", "CNAME", "ftp.example.net")]] {
        let mut bench = Bench::new();
        let before = zones(&[("alias.lab", "CNAME", "www.example.net")]);
        bench.server.handle_settings(bench.now, settings(), before);
        assert!(matches!(bench.ask(CLIENT, &packet).0, Handled::Ask(_)));
        bench.server.handle_settings(bench.now, settings(), zones(&after));
        let mut out = Vec::new();
        bench.server.handle_answered(CLIENT, &packet, &answer, &mut out);
        let reply = Message::from_octets(out).unwrap();
        assert_eq!(reply.sole_question().unwrap().qname().to_string(), "alias.lab");
        assert_eq!((reply.header().rcode(), reply.header_counts().ancount()), (Rcode::SERVFAIL, 0));
    }
}

#[test]
fn any_does_not_lead_around_an_announcement() {
    let mut bench = Bench::new();
    let own = [("alice.home.example.net", "A", "198.51.100.1"), ("host.lab", "A", "192.0.2.1")];
    bench.server.handle_settings(bench.now, settings(), zones(&own));
    let first = |reply: &Message<Vec<u8>>| reply.answer().unwrap().next().unwrap().unwrap().rtype();
    let reply = bench.reply(&Query("alice.home.example.net", Rtype::ANY).plain());
    assert_eq!(first(&reply), Rtype::HINFO);
    let reply = bench.reply(&Query("host.lab", Rtype::ANY).plain());
    assert_eq!(first(&reply), Rtype::A);
}

proptest! {
    #[test]
    fn a_reply_is_always_a_message_to_its_asker(
        bytes in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..60, keep_header: bool,
    ) {
        let mut bench = Bench::with(Settings { rate: None, ..settings() });
        bench.learn(&WWW, 300);
        let mut packet = WWW.edns(1232, true);
        if keep_header {
            packet.truncate(at.max(12));
            packet.extend(&bytes);
        } else {
            packet = bytes;
        }
        let (handled, out) = bench.ask(CLIENT, &packet);
        match handled {
            Handled::Replied => {
                let reply = Message::from_octets(out.clone()).unwrap();
                prop_assert_eq!(reply.header().id().to_be_bytes(), [packet[0], packet[1]]);
                prop_assert!(reply.header().qr() && out.len() <= 1232);
                prop_assert!(reply.sections().is_ok());
            }
            _ => prop_assert!(out.is_empty()),
        }
    }
}
