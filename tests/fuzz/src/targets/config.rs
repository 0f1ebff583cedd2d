//! natf-config: UCI files, enrolment URIs and the values of options.

use std::path::Path;

use natf_config::{Editor, EnrolUri, Network, Service, parse_config, parse_dnsd, parse_until};

/// Any text as each daemon's configuration; an editor must be able to add to what it accepted.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("fuzz");
    if let Err(errors) = parse_config(path, text) {
        assert!(!errors.is_empty());
    }
    if let Err(errors) = parse_dnsd(path, text) {
        assert!(!errors.is_empty());
    }
    if let Ok(mut editor) = Editor::from_text(path, text.to_owned())
        && editor.append_section("peer", "fuzz_peer", &[]).is_ok()
    {
        assert!(Editor::from_text(path, editor.text().to_owned()).is_ok(), "{:?}", editor.text());
    }
}

/// The laboratory's files.
pub fn config_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../../../lab/config/router1"),
        include_str!("../../../lab/config/en"),
        include_str!("../../../lab/config/isp"),
        "config host 'a\"b'\n\toption name 'it'\\''s'\n\tlist service \"tcp:1-2\" # why\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

/// Any text as an enrolment URI.
pub fn enrol_uri(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(uri) = EnrolUri::parse(text) {
        assert!(EnrolUri::parse(&uri.to_uri()).is_ok(), "what was read is not read again");
    }
}

/// One with everything.
pub fn enrol_uri_seeds() -> Vec<Vec<u8>> {
    let uri = "natf://home.example.net/?id=4711&key=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8&peer=laptop&port=4451";
    vec![uri.as_bytes().to_vec()]
}

/// Any text as the value of an option.
pub fn option(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(service) = text.parse::<Service>() {
        assert_eq!(service.to_string().parse::<Service>().ok(), Some(service));
    }
    if let Ok(network) = text.parse::<Network>() {
        assert_eq!(network.to_string().parse::<Network>().ok(), Some(network));
    }
    let _ = parse_until(text);
}

/// Values that are accepted.
pub fn option_seeds() -> Vec<Vec<u8>> {
    ["tcp:22", "udp:5000-5010", "tcp:*", "*", "2026-12-31 18:00", "192.168.0.0/16", "fd00::/8"]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
}
