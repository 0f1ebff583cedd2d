//! The state file of the name relation table: virtual addresses outlive a restart of the daemon (N3).

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
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

/// Reads the file; an absent one is an empty table.
pub fn load(path: &Path) -> Result<State, RelationFileError> {
    match fs::read(path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| RelationFileError::Damaged(path.into(), error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(RelationFileError::Io(path.into(), error)),
    }
}

/// Writes the file in one step: after a crash there is the old one or the new one.
pub fn save(path: &Path, state: &State) -> Result<(), RelationFileError> {
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
        assert_eq!(load(&path).unwrap(), State::default());
        let pair = Pair {
            host: "alice".into(),
            domain: "home.example.net".into(),
            home: "home".into(),
            address: [240, 0, 1, 2].into(),
            targets: vec![[203, 0, 113, 7].into()],
        };
        let state = State { pairs: vec![pair] };
        save(&path, &state).unwrap();
        assert_eq!(load(&path).unwrap(), state);
        fs::write(&path, "{\"pairs\":[{").unwrap();
        assert!(matches!(load(&path), Err(RelationFileError::Damaged(..))));
        fs::remove_dir_all(&directory).unwrap();
    }
}
