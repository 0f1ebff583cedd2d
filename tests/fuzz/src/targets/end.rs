//! natf-end: rewriting of DNS answers (N2). The input is a question, its length in front, and the upstream's reply.

use std::{
    net::Ipv4Addr,
    rc::Rc,
    time::{Duration, Instant},
};

use natf_end::{
    dns::{Homes, Names, Ours, Question, Settled, plan, settle},
    relation::Full,
    virtual_address::VirtualPrefix,
};

use crate::unhex;

/// Gives every name the same virtual address.
struct OneAddress(Rc<Homes>);

impl Names for OneAddress {
    fn homes(&self) -> Rc<Homes> {
        self.0.clone()
    }

    fn prefix(&self) -> VirtualPrefix {
        VirtualPrefix::DEFAULT
    }

    fn relate(&mut self, _: &Ours<'_>, _: &[Ipv4Addr], _: Duration, _: Instant) -> Result<Ipv4Addr, Full> {
        Ok(Ipv4Addr::new(240, 0, 1, 1))
    }

    fn is_plain_router(&self, _: Ipv4Addr, _: Instant) -> bool {
        false
    }

    fn name_of(&self, _: Ipv4Addr) -> Option<String> {
        None
    }
}

/// Any question and any reply.
pub fn rewriting(data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let Some((packet, reply)) = rest.split_at_checked((*length).into()) else { return };
    let Ok(question) = Question::parse(packet) else { return };
    let mut homes = Homes::new();
    homes.add("home", "home.example.net", None).unwrap();
    let mut names = OneAddress(Rc::new(homes));
    let plan = plan(&question, &names.0, VirtualPrefix::DEFAULT);
    match settle(&question, plan, reply, &mut names, Instant::now()) {
        Settled::Rewritten { reply, .. } => assert!(reply.len() <= 65_535),
        Settled::Reduced(reply) | Settled::Refused(reply, _) | Settled::Malformed(reply) => {
            assert!(reply.len() <= 65_535);
        }
        Settled::Unchanged => {}
    }
}

/// A question for alice, and her router's address by a CNAME.
pub fn rewriting_seeds() -> Vec<Vec<u8>> {
    let question =
        unhex("4e41 0100 0001 0000 0000 0000 05616c696365 04686f6d65 076578616d706c65 036e6574 00 0001 0001");
    let reply = unhex(
        "4e41 8180 0001 0002 0000 0000 05616c696365 04686f6d65 076578616d706c65 036e6574 00 0001 0001 \
         c00c 0005 0001 0000003c 0002 c012 c012 0001 0001 0000003c 0004 cb007102",
    );
    let length = u8::try_from(question.len()).unwrap();
    vec![[&[length], question.as_slice(), &reply].concat()]
}
