//! One connection: questions come in, each with its length in front, answers go out as there is room for them.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, TcpStream},
    os::fd::OwnedFd,
    time::Instant,
};

use rustix::event::epoll::{self, EventData, EventFlags};

use super::{ConnectionId, Questions};

/// A client that does not take its answers is not read from.
pub(super) const OUTPUT_MAX: usize = 1 << 16;
/// Answers of one connection under way: those that are delivered together stay until the client takes them.
pub(super) const PENDING_MAX: usize = 64;
/// Octets that are read at once.
const READ: usize = 1 << 14;
/// Reads of one connection before others get their turn.
const READS: usize = 4;

/// A client's connection.
pub(super) struct Connection {
    stream: TcpStream,
    pub(super) client: IpAddr,
    /// What has been read of a question that is not whole yet, and questions whose answers find no room yet.
    input: Vec<u8>,
    /// What could not be written yet.
    pub(super) output: Vec<u8>,
    /// When the last whole question came, the last answer that took time was there, or the connection came.
    pub(super) active: Instant,
    /// Answers that are delivered later.
    pub(super) pending: usize,
    /// The client sends no more.
    ended: bool,
    interest: EventFlags,
}

impl Connection {
    /// One that was just accepted, and what is waited for.
    pub(super) fn open(
        now: Instant,
        stream: TcpStream,
        client: IpAddr,
        epoll: &OwnedFd,
        id: u64,
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let interest = EventFlags::IN;
        epoll::add(epoll, &stream, EventData::new_u64(id), interest)?;
        Ok(Self {
            stream,
            client,
            input: Vec::new(),
            output: Vec::new(),
            active: now,
            pending: 0,
            ended: false,
            interest,
        })
    }

    /// Writes, answers and reads what it can; `buffer` is where input goes first.
    pub(super) fn serve(
        &mut self,
        now: Instant,
        id: ConnectionId,
        buffer: &mut Vec<u8>,
        questions: &impl Questions,
    ) -> io::Result<()> {
        self.write()?;
        if self.has_question() && self.has_room() {
            self.take_input(now, id, &[], questions);
            self.write()?;
        }
        if self.wants_input() {
            buffer.resize(READ, 0);
            self.read(now, id, buffer, questions)?;
        }
        Ok(())
    }

    /// Delivers an answer that took time, or that there is none.
    pub(super) fn deliver(&mut self, now: Instant, answer: Option<&[u8]>) -> io::Result<()> {
        self.active = now;
        self.pending = self.pending.saturating_sub(1);
        if let Some(answer) = answer {
            self.push(|output| output.extend_from_slice(answer));
        }
        self.write()
    }

    pub(super) fn wants_input(&self) -> bool {
        !self.ended && self.has_room() && !self.has_question()
    }

    fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_MAX && self.pending < PENDING_MAX
    }

    /// Whether a whole question waits until there is room for its answer.
    fn has_question(&self) -> bool {
        split(&self.input).is_some()
    }

    fn read(
        &mut self,
        now: Instant,
        id: ConnectionId,
        buffer: &mut [u8],
        questions: &impl Questions,
    ) -> io::Result<()> {
        for _ in 0..READS {
            match self.stream.read(buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(length) => {
                    self.take_input(now, id, buffer.get(..length).unwrap_or_default(), questions);
                    self.write()?;
                    if length < buffer.len() || !self.wants_input() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Handles whole questions while there is room for their answers; the rest is kept.
    fn take_input(&mut self, now: Instant, id: ConnectionId, fresh: &[u8], questions: &impl Questions) {
        let mut kept = std::mem::take(&mut self.input);
        let input = if kept.is_empty() {
            fresh
        } else {
            kept.extend_from_slice(fresh);
            kept.as_slice()
        };
        let mut rest = input;
        while self.has_room()
            && let Some((question, behind)) = split(rest)
        {
            let client = self.client;
            let mut later = false;
            self.push(|output| later = questions.handle(client, id, question, output));
            self.pending += usize::from(later);
            self.active = now;
            rest = behind;
        }
        // A question that comes octet by octet is not copied for each of them.
        self.input = if rest.len() == kept.len() { kept } else { rest.to_vec() };
    }

    /// Appends one message with its length in front (RFC 1035, 4.2.2); nothing if `write` appends nothing.
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.output.len();
        self.output.extend_from_slice(&[0, 0]);
        write(&mut self.output);
        let length = u16::try_from(self.output.len() - start - 2).unwrap_or(0);
        match self.output.get_mut(start..start + 2) {
            Some(place) if length > 0 => place.copy_from_slice(&length.to_be_bytes()),
            _ => self.output.truncate(start),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let mut written = 0;
        while let Some(rest) = self.output.get(written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.output.drain(..written);
        if self.output.is_empty() && self.output.capacity() > READ {
            self.output = Vec::new();
        }
        Ok(())
    }

    /// Says what is waited for; an error where the connection is over.
    pub(super) fn settle(&mut self, epoll: &OwnedFd, id: u64) -> io::Result<()> {
        if self.ended && self.pending == 0 && self.output.is_empty() && !self.has_question() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.wants_input());
        interest.set(EventFlags::OUT, !self.output.is_empty() || self.has_room() && self.has_question());
        if interest != self.interest {
            epoll::modify(epoll, &self.stream, EventData::new_u64(id), interest)?;
            self.interest = interest;
        }
        Ok(())
    }
}

/// The first whole message, and what follows.
fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}
