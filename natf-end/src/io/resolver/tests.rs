//! The system's resolver in a directory of its own.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    sync::atomic::{AtomicU32, Ordering},
};

use super::*;

static NUMBER: AtomicU32 = AtomicU32::new(0);

struct System {
    root: PathBuf,
    paths: Paths,
}

impl System {
    fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("natf-resolver-{}-{number}", std::process::id()));
        fs::create_dir_all(&root).unwrap();
        let log = root.join("log").display().to_string();
        let note = |word: &str| vec!["sh".into(), "-c".into(), format!("echo {word} >> {log}")];
        let paths = Paths {
            resolv_conf: root.join("resolv.conf"),
            openwrt_servers: root.join("resolv.conf.auto"),
            resolved_servers: root.join("resolved.servers"),
            resolved_configuration: vec![root.join("resolved.conf")],
            resolved_dropin: root.join("resolved.conf.d/zz-natf.conf"),
            resolved_reload: note("reload"),
            resolved_flush: note("flush"),
            libraries: root.join("lib"),
        };
        Self { root, paths }
    }

    fn with(text: &str) -> Self {
        let system = Self::new();
        system.write(text);
        system
    }

    fn write(&self, text: &str) {
        fs::write(&self.paths.resolv_conf, text).unwrap();
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.paths.resolv_conf).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    fn start(&self, mode: Mode) -> SystemResolver {
        SystemResolver::start(mode, self.paths.clone(), listen(), &served(&["home.example.net"])).unwrap()
    }

    /// What the C library sees: the lines that are no comments.
    fn active(&self) -> Vec<String> {
        self.text().lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn served(domains: &[&str]) -> Served {
    Served { domains: domains.iter().map(|domain| (*domain).to_owned()).collect(), has_keys: false }
}

fn listen() -> SocketAddr {
    "127.0.0.153:53".parse().unwrap()
}

fn servers(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|server| SocketAddr::new(server.parse().unwrap(), 53)).collect()
}

const FILE: &str =
    "# by hand\nnameserver 192.0.2.1\nsearch lan\nnameserver 192.0.2.2\noptions edns0 rotate\n";

#[test]
fn our_address_stands_first_and_the_former_lines_follow() {
    let system = System::with(FILE);
    let resolver = system.start(Mode::Auto);
    assert_eq!(resolver.mode(), Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    let expected = ["127.0.0.153", "192.0.2.1"].map(|server| format!("nameserver {server}"));
    assert_eq!(system.active()[..2], expected);
    assert_eq!(system.active()[2..], ["search lan", "nameserver 192.0.2.2", "options edns0"]);
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn musl_gets_no_other_server_because_it_asks_all_at_once() {
    let system = System::with(FILE);
    fs::create_dir(system.root.join("lib")).unwrap();
    fs::write(system.root.join("lib/ld-musl-mips-sf.so.1"), "").unwrap();
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(system.active(), ["nameserver 127.0.0.153", "search lan", "options edns0"]);
    drop(resolver);
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn n10_with_an_enrolled_home_no_other_server_is_asked_that_would_name_the_router_itself() {
    let system = System::with(FILE);
    let enrolled = Served { has_keys: true, ..served(&["home.example.net"]) };
    let mut resolver =
        SystemResolver::start(Mode::Resolvconf, system.paths.clone(), listen(), &enrolled).unwrap();
    let alone = ["nameserver 127.0.0.153", "search lan", "options edns0"];
    assert_eq!(system.active(), alone);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    resolver.serve(&served(&["home.example.net"]));
    resolver.poll().unwrap();
    assert_eq!(system.active().len(), 5, "the home's key is gone: {:?}", system.active());
    resolver.serve(&enrolled);
    resolver.poll().unwrap();
    assert_eq!(system.active(), alone);
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn what_a_killed_daemon_left_is_given_back_when_the_next_one_cannot_start() {
    let system = System::with(FILE);
    drop(system.start(Mode::Resolvconf));
    SystemResolver::abandon(system.paths.clone()).unwrap();
    assert_eq!((system.text().as_str(), system.log().as_str()), (FILE, ""));
    drop(system.start(Mode::Resolved));
    SystemResolver::abandon(system.paths.clone()).unwrap();
    assert!(!system.paths.resolved_dropin.exists());
    assert_eq!(system.text(), FILE);
    SystemResolver::abandon(system.paths.clone()).unwrap();
    assert_eq!(system.text(), FILE, "nothing of ours is left");
}

#[test]
fn a_home_enrolled_meanwhile_is_routed_to_us_by_resolved() {
    let system = System::with("nameserver 127.0.0.53\n");
    let mut resolver = system.start(Mode::Resolved);
    resolver.serve(&served(&["home.example.net", "other.example.org"]));
    resolver.poll().unwrap();
    let dropin = fs::read_to_string(&system.paths.resolved_dropin).unwrap();
    assert!(dropin.contains("Domains=~home.example.net ~other.example.org"), "{dropin}");
    assert_eq!(system.log().matches("reload").count(), 2);
    resolver.stop().unwrap();
}

#[test]
fn file_left_by_a_killed_daemon_is_recognised_and_given_back() {
    let system = System::with(FILE);
    drop(system.start(Mode::Resolvconf));
    let left = system.text();
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    assert_eq!(system.text(), left);
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn killed_daemon_with_another_address_leaves_no_trace() {
    let system = System::with(FILE);
    let other = "127.0.0.99:53".parse().unwrap();
    drop(SystemResolver::start(Mode::Resolvconf, system.paths.clone(), other, &served(&[])).unwrap());
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn file_written_by_a_dhcp_client_is_taken_over() {
    let system = System::with(FILE);
    let mut resolver = system.start(Mode::Resolvconf);
    assert!(!resolver.poll().unwrap());
    system.write("nameserver 198.51.100.1\n");
    assert!(resolver.poll().unwrap());
    assert_eq!(resolver.upstreams(), servers(&["198.51.100.1"]));
    assert_eq!(system.active(), ["nameserver 127.0.0.153", "nameserver 198.51.100.1"]);
    assert!(!resolver.poll().unwrap());
    resolver.stop().unwrap();
    assert_eq!(system.text(), "nameserver 198.51.100.1\n");
}

#[test]
fn line_added_while_the_file_is_ours_is_kept() {
    let system = System::with(FILE);
    let mut resolver = system.start(Mode::Resolvconf);
    let edited = system.text().replace("nameserver 192.0.2.2\n", "nameserver 192.0.2.9\n");
    system.write(&edited);
    assert!(resolver.poll().unwrap());
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.9"]));
    resolver.stop().unwrap();
    assert_eq!(nameservers_of(&system), servers(&["192.0.2.1", "192.0.2.9"]));
}

fn nameservers_of(system: &System) -> Vec<SocketAddr> {
    resolv_conf::nameservers(&system.text())
}

#[test]
fn file_of_somebody_else_is_not_touched_at_the_end() {
    let system = System::with(FILE);
    let resolver = system.start(Mode::Resolvconf);
    system.write("nameserver 198.51.100.1\n");
    resolver.stop().unwrap();
    assert_eq!(system.text(), "nameserver 198.51.100.1\n");
}

#[test]
fn missing_file_is_missing_again_afterwards() {
    let system = System::new();
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(resolver.upstreams(), []);
    assert_eq!(system.active(), ["nameserver 127.0.0.153"]);
    drop(resolver);
    system.start(Mode::Resolvconf).stop().unwrap();
    assert!(!system.paths.resolv_conf.exists());
}

#[test]
fn links_stay_links_even_when_they_lead_nowhere() {
    for exists in [true, false] {
        let system = System::new();
        let target = system.root.join("target.conf");
        symlink("target.conf", &system.paths.resolv_conf).unwrap();
        if exists {
            fs::write(&target, FILE).unwrap();
        }
        let resolver = system.start(Mode::Resolvconf);
        assert!(fs::read_to_string(&target).unwrap().contains("nameserver 127.0.0.153\n"));
        resolver.stop().unwrap();
        assert!(system.paths.resolv_conf.is_symlink());
        assert_eq!(fs::read_to_string(&target).ok(), exists.then(|| FILE.to_owned()));
    }
}

#[test]
fn permissions_of_the_file_stay() {
    let system = System::with(FILE);
    fs::set_permissions(&system.paths.resolv_conf, fs::Permissions::from_mode(0o604)).unwrap();
    let _resolver = system.start(Mode::Resolvconf);
    assert_eq!(fs::metadata(&system.paths.resolv_conf).unwrap().permissions().mode() & 0o777, 0o604);
}

#[test]
fn file_mounted_over_is_written_in_place() {
    let system = System::with(FILE);
    // A directory in place of the temporary file makes replacing fail just as a mount does.
    fs::create_dir(system.root.join("resolv.natf-new")).unwrap();
    let resolver = system.start(Mode::Resolvconf);
    assert_eq!(system.active()[0], "nameserver 127.0.0.153");
    resolver.stop().unwrap();
    assert_eq!(system.text(), FILE);
}

#[test]
fn resolv_conf_needs_port_53() {
    let system = System::with(FILE);
    let other = "127.0.0.153:5353".parse().unwrap();
    let error = SystemResolver::start(Mode::Auto, system.paths.clone(), other, &served(&[])).unwrap_err();
    assert!(matches!(error, ResolverError::Port(_)));
    assert_eq!(system.text(), FILE);
}

#[test]
fn none_reads_and_writes_nothing() {
    let system = System::with(FILE);
    let mut resolver = system.start(Mode::None);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1", "192.0.2.2"]));
    system.write("nameserver 127.0.0.153\nnameserver 198.51.100.1\n");
    assert!(resolver.poll().unwrap());
    assert_eq!(resolver.upstreams(), servers(&["198.51.100.1"]));
    resolver.stop().unwrap();
    assert_eq!(system.text(), "nameserver 127.0.0.153\nnameserver 198.51.100.1\n");
}

#[test]
fn n12_on_openwrt_the_servers_behind_dnsmasq_are_asked() {
    let system = System::with("search lan\nnameserver 127.0.0.1\nnameserver ::1\n");
    fs::write(&system.paths.openwrt_servers, "# Interface wan\nnameserver 192.0.2.1\n").unwrap();
    let mut resolver = system.start(Mode::None);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1"]));
    fs::write(&system.paths.openwrt_servers, "# Interface wan\nnameserver 192.0.2.7\n").unwrap();
    assert!(resolver.poll().unwrap());
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.7"]));
}

#[test]
fn resolved_is_told_the_domains_and_never_asked() {
    let system = System::with("nameserver 127.0.0.53\noptions edns0\n");
    let known = "nameserver 127.0.0.153\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n";
    fs::write(&system.paths.resolved_servers, known).unwrap();
    let mut resolver = system.start(Mode::Auto);
    assert_eq!(resolver.mode(), Mode::Resolved);
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.1"]));
    let dropin = fs::read_to_string(&system.paths.resolved_dropin).unwrap();
    assert!(dropin.contains("[Resolve]\nDNS=\nDNS=127.0.0.153\nDomains=~home.example.net\n"), "{dropin}");
    assert_eq!(system.log(), "reload\nflush\n");
    assert!(!resolver.poll().unwrap());
    fs::write(&system.paths.resolved_servers, "nameserver 192.0.2.2\n").unwrap();
    assert!(resolver.poll().unwrap());
    assert_eq!(resolver.upstreams(), servers(&["192.0.2.2"]));
    resolver.stop().unwrap();
    assert!(!system.paths.resolved_dropin.exists());
    assert_eq!(system.log(), "reload\nflush\n".repeat(2));
    assert_eq!(system.text(), "nameserver 127.0.0.53\noptions edns0\n");
}

#[test]
fn resolved_gets_all_names_for_any_home_and_a_port_if_need_be() {
    let system = System::new();
    let other = "127.0.0.153:5353".parse().unwrap();
    let domains = ["home.example.net", "*"];
    SystemResolver::start(Mode::Resolved, system.paths.clone(), other, &served(&domains)).unwrap();
    let dropin = fs::read_to_string(&system.paths.resolved_dropin).unwrap();
    assert!(dropin.contains("DNS=\nDNS=127.0.0.153:5353\nDomains=~home.example.net ~.\n"), "{dropin}");
}

#[test]
fn servers_that_resolved_was_configured_with_become_upstreams() {
    let system = System::new();
    fs::create_dir_all(system.root.join("resolved.conf.d")).unwrap();
    let main = "[Resolve]\n#DNS=192.0.2.8\nDNS=192.0.2.9\nDNS=\nDNS=192.0.2.1#dns.example 192.0.2.2:5353\n";
    fs::write(system.root.join("resolved.conf"), main).unwrap();
    fs::write(system.root.join("resolved.conf.d/a.conf"), "[Resolve]\nDNS=2001:db8::1\n").unwrap();
    fs::write(&system.paths.resolved_servers, "nameserver 127.0.0.153\nnameserver 192.0.2.1\n").unwrap();
    let resolver = system.start(Mode::Resolved);
    let expected = ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:53"];
    assert_eq!(resolver.upstreams(), expected.map(|server| server.parse().unwrap()));
    drop(resolver);
    system.start(Mode::Resolved);
    assert_eq!(system.log(), "reload\nflush\n".repeat(2), "a drop-in left over is read again");
}

#[test]
fn reload_that_fails_says_why() {
    let mut system = System::new();
    system.paths.resolved_reload = ["sh", "-c", "echo no bus >&2; exit 3"].map(str::to_owned).into();
    let error =
        SystemResolver::start(Mode::Resolved, system.paths.clone(), listen(), &served(&[])).unwrap_err();
    assert!(error.to_string().contains("exit status: 3, no bus"), "{error}");
}

#[test]
fn modes_are_read_by_name() {
    assert_eq!("resolved".parse::<Mode>().unwrap(), Mode::Resolved);
    assert!("dnsmasq".parse::<Mode>().unwrap_err().to_string().contains("auto, resolvconf, resolved, none"));
}

#[test]
fn nameservers_are_read_as_the_c_library_does() {
    let text = "nameserver 192.0.2.1 # dns\n;nameserver 192.0.2.2\n  nameserver 2001:db8::1\nnameserver x\nnameserver\n";
    assert_eq!(resolv_conf::nameservers(text), servers(&["192.0.2.1", "2001:db8::1"]));
    let scoped = resolv_conf::nameservers("nameserver fe80::1%7\n");
    assert_eq!(scoped, ["[fe80::1%7]:53".parse().unwrap()]);
}
