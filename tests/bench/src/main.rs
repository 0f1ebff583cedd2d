//! `natf-bench`: asks a NAT-f router for mappings as fast as it answers, announces clients to it, keeps thousands of
//! flows going, opens TCP connections, and says in lines of JSON how long that took. `bench.py` builds the namespaces
//! and calls this.

mod connect;
mod crowd;
mod echo;
mod notify;
mod pcp;
mod pump;
mod requests;
mod stream;
mod window;

use std::{error::Error, net::SocketAddrV4, time::Duration};

type Outcome = Result<(), Box<dyn Error>>;

const USAGE: &str = "usage: natf-bench rate|latency ROUTER SOURCE KEY-HEX KEY-ID COUNT FIRST-FLOW
       natf-bench notify ROUTER SOURCE KEY-HEX KEY-ID NAME ORIGIN
       natf-bench notify-rate ROUTER SOURCE KEY-HEX KEY-ID NAME COUNT [PER-SECOND]
       natf-bench crowd ROUTER SOURCES HOSTS PEERS FLOWS KEY-HEX PORT
       natf-bench pcp ROUTER COUNT STEP SECONDS
       natf-bench echo PORT
       natf-bench connect ADDRESS:PORT ADDRESS:PORT COUNT
       natf-bench accept ADDRESS:PORT
       natf-bench stream NAMESPACE tcp|udp out|in SIZE STREAMS ROUNDS SLICE-MS PIDS WAY=NAMESPACE,ADDRESS:PORT,ADDRESS:PORT...";

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["rate", settings @ ..] => requests::rate(&requests::Settings::parse(settings).ok_or(USAGE)?),
        ["latency", settings @ ..] => requests::latency(&requests::Settings::parse(settings).ok_or(USAGE)?),
        ["notify", router, source, key, id, name, origin] => {
            notify::once(&parse([router, source, key, id, "1"])?, name, origin)
        }
        ["notify-rate", router, source, key, id, name, count] => {
            notify::rate(&parse([router, source, key, id, count])?, name, window::UNPACED)
        }
        ["notify-rate", router, source, key, id, name, count, pace] => {
            notify::rate(&parse([router, source, key, id, count])?, name, pace.parse()?)
        }
        ["crowd", settings @ ..] => crowd::run(crowd::Settings::parse(settings).ok_or(USAGE)?),
        ["pcp", router, count, step, seconds] => {
            pcp::map(router.parse()?, count.parse()?, step.parse()?, Duration::from_secs(seconds.parse()?))
        }
        ["echo", port] => echo::echo(port.parse()?),
        ["connect", one, other, count] => {
            connect::compare(one.parse::<SocketAddrV4>()?, other.parse()?, count.parse()?)
        }
        ["stream", settings @ ..] => stream::run(stream::Settings::parse(settings).ok_or(USAGE)?),
        ["accept", at] => connect::accept(at.parse()?),
        _ => Err(USAGE.into()),
    }
}

/// `ROUTER SOURCE KEY-HEX KEY-ID COUNT`
fn parse(words: [&str; 5]) -> Result<requests::Settings, Box<dyn Error>> {
    let [router, source, key, id, count] = words;
    Ok(requests::Settings::parse(&[router, source, key, id, count, "0"]).ok_or(USAGE)?)
}

/// Median of microseconds; 0 where there is none.
fn median(samples: &mut [f64]) -> f64 {
    samples.sort_unstable_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

/// The value below which so many of a hundred sorted samples lie; 0 where there is none.
fn at_share(sorted: &[f64], hundredth: usize) -> f64 {
    sorted.get((sorted.len() * hundredth / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}
