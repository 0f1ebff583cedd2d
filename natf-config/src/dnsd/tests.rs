use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FILE: &str = "
config server 'server'
	list listen '127.0.0.1'
	list listen '0.0.0.0#5353'
	list listen '[::1]:54'
	option port '5300'
	list upstream '192.0.2.53'
	list upstream '2001:db8::53#5353'
	list allow '203.0.113.0/24'
	option cache_size '500'
	option ttl_min '5'
	option ttl_max '3600'
	option serve_stale '0'
	option rate '0'
	option announce_wait '250'
	option query_log '1'

config router 'home'
	list domain 'Home.Example.net.'
	list domain 'cottage.example.net'
	option id '4712'

config router 'office'
	list domain 'office.example.net'
	option id '4713'
	option address '203.0.113.1'
	option without 'answer'
	option enabled '0'

config client 'lan'
	list network '192.168.1.0/24'
	list network 'fd00::/8'
	option origin '198.51.100.1'

config client
	list network '100.64.0.0/10'

config zone 'dyn'
	option name 'dyn.example.net'
	option mail 'admin@example.net'
	list ns 'ns1.example.net'
	list update_key 'alice'
	list update_key 'Key.Example.net'

config record
	option name '*.dyn.example.net'
	option type 'aaaa'
	option value '2001:db8::1'
	option ttl '30'

config record 'www'
	option name 'www.example.org'
	option type 'TXT'
	option value 'two words'

config tsigkey 'alice'

config tsigkey 'other'
	option name 'key.example.net'
	option algorithm 'hmac-sha512'
";

fn load(text: &str) -> Result<DnsdConfig, Vec<String>> {
    parse_dnsd(Path::new("/etc/config/tsn-dnsd"), text)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn error(text: &str) -> String {
    let errors = load(text).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors[0].strip_prefix("/etc/config/tsn-dnsd:").unwrap().to_owned()
}

fn sockets(found: &[SocketAddr]) -> Vec<String> {
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn reads_everything_that_the_user_wrote() {
    let config = load(FILE).unwrap();
    assert_eq!(config.warnings, []);
    let server = config.server;
    assert_eq!(sockets(&server.listen), ["127.0.0.1:5300", "0.0.0.0:5353", "[::1]:54"]);
    assert_eq!(sockets(&server.upstream), ["192.0.2.53:53", "[2001:db8::53]:5353"]);
    assert_eq!(server.allow, ["203.0.113.0/24".parse().unwrap()]);
    assert_eq!((server.cache_size, server.rate, server.query_log), (500, None, true));
    assert_eq!(server.ttl, (Duration::from_secs(5), Duration::from_secs(3600)));
    assert_eq!((server.serve_stale, server.announce_wait), (Duration::ZERO, Duration::from_millis(250)));
    let home = &config.routers["home"];
    assert_eq!(
        home.domains.iter().map(|d| d.as_str()).collect::<Vec<_>>(),
        ["home.example.net", "cottage.example.net"]
    );
    assert_eq!(
        (home.id.get(), home.address, home.without, home.enabled),
        (4712, None, Without::Refuse, true)
    );
    let office = &config.routers["office"];
    assert_eq!((office.address, office.without), (Some(Ipv4Addr::new(203, 0, 113, 1)), Without::Answer));
    assert!(!office.enabled);
    assert_eq!((config.clients.len(), config.clients[0].networks.len()), (2, 2));
    assert_eq!(config.clients[0].origin, Some(Ipv4Addr::new(198, 51, 100, 1)));
    let zone = &config.zones["dyn"];
    assert_eq!((zone.name.as_str(), zone.ttl), ("dyn.example.net", 60));
    assert_eq!(zone.mail.as_ref().unwrap().as_str(), "admin.example.net");
    assert_eq!(
        zone.update_keys.iter().map(RecordName::as_str).collect::<Vec<_>>(),
        ["alice", "key.example.net"]
    );
    let record = &config.records[0];
    assert_eq!(
        (record.name.as_str(), record.kind.as_str(), record.ttl),
        ("*.dyn.example.net", "AAAA", Some(30))
    );
    assert_eq!(config.records[1].value, "two words");
    assert_eq!(config.tsig_keys["alice"].algorithm, TsigAlgorithm::HmacSha256);
    assert_eq!(config.tsig_keys["key.example.net"].algorithm, TsigAlgorithm::HmacSha512);
}

#[test]
fn a_file_without_sections_serves_this_host_alone() {
    let server = load("").unwrap().server;
    assert_eq!(sockets(&server.listen), ["127.0.0.1:53", "[::1]:53"]);
    assert!(server.listen_is_default);
    for (address, allowed) in [
        ("127.0.0.1", true),
        ("::1", true),
        ("192.168.1.1", true),
        ("100.127.0.1", true),
        ("fe80::1", true),
        ("fd12::1", true),
        ("203.0.113.1", false),
        ("2001:db8::1", false),
    ] {
        let address = address.parse().unwrap();
        assert_eq!(server.allow.iter().any(|network| network.contains(address)), allowed, "{address}");
    }
    let server = load("config server\n option port 5300\n").unwrap().server;
    assert_eq!(sockets(&server.listen), ["127.0.0.1:5300", "[::1]:5300"]);
}

#[test]
fn names_file_line_section_option_value_and_what_is_accepted() {
    assert_eq!(
        error("\nconfig router 'home'\n list domain a.net\n option id 5\n option without 'silence'\n"),
        "5: router 'home': option without 'silence' is not accepted; use refuse or answer"
    );
}

#[test]
fn names_every_value_that_is_not_accepted() {
    let router = "list domain a.net\n option id 1\n";
    for (section, rest, option, accepted) in [
        ("server", "", "listen localhost", "use an address such as"),
        ("server", "", "listen '127.0.0.1#0'", "use an address such as"),
        ("server", "", "upstream 0.0.0.0", "use the address of a DNS server"),
        ("server", "", "upstream '192.0.2.1#x'", "use the address of a DNS server"),
        ("server", "", "allow 10.0.0.1/8", "use a network such as"),
        ("server", "", "announce_wait 5", "use a number from 10 to 3000"),
        ("server", "", "ttl_max 0", "use a number from 1 to 604800"),
        ("server", "", "rat 5", "did you mean rate?"),
        ("router", router, "address x", "use an IPv4 address"),
        ("client", "list network 10.0.0.0/8\n", "origin 0.0.0.0", "use the IPv4 address under which"),
        ("zone", "option name a.net\n", "mail @", "use a mailbox"),
        ("zone", "option name a.net\n", "update_key bob", "there is no config tsigkey of that name"),
        ("tsigkey", "", "algorithm hmac-md5", "use hmac-sha256"),
    ] {
        let message = error(&format!("config {section} 'x'\n {rest} option {option}\n"));
        assert!(message.contains(accepted), "{message}");
    }
    let message = error("config server\n option ttl_min 100\n option ttl_max 10\n");
    assert!(message.contains("ttl_min 100 is more than ttl_max 10"), "{message}");
}

#[test]
fn names_what_is_missing_or_stands_twice() {
    for (text, problem) in [
        ("config router home\n option id 5\n", "list domain is missing"),
        ("config router home\n list domain a.net\n", "option id is missing"),
        ("config router\n option id 5\n list domain a.net\n", "the router has no usable name"),
        ("config client\n", "list network is missing"),
        ("config zone z\n", "option name is missing"),
        ("config record\n option name a\n option type A\n", "option value is missing"),
        ("config record\n option name a..b\n option type A\n option value 1\n", "use a name such as"),
        ("config record\n option name a\n option type SOA\n option value 1\n", "use A, AAAA"),
        ("config sever\n", "did you mean server?"),
        ("config server a\nconfig server b\n", "there is already a config server in line 1"),
        (
            "config zone z\n option name a.net\nconfig zone y\n option name A.NET\n",
            "is already used by zone 'z'",
        ),
        (
            "config router a\n list domain a.net\n option id 1\nconfig router b\n list domain b.net\n option id 1\n",
            "id '1' is already used by router 'a'",
        ),
        (
            "config router a\n list domain a.net\n option id 1\nconfig router b\n list domain a.net\n option id 2\n",
            "domain 'a.net' is already used by router 'a'",
        ),
    ] {
        let message = error(text);
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn warns_of_a_server_for_the_whole_internet() {
    let config = load("config server\n list allow 0.0.0.0/0\n").unwrap();
    assert!(config.warnings[0].to_string().contains("the whole internet may ask"));
}

proptest! {
    #[test]
    fn never_panics(text in "(config (server|router|client|zone|record|tsigkey) ?[a-z']{0,4}\n|(option|list) (name|id|domain|listen|allow|value|type|ttl) [0-9a-z.:#/*']{0,12}\n){0,12}") {
        let _ = load(&text);
    }
}
