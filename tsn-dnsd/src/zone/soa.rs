//! The SOA record of a zone, made from the configuration and a serial (RFC 1035, 3.3.13).

use domain::base::Name;

use super::{error::ZoneError, zones::named};

/// For secondary servers; there are none, so these are usual values.
const REFRESH: u32 = 3600;
const RETRY: u32 = 600;
const EXPIRE: u32 = 604_800;
/// How long an absence may be believed at most (RFC 2308, 5).
const NEGATIVE_MAX: u32 = 3 * 3600;
/// The serial and the four times at the end of the data.
const NUMBERS: usize = 20;

/// The SOA record.
#[derive(Clone, Debug)]
pub(super) struct Soa {
    /// The two names.
    names: Box<[u8]>,
    serial: u32,
    ttl: u32,
}

impl Soa {
    pub(super) fn new(
        apex: &Name<Vec<u8>>,
        primary: &Name<Vec<u8>>,
        mail: Option<&str>,
        ttl: u32,
        now: u64,
    ) -> Result<Self, ZoneError> {
        let responsible = match mail {
            Some(mail) => responsible(mail)?,
            None => named(&format!("hostmaster.{apex}"))?,
        };
        let names = [primary.as_slice(), responsible.as_slice()].concat().into();
        // The seconds of the clock, as far as 32 bits go: serials wrap anyway (RFC 1982).
        let serial = u32::try_from(now & u64::from(u32::MAX)).unwrap_or(1).max(1);
        Ok(Self { names, serial, ttl })
    }

    /// TTL of the zone's records, and how long an absence is believed.
    pub(super) fn ttl(&self) -> u32 {
        self.ttl
    }

    /// TTL of the SOA in a negative answer (RFC 2308, 3).
    pub(super) fn negative_ttl(&self) -> u32 {
        self.ttl.min(NEGATIVE_MAX)
    }

    pub(super) fn serial(&self) -> u32 {
        self.serial
    }

    pub(super) fn set_serial(&mut self, serial: u32) {
        self.serial = serial;
    }

    /// The record's data.
    pub(super) fn rdata(&self) -> Vec<u8> {
        let mut rdata = Vec::with_capacity(self.names.len() + NUMBERS);
        rdata.extend_from_slice(&self.names);
        for number in [self.serial, REFRESH, RETRY, EXPIRE, self.negative_ttl()] {
            rdata.extend(number.to_be_bytes());
        }
        rdata
    }
}

/// The serial in an SOA's data.
pub(super) fn serial_in(rdata: &[u8]) -> Option<u32> {
    let numbers = rdata.get(rdata.len().checked_sub(NUMBERS)?..)?;
    numbers.first_chunk().copied().map(u32::from_be_bytes)
}

/// Whether serial `one` is later than `other` (RFC 1982, 3.2).
pub(super) fn is_later(one: u32, other: u32) -> bool {
    let distance = one.wrapping_sub(other);
    distance != 0 && distance < 1 << 31
}

/// The serial after this one; 0 is left out, for some secondaries take it for none (RFC 2136, 4.2).
pub(super) fn next_serial(serial: u32) -> u32 {
    serial.wrapping_add(1).max(1)
}

/// `bob.smith@example.net` as the name `bob\.smith.example.net` (RFC 1035, 8).
fn responsible(mail: &str) -> Result<Name<Vec<u8>>, ZoneError> {
    match mail.split_once('@') {
        Some((user, host)) => named(&format!("{}.{host}", user.replace('.', "\\."))),
        None => named(mail),
    }
    .map_err(|_| ZoneError::Name(mail.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soa(mail: Option<&str>, now: u64) -> Soa {
        let apex = named("home.example.net").unwrap();
        Soa::new(&apex, &named("ns.example.net").unwrap(), mail, 60, now).unwrap()
    }

    #[test]
    fn rfc1982_3_2_serials_are_compared_around_the_wrap() {
        assert!(is_later(1, 0) && is_later(0, u32::MAX) && is_later(0x8000_0000, 1));
        assert!(!is_later(0, 1) && !is_later(7, 7) && !is_later(u32::MAX, 0));
        assert!(!is_later(0x8000_0000, 0), "half the circle is undefined, so neither is later");
        assert_eq!((next_serial(7), next_serial(u32::MAX)), (8, 1));
    }

    #[test]
    fn rfc1035_8_mail_address_becomes_a_name() {
        let expected = named("bob\\.smith.example.net").unwrap();
        assert!(soa(Some("bob.smith@example.net"), 1).names.ends_with(expected.as_slice()));
        assert!(soa(None, 1).names.ends_with(named("hostmaster.home.example.net").unwrap().as_slice()));
    }

    #[test]
    fn serial_stands_in_the_data() {
        let mut soa = soa(None, 0);
        assert_eq!(serial_in(&soa.rdata()), Some(1));
        soa.set_serial(77);
        assert_eq!(serial_in(&soa.rdata()), Some(77));
        assert_eq!(serial_in(&[0; 19]), None);
    }
}
