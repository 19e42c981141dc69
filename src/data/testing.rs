//! Help for this crate's tests: scratch folders, gzip, the real sets where KILN_DATA names their folder.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::DataError;

/// A scratch folder that goes away with the test.
pub struct Dir(tempfile::TempDir);

impl Dir {
    pub fn new() -> Dir {
        Dir(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub fn remove(&self, name: &str) {
        std::fs::remove_file(self.path().join(name)).unwrap();
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The text of the error; panics if there is none.
pub fn message<T>(outcome: Result<T, DataError>) -> String {
    match outcome {
        Ok(_) => panic!("this must fail"),
        Err(e) => e.to_string(),
    }
}

/// A real data set below the folder that KILN_DATA names. Tests of real sets do nothing where it is not set.
pub fn real(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(std::env::var_os("KILN_DATA")?).join(name);
    path.exists().then_some(path)
}
