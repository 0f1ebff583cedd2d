//! What a seed makes of a world: which nodes there are, what may befall them, whom the homes admit.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    time::Duration,
};

use natf_proto::KeyId;
use natf_routerd::core::{peer::Role, router::Limits};

use crate::{
    dice::Dice,
    network::Weather,
    policy::{Host, Peer, Policy},
};

/// Names of hosts that homes have.
pub const HOSTS: [&str; 5] = ["alice", "bob", "carol", "dave", "mallory"];
/// Services that applications ask for; bob serves the first alone.
pub const PORTS: [u16; 3] = [80, 22, 5000];
/// The TSN server's key.
pub const SERVER: KeyId = KeyId(9);

/// An external node to be.
#[derive(Debug, Clone, Copy)]
pub struct EndPlan {
    /// The NAT that it stands behind.
    pub nat: Option<usize>,
    /// It plays the external node for a LAN.
    pub is_gateway: bool,
    /// It may ask by UDP, too.
    pub udp: bool,
    /// It has keys.
    pub is_enrolled: bool,
}

/// What may happen to a node or to all, besides bad weather.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A daemon is killed, and starts again after a while.
    Kill,
    /// A node is cut off for a while.
    Cut,
    /// A router gets another address.
    Renumber,
    /// An external node, a client or a NAT gets another address.
    Roam,
    /// A NAT forgets its flows.
    Rebind,
    /// The home's owner changes the access control table.
    Decide,
    /// A clock is set.
    Clock,
    /// The router's kernel has no room for a while.
    Full,
    /// Somebody flushes the router's ruleset.
    Flush,
    /// What was overheard is sent again.
    Replay,
    /// What was overheard is sent with a bit changed.
    Tamper,
    /// A stranger knocks at a port of a router.
    Knock,
}

/// All that can happen.
pub const TROUBLES: [Trouble; 12] = [
    Trouble::Kill,
    Trouble::Cut,
    Trouble::Renumber,
    Trouble::Roam,
    Trouble::Rebind,
    Trouble::Decide,
    Trouble::Clock,
    Trouble::Full,
    Trouble::Flush,
    Trouble::Replay,
    Trouble::Tamper,
    Trouble::Knock,
];

/// A world to be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Homes, each with what its owner wants.
    pub homes: Vec<Policy>,
    /// External nodes.
    pub ends: Vec<EndPlan>,
    /// Clients of the TSN server, each with the NAT that it stands behind.
    pub clients: Vec<Option<usize>>,
    /// NATs.
    pub nats: usize,
    /// Bounds of the routers.
    pub limits: Limits,
    /// The weather until all gets better.
    pub weather: Weather,
    /// What happens, the same thing several times where it happens oftener.
    pub troubles: Vec<Trouble>,
    /// How long there is trouble.
    pub lasts: Duration,
    /// The longest pause between two troubles.
    pub trouble_pause_ms: u64,
    /// The longest pause between two new flows.
    pub flow_pause_ms: u64,
}

impl Plan {
    /// What these dice say.
    pub fn draw(dice: &mut Dice) -> Self {
        let nats = dice.index(3);
        let ends: Vec<_> = (0..=dice.index(3)).map(|_| draw_end(dice, nats)).collect();
        let homes = (0..=dice.index(2)).map(|home| draw_home(dice, home, &ends)).collect();
        let clients = (0..dice.index(4)).map(|_| draw_nat(dice, nats)).collect();
        let troubles: Vec<_> = (0..dice.index(6)).map(|_| *dice.pick(&TROUBLES)).collect();
        // A NAT that moves takes flows along, and a killed router forgets which ports rest: either needs chance, in many
        // ports, to keep a late packet from being taken for the first one of another flow.
        let forgets_ports = [Trouble::Roam, Trouble::Kill].iter().any(|one| troubles.contains(one));
        let has_few_ports = dice.chance(300) && !forgets_ports;
        Self {
            homes,
            ends,
            clients,
            nats,
            limits: draw_limits(dice, has_few_ports),
            weather: Weather::draw(dice),
            troubles,
            lasts: Duration::from_secs(dice.between(5, 40)),
            trouble_pause_ms: *dice.pick(&[300, 2000, 8000]),
            flow_pause_ms: *dice.pick(&[500, 2000, 5000]),
        }
    }
}

fn draw_nat(dice: &mut Dice, nats: usize) -> Option<usize> {
    (nats > 0 && dice.chance(600)).then(|| dice.index(nats))
}

fn draw_end(dice: &mut Dice, nats: usize) -> EndPlan {
    let nat = draw_nat(dice, nats);
    EndPlan {
        nat,
        is_gateway: nat.is_none() && dice.chance(250),
        udp: dice.chance(300),
        is_enrolled: dice.chance(850),
    }
}

fn draw_limits(dice: &mut Dice, has_few_ports: bool) -> Limits {
    let is_tight = dice.chance(200);
    Limits {
        port_first: 16_384,
        port_last: if has_few_ports { 16_391 } else { 32_767 },
        pending: Duration::from_secs(5),
        max_mappings: if is_tight { 6 } else { 200 },
        max_per_peer: if is_tight { 4 } else { 100 },
        max_per_host: if is_tight { 4 } else { 100 },
        max_anyone: if is_tight { 2 } else { 100 },
        max_guide: if is_tight { 3 } else { 40 },
        guide_lifetime: Duration::from_secs(dice.between(4, 30)),
        learned_lifetime: Duration::from_secs(600),
    }
}

fn draw_home(dice: &mut Dice, home: usize, ends: &[EndPlan]) -> Policy {
    let enrolled = (0..ends.len()).filter(|end| ends[*end].is_enrolled);
    let mut peers: BTreeMap<_, _> = enrolled.map(|end| (end_key(end), peer(Role::Node, home, end))).collect();
    peers.insert(SERVER, peer(Role::Tsn, home, 99));
    let hosts = HOSTS.iter().zip(10..).map(|(name, last)| {
        let address = Ipv4Addr::new(192, 168, 1, last);
        (
            *name,
            Host { address, allow: *name != "mallory", port: None, peers: None, anyone: false, until: None },
        )
    });
    let mut policy = Policy { hosts: hosts.collect(), peers };
    let hosts = &mut policy.hosts;
    change(hosts, "bob", |host| host.port = Some(PORTS[0]));
    change(hosts, "carol", |host| host.peers = Some(BTreeSet::from([end_key(0), SERVER])));
    let anyone = dice.chance(500);
    change(hosts, "dave", |host| host.anyone = anyone);
    policy
}

fn change(hosts: &mut BTreeMap<&'static str, Host>, name: &str, change: impl FnOnce(&mut Host)) {
    if let Some(host) = hosts.get_mut(name) {
        change(host);
    }
}

/// The key of an external node, the same number at every home.
pub fn end_key(end: usize) -> KeyId {
    KeyId(10 + end as u16)
}

/// Every home has enrolled everybody anew, with another secret.
fn peer(role: Role, home: usize, who: usize) -> Peer {
    Peer { role, secret: secret(home, who) }
}

/// What home and peer share; the TSN server is number 99.
pub fn secret(home: usize, who: usize) -> [u8; 32] {
    let mut secret = [home as u8 + 1; 32];
    secret[31] = who as u8;
    secret
}

/// The name of a home.
pub fn domain(home: usize) -> String {
    format!("h{home}.example.net")
}
