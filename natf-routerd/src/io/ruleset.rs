//! The router's own nftables table, rendered from the settings and applied in one batch. No other table is touched.
//!
//! It carries no data: mappings are conntrack entries. It catches mapping requests before conntrack and firewall
//! (N14), keeps our answers from being taken for invalid packets, and holds the one nat chain without which the
//! kernel would not translate anything on a router that has no other. Announced flows keep their port, so that the next
//! packet of the host would make the same translation anew when one is ended: such packets are refused.
//!
//! Older kernels (6.1) keep conntrack labels only while some rule *sets* one; the chain for that is never entered.

use std::{collections::BTreeSet, fmt::Write as _, net::Ipv4Addr, ops::RangeInclusive};

use natf_config::{Protocol, Service};

use crate::core::guide_passing::PASSING_LIMIT;

/// Family and name of the table.
pub const TABLE: &str = "natf";
/// Keeps live flows translated while a flushed ruleset is written anew; it is the daemon's as long as that runs.
pub const HOLD_TABLE: &str = "natf_hold";
/// The chain whose one rule hands packets to this program.
pub const QUEUE_CHAIN: &str = "to_daemon";
/// The set of first packets that are awaited.
pub const AWAITING: &str = "awaiting";
/// The set of sources that have a row in the guide table (T7).
pub const GUIDE: &str = "guide";
/// The set of UDP flows of such sources that are not caught any more.
pub const PASSING: &str = "passing";
/// The set of flows that were ended here, as the host in the LAN would send their next packets.
pub const ENDED: &str = "ended";
/// A flow as any of its packets has it.
const FLOW: &str = "ip saddr . meta l4proto . th sport . ip daddr . th dport";
/// The chain whose one rule shows registrations to this program (T1).
pub const REGISTRATION_CHAIN: &str = "to_registration";
const ENDED_SIZE: u32 = 32_768;
/// The kernel removes what has timed out a little later.
const SLACK: u32 = 2;
/// The magic number at the start of every message, as nft reads it.
const MAGIC: &str = "@th,64,32 0x4e415466";

/// What the table depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Port of the UDP carrier, if it is on.
    pub udp_port: Option<u16>,
    /// Devices of the home network.
    pub lan: Vec<String>,
    /// Most rows of the guide table.
    pub max_guide: u32,
    /// Servers at which hosts of the LAN register their names.
    pub ddns: BTreeSet<Ipv4Addr>,
    /// What the access control table allows of any host: nothing else can be what a client is guided to.
    pub services: BTreeSet<Service>,
}

/// The table in nft's own language, to be applied as it stands: it replaces a former one in the same transaction.
///
/// The chain [`QUEUE_CHAIN`] is left empty: its rule takes another form on kernels without the `queue` statement.
pub fn render(rules: &Rules) -> String {
    let mut text = String::new();
    let (mut capture, mut answer) = (String::new(), String::new());
    if let Some(port) = rules.udp_port {
        let _ = write!(capture, "\n        udp dport {port} {MAGIC} fib daddr type local goto {QUEUE_CHAIN}");
        let _ = write!(answer, "\n        udp sport {port} {MAGIC} notrack");
    }
    let guide = guide_size(rules);
    let passing = PASSING_LIMIT * 2;
    let registration = registration_rules(rules);
    let (at_home, guided) = (home_rule(&rules.lan), guided_rules(rules));
    let _ = write!(
        text,
        "table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
    set {AWAITING} {{
        type ipv4_addr . inet_proto . ipv4_addr . inet_service
        size 8192
        flags timeout
    }}

    set {GUIDE} {{
        type ipv4_addr
        size {guide}
        flags timeout
    }}

    set {PASSING} {{
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        size {passing}
        flags timeout
    }}

    set {ENDED} {{
        type ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service
        size {ENDED_SIZE}
        flags dynamic, timeout
        timeout 10m
    }}

    chain {QUEUE_CHAIN} {{
    }}

    chain guided {{
{guided}    }}

    chain capture {{
        type filter hook prerouting priority raw - 1; policy accept;
        tcp flags & (fin | syn | rst | ack) != syn accept
        icmp type echo-request {MAGIC} fib daddr type local goto {QUEUE_CHAIN}{capture}
        ip saddr . meta l4proto . ip daddr . th dport @{AWAITING} goto {QUEUE_CHAIN}
        ip saddr @{GUIDE} goto guided{at_home}
    }}

    chain answer {{
        type filter hook output priority raw - 1; policy accept;
        icmp type echo-reply {MAGIC} notrack{answer}
    }}

    chain end {{
        type filter hook forward priority filter - 1; policy accept;
        ct state new {FLOW} @{ENDED} goto ended
    }}

    chain ended {{
        update @{ENDED} {{ {FLOW} }}
        meta l4proto tcp reject with tcp reset
        reject with icmp port-unreachable
    }}

    chain translate {{
        type nat hook prerouting priority dstnat; policy accept;
        ct label 127 accept
    }}

    chain labels {{
        ct label set 127
    }}
{registration}}}
"
    );
    text
}

/// Writes anew only what depends on the services, so that no set loses what is in it.
pub fn render_services(rules: &Rules) -> String {
    format!(
        "flush chain ip {TABLE} guided\ntable ip {TABLE} {{\n    chain guided {{\n{}    }}\n}}\n",
        guided_rules(rules)
    )
}

/// What a source that has a row meets: what no row can be for goes on untouched (T8).
fn guided_rules(rules: &Rules) -> String {
    let (tcp, udp) = (port_rule(rules, Protocol::Tcp), port_rule(rules, Protocol::Udp));
    let home_address = home_address_rule(&rules.lan);
    format!(
        "{tcp}{udp}        meta l4proto udp ip saddr . th sport . ip daddr . th dport @{PASSING} accept
        iifname \"lo\" accept
        fib daddr type != local accept{home_address}
        meta l4proto {{ tcp, udp }} goto {QUEUE_CHAIN}
"
    )
}

/// The rule for ports that no host offers.
fn port_rule(rules: &Rules, protocol: Protocol) -> String {
    let (of_others, name) = match protocol {
        Protocol::Tcp => (Protocol::Udp, "tcp"),
        _ => (Protocol::Tcp, "udp"),
    };
    let offered = rules.services.iter().filter(|service| service.protocol() != of_others);
    let ranges = merge(offered.map(|service| service.ports()));
    if ranges.iter().any(|range| *range.start() <= 1 && *range.end() == u16::MAX) {
        return String::new();
    }
    if ranges.is_empty() {
        return format!("        meta l4proto {name} accept\n");
    }
    let ranges: Vec<_> = ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
    format!("        {name} dport != {{ {} }} accept\n", ranges.join(", "))
}

/// Ranges without those that touch: nft takes no two intervals that overlap.
fn merge(ranges: impl Iterator<Item = (u16, u16)>) -> Vec<RangeInclusive<u16>> {
    let sorted: BTreeSet<_> = ranges.collect();
    let mut merged: Vec<RangeInclusive<u16>> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.end().saturating_add(1) => {
                *before = *before.start()..=last.max(*before.end())
            }
            _ => merged.push(first..=last),
        }
    }
    merged
}

/// Dynamic updates (opcode 5, RFC 2136) and the answers to them on their way through the router, where the host's own
/// address is still in them. Over TCP the opcode has no fixed place.
fn registration_rules(rules: &Rules) -> String {
    if !rules.watches_registrations() {
        return String::new();
    }
    let servers = rules.ddns.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let (up, down) = (
        format!("iifname {{ {} }} ip daddr {{ {servers} }}", quoted(&rules.lan)),
        format!("oifname {{ {} }} ip saddr {{ {servers} }}", quoted(&rules.lan)),
    );
    format!(
        "
    chain {REGISTRATION_CHAIN} {{
    }}

    chain registration {{
        type filter hook forward priority filter - 1; policy accept;
        {up} udp dport 53 @th,80,8 & 0x78 == 0x28 goto {REGISTRATION_CHAIN}
        {up} tcp dport 53 goto {REGISTRATION_CHAIN}
        {down} udp sport 53 @th,80,8 & 0x78 == 0x28 goto {REGISTRATION_CHAIN}
        {down} tcp sport 53 goto {REGISTRATION_CHAIN}
    }}
"
    )
}

impl Rules {
    /// Whether [`render_services`] is all that has to be written, in place of these rules, for `wanted`.
    pub fn differs_by_services(&self, wanted: &Rules) -> bool {
        self.services != wanted.services
            && *wanted == Self { services: wanted.services.clone(), ..self.clone() }
    }

    /// Whether there is anything to learn from.
    pub fn watches_registrations(&self) -> bool {
        !self.ddns.is_empty() && !self.lan.is_empty()
    }
}

fn quoted(devices: &[String]) -> String {
    devices.iter().map(|device| format!("\"{device}\"")).collect::<Vec<_>>().join(", ")
}

fn guide_size(rules: &Rules) -> u32 {
    rules.max_guide.max(1).saturating_mul(SLACK)
}

/// A client at home that its DNS server sees by the router's own address is caught by the address it dials.
fn home_rule(lan: &[String]) -> String {
    if lan.is_empty() {
        return String::new();
    }
    format!("\n        iifname {{ {} }} ip daddr @{GUIDE} goto guided", quoted(lan))
}

/// What the LAN sends to the router's address in the LAN is for the router itself, whoever announced whom.
fn home_address_rule(lan: &[String]) -> String {
    if lan.is_empty() {
        return String::new();
    }
    format!("\n        iifname {{ {} }} fib daddr . iif type local accept", quoted(lan))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_udp_carrier_has_rules_only_where_it_is_on() {
        assert!(!render(&Rules::default()).contains("udp sport"));
        let on = render(&Rules { udp_port: Some(4451), ..Rules::default() });
        assert!(on.contains("udp dport 4451 @th,64,32 0x4e415466") && on.contains("udp sport 4451"));
    }

    #[test]
    fn t8_a_source_without_a_row_costs_one_look() {
        let text = render(&Rules { lan: vec!["br-lan".into()], max_guide: 10, ..Rules::default() });
        let looks: Vec<_> = text.lines().filter(|line| line.contains("goto guided")).collect();
        assert_eq!(looks.len(), 2, "{text}");
        assert_eq!(looks[0].trim(), "ip saddr @guide goto guided");
        assert!(looks[1].contains("iifname { \"br-lan\" } ip daddr @guide"));
        assert!(text.contains("size 20") && text.contains("fib daddr . iif type local accept"));
    }

    #[test]
    fn t8_packets_of_running_tcp_connections_leave_before_any_look() {
        let text = render(&Rules { udp_port: Some(4451), ..Rules::default() });
        let capture = text.split("chain capture {").nth(1).unwrap();
        let rules: Vec<_> = capture.lines().skip(2).take_while(|line| !line.contains('}')).collect();
        assert_eq!(rules[0].trim(), "tcp flags & (fin | syn | rst | ack) != syn accept");
        assert_eq!(text.matches("!= syn").count(), 1, "{text}");
    }

    fn port_rules(services: &[&str]) -> Vec<String> {
        let services = services.iter().map(|text| text.parse().unwrap()).collect();
        let text = guided_rules(&Rules { services, ..Rules::default() });
        text.lines().map(str::trim).take_while(|line| !line.contains("passing")).map(str::to_owned).collect()
    }

    #[test]
    fn t8_a_source_with_a_row_is_caught_only_at_ports_that_some_host_offers() {
        assert_eq!(port_rules(&[]), ["meta l4proto tcp accept", "meta l4proto udp accept"]);
        assert_eq!(port_rules(&["tcp:22"]), ["tcp dport != { 22-22 } accept", "meta l4proto udp accept"]);
        assert_eq!(
            port_rules(&["*:53", "tcp:8000-8010", "tcp:8005-8020", "tcp:8021"]),
            ["tcp dport != { 53-53, 8000-8021 } accept", "udp dport != { 53-53 } accept"]
        );
        assert_eq!(port_rules(&["udp:65535", "tcp:*"]), ["udp dport != { 65535-65535 } accept"]);
        assert!(port_rules(&["*"]).is_empty() && port_rules(&["*:1-40000", "*:40001-65535"]).is_empty());
    }

    #[test]
    fn other_services_leave_the_sets_alone() {
        let services = |text: &str| [text.parse().unwrap()].into();
        let ssh = Rules { services: services("tcp:22"), ..Rules::default() };
        let web = Rules { services: services("tcp:80"), ..Rules::default() };
        assert!(ssh.differs_by_services(&web) && !ssh.differs_by_services(&ssh));
        assert!(!ssh.differs_by_services(&Rules { udp_port: Some(1), ..web.clone() }));
        assert!(!render_services(&web).contains("set ") && render_services(&web).contains("{ 80-80 }"));
    }

    #[test]
    fn t1_registrations_are_seen_only_where_servers_are_configured() {
        let rules = Rules { lan: vec!["br-lan".into()], ..Rules::default() };
        assert!(!render(&rules).contains("dport 53"));
        let text = render(&Rules { ddns: [Ipv4Addr::new(192, 0, 2, 53)].into(), ..rules });
        assert!(text.contains("iifname { \"br-lan\" } ip daddr { 192.0.2.53 } udp dport 53"));
        assert!(text.contains("oifname { \"br-lan\" } ip saddr { 192.0.2.53 } tcp sport 53"));
    }

    #[test]
    fn labels_are_kept_by_kernels_that_want_a_rule_to_set_one() {
        let text = render(&Rules::default());
        assert!(text.contains("ct label set 127") && !text.contains("jump labels"));
    }

    #[test]
    fn the_table_replaces_itself_in_one_transaction() {
        let text = render(&Rules::default());
        assert!(text.starts_with("table ip natf\ndelete table ip natf\ntable ip natf {"));
    }
}
