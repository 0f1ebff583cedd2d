//! Carries the engine's outputs to the kernel, and the kernel's packets and answers to the engine.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket},
    os::fd::AsFd as _,
    time::{Duration, Instant},
};

use natf_daemon::{failures::Failures, random::SystemRandom};
use natf_kernel::{
    KernelError,
    conntrack::{Conntrack, Entry, Flow as Tuple, STATUS_DST_NAT, STATUS_SEEN_REPLY, TcpState},
    elements::{Added, Concat, Element, Elements, SetName},
    packet::{Ipv4View, TCP_ACK, TCP_SYN, Transport as Packet},
    queue::{Losses, Queue, Verdict},
    raw::{EchoSocket, send_datagram_from},
    ruleset::Ruleset,
};
use natf_proto::{MAGIC, MESSAGE_LEN, Random, Transport};

use super::ruleset::{DRAINING, HOLD_TABLE, QUEUE_CHAIN, Rules, SOURCE, TABLE, VAT, render};
use crate::{
    engine::{ELEMENT_TIMEOUT, Engine},
    error::Error,
    flow::{Dial, Flow, KernelFlow, PacketId, RestoredFlow},
    outcome::{Carrier, Output, PingReport, Translated},
    relation::RelationTable,
    steps::Step,
    virtual_address::VirtualPrefix,
};

/// Of first packets only the headers are needed.
const COPY_RANGE: u16 = 128;
/// Packets that one read takes at most.
const BATCH: usize = 32;
/// Datagrams of the UDP carrier that are taken in one turn.
const DATAGRAMS: usize = 64;
/// Packets that may wait for a verdict: those that the engine holds, and as many that it has not seen yet.
const QUEUE_LENGTH: u32 = 4096;
const VAT_MAP: SetName<'static> = SetName { table: TABLE, set: VAT };
const DRAINING_SET: SetName<'static> = SetName { table: TABLE, set: DRAINING };
/// An element that a killed daemon leaves behind sends its flow to an unread queue, which lets it pass.
const DRAINING_TIMEOUT: Duration = Duration::from_secs(2);
/// A flow that sends nothing for so long has drained: none of its packets is on its way into the queue while the
/// kernel is told to let them pass.
const DRAINING_PAUSE: Duration = Duration::from_millis(5);
/// One that never pauses is not waited for any longer.
const DRAINING_LIMIT: Duration = Duration::from_millis(50);
const SOURCE_MAP: SetName<'static> = SetName { table: TABLE, set: SOURCE };

/// What the caller has to do, because it takes more than a system call.
#[derive(Debug, PartialEq)]
pub enum Errand {
    /// Ask DNS again for the name behind this virtual address.
    Resolve(Ipv4Addr),
    /// Tell the person who asked.
    Pinged(PingReport),
}

/// A flow whose packets still go through the queue, behind those that were held.
#[derive(Debug, Clone, Copy)]
struct Draining {
    since: Instant,
    /// When its newest packet was taken from the queue.
    newest: Instant,
}

impl Draining {
    fn end(&self) -> Instant {
        (self.newest + DRAINING_PAUSE).min(self.since + DRAINING_LIMIT)
    }
}

/// The kernel objects of an external node: table, queue, sockets, conntrack.
pub struct Kernel {
    queue: Queue,
    echo: EchoSocket,
    udp: UdpSocket,
    elements: Elements,
    conntrack: Conntrack,
    ruleset: Ruleset,
    number: u16,
    is_gateway: bool,
    verdicts: Vec<(u32, Verdict)>,
    /// The flow that was translated last: the one whose packets are released next.
    translated: Option<Flow>,
    draining: BTreeMap<Flow, Draining>,
    errands: Vec<Errand>,
    /// When this turn began, and which step with it.
    started: Option<(Instant, Step)>,
    ident: u16,
    sequence: u16,
    failures: Failures,
    failed_reads: Failures,
}

impl Kernel {
    /// Opens everything and applies the table.
    ///
    /// # Errors
    /// Where rights, programs or kernel modules are missing; the message says which.
    pub fn open(number: u16, rules: &Rules) -> Result<Self, Error> {
        let mut kernel = Self {
            queue: Queue::open(number, COPY_RANGE, QUEUE_LENGTH)?,
            echo: EchoSocket::open(MAGIC)?,
            udp: udp_socket()?,
            elements: Elements::open()?,
            conntrack: Conntrack::open()?,
            ruleset: Ruleset::open()?,
            number,
            is_gateway: !rules.lan.is_empty(),
            verdicts: Vec::new(),
            translated: None,
            draining: BTreeMap::new(),
            errands: Vec::new(),
            started: None,
            ident: u16::try_from(SystemRandom::new()?.below(1 << 16)).unwrap_or_default(),
            sequence: 0,
            failures: Failures::default(),
            failed_reads: Failures::default(),
        };
        kernel.apply(rules)?;
        if let Err(error) = kernel.ruleset.hold_nat(HOLD_TABLE) {
            log::info!("{error}; connections may break when somebody flushes the ruleset");
        }
        Ok(kernel)
    }

    /// Writes the table anew; flows that are known to conntrack run on.
    ///
    /// # Errors
    /// Where `nft` or the kernel refuses.
    pub fn apply(&mut self, rules: &Rules) -> Result<(), Error> {
        match self.ruleset.apply_script(TABLE, &render(rules)) {
            // The helper is a module of its own, which may not be there.
            Err(KernelError::Nft { .. }) if rules.ftp => {
                self.ruleset.apply_script(TABLE, &render(&Rules { ftp: false, ..rules.clone() }))?;
                log::warn!(
                    "the kernel has no FTP helper: passive FTP needs a mapping for every data port (install kmod-nf-nathelper)"
                );
            }
            applied => applied?,
        }
        self.ruleset.write_queue_rule(TABLE, QUEUE_CHAIN, self.number)?;
        Ok(())
    }

    /// Writes the table again where another program removed it; says whether that was so.
    ///
    /// # Errors
    /// Where `nft` or the kernel refuses.
    pub fn restore_table(&mut self, rules: &Rules) -> Result<bool, Error> {
        if self.ruleset.exists(TABLE)? {
            return Ok(false);
        }
        self.apply(rules)?;
        Ok(true)
    }

    /// Removes the table.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn remove_table(&mut self) -> Result<(), Error> {
        self.ruleset.remove(TABLE)?;
        Ok(())
    }

    /// The queue, to wait for packets.
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// The socket of the ICMP carrier, to wait for answers.
    pub fn echo(&self) -> &EchoSocket {
        &self.echo
    }

    /// The socket of the UDP carrier, to wait for answers.
    pub fn udp(&self) -> &UdpSocket {
        &self.udp
    }

    /// Packets that the kernel dropped because this process was too slow.
    pub fn losses(&self) -> Losses {
        self.queue.losses().unwrap_or_default()
    }

    /// Errands since the last call.
    pub fn take_errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    /// Takes the held packets that wait through the engine.
    ///
    /// # Errors
    /// Where nothing can be read from the queue any more.
    pub fn take_packets(&mut self, engine: &mut Engine, relations: &mut RelationTable) -> Result<(), Error> {
        loop {
            let now = Instant::now();
            let Self { queue, verdicts, draining, .. } = self;
            let taken = queue.recv_batch(|packet| match first_packet(packet.payload) {
                Some((flow, start)) => {
                    let address = *flow.destination.ip();
                    let dial = relations.relation(address).and_then(|relation| Dial::of(relation, now));
                    relations.touch(address, now);
                    if let Some(drains) = draining.get_mut(&flow) {
                        drains.newest = now;
                    }
                    engine.handle_first_packet(now, PacketId(packet.id), flow, start, dial);
                }
                // The chain behind rejects it.
                None => verdicts.push((packet.id, Verdict::Accept)),
            });
            let taken = self.survive_read(now, engine, taken.map_err(Error::from))?;
            self.started = Some((now, Step::NegotiationStart));
            self.carry_out(now, engine);
            if taken.is_none_or(|taken| taken < BATCH) {
                return Ok(());
            }
        }
    }

    /// When the first of the flows whose packets were just released may have drained.
    pub fn drained_at(&self) -> Option<Instant> {
        self.draining.values().map(Draining::end).min()
    }

    /// From here on the datagrams of flows that have drained pass by themselves. The queue is to be looked at before,
    /// and once more after it.
    pub fn finish_draining(&mut self, engine: &mut Engine) {
        let now = Instant::now();
        let is_over = |(_, drains): &(&Flow, &Draining)| drains.end() <= now;
        let over: Vec<Flow> = self.draining.iter().filter(is_over).map(|(flow, _)| *flow).collect();
        let keys: Vec<Concat> = over.iter().map(|flow| key(flow, flow.destination)).collect();
        // Those that stay time out soon.
        let deleted = self.elements.delete(DRAINING_SET, &keys);
        self.survive(now, engine, deleted);
        for flow in &over {
            self.draining.remove(flow);
        }
    }

    /// Makes the flow's next packets wait behind those that are released now, in their order (N4). One is enough to
    /// be overtaken: while it is on its way through the kernel, the second may be queued and the third pass by.
    fn drain(&mut self, engine: &mut Engine, flow: &Flow) {
        let (key, now) = (key(flow, flow.destination), Instant::now());
        let element = Element { key, data: None, timeout: Some(DRAINING_TIMEOUT) };
        let added = self.elements.add(DRAINING_SET, &[element]);
        // Without it a datagram may overtake another, as in any network.
        if self.survive(now, engine, added).is_some() {
            self.draining.insert(*flow, Draining { since: now, newest: now });
        }
    }

    /// Takes the answers that wait at the ICMP carrier through the engine.
    ///
    /// # Errors
    /// Where nothing can be read from the socket any more.
    pub fn take_echoes(&mut self, engine: &mut Engine) -> Result<(), Error> {
        loop {
            let now = Instant::now();
            let received = match self.echo.recv_from() {
                Ok(Some(reply)) => {
                    engine.handle_datagram(now, reply.source, Carrier::Icmp, reply.payload);
                    Ok(true)
                }
                Ok(None) => Ok(false),
                Err(error) => Err(error.into()),
            };
            if self.survive_read(now, engine, received)? != Some(true) {
                return Ok(());
            }
            self.started = Some((now, Step::Release));
            self.carry_out(now, engine);
        }
    }

    /// Takes the answers that wait at the UDP carrier through the engine.
    pub fn take_datagrams(&mut self, engine: &mut Engine) {
        let mut bytes = [0; MESSAGE_LEN + 1];
        // What is left waits for the next turn; an error that stays must not keep the loop here.
        for _ in 0..DATAGRAMS {
            let now = Instant::now();
            match self.udp.recv_from(&mut bytes) {
                Ok((length, SocketAddr::V4(from))) => {
                    let message = bytes.get(..length).unwrap_or_default();
                    engine.handle_datagram(now, *from.ip(), Carrier::Udp(from.port()), message);
                }
                Ok(_) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // What a router's firewall said about an earlier datagram: the next try will show.
                Err(_) => continue,
            }
            self.started = Some((now, Step::Release));
            self.carry_out(now, engine);
        }
    }

    /// Does what has become due, or what another event left to do.
    pub fn turn(&mut self, now: Instant, engine: &mut Engine) {
        engine.handle_timeout(now);
        self.started = None;
        self.carry_out(now, engine);
    }

    /// Hands over what the kernel still translates, as after a restart.
    ///
    /// # Errors
    /// Where the kernel's table cannot be read.
    pub fn restore(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        relations: &RelationTable,
    ) -> Result<(), Error> {
        let found = self.translated(relations.prefix())?;
        engine.restore(now, found, |address| Dial::of(relations.relation(address)?, now));
        Ok(())
    }

    /// The flows to virtual addresses that the kernel translates, those that are over left out.
    ///
    /// # Errors
    /// Where the kernel's table cannot be read.
    pub fn translated(&mut self, prefix: VirtualPrefix) -> Result<Vec<RestoredFlow>, Error> {
        let mut found = Vec::new();
        self.conntrack.dump(|entry| {
            if entry.status & STATUS_DST_NAT != 0 && prefix.contains(*entry.original.destination.ip()) {
                found.extend(restored(&entry));
            }
        })?;
        Ok(found)
    }

    /// Carries out what the engine wants, until it wants nothing more; verdicts leave together, in their order. A call
    /// that fails is counted, and what it should have done is left to timeouts or to the next look.
    ///
    /// The steps (N17) end where the kernel gets the request or the verdict: what follows is the network's time.
    fn carry_out(&mut self, now: Instant, engine: &mut Engine) {
        while let Some(output) = engine.poll_output() {
            match output {
                Output::Send { carrier, from, to, bytes } => {
                    self.measure(Step::NegotiationStart, engine);
                    self.send(carrier, from, to, bytes.as_slice());
                }
                Output::Translate { flow, to, source } => {
                    let result = self.translate(&flow, to, source);
                    self.translated = Some(flow);
                    engine.handle_translated(now, &flow, result);
                }
                Output::Withdraw { flow, to } => self.withdraw(now, engine, &flow, to),
                Output::Release { packets } => {
                    self.measure(Step::Release, engine);
                    if let Some(flow) = self.translated.take().filter(|flow| flow.transport == Transport::Udp)
                    {
                        self.drain(engine, &flow);
                    }
                    self.verdicts.extend(packets.into_iter().map(|packet| (packet.0, Verdict::Accept)));
                }
                Output::Refuse { packets, .. } => {
                    self.verdicts.extend(packets.into_iter().map(|packet| (packet.0, Verdict::Accept)));
                }
                Output::Drop { packet } => self.verdicts.push((packet.0, Verdict::Drop)),
                Output::Watch { flow } => {
                    let entry = self.conntrack.get(&tuple(&flow));
                    // Where the kernel does not tell, the engine asks again.
                    if let Some(entry) = self.survive(now, engine, entry) {
                        engine.handle_flow_state(now, &flow, entry.as_ref().map(kernel_flow));
                    }
                }
                Output::Forget { flow } => {
                    let deleted = self.conntrack.delete(&tuple(&flow));
                    self.survive(now, engine, deleted);
                }
                Output::Resolve { address } => self.errands.push(Errand::Resolve(address)),
                Output::Pinged(report) => self.errands.push(Errand::Pinged(report)),
            }
        }
        self.give_verdicts(now, engine);
    }

    fn withdraw(&mut self, now: Instant, engine: &mut Engine, flow: &Flow, to: SocketAddrV4) {
        // What was released before needs the element on its way.
        self.give_verdicts(now, engine);
        let deleted = self.elements.delete(VAT_MAP, &[key(flow, flow.destination)]);
        self.survive(now, engine, deleted);
        if self.is_gateway {
            let deleted = self.elements.delete(SOURCE_MAP, &[key(flow, to)]);
            self.survive(now, engine, deleted);
        }
    }

    /// Verdicts that the kernel did not take are given again with the next ones.
    fn give_verdicts(&mut self, now: Instant, engine: &mut Engine) {
        if !self.verdicts.is_empty() {
            let given = self.queue.verdicts(&self.verdicts);
            if self.survive(now, engine, given).is_some() {
                self.verdicts.clear();
            }
        }
    }

    fn survive<T>(&mut self, now: Instant, engine: &mut Engine, result: Result<T, KernelError>) -> Option<T> {
        let survived = self.failures.survive(now, result);
        if survived.is_none() {
            engine.count_failed_call();
        }
        survived
    }

    fn survive_read<T>(
        &mut self,
        now: Instant,
        engine: &mut Engine,
        result: Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let survived = self.failed_reads.survive_some(now, result)?;
        if survived.is_none() {
            engine.count_failed_call();
        }
        Ok(survived)
    }

    /// Notes the time of a step that ends now, if it is the one that began with this turn.
    fn measure(&mut self, step: Step, engine: &mut Engine) {
        if let Some((start, _)) = self.started.take_if(|(_, started)| *started == step) {
            engine.steps.record(step, start.elapsed());
        }
    }

    /// Sends a request from the address that its flow comes from, as the router maps it for whom it sees: with several
    /// addresses or uplinks the kernel's own choice may be another one.
    fn send(&mut self, carrier: Carrier, from: Ipv4Addr, to: Ipv4Addr, bytes: &[u8]) {
        let sent = match carrier {
            Carrier::Icmp => {
                self.sequence = self.sequence.wrapping_add(1);
                self.echo.send_from(from, to, self.ident, self.sequence, bytes)
            }
            Carrier::Udp(port) => {
                send_datagram_from(self.udp.as_fd(), from, SocketAddrV4::new(to, port), bytes)
            }
        };
        if let Err(error) = sent {
            // Without a route there is no answer either, and the flow is refused as silent.
            log::warn!("{error}");
        }
    }

    /// Writes the VAT entry: the destination, and in a gateway the source (N9, N12).
    fn translate(&mut self, flow: &Flow, to: SocketAddrV4, source: Option<SocketAddrV4>) -> Translated {
        match self.try_translate(flow, to, source) {
            Ok(result) => result,
            Err(error) => {
                log::error!("translation {flow} to {to}: {error}");
                Translated::Failed
            }
        }
    }

    fn try_translate(
        &mut self,
        flow: &Flow,
        to: SocketAddrV4,
        source: Option<SocketAddrV4>,
    ) -> Result<Translated, KernelError> {
        if let Some(source) = source {
            let reply = Tuple { proto: flow.transport as u8, source: to, destination: source };
            let taken = self.conntrack.get_reply_taken(&reply)?;
            // The flow's own old entry is replaced by the packet that is held.
            if taken.is_some_and(|entry| entry.original != tuple(flow)) {
                return Ok(Translated::PortTaken);
            }
            if self.add(SOURCE_MAP, key(flow, to), source)? == Added::Full {
                return Ok(Translated::Failed);
            }
        }
        match self.add(VAT_MAP, key(flow, flow.destination), to)? {
            Added::Done => Ok(Translated::Confirmed),
            Added::Full => {
                log::error!("the map of translations is full");
                Ok(Translated::Failed)
            }
        }
    }

    fn add(&mut self, map: SetName<'_>, key: Concat, to: SocketAddrV4) -> Result<Added, KernelError> {
        let data = Some(Concat::new().socket(to));
        self.elements.add(map, &[Element { key, data, timeout: Some(ELEMENT_TIMEOUT) }])
    }
}

fn udp_socket() -> Result<UdpSocket, Error> {
    let open = || {
        let socket = UdpSocket::bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map_err(|source| Error::Io { what: "open a socket for the UDP carrier".into(), source })
}

/// The flow of a held packet, and whether it opens a connection.
fn first_packet(bytes: &[u8]) -> Option<(Flow, bool)> {
    let view = Ipv4View::parse_head(bytes).ok()?;
    let start = match view.transport {
        Packet::Tcp { flags, .. } => flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
        _ => false,
    };
    let transport = Transport::parse(view.protocol()).ok()?;
    let (source, destination) = (view.source_socket(), view.destination_socket());
    Some((Flow { transport, source, destination }, start))
        .filter(|_| source.port() != 0 && destination.port() != 0)
}

fn tuple(flow: &Flow) -> Tuple {
    Tuple { proto: flow.transport as u8, source: flow.source, destination: flow.destination }
}

fn key(flow: &Flow, destination: SocketAddrV4) -> Concat {
    let (address, port) = (*flow.source.ip(), flow.source.port());
    Concat::new().address(address).protocol(flow.transport as u8).port(port).socket(destination)
}

fn kernel_flow(entry: &Entry) -> KernelFlow {
    KernelFlow {
        replied: entry.status & STATUS_SEEN_REPLY != 0,
        closed: entry.tcp_state.is_some_and(TcpState::is_over),
        remaining: entry.timeout,
    }
}

fn restored(entry: &Entry) -> Option<RestoredFlow> {
    let transport = Transport::parse(entry.original.proto).ok()?;
    let (source, destination) = (entry.original.source, entry.original.destination);
    let flow = Flow { transport, source, destination };
    // What is over needs no looking after.
    let is_over = entry.tcp_state.is_some_and(TcpState::is_over);
    (!is_over).then_some(RestoredFlow { flow, mapped: entry.reply.source, source: entry.reply.destination })
}
