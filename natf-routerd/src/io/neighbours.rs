//! Where link-layer addresses are at present: DHCP leases first, then the kernel's neighbour table. A host that the
//! ACT binds to a MAC address follows its lease.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

use crate::core::discovery::{Lease, Mac, clean_name};

/// dnsmasq's leases on OpenWrt.
pub const LEASES: &str = "/tmp/dhcp.leases";
/// The kernel's neighbour table.
const NEIGHBOURS: &str = "/proc/net/arp";
/// Flag of an entry of the neighbour table that has been answered.
const COMPLETE: &str = "0x2";

/// Reads both; what cannot be read counts as empty.
///
/// Neighbours count on the `lan` devices only: whoever claims a host's address on the outside is somebody else.
pub fn read(leases: &Path, lan: &[String]) -> BTreeMap<Mac, Ipv4Addr> {
    let mut found: BTreeMap<_, _> = neighbours(lan).into_iter().collect();
    found.extend(self::leases(leases).iter().map(|lease| (lease.mac, lease.address)));
    found
}

/// The leases; none where the file cannot be read.
pub fn leases(path: &Path) -> Vec<Lease> {
    parse_leases(&text(path))
}

/// The kernel's neighbours on the `lan` devices.
pub fn neighbours(lan: &[String]) -> Vec<(Mac, Ipv4Addr)> {
    parse_neighbours(&text(NEIGHBOURS.as_ref()), lan)
}

/// Hosts write their names into the leases, in whatever bytes.
fn text(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Lines of `expiry mac ip name clientid`; a client without a name has `*`.
fn parse_leases(text: &str) -> Vec<Lease> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (mac, address) = (parse_mac(fields.next()?)?, fields.next()?.parse().ok()?);
        let name = fields.next().filter(|name| *name != "*");
        Some(Lease { mac, address, name: name.and_then(|name| clean_name(name.as_bytes())) })
    };
    text.lines().filter_map(line).collect()
}

/// Lines of `ip hwtype flags mac mask device`.
fn parse_neighbours(text: &str, lan: &[String]) -> Vec<(Mac, Ipv4Addr)> {
    let line = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (ip, flags, mac) = (fields.next()?, fields.nth(1)?, fields.next()?);
        let device = fields.nth(1)?;
        (flags == COMPLETE && lan.iter().any(|lan| lan == device)).then_some(())?;
        Some((parse_mac(mac)?, ip.parse().ok()?))
    };
    text.lines().skip(1).filter_map(line).collect()
}

fn parse_mac(text: &str) -> Option<Mac> {
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
        let [lease] = parse_leases(text).try_into().unwrap();
        assert_eq!((lease.mac, lease.address), ([2, 0, 0, 0, 0, 0x50], Ipv4Addr::new(192, 168, 1, 242)));
        assert_eq!(lease.name.unwrap().as_str(), "gamebox");
    }

    #[test]
    fn n13_a_lease_without_a_usable_name_is_still_one() {
        for name in ["*", "", "\u{1b}\u{7}", "a..b"] {
            let [lease] = parse_leases(&format!("1 02:00:00:00:00:50 10.0.0.2 {name}")).try_into().unwrap();
            assert_eq!(lease.name, None, "{name:?}");
        }
    }

    #[test]
    fn only_answered_neighbours_on_the_lan_count() {
        let text = "IP address HW type Flags HW address Mask Device\n\
                    192.168.1.7 0x1 0x2 02:00:00:00:00:07 * br-lan\n\
                    203.0.113.9 0x1 0x2 02:00:00:00:00:09 * wan\n\
                    192.168.1.8 0x1 0x0 00:00:00:00:00:00 * br-lan\n";
        assert_eq!(
            parse_neighbours(text, &["br-lan".to_owned()]),
            [([2, 0, 0, 0, 0, 7], Ipv4Addr::new(192, 168, 1, 7))]
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
