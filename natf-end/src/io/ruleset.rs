//! The external node's own nftables table: it catches first packets to virtual addresses (N4), translates flows (N9),
//! and rejects what would leave untranslated. No other table is touched.
//!
//! The reject rules are also the way in which a refusal reaches the application at once: the held packet is let go
//! without a translation and meets them.

use std::fmt::Write as _;

use crate::virtual_address::VirtualPrefix;

/// Family `ip`, this name.
pub const TABLE: &str = "natf_end";
/// Keeps live flows translated while a flushed ruleset is written anew; it is the daemon's as long as that runs.
pub const HOLD_TABLE: &str = "natf_end_hold";
/// The chain whose one rule hands packets to this program.
pub const QUEUE_CHAIN: &str = "to_daemon";
/// The map of translated destinations.
pub const VAT: &str = "vat";
/// The map of translated sources, of a gateway.
pub const SOURCE: &str = "source";
/// The set of flows whose held packets are just being released: what follows them waits behind them.
pub const DRAINING: &str = "draining";
/// The helper that finds FTP's data connections.
const FTP: &str = "ftp";

const KEY: &str = "ipv4_addr . inet_proto . inet_service . ipv4_addr . inet_service";
const TO: &str = "ipv4_addr . inet_service";
const FLOW: &str = "ip saddr . meta l4proto . th sport . ip daddr . th dport";

/// What the table depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// The block of virtual addresses.
    pub prefix: VirtualPrefix,
    /// Devices of the LAN that is served (N12); empty: this host's own packets.
    pub lan: Vec<String>,
    /// Whether the kernel's helper follows FTP control connections (N16); without it passive mode needs a mapping
    /// for every data port.
    pub ftp: bool,
}

/// The table in nft's own language, to be applied as it stands: it replaces a former one in the same transaction.
///
/// The chain [`QUEUE_CHAIN`] is left empty: its rule takes another form on kernels without the `queue` statement.
pub fn render(rules: &Rules) -> String {
    let mut chains = String::new();
    if rules.ftp {
        let _ = write!(chains, "\n    ct helper {FTP} {{\n        type \"ftp\" protocol tcp\n    }}\n");
    }
    if rules.lan.is_empty() {
        render_host(&mut chains, rules);
    } else {
        render_gateway(&mut chains, rules);
    }
    render_refuse(&mut chains, rules);
    format!(
        "table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
    map {VAT} {{
        type {KEY} : {TO}
        size 8192
        flags timeout
    }}

    set {DRAINING} {{
        type {KEY}
        size 8192
        flags timeout
    }}

    chain {QUEUE_CHAIN} {{
    }}
{chains}}}
"
    )
}

/// What is still addressed to the prefix here has no translation: it must not leave, whoever sent it.
fn render_refuse(out: &mut String, rules: &Rules) {
    let prefix = rules.prefix;
    for (chain, hook, priority) in
        [("refuse", "output", "filter"), ("refuse_forwarded", "forward", "filter - 1")]
    {
        let _ = write!(
            out,
            "
    chain {chain} {{
        type filter hook {hook} priority {priority}; policy accept;
        ip daddr {prefix} meta l4proto tcp counter reject with tcp reset
        ip daddr {prefix} counter reject with icmp port-unreachable
    }}
"
        );
    }
}

/// What chooses the packets to be held. Whatever is not for the prefix, and flows that are translated both ways, leave
/// after one or two comparisons. Packets that conntrack has a translation for are not first packets, even while no
/// answer has come. A helper has to be there before the flow is confirmed. While a flow's held packets are released
/// one after the other, its next ones wait behind them: else they would overtake, as conntrack knows their flow from
/// the first of them on. Assured flows are older than that.
fn catch(rules: &Rules) -> String {
    let prefix = rules.prefix;
    let helper = match rules.ftp {
        true => format!("tcp dport 21 ct helper set \"{FTP}\"\n        "),
        false => String::new(),
    };
    format!(
        "ip daddr != {prefix} accept
        ct status & (assured | dnat) == assured | dnat accept
        {helper}meta l4proto udp {FLOW} @{DRAINING} jump {QUEUE_CHAIN}
        meta l4proto {{ tcp, udp }} ct state new ct status & dnat == 0 jump {QUEUE_CHAIN}"
    )
}

fn render_host(out: &mut String, rules: &Rules) {
    let _ = write!(
        out,
        "
    chain hold {{
        type filter hook output priority mangle; policy accept;
        {}
    }}

    chain translate {{
        type nat hook output priority -100; policy accept;
        dnat ip to {FLOW} map @{VAT}
    }}
",
        catch(rules)
    );
}

fn render_gateway(out: &mut String, rules: &Rules) {
    let devices: Vec<String> = rules.lan.iter().map(|device| format!("\"{device}\"")).collect();
    let _ = write!(
        out,
        "
    map {SOURCE} {{
        type {KEY} : {TO}
        size 8192
        flags timeout
    }}

    chain hold {{
        type filter hook prerouting priority mangle; policy accept;
        iifname != {{ {} }} accept
        {}
    }}

    chain translate {{
        type nat hook prerouting priority dstnat - 1; policy accept;
        dnat ip to {FLOW} map @{VAT}
    }}

    chain translate_source {{
        type nat hook postrouting priority srcnat - 1; policy accept;
        snat ip to {FLOW} map @{SOURCE}
    }}
",
        devices.join(", "),
        catch(rules)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(lan: &[&str]) -> Rules {
        let lan = lan.iter().map(|device| (*device).to_owned()).collect();
        Rules { prefix: VirtualPrefix::DEFAULT, lan, ftp: true }
    }

    #[test]
    fn n4_a_host_catches_its_own_packets_and_only_those_not_yet_translated() {
        let text = render(&rules(&[]));
        assert!(text.contains("hook output priority mangle"));
        let first = |word: &str| text.find(word).unwrap();
        let catch = first("meta l4proto { tcp, udp } ct state new ct status & dnat == 0 jump");
        assert!(first("ip daddr != 240.0.0.0/8 accept") < catch);
        assert!(first("ct status & (assured | dnat) == assured | dnat accept") < catch);
        assert!(!text.contains("prerouting") && !text.contains("map source"));
    }

    #[test]
    fn n12_a_gateway_catches_the_packets_of_its_lan() {
        let text = render(&rules(&["br-lan", "br-guest"]));
        assert!(text.contains("iifname != { \"br-lan\", \"br-guest\" } accept"));
        assert!(text.contains("ip daddr != 240.0.0.0/8 accept"));
        assert!(text.contains("hook forward") && text.contains("map @source"));
        assert!(!text.contains("hook output priority mangle"));
    }

    #[test]
    fn n4_nothing_untranslated_leaves_neither_from_here_nor_through_here() {
        for lan in [&[][..], &["br-lan"]] {
            let text = render(&rules(lan));
            assert!(
                text.contains("hook output priority filter;")
                    && text.contains("hook forward priority filter - 1;")
            );
            assert_eq!(text.matches("reject with tcp reset").count(), 2);
        }
    }

    #[test]
    fn n16_ftp_has_its_helper_before_the_first_packet_is_held() {
        let first = |text: &str, word: &str| text.find(word).unwrap();
        for lan in [&[][..], &["br-lan"]] {
            let text = render(&rules(lan));
            let helper = first(&text, "tcp dport 21 ct helper set \"ftp\"");
            assert!(first(&text, "ct helper ftp {") < helper && helper < first(&text, "jump to_daemon"));
            assert!(!render(&Rules { ftp: false, ..rules(lan) }).contains("helper"));
        }
    }

    #[test]
    fn the_table_replaces_itself_in_one_transaction() {
        let text = render(&rules(&[]));
        assert!(text.starts_with("table ip natf_end\ndelete table ip natf_end\ntable ip natf_end {"));
    }
}
