//! Files that appear whole or not at all, and standard output.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Outcome};

/// Whether a path stands for standard output.
pub fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether a file may be written: with `force`, or where there is none yet.
///
/// # Errors
/// A sentence that names the file.
pub fn free(path: &Path, force: bool) -> Outcome {
    // What is no plain file, such as /dev/null, loses nothing.
    if force || is_stdout(path) || !path.is_file() {
        return Ok(());
    }
    Err(Failure::Input(format!("{} is there already; --force overwrites it, --out names another file", path.display())))
}

/// Writes a file beside its place and renames it into it; `-` is standard output.
///
/// # Errors
/// A sentence that names the file; nothing of it is left.
pub fn write(path: &Path, fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), String>) -> Outcome {
    if is_stdout(path) {
        let mut bytes = Vec::new();
        fill(&mut bytes).map_err(Failure::Input)?;
        let mut out = io::stdout().lock();
        return out.write_all(&bytes).and_then(|()| out.flush()).map_err(|e| match e.kind() {
            io::ErrorKind::BrokenPipe => Failure::Pipe,
            _ => Failure::Input(format!("cannot write to standard output: {e}")),
        });
    }
    let part = beside(path);
    let failed = |why: String| {
        // Half a file helps nobody.
        let _ = std::fs::remove_file(&part);
        Failure::Input(format!("{} was not written: {why}", path.display()))
    };
    let file = File::create(&part).map_err(|e| failed(e.to_string()))?;
    let mut file = BufWriter::with_capacity(1 << 18, file);
    fill(&mut file).map_err(failed)?;
    let whole = file.into_inner().map_err(|e| failed(e.to_string()))?;
    whole.sync_all().and_then(|()| std::fs::rename(&part, path)).map_err(|e| failed(e.to_string()))
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        write(&path, |out| out.write_all(b"one").map_err(|e| e.to_string())).unwrap();
        let refused = write(&path, |out| {
            out.write_all(b"two").map_err(|e| e.to_string())?;
            Err("the data ran out".into())
        });
        let Err(Failure::Input(said)) = refused else { panic!("{refused:?}") };
        assert!(said.contains("a.csv was not written: the data ran out"), "{said}");
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside");
        let nowhere = write(&dir.path().join("no/such/folder"), |_| Ok(()));
        assert!(matches!(nowhere, Err(Failure::Input(said)) if said.contains("no/such/folder")));
        let Err(Failure::Input(said)) = free(&path, false) else { panic!("it would be overwritten") };
        assert!(said.contains("a.csv is there already; --force overwrites it"), "{said}");
        assert!(free(&path, true).is_ok() && free(&dir.path().join("b.csv"), false).is_ok());
        assert!(is_stdout(Path::new("-")) && !is_stdout(Path::new("./-")));
    }
}
