//! Who is on the LAN (N13): collects what leases, neighbour table, NetBIOS and dynamic updates say.
//!
//! Hosts are asked for their NetBIOS names only when somebody looks, and by a socket of an ordinary port: nothing of
//! it runs at rest, no port 137 is taken from Samba, and an answer counts only from the host that was asked.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use natf_daemon::random::SystemRandom;
use natf_proto::{HostName, Random as _};
use serde_json::{Value, json};
use smol::{Timer, future::or, net::UdpSocket};

use super::{
    daemon::{Daemon, Shared, now},
    neighbours,
};
use crate::core::{
    counters::Counter,
    discovery::{Discovered, Found, Mac, claims, proposal, rows_of},
    netbios,
};

/// Most hosts that are asked in one go; the kernel's neighbour table is the larger one only under a flood.
const MAX_ASKED: usize = 256;
/// How long answers are awaited. A host on the LAN answers at once or not at all.
const PATIENCE: Duration = Duration::from_millis(500);
/// A second question so soon would hardly bring more.
const PAUSE: Duration = Duration::from_secs(60);

/// What hosts said in the last round of questions.
#[derive(Debug, Default)]
pub struct Discovery {
    names: BTreeMap<Ipv4Addr, HostName>,
    asked: Option<Instant>,
}

/// A host that was asked, with the id that its answer has to bear.
type Asked = BTreeMap<Ipv4Addr, u16>;

/// Asks the neighbours on the LAN for their NetBIOS names, unless that was done a moment ago.
pub async fn ask_hosts(daemon: &Shared) {
    let asked = {
        let mut daemon = daemon.borrow_mut();
        let now = Instant::now();
        if daemon.discovery.asked.is_some_and(|asked| now.duration_since(asked) < PAUSE) {
            return;
        }
        daemon.discovery.asked = Some(now);
        whom_to_ask(&daemon)
    };
    let answers = match asked {
        Ok(asked) => exchange(daemon, asked).await,
        Err(error) => Err(std::io::Error::other(error.to_string())),
    };
    match answers {
        Ok(names) => daemon.borrow_mut().discovery.names = names,
        Err(error) => log::warn!("hosts cannot be asked for their NetBIOS names: {error}"),
    }
}

fn whom_to_ask(daemon: &Daemon) -> Result<Asked, getrandom::Error> {
    let mut random = SystemRandom::new()?;
    let mut id = || u16::try_from(random.below(1 << 16)).unwrap_or_default();
    let neighbours = neighbours::neighbours(&daemon.settings.router.lan);
    Ok(neighbours.iter().take(MAX_ASKED).map(|(_, address)| (*address, id())).collect())
}

async fn exchange(daemon: &Shared, mut asked: Asked) -> std::io::Result<BTreeMap<Ipv4Addr, HostName>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    for (address, id) in &asked {
        // A neighbour that has just gone is no reason not to ask the others.
        let _sent = socket.send_to(&netbios::question(*id), (*address, netbios::PORT)).await;
    }
    let mut names = BTreeMap::new();
    let answers = async {
        let mut buffer = [0; netbios::ANSWER_LIMIT];
        while !asked.is_empty() {
            // Refusals of hosts without NetBIOS come as errors of the socket.
            let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
            match take_answer(&mut asked, from, buffer.get(..length).unwrap_or_default()) {
                Ok((address, name)) => names.extend(name.map(|name| (address, name))),
                Err(counter) => daemon.borrow_mut().router.count(counter),
            }
        }
    };
    or(answers, async {
        Timer::after(PATIENCE).await;
    })
    .await;
    Ok(names)
}

/// An answer counts once, from the address and port that were asked, with that question's id.
fn take_answer(
    asked: &mut Asked,
    from: SocketAddr,
    bytes: &[u8],
) -> Result<(Ipv4Addr, Option<HostName>), Counter> {
    let IpAddr::V4(address) = from.ip() else { return Err(Counter::NetbiosForeign) };
    let wanted = asked.get(&address).filter(|_| from.port() == netbios::PORT);
    let wanted = *wanted.ok_or(Counter::NetbiosForeign)?;
    let (id, name) = netbios::parse_answer(bytes).ok_or(Counter::NetbiosMalformed)?;
    if id != wanted {
        return Err(Counter::NetbiosForeign);
    }
    asked.remove(&address);
    Ok((address, name))
}

/// What `hosts` shows of it.
pub fn show(daemon: &Daemon) -> Value {
    let lan = &daemon.settings.router.lan;
    let updates =
        daemon.router.learned_names(now().instant).map(|(name, learned, _)| (learned.address, *name));
    let netbios = daemon.discovery.names.iter().map(|(address, name)| (*address, *name));
    let discovered = Discovered::new(
        neighbours::leases(&daemon.paths.leases),
        neighbours::neighbours(lan),
        netbios,
        updates,
    );
    discovered.iter().map(|(address, mac, found)| host(daemon, address, mac, found)).collect()
}

fn host(daemon: &Daemon, address: Ipv4Addr, mac: Option<Mac>, found: &Found) -> Value {
    let access = daemon.router.access();
    let rows: Vec<_> = rows_of(access, address, mac).map(HostName::as_str).collect();
    let names =
        found.names.iter().map(|(name, source)| json!({"name": name.as_str(), "source": source.name()}));
    let allowed = access.rows().any(|(name, row)| row.allow && rows.contains(&name.as_str()));
    let claims: Vec<_> =
        claims(access, address, mac, found).into_iter().map(HostName::as_str).map(str::to_owned).collect();
    // A row is proposed with the MAC, so not for a host of which only a name is known.
    let proposed = mac.filter(|_| rows.is_empty()).and_then(|_| proposal(access, found));
    json!({
        "address": address.to_string(),
        "mac": mac.map(written),
        "names": names.collect::<Vec<_>>(),
        "seen": found.seen.iter().map(|source| source.name()).collect::<Vec<_>>(),
        "access": match (rows.is_empty(), allowed) { (true, _) => None, (_, true) => Some("allow"), _ => Some("deny") },
        "hosts": some(rows.iter().map(|row| (*row).to_owned()).collect()),
        "proposed": proposed.as_ref().map(HostName::as_str),
        "claims": some(claims),
    })
}

/// Nothing rather than an empty list, which elsewhere means all.
fn some(names: Vec<String>) -> Option<Vec<String>> {
    Some(names).filter(|names| !names.is_empty())
}

fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 242);

    /// A node status answer without names.
    fn answer(id: u16) -> Vec<u8> {
        let mut bytes = id.to_be_bytes().to_vec();
        bytes.extend([0x84, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x21, 0, 1, 0, 0, 0, 0, 0, 1, 0]);
        bytes
    }

    #[test]
    fn n13_only_who_was_asked_answers_and_only_once() {
        let mut asked = Asked::from([(HOST, 7)]);
        let from = |address: [u8; 4], port| SocketAddr::from((address, port));
        let mut take = |from, bytes: &[u8]| take_answer(&mut asked, from, bytes);
        assert_eq!(take(from([192, 168, 1, 9], 137), &answer(7)), Err(Counter::NetbiosForeign));
        assert_eq!(take(from(HOST.octets(), 138), &answer(7)), Err(Counter::NetbiosForeign));
        assert_eq!(take(from(HOST.octets(), 137), &answer(8)), Err(Counter::NetbiosForeign));
        assert_eq!(take(from(HOST.octets(), 137), b"no"), Err(Counter::NetbiosMalformed));
        assert_eq!(take(from(HOST.octets(), 137), &answer(7)), Ok((HOST, None)));
        assert_eq!(take(from(HOST.octets(), 137), &answer(7)), Err(Counter::NetbiosForeign));
    }

    #[test]
    fn addresses_are_written_as_the_configuration_takes_them() {
        assert_eq!(written([2, 0, 0, 0xab, 0, 0x50]), "02:00:00:ab:00:50");
    }
}
