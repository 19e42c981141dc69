//! Run folders, packed: a tar archive in zstd with `kiln-bundle.json` first, then a folder for each run.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use kiln_protocol::client::Client;
use kiln_protocol::home::Home;
use kiln_protocol::spool::{ControlTail, EventTail, EventWriter, RunFolder, SpoolError, host_name};
use kiln_protocol::{Body, RunId, RunState, now};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::Said;
use crate::engines;
use crate::export::{files, folder_here};
use crate::failure::{Failure, Outcome};
use crate::human;

/// Version of the format; a newer one is refused.
const VERSION: u32 = 1;

const MANIFEST: &str = "kiln-bundle.json";

/// Longer than any manifest.
const MAX_MANIFEST: u64 = 16 << 20;

/// As the engine calls folders of runs that are being made; it removes those that were left over.
const MAKING: &str = ".making-";

/// What is in a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub kiln_bundle: u32,
    /// Version of Kiln that packed it.
    pub kiln: String,
    /// Seconds since the Unix epoch.
    pub created: f64,
    pub host: String,
    pub checkpoints: bool,
    pub runs: Vec<Packed>,
}

/// A run in a bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    pub id: RunId,
    pub state: RunState,
    pub files: u64,
    pub bytes: u64,
}

/// A file that goes into a bundle.
struct Item {
    path: PathBuf,
    /// Within the run folder, with slashes.
    name: String,
    bytes: u64,
    modified: u64,
}

/// Packs runs.
pub fn export(client: &mut Client, runs: &[RunId], checkpoints: bool, out: &Path) -> Outcome<Said> {
    let (mut packed, mut items) = (Vec::new(), Vec::new());
    for id in runs {
        let detail = engines::detail(client, id)?;
        if let Some(parent) = detail.summary.parent() {
            return Err(Failure::Input(format!(
                "{id} is a job of {parent} and is not packed alone; pack the experiment: kiln export {parent} --format bundle"
            )));
        }
        let folder = folder_here(&detail, "a bundle")?;
        let own = list(folder.path(), checkpoints)
            .map_err(|e| Failure::Input(format!("{} cannot be read: {e}", folder.path().display())))?;
        let bytes = own.iter().map(|i| i.bytes).sum();
        packed.push(Packed { id: id.clone(), state: detail.summary.state, files: own.len() as u64, bytes });
        items.extend(own.into_iter().map(|item| (id.clone(), item)));
    }
    let manifest = Manifest {
        kiln_bundle: VERSION,
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
        created: now(),
        host: host_name(),
        checkpoints,
        runs: packed,
    };
    files::write(out, |file| pack(&manifest, &items, file).map_err(|e| e.to_string()))?;
    let bytes: u64 = manifest.runs.iter().map(|r| r.bytes).sum();
    let size = fs::metadata(out).map_or(0, |m| m.len());
    let live: Vec<&RunId> = manifest.runs.iter().filter(|r| !r.state.is_ended()).map(|r| &r.id).collect();
    let still = match live[..] {
        [] => String::new(),
        _ => format!(
            "\n{} had not ended: the bundle has what was written by now",
            live.iter().map(|id| id.0.as_str()).collect::<Vec<_>>().join(", ")
        ),
    };
    Ok(Said {
        text: format!(
            "{}: {} of {}, packed into {}{still}",
            out.display(),
            human::counted(items.len(), "file"),
            human::bytes(bytes),
            human::bytes(size)
        ),
        json: json!({ "file": out, "format": "bundle", "bytes": size, "manifest": manifest }),
    })
}

/// All files of a run folder but those that belong to a process (locks, what is half written).
fn list(folder: &Path, checkpoints: bool) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    walk(folder, "", checkpoints, &mut items)?;
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(items)
}

fn walk(folder: &Path, above: &str, checkpoints: bool, items: &mut Vec<Item>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(own) = entry.file_name().into_string() else { continue };
        let name = if above.is_empty() { own.clone() } else { format!("{above}/{own}") };
        if own.ends_with(".part") || own.ends_with(".lock") || (own == "checkpoints" && !checkpoints) {
            continue;
        }
        // A checkpoint that a live run replaces meanwhile is gone; the others will do.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            match walk(&entry.path(), &name, checkpoints, items) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        } else if meta.is_file() {
            let age = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            let modified = age.map_or(0, |d| d.as_secs());
            items.push(Item { path: entry.path(), name, bytes: meta.len(), modified });
        }
    }
    Ok(())
}

fn pack(manifest: &Manifest, items: &[(RunId, Item)], out: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut encoder = zstd::stream::write::Encoder::new(out, 6)?;
    // What was damaged on its way is noticed.
    encoder.include_checksum(true)?;
    let mut tar = tar::Builder::new(encoder);
    let text = serde_json::to_vec_pretty(manifest)?;
    tar.append_data(&mut header(text.len() as u64, manifest.created as u64), MANIFEST, text.as_slice())?;
    for (run, item) in items {
        let file = match File::open(&item.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        // A live run's files grow; what was there when the list was made is taken.
        let bytes = item.bytes.min(file.metadata()?.len());
        let name = format!("{run}/{}", item.name);
        tar.append_data(&mut header(bytes, item.modified), name, file.take(bytes))?;
    }
    tar.into_inner()?.finish()?.flush()
}

fn header(bytes: u64, modified: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_size(bytes);
    header.set_mtime(modified);
    header
}

/// Unpacks a bundle among the runs of a home; the engine is not told yet.
///
/// # Errors
/// A sentence: not a bundle, a newer one, one that holds what no bundle holds, a run that is there already, no room.
/// Nothing is left of it.
pub fn unpack(bundle: impl Read, home: &Home, rename: Option<&str>) -> Result<Vec<RunId>, String> {
    let decoder = zstd::stream::read::Decoder::new(bundle).map_err(|e| format!("it is no zstd file: {e}"))?;
    let mut archive = tar::Archive::new(decoder);
    let mut entries = archive.entries().map_err(no_tar)?;
    let mut first = entries.next().ok_or("it is empty")?.map_err(no_tar)?;
    if first.path().map_err(no_tar)? != Path::new(MANIFEST) {
        return Err(format!("it does not begin with {MANIFEST}; `kiln export --format bundle` makes bundles"));
    }
    let mut text = Vec::new();
    Read::by_ref(&mut first).take(MAX_MANIFEST).read_to_end(&mut text).map_err(no_tar)?;
    let manifest = read_manifest(&text)?;
    let names = names(&manifest, home, rename)?;
    let making = |target: &RunId| home.runs_dir().join(format!("{MAKING}{target}"));
    let fill = || -> Result<(), String> {
        for target in names.values() {
            fs::create_dir_all(making(target)).map_err(|e| format!("{}: {e}", making(target).display()))?;
        }
        for entry in entries {
            let mut entry = entry.map_err(no_tar)?;
            let path = entry.path().map_err(no_tar)?.into_owned();
            let (run, inner) = inside(&path).ok_or_else(|| outside(&path))?;
            let target = names.get(&RunId(run)).ok_or_else(|| outside(&path))?;
            let to = making(target).join(inner);
            match entry.header().entry_type() {
                tar::EntryType::Directory => fs::create_dir_all(&to).map_err(|e| format!("{}: {e}", to.display()))?,
                tar::EntryType::Regular => write(&to, &mut entry).map_err(|e| format!("{}: {e}", to.display()))?,
                _ => return Err(outside(&path)),
            }
        }
        Ok(())
    };
    let filled = fill();
    // The sum over everything stands behind the archive's own end.
    let whole = filled.and_then(|()| io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(no_tar));
    let place = || -> Result<(), String> {
        for (run, target) in &names {
            let folder = RunFolder::new(making(target));
            if !folder.spec().is_file() {
                return Err(format!("it has no spec.toml of {run}, so that is no run"));
            }
            settle(&folder).map_err(|e| e.to_string())?;
        }
        for target in names.values() {
            let (from, to) = (making(target), home.run_dir(target));
            fs::rename(&from, &to).map_err(|e| format!("{} cannot be put in place: {e}", to.display()))?;
        }
        Ok(())
    };
    let placed = whole.and_then(|_| place());
    if placed.is_err() {
        for target in names.values() {
            let _ = fs::remove_dir_all(making(target));
        }
    }
    placed.map(|()| names.into_values().collect())
}

fn no_tar(e: io::Error) -> String {
    format!("it is damaged or no bundle: {e}")
}

fn outside(path: &Path) -> String {
    format!("it holds `{}`, which belongs to none of its runs or is no plain file; it was not unpacked", path.display())
}

fn read_manifest(text: &[u8]) -> Result<Manifest, String> {
    let value: Json = serde_json::from_slice(text).map_err(|e| format!("its {MANIFEST} is not readable: {e}"))?;
    match value["kiln_bundle"].as_u64() {
        Some(found) if found > u64::from(VERSION) => Err(format!(
            "it is a bundle of version {found}, this Kiln reads up to version {VERSION}: use the newer Kiln that packed it"
        )),
        _ => serde_json::from_value(value).map_err(|e| format!("its {MANIFEST} is not readable: {e}")),
    }
}

/// What each run is to be called here.
fn names(manifest: &Manifest, home: &Home, rename: Option<&str>) -> Result<BTreeMap<RunId, RunId>, String> {
    if rename.is_some() && manifest.runs.len() != 1 {
        return Err(format!("it holds {} runs; --as is for a bundle of one", manifest.runs.len()));
    }
    let mut names = BTreeMap::new();
    for Packed { id, .. } in &manifest.runs {
        let target = rename.map_or_else(|| id.clone(), |name| RunId(name.to_owned()));
        if !RunId::is_valid(&id.0) || !RunId::is_valid(&target.0) {
            return Err(format!("`{target}` is no name of a run: letters, digits, `-`, `_` and `.` are allowed"));
        }
        if home.run_dir(&target).exists() {
            return Err(format!("there is a run {target} already; import it under another id with --as"));
        }
        names.insert(id.clone(), target);
    }
    if names.is_empty() { Err("it holds no run".into()) } else { Ok(names) }
}

/// The run's folder and the path within it; `None` for a path that leads anywhere else.
fn inside(path: &Path) -> Option<(String, PathBuf)> {
    let mut parts = path.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let run = parts.next()??.to_owned();
    let inner: PathBuf = parts.collect::<Option<PathBuf>>()?;
    (inner.as_os_str() != "").then_some((run, inner))
}

fn write(to: &Path, from: &mut impl Read) -> io::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    // No file of a bundle replaces another.
    let mut file = File::options().write(true).create_new(true).open(to)?;
    io::copy(from, &mut file)?;
    file.sync_all()
}

/// Makes a folder one that nobody works on: the worker that it names belongs to another place, and a run that had not
/// ended would otherwise be started here without anybody's asking.
fn settle(folder: &RunFolder) -> Result<(), SpoolError> {
    let io = |path: PathBuf| move |source| SpoolError::Io { doing: "write", path, source };
    let path = folder.worker();
    if let Ok(bytes) = fs::read(&path)
        && let Ok(mut worker) = serde_json::from_slice::<Json>(&bytes)
    {
        (worker["pid"], worker["start_time"], worker["boot"]) = (json!(0), json!(0), json!(""));
        worker["host"] = json!(host_name());
        kiln_protocol::spool::replace(&path, worker.to_string().as_bytes()).map_err(io(path.clone()))?;
    }
    let jobs: Vec<PathBuf> = match fs::read_dir(folder.path().join("jobs")) {
        Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.join("spec.toml").is_file()).collect(),
        Err(_) => Vec::new(),
    };
    // What an experiment amounts to, the engine writes by its jobs.
    if jobs.is_empty() && !is_over(folder)? {
        let reason = "it came in a bundle that was packed before it had ended".to_owned();
        let step = kiln_protocol::checkpoint::steps(&folder.checkpoints()).unwrap_or_default().into_iter().max();
        let stopped = Body::Stopped { step: step.unwrap_or(0), reason };
        EventWriter::open(folder)?.append(stopped).map_err(io(folder.events()))?;
    }
    jobs.into_iter().try_for_each(|job| settle(&RunFolder::new(job)))
}

/// Whether the last attempt has ended, and nobody asked for another since.
fn is_over(folder: &RunFolder) -> Result<bool, SpoolError> {
    let (mut ended, mut tail) = (None, EventTail::open(folder, 0));
    loop {
        let batch = tail.poll()?;
        for event in &batch.items {
            match &event.body {
                body if body.ends_attempt() => ended = Some(event.t),
                Body::Started { .. } => ended = None,
                _ => {}
            }
        }
        if !batch.more {
            break;
        }
    }
    let Some(ended) = ended else { return Ok(false) };
    let (mut later, mut tail) = (false, ControlTail::open(folder, 0));
    loop {
        let batch = tail.poll()?;
        later |= batch.items.iter().any(|c| c.t > ended);
        if !batch.more {
            return Ok(!later);
        }
    }
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;
