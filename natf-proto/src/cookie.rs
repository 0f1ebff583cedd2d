//! Cookies for hosts open to `anyone` (N15): who asks without a key first has to show that answers reach him. The
//! router keeps nothing of him meanwhile (stateless, as in RFC 6347, 4.2.1).
//!
//! ```text
//! cookie  0  MAC (24)                HMAC-SHA-256, cut to 24 bytes, over: source address (4), transaction (8)
//!
//! body of the offer
//! byte    0  transaction (8)         the request's
//!         8  cookie (24)             to be sent in the nonce's place of the next request
//!        32  reserved (96)           sent as 0, ignored
//! ```

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::{
    cursor::{Reader, Writer},
    envelope::Body,
    random::Random,
    request::Transaction,
};

/// Bytes of a cookie; it stands in the place of the nonce.
pub const COOKIE_LEN: usize = 24;
/// A cookie is good for one to two of these.
const ROTATION: Duration = Duration::from_secs(60);

/// One block of SHA-256, so that HMAC takes the secret as it is.
const SECRET_LEN: usize = 64;
type Secret = [u8; SECRET_LEN];

/// Proof of having received an answer at an address.
pub type Cookie = [u8; COOKIE_LEN];

/// "Come back with this cookie."
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookieOffer {
    /// The request's transaction.
    pub transaction: Transaction,
    /// To be sent in the nonce's place.
    pub cookie: Cookie,
}

impl CookieOffer {
    /// Reads a body; every body is one.
    pub fn parse(body: &Body) -> Self {
        let mut reader = Reader::new(body);
        Self { transaction: Transaction(reader.u64()), cookie: reader.bytes() }
    }

    /// Writes a body.
    pub fn emit(&self) -> Body {
        Writer::new().u64(self.transaction.0).bytes(&self.cookie).finish()
    }
}

/// Makes and checks cookies with a secret that changes every minute; the one before stays good meanwhile.
pub struct CookieJar {
    secrets: [Secret; 2],
    rotated: Instant,
}

impl CookieJar {
    /// A jar with fresh secrets.
    pub fn new(now: Instant, random: &mut dyn Random) -> Self {
        let mut jar = Self { secrets: [[0; SECRET_LEN]; 2], rotated: now };
        jar.secrets.iter_mut().for_each(|secret| random.fill(secret));
        jar
    }

    /// Changes the secret when its minute is over; to be called before [`Self::bake`] and [`Self::check`].
    pub fn rotate(&mut self, now: Instant, random: &mut dyn Random) {
        let minutes = now.saturating_duration_since(self.rotated).as_secs() / ROTATION.as_secs();
        if minutes == 0 {
            return;
        }
        let [current, previous] = &mut self.secrets;
        *previous = *current;
        random.fill(current);
        if minutes > 1 {
            random.fill(previous);
        }
        // Not `now`: a jar that nobody looked at for a while would keep its secrets for longer.
        self.rotated += Duration::from_secs(minutes * ROTATION.as_secs());
    }

    /// The cookie for this source and transaction.
    pub fn bake(&self, source: Ipv4Addr, transaction: Transaction) -> Cookie {
        let [current, _] = &self.secrets;
        mac(current, source, transaction)
    }

    /// True where the cookie was baked for this source and transaction in the last minute or the one before.
    pub fn check(&self, source: Ipv4Addr, transaction: Transaction, cookie: &Cookie) -> bool {
        let [current, previous] = &self.secrets;
        let one = mac(current, source, transaction).ct_eq(cookie);
        let other = mac(previous, source, transaction).ct_eq(cookie);
        (one | other).into()
    }
}

impl Drop for CookieJar {
    fn drop(&mut self) {
        self.secrets.zeroize();
    }
}

fn mac(secret: &Secret, source: Ipv4Addr, transaction: Transaction) -> Cookie {
    let mut mac = Hmac::<Sha256>::new(&(*secret).into());
    mac.update(&source.octets());
    mac.update(&transaction.0.to_be_bytes());
    let full: [u8; 32] = mac.finalize().into_bytes().into();
    full.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::tests::Counting;

    const HERE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

    #[test]
    fn a_cookie_is_good_for_its_source_and_transaction_only() {
        let jar = CookieJar::new(Instant::now(), &mut Counting(0));
        let cookie = jar.bake(HERE, Transaction(1));
        assert!(jar.check(HERE, Transaction(1), &cookie));
        assert!(!jar.check(HERE, Transaction(2), &cookie));
        assert!(!jar.check(Ipv4Addr::new(198, 51, 100, 11), Transaction(1), &cookie));
        assert!(!jar.check(HERE, Transaction(1), &[0; COOKIE_LEN]));
    }

    #[test]
    fn a_cookie_outlives_one_rotation_and_not_two() {
        let (start, mut random) = (Instant::now(), Counting(0));
        let mut jar = CookieJar::new(start, &mut random);
        let cookie = jar.bake(HERE, Transaction(1));
        jar.rotate(start + ROTATION, &mut random);
        assert!(jar.check(HERE, Transaction(1), &cookie));
        jar.rotate(start + 2 * ROTATION, &mut random);
        assert!(!jar.check(HERE, Transaction(1), &cookie));
    }

    #[test]
    fn a_cookie_lives_two_minutes_at_most_however_rarely_the_jar_is_looked_at() {
        let (start, mut random) = (Instant::now(), Counting(0));
        let mut jar = CookieJar::new(start, &mut random);
        let cookie = jar.bake(HERE, Transaction(1));
        jar.rotate(start + 2 * ROTATION - Duration::from_secs(1), &mut random);
        assert!(jar.check(HERE, Transaction(1), &cookie));
        jar.rotate(start + 2 * ROTATION, &mut random);
        assert!(!jar.check(HERE, Transaction(1), &cookie));
    }

    #[test]
    fn an_offer_survives_the_round_trip() {
        let offer = CookieOffer { transaction: Transaction(3), cookie: [9; COOKIE_LEN] };
        assert_eq!(CookieOffer::parse(&offer.emit()), offer);
    }
}
