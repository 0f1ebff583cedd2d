//! Where link-layer addresses are at present: DHCP leases first, then the kernel's neighbour table. A host that the
//! ACT binds to a MAC address follows its lease.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

/// dnsmasq's leases on OpenWrt.
pub const LEASES: &str = "/tmp/dhcp.leases";
/// The kernel's neighbour table.
const NEIGHBOURS: &str = "/proc/net/arp";
/// Flag of an entry of the neighbour table that has been answered.
const COMPLETE: &str = "0x2";

/// Reads both; what cannot be read counts as empty.
///
/// Neighbours count on the `lan` devices only: whoever claims a host's address on the outside is somebody else.
pub fn read(leases: &Path, lan: &[String]) -> BTreeMap<[u8; 6], Ipv4Addr> {
    let mut found = parse_neighbours(&fs::read_to_string(NEIGHBOURS).unwrap_or_default(), lan);
    found.extend(parse_leases(&fs::read_to_string(leases).unwrap_or_default()));
    found
}

/// Lines of `expiry mac ip name clientid`.
fn parse_leases(text: &str) -> BTreeMap<[u8; 6], Ipv4Addr> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        Some((parse_mac(fields.next()?)?, fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

/// Lines of `ip hwtype flags mac mask device`.
fn parse_neighbours(text: &str, lan: &[String]) -> BTreeMap<[u8; 6], Ipv4Addr> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (ip, flags, mac) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let device = fields.nth(1)?;
        (flags == COMPLETE && lan.iter().any(|lan| lan == device)).then_some(())?;
        Some((parse_mac(mac)?, ip.parse().ok()?))
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for place in &mut mac {
        *place = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_of_dnsmasq_are_read_and_ipv6_lines_passed_over() {
        let text = "1795274887 02:00:00:00:00:50 192.168.1.242 gamebox 01:02:00:00:00:00:50\n\
                    duid 00:01:00:01:32:93:cc:2f:02:d4:10:7f:2a:af\n";
        assert_eq!(parse_leases(text), [([2, 0, 0, 0, 0, 0x50], Ipv4Addr::new(192, 168, 1, 242))].into());
    }

    #[test]
    fn only_answered_neighbours_on_the_lan_count() {
        let text = "IP address HW type Flags HW address Mask Device\n\
                    192.168.1.7 0x1 0x2 02:00:00:00:00:07 * br-lan\n\
                    203.0.113.9 0x1 0x2 02:00:00:00:00:09 * wan\n\
                    192.168.1.8 0x1 0x0 00:00:00:00:00:00 * br-lan\n";
        assert_eq!(
            parse_neighbours(text, &["br-lan".to_owned()]),
            [([2, 0, 0, 0, 0, 7], Ipv4Addr::new(192, 168, 1, 7))].into()
        );
    }

    #[test]
    fn hostile_lines_are_passed_over() {
        assert!(
            parse_leases("x\n1 02:00 1.2.3.4\n1 02:00:00:00:00:50:60 1.2.3.4\n1 zz:zz:zz:zz:zz:zz 1.2.3.4")
                .is_empty()
        );
    }
}
