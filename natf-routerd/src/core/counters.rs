//! Named counters: every message that is dropped or refused raises one that a user can read.

use natf_proto::Reason;

/// What is counted besides refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Counter {
    /// Mapping requests that were well-formed, authenticated and fresh.
    Requests,
    /// Mappings made.
    Mapped,
    /// Requests repeated for a live mapping: retransmissions and refreshes.
    Repeated,
    /// Grants without a mapping to ENs that are at home.
    Direct,
    /// Mappings that were told to end by their EN.
    Ended,
    /// Mappings whose conntrack entry had gone by itself.
    TimedOut,
    /// Mappings ended because the access control table, a peer or the WAN address changed.
    Revoked,
    /// First packets from behind a NAT that found their mapping.
    FirstPackets,
    /// Packets caught for an awaiting mapping that had no use for them.
    FirstPacketsUnmatched,
    /// Not 184 bytes, unknown version, unknown kind or a field out of range.
    Malformed,
    /// A kind that routers do not take.
    UnexpectedKind,
    /// A key id that is not enrolled, or disabled.
    UnknownKey,
    /// Sealed with another key, or changed on its way.
    Forged,
    /// A counter that was used before.
    Replayed,
    /// A counter below the floor: the peer was told.
    Stale,
    /// A transaction that came again with other facts.
    TransactionReused,
    /// Anonymous requests while no host is open to `anyone`.
    AnonymousIgnored,
    /// Cookies handed out.
    Cookies,
    /// Dropped by a token bucket.
    RateLimited,
    /// Mapped ports that the kernel refused because somebody else has them.
    PortTaken,
    /// Inserts that the kernel refused for lack of room or otherwise.
    KernelRefused,
    /// Calls to the kernel that failed: tried again, or left to timeouts.
    KernelFailed,
    /// Answers that the kernel did not send.
    Unsent,
    /// Packets that reached the queue and are no NAT-f message.
    NotOurs,
    /// Communication notifications that were well-formed, authenticated and fresh (T4).
    Notifications,
    /// Flows led to a host by the guide table (T7).
    Guided,
    /// Caught packets of flows that conntrack knew already: they spent nothing.
    GuidePassed,
    /// Caught packets that no row fitted: they went on untouched (T8).
    GuideUnmatched,
    /// Caught packets that had a row, but no room or no consent of the kernel: dropped.
    GuideDropped,
    /// Rows ended because the access control table or a peer changed.
    GuideRevoked,
    /// Flows whose packets are all looked at, as the set of those that need not be is full.
    PassingFull,
    /// Dynamic updates that were seen on their way and taken (T1).
    Registrations,
    /// Names learned from them, anew or once more.
    NamesLearned,
    /// Names withdrawn by them.
    NamesWithdrawn,
    /// Dynamic updates that the server refused, or did not answer in time.
    RegistrationsRefused,
    /// What went to or came from a DDNS server and is no dynamic update, or a broken one.
    RegistrationsMalformed,
    /// Changes in dynamic updates that teach nothing: another zone, another host's address, too long a name.
    RegistrationsIgnored,
    /// Dynamic updates and names for which there was no room.
    RegistrationsFull,
    /// NetBIOS answers that were asked for and are none (N13).
    NetbiosMalformed,
    /// What came in the place of NetBIOS answers from others than those that were asked.
    NetbiosForeign,
}

const COUNTERS: usize = Counter::NetbiosForeign as usize + 1;

/// Names in the order of [`Counter`].
const NAMES: [&str; COUNTERS] = [
    "requests",
    "mapped",
    "repeated",
    "direct",
    "ended",
    "timed_out",
    "revoked",
    "first_packets",
    "first_packets_unmatched",
    "malformed",
    "unexpected_kind",
    "unknown_key",
    "forged",
    "replayed",
    "stale",
    "transaction_reused",
    "anonymous_ignored",
    "cookies",
    "rate_limited",
    "port_taken",
    "kernel_refused",
    "kernel_failed",
    "unsent",
    "not_ours",
    "notifications",
    "guided",
    "guide_passed",
    "guide_unmatched",
    "guide_dropped",
    "guide_revoked",
    "passing_full",
    "registrations",
    "names_learned",
    "names_withdrawn",
    "registrations_refused",
    "registrations_malformed",
    "registrations_ignored",
    "registrations_full",
    "netbios_malformed",
    "netbios_foreign",
];

/// All counters of a router; they start at zero and wrap after 2^32.
#[derive(Debug)]
pub struct Counters {
    values: [u32; COUNTERS],
    refused: [u32; Reason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self { values: [0; COUNTERS], refused: [0; Reason::ALL.len()] }
    }
}

impl Counters {
    /// Counts one.
    pub fn count(&mut self, counter: Counter) {
        if let Some(value) = self.values.get_mut(counter as usize) {
            *value = value.wrapping_add(1);
        }
    }

    /// Counts one refusal.
    pub fn refuse(&mut self, reason: Reason) {
        let place = Reason::ALL.iter().position(|one| *one == reason);
        if let Some(value) = place.and_then(|place| self.refused.get_mut(place)) {
            *value = value.wrapping_add(1);
        }
    }

    /// One counter's value.
    pub fn value(&self, counter: Counter) -> u32 {
        self.values.get(counter as usize).copied().unwrap_or(0)
    }

    /// Names and values of all counters, refusals as `refused_…`.
    pub fn iter(&self) -> impl Iterator<Item = (String, u32)> + '_ {
        let plain = NAMES.iter().zip(self.values).map(|(name, value)| ((*name).to_owned(), value));
        let refused = Reason::ALL
            .iter()
            .zip(self.refused)
            .map(|(reason, value)| (format!("refused_{}", reason.name()), value));
        plain.chain(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_the_name_at_its_place() {
        let mut counters = Counters::default();
        counters.count(Counter::NotOurs);
        counters.count(Counter::NetbiosForeign);
        counters.refuse(Reason::Denied);
        let raised: Vec<_> = counters.iter().filter(|(_, value)| *value == 1).map(|(name, _)| name).collect();
        assert_eq!(raised, ["not_ours", "netbios_foreign", "refused_denied"]);
    }
}
