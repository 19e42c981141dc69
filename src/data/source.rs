//! Files that may be gzipped. What a file holds is told by its first bytes, never by its name.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::DataError;
use crate::error::FETCH_AGAIN;

/// A file read from its start, unpacked if it is gzipped.
pub(crate) struct Source {
    pub path: PathBuf,
    reader: Box<dyn Read>,
    gzipped: bool,
}

impl Source {
    pub fn open(path: &Path) -> Result<Source, DataError> {
        let unreadable = |e| DataError::unreadable(path, e);
        let mut file = File::open(path).map_err(unreadable)?;
        let mut start = Vec::with_capacity(2);
        Read::by_ref(&mut file).take(2).read_to_end(&mut start).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let gzipped = start == [0x1f, 0x8b];
        let buffered = BufReader::with_capacity(1 << 16, file);
        let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(buffered)) } else { Box::new(buffered) };
        Ok(Source { path: path.to_owned(), reader, gzipped })
    }

    /// The next `limit` bytes, or fewer where the file ends. Memory grows with what is there, not with `limit`, so a
    /// damaged header cannot ask for more than the file holds.
    pub fn up_to(&mut self, limit: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let outcome = Read::by_ref(&mut self.reader).take(limit).read_to_end(&mut bytes);
        outcome.map(|_| bytes).map_err(|e| self.error(e))
    }

    /// All that is left of the file.
    pub fn rest(&mut self) -> Result<Vec<u8>, DataError> {
        self.up_to(u64::MAX)
    }

    /// A torn or damaged gzip stream is a fault of the file, not of the disk.
    fn error(&self, e: io::Error) -> DataError {
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::InvalidInput, io::ErrorKind::InvalidData];
        if self.gzipped && kinds.contains(&e.kind()) {
            let found = format!("is a gzip file that is cut short or damaged ({e})");
            return DataError::malformed(&self.path, found, "a whole one", FETCH_AGAIN);
        }
        DataError::unreadable(&self.path, e)
    }
}

/// The first of `names` that exists in `folder`, plain or with `.gz`.
pub(crate) fn find(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().flat_map(|name| [folder.join(name), folder.join(format!("{name}.gz"))]).find(|path| path.is_file())
}

/// The non-empty lines of a small text file, if it exists.
pub(crate) fn lines(path: &Path) -> Result<Option<Vec<String>>, DataError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().map(str::trim).filter(|l| !l.is_empty()).map(str::to_owned).collect())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(DataError::unreadable(path, e)),
    }
}
