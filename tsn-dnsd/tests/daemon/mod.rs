//! The program itself on the loopback, between a client and an upstream server that a test invents.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype, Ttl,
        iana::{OptionCode, Rcode},
        opt::UnknownOptData,
    },
    rdata::A,
};

pub type Reply = Message<Vec<u8>>;

/// A query with EDNS for the A record of a name.
pub fn query(name: &str) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(0x4711);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((name.parse::<Name<Vec<u8>>>().unwrap(), Rtype::A)).unwrap();
    let mut builder = builder.additional();
    builder
        .opt(|opt| {
            opt.set_udp_payload_size(1232);
            Ok(())
        })
        .unwrap();
    builder.finish()
}

/// What an upstream server does with a query, given its first label and whether it came by TCP.
pub type Behaviour = fn(label: &str, query: &Message<[u8]>, tcp: bool) -> Option<Vec<u8>>;

/// So many addresses.
pub fn addresses(query: &Message<[u8]>, count: u8, ttl: u32) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec().start_answer(query, Rcode::NOERROR).unwrap();
    builder.header_mut().set_ra(true);
    let name = query.sole_question().unwrap().into_qname();
    for last in 0..count {
        builder.push((name, Ttl::from_secs(ttl), A::from_octets(192, 0, 2, last))).unwrap();
    }
    builder.finish()
}

/// The same as `addresses`, cut.
pub fn truncated(query: &Message<[u8]>) -> Vec<u8> {
    let mut reply = addresses(query, 0, 0);
    reply[2] |= 2;
    reply
}

/// An upstream server.
pub struct Upstream {
    pub address: SocketAddr,
    pub queries: Arc<AtomicUsize>,
    /// While set, it says nothing.
    pub dead: Arc<AtomicBool>,
}

impl Upstream {
    pub fn start(behaviour: Behaviour) -> Self {
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let upstream =
            Self { address: udp.local_addr().unwrap(), queries: Arc::default(), dead: Arc::default() };
        let (queries, dead) = (upstream.queries.clone(), upstream.dead.clone());
        let answer = move |bytes: &[u8], over_tcp| {
            queries.fetch_add(1, Ordering::SeqCst);
            let query = Message::from_slice(bytes).unwrap();
            let name = query.sole_question().unwrap().into_qname();
            let label = name.iter().next().unwrap().to_string().to_lowercase();
            behaviour(&label, query, over_tcp).filter(|_| !dead.load(Ordering::SeqCst))
        };
        let answer_tcp = answer.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = udp.recv_from(&mut buffer) {
                let (answer, udp) = (answer.clone(), udp.try_clone().unwrap());
                let query = buffer[..length].to_vec();
                thread::spawn(move || {
                    if let Some(reply) = answer(&query, false) {
                        udp.send_to(&reply, client).unwrap();
                    }
                });
            }
        });
        thread::spawn(move || {
            for mut stream in tcp.incoming().flatten() {
                let query = read_tcp(&mut stream).unwrap_or_default();
                if let Some(reply) = answer_tcp(&query, true) {
                    write_tcp(&mut stream, &reply);
                }
            }
        });
        upstream
    }

    pub fn count(&self) -> usize {
        self.queries.load(Ordering::SeqCst)
    }

    pub fn die(&self) {
        self.dead.store(true, Ordering::SeqCst);
    }
}

pub fn read_tcp(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut message = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut message).ok()?;
    Some(message)
}

pub fn write_tcp(stream: &mut TcpStream, message: &[u8]) {
    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length, message].concat()).unwrap();
}

/// The running program.
pub struct Daemon {
    pub address: SocketAddr,
    directory: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts it with these lines in `config server`, and what follows it.
    pub fn start(name: &str, upstreams: &[&Upstream], lines: &str, more: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("tsn-dnsd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let address = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new("true").spawn().unwrap();
        let mut daemon = Self { address, directory, child };
        daemon.configure(upstreams, lines, more);
        daemon.run();
        daemon
    }

    pub fn configure(&self, upstreams: &[&Upstream], lines: &str, more: &str) {
        self.configure_at("127.0.0.1", upstreams, lines, more);
    }

    /// As [`Self::configure`], listening at this address instead of 127.0.0.1.
    pub fn configure_at(&self, address: &str, upstreams: &[&Upstream], lines: &str, more: &str) {
        let mut text = format!("config server 'server'\n list listen '{address}#{}'\n", self.address.port());
        for upstream in upstreams {
            text += &format!(" list upstream '127.0.0.1#{}'\n", upstream.address.port());
        }
        std::fs::write(self.directory.join("config"), format!("{text}{lines}\n{more}\n")).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tsn-dnsd"));
        let place = |name: &str| self.directory.join(name).into_os_string();
        command.arg("-c").arg(place("config")).arg("-k").arg(place("keys"));
        command.arg("--run-dir").arg(place("run")).arg("--state-dir").arg(place("state")).args(words);
        command
    }

    /// Starts the program; a former one is killed without notice.
    pub fn run(&mut self) {
        let _over = self.child.kill();
        self.child.wait().unwrap();
        self.child = self.command(&[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while !self.ask_program(&["status"]).0 {
            assert!(start.elapsed() < Duration::from_secs(10), "tsn-dnsd does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a command succeeds, and what it prints.
    pub fn ask_program(&self, words: &[&str]) -> (bool, String) {
        let output = self.command(words).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    pub fn counter(&self, name: &str) -> u64 {
        let (_, text) = self.ask_program(&["counters", "--json"]);
        serde_json::from_str::<serde_json::Value>(&text).unwrap()[name].as_u64().unwrap()
    }

    /// A file of an own zone.
    pub fn zone_file(&self, zone: &str) -> PathBuf {
        self.directory.join("state").join(format!("{zone}.zone"))
    }

    /// SIGHUP, and time to obey it.
    pub fn reload(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        thread::sleep(Duration::from_millis(300));
    }

    pub fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(self.address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        client
    }

    /// The reply to a packet.
    pub fn exchange(&self, packet: &[u8]) -> Option<Reply> {
        let client = self.client();
        client.send(packet).unwrap();
        receive(&client)
    }

    pub fn ask(&self, name: &str) -> Reply {
        self.exchange(&query(name)).expect("no reply")
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
        let _gone = std::fs::remove_dir_all(&self.directory);
    }
}

pub fn receive(client: &UdpSocket) -> Option<Reply> {
    let mut buffer = vec![0; 4096];
    let length = client.recv(&mut buffer).ok()?;
    buffer.truncate(length);
    Some(Message::from_octets(buffer).unwrap())
}

/// Response code, number of answers, extended error.
pub fn summary(reply: &Reply) -> (Rcode, u16, Option<u16>) {
    let error = reply.opt().and_then(|opt| {
        let mut options = opt.opt().iter::<UnknownOptData<_>>();
        let error =
            options.find_map(|option| option.ok().filter(|it| it.code() == OptionCode::EXTENDED_ERROR));
        let code: Option<[u8; 2]> = error?.data().get(..2)?.try_into().ok();
        code.map(u16::from_be_bytes)
    });
    (reply.header().rcode(), reply.header_counts().ancount(), error)
}
