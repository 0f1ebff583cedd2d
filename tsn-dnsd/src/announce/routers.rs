//! The routers that are told about communication, and which names are theirs.

use std::{collections::HashMap, net::Ipv4Addr, rc::Rc};

use natf_config::Without;
use natf_proto::PeerKeys;

/// A router that this server is enrolled at.
#[derive(Debug, Clone)]
pub struct RouterRow {
    /// Name of its section.
    pub name: String,
    /// Domains whose names are announced, with everything below them; lower case, without a final dot.
    pub domains: Vec<String>,
    /// Keys that seal the notifications.
    pub keys: PeerKeys,
    /// Where notifications go; `None`: to the address in the DNS answer.
    pub address: Option<Ipv4Addr>,
    /// What a client gets while the router takes none.
    pub without: Without,
}

/// All routers, found by the names that they answer for.
#[derive(Debug, Default)]
pub struct Routers {
    rows: Vec<Rc<RouterRow>>,
    by_domain: HashMap<String, usize>,
}

impl Routers {
    /// Of two rows with the same domain the first one counts.
    pub fn new(rows: Vec<RouterRow>) -> Self {
        let mut by_domain = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            for domain in &row.domains {
                by_domain.entry(domain.clone()).or_insert(at);
            }
        }
        Self { rows: rows.into_iter().map(Rc::new).collect(), by_domain }
    }

    /// The router with the longest domain that `name` stands in; lower case, without a final dot.
    pub fn of(&self, name: &str) -> Option<Rc<RouterRow>> {
        let mut rest = name;
        loop {
            if let Some(at) = self.by_domain.get(rest) {
                return self.rows.get(*at).cloned();
            }
            rest = rest.split_once('.')?.1;
        }
    }

    /// All rows, as configured.
    pub fn rows(&self) -> &[Rc<RouterRow>] {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use natf_proto::KeyId;

    fn row(name: &str, domains: &[&str]) -> RouterRow {
        RouterRow {
            name: name.into(),
            domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
            keys: PeerKeys::derive(KeyId(1), &[1; 32]),
            address: None,
            without: Without::Refuse,
        }
    }

    #[test]
    fn the_longest_domain_counts() {
        let routers =
            Routers::new(vec![row("a", &["example.net"]), row("b", &["home.example.net", "b.test"])]);
        let found = |name: &str| routers.of(name).map(|row| row.name.clone());
        assert_eq!(found("alice.home.example.net").as_deref(), Some("b"));
        assert_eq!(found("home.example.net").as_deref(), Some("b"));
        assert_eq!(found("x.y.b.test").as_deref(), Some("b"));
        assert_eq!(found("www.example.net").as_deref(), Some("a"));
        assert_eq!(found("example.com"), None);
        assert_eq!(found("notexample.net"), None);
        assert_eq!(found(""), None);
    }
}
