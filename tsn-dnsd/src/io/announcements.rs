//! Connects the core's announced answers with the notifier, which is there as soon as a router is configured.

use std::{
    cell::{Ref, RefCell},
    rc::Rc,
    time::Duration,
};

use natf_daemon::random::SystemRandom;

use super::{
    notifier::{Directory, Notifier, Question, allowed_addresses},
    zone_files::unix_now,
};
use crate::{
    core::{
        announced::{Announcement, Announcer, Announcing, Verdict},
        reply::extended,
    },
    error::Error,
};

/// The notifier, if there is one.
#[derive(Default)]
pub struct Announcements {
    notifier: RefCell<Option<Rc<RefCell<Notifier>>>>,
}

impl Announcements {
    /// Opens the socket, with the first router: without any, no right is needed.
    ///
    /// # Errors
    /// Where the right to send ICMP is missing.
    pub fn open(&self, directory: &Directory) -> Result<(), Error> {
        if self.notifier.borrow().is_none() && !directory.routers.rows().is_empty() {
            let notifier = Notifier::open(unix_now(), SystemRandom::new()?)?;
            *self.notifier.borrow_mut() = Some(Rc::new(RefCell::new(notifier)));
        }
        Ok(())
    }

    /// Takes another configuration.
    pub fn configure(&self, directory: Directory, wait: Duration) {
        if let Some(notifier) = &*self.notifier.borrow() {
            notifier.borrow_mut().reload(directory, wait);
        }
    }

    /// The notifier, to wait for and to look at.
    pub fn notifier(&self) -> Ref<'_, Option<Rc<RefCell<Notifier>>>> {
        self.notifier.borrow()
    }
}

impl Announcer for Announcements {
    fn announce(&self, announcement: Announcement) -> Announcing<'_> {
        Box::pin(async move {
            let notifier = self.notifier.borrow().clone();
            let (Some(notifier), Some(name)) = (notifier, &announcement.name) else {
                return Verdict::Refuse(extended::PROHIBITED, "the name cannot be announced".to_owned());
            };
            let question = Question { client: announcement.client, id: announcement.id, name };
            match allowed_addresses(&notifier, question, &announcement.addresses).await {
                Ok(addresses) => Verdict::Send(addresses),
                Err(refusal) => Verdict::Refuse(refusal.extended_error(), refusal.to_string()),
            }
        })
    }
}
