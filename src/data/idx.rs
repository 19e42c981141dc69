//! IDX files, as MNIST, Fashion-MNIST, KMNIST and EMNIST are published: `train-images-idx3-ubyte`,
//! `train-labels-idx1-ubyte` and, if there is a test part, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`; each plain
//! or gzipped, with `-` or `.` before `idx`. A `classes.txt` beside them names the classes, one a line.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::error::FETCH_AGAIN;
use crate::part::{Part, Raw};
use crate::source::{self, Source};

/// Digest of the training part of Fashion-MNIST as published, which comes without a list of its classes.
const FASHION_MNIST: &str = "ea23996859036a5cc833b0ab8a763656828c89a3cbcca6514eea20534fe6a672";

const FASHION_CLASSES: [&str; 10] =
    ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"];

pub(crate) fn read(folder: &Path) -> Result<Raw, DataError> {
    let Some((train, shape, labels_at)) = read_part(folder, &["train"])? else {
        let wanted = "a folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or as .gz";
        return Err(DataError::missing(
            &folder.join("train-images-idx3-ubyte"),
            wanted,
            "Check the path of the data set",
        ));
    };
    let classes_at = folder.join("classes.txt");
    let named = source::lines(&classes_at)?;
    let count = named.as_ref().map_or_else(|| highest(&train) + 1, |names| names.len() as i64);
    let basis = if named.is_some() { "classes.txt names" } else { "the training labels have" };
    check_labels(&train, count, &labels_at, basis)?;

    let mut test = None;
    if let Some((part, test_shape, test_labels_at)) = read_part(folder, &["t10k", "test"])? {
        if test_shape != shape {
            let found = format!("holds images of {} x {} pixels", test_shape[1], test_shape[2]);
            let wanted = format!("{} x {} as in the training part", shape[1], shape[2]);
            return Err(DataError::malformed(folder, found, wanted, "Put the files of one data set into the folder"));
        }
        check_labels(&part, count, &test_labels_at, basis)?;
        test = Some(part);
    }
    let classes = match named {
        Some(names) => names,
        None if train.digest(shape) == FASHION_MNIST => FASHION_CLASSES.map(str::to_owned).to_vec(),
        None => (0..count).map(|i| i.to_string()).collect(),
    };
    Ok(Raw { shape, classes, train, valid: None, test })
}

/// Images and labels of the part whose file names start with one of `prefixes`, with the path of the labels. `None` if
/// neither file is there.
fn read_part(folder: &Path, prefixes: &[&str]) -> Result<Option<(Part, [usize; 3], PathBuf)>, DataError> {
    let mut found = None;
    for prefix in prefixes {
        let locate = |what: &str, n: u8| {
            let names = [format!("{prefix}-{what}-idx{n}-ubyte"), format!("{prefix}-{what}.idx{n}-ubyte")];
            (source::find(folder, &[&names[0], &names[1]]), folder.join(&names[0]))
        };
        match (locate("images", 3), locate("labels", 1)) {
            ((Some(images), _), (Some(labels), _)) => found = found.or(Some((images, labels))),
            ((None, _), (None, _)) => {}
            ((Some(there), _), (None, absent)) | ((None, absent), (Some(there), _)) => {
                let wanted = format!("it, plain or as .gz, beside {}", there.display());
                return Err(DataError::missing(&absent, wanted, "Copy or download it too"));
            }
        }
    }
    let Some((images_at, labels_at)) = found else { return Ok(None) };

    let ([count, height, width], pixels) = read_file::<3>(&images_at)?;
    let ([labelled], labels) = read_file::<1>(&labels_at)?;
    if labelled != count {
        let found = format!("holds {labelled} labels");
        let wanted = format!("{count}, one for each image in {}", images_at.display());
        return Err(DataError::malformed(&labels_at, found, wanted, "Put the files of one data set into the folder"));
    }
    if count == 0 || height == 0 || width == 0 {
        let found = format!("holds {count} images of {height} x {width} pixels");
        return Err(DataError::malformed(&images_at, found, "at least one image of one pixel", FETCH_AGAIN));
    }
    let part = Part { pixels, labels: labels.into_iter().map(i64::from).collect() };
    Ok(Some((part, [1, height, width], labels_at)))
}

/// Sizes and values of a file with `N` dimensions of unsigned bytes.
fn read_file<const N: usize>(path: &Path) -> Result<([usize; N], Vec<u8>), DataError> {
    let mut source = Source::open(path)?;
    let wanted_start = format!("an IDX file of {N} dimensions of unsigned bytes, starting with 00 00 08 {N:02x}");
    let header = source.up_to(4 + 4 * N as u64)?;
    if header.len() < 4 + 4 * N {
        let found = format!("ends after {} bytes, within its header", header.len());
        return Err(DataError::malformed(path, found, wanted_start, FETCH_AGAIN));
    }
    if header[..4] != [0, 0, 8, N as u8] {
        let found = format!("starts with {:02x} {:02x} {:02x} {:02x}", header[0], header[1], header[2], header[3]);
        return Err(DataError::malformed(path, found, wanted_start, "Check that the file is what its name says"));
    }
    let mut sizes = [0; N];
    for (size, bytes) in sizes.iter_mut().zip(header[4..].chunks_exact(4)) {
        *size = bytes.iter().fold(0, |size, &b| size << 8 | usize::from(b));
    }
    let shown = sizes.map(|s| s.to_string()).join(" x ");
    let Some(expected) = sizes.iter().try_fold(1_u64, |product, &size| product.checked_mul(size as u64)) else {
        let found = format!("gives its size as {shown}");
        return Err(DataError::malformed(path, found, "a size that fits into memory", FETCH_AGAIN));
    };
    let values = source.up_to(expected.saturating_add(1))?;
    let wanted = format!("{expected} for its size of {shown}");
    match (values.len() as u64).cmp(&expected) {
        std::cmp::Ordering::Equal => Ok((sizes, values)),
        std::cmp::Ordering::Less => {
            let found = format!("is cut short: it holds {} values", values.len());
            Err(DataError::malformed(path, found, wanted, FETCH_AGAIN))
        }
        std::cmp::Ordering::Greater => {
            Err(DataError::malformed(path, "holds more values than its header says", wanted, FETCH_AGAIN))
        }
    }
}

fn highest(part: &Part) -> i64 {
    part.labels.iter().copied().max().unwrap_or(0)
}

fn check_labels(part: &Part, count: i64, path: &Path, basis: &str) -> Result<(), DataError> {
    match part.labels.iter().position(|&label| label >= count) {
        None => Ok(()),
        Some(row) => {
            let found = format!("has the label {} at image {row} (counted from 0)", part.labels[row]);
            let wanted = format!("labels from 0 to {}, since {basis} {count} classes", count - 1);
            Err(DataError::malformed(path, found, wanted, "Check that all files are of the same data set"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dir, gzip, message};

    fn idx(sizes: &[u32], values: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, 8, sizes.len() as u8];
        bytes.extend(sizes.iter().flat_map(|s| s.to_be_bytes()));
        bytes.extend(values);
        bytes
    }

    /// Three training images of 2 x 3 pixels with classes 0, 1, 2; two test images.
    fn small(gz: bool) -> Dir {
        let dir = Dir::new();
        let pack = |bytes: Vec<u8>| if gz { gzip(&bytes) } else { bytes };
        let end = if gz { ".gz" } else { "" };
        let train: Vec<u8> = (0..18).collect();
        dir.file(&format!("train-images-idx3-ubyte{end}"), &pack(idx(&[3, 2, 3], &train)));
        dir.file(&format!("train-labels-idx1-ubyte{end}"), &pack(idx(&[3], &[0, 2, 1])));
        dir.file(&format!("t10k-images-idx3-ubyte{end}"), &pack(idx(&[2, 2, 3], &[7; 12])));
        dir.file(&format!("t10k-labels-idx1-ubyte{end}"), &pack(idx(&[2], &[1, 1])));
        dir
    }

    #[test]
    fn plain_and_gzipped_files_read_the_same() {
        let (plain, packed) = (small(false), small(true));
        let (a, b) = (read(plain.path()).unwrap(), read(packed.path()).unwrap());
        assert_eq!(a.shape, [1, 2, 3]);
        assert_eq!(a.train.pixels, (0..18).collect::<Vec<u8>>());
        assert_eq!(a.train.labels, [0, 2, 1]);
        assert_eq!(a.test.as_ref().unwrap().labels, [1, 1]);
        assert_eq!(a.classes, ["0", "1", "2"]);
        assert_eq!(a.digest(), b.digest());
    }

    #[test]
    fn the_digest_sees_every_pixel_and_label() {
        let dir = small(false);
        let before = read(dir.path()).unwrap().digest();
        dir.file("t10k-labels-idx1-ubyte", &idx(&[2], &[1, 0]));
        let labels = read(dir.path()).unwrap().digest();
        dir.file("t10k-images-idx3-ubyte", &idx(&[2, 2, 3], &[8; 12]));
        let pixels = read(dir.path()).unwrap().digest();
        assert!(before != labels && labels != pixels);
    }

    #[test]
    fn classes_txt_names_the_classes_and_bounds_the_labels() {
        let dir = small(false);
        dir.file("classes.txt", b"sock\nhat\n\nglove\n");
        assert_eq!(read(dir.path()).unwrap().classes, ["sock", "hat", "glove"]);
        dir.file("classes.txt", b"sock\nhat\n");
        let text = message(read(dir.path()));
        assert!(text.contains("train-labels-idx1-ubyte has the label 2 at image 1"), "{text}");
        assert!(text.contains("labels from 0 to 1"), "{text}");
    }

    #[test]
    fn without_a_test_part_there_is_none() {
        let dir = small(false);
        dir.remove("t10k-images-idx3-ubyte");
        dir.remove("t10k-labels-idx1-ubyte");
        assert!(read(dir.path()).unwrap().test.is_none());
    }

    #[test]
    fn truncated_values() {
        let dir = small(false);
        dir.file("train-images-idx3-ubyte", &idx(&[3, 2, 3], &[0; 17]));
        let text = message(read(dir.path()));
        assert!(text.contains("train-images-idx3-ubyte is cut short: it holds 17 values"), "{text}");
        assert!(text.contains("expected 18 for its size of 3 x 2 x 3"), "{text}");
    }

    #[test]
    fn too_many_values() {
        let dir = small(false);
        dir.file("train-images-idx3-ubyte", &idx(&[3, 2, 3], &[0; 19]));
        assert!(message(read(dir.path())).contains("holds more values than its header says; expected 18"));
    }

    #[test]
    fn truncated_header_and_empty_file() {
        let dir = small(false);
        dir.file("train-labels-idx1-ubyte", &[0, 0, 8, 1, 0, 0]);
        assert!(message(read(dir.path())).contains("ends after 6 bytes, within its header"));
        dir.file("train-labels-idx1-ubyte", &[]);
        assert!(message(read(dir.path())).contains("ends after 0 bytes"));
    }

    #[test]
    fn wrong_magic() {
        let dir = small(false);
        dir.file("train-images-idx3-ubyte", b"<html>not found, and more of it</html>");
        let text = message(read(dir.path()));
        assert!(text.contains("starts with 3c 68 74 6d; expected an IDX file of 3 dimensions"), "{text}");
        // Labels where images should be.
        dir.file("train-images-idx3-ubyte", &idx(&[3], &[0; 40]));
        assert!(message(read(dir.path())).contains("starts with 00 00 08 01"));
    }

    #[test]
    fn a_header_that_lies_asks_for_no_memory() {
        let dir = small(false);
        dir.file("train-images-idx3-ubyte", &idx(&[u32::MAX, 60_000, 60_000], &[0; 9]));
        assert!(message(read(dir.path())).contains("is cut short: it holds 9 values"));
        dir.file("train-images-idx3-ubyte", &idx(&[u32::MAX, u32::MAX, u32::MAX], &[0; 9]));
        assert!(message(read(dir.path())).contains("expected a size that fits into memory"));
    }

    #[test]
    fn torn_and_damaged_gzip() {
        let dir = small(true);
        let whole = std::fs::read(dir.path().join("train-images-idx3-ubyte.gz")).unwrap();
        dir.file("train-images-idx3-ubyte.gz", &whole[..whole.len() - 12]);
        let text = message(read(dir.path()));
        assert!(text.contains("train-images-idx3-ubyte.gz is a gzip file that is cut short or damaged"), "{text}");
        // The checksum at the end must be looked at, although all values are there.
        let mut wrong = whole.clone();
        let at = wrong.len() - 8;
        wrong[at] ^= 1;
        dir.file("train-images-idx3-ubyte.gz", &wrong);
        assert!(message(read(dir.path())).contains("cut short or damaged"));
    }

    #[test]
    fn counts_must_agree() {
        let dir = small(false);
        dir.file("train-labels-idx1-ubyte", &idx(&[2], &[0, 1]));
        let text = message(read(dir.path()));
        assert!(text.contains("train-labels-idx1-ubyte holds 2 labels; expected 3, one for each image in"), "{text}");
    }

    #[test]
    fn missing_files_are_named() {
        let dir = Dir::new();
        assert!(message(read(dir.path())).contains("train-images-idx3-ubyte is missing"));
        let dir = small(true);
        dir.remove("t10k-labels-idx1-ubyte.gz");
        let text = message(read(dir.path()));
        assert!(text.contains("t10k-labels-idx1-ubyte is missing") && text.contains("beside"), "{text}");
    }

    #[test]
    fn parts_must_have_one_image_size() {
        let dir = small(false);
        dir.file("t10k-images-idx3-ubyte", &idx(&[2, 3, 2], &[7; 12]));
        assert!(message(read(dir.path())).contains("holds images of 3 x 2 pixels; expected 2 x 3"));
    }

    #[test]
    fn a_test_label_unknown_to_training_is_refused() {
        let dir = small(false);
        dir.file("t10k-labels-idx1-ubyte", &idx(&[2], &[1, 3]));
        let text = message(read(dir.path()));
        assert!(text.contains("has the label 3 at image 1") && text.contains("the training labels have 3"), "{text}");
    }
}
