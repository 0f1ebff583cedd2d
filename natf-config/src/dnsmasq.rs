//! What dnsmasq is told where it answers on port 53: which names it asks at a daemon of ours.
//!
//! ```text
//!   LAN, local programs ──▶ dnsmasq :53 ──┬─ names of homes, announced and own names ──▶ our daemon
//!                                         └─ all others ──▶ the provider's servers
//! ```
//!
//! The lines go into a file of dnsmasq's `conf-dir`. While no daemon answers, these names fail, and are asked nowhere
//! else: any other server would lead to the router itself (N10).

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::dnsd::DnsdConfig;
use crate::end::EndSettings;
use crate::home::HomeDomain;
use crate::load::{EndConfig, RouterConfig};

impl RouterConfig {
    /// Lines for dnsmasq; none where the router plays no external node for its LAN (N12).
    pub fn dnsmasq(&self) -> String {
        let end = self.end.end.as_ref().filter(|end| !end.lan.is_empty());
        let enabled = self.router.as_ref().is_some_and(|router| router.enabled);
        end.filter(|_| enabled).map_or(String::new(), |end| home_lines(&self.end, end))
    }
}

impl EndConfig {
    /// Lines for dnsmasq; none where the homes are a router's (N12) or the system's resolver is told by itself.
    pub fn dnsmasq(&self) -> String {
        let end = self.end.clone().unwrap_or_default();
        if end.lan.is_empty() { home_lines(self, &end) } else { String::new() }
    }
}

impl DnsdConfig {
    /// Lines for dnsmasq; none where this server has port 53 itself.
    pub fn dnsmasq(&self) -> String {
        let mut listen = self.server.listen.iter().filter(|listen| listen.is_ipv4());
        let Some(listen) = listen.next().filter(|listen| self.server.enabled && listen.port() != 53) else {
            return String::new();
        };
        let routers = self.routers.values().filter(|router| router.enabled);
        let announced = routers.flat_map(|router| &router.domains).map(|domain| domain.as_str());
        let zones = self.zones.values().map(|zone| zone.name.as_str());
        let records = self.records.iter().map(|record| record.name.as_str());
        lines(announced.chain(zones).chain(records), *listen)
    }
}

fn home_lines(config: &EndConfig, end: &EndSettings) -> String {
    if !end.enabled {
        return String::new();
    }
    let names = config.homes.values().filter_map(|home| match &home.domain {
        HomeDomain::Name(name) => Some(name.as_str()),
        // Every name: dnsmasq would no longer ask anybody else, which is not for a package to decide.
        HomeDomain::Any => None,
    });
    lines(names, SocketAddr::from((end.listen, end.port)))
}

/// `rebind-domain-ok`: addresses that look private are no attack for these names (virtual ones, own records).
fn lines<'a>(names: impl Iterator<Item = &'a str>, listen: SocketAddr) -> String {
    let address = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        address => address,
    };
    let names: BTreeSet<_> = names.map(|name| name.strip_prefix("*.").unwrap_or(name)).collect();
    let mut text = String::new();
    for name in names {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "server=/{name}/{address}#{}\nrebind-domain-ok=/{name}/", listen.port());
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::{parse_config, parse_dnsd};

    const HOMES: &str = "config home 'parents'\n\toption domain 'parents.example.org'\n\
        config home 'any'\n\toption domain '*'\nconfig home 'work'\n\toption domain 'Work.example.net'\n";

    fn router(text: &str) -> String {
        parse_config(Path::new("natf"), text).unwrap().dnsmasq()
    }

    #[test]
    fn n12_dnsmasq_asks_the_router_for_the_homes_names_and_for_no_others() {
        let end = "config router 'router'\nconfig end 'end'\n\tlist lan 'br-lan'\n\toption port '5354'\n";
        assert_eq!(
            router(&format!("{end}{HOMES}")),
            "server=/parents.example.org/127.0.0.153#5354\nrebind-domain-ok=/parents.example.org/\n\
             server=/work.example.net/127.0.0.153#5354\nrebind-domain-ok=/work.example.net/\n"
        );
        for without in ["", "config router 'router'\nconfig end 'end'\n"] {
            assert_eq!(router(&format!("{without}{HOMES}")), "", "{without}");
        }
        let off = end.replace("'br-lan'\n", "'br-lan'\n\toption enabled '0'\n");
        assert_eq!(router(&format!("{off}{HOMES}")), "");
    }

    #[test]
    fn dnsmasq_asks_the_external_node_where_no_router_does() {
        let end = |text: &str| parse_config(Path::new("natf"), text).unwrap().end.dnsmasq();
        assert!(end(HOMES).starts_with("server=/parents.example.org/127.0.0.153#53\n"));
        assert_eq!(end(&format!("config end 'end'\n\tlist lan 'br-lan'\n{HOMES}")), "");
    }

    #[test]
    fn dnsmasq_asks_tsn_dnsd_for_announced_and_own_names() {
        let text = "config server 'server'\n\tlist listen '0.0.0.0#5453'\n\
            config router 'home'\n\tlist domain 'home.example.net'\n\toption id '1'\n\
            config router 'off'\n\tlist domain 'off.example.net'\n\toption id '2'\n\toption enabled '0'\n\
            config zone 'own'\n\toption name 'own.example.net'\n\
            config record\n\toption name '*.www.example.com'\n\toption type 'A'\n\toption value '203.0.113.5'\n";
        let lines = |text: &str| parse_dnsd(Path::new("tsn-dnsd"), text).unwrap().dnsmasq();
        let told = lines(text);
        let names = ["home.example.net", "own.example.net", "www.example.com"];
        let expected =
            names.map(|name| format!("server=/{name}/127.0.0.1#5453\nrebind-domain-ok=/{name}/\n"));
        assert_eq!(told, expected.concat());
        assert_eq!(lines(&text.replace("#5453", "")), "");
    }
}
