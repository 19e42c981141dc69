//! What a run was made of, so that it can be made again: `record.jsonl` in the run folder, one [`Record`] a line, appended
//! at the start of each attempt. The settings themselves are `spec.toml`; what was changed while the run went on stands
//! in `events.jsonl` as `knob-set`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kiln_spec::Spec;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::lines::{LineFile, Tail, parse_json};
use crate::spool::{RunFolder, SpoolError, host_name};

/// What one attempt at a run was made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Counts from 1 within the file.
    pub seq: u64,
    /// When it was written, seconds since the Unix epoch.
    pub t: f64,
    /// Which start of a worker for this run, from 1.
    pub attempt: u32,
    pub seed: u64,
    /// SHA-256 of `spec.toml`, hexadecimal.
    pub spec: String,
    pub kiln: Program,
    pub libtorch: Libraries,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// In words, such as `cuda:0 NVIDIA H100`.
    pub device_words: String,
    pub machine: Machine,
    /// Absent where the data could not be read.
    pub data: Option<DataPrint>,
    /// Environment variables that change what is computed, those that were set.
    pub variables: BTreeMap<String, String>,
}

/// A build of Kiln.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    pub version: String,
    /// Commit of the source that it was built from; empty where that was no git checkout.
    pub commit: String,
    /// A hash of what differed from that commit; empty for a clean checkout.
    pub changes: String,
}

/// What computes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Libraries {
    /// Version of libtorch.
    pub version: String,
    /// What became of CUDA, in a line.
    pub cuda: String,
    /// Version of cuDNN; empty without.
    pub cudnn: String,
    /// Version of the NVIDIA driver; empty without.
    pub driver: String,
}

/// A computer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Machine {
    pub host: String,
    /// Such as `Debian GNU/Linux 13 (trixie)`; empty where unknown, like the next three.
    pub os: String,
    pub kernel: String,
    pub cpu: String,
    /// Cores that the process may use.
    pub cores: u32,
    /// Bytes.
    pub ram: u64,
}

/// The data that a run read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DataPrint {
    /// Kind of data set, as the setting `data.set` has it.
    pub set: String,
    pub path: String,
    pub files: u64,
    /// Of all files together.
    pub bytes: u64,
    /// See [`digest`].
    pub digest: String,
}

impl Program {
    /// `0.1.0 (67e6855, with changes)`
    pub fn in_words(&self) -> String {
        match (self.commit.get(..7).unwrap_or(&self.commit), self.changes.is_empty()) {
            ("", _) => self.version.clone(),
            (commit, true) => format!("{} ({commit})", self.version),
            (commit, false) => format!("{} ({commit}, with changes)", self.version),
        }
    }
}

/// Environment variables that change what is computed, or on what.
const VARIABLES: [&str; 8] = [
    "KILN_CUDA",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "ATEN_CPU_CAPABILITY",
];

/// Those of [`VARIABLES`] that are set.
pub fn variables() -> BTreeMap<String, String> {
    VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect()
}

impl Machine {
    /// This one, as Linux tells.
    pub fn here() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let value = |text: &str, key: &str, sign: char| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.trim_start().strip_prefix(sign));
            line.unwrap_or_default().trim().trim_matches('"').to_owned()
        };
        let ram = value(&read("/proc/meminfo"), "MemTotal", ':');
        let kilobytes: u64 = ram.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let cores = std::thread::available_parallelism().map_or(0, |n| n.get() as u32);
        Machine {
            host: host_name(),
            os: value(&read("/etc/os-release"), "PRETTY_NAME", '='),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: value(&read("/proc/cpuinfo"), "model name", ':'),
            cores,
            ram: kilobytes * 1024,
        }
    }
}

/// Version of the NVIDIA driver of this machine; empty where there is none.
pub fn nvidia_driver() -> String {
    let text = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    driver_version(&text).unwrap_or_default()
}

/// From a line such as `NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan ...`: the first word that is
/// numbers with points between.
fn driver_version(text: &str) -> Option<String> {
    let number = |word: &&str| word.contains('.') && word.split('.').all(|n| n.parse::<u32>().is_ok());
    text.lines().next()?.split_whitespace().find(number).map(str::to_owned)
}

impl Record {
    /// What this process can say of an attempt that it begins: all but libraries, device and its own build. Reads the
    /// data, which takes about a second a gigabyte.
    ///
    /// `text` is the `spec.toml` that `spec` was read from.
    pub fn here(text: &str, spec: &Spec, attempt: u32) -> Record {
        let set = serde_json::to_value(spec.data.set).unwrap_or_default();
        let data = match spec.data.path.as_str() {
            "" => None,
            path => DataPrint::of(set.as_str().unwrap_or_default(), Path::new(path)).ok(),
        };
        Record {
            t: crate::now(),
            attempt,
            seed: spec.seed,
            spec: sha256(text.as_bytes()),
            libtorch: Libraries { driver: nvidia_driver(), ..Libraries::default() },
            machine: Machine::here(),
            data,
            variables: variables(),
            ..Record::default()
        }
    }
}

/// The file of a run's records.
pub fn path(folder: &RunFolder) -> PathBuf {
    folder.path().join("record.jsonl")
}

impl Record {
    /// Appends it, with the next number.
    ///
    /// # Errors
    /// The file cannot be written, or another process writes it.
    pub fn append(mut self, folder: &RunFolder) -> Result<Record, SpoolError> {
        let path = path(folder);
        let (mut file, last) = LineFile::open(&path)?;
        self.seq = last + 1;
        let io = |source| SpoolError::Io { doing: "append to", path: path.clone(), source };
        file.append(&self).map_err(io)?;
        file.sync().map_err(io)?;
        Ok(self)
    }

    /// All of a run, the oldest first; none for a run that has not started, or of a Kiln that kept no records. Lines that
    /// cannot be read are passed over.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(folder: &RunFolder) -> Result<Vec<Record>, SpoolError> {
        let mut tail: Tail<Record> = Tail::new(path(folder), 0, parse_json);
        let mut records = Vec::new();
        loop {
            let batch = tail.poll()?;
            records.extend(batch.items);
            if !batch.more {
                return Ok(records);
            }
        }
    }
}

/// SHA-256 of some bytes, hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Data of more bytes than this are not read whole for their digest: a start may not take minutes.
const WHOLE: u64 = 2 << 30;

/// Of larger data: bytes read at the beginning and at the end of each file.
const EDGE: u64 = 64 << 10;

impl DataPrint {
    /// The print of the file or folder at `path`.
    ///
    /// # Errors
    /// Something of it cannot be read.
    pub fn of(set: &str, path: &Path) -> io::Result<DataPrint> {
        let (digest, files, bytes) = digest(path, WHOLE)?;
        Ok(DataPrint { set: set.to_owned(), path: path.display().to_string(), files, bytes, digest })
    }
}

/// A digest of a file, or of all files below a folder, with their number and bytes. Names and contents count, times and
/// the place do not, and neither do files whose names begin with a dot. `sha256:...` covers every byte. `edges:...`, of
/// data with more than `whole` bytes, covers names, sizes and the first and last 64 kB of each file: enough to tell data
/// sets apart, not to find a damaged image.
pub fn digest(path: &Path, whole: u64) -> io::Result<(String, u64, u64)> {
    let mut files = Vec::new();
    list(path, "", &mut files)?;
    files.sort();
    let bytes = files.iter().map(|f| f.2).sum();
    let mut all = Sha256::new();
    for (name, file, size) in &files {
        // Lengths before names and contents: no two lists of files run together into the same bytes.
        all.update((name.len() as u64).to_le_bytes());
        all.update(name.as_bytes());
        all.update(size.to_le_bytes());
        let mut reader = fs::File::open(file)?;
        if bytes <= whole || *size <= 2 * EDGE {
            io::copy(&mut reader, &mut Update(&mut all))?;
        } else {
            use io::{Read, Seek, SeekFrom};
            io::copy(&mut reader.by_ref().take(EDGE), &mut Update(&mut all))?;
            reader.seek(SeekFrom::Start(size - EDGE))?;
            io::copy(&mut reader, &mut Update(&mut all))?;
        }
    }
    let kind = if bytes <= whole { "sha256" } else { "edges" };
    Ok((format!("{kind}:{}", hex(&all.finalize())), files.len() as u64, bytes))
}

/// sha2 implements `io::Write` only with its own feature.
struct Update<'a>(&'a mut Sha256);

impl io::Write for Update<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All files: name relative to the whole (empty where that is one file), path, bytes.
fn list(path: &Path, name: &str, files: &mut Vec<(String, PathBuf, u64)>) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        files.push((name.to_owned(), path.to_owned(), meta.len()));
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let own = entry.file_name().to_string_lossy().into_owned();
        if !own.starts_with('.') {
            list(&entry.path(), &if name.is_empty() { own } else { format!("{name}/{own}") }, files)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_appended_one_an_attempt_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("x-0001"));
        folder.create("").unwrap();
        assert_eq!(Record::read(&folder).unwrap(), []);
        let record = Record { attempt: 1, seed: 7, machine: Machine::here(), ..Record::default() };
        let first = record.clone().append(&folder).unwrap();
        let second = Record { attempt: 2, ..record }.append(&folder).unwrap();
        assert_eq!((first.seq, second.seq), (1, 2));
        assert_eq!(Record::read(&folder).unwrap(), [first, second]);
        assert_eq!(first_line(&path(&folder)), "{\"seq\":1,");
    }

    fn first_line(path: &Path) -> String {
        fs::read_to_string(path).unwrap().chars().take(9).collect()
    }

    #[test]
    fn a_record_of_another_kiln_is_read_as_far_as_it_goes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("x-0001"));
        folder.create("").unwrap();
        fs::write(path(&folder), "{\"seq\":1,\"seed\":3,\"weather\":\"fine\"}\nnothing\n{\"seq\":2,\"see").unwrap();
        let records = Record::read(&folder).unwrap();
        assert_eq!(records, [Record { seq: 1, seed: 3, ..Record::default() }]);
    }

    #[test]
    fn a_digest_tells_names_and_contents_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            for (file, text) in files {
                let path = dir.path().join(name).join(file);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            digest(&dir.path().join(name), WHOLE).unwrap()
        };
        let plain = make("plain", &[("a/1", "x"), ("b", "yz")]);
        assert_eq!((plain.1, plain.2), (2, 3));
        assert_eq!(plain, make("same", &[("b", "yz"), ("a/1", "x"), (".hidden", "z")]));
        for other in [
            &[("a/1", "x"), ("b", "yZ")][..],
            &[("a/2", "x"), ("b", "yz")],
            &[("a/1", "xy"), ("b", "z")],
            &[("a/1", "x"), ("b", "yz"), ("c", "")],
        ] {
            let name = format!("{other:?}").replace(|c: char| !c.is_ascii_alphanumeric(), "");
            assert_ne!(plain.0, make(&name, other).0, "{other:?}");
        }
        // One file is the same wherever it lies and whatever it is called.
        let at = |name: &str| digest(&dir.path().join(name), WHOLE).unwrap();
        assert_eq!(at("plain/b"), at("same/b"));
        assert!(plain.0.starts_with("sha256:") && plain.0.len() == 7 + 64, "{}", plain.0);
        assert!(digest(&dir.path().join("gone"), WHOLE).is_err());
    }

    #[test]
    fn large_data_are_told_by_sizes_and_edges() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        let mut bytes = vec![0_u8; 3 * EDGE as usize];
        fs::write(&path, &bytes).unwrap();
        let (before, files, size) = digest(&path, 10).unwrap();
        assert!(before.starts_with("edges:") && (files, size) == (1, 3 * EDGE), "{before}");
        let middle = bytes.len() / 2;
        bytes[middle] = 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(digest(&path, 10).unwrap().0, before, "the middle is not looked at");
        *bytes.last_mut().unwrap() = 1;
        fs::write(&path, &bytes).unwrap();
        assert_ne!(digest(&path, 10).unwrap().0, before);
    }

    #[test]
    fn a_driver_is_known_by_its_number() {
        let text = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 2025\nGCC version: 12.2.0";
        assert_eq!(driver_version(text).as_deref(), Some("570.86.15"));
        assert_eq!(driver_version("NVRM version: none"), None);
        let words = |commit: &str, changes: &str| {
            Program { version: "0.1.0".into(), commit: commit.into(), changes: changes.into() }.in_words()
        };
        assert_eq!(words("", ""), "0.1.0");
        assert_eq!(words("67e6855aaa", ""), "0.1.0 (67e6855)");
        assert_eq!(words("67e6855aaa", "00"), "0.1.0 (67e6855, with changes)");
    }
}
