//! Signed questions (RFC 8945, 5.3): who signs a question believes only a signed answer. Programs that send updates ask
//! so for the zone that a name is in.

use domain::base::iana::Rcode;

use super::{counters::raise, tsig::Checked, update::zone_section, zones::Zones};

/// QR in the third octet of the header, TC beside it (RFC 1035, 4.1.1).
const QR: u8 = 0x80;
const TC: u8 = 0x02;
/// Opcode and RD, which a reply repeats.
const REPEATED: u8 = 0x79;

impl Zones {
    /// The reply to send in place of `reply`, if `packet` is signed; without any key of ours signatures mean nothing.
    /// `room` is how long it may be, `now` in Unix seconds.
    pub fn sign_reply(
        &mut self,
        packet: &[u8],
        now: impl FnOnce() -> u64,
        reply: &[u8],
        room: impl FnOnce() -> usize,
    ) -> Option<Vec<u8>> {
        // ARCOUNT: a signature would be counted there.
        if self.keys.is_empty() || packet.get(10..12)? == [0, 0] {
            return None;
        }
        match self.keys.check(packet, now()) {
            Ok(Checked::Unsigned) => None,
            Ok(Checked::Signed(session)) => {
                let signed = session.sign(reply.to_vec());
                let bits = reply.get(3).map_or(0, |bits| bits & 0xf0);
                Some(match signed.len() > room() {
                    // 5.3: the signature has to fit, if need be without the records.
                    true => session.sign(bare(packet, TC, bits)),
                    false => signed,
                })
            }
            Ok(Checked::Refused(error, session)) => {
                self.count_tsig(error);
                Some(session.sign(bare(packet, 0, Rcode::NOTAUTH.to_int())))
            }
            Err(_) => {
                raise(&mut self.counters.tsig_malformed);
                Some(bare(packet, 0, Rcode::FORMERR.to_int()))
            }
        }
    }
}

/// A reply without records: header and question.
fn bare(packet: &[u8], flags: u8, bits: u8) -> Vec<u8> {
    let question = zone_section(packet).unwrap_or_default();
    let mut reply = packet.get(..2).unwrap_or(&[0; 2]).to_vec();
    reply.extend([QR | flags | packet.get(2).map_or(0, |octet| octet & REPEATED), bits]);
    reply.extend([0, u8::from(!question.is_empty()), 0, 0, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    reply
}
