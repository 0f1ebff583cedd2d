//! A home whose router a TSN server announces clients to.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    time::Duration,
};

use natf_proto::*;
use natf_routerd::core::{
    access::AccessTable,
    output::Handled,
    peer::{PeerSetting, Role},
    router::Limits,
};

use super::*;

/// The client, as the router sees it.
pub const G3: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 77);
pub const P2: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 11);
pub const ISP: KeyId = KeyId(9);
pub const SECRET: [u8; 32] = [43; 32];

pub fn isp(hosts: &[&str]) -> PeerSetting {
    PeerSetting {
        name: "isp".into(),
        role: Role::Tsn,
        hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        keys: PeerKeys::derive(ISP, &SECRET),
        fingerprint: [2; 8],
    }
}

/// A router that the TSN server `isp` may announce clients to.
pub struct Home {
    pub world: World,
    pub counter: u64,
}

impl Home {
    pub fn new() -> Self {
        Self::with(table(false), isp(&[]))
    }

    pub fn with(access: AccessTable, peer: PeerSetting) -> Self {
        let mut home = Self { world: World::with(AccessTable::default()), counter: 0 };
        home.world.router.set_domains(["home.example.net"].into_iter());
        home.configure(limits(), access, vec![peer]);
        home
    }

    pub fn configure(&mut self, limits: Limits, access: AccessTable, peers: Vec<PeerSetting>) {
        self.world.router.handle_config(self.world.now, limits, access, peers, &BTreeMap::new());
        self.world.work();
    }

    pub fn sealed(&mut self, notification: &Notification) -> NoticeMessage {
        self.counter += 1;
        let (keys, random) = (PeerKeys::derive(ISP, &SECRET), &mut Seeded(self.counter));
        keys.seal_notice(NoticeKind::Notification, self.counter, &notification.emit(), random)
    }

    /// Announces the client and returns what the TSN server hears.
    pub fn announce(&mut self, name: &str, id: u16) -> GuideOutcome {
        self.announce_of(Some(G3), name, id)
    }

    pub fn announce_of(&mut self, origin: Option<Ipv4Addr>, name: &str, id: u16) -> GuideOutcome {
        let message = self.sealed(&Notification { id, origin, name: name.parse().unwrap() });
        let arrival = self.world.arrival();
        assert_eq!(self.world.deliver(arrival, &message), Handled::Consumed);
        let answer = self.answer().unwrap();
        assert_eq!((answer.id, answer.origin), (id, origin));
        answer.outcome
    }

    pub fn answer(&mut self) -> Option<NotificationAnswer> {
        let (_, message) = self.world.answers.pop()?;
        let notice = Notice::parse(&message).unwrap();
        assert_eq!((notice.kind, notice.key), (NoticeKind::Answer, ISP));
        let body = PeerKeys::derive(ISP, &SECRET).open_notice(&notice).unwrap();
        Some(NotificationAnswer::parse(&body).unwrap())
    }

    pub fn connect(&mut self, packet: u32, transport: Transport, port: u16, to: u16) {
        self.world.first_packet(packet, transport, from(port), SocketAddrV4::new(G2, to));
    }

    /// Where the client's flow from this port was led to.
    pub fn inside(&self, port: u16) -> Option<SocketAddrV4> {
        self.world.entries.values().find(|entry| entry.source == from(port)).map(|entry| entry.inside)
    }

    pub fn wait(&mut self, seconds: u64) {
        self.world.now.instant += Duration::from_secs(seconds);
        self.world.now.unix += seconds;
        self.world.router.handle_timeout(self.world.now);
        self.world.work();
    }

    pub fn rows(&self) -> usize {
        self.world.router.guide_rows(self.world.now).count()
    }
}

pub fn from(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(G3, port)
}

pub fn guided(seconds: u64) -> GuideOutcome {
    GuideOutcome::Guided { lifetime: Duration::from_secs(seconds) }
}

pub fn refused(reason: Reason) -> GuideOutcome {
    GuideOutcome::Refused(Some(reason))
}
