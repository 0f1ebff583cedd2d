//! From a file to a configuration, or to everything that is wrong with it.
//!
//! Both daemons read the whole file: a router also plays the external node for its LAN (N12), and a mistake anywhere
//! in the file is worth a message.

use std::collections::BTreeMap;
use std::path::Path;

use crate::ddns::DdnsRow;
use crate::end::EndSettings;
use crate::error::{ConfigError, shown};
use crate::fields::{Fields, Report, check_section_names, nearest};
use crate::home::HomeRow;
use crate::host::{ANYONE, HostRow};
use crate::name::PrivateHostName;
use crate::peer::PeerRow;
use crate::router::RouterSettings;
use crate::uci::{self, Section, UciFile};

const KINDS: [&str; 6] = ["router", "host", "peer", "end", "home", "ddns"];

/// What the router reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouterConfig {
    /// The router's settings; None: there is no `config router`.
    pub router: Option<RouterSettings>,
    /// The access control table (N6).
    pub hosts: BTreeMap<PrivateHostName, HostRow>,
    /// The enrolled nodes by name; their ids differ.
    pub peers: BTreeMap<String, PeerRow>,
    /// Where hosts register their names by themselves (T1).
    pub ddns: Vec<DdnsRow>,
    /// The external node's part, for a router that plays it (N12).
    pub end: EndConfig,
    /// What is accepted, but hardly wanted.
    pub warnings: Vec<ConfigError>,
}

/// What the external node reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndConfig {
    /// The external node's settings; None: there is no `config end`.
    pub end: Option<EndSettings>,
    /// The homes by section name; their domains differ.
    pub homes: BTreeMap<String, HomeRow>,
}

/// Reads a router's configuration; on failure returns everything that is wrong.
pub fn load_router(path: &Path) -> Result<RouterConfig, Vec<ConfigError>> {
    let text = uci::read_text(path)?;
    parse_config(path, &text)
}

/// Reads an external node's configuration; on failure returns everything that is wrong.
pub fn load_end(path: &Path) -> Result<EndConfig, Vec<ConfigError>> {
    load_router(path).map(|config| config.end)
}

/// Reads a configuration from a text; `path` only appears in messages.
pub fn parse_config(path: &Path, text: &str) -> Result<RouterConfig, Vec<ConfigError>> {
    let (file, errors) = UciFile::parse(path, text);
    let mut loader = Loader { config: RouterConfig::default(), report: Report::new(path, errors) };
    check_section_names(&file, &["router", "end"], &mut loader.report);
    for section in &file.sections {
        loader.section(section);
    }
    loader.check_duplicates(&file);
    loader.warn_about_references(&file);
    let Loader { mut config, report } = loader;
    config.warnings = report.finish()?;
    Ok(config)
}

struct Loader {
    config: RouterConfig,
    report: Report,
}

impl Loader {
    fn section(&mut self, section: &Section) {
        let (config, report) = (&mut self.config, &mut self.report);
        match section.kind.as_str() {
            "router" => config.router = Some(RouterSettings::read(section, report)),
            "ddns" => config.ddns.extend(DdnsRow::read(section, report)),
            "end" => config.end.end = Some(EndSettings::read(section, report)),
            "host" => {
                if let Some(row) = HostRow::read(section, report)
                    && let Some(first) = config.hosts.insert(row.name.clone(), row)
                {
                    let problem =
                        format!("the host name is already used in line {}; a name has one row", first.line);
                    report.section(section, problem);
                }
            }
            "peer" => {
                if let Some(row) = PeerRow::read(section, report) {
                    config.peers.insert(row.name.clone(), row);
                }
            }
            "home" => {
                if let Some(row) = HomeRow::read(section, report) {
                    config.end.homes.insert(row.name.clone(), row);
                }
            }
            other => {
                let problem =
                    format!("the section type {} is unknown; {}", shown(other), nearest(other, &KINDS));
                report.section(section, problem);
            }
        }
    }

    /// A key id stands for one peer, a domain for one home.
    fn check_duplicates(&mut self, file: &UciFile) {
        let (mut ids, mut domains) = (BTreeMap::new(), BTreeMap::new());
        for section in &file.sections {
            let name = section.name.as_deref().unwrap_or_default();
            let problem = match section.kind.as_str() {
                "peer" => self.config.peers.get(name).and_then(|row| {
                    let first = ids.insert(row.id, name)?;
                    Some(format!("option id {} is already used by peer '{first}'", row.id))
                }),
                "home" => self.config.end.homes.get(name).and_then(|row| {
                    let first = domains.insert(row.domain.clone(), name)?;
                    Some(format!("option domain '{}' is already used by home '{first}'", row.domain))
                }),
                _ => None,
            };
            let option = if section.kind == "peer" { "id" } else { "domain" };
            if let Some(problem) = problem
                && let Some(option) = section.options.iter().find(|found| found.name == option)
            {
                Fields { section, report: &mut self.report }.error(option, problem);
            }
        }
    }

    /// Names of peers or hosts that are not there admit nobody, so they are only worth a warning: a peer that is
    /// removed may not invalidate the rows that name it.
    fn warn_about_references(&mut self, file: &UciFile) {
        let RouterConfig { hosts, peers, .. } = &self.config;
        for section in &file.sections {
            let (list, known): (_, &dyn Fn(&str) -> bool) = match section.kind.as_str() {
                "host" => ("peer", &|name| name == ANYONE || peers.contains_key(name)),
                "peer" => ("host", &|name| hosts.contains_key(name.to_ascii_lowercase().as_str())),
                _ => continue,
            };
            for option in section.options.iter().filter(|option| option.name == list) {
                for name in option.value.split_whitespace().filter(|name| !known(name)) {
                    let problem = format!("list {list} '{}': there is no {list} of that name", shown(name));
                    self.report.warn(section, option, problem);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::{Access, Enrolled, HomeDomain, HostAddress, Hosts, Resolver, Role, Service, Silent};

    const FILE: &str = "
config router 'router'
	option wan 'wan wan6'
	list lan 'br-lan'
	list lan 'br-guest'
	option domain 'Home.Example.net.'
	option udp_port '4450'
	option port_min '20000'
	option port_max '29999'
	option pending '3'
	option max_anyone '0'

config host 'alice'
	option ip '192.168.1.10'
	option access 'allow'
	list service 'tcp:22'
	list service 'udp:5000-5010'
	list peer 'laptop'
	option until '2026-12-31 18:00'

config host
	option name 'Web.Cam'
	option mac '00:11:22:AA:bb:cc'
	list peer 'anyone'
	option access ''

config peer 'laptop'
	option id '4711'
	list host 'ALICE'

config peer 'proxy'
	option id '4712'
	option role 'sip'
	option enabled '0'

config end 'end'
	option virtual '10.128.0.0/9'
	list upstream '192.0.2.1'
	list upstream '192.0.2.2#5353'
	list upstream '[2001:db8::1]:54'
	option resolver 'none'
	option silent 'release'
	option quarantine '60'

config ddns 'provider'
	list server '192.0.2.54'
	list zone 'Dyn.Example.net.'

config home 'friend'
	option domain 'friend.example.org'
	option id '4711'
	option udp_port '0'

config home 'all'
	option domain '*'
	list host 'alice'
";

    fn load(text: &str) -> Result<RouterConfig, Vec<String>> {
        parse_config(Path::new("/etc/config/natf"), text)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// The only error of a text.
    fn error(text: &str) -> String {
        let errors = load(text).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:#?}");
        errors[0].strip_prefix("/etc/config/natf:").unwrap().to_owned()
    }

    #[test]
    fn reads_everything_that_the_user_wrote() {
        let config = load(FILE).unwrap();
        assert_eq!(config.warnings, []);
        let router = config.router.unwrap();
        assert_eq!(
            (router.wan, router.lan),
            (vec!["wan".into(), "wan6".into()], vec!["br-lan".into(), "br-guest".into()])
        );
        assert_eq!(router.domains.first().unwrap().as_str(), "home.example.net");
        assert_eq!((router.udp_port, router.port_min, router.port_max), (Some(4_450), 20_000, 29_999));
        assert_eq!((router.pending, router.max_anyone, router.enabled), (Duration::from_secs(3), 0, true));
        assert_eq!(config.peers["laptop"].role, Role::Node);
        assert!(
            config.peers["laptop"].hosts.contains("alice")
                && !config.peers["laptop"].hosts.contains("web.cam")
        );
        assert_eq!((config.peers["proxy"].role, config.peers["proxy"].enabled), (Role::Sip, false));
        let end = config.end.end.unwrap();
        assert_eq!(end.virtual_net.to_string(), "10.128.0.0/9");
        assert_eq!(
            end.upstream.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["192.0.2.1:53", "192.0.2.2:5353", "[2001:db8::1]:54"]
        );
        assert_eq!(
            (end.resolver, end.silent, end.quarantine),
            (Resolver::None, Silent::Release, Duration::from_secs(60))
        );
        let ddns = &config.ddns[0];
        assert_eq!((ddns.servers.as_slice(), ddns.enabled), (&[Ipv4Addr::new(192, 0, 2, 54)][..], true));
        assert_eq!(ddns.zones[0].as_str(), "dyn.example.net");
        let friend = &config.end.homes["friend"];
        assert_eq!(
            (friend.domain.to_string().as_str(), friend.id.unwrap().get()),
            ("friend.example.org", 4_711)
        );
        assert_eq!((friend.udp_port, &friend.hosts), (None, &Hosts::All));
        assert_eq!((&config.end.homes["all"].domain, config.end.homes["all"].id), (&HomeDomain::Any, None));
    }

    #[test]
    fn n6_reads_the_access_control_table() {
        let hosts = load(FILE).unwrap().hosts;
        let alice = &hosts["alice"];
        assert_eq!(alice.address, HostAddress::Ip(Ipv4Addr::new(192, 168, 1, 10)));
        assert_eq!((alice.access, alice.until, alice.line), (Access::Allow, Some(1_798_740_000), 13));
        assert_eq!(
            alice.services.iter().map(Service::to_string).collect::<Vec<_>>(),
            ["tcp:22", "udp:5000-5010"]
        );
        assert_eq!(alice.peers.enrolled, Enrolled::Named(["laptop".to_owned()].into()));
        let camera = &hosts["web.cam"];
        assert_eq!(camera.address.to_string(), "00:11:22:aa:bb:cc");
        assert_eq!((camera.access, camera.peers.anyone, camera.until), (Access::Deny, true, None));
        assert_eq!(
            (camera.services.as_slice(), &camera.peers.enrolled),
            ([Service::ALL].as_slice(), &Enrolled::Named([].into()))
        );
        let open = load("config host a\n option ip 10.0.0.1\n").unwrap().hosts["a"].peers.clone();
        assert_eq!((open.enrolled, open.anyone), (Enrolled::Any, false));
    }

    #[test]
    fn takes_a_file_without_settings_as_one_without_roles() {
        let config = load("").unwrap();
        assert_eq!((config.router, config.end.end), (None, None));
        let config = load("config router\nconfig end\n").unwrap();
        assert_eq!(
            (config.router, config.end.end),
            (Some(RouterSettings::default()), Some(EndSettings::default()))
        );
    }

    #[test]
    fn names_file_line_section_option_value_and_what_is_accepted() {
        let text = "\n\n\n\n\n\n\n\n\nconfig host 'alice'\n\toption ip 10.0.0.1\n\toption access 'alow'\n";
        let errors = parse_config(Path::new("/etc/config/natf"), text).unwrap_err();
        assert_eq!(
            errors[0].to_string(),
            "/etc/config/natf:12: host 'alice': option access 'alow' is not accepted; use allow or deny"
        );
        let found = (errors[0].line, errors[0].option.as_deref(), errors[0].value.as_deref());
        assert_eq!(found, (12, Some("access"), Some("alow")));
    }

    #[test]
    fn names_every_value_that_is_not_accepted() {
        for (section, option, accepted) in [
            ("router", "enabled maybe", "use 1 or 0"),
            ("router", "wan a/b", "use the name of an interface"),
            ("router", "domain .", "use a domain name such as"),
            ("router", "udp_port 65536", "use a number from 0 to 65535"),
            ("router", "port_min 80", "use a number from 1024 to 65535"),
            ("router", "pending 0", "use a number from 1 to 120"),
            ("router", "max_mappings -1", "use a number from 1 to 1000000"),
            ("end", "virtual 240.0.0.1/8", "use a network such as 240.0.0.0/8"),
            ("end", "virtual 240.0.0.0/4", "use a network such as 240.0.0.0/8"),
            ("end", "virtual 127.0.0.0/8", "use a network such as 240.0.0.0/8"),
            ("end", "listen ::1", "use an IPv4 address"),
            ("end", "upstream dns", "use the address of a DNS server"),
            ("end", "upstream 0.0.0.0", "use the address of a DNS server"),
            ("end", "resolver yes", "use auto, resolvconf, resolved or none"),
            ("end", "silent drop", "use refuse or release"),
            ("host 'a'\noption ip 10.0.0.1", "service tcp", "use tcp:PORT"),
            ("host 'a'\noption ip 10.0.0.1", "until 2026-02-30", "use 2026-12-31"),
            (
                "host 'a'\noption ip 10.0.0.1",
                "peer 'a-b'",
                "use the name of a config peer section, or anyone",
            ),
            ("host 'a'\noption ip 10.0.0.1", "name -a", "use labels"),
            ("host 'a'", "ip 127.0.0.1", "use the host's IPv4 address"),
            ("host 'a'", "ip 224.0.0.1", "use the host's IPv4 address"),
            ("host 'a'", "mac 01:00:5e:00:00:01", "use the host's MAC address"),
            ("host 'a'", "mac 1:2:3:4:5:6", "use the host's MAC address"),
            ("peer 'a'", "id 0", "use a number from 1 to 65535"),
            ("peer 'a'\noption id 1", "role admin", "use node, tsn or sip"),
            ("peer 'a'\noption id 1", "host 'a..b'", "use labels"),
            ("router", "guide_lifetime 1", "use a number from 2 to 600"),
            ("router", "max_guide 65537", "use a number from 0 to 65536"),
            ("ddns 'a'\nlist zone dyn.example.net", "server dns", "use the IPv4 address of a DNS server"),
            ("ddns 'a'\nlist server 192.0.2.53", "zone a..b", "use a domain name"),
            ("home 'a'", "domain '*.net'", "use a domain name such as home.example.net, or *"),
        ] {
            let error = error(&format!("config {section}\noption {option}\n"));
            let (name, value) = option.split_once(' ').unwrap();
            let start = format!("option {name} '{}' is not accepted", value.trim_matches('\''));
            assert!(error.contains(&start) && error.contains(accepted), "{error}");
        }
    }

    #[test]
    fn reports_all_errors_in_the_order_of_the_file() {
        let errors = load(
            "config router\n\toption qeue 1\n\toption queue x\nconfig host\n\toption ip 1\nconfig hots 'b'\n\
             config peer 'laptop' 'x'\nconfig home 'h'\n",
        )
        .unwrap_err();
        let expected = [
            "2: router (without a name): option qeue is unknown; did you mean queue? (accepted: enabled, wan,",
            "3: router (without a name): option queue 'x' is not accepted; use a number from 0 to 65535",
            "4: host (without a name): the host has no name; use config host 'NAME' or option name 'NAME'",
            "5: host (without a name): option ip '1' is not accepted; use the host's IPv4 address",
            "6: hots 'b': the section type hots is unknown; did you mean host? (accepted: router, host, peer, end, home, ddns)",
            "7: config: too many words",
            "8: home 'h': option domain is missing; use a domain name",
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:#?}");
        for (error, expected) in errors.iter().zip(expected) {
            assert!(error.starts_with(&format!("/etc/config/natf:{expected}")), "{error}\n{expected}");
        }
    }

    #[test]
    fn refuses_what_stands_twice() {
        let host = "option ip 10.0.0.1";
        for (text, expected) in [
            (
                format!("config host a\n{host}\nconfig host\noption name A\n{host}\n"),
                "3: host (without a name): the host name is already used in line 1; a name has one row",
            ),
            (
                "config peer a\noption id 1\nconfig peer b\noption id 1\n".into(),
                "4: peer 'b': option id 1 is already used by peer 'a'",
            ),
            (
                "config home a\noption domain x.y\nconfig home b\noption domain X.y.\n".into(),
                "4: home 'b': option domain 'x.y' is already used by home 'a'",
            ),
            (
                format!("config host a\n{host}\nconfig peer a\noption id 1\n"),
                "3: peer 'a': the section name is already used in line 1 (by host 'a'); a name is used once in a file",
            ),
            (
                "config end a\nconfig end b\n".into(),
                "2: end 'b': there is already a config end in line 1; use one",
            ),
            (
                format!("config host a\n{host}\n{host}\n"),
                "3: host 'a': option ip stands twice, first in line 2; it takes one value",
            ),
        ] {
            assert_eq!(error(&text), expected);
        }
    }

    #[test]
    fn refuses_what_does_not_fit_together() {
        for (text, expected) in [
            ("config host a\n", "1: host 'a': the host has no address; use option ip or option mac"),
            (
                "config host a\noption ip 10.0.0.1\noption mac 00:11:22:33:44:55\n",
                "3: host 'a': the host has option ip and option mac; use one of them",
            ),
            (
                "config peer\noption id 1\n",
                "1: peer (without a name): the peer has no name; use config peer 'NAME'",
            ),
            (
                "config peer anyone\noption id 1\n",
                "1: peer 'anyone': 'anyone' means the nodes without a key; use another name",
            ),
            ("config peer a\n", "1: peer 'a': option id is missing; use a number from 1 to 65535"),
            (
                "config ddns a\nlist zone x.y\n",
                "1: ddns 'a': list server is missing; without it no name is ever learned",
            ),
            (
                "config home a\noption domain *\noption id 1\n",
                "3: home 'a': a home for all names (domain '*') has no key; remove option id",
            ),
            (
                "config router\noption port_min 3000\noption port_max 2000\n",
                "1: router (without a name): option port_min (3000) is above port_max (2000); no port is left",
            ),
        ] {
            assert_eq!(error(text), expected);
        }
    }

    #[test]
    fn warns_about_names_that_are_not_there() {
        let text = "config host a\noption ip 10.0.0.1\nlist peer laptpo\nlist peer anyone\nconfig peer p\noption id 1\nlist host A\nlist host b\n";
        let warnings: Vec<_> = load(text).unwrap().warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "/etc/config/natf:3: host 'a': list peer 'laptpo': there is no peer of that name",
                "/etc/config/natf:8: peer 'p': list host 'b': there is no host of that name",
            ]
        );
    }

    #[test]
    fn checks_private_host_names() {
        let longest = format!("{}.{}", "a".repeat(63), "b".repeat(0));
        assert!(longest.parse::<PrivateHostName>().is_err());
        for (name, good) in [
            ("a".repeat(63), true),
            ("a".repeat(64), false),
            (format!("{}.b", "a".repeat(62)), true),
            (format!("{}.{}", "a".repeat(62), "b"), true),
            (format!("{}.{}", "a".repeat(62), "bb"), false),
            ("my_pc-2.lab".into(), true),
            ("".into(), false),
            ("a.".into(), false),
            (".a".into(), false),
            ("-a".into(), false),
            ("a-".into(), false),
            ("a b".into(), false),
            ("ä".into(), false),
        ] {
            assert_eq!(name.parse::<PrivateHostName>().is_ok(), good, "{name}");
        }
        assert_eq!("ALICE".parse::<PrivateHostName>().unwrap().as_str(), "alice");
    }

    #[test]
    fn shows_hostile_values_on_one_short_line() {
        let error = error(&format!("config host a\noption ip '{}\n\u{1b}[31m'\n", "x".repeat(500)));
        assert!(error.len() < 300 && !error.contains('\n') && error.contains('…'), "{error}");
        let error = self::error("config host a\noption ip 'a\n\u{1b}b'\n");
        assert!(error.contains("'a\\n\\u{1b}b'"), "{error}");
    }

    proptest! {
        #[test]
        fn never_panics(
            parts in proptest::collection::vec((
                prop::sample::select(KINDS.to_vec()),
                proptest::collection::vec((prop::sample::select(vec![
                    "name", "ip", "mac", "access", "service", "peer", "until", "id", "role", "host", "domain", "virtual",
                    "upstream", "port_min", "wan", "listen",
                ]), "[^\0']{0,24}|[0-9.:/-]{0,20}|[*a-z:0-9-]{0,12}"), 0..6),
            ), 0..6),
        ) {
            let mut text = String::new();
            for (kind, options) in parts {
                text.push_str(&format!("config {kind} a\n"));
                for (name, value) in options {
                    text.push_str(&format!("list {name} '{value}'\n"));
                }
            }
            if let Err(errors) = load(&text) {
                prop_assert!(errors.iter().all(|error| !error.contains('\n') && error.len() < 1_000));
            }
        }
    }
}
