//! Dynamic updates over TCP (RFC 7766): messages behind lengths, put together from the segments that pass.
//!
//! Only what comes in its order is read; after a gap the rest of that direction is left alone, and the name is learned
//! at the host's next registration. So it is where bytes come again as others: what the server got is not known then,
//! because a segment may be sent so that it passes here and does not arrive there.

use std::{collections::BTreeMap, net::Ipv4Addr, net::SocketAddrV4};

/// Longest message that is put together: updates of hosts are short.
const MAX_MESSAGE: usize = 4096;
/// Bytes of the length before each message.
const LENGTH: usize = 2;
/// Most connections at once; the oldest go first.
const MAX_CONNECTIONS: usize = 64;

/// A connection of a host to a DDNS server.
pub type Connection = (SocketAddrV4, Ipv4Addr);

/// A TCP segment as it passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Opens the connection, in this direction.
    pub syn: bool,
    /// Its sequence number.
    pub sequence: u32,
    /// Its data.
    pub payload: &'a [u8],
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Direction {
    /// The sequence number that comes next; `None`: not seen from its start, or a gap.
    next: Option<u32>,
    buffer: Vec<u8>,
    /// The last bytes before `next`, to compare repetitions with.
    recent: Vec<u8>,
}

impl Direction {
    /// False where bytes came again as others.
    fn take(&mut self, segment: Segment<'_>, mut each: impl FnMut(&[u8])) -> bool {
        if segment.syn {
            *self = Self { next: Some(segment.sequence.wrapping_add(1)), ..Self::default() };
        }
        let Some(next) = self.next.filter(|_| !segment.payload.is_empty()) else { return true };
        let start = if segment.syn { next } else { segment.sequence };
        // Sequence numbers go round (RFC 9293, 3.4): what is "behind" is within half of their range.
        let behind = next.wrapping_sub(start);
        let seen = if behind < u32::MAX / 2 { usize::try_from(behind).unwrap_or(usize::MAX) } else { 0 };
        let (again, new) = segment.payload.split_at_checked(seen).unwrap_or((segment.payload, &[]));
        if !self.has_seen(again, seen) {
            *self = Self::default();
            return false;
        }
        if behind >= u32::MAX / 2 || self.buffer.len() + new.len() > MAX_MESSAGE + LENGTH {
            *self = Self::default();
            return true;
        }
        self.next = Some(next.wrapping_add(u32::try_from(new.len()).unwrap_or(0)));
        self.remember(new);
        self.buffer.extend_from_slice(new);
        while let Some((message, rest)) = split(&self.buffer) {
            each(message);
            self.buffer = rest.to_vec();
        }
        true
    }

    /// Whether these bytes, which begin `back` before the next one, are those that were there.
    fn has_seen(&self, again: &[u8], back: usize) -> bool {
        let start = self.recent.len().checked_sub(back);
        let there = start.and_then(|start| self.recent.get(start..)?.get(..again.len()));
        again.is_empty() || there == Some(again)
    }

    fn remember(&mut self, new: &[u8]) {
        self.recent.extend_from_slice(new);
        let too_many = self.recent.len().saturating_sub(MAX_MESSAGE + LENGTH);
        self.recent.drain(..too_many);
    }
}

/// The first message that is whole, and what follows it.
fn split(buffer: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = buffer.split_first_chunk::<LENGTH>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// The connections that pass at present.
#[derive(Debug, Default)]
pub struct Connections {
    connections: BTreeMap<Connection, (u64, Direction, Direction)>,
    opened: u64,
}

impl Connections {
    /// Takes a segment, `upward` to the server or back, and hands the messages that it completes to `each`. False where
    /// bytes came again as others: what was read of this connection is worth nothing.
    pub fn take(
        &mut self,
        connection: Connection,
        upward: bool,
        segment: Segment<'_>,
        each: impl FnMut(&[u8]),
    ) -> bool {
        if segment.syn && upward {
            self.open(connection);
        }
        let Some((_, up, down)) = self.connections.get_mut(&connection) else { return true };
        let consistent = if upward { up } else { down }.take(segment, each);
        if !consistent {
            self.connections.remove(&connection);
        }
        consistent
    }

    fn open(&mut self, connection: Connection) {
        self.opened += 1;
        self.connections.insert(connection, (self.opened, Direction::default(), Direction::default()));
        if self.connections.len() > MAX_CONNECTIONS {
            let oldest = self.connections.iter().min_by_key(|(_, (opened, ..))| *opened);
            if let Some(oldest) = oldest.map(|(connection, _)| *connection) {
                self.connections.remove(&oldest);
            }
        }
    }

    /// The connection is over.
    pub fn close(&mut self, connection: Connection) {
        self.connections.remove(&connection);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connection(port: u16) -> Connection {
        (SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), Ipv4Addr::new(192, 0, 2, 53))
    }

    /// Sends segments upward; returns the messages.
    fn send(segments: &[(bool, u32, &[u8])]) -> Vec<Vec<u8>> {
        let (mut connections, mut messages) = (Connections::default(), Vec::new());
        for (syn, sequence, payload) in segments {
            let segment = Segment { syn: *syn, sequence: *sequence, payload };
            connections.take(connection(1), true, segment, |message| messages.push(message.to_vec()));
        }
        messages
    }

    #[test]
    fn messages_are_put_together_from_segments_and_repetitions_passed_over() {
        let segments: [(bool, u32, &[u8]); 5] = [
            (true, u32::MAX - 1, b""),
            (false, u32::MAX, b"\0"),
            (false, u32::MAX, b"\0\x03ab"),
            (false, 0, b"\x03ab"),
            (false, 3, b"c\0\x01d\0"),
        ];
        assert_eq!(send(&segments), [b"abc".to_vec(), b"d".to_vec()]);
    }

    #[test]
    fn bytes_that_come_again_as_others_end_the_reading() {
        let mut connections = Connections::default();
        let mut take = |syn, sequence, payload: &[u8]| {
            let mut messages = 0;
            let segment = Segment { syn, sequence, payload };
            (connections.take(connection(1), true, segment, |_| messages += 1), messages)
        };
        assert_eq!(take(true, 0, b""), (true, 0));
        assert_eq!(take(false, 1, b"\0\x03ab"), (true, 0));
        assert_eq!(take(false, 3, b"ab"), (true, 0), "a repetition");
        assert_eq!(take(false, 3, b"abc"), (true, 1));
        assert_eq!(take(false, 3, b"axc\0\x01d"), (false, 0), "other bytes than before");
        assert_eq!(take(false, 6, b"\0\x01d"), (true, 0), "it is no longer read");
    }

    #[test]
    fn a_repetition_from_before_what_is_remembered_is_not_believed() {
        let mut direction = Direction::default();
        let segment = |syn, sequence, payload| Segment { syn, sequence, payload };
        direction.take(segment(true, 0, &[]), |_| {});
        let message = [&[0x0f, 0xfe][..], &[7; 0x0ffe]].concat();
        for number in 0..3_u32 {
            let sequence = 1 + number * u32::try_from(message.len()).unwrap();
            assert!(direction.take(segment(false, sequence, &message), |_| {}));
        }
        assert!(!direction.take(segment(false, 1, &message), |_| {}));
    }

    #[test]
    fn after_a_gap_or_without_a_start_nothing_is_read() {
        assert!(send(&[(true, 0, b""), (false, 2, b"\0\x01a"), (false, 1, b"\0\x01a")]).is_empty());
        assert!(send(&[(false, 1, b"\0\x01a")]).is_empty());
    }

    #[test]
    fn connections_and_their_bytes_are_bounded() {
        let mut connections = Connections::default();
        for port in 0..1000 {
            let syn = Segment { syn: true, sequence: 0, payload: &[] };
            connections.take(connection(port), true, syn, |_| {});
            let mut sequence = 1;
            for _ in 0..10 {
                let payload = [255; 1000];
                connections.take(
                    connection(port),
                    true,
                    Segment { syn: false, sequence, payload: &payload },
                    |_| {},
                );
                sequence += 1000;
            }
        }
        assert_eq!(connections.connections.len(), MAX_CONNECTIONS);
        let bytes: usize = connections.connections.values().map(|(_, up, _)| up.buffer.capacity()).sum();
        assert!(bytes <= MAX_CONNECTIONS * 2 * (MAX_MESSAGE + LENGTH), "{bytes}");
    }

    proptest! {
        #[test]
        fn segments_cut_anywhere_carry_the_same_messages(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..5),
            start: u32,
            cuts in prop::collection::vec(1usize..200, 1..20),
        ) {
            let stream: Vec<u8> = messages
                .iter()
                .flat_map(|message| {
                    let length = u16::try_from(message.len()).unwrap().to_be_bytes();
                    length.into_iter().chain(message.iter().copied())
                })
                .collect();
            let mut segments = vec![(true, start, &[][..])];
            let (mut rest, mut sequence, mut cuts) = (&stream[..], start.wrapping_add(1), cuts.iter().cycle());
            while !rest.is_empty() {
                let (part, others) = rest.split_at(rest.len().min(*cuts.next().unwrap()));
                segments.push((false, sequence, part));
                sequence = sequence.wrapping_add(u32::try_from(part.len()).unwrap());
                rest = others;
            }
            prop_assert_eq!(send(&segments), messages);
        }
    }
}
