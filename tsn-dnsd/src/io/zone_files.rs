//! The files of own zones: what updates brought, written through to the disk before an update is answered.
//!
//! ```text
//! update ─▶ zones: Change ─▶ append, write through ─▶ zones: commit ─▶ reply
//!                              │ failed: cut back       (a file that has doubled is written anew and renamed)
//!                              └─▶ zones: abandon ─▶ SERVFAIL
//! ```

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use smol::lock::Mutex;

use crate::{
    core::server::Server,
    error::Error,
    zone::{UpdateOutcome, Zones},
};

/// The largest file that is read.
const FILE_MAX: u64 = 64 << 20;
/// A file that is smaller is not written anew.
const GROWN_MIN: u64 = if cfg!(test) { 4 << 10 } else { 64 << 10 };

/// The files.
#[derive(Debug)]
pub struct ZoneFiles {
    directory: PathBuf,
    /// Those that are known to hold whole changes and nothing else. Locked for as long as a change is saved: one update
    /// after the other.
    files: Mutex<BTreeMap<String, ZoneFile>>,
}

#[derive(Debug)]
struct ZoneFile {
    file: File,
    /// Octets of whole changes.
    length: u64,
    /// The same when it was written anew.
    fresh: u64,
}

impl ZoneFiles {
    /// In this directory, which is made when something is saved.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), files: Mutex::default() }
    }

    /// Takes up what earlier updates brought. A file that is damaged is kept beside the new one, as `NAME.damaged`.
    ///
    /// # Errors
    /// A file cannot be read, or not be written where it was damaged.
    pub fn load(&self, zones: &mut Zones) -> Result<(), Error> {
        self.load_others(zones, &BTreeSet::new())
    }

    /// Takes up the files of zones that are not in the old configuration.
    ///
    /// # Errors
    /// Those of [`Self::load`].
    pub fn load_added(&self, zones: &mut Zones, old: &Zones) -> Result<(), Error> {
        self.load_others(zones, &old.names().collect())
    }

    /// Waits until nothing is being saved; no update is made before the guard is dropped. Who changes the zones
    /// meanwhile cannot have the file of one say something else than its clients were told.
    pub async fn pause(&self) -> impl Drop + '_ {
        self.files.lock().await
    }

    /// Makes an update; the reply is there when it is saved. None: no reply.
    pub async fn update(&self, server: &RefCell<Server>, packet: &[u8]) -> Option<Vec<u8>> {
        let mut files = self.files.lock().await;
        let outcome = server.borrow_mut().zones().handle_update(packet, unix_now());
        let change = match outcome {
            UpdateOutcome::Ignore => return None,
            UpdateOutcome::Reply(reply) => return Some(reply),
            UpdateOutcome::Save(change) => change,
        };
        let name = change.zone_name();
        let known = files.remove(&name).filter(|file| !file.has_grown() && file.is_at(&self.path(&name)));
        let snapshot = if known.is_none() { server.borrow_mut().zones().snapshot(&name) } else { None };
        let (path, journal) = (self.path(&name), change.journal().to_owned());
        let saved = smol::unblock(move || save(known, &path, snapshot.as_deref(), &journal)).await;
        let mut server = server.borrow_mut();
        match saved {
            Ok(file) => {
                files.insert(name, file);
                log::info!("{change}");
                Some(server.zones().commit(*change))
            }
            // What is on the disk is no longer known: the next update starts with a new file.
            Err(error) => {
                log::error!("the update of {name} is not made: {error}");
                Some(server.zones().abandon(*change))
            }
        }
    }

    /// Takes up the files of the zones that are not in `known`.
    fn load_others(&self, zones: &mut Zones, known: &BTreeSet<String>) -> Result<(), Error> {
        let names: Vec<String> = zones.names().filter(|name| !known.contains(name)).collect();
        names.iter().try_for_each(|name| load(zones, name, &self.path(name)))
    }

    fn path(&self, zone: &str) -> PathBuf {
        // Names of zones contain letters, digits, '-', '_' and '.'.
        self.directory.join(format!("{zone}.zone"))
    }
}

impl ZoneFile {
    /// A file with all that is in the zone, in the place of an old one.
    fn replace(path: &Path, text: &str) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let beside = path.with_extension("new");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A crash leaves the old file or the new one.
        fs::rename(&beside, path)?;
        File::open(directory)?.sync_all()?;
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        Ok(Self { file, length, fresh: length })
    }

    fn has_grown(&self) -> bool {
        self.length > GROWN_MIN && self.length / 2 > self.fresh
    }

    /// Whether the file is still there, and no other one is in its place: somebody may have removed or restored it, and
    /// what is written into a file without a name is lost with the daemon.
    fn is_at(&self, path: &Path) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let (own, there) = (self.file.metadata().map(identity), fs::metadata(path).map(identity));
        matches!((own, there), (Ok(own), Ok(there)) if own == there)
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        let written = self.file.write_all(text.as_bytes()).and_then(|()| self.file.sync_data());
        if written.is_err() {
            // Half a change, or one that is answered SERVFAIL, is not to come back after a restart.
            let _ = self.file.set_len(self.length).and_then(|()| self.file.sync_data());
        }
        self.length = self.length.saturating_add(u64::try_from(text.len()).unwrap_or_default());
        written
    }
}

/// Takes up one file.
fn load(zones: &mut Zones, name: &str, path: &Path) -> Result<(), Error> {
    let Some(text) = read(path)? else { return Ok(()) };
    let whole = match zones.load(name, &text) {
        Ok(loaded) => {
            for remark in &loaded.remarks {
                log::warn!("{}: {remark}", path.display());
            }
            !loaded.damaged
        }
        Err(error) => {
            log::warn!("{}: {error}; the zone starts with what is configured", path.display());
            false
        }
    };
    if !whole {
        let aside = path.with_extension("damaged");
        fs::copy(path, &aside).map_err(Error::io("cannot write", aside))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<String>, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("cannot read", path))?,
    };
    let mut octets = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut octets).map_err(Error::io("cannot read", path))?;
    // Whatever is no text is damage, and found as such.
    Ok(Some(String::from_utf8_lossy(&octets).into_owned()))
}

/// Appends a change; where the file is not known or has grown, it is written anew first: behind the rest of a change
/// that a crash cut off, the next one would be lost.
fn save(
    known: Option<ZoneFile>,
    path: &Path,
    snapshot: Option<&str>,
    journal: &str,
) -> Result<ZoneFile, Error> {
    let appended = known.map_or_else(|| ZoneFile::replace(path, snapshot.unwrap_or_default()), Ok);
    let appended = appended.and_then(|mut file| file.append(journal).map(|()| file));
    appended.map_err(Error::io("cannot write", path))
}

/// Seconds since 1970; 0 where the clock stands before.
pub fn unix_now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use std::{
        hash::{BuildHasher as _, RandomState},
        time::Instant,
    };

    use domain::base::{Name, Rtype};
    use hmac::{Hmac, KeyInit as _, Mac as _};
    use sha2::Sha256;

    use super::*;
    use crate::{
        core::{announced::Domains, cache::CacheLimits, received::Lifetimes, settings::Settings},
        zone::{Config, KeySetting, ZoneSetting},
    };

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn zones() -> Zones {
        let zone = ZoneSetting {
            name: "home.example.net".into(),
            ttl: 60,
            ns: Vec::new(),
            mail: None,
            update_keys: vec!["alice".into()],
            records_max: 1000,
        };
        let secret = SECRET.to_vec().into();
        let key = KeySetting { name: "alice".into(), algorithm: "hmac-sha256".into(), secret };
        Zones::new(&Config { zones: vec![zone], records: vec![], keys: vec![key] }, 1).unwrap()
    }

    fn server(zones: Zones) -> RefCell<Server> {
        let settings = Settings {
            allow: Vec::new(),
            rate: None,
            cache: CacheLimits { entries: 1, bytes: 1, stale: 0 },
            lifetimes: Lifetimes { min: 0, max: 60, negative_max: 60 },
            announced: Domains::new([]),
            announce_ttl: 2,
            forwards: false,
            query_log: false,
        };
        RefCell::new(Server::new(Instant::now(), settings, zones, RandomState::new()))
    }

    /// `update add hostN A 192.0.2.N`, signed.
    fn update(number: u8) -> Vec<u8> {
        let mut packet = vec![0, number, 0x28, 0, 0, 1, 0, 0, 0, 1, 0, 0];
        packet.extend(b"\x04home\x07example\x03net\0\0\x06\0\x01");
        packet.extend([5, b'h', b'o', b's', b't', b'a' + number % 26, 0xc0, 12]);
        packet.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, number]);
        let time = &unix_now().to_be_bytes()[2..];
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET).unwrap();
        mac.update(&packet);
        mac.update(b"\x05alice\0\0\xff\0\0\0\0\x0bhmac-sha256\0");
        mac.update(&[time, &[1, 44, 0, 0, 0, 0]].concat());
        packet.extend(b"\x05alice\0\0\xfa\0\xff\0\0\0\0\0\x3d\x0bhmac-sha256\0");
        packet.extend(time);
        packet.extend([1, 44, 0, 32]);
        packet.extend(mac.finalize().into_bytes());
        packet.extend([0, number, 0, 0, 0, 0]);
        packet[11] = 1;
        packet
    }

    /// The rcode of the reply.
    fn send(files: &ZoneFiles, server: &RefCell<Server>, number: u8) -> u8 {
        smol::block_on(files.update(server, &update(number))).unwrap()[3] & 15
    }

    fn loaded(directory: &Path) -> (ZoneFiles, RefCell<Server>) {
        let (files, mut zones) = (ZoneFiles::new(directory), zones());
        files.load(&mut zones).unwrap();
        (files, server(zones))
    }

    fn knows(zones: &Zones, number: u8) -> bool {
        let name = format!("host{}.home.example.net", char::from(b'a' + number % 26));
        let answer = zones.answer(&Name::vec_from_str(&name).unwrap(), Rtype::A);
        answer.is_some_and(|answer| answer.addresses().any(|address| address.octets()[3] == number))
    }

    /// A directory of this run's own; it does not exist yet.
    fn scratch() -> PathBuf {
        std::env::temp_dir().join(format!("tsn-dnsd-zones-{:016x}", RandomState::new().hash_one(0)))
    }

    #[test]
    fn answered_updates_are_there_after_a_crash() {
        let directory = scratch();
        let (files, before) = loaded(&directory);
        assert!((0..3).all(|number| send(&files, &before, number) == 0));
        // The crash comes while the fourth is written.
        let path = directory.join("home.example.net.zone");
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"; forget hostd.home.example.net.\nhostd.home").unwrap();
        for _ in 0..2 {
            let (_, after) = loaded(&directory);
            assert!((0..3).all(|number| knows(after.borrow_mut().zones(), number)));
        }
        let (files, after) = loaded(&directory);
        assert!((4..6).all(|number| send(&files, &after, number) == 0));
        let (_, again) = loaded(&directory);
        assert!([0, 1, 2, 4, 5].iter().all(|number| knows(again.borrow_mut().zones(), *number)));
        assert!(
            fs::read_to_string(directory.join("home.example.net.damaged")).unwrap().ends_with("hostd.home")
        );
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn file_of_something_else_is_kept_aside() {
        let directory = scratch();
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("home.example.net.zone"), b"\xff\xfe no zone").unwrap();
        let (files, fresh) = loaded(&directory);
        assert!(fs::read(directory.join("home.example.net.damaged")).unwrap().starts_with(b"\xff"));
        assert_eq!(send(&files, &fresh, 1), 0);
        assert!(knows(loaded(&directory).1.borrow_mut().zones(), 1));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn update_that_cannot_be_saved_is_servfail_until_it_can() {
        let directory = scratch();
        fs::write(&directory, "a file where the directory should be").unwrap();
        let (files, server) = (ZoneFiles::new(&directory), server(zones()));
        assert_eq!(send(&files, &server, 1), 2);
        assert!(!knows(server.borrow_mut().zones(), 1));
        fs::remove_file(&directory).unwrap();
        assert_eq!(send(&files, &server, 1), 0);
        assert!(knows(server.borrow_mut().zones(), 1));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn grown_file_is_written_anew() {
        let directory = scratch();
        let (files, before) = loaded(&directory);
        let path = directory.join("home.example.net.zone");
        let mut lengths = Vec::new();
        for number in 0..200 {
            assert_eq!(send(&files, &before, number), 0);
            lengths.push(fs::metadata(&path).unwrap().len());
        }
        assert!(!lengths.is_sorted(), "it becomes shorter at times");
        let (_, after) = loaded(&directory);
        assert!((0..200).all(|number| knows(after.borrow_mut().zones(), number)));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn update_is_not_written_into_a_file_that_is_gone() {
        let directory = scratch();
        let (files, before) = loaded(&directory);
        let path = directory.join("home.example.net.zone");
        assert_eq!(send(&files, &before, 1), 0);
        fs::remove_file(&path).unwrap();
        assert_eq!(send(&files, &before, 2), 0);
        // Another one in its place, as from a backup.
        fs::copy(&path, directory.join("copy")).unwrap();
        fs::rename(directory.join("copy"), &path).unwrap();
        assert_eq!(send(&files, &before, 3), 0);
        let (_, after) = loaded(&directory);
        assert!((1..4).all(|number| knows(after.borrow_mut().zones(), number)));
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn reload_keeps_what_was_learned_and_reads_what_was_not_there() {
        let directory = scratch();
        let (files, server) = loaded(&directory);
        assert_eq!(send(&files, &server, 1), 0);
        let (mut new, mut none, mut again) = (zones(), Zones::default(), zones());
        let reload = |zones: &mut Zones, old: &mut Zones| {
            files.load_added(zones, old).unwrap();
            assert!(zones.adopt(old).is_empty());
        };
        reload(&mut new, server.borrow_mut().zones());
        assert!(knows(&new, 1));
        reload(&mut none, &mut new);
        reload(&mut again, &mut none);
        assert!(knows(&again, 1));
        fs::remove_dir_all(directory).unwrap();
    }
}
