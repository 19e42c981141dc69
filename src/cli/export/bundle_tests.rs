use super::*;
use kiln_protocol::Command;
use kiln_protocol::spool::{ControlWriter, WorkerInfo};

const RUN: &str = "digits-k3f7";

fn home(dir: &Path) -> Home {
    let home = Home::new(dir).unwrap();
    home.create().unwrap();
    home
}

/// A run folder with two checkpoints, the lock and a torn file of a worker, and events.
fn folder(home: &Home, run: &str, bodies: &[Body]) -> RunFolder {
    let folder = home.run_folder(&RunId(run.into()));
    folder.create("seed = 7\n").unwrap();
    WorkerInfo::of_this_process("cpu", "0", 1).write(&folder).unwrap();
    for (file, text) in [("checkpoints/3/state.json", "{}"), ("checkpoints/4.part/x", "x"), ("worker.lock", "")] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    if !bodies.is_empty() {
        let mut writer = EventWriter::open(&folder).unwrap();
        bodies.iter().for_each(|body| drop(writer.append(body.clone()).unwrap()));
    }
    folder
}

fn packed(home: &Home, run: &str, checkpoints: bool) -> Vec<u8> {
    let id = RunId(run.into());
    let items = list(home.run_folder(&id).path(), checkpoints).unwrap();
    let packed = Packed { id: id.clone(), state: RunState::Completed, files: items.len() as u64, bytes: 0 };
    let manifest = Manifest {
        kiln_bundle: VERSION,
        kiln: "0".into(),
        created: 1.0,
        host: "h".into(),
        checkpoints,
        runs: vec![packed],
    };
    let items: Vec<(RunId, Item)> = items.into_iter().map(|item| (id.clone(), item)).collect();
    let mut bytes = Vec::new();
    pack(&manifest, &items, &mut bytes).unwrap();
    bytes
}

fn completed() -> Body {
    Body::Completed { outcome: Box::default() }
}

fn last(folder: &RunFolder) -> Option<Body> {
    EventTail::open(folder, 0).poll().unwrap().items.pop().map(|e| e.body)
}

#[test]
fn what_is_packed_comes_out_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (there, here) = (home(&dir.path().join("there")), home(&dir.path().join("here")));
    let from = folder(&there, RUN, &[completed()]);
    let bytes = packed(&there, RUN, true);
    assert_eq!(unpack(bytes.as_slice(), &here, None), Ok(vec![RunId(RUN.into())]));
    let to = here.run_folder(&RunId(RUN.into()));
    for same in ["spec.toml", "events.jsonl", "checkpoints/3/state.json"] {
        assert_eq!(fs::read(from.path().join(same)).unwrap(), fs::read(to.path().join(same)).unwrap(), "{same}");
    }
    assert!(!to.path().join("worker.lock").exists() && !to.path().join("checkpoints/4.part").exists());
    // The worker is alive there, being this very test, and must not be taken for one of the run here.
    assert_eq!(WorkerInfo::read(&from).unwrap().unwrap().is_alive(), Some(true));
    let worker = WorkerInfo::read(&to).unwrap().unwrap();
    assert_eq!((worker.is_alive(), worker.attempt), (Some(false), 1));

    let again = unpack(bytes.as_slice(), &here, None).unwrap_err();
    assert!(again.contains(RUN) && again.contains("--as"), "{again}");
    let renamed = unpack(packed(&there, RUN, false).as_slice(), &here, Some("other-0001")).unwrap();
    assert_eq!(renamed, [RunId("other-0001".into())]);
    assert!(!here.run_folder(&renamed[0]).checkpoints().exists());
    assert_eq!(fs::read_dir(here.runs_dir()).unwrap().count(), 2, "nothing is left beside");
}

#[test]
fn a_run_that_had_not_ended_is_stopped_where_it_comes_to() {
    let dir = tempfile::tempdir().unwrap();
    let (there, here) = (home(&dir.path().join("there")), home(&dir.path().join("here")));
    let log = Body::Log { level: kiln_protocol::Level::Info, message: "at work".into() };
    folder(&there, "live-0001", &[log]);
    folder(&there, "queued-0002", &[]);
    let resumed = folder(&there, "again-0003", &[Body::Failed { message: "m".into() }]);
    ControlWriter::open(&resumed).unwrap().append(Command::Resume).unwrap();
    for run in ["live-0001", "queued-0002", "again-0003"] {
        unpack(packed(&there, run, true).as_slice(), &here, None).unwrap();
        let last = last(&here.run_folder(&RunId(run.into())));
        assert!(matches!(last, Some(Body::Stopped { step: 3, .. })), "{run}: {last:?}");
    }
    folder(&there, "failed-0004", &[Body::Failed { message: "m".into() }]);
    unpack(packed(&there, "failed-0004", true).as_slice(), &here, None).unwrap();
    let failed = here.run_folder(&RunId("failed-0004".into()));
    assert_eq!(last(&failed), Some(Body::Failed { message: "m".into() }));
}

/// A bundle with an entry that no bundle has.
fn forged(manifest: &Json, name: &str, kind: tar::EntryType) -> Vec<u8> {
    let mut tar = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap());
    let text = manifest.to_string();
    tar.append_data(&mut header(text.len() as u64, 0), MANIFEST, text.as_bytes()).unwrap();
    let mut header = header(0, 0);
    header.set_entry_type(kind);
    // The library refuses such names, an enemy does not.
    let field = header.as_mut_bytes();
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    tar.append(&header, io::empty()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

#[test]
fn what_is_no_bundle_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (there, here) = (home(&dir.path().join("there")), home(&dir.path().join("here")));
    folder(&there, RUN, &[completed()]);
    let run = json!({ "id": RUN, "state": "completed", "files": 1, "bytes": 1 });
    let good =
        json!({ "kiln_bundle": 1, "kiln": "0", "created": 1.0, "host": "h", "checkpoints": true, "runs": [run] });
    let mut newer = good.clone();
    newer["kiln_bundle"] = json!(2);
    let mut bad_name = good.clone();
    bad_name["runs"][0]["id"] = json!("../../etc");
    let mut none = good.clone();
    none["runs"] = json!([]);
    let plain = tar::EntryType::Regular;
    let whole = packed(&there, RUN, true);
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    for (bytes, expected) in [
        (b"hello".to_vec(), "damaged or no bundle"),
        (whole[..whole.len() - 8].to_vec(), "damaged or no bundle"),
        (damaged, ""),
        (forged(&good, "digits-k3f7/../x", plain), "no plain file"),
        (forged(&good, "/etc/passwd", plain), "no plain file"),
        (forged(&good, "other-0001/spec.toml", plain), "belongs to none of its runs"),
        (forged(&good, "digits-k3f7/spec.toml", tar::EntryType::Symlink), "no plain file"),
        (forged(&good, "digits-k3f7/events.jsonl", plain), "no spec.toml"),
        (forged(&newer, "x", plain), "newer Kiln"),
        (forged(&bad_name, "x", plain), "no name of a run"),
        (forged(&none, "x", plain), "holds no run"),
    ] {
        let said = unpack(bytes.as_slice(), &here, None).unwrap_err();
        assert!(said.contains(expected), "expected {expected}: {said}");
        assert_eq!(fs::read_dir(here.runs_dir()).unwrap().count(), 0, "{expected}");
    }
    assert!(unpack(whole.as_slice(), &here, Some("a b")).unwrap_err().contains("no name of a run"));
}
