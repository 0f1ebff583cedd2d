//! The enrolled keys and the file that holds them, apart from UCI.
//!
//! ```text
//! # NAME  ID    KEY (32 bytes, base64url)
//! laptop  4711  mJ…
//! ```
//!
//! NAME is a peer section on a router and a home section on an external node. Names are unique; ids need not be:
//! each router deals out its own, and a router that also plays the external node (N12) holds both kinds. Only the
//! owner may read the file: neither `uci get` nor a backup shown to others may reveal a key.

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::atomic::{self, Mode};
use crate::error::{Error, shown};
use crate::name::is_section_name;

/// The largest key file that is read: room for 10,000 keys.
const MAX_FILE: u64 = 1 << 20;
const HEADER: &str = "# Keys of natf: NAME ID KEY. Keep them secret; the file's mode must be 0600.\n";

/// A key that a node and a router share: 256 bits. It is wiped when dropped and never shown by `Debug`.
#[derive(Clone)]
pub struct EnrolledKey(Box<Zeroizing<[u8; 32]>>);

impl EnrolledKey {
    /// Makes a new key from the system's random numbers.
    ///
    /// # Errors
    /// [`Error::Random`] if the system has none.
    pub fn generate() -> Result<EnrolledKey, Error> {
        let mut key = EnrolledKey(Box::new(Zeroizing::new([0; 32])));
        getrandom::fill(key.0.as_mut_slice()).map_err(Error::Random)?;
        Ok(key)
    }

    /// Takes 32 bytes as a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> EnrolledKey {
        EnrolledKey(Box::new(Zeroizing::new(*bytes)))
    }

    /// The key itself.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key as 43 characters of base64url.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(Base64UrlUnpadded::encode_string(self.as_bytes()))
    }
}

impl FromStr for EnrolledKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut key = EnrolledKey(Box::new(Zeroizing::new([0; 32])));
        let length = Base64UrlUnpadded::decode(text, key.0.as_mut_slice()).map_err(|_| Error::Key)?.len();
        let zero = bool::from(key.as_bytes().ct_eq(&[0; 32]));
        if length == 32 && !zero { Ok(key) } else { Err(Error::Key) }
    }
}

impl PartialEq for EnrolledKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for EnrolledKey {}

impl fmt::Debug for EnrolledKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolledKey(..)")
    }
}

/// One line of the key file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// The peer's or home's section name.
    pub name: String,
    /// The key id.
    pub id: NonZeroU16,
    /// The key.
    pub key: EnrolledKey,
}

/// The key file.
#[derive(Debug)]
pub struct KeyFile {
    path: PathBuf,
    entries: Vec<KeyEntry>,
}

impl KeyFile {
    /// Reads a key file; one that is missing has no entries.
    ///
    /// # Errors
    /// Others can read the file, or a line is not `NAME ID KEY`.
    pub fn load(path: &Path) -> Result<KeyFile, Error> {
        let mut keys = KeyFile { path: path.to_owned(), entries: Vec::new() };
        let Some(text) = read(path)? else { return Ok(keys) };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let number = number.saturating_add(1);
            let entry = parse_line(line)
                .and_then(|entry| {
                    if keys.entry(&entry.name).is_some() { Err("the name stands twice") } else { Ok(entry) }
                })
                .map_err(|problem| Error::KeyLine {
                    path: path.to_owned(),
                    line: number,
                    problem: problem.into(),
                })?;
            keys.entries.push(entry);
        }
        Ok(keys)
    }

    /// Reads the file, changes it and writes it, while other editors wait.
    ///
    /// # Errors
    /// Those of [`KeyFile::load`], of the change, and of writing; then the file is as before.
    pub fn update<T>(path: &Path, change: impl FnOnce(&mut KeyFile) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = atomic::lock(path)?;
        let mut keys = KeyFile::load(path)?;
        let result = change(&mut keys)?;
        keys.save()?;
        Ok(result)
    }

    /// The entries in the order of the file.
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// The entry of a peer or home.
    pub fn entry(&self, name: &str) -> Option<&KeyEntry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The key of a peer or home, whose id must be the one of the configuration.
    ///
    /// # Errors
    /// [`Error::NoKey`] and [`Error::KeyId`].
    pub fn key(&self, name: &str, id: NonZeroU16) -> Result<&EnrolledKey, Error> {
        let entry = self.entry(name).ok_or_else(|| self.no_key(name))?;
        if entry.id != id {
            let (found, wanted) = (entry.id.get(), id.get());
            return Err(Error::KeyId { path: self.path.clone(), name: shown(name), found, wanted });
        }
        Ok(&entry.key)
    }

    /// That the name has no key here.
    pub fn no_key(&self, name: &str) -> Error {
        Error::NoKey { path: self.path.clone(), name: shown(name) }
    }

    /// Adds an entry, in memory: [`KeyFile::save`] or [`KeyFile::update`] writes it.
    ///
    /// # Errors
    /// The name has a key already, or is not a section name.
    pub fn add(&mut self, entry: KeyEntry) -> Result<(), Error> {
        let path = self.path.clone();
        if self.entry(&entry.name).is_some() {
            return Err(Error::KeyExists { path, name: entry.name });
        }
        if !is_section_name(&entry.name) {
            let problem =
                format!("'{}' is not a name; use letters, digits and _, at most 64", shown(&entry.name));
            return Err(Error::Edit { path, problem });
        }
        self.entries.push(entry);
        Ok(())
    }

    /// Removes an entry, in memory, and returns it.
    ///
    /// # Errors
    /// The name has no key.
    pub fn remove(&mut self, name: &str) -> Result<KeyEntry, Error> {
        match self.entries.iter().position(|entry| entry.name == name) {
            Some(index) => Ok(self.entries.remove(index)),
            None => Err(self.no_key(name)),
        }
    }

    /// Writes the file in one step, with mode 0600.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self) -> Result<(), Error> {
        // Room for everything at once: a growing text would leave copies of keys behind.
        let room = self.entries.iter().map(|entry| entry.name.len().saturating_add(64)).sum::<usize>();
        let mut text = Zeroizing::new(String::with_capacity(room.saturating_add(HEADER.len())));
        text.push_str(HEADER);
        for entry in &self.entries {
            text.push_str(&entry.name);
            text.push(' ');
            text.push_str(&entry.id.to_string());
            text.push(' ');
            text.push_str(&entry.key.to_base64());
            text.push('\n');
        }
        atomic::write(&self.path, text.as_bytes(), Mode::Set(0o600))
    }
}

/// Reads the whole file; None if it is missing. The mode is that of the open file, not of a name that may change.
fn read(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.map_err(|error| Error::io(path, "read the keys", error))?,
    };
    let status = file.metadata().map_err(|error| Error::io(path, "read the keys", error))?;
    let mode = status.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::KeyFileMode { path: path.to_owned(), mode });
    }
    // Room for all of it at once: a text that grows leaves copies of keys behind.
    let room = usize::try_from(status.len().min(MAX_FILE)).unwrap_or_default().saturating_add(64);
    let mut text = Zeroizing::new(String::with_capacity(room));
    let length = file.take(MAX_FILE + 1).read_to_string(&mut text);
    let length = length.map_err(|error| Error::io(path, "read the keys", error))?;
    if u64::try_from(length).is_ok_and(|length| length > MAX_FILE) {
        return Err(Error::io(path, "read the keys", ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(text))
}

fn parse_line(line: &str) -> Result<KeyEntry, &'static str> {
    let mut words = line.split_whitespace();
    let name = words.next().filter(|name| is_section_name(name)).ok_or("the name is not a section name")?;
    let id = words.next().and_then(|id| id.parse().ok()).ok_or("the id is not a number from 1 to 65535")?;
    let key = words.next().and_then(|key| key.parse().ok()).ok_or("the key is not 32 bytes in base64url")?;
    if words.next().is_some() {
        return Err("there is more than a name, an id and a key");
    }
    Ok(KeyEntry { name: name.to_owned(), id, key })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;
    use crate::scratch::Scratch;

    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";

    fn file(scratch: &Scratch, text: &str, mode: u32) -> PathBuf {
        let path = scratch.file("keys", text);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn entry(name: &str) -> KeyEntry {
        KeyEntry {
            name: name.into(),
            id: NonZeroU16::new(4711).unwrap(),
            key: EnrolledKey::generate().unwrap(),
        }
    }

    #[test]
    fn writes_and_reads_keys_with_mode_0600() {
        let scratch = Scratch::new();
        let path = scratch.path("keys");
        let (laptop, phone) = (entry("laptop"), entry("phone"));
        for added in [&laptop, &phone] {
            KeyFile::update(&path, |keys| keys.add(added.clone())).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(KeyFile::load(&path).unwrap().entries(), [laptop.clone(), phone.clone()]);
        assert_eq!(KeyFile::update(&path, |keys| keys.remove("laptop")).unwrap(), laptop);
        assert_eq!(KeyFile::load(&path).unwrap().entries(), [phone]);
    }

    #[test]
    fn refuses_a_file_that_others_can_read() {
        let scratch = Scratch::new();
        for mode in [0o640, 0o604, 0o644, 0o660, 0o601] {
            let error = KeyFile::load(&file(&scratch, "", mode)).unwrap_err().to_string();
            assert!(
                error.contains(&format!("mode {mode:04o} lets others")) && error.contains("chmod 0600"),
                "{error}"
            );
        }
        for mode in [0o600, 0o400] {
            KeyFile::load(&file(&scratch, "", mode)).unwrap();
        }
    }

    #[test]
    fn names_the_line_that_is_wrong_but_not_its_key() {
        let scratch = Scratch::new();
        for (line, problem) in [
            (format!("lap-top 1 {KEY}"), "not a section name"),
            (format!("laptop 0 {KEY}"), "the id is not a number"),
            (format!("laptop 65536 {KEY}"), "the id is not a number"),
            (format!("laptop 1 {KEY}A"), "the key is not"),
            (format!("laptop 1 {}", &KEY[1..]), "the key is not"),
            (format!("laptop 1 {}", "A".repeat(43)), "the key is not"),
            (format!("laptop 1 {KEY} more"), "more than"),
            (format!("first 1 {KEY}"), "stands twice"),
            ("laptop 1".into(), "the key is not"),
        ] {
            let path = file(&scratch, &format!("# note\n\nfirst 1 {KEY}\n{line}\n"), 0o600);
            let error = KeyFile::load(&path).unwrap_err().to_string();
            assert!(
                error.contains("keys:4: ") && error.contains(problem) && !error.contains("AQEB"),
                "{error}"
            );
        }
    }

    #[test]
    fn refuses_a_file_that_is_too_large_instead_of_reading_half_of_it() {
        let scratch = Scratch::new();
        let path = file(&scratch, &"#\n".repeat(600_000), 0o600);
        assert!(KeyFile::load(&path).unwrap_err().to_string().contains("file too large"));
    }

    #[test]
    fn finds_a_key_only_under_its_name_and_id() {
        let scratch = Scratch::new();
        let keys = KeyFile::load(&file(&scratch, &format!("laptop 7 {KEY}\nhome 7 {KEY}\n"), 0o600)).unwrap();
        let id = |id| NonZeroU16::new(id).unwrap();
        assert_eq!(keys.key("laptop", id(7)).unwrap().as_bytes(), &[1; 32]);
        let error = keys.key("laptop", id(8)).unwrap_err().to_string();
        assert!(error.ends_with("the key for 'laptop' has id 7, the configuration says id 8"), "{error}");
        assert!(matches!(keys.key("phone", id(7)), Err(Error::NoKey { .. })));
    }

    #[test]
    fn leaves_the_file_alone_when_the_change_fails() {
        let scratch = Scratch::new();
        let text = format!("laptop 7 {KEY}\n");
        let path = file(&scratch, &text, 0o600);
        assert!(matches!(
            KeyFile::update(&path, |keys| keys.add(entry("laptop"))),
            Err(Error::KeyExists { .. })
        ));
        assert!(matches!(KeyFile::update(&path, |keys| keys.remove("phone")), Err(Error::NoKey { .. })));
        assert!(KeyFile::update(&path, |keys| keys.add(entry("a b"))).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn shows_no_key_by_debug() {
        let key: EnrolledKey = KEY.parse().unwrap();
        assert_eq!(format!("{key:?}"), "EnrolledKey(..)");
        assert_eq!(key.to_base64().as_str(), KEY);
        assert_eq!(key, EnrolledKey::from_bytes(&[1; 32]));
        assert_ne!(EnrolledKey::generate().unwrap(), EnrolledKey::generate().unwrap());
    }
}
