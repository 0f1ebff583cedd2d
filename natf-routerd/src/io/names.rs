//! The file of learned names (T1): hosts register themselves now and then only, and a restart must not cut them off
//! until then. It is written when a name is new, moves or is withdrawn, and twice in the life of one that is renewed.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use smol::Timer;

use super::{
    daemon::{Shared, now},
    state,
};
use crate::{core::registration_seen::KeptName, error::Error};

/// Name of the file in the state directory.
const FILE: &str = "names";
/// Time between two writes, which doubles while names keep changing: flash wears.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));

/// Reads the names; a missing file is an empty one.
///
/// # Errors
/// Where the file cannot be read, or a line of it is not `NAME ADDRESS SERVER SECONDS`.
pub fn read(directory: &Path) -> Result<Vec<KeptName>, Error> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    let numbered = (1..).zip(text.lines());
    let names = numbered.map(|(number, line)| {
        let wrong = || format!("{}:{number}: '{line}' is not 'NAME ADDRESS SERVER SECONDS'", path.display());
        parse(line).ok_or_else(|| Error::Refused(wrong()))
    });
    names.collect()
}

fn parse(line: &str) -> Option<KeptName> {
    let mut fields = line.split_ascii_whitespace();
    let name = fields.next()?.parse().ok()?;
    let (address, server) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let expires = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some(KeptName { name, address, server, expires })
}

fn write(directory: &Path, names: &[KeptName]) -> Result<(), Error> {
    let line = |kept: &KeptName| format!("{} {} {} {}\n", kept.name, kept.address, kept.server, kept.expires);
    state::replace(directory, FILE, &names.iter().map(line).collect::<String>())
}

/// Writes the names after changes, on a thread of its own: flash may take its time.
pub async fn keep(daemon: Shared) {
    let (changed, directory) = (daemon.borrow().names.1.clone(), daemon.borrow().paths.state_dir.clone());
    let (mut written, mut pause) = (None::<Instant>, PAUSE.0);
    while changed.recv().await.is_ok() {
        pause = match written {
            Some(written) if written.elapsed() < PAUSE.1 => (pause * 2).min(PAUSE.1),
            _ => PAUSE.0,
        };
        let Some(names) = daemon.borrow_mut().router.take_changed_names(now()) else { continue };
        let directory = directory.clone();
        if let Err(error) = smol::unblock(move || write(&directory, &names)).await {
            log::error!("{error}; after a restart learned names are unknown until they are registered again");
        }
        written = Some(Instant::now());
        Timer::after(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t1_names_survive_writing_and_reading() {
        let directory = std::env::temp_dir().join(format!("natf-names-{}", std::process::id()));
        assert_eq!(read(&directory).unwrap(), []);
        let names = [KeptName {
            name: "alice.dyn.example.net".parse().unwrap(),
            address: [192, 168, 1, 10].into(),
            server: [192, 0, 2, 53].into(),
            expires: 1_795_000_000,
        }];
        write(&directory, &names).unwrap();
        assert_eq!(read(&directory).unwrap(), names);
        for wrong in
            ["alice", "alice 1.2.3.4 1.2.3.4 soon", "a 1.2.3.4 1.2.3.4 1 x", "a..b 1.2.3.4 1.2.3.4 1"]
        {
            fs::write(directory.join(FILE), wrong).unwrap();
            assert!(read(&directory).unwrap_err().to_string().contains(":1: "), "{wrong}");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
