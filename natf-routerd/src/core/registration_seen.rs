//! What passes between hosts of the LAN and their DDNS servers (T1), from packets to the table of learned names.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{
    counters::Counter,
    guide_notice::whole_seconds,
    output::Now,
    registration::{Ddns, Exchange},
    registration_message::UpdateMessage,
    registration_stream::Segment,
    router::Router,
};

/// A packet between a host and a DDNS server, with the host's address before any translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The host.
    pub client: SocketAddrV4,
    /// The server.
    pub server: Ipv4Addr,
    /// True towards the server.
    pub upward: bool,
    /// What it carries.
    pub data: SeenData<'a>,
}

/// The data of a packet that is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenData<'a> {
    /// A datagram: one DNS message.
    Datagram(&'a [u8]),
    /// A segment.
    Segment(Segment<'a>),
    /// The connection is reset or both ends are done.
    Close,
}

impl Router {
    /// Takes the servers and zones that count; names of others are forgotten.
    pub fn set_ddns(&mut self, ddns: Vec<Ddns>) {
        self.registrations.configure(ddns);
    }

    /// A packet passes; it goes on in any case.
    pub fn handle_seen(&mut self, now: Now, seen: &Seen<'_>) {
        let Seen { client, server, upward, data } = *seen;
        let tcp = !matches!(data, SeenData::Datagram(_));
        let exchange = |id| Exchange { client, server, tcp, id };
        match data {
            SeenData::Datagram(bytes) => self.handle_dns(now, upward, bytes, exchange),
            SeenData::Segment(segment) => {
                let mut messages = Vec::new();
                let connection = (client, server);
                self.connections.take(connection, upward, segment, |bytes| messages.push(bytes.to_vec()));
                for bytes in messages {
                    self.handle_dns(now, upward, &bytes, exchange);
                }
            }
            SeenData::Close => self.connections.close((client, server)),
        }
    }

    fn handle_dns(&mut self, now: Now, upward: bool, bytes: &[u8], exchange: impl Fn(u16) -> Exchange) {
        let seconds = self.seconds(now.instant);
        let lifetime = whole_seconds(self.limits.learned_lifetime);
        let Self { registrations, counters, .. } = self;
        match (upward, UpdateMessage::parse(bytes)) {
            (true, Some(UpdateMessage::Update { id, update })) => {
                registrations.handle_update(seconds, exchange(id), update, counters);
            }
            (false, Some(UpdateMessage::Answer { id, consent })) => {
                registrations.handle_answer(seconds, exchange(id), consent, lifetime, counters);
            }
            // Clients look for the zone first, over the same connection.
            (_, Some(UpdateMessage::Other)) => {}
            _ => counters.count(Counter::RegistrationsMalformed),
        }
    }
}
