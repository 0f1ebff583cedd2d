//! The proxy on loopback: a client, the proxy, and a scripted upstream server.
//!
//! ```text
//!   client ── UDP/TCP ──▶ DnsProxy (127.0.0.1:a) ── UDP/TCP ──▶ script (127.0.0.1:b)
//! ```

use std::{future::Future, rc::Rc};

use domain::base::{Message, iana::Rtype};
use smol::{future::FutureExt, io::AsyncReadExt};

use super::*;
use crate::{
    dns::tests::{ALICE, G2, Table, counts, only_a, query, reply, table},
    virtual_address::VirtualPrefix,
};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

type Script = Rc<dyn Fn(&[u8], Transport) -> Option<Vec<u8>>>;

/// An upstream server that says what the script says, with the id of the query.
struct Server {
    udp: Async<UdpSocket>,
    tcp: Async<TcpListener>,
    script: Script,
}

impl Server {
    fn new(script: impl Fn(&[u8], Transport) -> Option<Vec<u8>> + 'static) -> Self {
        let tcp = Async::<TcpListener>::bind(LOOPBACK).unwrap();
        let udp = Async::<UdpSocket>::bind(tcp.get_ref().local_addr().unwrap()).unwrap();
        Self { udp, tcp, script: Rc::new(script) }
    }

    fn address(&self) -> SocketAddr {
        self.udp.get_ref().local_addr().unwrap()
    }

    fn say(&self, asked: &[u8], over: Transport) -> Option<Vec<u8>> {
        let mut said = (self.script)(asked, over)?;
        said[..2].copy_from_slice(&asked[..2]);
        Some(said)
    }

    async fn run(&self) {
        let udp = async {
            let mut buffer = [0; 4096];
            loop {
                let (length, client) = self.udp.recv_from(&mut buffer).await.unwrap();
                if let Some(said) = self.say(&buffer[..length], Transport::Udp) {
                    self.udp.send_to(&said, client).await.unwrap();
                }
            }
        };
        let tcp = async {
            loop {
                let (mut stream, _) = self.tcp.accept().await.unwrap();
                let asked = read_message(&mut stream).await.unwrap();
                if let Some(said) = self.say(&asked, Transport::Tcp) {
                    write_message(&mut stream, &said).await.unwrap();
                }
            }
        };
        udp.or(tcp).await
    }
}

/// Runs `client` with a proxy in front of `servers`.
fn with_proxy<F: Future<Output = ()>>(
    servers: &[&Server],
    change: impl FnOnce(&mut ProxySettings, &mut Table),
    client: impl FnOnce(Rc<DnsProxy>, Rc<RefCell<Table>>) -> F,
) {
    let (mut settings, mut table) = (ProxySettings::local(LOOPBACK), table());
    change(&mut settings, &mut table);
    let names = Rc::new(RefCell::new(table));
    let addresses: Vec<_> = servers.iter().map(|server| server.address()).collect();
    let upstreams = Rc::new(Upstreams::new(&addresses));
    let proxy = Rc::new(DnsProxy::bind(settings, names.clone(), upstreams).unwrap());
    let running: Vec<_> = servers.iter().map(|server| Box::pin(server.run())).collect();
    smol::block_on(async {
        let all = LocalExecutor::new();
        running.into_iter().for_each(|server| all.spawn(server).detach());
        let work = client(proxy.clone(), names).or(proxy.run());
        all.run(work.or(async {
            Timer::after(Duration::from_secs(20)).await;
            panic!("the test hangs");
        }))
        .await;
    });
}

async fn ask_udp(proxy: &DnsProxy, packet: &[u8]) -> Option<Vec<u8>> {
    let socket = Async::<UdpSocket>::bind(LOOPBACK).unwrap();
    socket.send_to(packet, proxy.address().unwrap()).await.unwrap();
    let mut buffer = vec![0; 65_535];
    let length = within(Duration::from_secs(6), socket.recv(&mut buffer)).await.ok()?;
    buffer.truncate(length);
    Some(buffer)
}

async fn ask_tcp(proxy: &DnsProxy, packet: &[u8]) -> Vec<u8> {
    let mut stream = Async::<TcpStream>::connect(proxy.address().unwrap()).await.unwrap();
    write_message(&mut stream, packet).await.unwrap();
    read_message(&mut stream).await.unwrap()
}

/// Answers for every name with G2 over UDP.
fn home_server() -> Server {
    Server::new(|asked, _| {
        let question = Question::parse(asked).unwrap();
        let name = question.name().unwrap();
        let answer = reply(name).qtype(question.qtype());
        Some(if question.qtype() == Rtype::A { answer.a(name, 300, G2) } else { answer }.build())
    })
}

fn rcode(packet: &[u8]) -> u8 {
    packet[3] & 15
}

#[test]
fn n2_name_of_a_home_is_answered_with_a_virtual_address_over_udp_and_tcp() {
    with_proxy(
        &[&home_server()],
        |_, _| (),
        async |proxy, _| {
            let asked = query(ALICE, Rtype::A).build();
            let over_udp = ask_udp(&proxy, &asked).await.unwrap();
            let over_tcp = ask_tcp(&proxy, &asked).await;
            assert!(VirtualPrefix::DEFAULT.contains(only_a(&over_udp).2));
            assert_eq!(only_a(&over_udp), only_a(&over_tcp));
            assert_eq!(over_udp[..2], asked[..2]);
            assert_eq!(proxy.counters().rewritten.value(), 2);
            let counters: std::collections::BTreeMap<_, _> = proxy.counters().iter().collect();
            assert_eq!((counters["queries_udp"], counters["queries_tcp"]), (1, 1));
        },
    );
}

#[test]
fn other_names_pass_bit_by_bit() {
    let apex = || reply("home.example.net").a("home.example.net", 86_400, G2).edns().build();
    with_proxy(
        &[&Server::new(move |_, _| Some(apex()))],
        |_, _| (),
        async move |proxy, _| {
            let asked = query("home.example.net", Rtype::A).edns(1232, true).build();
            assert_eq!(ask_udp(&proxy, &asked).await.unwrap(), apex());
            assert_eq!(ask_tcp(&proxy, &asked).await, apex());
        },
    );
}

#[test]
fn n10_other_types_of_any_name_wait_for_its_address() {
    with_proxy(
        &[&home_server()],
        |_, _| (),
        async |proxy, names| {
            let asked = query("www.example.org", Rtype::AAAA).build();
            assert_eq!(counts(&ask_udp(&proxy, &asked).await.unwrap()), (1, 0, 0, 0));
            assert_eq!(proxy.counters().reduced.value(), 1);
            names.borrow_mut().plain.push(G2);
            ask_udp(&proxy, &asked).await.unwrap();
            assert_eq!((proxy.counters().reduced.value(), proxy.counters().passed.value()), (1, 1));
        },
    );
}

#[test]
fn silent_server_is_passed_over_and_the_next_one_remembered() {
    let (silent, good) = (Server::new(|_, _| None), home_server());
    with_proxy(
        &[&silent, &good],
        |_, _| (),
        async |proxy, _| {
            let asked = query(ALICE, Rtype::A).build();
            let start = Instant::now();
            only_a(&ask_udp(&proxy, &asked).await.unwrap());
            assert!(start.elapsed() >= Duration::from_secs(1));
            let start = Instant::now();
            only_a(&ask_udp(&proxy, &asked).await.unwrap());
            assert!(start.elapsed() < Duration::from_millis(500), "the working server is asked first now");
        },
    );
}

#[test]
fn failing_server_is_passed_over_at_once() {
    let refusing = Server::new(|_, _| {
        let mut refused = reply(ALICE).build();
        refused[3] |= 5;
        Some(refused)
    });
    with_proxy(
        &[&refusing, &home_server()],
        |_, _| (),
        async |proxy, _| {
            let start = Instant::now();
            only_a(&ask_udp(&proxy, &query(ALICE, Rtype::A).build()).await.unwrap());
            assert!(start.elapsed() < Duration::from_millis(500));
        },
    );
    with_proxy(
        &[&refusing],
        |_, _| (),
        async |proxy, _| {
            assert_eq!(rcode(&ask_udp(&proxy, &query(ALICE, Rtype::A).build()).await.unwrap()), 5);
        },
    );
}

#[test]
fn server_failure_is_said_when_nobody_answers() {
    with_proxy(
        &[],
        |_, _| (),
        async |proxy, _| {
            let failure = ask_udp(&proxy, &query(ALICE, Rtype::A).build()).await.unwrap();
            assert_eq!((rcode(&failure), counts(&failure)), (2, (1, 0, 0, 0)));
            assert_eq!(proxy.counters().upstream_failed.value(), 1);
        },
    );
}

#[test]
fn reply_to_another_question_is_not_taken() {
    let sent = Rc::new(Cell::new(0));
    let seen = sent.clone();
    let forger = Server::new(move |_, _| {
        seen.set(seen.get() + 1);
        Some(reply("bob.home.example.net").a("bob.home.example.net", 9, G2).build())
    });
    with_proxy(
        &[&forger],
        |_, _| (),
        async |proxy, _| {
            let failure = ask_udp(&proxy, &query(ALICE, Rtype::A).build()).await.unwrap();
            assert_eq!(rcode(&failure), 2);
        },
    );
    assert_eq!(sent.get(), 2);
}

#[test]
fn truncated_answer_is_fetched_by_tcp_and_rewritten() {
    let server = Server::new(|_, over| {
        let mut said = reply(ALICE);
        if over == Transport::Tcp {
            said = said.a(ALICE, 9, G2);
        }
        let mut said = said.build();
        said[2] |= if over == Transport::Udp { 2 } else { 0 };
        Some(said)
    });
    with_proxy(
        &[&server],
        |_, _| (),
        async |proxy, _| {
            let reply = ask_udp(&proxy, &query(ALICE, Rtype::A).build()).await.unwrap();
            assert!(VirtualPrefix::DEFAULT.contains(only_a(&reply).2));
            assert!(!Message::from_slice(&reply).unwrap().header().tc());
        },
    );
}

#[test]
fn reply_that_does_not_fit_the_datagram_is_truncated() {
    let long = Server::new(|_, _| {
        let mut said = reply("home.example.net");
        for n in 1..100 {
            said = said.a("home.example.net", 9, Ipv4Addr::new(203, 0, 113, n));
        }
        Some(said.build())
    });
    with_proxy(
        &[&long],
        |_, _| (),
        async |proxy, _| {
            let asked = query("home.example.net", Rtype::A).build();
            let short = ask_udp(&proxy, &asked).await.unwrap();
            assert!(short.len() <= 512 && Message::from_slice(&short).unwrap().header().tc());
            assert_eq!(counts(&ask_tcp(&proxy, &asked).await).1, 99);
            let large = query("home.example.net", Rtype::A).edns(4096, false).build();
            assert_eq!(counts(&ask_udp(&proxy, &large).await.unwrap()).1, 99);
            assert_eq!(proxy.counters().truncated.value(), 1);
        },
    );
}

#[test]
fn clients_of_other_networks_are_not_heard() {
    let change = |settings: &mut ProxySettings, _: &mut Table| {
        settings.allowed = vec![(Ipv4Addr::new(192, 168, 0, 0).into(), 16)];
    };
    with_proxy(&[&home_server()], change, async |proxy, _| {
        let socket = Async::<UdpSocket>::bind(LOOPBACK).unwrap();
        let asked = query(ALICE, Rtype::A).build();
        socket.send_to(&asked, proxy.address().unwrap()).await.unwrap();
        let mut stream = Async::<TcpStream>::connect(proxy.address().unwrap()).await.unwrap();
        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 0);
        assert_eq!(proxy.counters().client_refused.value(), 2);
        assert_eq!(proxy.counters().queries_udp.value(), 0);
    });
}

#[test]
fn garbage_is_counted_and_answered_only_where_it_is_a_query() {
    with_proxy(
        &[&home_server()],
        |_, _| (),
        async |proxy, _| {
            let asked = query(ALICE, Rtype::A).build();
            let error = ask_udp(&proxy, &asked[..20]).await.unwrap();
            assert_eq!((error.len(), rcode(&error)), (12, 1));
            let socket = Async::<UdpSocket>::bind(LOOPBACK).unwrap();
            socket.send_to(b"short", proxy.address().unwrap()).await.unwrap();
            socket.send_to(&reply(ALICE).build(), proxy.address().unwrap()).await.unwrap();
            only_a(&ask_udp(&proxy, &asked).await.unwrap());
            assert_eq!(
                (proxy.counters().format_errors.value(), proxy.counters().not_a_query.value()),
                (1, 2)
            );
        },
    );
}

#[test]
fn queries_and_connections_are_bounded() {
    let change = |settings: &mut ProxySettings, _: &mut Table| {
        settings.queries = 3;
        settings.connections = 2;
        settings.idle = Duration::from_millis(300);
    };
    with_proxy(&[&Server::new(|_, _| None)], change, async |proxy, _| {
        let (asked, address) = (query(ALICE, Rtype::A).build(), proxy.address().unwrap());
        let socket = Async::<UdpSocket>::bind(LOOPBACK).unwrap();
        for _ in 0..5 {
            socket.send_to(&asked, address).await.unwrap();
        }
        let mut streams = Vec::new();
        for _ in 0..4 {
            streams.push(Async::<TcpStream>::connect(address).await.unwrap());
        }
        for stream in &mut streams {
            assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "idle and surplus ones are closed");
        }
        assert_eq!(proxy.counters().queries_too_many.value(), 2);
        assert_eq!(proxy.counters().connections_too_many.value(), 2);
    });
}

#[test]
fn one_connection_carries_many_queries() {
    with_proxy(
        &[&home_server()],
        |_, _| (),
        async |proxy, _| {
            let mut stream = Async::<TcpStream>::connect(proxy.address().unwrap()).await.unwrap();
            for name in [ALICE, "bob.home.example.net", ALICE] {
                write_message(&mut stream, &query(name, Rtype::A).build()).await.unwrap();
                assert_eq!(only_a(&read_message(&mut stream).await.unwrap()).0, name);
            }
        },
    );
}

#[test]
fn addresses_are_found_past_the_rewriting() {
    let server = home_server();
    with_proxy(
        &[&server],
        |_, _| (),
        async |proxy, _| {
            let found = proxy.upstreams.addresses_of(ALICE).await.unwrap();
            assert_eq!((found.list, found.ttl), (vec![G2], Duration::from_secs(300)));
            assert!(matches!(proxy.upstreams.addresses_of("a..b").await, Err(UpstreamError::NoAddress(_))));
        },
    );
}

#[test]
fn networks_of_clients_match_by_prefix() {
    let in_network = |address: &str, network: &str, length| {
        is_in(address.parse().unwrap(), network.parse().unwrap(), length)
    };
    assert!(in_network("192.168.7.9", "192.168.0.0", 16) && !in_network("192.169.7.9", "192.168.0.0", 16));
    assert!(in_network("::ffff:10.0.0.1", "10.0.0.0", 8) && in_network("1.2.3.4", "0.0.0.0", 0));
    assert!(in_network("fe80::1", "fe80::", 10) && !in_network("::1", "127.0.0.0", 8));
    assert!(!in_network("::2", "::1", 128));
}
