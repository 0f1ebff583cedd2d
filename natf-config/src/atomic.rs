//! Replacing a file in one step: whoever reads it sees the old text or the new one, also after a power cut.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// Names of temporary files that are tried; more means that something else is wrong.
const TRIES: u32 = 100;

/// What mode the new file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// That of the file which it replaces, else this one.
    Keep(u32),
    /// This one.
    Set(u32),
}

/// Writes a file beside its place and renames it. A symbolic link is followed, not replaced; a missing directory is
/// made.
pub(crate) fn write(path: &Path, contents: &[u8], mode: Mode) -> Result<(), Error> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = directory_of(&target);
    fs::create_dir_all(directory).map_err(|error| Error::io(directory, "make the directory", error))?;
    let (temporary, file) =
        create(directory).map_err(|error| Error::io(directory, "create a file in this directory", error))?;
    let written = fill(file, &target, contents, mode)
        .and_then(|()| fs::rename(&temporary, &target))
        .map_err(|error| Error::io(&target, "write the file", error));
    if written.is_err() {
        // The first error is the one to be told.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    // The file is in place; some file systems cannot sync a directory.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

/// Locks a file against other editors until the result is dropped; None if there is no such file yet.
///
/// The lock is on the file itself, so that nothing is left behind; as [`write`] puts another file in its place, the
/// lock only counts if the name still leads to the locked file.
pub(crate) fn lock(path: &Path) -> Result<Option<File>, Error> {
    let failed = |error| Error::io(path, "lock the file", error);
    loop {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.map_err(failed)?,
        };
        file.lock().map_err(failed)?;
        let locked = file.metadata().map_err(failed)?;
        match fs::metadata(path) {
            Ok(now) if (now.dev(), now.ino()) == (locked.dev(), locked.ino()) => return Ok(Some(file)),
            _ => {}
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new file that only its owner can read. UCI skips names that start with a dot.
fn create(directory: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0..TRIES {
        let path = directory.join(format!(".natf-{}-{number}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|file| (path, file)),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn fill(mut file: File, target: &Path, contents: &[u8], mode: Mode) -> io::Result<()> {
    file.write_all(contents)?;
    let old = fs::metadata(target).ok();
    if let Some(old) = &old {
        // Only root may give files away; for others the file is already their own.
        let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
    }
    let bits = match (mode, old) {
        (Mode::Keep(_), Some(old)) => old.mode() & 0o7777,
        (Mode::Keep(bits) | Mode::Set(bits), _) => bits,
    };
    file.set_permissions(Permissions::from_mode(bits))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn keeps_the_mode_of_the_file_that_it_replaces() {
        let scratch = Scratch::new();
        let path = scratch.file("natf", "old");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        write(&path, b"new", Mode::Keep(0o600)).unwrap();
        assert_eq!((fs::read(&path).unwrap().as_slice(), mode_of(&path)), (b"new".as_slice(), 0o640));
        write(&path, b"newer", Mode::Set(0o600)).unwrap();
        assert_eq!(mode_of(&path), 0o600);
    }

    #[test]
    fn gives_a_new_file_the_mode_asked_for_and_leaves_nothing_else() {
        let scratch = Scratch::new();
        let path = scratch.path("etc/config/natf");
        write(&path, b"new", Mode::Keep(0o644)).unwrap();
        assert_eq!(mode_of(&path), 0o644);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn follows_a_symbolic_link() {
        let scratch = Scratch::new();
        let (path, link) = (scratch.file("natf", "old"), scratch.path("link"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"new", Mode::Keep(0o600)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn leaves_the_old_file_alone_when_it_cannot_write() {
        let scratch = Scratch::new();
        let path = scratch.file("file", "old").join("natf");
        assert!(
            write(&path, b"new", Mode::Keep(0o600)).unwrap_err().to_string().contains("file: cannot make")
        );
        let directory = scratch.path("directory");
        fs::create_dir_all(directory.join("full")).unwrap();
        write(&directory, b"new", Mode::Keep(0o600)).unwrap_err();
        assert!(directory.join("full").exists());
        assert_eq!(fs::read_dir(directory.parent().unwrap()).unwrap().count(), 2);
    }

    #[test]
    fn locks_a_file_that_was_replaced_meanwhile_by_its_new_self() {
        let scratch = Scratch::new();
        let path = scratch.file("natf", "old");
        assert!(lock(&scratch.path("missing")).unwrap().is_none());
        let first = lock(&path).unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || {
                let _lock = lock(&path).unwrap();
                fs::read_to_string(&path).unwrap()
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(30));
        write(&path, b"new", Mode::Keep(0o600)).unwrap();
        drop(first);
        assert_eq!(waiting.join().unwrap(), "new");
    }
}
