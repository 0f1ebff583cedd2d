//! What travels: pings with messages in them, and the data of flows. Each piece of data also says, for the checks alone,
//! which flow it belongs to; no core sees that.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
    rc::Rc,
};

use natf_proto::Transport;

/// Number of an application's flow.
pub type FlowId = usize;

/// A packet.
#[derive(Debug, Clone)]
pub struct Packet {
    /// Source address.
    pub from: Ipv4Addr,
    /// Destination address.
    pub to: Ipv4Addr,
    /// What is in it.
    pub load: Load,
}

/// What is in a packet.
#[derive(Debug, Clone)]
pub enum Load {
    /// ICMP ECHO, or its reply.
    Echo {
        /// A reply.
        reply: bool,
        /// Identifier.
        id: u16,
        /// Sequence number.
        sequence: u16,
        /// Payload.
        bytes: Rc<[u8]>,
    },
    /// TCP or UDP.
    Data(Data),
}

/// A segment or datagram.
#[derive(Debug, Clone)]
pub struct Data {
    /// TCP or UDP.
    pub transport: Transport,
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// What it says.
    pub part: Part,
    /// Whose it is; `None`: a stranger's.
    pub flow: Option<FlowId>,
}

/// What a segment or datagram says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Opens a connection.
    Syn,
    /// The host at this address accepts it.
    SynAck(Ipv4Addr),
    /// Question number so and so.
    Ask(u16),
    /// The answer of the host at this address.
    Answer(u16, Ipv4Addr),
    /// Closes the connection.
    Fin,
    /// The same from the other side.
    FinAck,
    /// There is no such connection.
    Reset,
    /// A message of the UDP carrier.
    Message(Rc<[u8]>),
}

/// A direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tuple {
    /// TCP or UDP.
    pub transport: Transport,
    /// Source.
    pub source: SocketAddrV4,
    /// Destination.
    pub destination: SocketAddrV4,
}

impl Tuple {
    /// The other direction.
    pub fn inverse(&self) -> Self {
        Self { transport: self.transport, source: self.destination, destination: self.source }
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} -> {}", self.transport, self.source, self.destination)
    }
}

impl Packet {
    /// A piece of data on its way.
    pub fn data(tuple: Tuple, part: Part, flow: Option<FlowId>) -> Self {
        let (source, destination) = (tuple.source.port(), tuple.destination.port());
        let data = Data { transport: tuple.transport, source, destination, part, flow };
        Self { from: *tuple.source.ip(), to: *tuple.destination.ip(), load: Load::Data(data) }
    }

    /// The tuple of data.
    pub fn tuple(&self) -> Option<Tuple> {
        let Load::Data(data) = &self.load else { return None };
        Some(Tuple {
            transport: data.transport,
            source: SocketAddrV4::new(self.from, data.source),
            destination: SocketAddrV4::new(self.to, data.destination),
        })
    }

    /// The same with other ends.
    pub fn translated(&self, tuple: Tuple) -> Self {
        match &self.load {
            Load::Data(data) => Self::data(tuple, data.part.clone(), data.flow),
            Load::Echo { .. } => self.clone(),
        }
    }

    /// The message in it, if it carries one.
    pub fn message(&self) -> Option<&Rc<[u8]>> {
        match &self.load {
            Load::Echo { bytes, .. } | Load::Data(Data { part: Part::Message(bytes), .. }) => Some(bytes),
            Load::Data(_) => None,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.load {
            Load::Echo { reply, bytes, .. } => {
                let what = if *reply { "reply" } else { "echo" };
                write!(f, "{what} {} -> {}{}", self.from, self.to, Named(bytes))
            }
            Load::Data(data) => {
                write!(
                    f,
                    "{} {}:{} -> {}:{} ",
                    data.transport, self.from, data.source, self.to, data.destination
                )?;
                match &data.part {
                    Part::Message(bytes) => write!(f, "message{}", Named(bytes)),
                    part => write!(f, "{part:?} of {:?}", data.flow),
                }
            }
        }
    }
}

/// Kind, key and counter of a message.
struct Named<'a>(&'a [u8]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, _, _, _, _, kind, k0, k1, counter @ ..] = self.0 else { return f.write_str(" (short)") };
        let counter = counter.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        write!(f, " kind {kind} key {} counter {counter}", u16::from_be_bytes([*k0, *k1]))
    }
}
