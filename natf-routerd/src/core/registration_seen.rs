//! What passes between hosts of the LAN and their DDNS servers (T1), from packets to the table of learned names.

use std::net::{Ipv4Addr, SocketAddrV4};

use natf_proto::HostName;

use super::{
    counters::Counter,
    guide_notice::whole_seconds,
    output::Now,
    registration::{Ddns, Exchange, Learned},
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

/// A learned name as it is kept over a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptName {
    /// The name.
    pub name: HostName,
    /// P1.
    pub address: Ipv4Addr,
    /// Whose consent it was.
    pub server: Ipv4Addr,
    /// Unix seconds from which on it no longer counts.
    pub expires: u64,
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
                let consistent =
                    self.connections.take(connection, upward, segment, |bytes| messages.push(bytes.to_vec()));
                if !consistent {
                    self.registrations.forget(client, server, &mut self.counters);
                }
                for bytes in messages {
                    self.handle_dns(now, upward, &bytes, exchange);
                }
            }
            SeenData::Close => self.connections.close((client, server)),
        }
    }

    /// Whether [`Self::take_changed_names`] has something to write.
    pub fn names_have_changed(&self) -> bool {
        self.registrations.has_changed()
    }

    /// The learned names, if they are to be written again.
    pub fn take_changed_names(&mut self, now: Now) -> Option<Vec<KeptName>> {
        self.registrations.take_changed().then(|| {
            let kept = |(name, learned, remaining): (&HostName, &Learned, u32)| KeptName {
                name: *name,
                address: learned.address,
                server: learned.server,
                expires: now.unix.saturating_add(remaining.into()),
            };
            self.learned_names(now.instant).map(kept).collect()
        })
    }

    /// Takes names that were learned before a restart; none counts for longer than a new one would.
    pub fn restore_names(&mut self, now: Now, names: &[KeptName]) {
        let lifetime = whole_seconds(self.limits.learned_lifetime);
        let seconds = self.seconds(now.instant);
        for KeptName { name, address, server, expires } in names {
            let left = u32::try_from(expires.saturating_sub(now.unix)).unwrap_or(u32::MAX).min(lifetime);
            self.registrations.restore(*name, *address, *server, seconds.saturating_add(left));
        }
        self.registrations.take_changed();
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
