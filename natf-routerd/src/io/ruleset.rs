//! The router's own nftables table, rendered from the settings and applied in one batch. No other table is touched.
//!
//! It carries no data: mappings are conntrack entries. It catches mapping requests before conntrack and firewall
//! (N14), keeps our answers from being taken for invalid packets, and holds the one nat chain without which the
//! kernel would not translate anything on a router that has no other. Announced flows keep their port, so that the next
//! packet of the host would make the same translation anew when one is ended: such packets are refused.
//!
//! Older kernels (6.1) keep conntrack labels only while some rule *sets* one; the chain for that is never entered.

use std::{collections::BTreeSet, fmt::Write as _, net::Ipv4Addr};

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
    let (at_home, home_address) = home_rules(&rules.lan);
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
        meta l4proto udp ip saddr . th sport . ip daddr . th dport @{PASSING} accept
        iifname \"lo\" accept
        fib daddr type != local accept{home_address}
        meta l4proto {{ tcp, udp }} goto {QUEUE_CHAIN}
    }}

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

/// A client at home that its DNS server sees by the router's own address is caught by the address it dials. What the
/// LAN sends to the router's address in the LAN is for the router itself, whoever announced whom.
fn home_rules(lan: &[String]) -> (String, String) {
    if lan.is_empty() {
        return (String::new(), String::new());
    }
    let devices = quoted(lan);
    (
        format!("\n        iifname {{ {devices} }} ip daddr @{GUIDE} goto guided"),
        format!("\n        iifname {{ {devices} }} fib daddr . iif type local accept"),
    )
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
