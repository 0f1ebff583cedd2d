//! Our entries in the kernel's connection tracking table: the mappings themselves (N7).

use std::time::Duration;

use natf_kernel::{
    KernelError,
    conntrack::{Conntrack, Entry as Found, Flow, Insert, InsertError, Label, TcpState},
};
use natf_proto::{KeyId, Transport};

use super::sets::Sets;
use crate::core::{
    forcing::Inserted,
    mapping::MappingId,
    output::{Entry, FirstFlow, Now, Shown},
    router::Router,
};

/// What the kernel answers where a conntrack helper is not there (EOPNOTSUPP, also ENOTSUPP inside the kernel).
const NO_HELPER: [i32; 2] = [95, 524];
const FTP: u16 = 21;
/// Entries that could not be deleted, and are to be: the table of mappings has no more by far, unless all calls fail.
const LEFTOVERS: usize = 4096;
/// First half of our conntrack label: tells our entries from all others after a restart.
const LABEL_MARK: [u8; 2] = *b"Nf";

/// An insert that stands in line.
#[derive(Debug, Clone, Copy)]
pub struct Pending {
    /// Whose entry it is.
    pub id: MappingId,
    /// What is to be translated.
    pub entry: Entry,
    /// How long it waits for its first packet.
    pub timeout: Duration,
    /// What the host sees as the source.
    pub shown: Shown,
}

/// Our entries, and what stands in line for them.
pub struct Entries {
    conntrack: Conntrack,
    inserts: Vec<Pending>,
    results: Vec<Result<(), InsertError>>,
    helpers: bool,
    /// Whether the last batch of entries found conntrack's table full: said once, not for each flow.
    full: bool,
    /// Entries that stand, or may stand, without a mapping, as a call failed.
    leftovers: Vec<Entry>,
}

impl Entries {
    /// Opens the way to the table.
    ///
    /// # Errors
    /// Where rights or kernel modules are missing; the message says which.
    pub fn open() -> Result<Self, KernelError> {
        Ok(Self {
            conntrack: Conntrack::open()?,
            inserts: Vec::new(),
            results: Vec::new(),
            helpers: true,
            full: false,
            leftovers: Vec::new(),
        })
    }

    /// Has an entry made, with the next [`Self::insert`].
    pub fn push_insert(&mut self, pending: Pending) {
        self.inserts.push(pending);
    }

    /// Whether inserts stand in line.
    pub fn has_inserts(&self) -> bool {
        !self.inserts.is_empty()
    }

    /// One datagram for all inserts that stand in line; the core is told each answer.
    ///
    /// # Errors
    /// Where answers did not come: their entries count as refused, and are deleted should they stand.
    pub fn insert(&mut self, now: Now, router: &mut Router) -> Result<(), KernelError> {
        if self.inserts.is_empty() {
            return Ok(());
        }
        let batch: Vec<_> = self
            .inserts
            .iter()
            .map(|pending| conntrack_insert(&pending.entry, pending.timeout, pending.shown, self.helpers))
            .collect();
        self.results.clear();
        let sent = self.conntrack.insert_batch(&batch, &mut self.results);
        self.tell_full();
        let inserts = std::mem::take(&mut self.inserts);
        let answers = self.results.drain(..).map(Some).chain(std::iter::repeat(None));
        let (mut without_helper, mut unanswered) = (Vec::new(), Vec::new());
        for (pending, answer) in inserts.iter().zip(answers) {
            if self.helpers && wants_helper(&pending.entry) && has_no_helper(answer.as_ref()) {
                without_helper.push(*pending);
                continue;
            }
            if answer.is_none() {
                unanswered.push(pending.entry);
            }
            router.handle_inserted(now, pending.id, &pending.entry, inserted(&pending.entry, answer));
        }
        unanswered.into_iter().for_each(|entry| self.leave(entry));
        if !without_helper.is_empty() {
            log::warn!(
                "the kernel has no FTP helper: FTP's data connections will not pass (install kmod-nf-nathelper)"
            );
            self.helpers = false;
            self.inserts = without_helper;
        }
        sent
    }

    fn tell_full(&mut self) {
        let full = self.results.contains(&Err(InsertError::Full));
        if full && !self.full {
            log::warn!("the connection tracking table is full (nf_conntrack_max): new flows are refused");
        }
        self.full = full;
    }

    /// An entry that is still unused waits for as long again; one that is gone is made anew.
    ///
    /// # Errors
    /// Where the kernel does not answer, or refuses.
    pub fn renew(&mut self, entry: &Entry, timeout: Duration) -> Result<Inserted, KernelError> {
        let flow = flow(entry);
        match self.conntrack.get(&flow)? {
            Some(found) if found.label != Some(label(entry.peer)) => Ok(Inserted::Taken),
            Some(found) => {
                if found.timeout < timeout {
                    self.conntrack.set_timeout(&flow, timeout)?;
                }
                Ok(Inserted::Done)
            }
            None => {
                let insert = conntrack_insert(entry, timeout, Shown::Source, self.helpers);
                Ok(inserted(entry, Some(self.conntrack.insert(&insert)?)))
            }
        }
    }

    /// How long an entry still lives; `None` where it is gone, or its connection is over.
    ///
    /// # Errors
    /// Where the kernel does not answer, or refuses.
    pub fn remaining(&mut self, entry: &Entry) -> Result<Option<Duration>, KernelError> {
        let lives = |found: &Found| is_ours(found, entry) && !found.tcp_state.is_some_and(TcpState::is_over);
        Ok(self.conntrack.get(&flow(entry))?.filter(lives).map(|found| found.timeout))
    }

    /// Whether conntrack knows a flow, in either direction. A SYN on a connection that is over would have the kernel
    /// delete its entry and see a new flow, so that is done here.
    ///
    /// # Errors
    /// Where the kernel does not answer, or refuses.
    pub fn knows(&mut self, first: &FirstFlow) -> Result<bool, KernelError> {
        let flow =
            Flow { proto: first.transport as u8, source: first.source, destination: first.destination };
        let Some(found) = self.conntrack.get_reply_taken(&flow)? else { return Ok(false) };
        let over = found.original == flow && found.tcp_state.is_some_and(TcpState::is_over);
        if over {
            self.conntrack.delete(&flow)?;
        }
        Ok(!over)
    }

    /// Deletes an entry; where that fails, [`Self::clean`] tries again.
    ///
    /// # Errors
    /// Where the kernel does not answer, or refuses.
    pub fn delete(&mut self, entry: &Entry, sets: &mut Sets) -> Result<(), KernelError> {
        let deleted = self.try_delete(entry, sets);
        if deleted.is_err() {
            self.leave(*entry);
        }
        deleted
    }

    /// Deletes an entry, and with FTP's control connection its data connections, which the kernel would let run on.
    ///
    /// Where the mapping keeps the port, the host's next packet would pass the NAT with the very same translation and
    /// the flow would go on: it is refused from before the deletion on.
    fn try_delete(&mut self, entry: &Entry, sets: &mut Sets) -> Result<(), KernelError> {
        let control = flow(entry);
        let keeps_port = entry.mapped.port() == entry.inside.port();
        let mut flows = vec![control];
        let mut refused = Vec::new();
        if wants_helper(entry) || keeps_port {
            let found = self.conntrack.get(&control)?;
            refused.extend(found.as_ref().map(|found| found.reply));
            // Only a control connection that stood has data connections; the whole table is searched for them.
            if wants_helper(entry) && found.as_ref().is_some_and(has_stood) {
                self.conntrack.dump(|found| {
                    if found.master == Some(control) {
                        flows.push(found.original);
                        let by_host = found.original.source.ip() == entry.inside.ip();
                        refused.push(if by_host { found.original } else { found.reply });
                    }
                })?;
            }
        }
        if keeps_port {
            sets.refuse(&refused);
        }
        self.conntrack.delete_batch(&flows).map(drop)
    }

    fn leave(&mut self, entry: Entry) {
        if self.leftovers.len() < LEFTOVERS {
            self.leftovers.push(entry);
        }
    }

    /// Deletes what should have been deleted before, unless it is a mapping's again.
    ///
    /// # Errors
    /// Where the kernel does not answer, or refuses; what is left then waits for the next time.
    pub fn clean(&mut self, router: &Router, sets: &mut Sets) -> Result<(), KernelError> {
        while let Some(entry) = self.leftovers.last().copied() {
            let stands = self.conntrack.get(&flow(&entry))?.is_some_and(|found| is_ours(&found, &entry));
            if stands && !router.has_mapping(&entry) {
                self.try_delete(&entry, sets)?;
            }
            self.leftovers.pop();
        }
        Ok(())
    }

    /// Hands our entries in the kernel to `each`, as after a restart.
    ///
    /// # Errors
    /// Where the kernel's table cannot be read.
    pub fn restore(&mut self, mut each: impl FnMut(Entry)) -> Result<(), KernelError> {
        self.conntrack.dump(|found| {
            let peer = found.label.and_then(|label| peer_of(&label));
            let transport = Transport::parse(found.original.proto).ok();
            if let (Some(peer), Some(transport)) = (peer, transport) {
                let (source, mapped) = (found.original.source, found.original.destination);
                each(Entry { transport, source, mapped, inside: found.reply.source, peer });
            }
        })
    }

    /// Packets and bytes of an entry, both ways, and the seconds it still lives; `None` where it is gone.
    pub fn look(&mut self, entry: &Entry) -> Option<Found> {
        self.conntrack.get(&flow(entry)).ok().flatten()
    }
}

fn flow(entry: &Entry) -> Flow {
    Flow { proto: entry.transport as u8, source: entry.source, destination: entry.mapped }
}

fn conntrack_insert(entry: &Entry, timeout: Duration, shown: Shown, helpers: bool) -> Insert<'static> {
    Insert {
        original: flow(entry),
        dnat: Some(entry.inside),
        // Left open, the kernel gives a clashing source another port instead of refusing the entry.
        snat: match shown {
            Shown::Source => Some(entry.source),
            Shown::SourceOrOtherPort => None,
            Shown::Router(socket) => Some(socket),
        },
        timeout,
        label: Some(label(entry.peer)),
        helper: (helpers && wants_helper(entry)).then_some("ftp"),
    }
}

/// FTP's data connections are found by the kernel's helper (N16); it has to be there from the first packet on.
fn wants_helper(entry: &Entry) -> bool {
    entry.transport == Transport::Tcp && entry.inside.port() == FTP
}

fn has_no_helper(answer: Option<&Result<(), InsertError>>) -> bool {
    matches!(answer, Some(Err(InsertError::Kernel(errno))) if NO_HELPER.contains(errno))
}

fn is_ours(found: &Found, entry: &Entry) -> bool {
    found.label == Some(label(entry.peer))
}

fn inserted(entry: &Entry, answer: Option<Result<(), InsertError>>) -> Inserted {
    match answer {
        Some(Ok(())) => Inserted::Done,
        Some(Err(InsertError::Exists)) => Inserted::Taken,
        Some(Err(InsertError::Full)) => Inserted::Refused,
        Some(Err(error)) => {
            log::warn!("mapping {} -> {} ({}): {error}", entry.mapped, entry.inside, entry.transport);
            Inserted::Refused
        }
        None => Inserted::Refused,
    }
}

/// Our label: twelve bytes that belong to others, our mark, the id of the peer's key.
fn label(peer: KeyId) -> Label {
    let mut label = [0; 16];
    let [.., mark_0, mark_1, id_0, id_1] = &mut label;
    [*mark_0, *mark_1] = LABEL_MARK;
    [*id_0, *id_1] = peer.0.to_be_bytes();
    label
}

fn peer_of(label: &Label) -> Option<KeyId> {
    let [.., mark_0, mark_1, id_0, id_1] = *label;
    ([mark_0, mark_1] == LABEL_MARK).then(|| KeyId(u16::from_be_bytes([id_0, id_1])))
}

fn has_stood(found: &Found) -> bool {
    !matches!(found.tcp_state, None | Some(TcpState::None | TcpState::SynSent | TcpState::SynReceived))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_carries_the_peer() {
        assert_eq!(peer_of(&label(KeyId(0xabcd))), Some(KeyId(0xabcd)));
        assert_eq!(peer_of(&[0; 16]), None);
    }
}
