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

/// Writes a file beside its place and renames it. A symbolic link is followed, not replaced.
pub(crate) fn write(path: &Path, contents: &[u8], mode: Mode) -> Result<(), Error> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = directory_of(&target);
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

/// Locks a file's directory against other editors until the result is dropped.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = directory_of(&target);
    let lock = File::open(directory).map_err(|error| Error::io(directory, "open the directory", error))?;
    lock.lock().map_err(|error| Error::io(directory, "lock the directory", error))?;
    Ok(lock)
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
