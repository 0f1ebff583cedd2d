//! The communication notification and its answer (T4, T5).
//!
//! ```text
//! byte  0  TSN type (1)           1 = notification, 2 = answer
//!       1  id (2)                 the DNS question's
//!       3  outcome (1)            notification: 0. Answer: 0 = guided, 255 = stale, else a reason for refusing
//!       4  origin (4)             who is about to connect; 0.0.0.0: whoever this notification comes from
//!       8  host name (64)         notification: lower case, padded with 0
//!       8  floor (8)              answer, stale: counters above this one are accepted; else 0
//!      16  lifetime (4)           answer, guided: seconds that the row lives; else 0
//!      20  reserved (52)          answer: sent as 0, ignored
//! ```

use std::{net::Ipv4Addr, time::Duration};

use crate::{
    error::ParseError,
    host_name::{HostName, MAX_HOST_NAME},
    notice::{NOTICE_BODY_LEN, NoticeBody},
    reason::Reason,
};

/// TSN types (T5).
const NOTIFICATION: u8 = 1;
const ANSWER: u8 = 2;
/// Outcomes that are no reasons.
const GUIDED: u8 = 0;
const OTHER: u8 = 254;
const STALE: u8 = 255;

/// "`origin` is about to connect to `name`."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notification {
    /// Id of the DNS question; a repeated question has the same.
    pub id: u16,
    /// G3, as the router is going to see it; `None`: the source of this notification itself.
    pub origin: Option<Ipv4Addr>,
    /// The whole name that was asked for, without a final dot.
    pub name: HostName,
}

impl Notification {
    /// Writes a body.
    pub fn emit(&self) -> NoticeBody {
        body(NOTIFICATION, self.id, 0, self.origin, self.name.padded())
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] naming the field.
    pub fn parse(body: &NoticeBody) -> Result<Self, ParseError> {
        let fields = Fields::of(body, NOTIFICATION)?;
        let length = fields.data.iter().position(|byte| *byte == 0).unwrap_or(MAX_HOST_NAME);
        let (name, padding) = fields.data.split_at_checked(length).ok_or(ParseError::HostName)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ParseError::HostName);
        }
        Ok(Self { id: fields.id, origin: fields.origin, name: HostName::new(name)? })
    }
}

/// What became of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuideOutcome {
    /// The guide table has a row, for so long.
    Guided {
        /// Whole seconds.
        lifetime: Duration,
    },
    /// There is none; without a reason where this program is too old to know it.
    Refused(Option<Reason>),
    /// The counter is too low: use one above this floor, and notify again.
    Stale {
        /// The highest counter that is not accepted any more.
        floor: u64,
    },
}

/// The router's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationAnswer {
    /// The notification's.
    pub id: u16,
    /// The notification's.
    pub origin: Option<Ipv4Addr>,
    /// What became of it.
    pub outcome: GuideOutcome,
}

impl NotificationAnswer {
    /// Writes a body; a lifetime is cut to whole seconds, at most 2^32 - 1 of them.
    pub fn emit(&self) -> NoticeBody {
        let (code, floor, lifetime) = match self.outcome {
            GuideOutcome::Guided { lifetime } => {
                (GUIDED, 0, u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX))
            }
            GuideOutcome::Refused(reason) => (reason.map_or(OTHER, |reason| reason as u8), 0, 0),
            GuideOutcome::Stale { floor } => (STALE, floor, 0),
        };
        let mut data = [0; MAX_HOST_NAME];
        let fields = floor.to_be_bytes().into_iter().chain(lifetime.to_be_bytes());
        data.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
        body(ANSWER, self.id, code, self.origin, &data)
    }

    /// Reads a body.
    ///
    /// # Errors
    /// [`ParseError`] naming the field.
    pub fn parse(body: &NoticeBody) -> Result<Self, ParseError> {
        let fields = Fields::of(body, ANSWER)?;
        let [f0, f1, f2, f3, f4, f5, f6, f7, l0, l1, l2, l3, ..] = *fields.data;
        let outcome = match fields.outcome {
            GUIDED => {
                let seconds = u32::from_be_bytes([l0, l1, l2, l3]);
                GuideOutcome::Guided { lifetime: Duration::from_secs(seconds.into()) }
            }
            STALE => GuideOutcome::Stale { floor: u64::from_be_bytes([f0, f1, f2, f3, f4, f5, f6, f7]) },
            number => GuideOutcome::Refused(Reason::parse(number)),
        };
        Ok(Self { id: fields.id, origin: fields.origin, outcome })
    }
}

/// The fields that both bodies have.
struct Fields<'a> {
    id: u16,
    outcome: u8,
    origin: Option<Ipv4Addr>,
    data: &'a [u8; MAX_HOST_NAME],
}

impl<'a> Fields<'a> {
    fn of(body: &'a NoticeBody, expected: u8) -> Result<Self, ParseError> {
        let [kind, id0, id1, outcome, o0, o1, o2, o3, data @ ..] = body;
        if *kind != expected {
            return Err(ParseError::Field { field: "TSN type", value: (*kind).into() });
        }
        let origin = Ipv4Addr::new(*o0, *o1, *o2, *o3);
        Ok(Self {
            id: u16::from_be_bytes([*id0, *id1]),
            outcome: *outcome,
            origin: (!origin.is_unspecified()).then_some(origin),
            data,
        })
    }
}

fn body(kind: u8, id: u16, outcome: u8, origin: Option<Ipv4Addr>, data: &[u8; MAX_HOST_NAME]) -> NoticeBody {
    let [id0, id1] = id.to_be_bytes();
    let origin = origin.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    let mut body = [0; NOTICE_BODY_LEN];
    let fields = [kind, id0, id1, outcome].into_iter().chain(origin).chain(data.iter().copied());
    body.iter_mut().zip(fields).for_each(|(place, byte)| *place = byte);
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> HostName {
        text.parse().unwrap()
    }

    #[test]
    fn t5_the_fields_stand_where_the_paper_has_them() {
        let origin = Some(Ipv4Addr::new(203, 0, 113, 7));
        let body = Notification { id: 0xabcd, origin, name: name("bob.example.net") }.emit();
        assert_eq!(body[..8], [1, 0xab, 0xcd, 0, 203, 0, 113, 7]);
        assert_eq!(&body[8..23], b"bob.example.net");
        assert!(body[23..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_name_of_64_bytes_fits() {
        let longest = name(&"a".repeat(64));
        let notification = Notification { id: 1, origin: None, name: longest };
        assert_eq!(Notification::parse(&notification.emit()).unwrap(), notification);
    }

    #[test]
    fn bytes_behind_the_name_are_refused() {
        let mut body = Notification { id: 1, origin: None, name: name("bob") }.emit();
        body[40] = b'x';
        assert_eq!(Notification::parse(&body), Err(ParseError::HostName));
        assert_eq!(Notification::parse(&[1; NOTICE_BODY_LEN]), Err(ParseError::HostName));
    }

    #[test]
    fn a_notification_is_no_answer() {
        let body = Notification { id: 1, origin: None, name: name("bob") }.emit();
        let wrong = ParseError::Field { field: "TSN type", value: 1 };
        assert_eq!(NotificationAnswer::parse(&body), Err(wrong));
    }

    proptest! {
        #[test]
        fn notifications_survive_the_round_trip(id: u16, origin: u32, name in "[a-z0-9_-]{1,20}(\\.[a-z0-9_-]{1,14}){0,2}") {
            let origin = (origin != 0).then(|| Ipv4Addr::from(origin));
            let notification = Notification { id, origin, name: name.parse().unwrap() };
            prop_assert_eq!(Notification::parse(&notification.emit()).unwrap(), notification);
        }

        #[test]
        fn answers_survive_the_round_trip(id: u16, which in 0usize..10, seconds: u32, floor: u64) {
            let outcome = match (which, Reason::ALL.get(which)) {
                (_, Some(reason)) => GuideOutcome::Refused(Some(*reason)),
                (8, _) => GuideOutcome::Guided { lifetime: Duration::from_secs(seconds.into()) },
                _ => GuideOutcome::Stale { floor },
            };
            let answer = NotificationAnswer { id, origin: None, outcome };
            prop_assert_eq!(NotificationAnswer::parse(&answer.emit()).unwrap(), answer);
        }

        #[test]
        fn any_body_is_parsed_without_panic(bytes in prop::collection::vec(any::<u8>(), NOTICE_BODY_LEN)) {
            let body: NoticeBody = bytes.try_into().unwrap();
            let _ = (Notification::parse(&body), NotificationAnswer::parse(&body));
        }
    }
}
