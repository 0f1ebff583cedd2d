//! Transaction signatures (RFC 8945): who sent a message, and that it arrived as it was sent.
//!
//! ```text
//! message ── find the TSIG record ── key? ── MAC? ── time? ── truncated? ──▶ Checked::Signed(Session)
//!   no key, wrong MAC:        Checked::Refused, the reply carries an error and no MAC (5.3.2)
//!   bad time, truncated MAC:  Checked::Refused, the reply is signed, so that the client can believe it
//! ```
//!
//! Only whole MACs are accepted: every algorithm here has at least 160 bits, and shorter ones save nothing.

use std::collections::BTreeMap;

use domain::{
    base::{
        Message, Name, Rtype, ToName,
        iana::{Class, TsigRcode},
    },
    rdata::Tsig,
};
use zeroize::Zeroizing;

use super::{
    config::{Finding, KeySetting, Origin},
    error::ZoneError,
    mac::Algorithm,
    name::Path,
    zones::{named, path_of},
};

/// What replies say about how far clocks may differ (RFC 8945, 10).
const FUDGE: u16 = 300;
/// The longest time for which a client may make its messages valid: an old message is no use to whoever recorded it.
const FUDGE_MAX: u16 = 300;
/// ARCOUNT in the header (RFC 1035, 4.1.1).
const ARCOUNT: std::ops::Range<usize> = 10..12;

/// A shared secret.
#[derive(Clone)]
struct Key {
    /// In canonical form: lower case (RFC 8945, 4.3.3).
    name: Name<Vec<u8>>,
    algorithm: Algorithm,
    secret: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, {:?})", self.name, self.algorithm)
    }
}

/// The configured keys by the paths of their names.
#[derive(Debug, Default)]
pub(super) struct Keyring(BTreeMap<Box<[u8]>, Key>);

impl Keyring {
    pub(super) fn new(settings: &[KeySetting], errors: &mut Vec<Finding>) -> Self {
        let mut keys = BTreeMap::new();
        for (number, setting) in settings.iter().enumerate() {
            let added = Key::new(setting).and_then(|(path, key)| match keys.insert(path, key) {
                Some(_) => Err(ZoneError::KeyTwice(setting.name.clone())),
                None => Ok(()),
            });
            errors.extend(added.err().map(|error| Finding { origin: Origin::Key(number), error }));
        }
        Self(keys)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }

    /// Checks the signature of a message, if it has one; `now` in Unix seconds.
    pub(super) fn check(&self, packet: &[u8], now: u64) -> Result<Checked, Malformed> {
        let Some(found) = Found::of(packet)? else { return Ok(Checked::Unsigned) };
        let path = Path::of(&found.owner).ok_or(Malformed)?;
        // 5.2.1: the algorithm belongs to the key.
        let key = self.0.get(path.as_slice()).filter(|key| key.algorithm.is_named(&found.algorithm));
        let Some(key) = key else { return Ok(found.refused(None, TsigRcode::BADKEY, now)) };
        let length = found.mac.len();
        if length > key.algorithm.length() || length < key.algorithm.shortest() {
            // 5.2.2.1: such a length is an error of form.
            return Err(Malformed);
        }
        if !found.is_genuine(key, packet) {
            return Ok(found.refused(None, TsigRcode::BADSIG, now));
        }
        let fudge = u64::from(found.fudge.min(FUDGE_MAX));
        if found.time_signed.abs_diff(now) > fudge {
            return Ok(found.refused(Some(key), TsigRcode::BADTIME, now));
        }
        if length < key.algorithm.length() {
            return Ok(found.refused(Some(key), TsigRcode::BADTRUNC, now));
        }
        Ok(Checked::Signed(found.session(Some(key), TsigRcode::NOERROR, now)))
    }
}

impl Key {
    fn new(setting: &KeySetting) -> Result<(Box<[u8]>, Self), ZoneError> {
        let name: Name<Vec<u8>> = named(&setting.name)?.to_canonical_name();
        let algorithm = Algorithm::from_text(&setting.algorithm).ok_or_else(|| ZoneError::Algorithm {
            name: setting.name.clone(),
            algorithm: setting.algorithm.clone(),
        })?;
        let length = setting.secret.len();
        if !(16..=512).contains(&length) {
            return Err(ZoneError::Secret { name: setting.name.clone(), length });
        }
        Ok((path_of(&name)?, Self { name, algorithm, secret: setting.secret.clone() }))
    }
}

/// What the signature of a message is worth.
#[derive(Debug)]
pub(super) enum Checked {
    /// It has none.
    Unsigned,
    /// It is good.
    Signed(Session),
    /// It is not; the reply is NOTAUTH with this error.
    Refused(TsigRcode, Session),
}

/// The message is not well formed where the signature is concerned (RFC 8945, 5.2): FORMERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What it takes to sign the reply to a message.
#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Without it the reply carries an error and no MAC.
    key: Option<Key>,
    owner: Name<Vec<u8>>,
    algorithm: Name<Vec<u8>>,
    /// The request's MAC is part of what the reply's covers (RFC 8945, 5.3.1).
    pub(super) request_mac: Vec<u8>,
    original_id: u16,
    /// When the request was signed.
    pub(super) time_signed: u64,
    fudge: u16,
    error: TsigRcode,
    now: u64,
}

impl Session {
    /// Whose signature it is.
    pub(super) fn path(&self) -> Box<[u8]> {
        Path::of(&self.owner).map(|path| path.as_slice().into()).unwrap_or_default()
    }

    /// The same for a reply that says BADTIME (RFC 8945, 5.2.3).
    pub(super) fn bad_time(&self) -> Self {
        Self { error: TsigRcode::BADTIME, ..self.clone() }
    }

    /// Adds the TSIG record to a reply.
    pub(super) fn sign(&self, mut reply: Vec<u8>) -> Vec<u8> {
        // 5.2.3: a BADTIME reply has the client's time, and the server's as other data.
        let bad_time = self.error == TsigRcode::BADTIME;
        let time = time48(if bad_time { self.time_signed } else { self.now });
        let server_time = time48(self.now);
        let other: &[u8] = if bad_time { &server_time } else { &[] };
        let fudge = if bad_time { self.fudge } else { FUDGE };
        let variables = Variables { time: &time, fudge, error: self.error, other };
        let mac = match &self.key {
            Some(key) => {
                let length = u16::try_from(self.request_mac.len()).unwrap_or_default().to_be_bytes();
                key.mac(&[&length, &self.request_mac, &reply], &variables)
            }
            None => Vec::new(),
        };
        self.push(&mut reply, &variables, &mac);
        reply
    }

    fn push(&self, reply: &mut Vec<u8>, variables: &Variables<'_>, mac: &[u8]) {
        let mut rdata = Vec::with_capacity(128);
        rdata.extend_from_slice(self.algorithm.as_slice());
        rdata.extend_from_slice(variables.time);
        rdata.extend(variables.fudge.to_be_bytes());
        rdata.extend(u16::try_from(mac.len()).unwrap_or_default().to_be_bytes());
        rdata.extend_from_slice(mac);
        rdata.extend(self.original_id.to_be_bytes());
        rdata.extend(variables.error.to_int().to_be_bytes());
        rdata.extend(u16::try_from(variables.other.len()).unwrap_or_default().to_be_bytes());
        rdata.extend_from_slice(variables.other);
        reply.extend_from_slice(self.owner.as_slice());
        reply.extend(Rtype::TSIG.to_int().to_be_bytes());
        reply.extend(Class::ANY.to_int().to_be_bytes());
        reply.extend([0; 4]);
        reply.extend(u16::try_from(rdata.len()).unwrap_or_default().to_be_bytes());
        reply.extend(rdata);
        if let Some(count) = reply.get_mut(ARCOUNT)
            && let Ok(before) = <[u8; 2]>::try_from(&*count)
        {
            count.copy_from_slice(&u16::from_be_bytes(before).saturating_add(1).to_be_bytes());
        }
    }
}

/// The fields of the record that the MAC covers (RFC 8945, 4.3.3).
struct Variables<'a> {
    time: &'a [u8; 6],
    fudge: u16,
    error: TsigRcode,
    other: &'a [u8],
}

impl Key {
    fn mac(&self, parts: &[&[u8]], variables: &Variables<'_>) -> Vec<u8> {
        let class_ttl = [0, 255, 0, 0, 0, 0];
        let algorithm = self.algorithm.name();
        let (fudge, error) = (variables.fudge.to_be_bytes(), variables.error.to_int().to_be_bytes());
        let other_length = u16::try_from(variables.other.len()).unwrap_or_default().to_be_bytes();
        let digest: [&[u8]; 8] = [
            self.name.as_slice(),
            &class_ttl,
            algorithm,
            variables.time,
            &fudge,
            &error,
            &other_length,
            variables.other,
        ];
        self.algorithm.mac(&self.secret, parts.iter().chain(&digest))
    }
}

/// The TSIG record of a message.
struct Found {
    owner: Name<Vec<u8>>,
    algorithm: Name<Vec<u8>>,
    time_signed: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: TsigRcode,
    other: Vec<u8>,
    /// Where the record begins: what stands before it is signed.
    start: usize,
}

impl Found {
    /// Finds the record: the last one of the additional section, and nowhere else (RFC 8945, 5.1).
    fn of(packet: &[u8]) -> Result<Option<Self>, Malformed> {
        let message = Message::from_slice(packet).map_err(|_| Malformed)?;
        let mut section = message.answer().map_err(|_| Malformed)?;
        for _ in 0..2 {
            for record in section.by_ref() {
                if record.map_err(|_| Malformed)?.rtype() == Rtype::TSIG {
                    return Err(Malformed);
                }
            }
            section = section.next_section().map_err(|_| Malformed)?.ok_or(Malformed)?;
        }
        loop {
            let start = section.pos();
            let Some(record) = section.next() else { return Ok(None) };
            let record = record.map_err(|_| Malformed)?;
            if record.rtype() != Rtype::TSIG {
                continue;
            }
            let misplaced =
                section.next().is_some() || record.class() != Class::ANY || record.ttl().as_secs() != 0;
            let parsed = record.to_record::<Tsig<_, _>>().ok().flatten().filter(|_| !misplaced);
            return parsed.map(|tsig| Some(Self::read(&tsig, start))).ok_or(Malformed);
        }
    }

    fn read(record: &domain::base::Record<impl ToName, Tsig<&[u8], impl ToName>>, start: usize) -> Self {
        let tsig = record.data();
        Self {
            owner: record.owner().to_canonical_name(),
            algorithm: tsig.algorithm().to_canonical_name(),
            time_signed: tsig.time_signed().into(),
            fudge: tsig.fudge(),
            mac: tsig.mac().to_vec(),
            original_id: tsig.original_id(),
            error: tsig.error(),
            other: tsig.other().to_vec(),
            start,
        }
    }

    /// Whether the MAC is that of the message with this key (RFC 8945, 5.2.2), shortened or not.
    fn is_genuine(&self, key: &Key, packet: &[u8]) -> bool {
        let Some((header, rest)) =
            packet.get(..self.start).and_then(|signed| signed.split_first_chunk::<12>())
        else {
            return false;
        };
        // 4.3.2: as it was signed, with the client's id and without the record in the count.
        let mut header = *header;
        let [high, low, .., count_high, count_low] = &mut header;
        [*high, *low] = self.original_id.to_be_bytes();
        let count = u16::from_be_bytes([*count_high, *count_low]).saturating_sub(1);
        [*count_high, *count_low] = count.to_be_bytes();
        let time = time48(self.time_signed);
        let variables = Variables { time: &time, fudge: self.fudge, error: self.error, other: &self.other };
        let expected = key.mac(&[&header, rest], &variables);
        let shortened = expected.get(..self.mac.len()).unwrap_or_default();
        !shortened.is_empty() && subtle::ConstantTimeEq::ct_eq(shortened, self.mac.as_slice()).into()
    }

    fn refused(self, key: Option<&Key>, error: TsigRcode, now: u64) -> Checked {
        Checked::Refused(error, self.session(key, error, now))
    }

    fn session(self, key: Option<&Key>, error: TsigRcode, now: u64) -> Session {
        Session {
            key: key.cloned(),
            owner: self.owner,
            algorithm: self.algorithm,
            request_mac: self.mac,
            original_id: self.original_id,
            time_signed: self.time_signed,
            fudge: self.fudge,
            error,
            now,
        }
    }
}

/// The low 48 bits of a time (RFC 8945, 4.2).
fn time48(seconds: u64) -> [u8; 6] {
    let [_, _, time @ ..] = seconds.to_be_bytes();
    time
}
