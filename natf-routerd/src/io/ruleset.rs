//! The router's own nftables table, rendered from the settings and applied in one batch. No other table is touched.
//!
//! It carries no data: mappings are conntrack entries. It catches mapping requests before conntrack and firewall
//! (N14), keeps our answers from being taken for invalid packets, and holds the one nat chain without which the
//! kernel would not translate anything on a router that has no other.

use std::fmt::Write as _;

/// Family and name of the table.
pub const TABLE: &str = "natf";
/// The chain whose one rule hands packets to this program.
pub const QUEUE_CHAIN: &str = "to_daemon";
/// The set of first packets that are awaited.
pub const AWAITING: &str = "awaiting";
/// The magic number at the start of every message, as nft reads it.
const MAGIC: &str = "@th,64,32 0x4e415466";

/// What the table depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Port of the UDP carrier, if it is on.
    pub udp_port: Option<u16>,
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

    chain {QUEUE_CHAIN} {{
    }}

    chain capture {{
        type filter hook prerouting priority raw - 1; policy accept;
        icmp type echo-request {MAGIC} fib daddr type local goto {QUEUE_CHAIN}{capture}
        meta l4proto udp ip saddr . meta l4proto . ip daddr . th dport @{AWAITING} goto {QUEUE_CHAIN}
        tcp flags & (fin | syn | rst | ack) == syn ip saddr . meta l4proto . ip daddr . th dport @{AWAITING} goto {QUEUE_CHAIN}
    }}

    chain answer {{
        type filter hook output priority raw - 1; policy accept;
        icmp type echo-reply {MAGIC} notrack{answer}
    }}

    chain translate {{
        type nat hook prerouting priority dstnat; policy accept;
        ct label 127 accept
    }}
}}
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_udp_carrier_has_rules_only_where_it_is_on() {
        assert!(!render(&Rules { udp_port: None }).contains("udp sport"));
        let on = render(&Rules { udp_port: Some(4451) });
        assert!(on.contains("udp dport 4451 @th,64,32 0x4e415466") && on.contains("udp sport 4451"));
    }

    #[test]
    fn the_table_replaces_itself_in_one_transaction() {
        let text = render(&Rules { udp_port: None });
        assert!(text.starts_with("table ip natf\ndelete table ip natf\ntable ip natf {"));
    }
}
