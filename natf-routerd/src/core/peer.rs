//! Enrolled peers: their keys, their counters, and what they may ask for.

use std::collections::{BTreeMap, BTreeSet};

use natf_proto::{HostName, KeyId, PeerKeys, ReplayWindow};

/// Counters are reserved in blocks of this size: one write to flash for so many messages.
const RESERVED_BLOCK: u64 = 1 << 20;

/// What a peer is enrolled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// An external node.
    Node,
    /// A DNS server that announces its clients.
    Tsn,
    /// A SIP proxy.
    Sip,
}

/// One enrolled peer.
#[derive(Debug)]
pub struct Peer {
    /// The name of its section.
    pub name: String,
    /// What it is enrolled for.
    pub role: Role,
    /// The hosts it may ask for; empty = all that the host rows allow.
    pub hosts: BTreeSet<HostName>,
    /// Its working keys.
    pub keys: PeerKeys,
    /// Which counters it has used.
    pub window: ReplayWindow,
    /// Counters up to this one count as used after a restart.
    pub reserved: u64,
    /// When it was last heard, in unix seconds; 0 = never.
    pub last_seen: u64,
}

impl Peer {
    /// Remembers the counter of an authenticated message; returns a new reservation to be stored, if one is due.
    pub fn accept(&mut self, counter: u64, unix: u64) -> Option<u64> {
        self.window.accept(counter);
        self.last_seen = unix;
        if self.window.highest() <= self.reserved {
            return None;
        }
        self.reserved = self.window.highest().saturating_add(RESERVED_BLOCK);
        Some(self.reserved)
    }
}

/// A peer as the configuration and the key file give it.
#[derive(Debug)]
pub struct PeerSetting {
    /// The name of its section.
    pub name: String,
    /// What it is enrolled for.
    pub role: Role,
    /// The hosts it may ask for.
    pub hosts: BTreeSet<HostName>,
    /// Its working keys.
    pub keys: PeerKeys,
    /// Fingerprint of the enrolled key: a peer keeps its counters over a reload only with the same key.
    pub fingerprint: [u8; 8],
}

/// All enrolled peers by the id of their key.
#[derive(Debug, Default)]
pub struct Peers {
    peers: BTreeMap<KeyId, (Peer, [u8; 8])>,
}

impl Peers {
    /// Looks a peer up.
    pub fn find(&self, id: KeyId) -> Option<&Peer> {
        self.peers.get(&id).map(|(peer, _)| peer)
    }

    /// Looks a peer up, to change its counters.
    pub fn find_mut(&mut self, id: KeyId) -> Option<&mut Peer> {
        self.peers.get_mut(&id).map(|(peer, _)| peer)
    }

    /// All peers in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (KeyId, &Peer)> {
        self.peers.iter().map(|(id, (peer, _))| (*id, peer))
    }

    /// Replaces all settings; who stays with the same key keeps its counters, others start above `floors`.
    pub fn replace(&mut self, settings: Vec<PeerSetting>, floors: &BTreeMap<KeyId, u64>) {
        let mut former = std::mem::take(&mut self.peers);
        for setting in settings {
            let id = setting.keys.id();
            let floor = floors.get(&id).copied().unwrap_or(0);
            let (window, reserved, last_seen) = match former.remove(&id) {
                Some((peer, print)) if print == setting.fingerprint => {
                    (peer.window, peer.reserved, peer.last_seen)
                }
                _ => (ReplayWindow::above(floor), floor, 0),
            };
            let PeerSetting { name, role, hosts, keys, fingerprint } = setting;
            self.peers
                .insert(id, (Peer { name, role, hosts, keys, window, reserved, last_seen }, fingerprint));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natf_proto::Freshness;

    fn setting(fingerprint: u8) -> PeerSetting {
        PeerSetting {
            name: "laptop".into(),
            role: Role::Node,
            hosts: BTreeSet::new(),
            keys: PeerKeys::derive(KeyId(7), &[fingerprint; 32]),
            fingerprint: [fingerprint; 8],
        }
    }

    #[test]
    fn counters_survive_a_reload_with_the_same_key_and_not_a_new_key() {
        let mut peers = Peers::default();
        peers.replace(vec![setting(1)], &BTreeMap::new());
        peers.find_mut(KeyId(7)).unwrap().accept(50, 0);
        peers.replace(vec![setting(1)], &BTreeMap::new());
        assert_eq!(peers.find(KeyId(7)).unwrap().window.judge(50), Freshness::Replayed);
        peers.replace(vec![setting(2)], &BTreeMap::new());
        assert_eq!(peers.find(KeyId(7)).unwrap().window.judge(50), Freshness::Fresh);
    }

    #[test]
    fn flash_is_written_once_for_a_block_of_counters() {
        let mut peers = Peers::default();
        peers.replace(vec![setting(1)], &BTreeMap::new());
        let peer = peers.find_mut(KeyId(7)).unwrap();
        let writes = (1..=10_000).filter(|counter| peer.accept(*counter, 0).is_some()).count();
        assert_eq!(writes, 1);
    }

    #[test]
    fn after_a_restart_no_reserved_counter_is_accepted() {
        let mut peers = Peers::default();
        peers.replace(vec![setting(1)], &BTreeMap::new());
        let floor = peers.find_mut(KeyId(7)).unwrap().accept(99, 0).unwrap();
        let mut restarted = Peers::default();
        restarted.replace(vec![setting(1)], &[(KeyId(7), floor)].into());
        assert_eq!(restarted.find(KeyId(7)).unwrap().window.judge(99), Freshness::Stale { floor });
    }
}
