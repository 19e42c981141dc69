//! Files of JSON lines that one process appends to while others read: the mechanics under events and control.
//!
//! What makes it safe: a line is written with its newline last, a reader believes only what ends in a newline, and a
//! writer that could not finish a line cuts it off again. So no reader ever sees a part of a line, and nobody has to
//! lock against readers.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::spool::SpoolError;

/// Longest line that is read as one; a longer one is reported and passed over.
pub const MAX_LINE: usize = 64 << 20;

/// Bytes that one poll reads, unless a single line is longer. The store takes one poll in as one batch, and is sound with
/// small batches only.
const POLL_BYTES: usize = 1 << 20;

/// What a line is appended to: a file, or in tests a disk that fills.
pub(crate) trait Sink: Write {
    fn set_len(&mut self, bytes: u64) -> io::Result<()>;
}

impl Sink for File {
    fn set_len(&mut self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }
}

/// Whether an error means that there is no room, so that trying again later may help.
pub fn is_disk_full(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge)
}

/// Appends whole lines or nothing.
pub(crate) struct Appender<S> {
    sink: S,
    /// Bytes of whole lines.
    len: u64,
    /// A line was begun, not finished, and could not be cut off yet.
    torn: bool,
    line: Vec<u8>,
}

impl<S: Sink> Appender<S> {
    pub(crate) fn new(sink: S, len: u64) -> Self {
        Appender { sink, len, torn: false, line: Vec::new() }
    }

    /// Appends `value` as one line. On an error the file is as before, or will be before the next line is written.
    pub(crate) fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        if self.torn {
            self.sink.set_len(self.len)?;
            self.torn = false;
        }
        self.line.clear();
        serde_json::to_writer(&mut self.line, value)?;
        self.line.push(b'\n');
        // One write(2) as a rule; a second happens only after a short one, to learn why it was short.
        match self.sink.write_all(&self.line) {
            Ok(()) => {
                self.len += self.line.len() as u64;
                Ok(())
            }
            Err(e) => {
                self.torn = self.sink.set_len(self.len).is_err();
                Err(e)
            }
        }
    }
}

/// How long a lock may be held by nobody: a process that is just being started holds its parent's open files until it
/// has become its own program.
const LOCK_PATIENCE: Duration = Duration::from_millis(300);

/// Takes the lock on a whole file, for this process alone, until the file is closed or the process ends. Where the file
/// system has no locks (some network ones), it does without.
///
/// # Errors
/// `WouldBlock` if another process has it.
pub fn try_lock(file: &File) -> Result<(), TryLockError> {
    let begun = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begun.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Unsupported => return Ok(()),
            other => return other,
        }
    }
}

/// One file of lines, open for appending by this process alone.
pub(crate) struct LineFile {
    appender: Appender<File>,
}

#[derive(Deserialize)]
struct Numbered {
    seq: u64,
}

impl LineFile {
    /// Opens or creates, cuts off a torn last line, and returns the `seq` of the last line that has one (0 if none).
    pub(crate) fn open(path: &Path) -> Result<(LineFile, u64), SpoolError> {
        let io = |doing: &'static str| move |source: io::Error| SpoolError::Io { doing, path: path.into(), source };
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(path).map_err(io("open for appending"))?;
        match try_lock(&file) {
            Ok(()) => {}
            Err(TryLockError::Error(e)) => return Err(io("lock")(e)),
            Err(TryLockError::WouldBlock) => return Err(SpoolError::Locked { path: path.into() }),
        }
        let (len, seq) = last_whole_line(&mut file).map_err(io("read"))?;
        let on_disk = file.metadata().map_err(io("read"))?.len();
        if on_disk > len {
            file.set_len(len).map_err(io("cut the torn last line off"))?;
        }
        Ok((LineFile { appender: Appender::new(file, len) }, seq))
    }

    pub(crate) fn append(&mut self, value: &impl Serialize) -> io::Result<()> {
        self.appender.append(value)
    }

    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.appender.sink.sync_data()
    }

    pub(crate) fn len(&self) -> u64 {
        self.appender.len
    }
}

/// Bytes up to and with the last newline, and the `seq` of the last line that has one; read backwards in blocks, so
/// that it takes no longer for a file of gigabytes.
fn last_whole_line(file: &mut File) -> io::Result<(u64, u64)> {
    let mut tail: Vec<u8> = Vec::new();
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut whole = None;
    let mut block = 64 << 10;
    loop {
        let take = block.min(start);
        start -= take;
        block = (block * 2).min(MAX_LINE as u64);
        let mut front = vec![0; take as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut front)?;
        front.append(&mut tail);
        tail = front;
        if whole.is_none() {
            match tail.iter().rposition(|&b| b == b'\n') {
                Some(newline) => {
                    tail.truncate(newline + 1);
                    whole = Some(start + tail.len() as u64);
                }
                None if start == 0 => return Ok((0, 0)),
                None => continue,
            }
        }
        // The first piece may be the end of a longer line, unless it begins the file.
        let mut lines = tail[..tail.len() - 1].split(|&b| b == b'\n').rev().peekable();
        while let Some(line) = lines.next() {
            if lines.peek().is_none() && start > 0 {
                break;
            }
            if let Ok(Numbered { seq }) = serde_json::from_slice(line) {
                return Ok((whole.unwrap_or(0), seq));
            }
        }
        if start == 0 {
            return Ok((whole.unwrap_or(0), 0));
        }
    }
}

/// A line that was passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where the line begins in its file.
    pub offset: u64,
    /// A sentence: what is wrong with which line.
    pub message: String,
}

/// What one poll found.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch<T> {
    /// Whole lines, in order.
    pub items: Vec<T>,
    /// Whole lines that could not be used. Each is reported once, then passed over.
    pub problems: Vec<Problem>,
    /// Where to go on: behind the last whole line that was read. Store it together with what came of `items`.
    pub offset: u64,
    /// There are more whole lines; poll again at once.
    pub more: bool,
}

/// Follows a file of lines from a byte offset. A torn last line waits until it is completed; a file that does not exist
/// yet is empty.
#[derive(Debug)]
pub struct Tail<T> {
    path: PathBuf,
    offset: u64,
    /// Reads a line, or says why not.
    parse: fn(&[u8]) -> Result<T, String>,
    poll_bytes: usize,
    max_line: usize,
}

impl<T> Tail<T> {
    pub(crate) fn new(path: PathBuf, offset: u64, parse: fn(&[u8]) -> Result<T, String>) -> Self {
        Tail { path, offset, parse, poll_bytes: POLL_BYTES, max_line: MAX_LINE }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what has been completed since; at most about 1 MiB at a time.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than what was already read from it (somebody replaced it).
    pub fn poll(&mut self) -> Result<Batch<T>, SpoolError> {
        self.poll_until(u64::MAX)
    }

    /// As [`Tail::poll`], but as if the file ended at byte `end`.
    pub(crate) fn poll_until(&mut self, end: u64) -> Result<Batch<T>, SpoolError> {
        let mut batch = Batch { items: Vec::new(), problems: Vec::new(), offset: self.offset, more: false };
        let path = self.path.clone();
        let io = |source: io::Error| SpoolError::Io { doing: "read", path: path.clone(), source };
        // Opened anew each time: network file systems show another host's lines only then, and a file that was
        // replaced is noticed.
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.offset == 0 => return Ok(batch),
            Err(e) => return Err(io(e)),
        };
        let len = file.metadata().map_err(io)?.len().min(end.max(self.offset));
        if len < self.offset {
            return Err(SpoolError::Shrunk { path: self.path.clone(), len, offset: self.offset });
        }
        if len == self.offset {
            return Ok(batch);
        }
        file.seek(SeekFrom::Start(self.offset)).map_err(io)?;
        let mut bytes = Vec::new();
        let mut want = self.poll_bytes;
        let whole = loop {
            let missing = ((want - bytes.len()) as u64).min(len - self.offset - bytes.len() as u64);
            let got = (&file).take(missing).read_to_end(&mut bytes).map_err(io)? as u64;
            match bytes.iter().rposition(|&b| b == b'\n') {
                Some(newline) => break newline + 1,
                None if got < missing || self.offset + bytes.len() as u64 >= len => return Ok(batch),
                None if bytes.len() >= self.max_line => return self.pass_over(file, batch).map_err(io),
                None => want = (want * 2).min(self.max_line),
            }
        };
        let mut at = self.offset;
        for line in bytes[..whole].split_inclusive(|&b| b == b'\n') {
            match (self.parse)(&line[..line.len() - 1]) {
                Ok(item) => batch.items.push(item),
                Err(why) => batch.problems.push(Problem {
                    offset: at,
                    message: format!("{}, byte {at}: {why}; the line was passed over", self.path.display()),
                }),
            }
            at += line.len() as u64;
        }
        batch.more = self.offset + (bytes.len() as u64) < len;
        batch.offset = at;
        self.offset = at;
        Ok(batch)
    }

    /// Looks for the end of a line that is too long to be read as one.
    fn pass_over(&mut self, file: File, mut batch: Batch<T>) -> io::Result<Batch<T>> {
        let mut at = self.offset + self.max_line as u64;
        let mut reader = io::BufReader::new(file);
        loop {
            let block = io::BufRead::fill_buf(&mut reader)?;
            let (len, newline) = (block.len(), block.iter().position(|&b| b == b'\n'));
            if let Some(newline) = newline {
                at += newline as u64 + 1;
                break;
            }
            if len == 0 {
                return Ok(batch);
            }
            at += len as u64;
            io::BufRead::consume(&mut reader, len);
        }
        batch.problems.push(Problem {
            offset: self.offset,
            message: format!(
                "{}, byte {}: a line of {} bytes, more than the {} that are read; it was passed over",
                self.path.display(),
                self.offset,
                at - self.offset,
                self.max_line
            ),
        });
        batch.more = true;
        batch.offset = at;
        self.offset = at;
        Ok(batch)
    }
}

/// Reads a line of JSON.
pub(crate) fn parse_json<T: DeserializeOwned>(line: &[u8]) -> Result<T, String> {
    serde_json::from_slice(line).map_err(|e| format!("not readable ({e})"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Line {
        seq: u64,
        text: String,
    }

    fn line(seq: u64) -> Line {
        Line { seq, text: format!("line {seq} says \"{}\"\nand more", "é".repeat(seq as usize % 7)) }
    }

    fn bytes(seqs: std::ops::RangeInclusive<u64>) -> Vec<u8> {
        seqs.flat_map(|seq| [serde_json::to_vec(&line(seq)).unwrap(), b"\n".to_vec()].concat()).collect()
    }

    fn tail(path: &Path) -> Tail<Line> {
        Tail::new(path.into(), 0, parse_json)
    }

    /// A disk with room for `room` bytes, which takes at most `piece` bytes a write.
    struct Disk {
        content: Vec<u8>,
        room: usize,
        piece: usize,
        cannot_truncate: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room - self.content.len()).min(self.piece);
            if n == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Disk {
        fn set_len(&mut self, bytes: u64) -> io::Result<()> {
            if self.cannot_truncate {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.content.truncate(bytes as usize);
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_leaves_whole_lines_whatever_room_there_was() {
        let two = bytes(1..=2);
        for room in 0..two.len() {
            for cannot_truncate in [false, true] {
                let disk = Disk { content: vec![], room, piece: usize::MAX, cannot_truncate };
                let mut out = Appender::new(disk, 0);
                let mut written = 0;
                let full = loop {
                    match out.append(&line(written + 1)) {
                        Ok(()) => written += 1,
                        Err(e) => break e,
                    }
                };
                assert!(is_disk_full(&full));
                if !cannot_truncate {
                    assert_eq!(out.sink.content, bytes(1..=written), "room {room}");
                }
                // Room again: the line that failed is written as if nothing had been.
                out.sink.room = usize::MAX;
                out.sink.cannot_truncate = false;
                for seq in written + 1..=4 {
                    out.append(&line(seq)).unwrap();
                }
                assert_eq!(out.sink.content, bytes(1..=4), "room {room}");
            }
        }
    }

    #[test]
    fn a_short_write_is_finished() {
        let mut out = Appender::new(Disk { content: vec![], room: 1000, piece: 5, cannot_truncate: false }, 0);
        out.append(&line(1)).unwrap();
        assert_eq!(out.sink.content, bytes(1..=1));
    }

    #[test]
    fn a_file_torn_at_any_byte_is_read_to_its_last_whole_line_and_continued_from_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let whole = bytes(1..=4);
        let ends: Vec<usize> = whole.iter().enumerate().filter(|b| *b.1 == b'\n').map(|b| b.0 + 1).collect();
        for cut in 0..=whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = ends.iter().filter(|&&end| end <= cut).count() as u64;
            let mut reader = tail(&path);
            let batch = reader.poll().unwrap();
            assert_eq!(batch.items, (1..=lines).map(line).collect::<Vec<_>>(), "cut {cut}");
            assert!(batch.problems.is_empty(), "a torn line is not a problem");
            assert_eq!(batch.offset, ends.iter().rfind(|&&end| end <= cut).map_or(0, |&e| e as u64));

            let (mut writer, seq) = LineFile::open(&path).unwrap();
            assert_eq!(seq, lines, "cut {cut}");
            for seq in lines + 1..=5 {
                writer.append(&line(seq)).unwrap();
            }
            assert_eq!(fs::read(&path).unwrap(), bytes(1..=5), "cut {cut}");
            assert_eq!(reader.poll().unwrap().items, (lines + 1..=5).map(line).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_last_number_is_found_behind_bad_lines_and_over_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let long = serde_json::to_string(&Line { seq: 7, text: "x".repeat(300_000) }).unwrap();
        for (content, seq) in [
            ("".to_owned(), 0),
            ("\n".to_owned(), 0),
            ("{}\nnonsense\n".to_owned(), 0),
            ("{\"seq\":3}\nnonsense\n\n".to_owned(), 3),
            (format!("{long}\n"), 7),
            (format!("{{\"seq\":6}}\n{long}\n{}\n", "y".repeat(200_000)), 7),
            (format!("{{\"seq\":6}}\n{}", "y".repeat(200_000)), 6),
        ] {
            fs::write(&path, &content).unwrap();
            let (file, found) = LineFile::open(&path).unwrap();
            assert_eq!(found, seq);
            assert_eq!(file.len() as usize, content.rfind('\n').map_or(0, |n| n + 1));
        }
    }

    #[test]
    fn one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let first = LineFile::open(&path).unwrap();
        let Err(second) = LineFile::open(&path) else { panic!("two writers") };
        assert!(second.to_string().contains("another process"), "{second}");
        drop(first);
        LineFile::open(&path).unwrap();
    }

    #[test]
    fn a_bad_line_is_reported_once_and_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        fs::write(&path, [bytes(1..=1), b"{\"seq\":2,\n".to_vec(), b"\xff\xfe\n\n".to_vec(), bytes(3..=3)].concat())
            .unwrap();
        let mut reader = tail(&path);
        let batch = reader.poll().unwrap();
        assert_eq!(batch.items, [line(1), line(3)]);
        assert_eq!(batch.problems.len(), 3);
        assert_eq!(batch.problems[0].offset as usize, bytes(1..=1).len());
        assert!(batch.problems[0].message.contains(&format!("byte {}", bytes(1..=1).len())));
        assert_eq!(reader.poll().unwrap().problems, []);
    }

    #[test]
    fn a_reader_beside_a_writer_gets_every_line_once_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        const N: u64 = 3000;
        let writer = {
            let path = path.clone();
            std::thread::spawn(move || {
                // A writer that is interrupted at every place: pieces of lines become visible.
                let mut file = File::create(path).unwrap();
                for (i, piece) in bytes(1..=N).chunks(37).enumerate() {
                    file.write_all(piece).unwrap();
                    if i % 64 == 0 {
                        std::thread::yield_now();
                    }
                }
            })
        };
        let mut reader = tail(&path);
        reader.poll_bytes = 1000;
        let mut seen = Vec::new();
        while seen.len() < N as usize {
            let batch = reader.poll().unwrap();
            assert!(batch.problems.is_empty());
            seen.extend(batch.items);
        }
        writer.join().unwrap();
        assert!(seen.iter().enumerate().all(|(i, l)| *l == line(i as u64 + 1)));
    }

    #[test]
    fn reading_in_small_bites_from_any_offset_misses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        fs::write(&path, bytes(1..=50)).unwrap();
        for bite in [1, 10, 64, 1000, 100_000] {
            let mut reader = tail(&path);
            reader.poll_bytes = bite;
            let mut seen = Vec::new();
            loop {
                let batch = reader.poll().unwrap();
                seen.extend(batch.items);
                reader = Tail { offset: batch.offset, ..reader };
                if batch.offset as usize == bytes(1..=50).len() {
                    assert!(!batch.more);
                    break;
                }
                assert!(seen.len() <= 50);
            }
            assert_eq!(seen, (1..=50).map(line).collect::<Vec<_>>(), "bite {bite}");
        }
    }

    #[test]
    fn a_line_too_long_is_passed_over_once_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let mut reader = tail(&path);
        (reader.poll_bytes, reader.max_line) = (16, 1000);
        fs::write(&path, "x".repeat(5000)).unwrap();
        assert_eq!(reader.poll().unwrap().offset, 0);
        fs::write(&path, [b"x".repeat(5000), b"\n".to_vec(), bytes(1..=1)].concat()).unwrap();
        let batch = reader.poll().unwrap();
        assert!(batch.more && batch.offset == 5001);
        assert!(batch.problems[0].message.contains("5001 bytes"), "{:?}", batch.problems);
        assert_eq!(reader.poll().unwrap().items, [line(1)]);
    }

    #[test]
    fn a_file_that_is_missing_is_empty_and_one_that_shrank_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lines");
        let mut reader = tail(&path);
        assert_eq!(reader.poll().unwrap().offset, 0);
        fs::write(&path, bytes(1..=2)).unwrap();
        reader.poll().unwrap();
        fs::write(&path, bytes(1..=1)).unwrap();
        assert!(matches!(reader.poll(), Err(SpoolError::Shrunk { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(reader.poll(), Err(SpoolError::Io { .. })));
    }
}
