//! The state file of the name relation table: virtual addresses outlive a restart of the daemon (N3).
//!
//! Flash may take its time, so that the file is written on a thread beside the daemon's own, and at the end once more
//! by that: whoever comes later waits, and what is older than the file is not written any more.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;

use crate::relation::State;

/// The file could not be used.
#[derive(Debug, Error)]
pub enum RelationFileError {
    /// Reading or writing failed.
    #[error("name relation file {0}")]
    Io(PathBuf, #[source] io::Error),
    /// It holds something else.
    #[error("name relation file {0} is damaged")]
    Damaged(PathBuf, #[source] serde_json::Error),
}

/// The file, for any thread.
#[derive(Debug, Clone)]
pub struct RelationFile {
    path: Arc<Path>,
    /// Generation of the table that was written last.
    written: Arc<Mutex<u64>>,
}

impl RelationFile {
    /// The file at `path`, which need not exist.
    pub fn new(path: &Path) -> Self {
        Self { path: path.into(), written: Arc::default() }
    }

    /// Reads the file; an absent one is an empty table.
    ///
    /// # Errors
    /// Where it cannot be read, or holds something else.
    pub fn load(&self) -> Result<State, RelationFileError> {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| RelationFileError::Damaged(self.path.to_path_buf(), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(RelationFileError::Io(self.path.to_path_buf(), error)),
        }
    }

    /// Writes what the table held at this generation, unless the file is as new already.
    ///
    /// # Errors
    /// Where it cannot be written; then the former one stands.
    pub fn save(&self, generation: u64, state: &State) -> Result<(), RelationFileError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < generation {
            write(&self.path, state)?;
            *written = generation;
        }
        Ok(())
    }
}

/// Writes the file in one step: after a crash there is the old one or the new one.
fn write(path: &Path, state: &State) -> Result<(), RelationFileError> {
    let failed = |error| RelationFileError::Io(path.into(), error);
    let json = serde_json::to_vec(state).map_err(|error| failed(error.into()))?;
    let temporary = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = fs::File::create(&temporary)?;
        file.write_all(&json)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::Pair;

    #[test]
    fn file_gives_back_what_was_saved_and_names_damage() {
        let directory = std::env::temp_dir().join(format!("natf-relations-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("relations.json");
        let file = RelationFile::new(&path);
        assert_eq!(file.load().unwrap(), State::default());
        let pair = Pair {
            host: "alice".into(),
            domain: "home.example.net".into(),
            home: "home".into(),
            address: [240, 0, 1, 2].into(),
            targets: vec![[203, 0, 113, 7].into()],
        };
        let state = State { pairs: vec![pair] };
        file.save(2, &state).unwrap();
        assert_eq!(file.load().unwrap(), state);
        file.save(1, &State::default()).unwrap();
        assert_eq!(file.load().unwrap(), state, "a writer that comes late does not undo a newer state");
        fs::write(&path, "{\"pairs\":[{").unwrap();
        assert!(matches!(file.load(), Err(RelationFileError::Damaged(..))));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_could_not_be_written_is_written_the_next_time() {
        let directory = std::env::temp_dir().join(format!("natf-relations-retry-{}", std::process::id()));
        let file = RelationFile::new(&directory.join("relations.json"));
        assert!(file.save(1, &State::default()).is_err());
        fs::create_dir_all(&directory).unwrap();
        file.save(1, &State::default()).unwrap();
        assert!(file.path.exists());
        fs::remove_dir_all(&directory).unwrap();
    }
}
