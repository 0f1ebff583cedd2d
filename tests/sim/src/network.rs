//! The internet between the nodes: who has which address, how bad the weather is, who is cut off.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use crate::dice::Dice;

/// A node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeId {
    /// A home's router.
    Router(usize),
    /// An external node.
    End(usize),
    /// The TSN server.
    Server,
    /// An unmodified client.
    Client(usize),
    /// A carrier's NAT.
    Nat(usize),
}

/// What the network does to packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weather {
    /// Packets of a thousand that are lost.
    pub loss: u32,
    /// Packets of a thousand that arrive twice.
    pub duplication: u32,
    /// Shortest way.
    pub shortest: Duration,
    /// Longest way: packets overtake each other.
    pub longest: Duration,
}

impl Weather {
    /// Nothing is lost, nobody overtakes.
    pub const FAIR: Self = Self {
        loss: 0,
        duplication: 0,
        shortest: Duration::from_millis(5),
        longest: Duration::from_millis(5),
    };

    /// From fair to awful.
    pub fn draw(dice: &mut Dice) -> Self {
        let shortest = dice.up_to_ms(40);
        let longest = shortest + *dice.pick(&[0, 2, 20, 200, 900].map(Duration::from_millis));
        Self {
            loss: *dice.pick(&[0, 20, 150, 350]),
            duplication: *dice.pick(&[0, 20, 200]),
            shortest,
            longest,
        }
    }
}

/// Addresses and lines.
#[derive(Debug)]
pub struct Network {
    /// Who has which address in the internet.
    pub addresses: BTreeMap<Ipv4Addr, NodeId>,
    /// At present.
    pub weather: Weather,
    /// Until when nothing reaches or leaves a node.
    pub cut: BTreeMap<NodeId, Instant>,
}

impl Network {
    /// Nobody is there, and the weather is fair.
    pub fn new() -> Self {
        Self { addresses: BTreeMap::new(), weather: Weather::FAIR, cut: BTreeMap::new() }
    }

    /// Whether a node is cut off.
    pub fn is_cut(&self, now: Instant, node: NodeId) -> bool {
        self.cut.get(&node).is_some_and(|until| now < *until)
    }

    /// How long each copy of a packet is on its way; none where it is lost.
    pub fn ways(&self, dice: &mut Dice) -> Vec<Duration> {
        let copies = 1 + usize::from(dice.chance(self.weather.duplication));
        let Weather { loss, shortest, longest, .. } = self.weather;
        let way = |_| if dice.chance(loss) { None } else { Some(dice.time(shortest, longest)) };
        (0..copies).filter_map(way).collect()
    }

    /// A node gives up its address and takes another one.
    pub fn renumber(&mut self, node: NodeId, address: Ipv4Addr) {
        self.addresses.retain(|_, owner| *owner != node);
        self.addresses.insert(address, node);
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}
