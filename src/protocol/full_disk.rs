//! A real write that finds no room: the tests run themselves again in a shell with a limit on the size of files. The kernel then
//! answers as on a full disk, with a short write and then an error, and needs neither root nor a disk of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::spool::{EventTail, EventWriter, RunFolder, is_disk_full};
use crate::{Body, Level, checkpoint};

const FOLDER: &str = "KILN_TEST_FULL_DISK";

/// Runs the test `name` of this binary again with files of at most `blocks` times 512 bytes.
fn again(name: &str, folder: &Path, blocks: u32) {
    let exe = std::env::current_exe().unwrap();
    // Bash counts in 1024 bytes outside POSIX mode; `sh` is dash on Debian, which counts in 512.
    let script = format!("trap '' XFSZ; ulimit -f {blocks} || exit 9; exec \"$0\" --exact {name} --nocapture");
    let output = Command::new("sh").arg("-c").arg(script).arg(exe).env(FOLDER, folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn inside() -> Option<PathBuf> {
    std::env::var_os(FOLDER).map(PathBuf::from)
}

fn line(n: usize) -> Body {
    Body::Log { level: Level::Info, message: "x".repeat(n) }
}

#[test]
fn events_survive_a_full_disk() {
    let Some(path) = inside() else {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("run"));
        folder.create("").unwrap();
        again("full_disk::events_survive_a_full_disk", folder.path(), 8);
        let mut writer = EventWriter::open(&folder).unwrap();
        assert!(writer.seq() > 1);
        let next = writer.append(line(1)).unwrap();
        let read = EventTail::open(&folder, 0).poll().unwrap();
        assert!(read.problems.is_empty());
        assert_eq!(read.items.iter().map(|e| e.seq).collect::<Vec<_>>(), (1..=next.seq).collect::<Vec<_>>());
        return;
    };
    let folder = RunFolder::new(path);
    let mut writer = EventWriter::open(&folder).unwrap();
    let full = (0..1000).find_map(|_| writer.append(line(700)).err()).unwrap();
    assert!(is_disk_full(&full), "{full}");
    // A shorter one still fits, under the number that the long one did not get.
    let short = writer.append(line(1)).unwrap();
    let read = EventTail::open(&folder, 0).poll().unwrap();
    assert!(read.problems.is_empty());
    assert_eq!(read.items.last(), Some(&short));
    assert_eq!(read.items.len() as u64, short.seq);
}

#[test]
fn checkpoints_survive_a_full_disk() {
    let tensor = |bytes: usize| checkpoint::RawTensor {
        name: "w".into(),
        dtype: "U8".into(),
        shape: vec![bytes],
        data: vec![3; bytes],
    };
    let Some(dir) = inside() else {
        let dir = tempfile::tempdir().unwrap();
        again("full_disk::checkpoints_survive_a_full_disk", dir.path(), 64);
        return;
    };
    checkpoint::write(&dir, 1, &serde_json::json!(1), &[tensor(100)]).unwrap();
    let full = checkpoint::write(&dir, 2, &serde_json::json!(2), &[tensor(1 << 20)]).unwrap_err();
    assert!(full.is_disk_full(), "{full}");
    let state_too_big = checkpoint::write(&dir, 2, &serde_json::json!("x".repeat(1 << 20)), &[]).unwrap_err();
    assert!(state_too_big.is_disk_full(), "{state_too_big}");
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1, "no half checkpoint is left");
    assert_eq!(checkpoint::latest(&dir).unwrap().checkpoint.unwrap().step, 1);
}
