//! A file of state: up to which counter the messages of each key count as used. Written once for a block of a
//! million messages; without it a recorded request could be replayed after a restart.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use natf_proto::KeyId;

use crate::error::Error;

/// Name of the file in the state directory.
const FILE: &str = "counters";

/// Highest used counters by key.
pub type Floors = BTreeMap<KeyId, u64>;

/// Reads the floors; a missing file is an empty one.
///
/// # Errors
/// Where the file cannot be read, or a line of it is not `ID COUNTER`.
pub fn read(directory: &Path) -> Result<Floors, Error> {
    let path = directory.join(FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Floors::new()),
        Err(error) => return Err(Error::io("cannot read", path)(error)),
    };
    let numbered = (1..).zip(text.lines());
    numbered
        .map(|(number, line)| {
            parse(line).ok_or_else(|| {
                Error::Refused(format!("{}:{number}: '{line}' is not 'KEY-ID COUNTER'", path.display()))
            })
        })
        .collect()
}

fn parse(line: &str) -> Option<(KeyId, u64)> {
    let (id, counter) = line.split_once(' ')?;
    Some((KeyId(id.parse().ok()?), counter.parse().ok()?))
}

/// Writes the floors so that a crash leaves the old file or the new one.
///
/// # Errors
/// Where the directory cannot be made or the file not be written.
pub fn write(directory: &Path, floors: &Floors) -> Result<(), Error> {
    let text: String = floors.iter().map(|(id, counter)| format!("{} {counter}\n", id.0)).collect();
    replace(directory, FILE, &text)
}

/// Replaces a file so that a crash leaves the old one or the new one.
///
/// # Errors
/// Where the directory cannot be made or the file not be written.
pub(super) fn replace(directory: &Path, file: &str, text: &str) -> Result<(), Error> {
    let (path, fresh) = (directory.join(file), directory.join(format!("{file}.new")));
    let written = fs::create_dir_all(directory).and_then(|()| write_through(&fresh, text));
    written.and_then(|()| fs::rename(&fresh, &path)).map_err(Error::io("cannot write", path))
}

fn write_through(path: &PathBuf, text: &str) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_survive_writing_and_reading() {
        let directory = std::env::temp_dir().join(format!("natf-state-{}", std::process::id()));
        assert_eq!(read(&directory).unwrap(), Floors::new());
        let floors = Floors::from([(KeyId(7), u64::MAX), (KeyId(9), 1)]);
        write(&directory, &floors).unwrap();
        assert_eq!(read(&directory).unwrap(), floors);
        fs::write(directory.join(FILE), "seven 1\n").unwrap();
        assert!(read(&directory).unwrap_err().to_string().contains(":1: 'seven 1' is not"));
        fs::remove_dir_all(directory).unwrap();
    }
}
