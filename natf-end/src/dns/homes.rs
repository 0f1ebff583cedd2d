//! The configured homes, and which names are theirs.
//!
//! A home is a domain: every host name below it is a private host name of it, the domain itself (the apex) is
//! the router and stays what it is. The home `*` is the paper's way (N1): every name's first label is taken for
//! a private host name and the rest for the home, and the router is tried (N10).

use std::rc::Rc;

use thiserror::Error;

use crate::relation::PrivateName;

/// Longest private host name that a mapping request carries (N5).
const HOST_LENGTH_MAX: usize = 64;

/// Top-level names that never lead to a home (RFC 3172, RFC 6761, RFC 6762, RFC 7686).
const SPECIAL_NAMES: [&str; 4] = ["arpa", "localhost", "local", "onion"];

/// How a name came to be ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// It is below the domain of a configured home.
    Home,
    /// Only the home `*` covers it: perhaps there is no NAT-f at all behind it.
    Any,
}

/// A name that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours<'a> {
    /// Private host name and domain.
    pub name: PrivateName<'a>,
    /// The configured home.
    pub home: Rc<str>,
    /// How it was found.
    pub scope: Scope,
}

/// A home that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum HomesError {
    /// Not a domain name.
    #[error("home {home}: domain {domain:?} is not accepted: a domain name such as home.example.net, or *")]
    Domain {
        /// Name of the home.
        home: String,
        /// Its domain.
        domain: String,
    },
    /// Two homes with one domain.
    #[error("home {home}: domain {domain:?} already belongs to home {other}")]
    Twice {
        /// Name of the home.
        home: String,
        /// Its domain.
        domain: String,
        /// The home that was first.
        other: String,
    },
}

/// The homes, in the order in which they are asked: longest domain first, `*` last.
#[derive(Clone, Debug, Default)]
pub struct Homes {
    below: Vec<Home>,
    any: Option<Home>,
}

#[derive(Clone, Debug)]
struct Home {
    name: Rc<str>,
    domain: String,
    /// Only these private host names; empty = all.
    hosts: Vec<String>,
}

impl Homes {
    /// No homes: every name passes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a home: `domain` is a domain name or `*`; `hosts`, if any are given, are its only names.
    pub fn add<'h>(
        &mut self,
        name: &str,
        domain: &str,
        hosts: impl IntoIterator<Item = &'h str>,
    ) -> Result<(), HomesError> {
        let normal = domain.trim_end_matches('.').to_ascii_lowercase();
        let other = match normal.as_str() {
            "*" => self.any.as_ref(),
            domain => self.below.iter().find(|home| home.domain == domain),
        };
        if let Some(other) = other {
            let other = other.name.to_string();
            return Err(HomesError::Twice { home: name.into(), domain: domain.into(), other });
        }
        if normal != "*" && !is_domain(&normal) {
            return Err(HomesError::Domain { home: name.into(), domain: domain.into() });
        }
        let hosts = hosts.into_iter().map(str::to_ascii_lowercase).collect();
        let home = Home { name: name.into(), domain: normal, hosts };
        if home.domain == "*" {
            self.any = Some(home);
        } else {
            self.below.push(home);
            self.below.sort_by_key(|home| std::cmp::Reverse(home.domain.len()));
        }
        Ok(())
    }

    /// The domains of the homes, `*` last: for a system resolver that can route by domain.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.below.iter().chain(&self.any).map(|home| home.domain.as_str())
    }

    /// Whose name this is, if it is ours at all; `name` is lower case without a final dot.
    pub fn classify<'a>(&self, name: &'a str) -> Option<Ours<'a>> {
        if let Some(home) = self.home_around(name) {
            // The apex and names that the home excludes are not for `*` either.
            let private = PrivateName::below(name, &home.domain)?;
            return home.ours(private, Scope::Home);
        }
        let top = name.rsplit('.').next()?;
        if SPECIAL_NAMES.contains(&top) {
            return None;
        }
        let private = PrivateName::split_at(name, name.find('.')?)?;
        // A domain of one label is a registry, not somebody's home: `example.net` is no host of `net`.
        if !private.domain().contains('.') {
            return None;
        }
        self.any.as_ref()?.ours(private, Scope::Any)
    }

    /// Whether `name` is the domain of a configured home or stands below it.
    pub fn is_around(&self, name: &str) -> bool {
        self.home_around(name).is_some()
    }

    fn home_around(&self, name: &str) -> Option<&Home> {
        self.below.iter().find(|home| {
            name.strip_suffix(&home.domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    }
}

impl Home {
    fn ours<'a>(&self, name: PrivateName<'a>, scope: Scope) -> Option<Ours<'a>> {
        let host = name.host();
        // A label that begins with `_` names a service, not a host (RFC 8552).
        let is_host = host.len() <= HOST_LENGTH_MAX && !host.split('.').any(|label| label.starts_with('_'));
        let listed = self.hosts.is_empty() || self.hosts.iter().any(|listed| listed == host);
        (is_host && listed).then(|| Ours { name, home: self.name.clone(), scope })
    }
}

fn is_domain(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    domain.len() <= 250 && domain.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn homes(list: &[(&str, &str, &[&str])]) -> Homes {
        let mut homes = Homes::new();
        for (name, domain, hosts) in list {
            homes.add(name, domain, hosts.iter().copied()).unwrap();
        }
        homes
    }

    fn found(homes: &Homes, name: &str) -> Option<(String, String, String, Scope)> {
        let ours = homes.classify(name)?;
        Some((ours.name.host().into(), ours.name.domain().into(), ours.home.to_string(), ours.scope))
    }

    fn is(host: &str, domain: &str, home: &str, scope: Scope) -> Option<(String, String, String, Scope)> {
        Some((host.into(), domain.into(), home.into(), scope))
    }

    #[test]
    fn n1_names_below_a_home_are_ours_and_its_apex_is_not() {
        let homes = homes(&[("h", "Home.Example.net.", &[])]);
        let expected = is("alice", "home.example.net", "h", Scope::Home);
        assert_eq!(found(&homes, "alice.home.example.net"), expected);
        assert_eq!(found(&homes, "home.example.net"), None);
        assert_eq!(found(&homes, "myhome.example.net"), None);
        assert_eq!(found(&homes, "example.net"), None);
    }

    #[test]
    fn longest_domain_wins_and_its_apex_is_no_host_of_the_shorter() {
        let homes = homes(&[("outer", "example.net", &[]), ("inner", "home.example.net", &[])]);
        let inner = is("alice", "home.example.net", "inner", Scope::Home);
        assert_eq!(found(&homes, "alice.home.example.net"), inner);
        assert_eq!(found(&homes, "home.example.net"), None);
        assert_eq!(found(&homes, "bob.example.net"), is("bob", "example.net", "outer", Scope::Home));
    }

    #[test]
    fn listed_hosts_restrict_a_home_and_the_rest_is_not_left_to_any() {
        let homes = homes(&[("h", "home.example.net", &["Alice"]), ("any", "*", &[])]);
        assert!(found(&homes, "alice.home.example.net").is_some());
        assert_eq!(found(&homes, "bob.home.example.net"), None);
    }

    #[test]
    fn n1_any_takes_the_first_label_for_the_host() {
        let homes = homes(&[("any", "*", &[])]);
        let expected = is("alice", "home.example.org", "any", Scope::Any);
        assert_eq!(found(&homes, "alice.home.example.org"), expected);
        for name in
            ["localhost", "example.org", "printer.office.local", "1.2.0.192.in-addr.arpa", "a.localhost"]
        {
            assert_eq!(found(&homes, name), None, "{name}");
        }
    }

    #[test]
    fn service_labels_and_overlong_hosts_are_not_ours() {
        let homes = homes(&[("h", "home.example.net", &[])]);
        assert_eq!(found(&homes, "_acme-challenge.alice.home.example.net"), None);
        assert!(found(&homes, "www.alice.home.example.net").is_some());
        let long = format!("{}.{}.home.example.net", "a".repeat(40), "b".repeat(40));
        assert_eq!(found(&homes, &long), None);
    }

    #[test]
    fn bad_and_double_domains_are_refused() {
        let mut homes = Homes::new();
        for domain in ["", ".", "a..b", "home example", "*.net"] {
            assert!(matches!(homes.add("h", domain, []), Err(HomesError::Domain { .. })), "{domain:?}");
        }
        homes.add("h", "home.example.net", []).unwrap();
        assert!(matches!(homes.add("i", "HOME.example.net", []), Err(HomesError::Twice { .. })));
        homes.add("any", "*", []).unwrap();
        assert!(matches!(homes.add("all", "*", []), Err(HomesError::Twice { .. })));
        assert_eq!(homes.domains().collect::<Vec<_>>(), ["home.example.net", "*"]);
    }
}
