//! From what a reader delivers to a split on the device.

use std::path::Path;

use kiln_torch::Generator;
use tch::{Device, Kind as Element, Tensor};

use crate::DataError;
use crate::part::{Part, Raw};
use crate::{cifar, digits, folder, idx};

/// Kinds of data sets on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// UCI handwritten digits, 8x8, as CSV: the file, or a folder with `digits.csv` or `digits.csv.gz`. No test part.
    Digits,
    /// IDX files as MNIST and Fashion-MNIST have them, plain or gzipped, in one folder; class names from `classes.txt`.
    Idx,
    /// CIFAR-10, binary version; some training batches may be absent.
    Cifar10,
    /// PNG and JPEG images in one sub-folder for each class, below `train/`, `val/`, `test/` if there are such.
    Folder,
}

/// What to read and how to split it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub kind: Kind,
    pub path: &'a Path,
    /// Training images; 0 takes all that validation (and test, see there) leaves.
    pub train: usize,
    /// Validation images: from the part that the set itself names so, else held out of the training images.
    pub valid: usize,
    /// Test images; 0 takes the whole test part. Held out of the training images where the set has no test part, and
    /// then 0 means none.
    pub test: usize,
    /// Side in pixels to which images of a folder are brought; other sets keep their size.
    pub side: usize,
    /// Seed of the split: equal seeds, equal split, on every device. It is drawn without regard to classes.
    pub seed: u64,
}

/// Images of one part of the split, with their labels. Row i of one belongs to row i of the other.
#[derive(Debug)]
pub struct Split {
    /// u8 `[n, c, h, w]`, 0 black to 255 white.
    pub images: Tensor,
    /// i64 `[n]`, from 0.
    pub labels: Tensor,
}

impl Split {
    pub fn len(&self) -> i64 {
        self.labels.size().first().copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn share(&self) -> Split {
        Split { images: self.images.shallow_clone(), labels: self.labels.shallow_clone() }
    }

    fn to_device(&self, device: Device) -> Result<Split, DataError> {
        Ok(Split { images: self.images.f_to_device(device)?, labels: self.labels.f_to_device(device)? })
    }
}

/// A data set on a device, split.
#[derive(Debug)]
pub struct DataSet {
    pub train: Split,
    pub valid: Split,
    /// May be empty: see [`Request::test`].
    pub test: Split,
    /// Names of the classes, by label.
    pub classes: Vec<String>,
    /// Channels, height, width.
    pub shape: [i64; 3],
    /// Mean of each channel over the training images of the split, with pixels scaled to 0..=1.
    pub mean: Vec<f32>,
    /// Standard deviation of the same; 1 for a channel that is the same everywhere.
    pub std: Vec<f32>,
    /// SHA-256 of the images and labels read (all of them, not only those of the split), in hexadecimal: the same
    /// for plain and gzipped files. For a folder it depends on the side, since that decides the pixels.
    pub digest: String,
    /// `image * scale + shift` is the normalised image: f32 `[1, c, 1, 1]` each.
    pub(crate) scale: Tensor,
    pub(crate) shift: Tensor,
}

impl DataSet {
    /// A data set from splits that are on one device already; mean and standard deviation are measured on `train`.
    ///
    /// # Errors
    /// Images that are not u8 `[n, c, h, w]` on a common device, or that the device cannot process.
    pub fn new(splits: [Split; 3], classes: Vec<String>, digest: String) -> Result<DataSet, DataError> {
        let [train, valid, test] = splits;
        let (_, channels, height, width) = train.images.size4()?;
        let (mean, std) = moments(&train.images)?;
        let device = train.images.device();
        let row = |values: Vec<f32>| Tensor::f_from_slice(&values)?.f_view([1, channels, 1, 1])?.f_to_device(device);
        let scale = row(std.iter().map(|s| 1.0 / (255.0 * s)).collect())?;
        let shift = row(mean.iter().zip(&std).map(|(m, s)| -m / s).collect())?;
        let shape = [channels, height, width];
        Ok(DataSet { train, valid, test, classes, shape, mean, std, digest, scale, shift })
    }

    /// The device that holds the images.
    pub fn device(&self) -> Device {
        self.train.images.device()
    }

    /// The same images for another thread, without copying them. Nobody may write to them.
    pub fn share(&self) -> DataSet {
        DataSet {
            train: self.train.share(),
            valid: self.valid.share(),
            test: self.test.share(),
            classes: self.classes.clone(),
            shape: self.shape,
            mean: self.mean.clone(),
            std: self.std.clone(),
            digest: self.digest.clone(),
            scale: self.scale.shallow_clone(),
            shift: self.shift.shallow_clone(),
        }
    }

    /// Gives a share of the training images, chosen at random, another label, uniform over the other classes. The choice is
    /// drawn on the CPU, so it is the same on every device. A set of one class stays as it is.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn with_label_noise(mut self, share: f64, seed: u64) -> Result<DataSet, DataError> {
        let (images, classes) = (self.train.len(), self.classes.len() as i64);
        let wrong = (share.clamp(0.0, 1.0) * images as f64).round() as i64;
        if wrong == 0 || classes < 2 {
            return Ok(self);
        }
        let device = self.device();
        let mut generator = Generator::new(seed, Device::Cpu)?;
        let rows = generator.randperm(images)?.f_narrow(0, 0, wrong)?;
        let further = generator.randint(classes - 1, &[wrong])?.f_add_scalar(1)?;
        let labels = self.train.labels.f_to_device(Device::Cpu)?;
        let others = labels.f_index_select(0, &rows)?.f_add(&further)?.f_remainder(classes)?;
        // Other sets may share the labels' memory: these are new.
        self.train.labels = labels.f_index_copy(0, &rows, &others)?.f_to_device(device)?;
        Ok(self)
    }

    /// The data set on another device.
    ///
    /// # Errors
    /// The device has no room, or is not there.
    pub fn to_device(&self, device: Device) -> Result<DataSet, DataError> {
        Ok(DataSet {
            train: self.train.to_device(device)?,
            valid: self.valid.to_device(device)?,
            test: self.test.to_device(device)?,
            scale: self.scale.f_to_device(device)?,
            shift: self.shift.f_to_device(device)?,
            ..self.share()
        })
    }
}

/// Reads, splits and moves to the device. The split is drawn on the CPU, so it is the same on every device.
///
/// # Errors
/// A file that is missing, damaged or at odds with the others; fewer images than asked for; no room on the device.
pub fn load(request: &Request, device: Device) -> Result<DataSet, DataError> {
    let raw = match request.kind {
        Kind::Digits => digits::read(request.path),
        Kind::Idx => idx::read(request.path),
        Kind::Cifar10 => cifar::read(request.path),
        Kind::Folder => folder::read(request.path, request.side.max(1)),
    }?;
    let digest = raw.digest();
    let rows = split(&raw, request)?;
    let valid_part = raw.valid.as_ref().unwrap_or(&raw.train);
    let test_part = raw.test.as_ref().unwrap_or(&raw.train);
    let splits = [
        tensors(&raw.train, &rows.train, raw.shape)?,
        tensors(valid_part, &rows.valid, raw.shape)?,
        tensors(test_part, &rows.test, raw.shape)?,
    ];
    DataSet::new(splits, raw.classes, digest)?.to_device(device)
}

/// Rows of the parts that each split takes.
#[derive(Debug, PartialEq)]
struct Rows {
    train: Vec<usize>,
    valid: Vec<usize>,
    test: Vec<usize>,
}

fn split(raw: &Raw, request: &Request) -> Result<Rows, DataError> {
    let mut generator = Generator::new(request.seed, Device::Cpu)?;
    let too_few = |part: &Part, name, wanted: String| DataError::TooFew {
        path: request.path.to_owned(),
        available: part.len(),
        part: name,
        wanted,
        advice: "Ask for fewer".to_owned(),
    };
    let mut pool = shuffled(&mut generator, raw.train.len())?;
    let held_valid = if raw.valid.is_none() { request.valid } else { 0 };
    let held_test = if raw.test.is_none() { request.test } else { 0 };
    let held = held_valid.saturating_add(held_test);
    if held.saturating_add(request.train.max(1)) > pool.len() {
        let mut wanted = match request.train {
            0 => "any to train on".to_owned(),
            n => format!("{n} to train on"),
        };
        for (count, name) in [(held_valid, "validation"), (held_test, "test")] {
            if count > 0 {
                wanted += &format!(" beside {count} held out for {name}");
            }
        }
        return Err(too_few(&raw.train, "training", wanted));
    }
    let mut valid: Vec<usize> = pool.drain(..held_valid).collect();
    let mut test: Vec<usize> = pool.drain(..held_test).collect();
    if request.train > 0 {
        pool.truncate(request.train);
    }
    if let Some(part) = &raw.valid {
        if request.valid > part.len() {
            return Err(too_few(part, "validation", format!("the {} asked for", request.valid)));
        }
        valid = shuffled(&mut generator, part.len())?;
        valid.truncate(request.valid);
    }
    if let Some(part) = &raw.test {
        if request.test > part.len() {
            return Err(too_few(part, "test", format!("the {} asked for", request.test)));
        }
        test = (0..part.len()).collect();
        if request.test > 0 {
            test = shuffled(&mut generator, part.len())?;
            test.truncate(request.test);
        }
    }
    Ok(Rows { train: pool, valid, test })
}

fn shuffled(generator: &mut Generator, n: usize) -> Result<Vec<usize>, DataError> {
    let order = Vec::<i64>::try_from(generator.randperm(n as i64)?)?;
    Ok(order.into_iter().map(|row| row as usize).collect())
}

/// These rows of a part as tensors on the CPU.
fn tensors(part: &Part, rows: &[usize], shape: [usize; 3]) -> Result<Split, DataError> {
    let size: usize = shape.iter().product();
    let mut pixels = Vec::with_capacity(rows.len() * size);
    for &row in rows {
        pixels.extend_from_slice(&part.pixels[row * size..(row + 1) * size]);
    }
    let labels: Vec<i64> = rows.iter().map(|&row| part.labels[row]).collect();
    let dims = [rows.len() as i64, shape[0] as i64, shape[1] as i64, shape[2] as i64];
    let images = match rows.is_empty() {
        // libtorch has no memory of its own to copy nothing to.
        true => Tensor::f_empty(dims, (Element::Uint8, Device::Cpu))?,
        false => Tensor::f_from_data_size(&pixels, &dims, Element::Uint8)?,
    };
    let labels = match rows.is_empty() {
        true => Tensor::f_empty([0], (Element::Int64, Device::Cpu))?,
        false => Tensor::f_from_slice(&labels)?,
    };
    Ok(Split { images, labels })
}

/// Mean and standard deviation of each channel, of pixels scaled to 0..=1. Sums of bytes are whole numbers, so the result
/// is the same on every device and for every order of the images.
fn moments(images: &Tensor) -> Result<(Vec<f32>, Vec<f32>), DataError> {
    let (_, channels, _, _) = images.size4()?;
    let (mut means, mut stds) = (Vec::new(), Vec::new());
    for channel in 0..channels {
        let plane = images.f_select(1, channel)?;
        // Counting the 256 values takes 2 kB; squaring as i64 would take eight times the images.
        let counts = plane.f_reshape([-1])?.f_bincount(None::<&Tensor>, 256)?;
        let counts = Vec::<i64>::try_from(counts)?;
        let total: i64 = counts.iter().sum();
        let sum: i64 = counts.iter().enumerate().map(|(value, n)| value as i64 * n).sum();
        let squares: i64 = counts.iter().enumerate().map(|(value, n)| (value * value) as i64 * n).sum();
        let n = total.max(1) as f64;
        let mean = sum as f64 / n;
        let std = (squares as f64 / n - mean * mean).max(0.0).sqrt();
        means.push((mean / 255.0) as f32);
        stds.push(if std > 0.0 { (std / 255.0) as f32 } else { 1.0 });
    }
    Ok((means, stds))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::testing::{Dir, message, real};

    /// Digits file of `n` lines, whose pixels are all equal and tell the lines apart up to 17 of them.
    fn digits(n: usize) -> Dir {
        let dir = Dir::new();
        let text: String = (0..n).map(|i| format!("{}{}\n", format!("{},", i % 17).repeat(64), i % 10)).collect();
        dir.file("digits.csv", text.as_bytes());
        dir
    }

    fn request(dir: &Dir) -> Request<'_> {
        Request { kind: Kind::Digits, path: dir.path(), train: 0, valid: 4, test: 3, side: 0, seed: 1 }
    }

    fn pixels(split: &Split) -> Vec<i64> {
        Vec::<i64>::try_from(split.images.select(1, 0).select(1, 0).select(1, 0).to_kind(Element::Int64)).unwrap()
    }

    #[test]
    fn every_image_lands_in_one_split() {
        let dir = digits(17);
        let set = load(&request(&dir), Device::Cpu).unwrap();
        assert_eq!((set.train.len(), set.valid.len(), set.test.len()), (10, 4, 3));
        assert_eq!(set.train.images.size(), [10, 1, 8, 8]);
        assert_eq!((set.shape, set.device(), set.classes.len()), ([1, 8, 8], Device::Cpu, 10));
        let all: HashSet<i64> = [&set.train, &set.valid, &set.test].into_iter().flat_map(pixels).collect();
        assert_eq!(all.len(), 17);
    }

    #[test]
    fn labels_stay_with_their_images() {
        let dir = digits(17);
        let set = load(&request(&dir), Device::Cpu).unwrap();
        for split in [&set.train, &set.valid, &set.test] {
            let labels = Vec::<i64>::try_from(&split.labels).unwrap();
            for (pixel, label) in pixels(split).into_iter().zip(labels) {
                assert_eq!((pixel * 16 + 127) / 255 % 10, label);
            }
        }
    }

    #[test]
    fn the_seed_alone_decides_the_split() {
        let dir = digits(17);
        let of = |seed| pixels(&load(&Request { seed, ..request(&dir) }, Device::Cpu).unwrap().train);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn fewer_training_images_leave_the_held_out_ones_as_they_are() {
        let dir = digits(17);
        let all = load(&request(&dir), Device::Cpu).unwrap();
        let some = load(&Request { train: 5, ..request(&dir) }, Device::Cpu).unwrap();
        assert_eq!(some.train.len(), 5);
        assert_eq!((pixels(&some.valid), pixels(&some.test)), (pixels(&all.valid), pixels(&all.test)));
        assert_eq!(some.digest, all.digest);
    }

    #[test]
    fn asking_for_too_many_says_how_many_there_are() {
        let dir = digits(17);
        let text = message(load(&Request { train: 11, ..request(&dir) }, Device::Cpu));
        assert!(text.contains("has 17 training images, not enough for 11 to train on beside 4 held out"), "{text}");
        assert!(text.contains("for validation beside 3 held out for test. Ask for fewer"), "{text}");
        let text = message(load(&Request { valid: 14, ..request(&dir) }, Device::Cpu));
        assert!(text.contains("not enough for any to train on beside 14 held out"), "{text}");
        assert!(load(&Request { valid: usize::MAX, ..request(&dir) }, Device::Cpu).is_err());
    }

    #[test]
    fn without_a_test_part_none_asked_for_is_none() {
        let dir = digits(17);
        let set = load(&Request { test: 0, ..request(&dir) }, Device::Cpu).unwrap();
        assert!(set.test.is_empty());
        assert_eq!((set.test.images.size(), set.train.len()), (vec![0, 1, 8, 8], 13));
    }

    fn two_records(dir: &Dir, name: &str, first: u8) {
        let record = |label: u8, grey: u8| [vec![label], vec![grey; 3072]].concat();
        dir.file(name, &[record(0, first), record(1, first + 1)].concat());
    }

    #[test]
    fn a_test_part_of_its_own_is_taken_whole_in_order_or_in_part() {
        let dir = Dir::new();
        two_records(&dir, "data_batch_1.bin", 10);
        two_records(&dir, "test_batch.bin", 20);
        let ask = Request { kind: Kind::Cifar10, path: dir.path(), train: 0, valid: 1, test: 0, side: 0, seed: 3 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!(pixels(&set.test), [20, 21]);
        assert_eq!((set.train.len(), set.valid.len()), (1, 1));
        assert_eq!(load(&Request { test: 1, ..ask }, Device::Cpu).unwrap().test.len(), 1);
        let text = message(load(&Request { test: 3, ..ask }, Device::Cpu));
        assert!(text.contains("has 2 test images, not enough for the 3 asked for"), "{text}");
    }

    #[test]
    fn a_validation_part_of_its_own_leaves_the_training_images_alone() {
        let part = |grey: u8, n: usize| Part { pixels: vec![grey; n], labels: vec![0; n] };
        let raw = Raw {
            shape: [1, 1, 1],
            classes: vec!["a".into()],
            train: part(1, 4),
            valid: Some(part(2, 3)),
            test: Some(part(3, 2)),
        };
        let ask = Request { kind: Kind::Folder, path: Path::new("x"), train: 0, valid: 2, test: 0, side: 1, seed: 1 };
        let rows = split(&raw, &ask).unwrap();
        assert_eq!((rows.train.len(), rows.valid.len(), rows.test), (4, 2, vec![0, 1]));
        assert!(message(split(&raw, &Request { valid: 4, ..ask })).contains("has 3 validation images"));
    }

    #[test]
    fn moments_by_hand() {
        // Channel 0 holds 0, 51, 102, 153: mean 76.5, variance 51^2 * 1.25. Channel 1 is the same everywhere.
        let images = Tensor::from_slice(&[0_u8, 51, 9, 9, 102, 153, 9, 9]).view([2, 2, 1, 2]);
        let (mean, std) = moments(&images).unwrap();
        assert!((mean[0] - 0.3).abs() < 1e-7 && (std[0] - 0.2 * 1.25_f32.sqrt()).abs() < 1e-7, "{mean:?} {std:?}");
        assert_eq!((mean[1], std[1]), (9.0 / 255.0, 1.0));
    }

    #[test]
    fn a_shared_set_is_the_same_memory() {
        let dir = digits(17);
        let set = load(&request(&dir), Device::Cpu).unwrap();
        let other = set.share();
        assert_eq!(other.train.images.data_ptr(), set.train.images.data_ptr());
        assert_eq!(other.digest, set.digest);
        assert_eq!(set.to_device(Device::Cpu).unwrap().test.len(), 3);
    }

    fn shipped(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets").join(name)
    }

    #[test]
    fn shipped_digits() {
        let path = shipped("digits");
        let ask = Request { kind: Kind::Digits, path: &path, train: 576, valid: 1000, test: 221, side: 0, seed: 1 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!((set.train.len(), set.valid.len(), set.test.len()), (576, 1000, 221));
        let all = Tensor::cat(&[&set.train.labels, &set.valid.labels, &set.test.labels], 0);
        let counts = Vec::<i64>::try_from(all.bincount(None::<&Tensor>, 10)).unwrap();
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    }

    #[test]
    fn shipped_fashion_mnist_is_balanced_and_named() {
        let path = shipped("fashion-mnist");
        let ask = Request { kind: Kind::Idx, path: &path, train: 0, valid: 0, test: 0, side: 0, seed: 1 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!((set.shape, set.classes[0].as_str()), ([1, 28, 28], "T-shirt/top"));
        for (split, each) in [(&set.train, 500), (&set.test, 100)] {
            let counts = Vec::<i64>::try_from(split.labels.bincount(None::<&Tensor>, 10)).unwrap();
            assert_eq!(counts, [each; 10]);
        }
        // A tenth of the whole set has nearly its moments.
        assert!(
            (set.mean[0] - 0.2860).abs() < 0.01 && (set.std[0] - 0.3530).abs() < 0.01,
            "{:?} {:?}",
            set.mean,
            set.std
        );
    }

    #[test]
    fn real_digits() {
        let Some(path) = real("digits-8x8") else { return };
        let ask = Request { kind: Kind::Digits, path: &path, train: 576, valid: 1197, test: 24, side: 0, seed: 1 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!((set.train.len(), set.valid.len(), set.test.len()), (576, 1197, 24));
        assert_eq!(set.shape, [1, 8, 8]);
    }

    #[test]
    fn real_fashion_mnist() {
        let Some(path) = real("fashion-mnist") else { return };
        let ask = Request { kind: Kind::Idx, path: &path, train: 0, valid: 0, test: 0, side: 0, seed: 1 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!((set.train.len(), set.test.len(), set.shape), (60_000, 10_000, [1, 28, 28]));
        assert_eq!(set.classes[9], "Ankle boot");
        // The moments that its authors and users publish.
        assert!(
            (set.mean[0] - 0.2860).abs() < 5e-5 && (set.std[0] - 0.3530).abs() < 5e-5,
            "{:?} {:?}",
            set.mean,
            set.std
        );
        let counts = Vec::<i64>::try_from(set.train.labels.bincount(None::<&Tensor>, 10)).unwrap();
        assert_eq!(counts, [6000; 10]);
    }

    #[test]
    fn real_cifar_10() {
        let Some(path) = real("cifar-10-batches-bin-subset") else { return };
        let ask = Request { kind: Kind::Cifar10, path: &path, train: 0, valid: 5000, test: 0, side: 0, seed: 1 };
        let set = load(&ask, Device::Cpu).unwrap();
        assert_eq!((set.train.len(), set.valid.len(), set.test.len()), (15_000, 5_000, 10_000));
        assert_eq!((set.shape, set.classes[9].as_str()), ([3, 32, 32], "truck"));
        for (mean, known) in set.mean.iter().zip([0.49140, 0.48216, 0.44653]) {
            assert!((mean - known).abs() < 0.01, "{:?}", set.mean);
        }
    }

    #[test]
    fn real_photographs() {
        let Some(path) = real("facades-subset") else { return };
        // Folders train, val and test of JPEG images without classes: refused with a sentence.
        let ask = Request { kind: Kind::Folder, path: &path, train: 0, valid: 10, test: 0, side: 32, seed: 1 };
        assert!(message(load(&ask, Device::Cpu)).contains("has 0 sub-folders; expected at least two"));
    }

    #[test]
    fn label_noise_changes_that_many_training_labels_and_nothing_else() {
        let split = |n: i64| Split {
            images: Tensor::zeros([n, 1, 2, 2], (Element::Uint8, Device::Cpu)),
            labels: Tensor::arange(n, (Element::Int64, Device::Cpu)).remainder(4),
        };
        let classes: Vec<String> = (0..4).map(|c| c.to_string()).collect();
        let clean = DataSet::new([split(200), split(8), split(8)], classes, "none".into()).unwrap();
        let noisy = |share, seed| clean.share().with_label_noise(share, seed).unwrap();
        let labels = |set: &DataSet| Vec::<i64>::try_from(&set.train.labels).unwrap();
        let own = noisy(0.3, 1);
        let changed = labels(&own).iter().zip(labels(&clean)).filter(|(a, b)| **a != *b).count();
        assert_eq!(changed, 60, "none of them by chance its own label again");
        assert!(labels(&own).iter().all(|label| (0..4).contains(label)));
        assert_eq!(own.valid.labels, clean.valid.labels);
        assert_eq!(labels(&own), labels(&noisy(0.3, 1)));
        assert_ne!(labels(&own), labels(&noisy(0.3, 2)));
        assert_eq!(labels(&noisy(0.0, 1)), labels(&clean));
        assert_eq!(
            labels(&clean),
            Vec::<i64>::try_from(&split(200).labels).unwrap(),
            "shared memory is not written to"
        );
    }
}
