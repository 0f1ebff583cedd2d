//! Questions that are on their way: what an answer has to fit.

use std::{collections::HashMap, net::Ipv4Addr, time::Instant};

use natf_proto::{KeyId, Kind};

use crate::{flow::Flow, outcome::Carrier};

/// What an answer shows before it is opened: who sent it, under which key, to which counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ExchangeKey {
    pub router: Ipv4Addr,
    pub key: KeyId,
    pub counter: u64,
}

/// A question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub flow: Flow,
    pub kind: Kind,
    pub carrier: Carrier,
    pub at: Instant,
    /// How many answers before this question asked for it.
    pub round: u8,
    /// The kind of an answer that asks for more, once one came.
    pub used_up_by: Option<Kind>,
}

/// All questions; bounded by the flows, each of which has a few.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(HashMap<ExchangeKey, Exchange>);

impl Exchanges {
    pub fn get(&self, key: &ExchangeKey) -> Option<Exchange> {
        self.0.get(key).copied()
    }

    pub fn insert(&mut self, key: ExchangeKey, exchange: Exchange) {
        self.0.insert(key, exchange);
    }

    /// Notes an answer that counts once.
    pub fn use_up(&mut self, key: &ExchangeKey, by: Kind) {
        if let Some(exchange) = self.0.get_mut(key) {
            exchange.used_up_by = Some(by);
        }
    }

    pub fn remove(&mut self, key: &ExchangeKey) {
        self.0.remove(key);
    }
}
