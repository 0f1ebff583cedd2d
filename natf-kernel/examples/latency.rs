//! Measures what one forced mapping, one map element and one look-up cost, in microseconds.
//!
//! Run as root in a network namespace of its own:
//! `unshare -n cargo run --release -p natf-kernel --example latency [ENTRIES]`
#![allow(clippy::unwrap_used, reason = "a measurement ends where it cannot go on")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::Command;
use std::time::{Duration, Instant};

use natf_kernel::conntrack::{Conntrack, Flow, Insert};
use natf_kernel::elements::{Concat, Element, Elements, SetName};

const TABLE: &str = "table ip latency {
  map vat { type ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service; flags timeout; size 300000;
  }
  chain nat { type nat hook prerouting priority -100; ct state new accept; }
  chain labels { type filter hook prerouting priority 0; ct label 127 counter; }
}";

fn main() {
    let filled: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000);
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
    assert!(Command::new("nft").arg(TABLE).status().unwrap().success());
    let mut conntrack = Conntrack::open().unwrap();
    let mut elements = Elements::open().unwrap();
    for start in [0, filled] {
        if start > 0 {
            fill(&mut conntrack, start);
        }
        println!("conntrack entries: {start}");
        one_by_one(&mut conntrack, 1 << 23);
    }
    map(&mut elements);
}

fn mapping(number: u32) -> Insert<'static> {
    let source = SocketAddrV4::new(Ipv4Addr::from_bits(0x0b00_0000 | number), 4000);
    Insert {
        original: Flow {
            proto: 17,
            source,
            destination: SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 16384),
        },
        dnat: Some(SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 2), 5000)),
        snat: None,
        timeout: Duration::from_secs(300),
        label: Some(*b"natf            "),
        helper: None,
    }
}

fn fill(conntrack: &mut Conntrack, count: u32) {
    let inserts: Vec<_> = (0..count).map(mapping).collect();
    let mut results = Vec::with_capacity(inserts.len());
    let begin = Instant::now();
    conntrack.insert_batch(&inserts, &mut results).unwrap();
    let rate = f64::from(count) / begin.elapsed().as_secs_f64();
    let refused = results.iter().filter(|result| result.is_err()).count();
    println!("  inserts in batches: {rate:.0} per second, {refused} refused");
    let (begin, mut listed) = (Instant::now(), 0u32);
    conntrack.dump(|_| listed += 1).unwrap();
    println!("  dump of {listed}: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
}

fn one_by_one(conntrack: &mut Conntrack, base: u32) {
    let inserts: Vec<_> = (base..base + 2000).map(mapping).collect();
    report(
        "insert",
        inserts.iter().map(|insert| timed(|| assert!(conntrack.insert(insert).unwrap().is_ok()))),
    );
    report(
        "refused",
        inserts.iter().map(|insert| timed(|| assert!(conntrack.insert(insert).unwrap().is_err()))),
    );
    report(
        "look up",
        inserts.iter().map(|i| timed(|| assert!(conntrack.get(&i.original).unwrap().is_some()))),
    );
    report("delete", inserts.iter().map(|i| timed(|| assert!(conntrack.delete(&i.original).unwrap()))));
}

fn map(elements: &mut Elements) {
    let name = SetName { table: "latency", set: "vat" };
    let all: Vec<_> = (0..2000u16)
        .map(|port| Element {
            key: Concat::new().address(Ipv4Addr::LOCALHOST).protocol(6).port(port),
            data: Some(Concat::new().address(Ipv4Addr::LOCALHOST).port(port)),
            timeout: Some(Duration::from_secs(60)),
        })
        .collect();
    println!("map elements");
    for title in ["add", "refresh"] {
        let each =
            all.iter().map(|element| timed(|| drop(elements.add(name, std::slice::from_ref(element)))));
        report(title, each);
    }
    report("delete", all.iter().map(|e| timed(|| elements.delete(name, &[e.key]).unwrap())));
}

fn timed(action: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    action();
    begin.elapsed()
}

fn report(title: &str, times: impl Iterator<Item = Duration>) {
    let mut times: Vec<_> = times.map(|time| time.as_secs_f64() * 1e6).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    println!("  {title:<8} median {:.1} us, 99 % {:.1} us", at(50), at(99));
}
