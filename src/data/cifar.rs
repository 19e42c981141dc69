//! CIFAR-10, binary version: `data_batch_1.bin` to `data_batch_5.bin`, of which some may be absent, `test_batch.bin` and
//! `batches.meta.txt`, in the folder itself or in `cifar-10-batches-bin` below it.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::error::FETCH_AGAIN;
use crate::part::{Part, Raw};
use crate::source::{self, Source};

const SHAPE: [usize; 3] = [3, 32, 32];
const PIXELS: usize = 3 * 32 * 32;
const RECORD: usize = 1 + PIXELS;

const CLASSES: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

pub(crate) fn read(folder: &Path) -> Result<Raw, DataError> {
    let below = folder.join("cifar-10-batches-bin");
    let folder = if below.is_dir() { below.as_path() } else { folder };
    let batches: Vec<PathBuf> =
        (1..=5).filter_map(|i| source::find(folder, &[&format!("data_batch_{i}.bin")])).collect();
    if batches.is_empty() {
        let python = folder.join("data_batch_1").exists() || folder.join("cifar-10-batches-py").is_dir();
        let advice = if python {
            "This is the Python version of CIFAR-10; download the binary version"
        } else {
            "Check the path of the data set; it is the folder that the binary version of CIFAR-10 unpacks to"
        };
        let wanted = "at least one of data_batch_1.bin to data_batch_5.bin";
        return Err(DataError::missing(&folder.join("data_batch_1.bin"), wanted, advice));
    }
    let mut train = Part::default();
    for batch in &batches {
        read_file(batch, &mut train)?;
    }
    let mut test = None;
    if let Some(path) = source::find(folder, &["test_batch.bin"]) {
        read_file(&path, test.insert(Part::default()))?;
    }
    let meta = folder.join("batches.meta.txt");
    let classes = source::lines(&meta)?.unwrap_or_else(|| CLASSES.map(str::to_owned).to_vec());
    if classes.len() != CLASSES.len() {
        let found = format!("names {} classes", classes.len());
        return Err(DataError::malformed(&meta, found, "10, one a line", FETCH_AGAIN));
    }
    Ok(Raw { shape: SHAPE, classes, train, valid: None, test })
}

/// Appends the records of a file to `part`.
fn read_file(path: &Path, part: &mut Part) -> Result<(), DataError> {
    let bytes = Source::open(path)?.rest()?;
    if bytes.is_empty() || bytes.len() % RECORD != 0 {
        let found = format!("is {} bytes long", bytes.len());
        let wanted = format!("a multiple of {RECORD}, the length of a record (30,730,000 bytes for a whole batch)");
        return Err(DataError::malformed(path, found, wanted, FETCH_AGAIN));
    }
    part.pixels.reserve(bytes.len());
    for (row, record) in bytes.chunks_exact(RECORD).enumerate() {
        let label = record[0];
        if usize::from(label) >= CLASSES.len() {
            let found = format!("has the label {label} in record {row} (counted from 0)");
            return Err(DataError::malformed(path, found, "labels from 0 to 9", FETCH_AGAIN));
        }
        part.labels.push(i64::from(label));
        part.pixels.extend_from_slice(&record[1..]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dir, gzip, message};

    fn record(label: u8, first: u8) -> Vec<u8> {
        let mut bytes = vec![9; RECORD];
        (bytes[0], bytes[1]) = (label, first);
        bytes
    }

    #[test]
    fn some_batches_are_enough_and_come_in_order() {
        let dir = Dir::new();
        dir.file("data_batch_4.bin", &record(7, 70));
        dir.file("data_batch_2.bin", &[record(3, 30), record(0, 31)].concat());
        dir.file("test_batch.bin", &record(9, 90));
        let raw = read(dir.path()).unwrap();
        assert_eq!(raw.shape, [3, 32, 32]);
        assert_eq!(raw.train.labels, [3, 0, 7]);
        assert_eq!([raw.train.pixels[0], raw.train.pixels[PIXELS], raw.train.pixels[2 * PIXELS]], [30, 31, 70]);
        assert_eq!(raw.train.pixels.len(), 3 * PIXELS);
        assert_eq!(raw.test.unwrap().labels, [9]);
        assert_eq!(raw.classes[3], "cat");
    }

    #[test]
    fn the_unpacked_archive_may_be_named_from_above() {
        let dir = Dir::new();
        dir.file("cifar-10-batches-bin/data_batch_1.bin", &record(1, 1));
        dir.file("cifar-10-batches-bin/batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
        let raw = read(dir.path()).unwrap();
        assert_eq!((raw.classes[9].as_str(), raw.test.is_none()), ("j", true));
    }

    #[test]
    fn wrong_length() {
        let dir = Dir::new();
        dir.file("data_batch_1.bin", &record(1, 1)[..RECORD - 1]);
        let text = message(read(dir.path()));
        assert!(text.contains("data_batch_1.bin is 3072 bytes long; expected a multiple of 3073"), "{text}");
        dir.file("data_batch_1.bin", &[]);
        assert!(message(read(dir.path())).contains("is 0 bytes long"));
    }

    #[test]
    fn label_out_of_range() {
        let dir = Dir::new();
        dir.file("data_batch_1.bin", &record(1, 1));
        dir.file("test_batch.bin", &[record(1, 1), record(10, 1)].concat());
        let text = message(read(dir.path()));
        assert!(text.contains("test_batch.bin has the label 10 in record 1"), "{text}");
    }

    #[test]
    fn torn_gzip() {
        let dir = Dir::new();
        let packed = gzip(&record(1, 1));
        dir.file("data_batch_1.bin.gz", &packed);
        assert_eq!(read(dir.path()).unwrap().train.len(), 1);
        dir.file("data_batch_1.bin.gz", &packed[..packed.len() - 9]);
        assert!(message(read(dir.path())).contains("data_batch_1.bin.gz is a gzip file that is cut short"));
    }

    #[test]
    fn missing_and_python_version() {
        let dir = Dir::new();
        assert!(message(read(dir.path())).contains("data_batch_1.bin is missing"));
        dir.file("data_batch_1", b"pickle");
        assert!(message(read(dir.path())).contains("the Python version"));
    }

    #[test]
    fn wrong_list_of_classes() {
        let dir = Dir::new();
        dir.file("data_batch_1.bin", &record(1, 1));
        dir.file("batches.meta.txt", b"cat\ndog\n");
        assert!(message(read(dir.path())).contains("batches.meta.txt names 2 classes; expected 10"));
    }
}
