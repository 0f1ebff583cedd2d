//! The secrets of the TSIG keys, apart from UCI as the enrolled keys are.
//!
//! ```text
//! # NAME                 SECRET (base64, as tsig-keygen shows it)
//! alice                  MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=
//! ```

use std::{
    collections::BTreeMap,
    fs::File,
    io::{ErrorKind, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use base64ct::{Base64, Encoding as _};
use zeroize::Zeroizing;

use crate::error::Error;

/// The largest file that is read: room for 10,000 keys.
const FILE_MAX: u64 = 1 << 20;

/// Secrets by the names of their keys, in lower case and without a final dot.
pub type Secrets = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// Reads the file; one that is missing has no secrets.
///
/// # Errors
/// Others can read it, or a line is not `NAME SECRET`; the message does not show the secret.
pub fn read(path: &Path) -> Result<Secrets, Error> {
    let Some(text) = read_text(path)? else { return Ok(Secrets::new()) };
    let mut secrets = Secrets::new();
    for (number, line) in (1_u32..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |problem: &str| {
            let place = path.display();
            Error::Refused(format!("{place}:{number}: {problem}; a line is NAME SECRET (SECRET: base64)"))
        };
        let (name, secret) =
            line.split_once(char::is_whitespace).ok_or_else(|| wrong("the secret is missing"))?;
        let secret = Base64::decode_vec(secret.trim()).map_err(|_| wrong("the secret is no base64"))?;
        if secrets.insert(key_of(name), secret.into()).is_some() {
            return Err(wrong("the name stands twice"));
        }
    }
    Ok(secrets)
}

/// A key's name as it is looked up.
pub fn key_of(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn read_text(path: &Path) -> Result<Option<Zeroizing<String>>, Error> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(Error::io("cannot read", path))?,
    };
    let mode = file.metadata().map_err(Error::io("cannot read", path))?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let path = path.display();
        return Err(Error::Refused(format!(
            "{path}: mode {mode:04o} lets others read the secrets; use chmod 0600 {path}"
        )));
    }
    let mut text = Zeroizing::new(String::new());
    let length = file.take(FILE_MAX + 1).read_to_string(&mut text).map_err(Error::io("cannot read", path))?;
    if u64::try_from(length).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(Error::io("cannot read", path)(ErrorKind::FileTooLarge.into()));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    fn file(name: &str, text: &str, mode: u32) -> PathBuf {
        let path = std::env::temp_dir().join(format!("tsn-dnsd-tsig-{name}-{}", std::process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn secrets_are_found_by_name_without_case() {
        let path = file("good", "# keys\n\nAlice.Example.net.\tc2VjcmV0\n", 0o600);
        let secrets = read(&path).unwrap();
        assert_eq!(secrets[&key_of("alice.example.NET")].as_slice(), b"secret");
        fs::remove_file(&path).unwrap();
        assert!(read(&path).unwrap().is_empty());
    }

    #[test]
    fn file_that_others_can_read_is_refused() {
        let path = file("open", "", 0o640);
        assert!(read(&path).unwrap_err().to_string().contains("mode 0640"));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn wrong_line_is_named_without_its_secret() {
        for (name, line, problem) in [
            ("missing", "alice", "the secret is missing"),
            ("base64", "alice c2VjcmV0!", "no base64"),
            ("twice", "bob c2VjcmV0\nBOB c2VjcmV0", "stands twice"),
        ] {
            let path = file(name, &format!("{line}\n"), 0o600);
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(problem) && !error.contains("c2Vj"), "{error}");
            fs::remove_file(path).unwrap();
        }
    }
}
