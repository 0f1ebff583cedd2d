use super::*;
use natf_proto::{PeerKeys, Reason};

const ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);
const WAIT: Duration = Duration::from_millis(300);

struct Seeded(u8);

impl Random for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 = self.0.wrapping_add(1);
        bytes.fill(self.0);
    }
}

struct Scene {
    announcer: Announcer,
    row: Rc<RouterRow>,
    now: Instant,
}

impl Scene {
    fn new(without: Without) -> Self {
        let random = Box::new(Seeded(0));
        let settings = Settings { wait: WAIT, unix_seconds: 1_800_000_000, random };
        let row = RouterRow {
            name: "home".into(),
            domains: vec!["home.example.net".into()],
            keys: PeerKeys::derive(KeyId(7), &[7; 32]),
            address: None,
            without,
        };
        Self { announcer: Announcer::new(settings), row: Rc::new(row), now: Instant::now() }
    }

    fn ask(&mut self, id: u16, client: u8, name: &str) -> Asking {
        let origin = Origin::Address(Ipv4Addr::new(198, 51, 100, client));
        let (name, row) = (name.parse().unwrap(), self.row.clone());
        self.announcer.handle_question(self.now, Asked { id, origin, name, router: ROUTER, row })
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.announcer.poll_output()).collect()
    }

    fn sent(&mut self) -> NoticeMessage {
        match self.outputs().as_slice() {
            [Output::Send { to: ROUTER, message }] => **message,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, question: &NoticeMessage, outcome: GuideOutcome) {
        let notice = Notice::parse(question).unwrap();
        let asked = Notification::parse(&self.row.keys.open_notice(&notice).unwrap()).unwrap();
        let body = NotificationAnswer { id: asked.id, origin: asked.origin, outcome }.emit();
        let message = self.row.keys.seal_notice(NoticeKind::Answer, notice.counter, &body, &mut Seeded(99));
        self.announcer.handle_reply(self.now, ROUTER, &message);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.announcer.handle_timeout(self.now);
    }
}

const GUIDED: GuideOutcome = GuideOutcome::Guided { lifetime: Duration::from_secs(30) };

#[test]
fn t4_the_client_is_answered_when_the_router_is_ready() {
    let mut scene = Scene::new(Without::Refuse);
    let Asking::Wait(ticket) = scene.ask(0xbeef, 7, "alice.home.example.net") else { panic!() };
    let message = scene.sent();
    let body = scene.row.keys.open_notice(&Notice::parse(&message).unwrap()).unwrap();
    let notification = Notification::parse(&body).unwrap();
    assert_eq!(notification.id, 0xbeef);
    assert_eq!(notification.origin, Some(Ipv4Addr::new(198, 51, 100, 7)));
    assert_eq!(notification.name.as_str(), "alice.home.example.net");
    scene.answer(&message, GUIDED);
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
    assert_eq!(scene.announcer.under_way(), 0);
}

#[test]
fn t4_questions_for_the_same_share_one_notification_and_others_do_not() {
    let mut scene = Scene::new(Without::Refuse);
    let first = scene.ask(1, 7, "alice.home.example.net");
    assert_eq!(scene.ask(2, 7, "alice.home.example.net"), first);
    let message = scene.sent();
    assert_ne!(scene.ask(3, 8, "alice.home.example.net"), first);
    assert_ne!(scene.ask(4, 7, "bob.home.example.net"), first);
    assert_eq!(scene.outputs().len(), 2);
    scene.answer(&message, GUIDED);
    assert_eq!(scene.outputs().len(), 1);
    // The next connection is announced anew.
    assert_ne!(scene.ask(5, 7, "alice.home.example.net"), first);
    assert_eq!(scene.announcer.counters().notifications_shared, 1);
}

#[test]
fn a_refusal_is_handed_on() {
    for without in [Without::Refuse, Without::Answer] {
        let mut scene = Scene::new(without);
        let Asking::Wait(ticket) = scene.ask(1, 7, "bob.home.example.net") else { panic!() };
        let message = scene.sent();
        scene.answer(&message, GuideOutcome::Refused(Some(Reason::Denied)));
        let verdict = Verdict::Refuse(Refusal::Router(Some(Reason::Denied)));
        assert_eq!(scene.outputs(), [Output::Done(ticket, verdict)]);
    }
}

#[test]
fn t6_a_router_without_tsn_is_answered_for_normally_where_that_is_wanted() {
    let mut scene = Scene::new(Without::Answer);
    let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
    for _ in 0..2 {
        let message = scene.sent();
        scene.announcer.handle_reply(scene.now, ROUTER, &message);
        scene.pass(MIRROR_PAUSE);
    }
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
    // From now on its names cost no ICMP.
    assert_eq!(scene.ask(2, 7, "alice.home.example.net"), Asking::Now(Verdict::Send));
    assert_eq!(scene.outputs(), []);
}

#[test]
fn t6_else_a_mirror_is_a_refusal_and_the_next_question_asks_again() {
    let mut scene = Scene::new(Without::Refuse);
    let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
    for _ in 0..2 {
        let message = scene.sent();
        scene.announcer.handle_reply(scene.now, ROUTER, &message);
        scene.pass(MIRROR_PAUSE);
    }
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Refuse(Refusal::NotCapable))]);
    let Asking::Wait(ticket) = scene.ask(2, 7, "alice.home.example.net") else { panic!() };
    let message = scene.sent();
    scene.answer(&message, GUIDED);
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
}

#[test]
fn a_lost_notification_is_repeated() {
    let mut scene = Scene::new(Without::Refuse);
    let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
    let first = scene.sent();
    scene.pass(WAIT / 3);
    let second = scene.sent();
    assert_ne!(first[..], second[..]);
    // The answer to either counts.
    scene.answer(&first, GUIDED);
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
    scene.answer(&second, GUIDED);
    assert_eq!((scene.outputs(), scene.announcer.counters().answers_unmatched), (vec![], 1));
}

#[test]
fn a_silent_router_delays_once_and_its_first_sign_of_life_counts() {
    let mut scene = Scene::new(Without::Refuse);
    let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
    let mut sends = 0;
    while scene.announcer.poll_timeout().is_some_and(|due| due < scene.now + WAIT + LINGER / 2) {
        sends += scene.outputs().iter().filter(|output| matches!(output, Output::Send { .. })).count();
        let next = scene.announcer.poll_timeout().unwrap();
        scene.pass(next - scene.now);
        if scene.announcer.counters().routers_silent == 1 {
            break;
        }
    }
    assert_eq!(sends, usize::from(TRIES));
    let refused = Verdict::Refuse(Refusal::Silent);
    assert_eq!(scene.outputs(), [Output::Done(ticket, refused)]);
    // Nobody waits any more; once a second the router is asked behind the client's back.
    assert_eq!(scene.ask(2, 7, "alice.home.example.net"), Asking::Now(refused));
    assert_eq!(scene.outputs(), []);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.ask(3, 7, "alice.home.example.net"), Asking::Now(refused));
    let probe = scene.sent();
    assert_eq!(scene.ask(4, 8, "alice.home.example.net"), Asking::Now(refused));
    assert_eq!(scene.outputs(), []);
    scene.answer(&probe, GUIDED);
    assert!(matches!(scene.ask(5, 7, "alice.home.example.net"), Asking::Wait(_)));
}

#[test]
fn a_key_that_gets_no_answer_silences_no_other_key_of_the_same_router() {
    let mut scene = Scene::new(Without::Refuse);
    let unknown = PeerKeys::derive(KeyId(8), &[8; 32]);
    let good = scene.row.clone();
    scene.row = Rc::new(RouterRow { name: "guest".into(), keys: unknown, ..(*good).clone() });
    assert!(matches!(scene.ask(1, 7, "alice.guest.example.net"), Asking::Wait(_)));
    while scene.announcer.counters().routers_silent == 0 {
        scene.pass(WAIT / 3);
    }
    scene.outputs();
    let refused = Asking::Now(Verdict::Refuse(Refusal::Silent));
    assert_eq!(scene.ask(2, 7, "alice.guest.example.net"), refused);
    scene.row = good;
    let Asking::Wait(ticket) = scene.ask(3, 7, "alice.home.example.net") else { panic!() };
    let message = scene.sent();
    scene.answer(&message, GUIDED);
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Send)]);
}

#[test]
fn a_stale_counter_is_raised_at_once_but_not_for_ever() {
    let mut scene = Scene::new(Without::Refuse);
    let Asking::Wait(ticket) = scene.ask(1, 7, "alice.home.example.net") else { panic!() };
    let mut floor = 1 << 60;
    for _ in 0..STALE_MAX {
        let message = scene.sent();
        scene.answer(&message, GuideOutcome::Stale { floor });
        floor += 1000;
    }
    let message = scene.sent();
    assert!(Notice::parse(&message).unwrap().counter > 1 << 60);
    scene.answer(&message, GuideOutcome::Stale { floor });
    assert_eq!(scene.outputs(), [Output::Done(ticket, Verdict::Refuse(Refusal::NotCapable))]);
    assert_eq!(scene.announcer.under_way(), 0);
}

#[test]
fn forged_misdirected_and_unasked_answers_change_nothing() {
    let mut scene = Scene::new(Without::Refuse);
    scene.ask(1, 7, "alice.home.example.net");
    let message = scene.sent();
    let counter = Notice::parse(&message).unwrap().counter;
    let other = PeerKeys::derive(KeyId(7), &[8; 32]);
    let body = NotificationAnswer { id: 1, origin: None, outcome: GUIDED }.emit();
    let forged = other.seal_notice(NoticeKind::Answer, counter, &body, &mut Seeded(1));
    scene.announcer.handle_reply(scene.now, ROUTER, &forged);
    let mut mirror = message;
    mirror[90] ^= 1;
    scene.announcer.handle_reply(scene.now, ROUTER, &mirror);
    scene.announcer.handle_reply(scene.now, ROUTER, b"garbage");
    assert_eq!(scene.announcer.counters().answers_forged, 3);
    let elsewhere = Ipv4Addr::new(203, 0, 113, 3);
    scene.announcer.handle_reply(scene.now, elsewhere, &message);
    let unasked = scene.row.keys.seal_notice(NoticeKind::Answer, counter + 1, &body, &mut Seeded(1));
    scene.announcer.handle_reply(scene.now, ROUTER, &unasked);
    let another_id = NotificationAnswer { id: 2, origin: None, outcome: GUIDED }.emit();
    let wrong = scene.row.keys.seal_notice(NoticeKind::Answer, counter, &another_id, &mut Seeded(1));
    scene.announcer.handle_reply(scene.now, ROUTER, &wrong);
    assert_eq!(
        (scene.announcer.counters().answers_unmatched, scene.announcer.counters().answers_forged),
        (2, 4)
    );
    assert_eq!(scene.outputs(), []);
    assert_eq!(scene.announcer.under_way(), 1);
}

#[test]
fn a_flood_of_questions_has_a_bound() {
    let mut scene = Scene::new(Without::Refuse);
    for number in 0..EXCHANGES_MAX {
        let client = u8::try_from(number / EXCHANGES_PER_ORIGIN).unwrap();
        assert!(matches!(scene.ask(1, client, &format!("n{number}.home.example.net")), Asking::Wait(_)));
    }
    let busy = Asking::Now(Verdict::Refuse(Refusal::Busy));
    assert_eq!(scene.ask(1, 99, "one-more.home.example.net"), busy);
    for _ in 0..20 {
        scene.pass(WAIT);
        scene.outputs();
    }
    assert_eq!(scene.announcer.under_way(), 0);
    assert!(scene.announcer.by_counter.is_empty() && scene.announcer.by_subject.is_empty());
    assert_eq!(scene.announcer.poll_timeout(), None);
}

#[test]
fn one_client_leaves_room_for_others() {
    let mut scene = Scene::new(Without::Refuse);
    for number in 0..EXCHANGES_PER_ORIGIN {
        let asked = scene.ask(1, 9, &format!("h{number}.home.example.net"));
        assert!(matches!(asked, Asking::Wait(_)), "{number}");
    }
    assert_eq!(scene.ask(1, 9, "more.home.example.net"), Asking::Now(Verdict::Refuse(Refusal::Busy)));
    assert!(matches!(scene.ask(1, 10, "more.home.example.net"), Asking::Wait(_)));
    scene.now += WAIT;
    scene.announcer.handle_timeout(scene.now);
    scene.now += LINGER;
    scene.announcer.handle_timeout(scene.now);
    assert_eq!(scene.announcer.under_way(), 0);
    assert!(scene.announcer.per_origin.is_empty());
}
