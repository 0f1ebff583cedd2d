//! Values of configured records: the words of a zone file (RFC 1035, 5.1), without quotes, on one line.
//!
//! Every type may also be written as `\# LENGTH HEX` (RFC 3597, 5).

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use domain::base::Rtype;

use super::{
    error::ValueError,
    rdata::{RDATA_MAX, Rdata, name_from_text},
};

/// The types that can be configured.
pub(super) const TYPES: [Rtype; 13] = [
    Rtype::A,
    Rtype::AAAA,
    Rtype::CNAME,
    Rtype::MX,
    Rtype::TXT,
    Rtype::SRV,
    Rtype::PTR,
    Rtype::NS,
    Rtype::CAA,
    Rtype::SSHFP,
    Rtype::TLSA,
    Rtype::SVCB,
    Rtype::HTTPS,
];

/// The data that a value stands for.
pub(super) fn read(rtype: Rtype, value: &str) -> Result<Vec<u8>, ValueError> {
    let words: Vec<&str> = value.split_whitespace().collect();
    let octets = match (rtype, words.as_slice()) {
        (_, ["\\#", length, hex @ ..]) => octets(hex).filter(|octets| length.parse() == Ok(octets.len())),
        (Rtype::A, [address]) => address.parse().ok().map(|address: Ipv4Addr| address.octets().to_vec()),
        (Rtype::AAAA, [address]) => address.parse().ok().map(|address: Ipv6Addr| address.octets().to_vec()),
        (Rtype::CNAME | Rtype::NS | Rtype::PTR, [name]) => wire_name(name),
        (Rtype::MX, [preference, name]) => numbers::<u16>(&[preference]).zip(wire_name(name)).map(joined),
        (Rtype::SRV, [priority, weight, port, name]) => {
            numbers::<u16>(&[priority, weight, port]).zip(wire_name(name)).map(joined)
        }
        (Rtype::TXT, _) => Some(character_strings(value)),
        (Rtype::CAA, [flags, tag, rest @ ..]) => caa(flags, tag, rest),
        (Rtype::SSHFP, [algorithm, kind, hex @ ..]) => {
            numbers::<u8>(&[algorithm, kind]).zip(octets(hex)).map(joined)
        }
        (Rtype::TLSA, [usage, selector, matching, hex @ ..]) => {
            numbers::<u8>(&[usage, selector, matching]).zip(octets(hex)).map(joined)
        }
        (Rtype::SVCB | Rtype::HTTPS, [priority, target, parameters @ ..]) => {
            service(priority, target, parameters)
        }
        _ => None,
    };
    let checked =
        octets.filter(|octets| octets.len() <= RDATA_MAX).and_then(|octets| Rdata::parse(rtype, &octets));
    checked.map(Rdata::into_octets).ok_or_else(|| ValueError::new(rtype, value))
}

/// A number in network order.
trait Number: FromStr {
    fn push(self, octets: &mut Vec<u8>);
}

impl Number for u8 {
    fn push(self, octets: &mut Vec<u8>) {
        octets.push(self);
    }
}

impl Number for u16 {
    fn push(self, octets: &mut Vec<u8>) {
        octets.extend(self.to_be_bytes());
    }
}

fn numbers<N: Number>(words: &[&str]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    for word in words {
        word.parse::<N>().ok()?.push(&mut octets);
    }
    Some(octets)
}

fn joined((mut one, other): (Vec<u8>, Vec<u8>)) -> Vec<u8> {
    one.extend(other);
    one
}

fn wire_name(text: &str) -> Option<Vec<u8>> {
    name_from_text(text).map(|name| name.as_slice().to_vec())
}

/// Octets of hex digits; spaces between them do not count.
pub(super) fn octets(hex: &[&str]) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> =
        hex.iter().flat_map(|word| word.chars()).map(|digit| digit.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    digits.chunks_exact(2).map(|pair| u8::try_from(pair.first()? * 16 + pair.last()?).ok()).collect()
}

/// A text as one character string, or several if it is longer than one can be (RFC 1035, 3.3).
fn character_strings(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len() + 1);
    let mut push = |part: &[u8]| {
        // `chunks(255)` keeps the length within an octet.
        octets.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        octets.extend_from_slice(part);
    };
    if text.is_empty() {
        push(&[]);
    }
    text.as_bytes().chunks(255).for_each(push);
    octets
}

/// RFC 8659, 4.1.
fn caa(flags: &str, tag: &str, value: &[&str]) -> Option<Vec<u8>> {
    let value = value.join(" ");
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(&value);
    let is_tag = (1..=15).contains(&tag.len()) && tag.bytes().all(|octet| octet.is_ascii_alphanumeric());
    let length = u8::try_from(tag.len()).ok().filter(|_| is_tag)?;
    Some([&[flags.parse().ok()?, length][..], tag.as_bytes(), value.as_bytes()].concat())
}

/// RFC 9460, 2: the parameters in the order of their keys, each once.
fn service(priority: &str, target: &str, parameters: &[&str]) -> Option<Vec<u8>> {
    let mut fields: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    for parameter in parameters {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let (key, value) = service_parameter(name, value)?;
        if fields.insert(key, value).is_some() {
            return None;
        }
    }
    let mut octets = joined((numbers::<u16>(&[priority])?, wire_name(target)?));
    for (key, value) in fields {
        octets.extend(key.to_be_bytes());
        octets.extend(u16::try_from(value.len()).ok()?.to_be_bytes());
        octets.extend(value);
    }
    Some(octets)
}

/// RFC 9460, 7.
fn service_parameter(name: &str, value: &str) -> Option<(u16, Vec<u8>)> {
    let words: Vec<&str> = value.split(',').collect();
    Some(match name {
        "alpn" => (1, alpn(&words)?),
        "no-default-alpn" if value.is_empty() => (2, Vec::new()),
        "port" => (3, numbers::<u16>(&[value])?),
        "ipv4hint" => {
            let hints: Option<Vec<Ipv4Addr>> = words.iter().map(|word| word.parse().ok()).collect();
            (4, hints?.iter().flat_map(Ipv4Addr::octets).collect())
        }
        "ipv6hint" => {
            let hints: Option<Vec<Ipv6Addr>> = words.iter().map(|word| word.parse().ok()).collect();
            (6, hints?.iter().flat_map(Ipv6Addr::octets).collect())
        }
        _ => return None,
    })
}

fn alpn(names: &[&str]) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    for name in names {
        octets.push(u8::try_from(name.len()).ok().filter(|length| *length > 0)?);
        octets.extend(name.bytes());
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use domain::{base::rdata::ParseAnyRecordData, dep::octseq::Parser, rdata::AllRecordData};

    use super::*;

    /// What another parser reads out of our octets.
    fn shown(rtype: Rtype, value: &str) -> String {
        let octets = read(rtype, value).unwrap_or_else(|error| panic!("{error}"));
        let mut parser = Parser::from_ref(octets.as_slice());
        let data =
            AllRecordData::<&[u8], domain::base::ParsedName<&[u8]>>::parse_any_rdata(rtype, &mut parser);
        assert_eq!(parser.remaining(), 0);
        data.unwrap().to_string().replace("( ", "").replace(" )", "")
    }

    #[test]
    fn types_are_read_as_in_a_zone_file() {
        assert_eq!(shown(Rtype::CAA, "0 issue \"letsencrypt.org\""), "0 issue \"letsencrypt.org\"");
        assert_eq!(shown(Rtype::SSHFP, "4 2 0a0b0c0d"), "4 2 0A0B0C0D");
        assert_eq!(shown(Rtype::TLSA, "3 1 1 0a0b 0c0d"), "3 1 1 0A0B0C0D");
        let https = shown(Rtype::HTTPS, "1 . port=8443 alpn=h2,h3 ipv4hint=192.0.2.1,192.0.2.2");
        assert!(
            https.starts_with("1 .") && https.contains("alpn=h2,h3") && https.contains("port=8443"),
            "{https}"
        );
        assert_eq!(read(Rtype::A, "\\# 4 c0 00 02 01").unwrap(), [192, 0, 2, 1]);
    }

    #[test]
    fn values_of_the_wrong_form_are_refused() {
        for (rtype, value) in [
            (Rtype::A, ""),
            (Rtype::A, "192.0.2.1 192.0.2.2"),
            (Rtype::A, "\\# 3 c00002"),
            (Rtype::A, "\\# 5 c0000201"),
            (Rtype::MX, "70000 mail.example.net"),
            (Rtype::CNAME, "a..b"),
            (Rtype::CAA, "0 is-sue x"),
            (Rtype::SSHFP, "4 2 0a0"),
            (Rtype::HTTPS, "1 . port=1 port=2"),
            (Rtype::HTTPS, "1 . colour=red"),
        ] {
            let error = read(rtype, value).unwrap_err().to_string();
            assert!(error.contains("accepted is"), "{error}");
        }
        assert!(read(Rtype::TXT, &"x".repeat(5000)).is_err());
    }

    #[test]
    fn long_text_is_split() {
        assert_eq!(read(Rtype::TXT, &"x".repeat(300)).unwrap().len(), 302);
        assert_eq!(read(Rtype::TXT, "").unwrap(), [0]);
    }
}
