use std::{
    cell::Cell,
    io::{Read as _, Write as _},
};

use super::{
    connection::{OUTPUT_MAX, PENDING_MAX},
    *,
};

/// Answers `x…` with `X…` at once, keeps `l…` for later, says nothing to others.
#[derive(Default)]
struct Echo {
    later: Cell<Option<ConnectionId>>,
    closed: bool,
}

impl Questions for Echo {
    fn accepts(&self, _: IpAddr) -> bool {
        !self.closed
    }

    fn handle(&self, _: IpAddr, connection: ConnectionId, question: &[u8], output: &mut Vec<u8>) -> bool {
        match question.first() {
            Some(b'x') => output.extend(question.to_ascii_uppercase()),
            Some(b'L') => output.extend([0; 60_000]),
            Some(b'l') => {
                self.later.set(Some(connection));
                return true;
            }
            _ => {}
        }
        false
    }
}

struct Bench {
    streams: Streams,
    echo: Echo,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let mut streams = Streams::new().unwrap();
        streams.listen(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        Self { streams, echo: Echo::default(), now: Instant::now() }
    }

    fn connect(&mut self) -> TcpStream {
        self.connect_from("127.0.0.1")
    }

    fn connect_from(&mut self, client: &str) -> TcpStream {
        let address = self.streams.addresses().next().unwrap();
        let socket =
            net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        net::bind(&socket, &SocketAddr::new(client.parse().unwrap(), 0)).unwrap();
        net::connect(&socket, &address).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        self.turn();
        stream
    }

    fn turn(&mut self) {
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(1));
            self.streams.take(self.now, &self.echo).unwrap();
        }
    }
}

fn framed(text: &[u8]) -> Vec<u8> {
    [&u16::try_from(text.len()).unwrap().to_be_bytes(), text].concat()
}

fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut text = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut text).ok()?;
    Some(text)
}

#[test]
fn pipelined_questions_are_answered_in_one_go() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    let questions: Vec<u8> = (0..100).flat_map(|number| framed(format!("x{number}").as_bytes())).collect();
    client.write_all(&questions).unwrap();
    bench.turn();
    for number in 0..100 {
        assert_eq!(read(&mut client).unwrap(), format!("X{number}").as_bytes());
    }
    assert_eq!(bench.streams.take_counts(), StreamCounts { accepted: 1, ..StreamCounts::default() });
}

#[test]
fn a_question_may_come_octet_by_octet() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    for octet in framed(b"xyz") {
        client.write_all(&[octet]).unwrap();
        bench.turn();
    }
    assert_eq!(read(&mut client).unwrap(), b"XYZ");
}

#[test]
fn answers_that_take_time_come_after_others() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&[framed(b"later"), framed(b"x"), framed(b"nothing")].concat()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bench.turn();
    assert_eq!(read(&mut client).unwrap(), b"X");
    bench.streams.handle_timeout(bench.now + IDLE);
    assert!(bench.streams.deadline().is_none());
    let connection = bench.echo.later.get().unwrap();
    bench.streams.deliver(bench.now, connection, Some(b"answer"));
    assert_eq!(read(&mut client).unwrap(), b"answer");
    assert_eq!(read(&mut client), None);
    bench.turn();
    assert!(bench.streams.is_empty());
    bench.streams.deliver(bench.now, connection, Some(b"nobody"));
}

#[test]
fn connections_are_bounded_and_idle_ones_are_closed() {
    let mut bench = Bench::new();
    let clients: Vec<_> = (0..CONNECTIONS_MAX + 5).map(|_| bench.connect()).collect();
    assert_eq!(bench.streams.len(), CONNECTIONS_MAX);
    assert_eq!(
        bench.streams.take_counts(),
        StreamCounts { accepted: CONNECTIONS_MAX, too_many: 5, displaced: 0 }
    );
    assert!(bench.streams.deadline().unwrap() <= bench.now + IDLE_SCARCE);
    bench.streams.handle_timeout(bench.now + IDLE_SCARCE);
    assert!(bench.streams.is_empty() && bench.streams.deadline().is_none());
    drop(clients);
}

#[test]
fn who_has_the_most_connections_gives_one_up_for_a_client_that_has_fewer() {
    let mut bench = Bench::new();
    let mut greedy: Vec<_> = (0..CONNECTIONS_MAX).map(|_| bench.connect_from("127.0.0.2")).collect();
    let mut newcomer = bench.connect_from("127.0.0.3");
    newcomer.write_all(&framed(b"x")).unwrap();
    bench.turn();
    assert_eq!(read(&mut newcomer).unwrap(), b"X");
    assert_eq!(read(&mut greedy[0]), None, "the one that is idle for longest is closed");
    greedy[1].write_all(&framed(b"x")).unwrap();
    bench.turn();
    assert_eq!(read(&mut greedy[1]).unwrap(), b"X");
    assert_eq!(bench.streams.len(), CONNECTIONS_MAX);
}

#[test]
fn a_connection_counts_as_idle_from_its_last_answer_on() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&framed(b"later")).unwrap();
    bench.turn();
    bench.now += IDLE * 2;
    bench.streams.deliver(bench.now, bench.echo.later.get().unwrap(), Some(b"answer"));
    bench.streams.handle_timeout(bench.now);
    assert_eq!((read(&mut client).unwrap(), bench.streams.len()), (b"answer".to_vec(), 1));
    bench.streams.handle_timeout(bench.now + IDLE);
    assert!(bench.streams.is_empty());
}

#[test]
fn a_client_that_takes_no_answers_is_not_read_from_for_ever() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.set_nonblocking(true).unwrap();
    let question = framed(&[b'x'; 60_000]);
    let mut sent = 0;
    for _ in 0..200 {
        while let Ok(count) = client.write(&question) {
            sent += count;
        }
        bench.turn();
        if bench.streams.connections.values().all(|connection| !connection.wants_input()) {
            break;
        }
    }
    let connection = bench.streams.connections.values().next().unwrap();
    assert!(!connection.wants_input() && sent > 0);
    assert!(connection.output.len() < OUTPUT_MAX + 2 * 60_002);
}

#[test]
fn long_answers_to_pipelined_questions_do_not_pile_up() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&[framed(b"L").repeat(1_000), framed(b"x")].concat()).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    bench.turn();
    let connection = bench.streams.connections.values().next().unwrap();
    assert!(connection.output.len() < OUTPUT_MAX + 60_002, "{}", connection.output.len());
    let reader = std::thread::spawn(move || {
        let long = (0..1_000).filter(|_| read(&mut client).is_some_and(|it| it.len() == 60_000)).count();
        (long, read(&mut client), read(&mut client))
    });
    while !reader.is_finished() {
        bench.turn();
    }
    assert_eq!(reader.join().unwrap(), (1_000, Some(b"X".to_vec()), None));
    assert!(bench.streams.is_empty());
}

#[test]
fn questions_wait_where_many_answers_are_under_way() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&[framed(b"l").repeat(PENDING_MAX + 1), framed(b"x")].concat()).unwrap();
    bench.turn();
    let pending = |bench: &Bench| bench.streams.connections.values().next().unwrap().pending;
    assert_eq!(pending(&bench), PENDING_MAX);
    let mut events = Vec::with_capacity(EVENTS);
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let count = epoll::wait(&bench.streams.epoll, spare_capacity(&mut events), Some(&none));
    assert_eq!(count, Ok(0), "the loop does not turn for them");
    let connection = bench.echo.later.get().unwrap();
    for _ in 0..2 {
        bench.streams.deliver(bench.now, connection, Some(b"answer"));
        bench.turn();
    }
    assert_eq!(pending(&bench), PENDING_MAX - 1);
    let answers = [(); 3].map(|()| read(&mut client).unwrap());
    assert_eq!(answers, [&b"answer"[..], b"answer", b"X"]);
}

#[test]
fn a_connection_that_is_reset_ends_although_answers_are_under_way() {
    let mut bench = Bench::new();
    let mut client = bench.connect();
    client.write_all(&framed(b"l").repeat(PENDING_MAX)).unwrap();
    bench.turn();
    sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    bench.turn();
    assert!(bench.streams.is_empty());
}

#[test]
fn an_ipv6_host_has_the_connections_of_one_client() {
    let mut streams = Streams::new().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for last in 0..CONNECTIONS_PER_CLIENT {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = format!("2001:db8::{last:x}").parse().unwrap();
        assert!(streams.make_room_for(client));
        streams.add(Instant::now(), stream, client).unwrap();
    }
    assert!(!streams.make_room_for("2001:db8::ffff".parse().unwrap()));
    assert!(streams.make_room_for("2001:db8:0:1::1".parse().unwrap()));
}

#[test]
fn after_a_failed_accept_the_next_one_is_tried_later() {
    let mut bench = Bench::new();
    bench.streams.pause(bench.now, &ErrorKind::OutOfMemory.into());
    let _waiting = bench.connect();
    assert!(bench.streams.is_empty());
    let mut events = Vec::with_capacity(EVENTS);
    let none = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    let count = epoll::wait(&bench.streams.epoll, spare_capacity(&mut events), Some(&none));
    assert_eq!(count, Ok(0), "the loop does not turn for it");
    bench.now = bench.streams.deadline().unwrap();
    bench.streams.handle_timeout(bench.now);
    bench.turn();
    assert_eq!((bench.streams.len(), bench.streams.paused), (1, None));
}

#[test]
fn strangers_are_not_accepted() {
    let mut bench = Bench::new();
    bench.echo.closed = true;
    let mut client = bench.connect();
    assert_eq!(read(&mut client), None);
    assert!(bench.streams.is_empty());
}

#[test]
fn another_list_of_addresses_keeps_those_that_stay() {
    let mut bench = Bench::new();
    let kept: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let port = bench.streams.addresses().next().unwrap().port();
    bench.streams.listen(&[kept, "127.0.0.2:0".parse().unwrap()]).unwrap();
    assert_eq!(bench.streams.addresses().count(), 2);
    assert_eq!(bench.streams.addresses().next().unwrap().port(), port);
    let error = bench.streams.listen(&["192.0.2.1:53".parse().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("192.0.2.1:53"), "{error}");
    assert_eq!(bench.streams.addresses().count(), 2);
    bench.streams.listen(&[kept]).unwrap();
    assert_eq!(bench.streams.addresses().count(), 1);
}
