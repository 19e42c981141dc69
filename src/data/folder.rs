//! A folder of PNG and JPEG images, one sub-folder a class.
//!
//! Either the classes lie in the folder itself, or in `train/` with further parts beside it: `test/` holds the test
//! images, `val/` (or `valid/`, `validation/`) the validation images; `val/` without `test/` is the test part, as in sets
//! whose published results are measured on it. Class names are sub-folder names in alphabetical order. Names that start
//! with a dot and files with other endings are passed over. Every image becomes RGB, is scaled until it covers a square
//! of the wanted side, and cut to it about its centre.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader};

use crate::DataError;
use crate::part::{Part, Raw};

const ENDINGS: [&str; 3] = ["png", "jpg", "jpeg"];

pub(crate) fn read(folder: &Path, side: usize) -> Result<Raw, DataError> {
    let below = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_dir());
    let train_at = below(&["train"]);
    let (mut valid_at, mut test_at) = (None, None);
    if train_at.is_some() {
        (valid_at, test_at) = (below(&["val", "valid", "validation"]), below(&["test"]));
        if test_at.is_none() {
            test_at = valid_at.take();
        }
    }
    let train_at = train_at.unwrap_or_else(|| folder.to_owned());
    let classes = sub_folders(&train_at)?;
    if classes.len() < 2 {
        let found = format!("has {} sub-folders", classes.len());
        let wanted = "at least two, one for each class, with PNG or JPEG images in them";
        return Err(DataError::malformed(&train_at, found, wanted, "Check the path of the data set"));
    }
    let train = read_part(&train_at, &classes, side, true)?;
    let part = |at: Option<PathBuf>| at.map(|at| read_part(&at, &classes, side, false)).transpose();
    Ok(Raw { shape: [3, side, side], train, valid: part(valid_at)?, test: part(test_at)?, classes })
}

/// Images of one part. The training part must show every class; the others may leave some out, but may not add any.
fn read_part(folder: &Path, classes: &[String], side: usize, all_classes: bool) -> Result<Part, DataError> {
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for class in sub_folders(folder)? {
        let at = folder.join(&class);
        let Some(label) = classes.iter().position(|known| *known == class) else {
            let wanted = "the classes of the training images only";
            let advice = "Rename the folder, or add the class to the training images";
            return Err(DataError::malformed(&at, "is a class that the training images do not have", wanted, advice));
        };
        let images = images(&at)?;
        if images.is_empty() && all_classes {
            let advice = "Put images into it, or remove the folder";
            return Err(DataError::malformed(&at, "holds no image", "PNG or JPEG images of that class", advice));
        }
        labels.extend(std::iter::repeat_n(label as i64, images.len()));
        files.extend(images);
    }
    if files.is_empty() {
        let wanted = "PNG or JPEG images in one sub-folder for each class";
        return Err(DataError::malformed(folder, "holds no image", wanted, "Put images into it, or remove the folder"));
    }
    Ok(Part { pixels: decode_all(&files, side)?, labels })
}

/// Decodes on all cores; of several bad files the first in order is reported.
fn decode_all(files: &[PathBuf], side: usize) -> Result<Vec<u8>, DataError> {
    let size = 3 * side * side;
    let mut pixels = vec![0; files.len() * size];
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let share = files.len().div_ceil(threads).max(1);
    let outcome = std::thread::scope(|scope| {
        let shares = files.chunks(share).zip(pixels.chunks_mut(share * size));
        let workers: Vec<_> = shares
            .map(|(files, slots)| {
                scope.spawn(move || {
                    files.iter().zip(slots.chunks_mut(size)).try_for_each(|(file, slot)| decode(file, side, slot))
                })
            })
            .collect();
        let joined = workers.into_iter().map(|w| w.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        joined.collect::<Vec<_>>().into_iter().collect::<Result<(), DataError>>()
    });
    outcome.map(|()| pixels)
}

/// One image as three planes of `side` x `side`, into `slot`.
fn decode(file: &Path, side: usize, slot: &mut [u8]) -> Result<(), DataError> {
    let unreadable = |e: io::Error| DataError::unreadable(file, e);
    // Told by its content: a JPEG that someone named .png is still an image.
    let reader = ImageReader::open(file).and_then(ImageReader::with_guessed_format).map_err(unreadable)?;
    let decoded = reader.decode().map_err(|e| {
        let found = format!("is not an image that can be read ({e})");
        DataError::malformed(file, found, "a whole PNG or JPEG image", "Replace it or take it out of the folder")
    })?;
    let covering = match (decoded.width() as usize, decoded.height() as usize) {
        (width, height) if width == side && height == side => decoded,
        _ => decoded.resize_to_fill(side as u32, side as u32, FilterType::Triangle),
    };
    let (planes, rgb) = (side * side, DynamicImage::to_rgb8(&covering));
    for (i, pixel) in rgb.pixels().enumerate().take(planes) {
        for (channel, value) in pixel.0.into_iter().enumerate() {
            slot[channel * planes + i] = value;
        }
    }
    Ok(())
}

/// Names of the folders in `folder`, sorted.
fn sub_folders(folder: &Path) -> Result<Vec<String>, DataError> {
    let names = entries(folder)?.into_iter().filter(|path| path.is_dir());
    Ok(names.filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned())).collect())
}

/// Image files in `folder`, sorted.
fn images(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_image = |path: &PathBuf| {
        let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        ending.is_some_and(|e| ENDINGS.contains(&e.as_str())) && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_image).collect())
}

/// What lies in `folder`, sorted, without names that start with a dot.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => {
            let wanted = "a folder with one sub-folder of PNG or JPEG images for each class";
            DataError::missing(folder, wanted, "Check the path of the data set")
        }
        _ => DataError::unreadable(folder, e),
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Dir, message};
    use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};

    fn save(dir: &Dir, name: &str, image: DynamicImage, format: ImageFormat) {
        let mut bytes = io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, format).unwrap();
        dir.file(name, bytes.get_ref());
    }

    fn plain(width: u32, height: u32, colour: [u8; 3]) -> DynamicImage {
        RgbImage::from_pixel(width, height, Rgb(colour)).into()
    }

    fn two_classes() -> Dir {
        let dir = Dir::new();
        save(&dir, "cat/1.png", plain(4, 4, [10, 20, 30]), ImageFormat::Png);
        save(&dir, "ant/b.JPEG", plain(8, 8, [200, 200, 200]), ImageFormat::Jpeg);
        save(&dir, "ant/a.png", GrayImage::from_pixel(4, 4, Luma([7])).into(), ImageFormat::Png);
        dir
    }

    #[test]
    fn classes_and_files_come_in_order_as_planes() {
        let dir = two_classes();
        dir.file("ant/notes.txt", b"no image");
        dir.file(".cache/x.png", b"hidden");
        let raw = read(dir.path(), 4).unwrap();
        assert_eq!((raw.shape, raw.classes.as_slice()), ([3, 4, 4], ["ant".to_owned(), "cat".to_owned()].as_slice()));
        assert_eq!(raw.train.labels, [0, 0, 1]);
        assert!(raw.train.pixels[..48].iter().all(|&p| p == 7), "a grey image fills all three planes");
        assert!(raw.train.pixels[48..96].iter().all(|&p| p.abs_diff(200) <= 1), "a JPEG, scaled down");
        let planes: Vec<u8> = raw.train.pixels[96..].chunks(16).map(|plane| plane[5]).collect();
        assert_eq!(planes, [10, 20, 30]);
    }

    #[test]
    fn rows_stay_rows() {
        let dir = two_classes();
        let image = RgbImage::from_fn(4, 4, |x, y| Rgb([x as u8, 10 * y as u8, 0]));
        save(&dir, "cat/0.png", image.into(), ImageFormat::Png);
        let raw = read(dir.path(), 4).unwrap();
        let cat = &raw.train.pixels[96..144];
        assert_eq!(cat[..5], [0, 1, 2, 3, 0]);
        assert_eq!(cat[16..21], [0, 0, 0, 0, 10]);
    }

    #[test]
    fn oblong_images_are_cut_about_their_centre() {
        let dir = two_classes();
        // 12 x 4: red, green and blue squares side by side; the green one stays.
        let image = RgbImage::from_fn(12, 4, |x, _| match x / 4 {
            0 => Rgb([255, 0, 0]),
            1 => Rgb([0, 255, 0]),
            _ => Rgb([0, 0, 255]),
        });
        save(&dir, "cat/0.png", image.into(), ImageFormat::Png);
        let cat = &read(dir.path(), 4).unwrap().train.pixels[96..144];
        assert!(cat[..16].iter().all(|&r| r == 0) && cat[16..32].iter().all(|&g| g == 255), "{cat:?}");
    }

    #[test]
    fn parts_in_sub_folders() {
        let dir = Dir::new();
        for (i, name) in ["train/a/1", "train/b/1", "val/a/1", "val/b/1", "val/b/2"].iter().enumerate() {
            save(&dir, &format!("{name}.png"), plain(4, 4, [i as u8; 3]), ImageFormat::Png);
        }
        let raw = read(dir.path(), 4).unwrap();
        assert_eq!((raw.train.len(), raw.valid.is_none(), raw.test.unwrap().labels), (2, true, vec![0, 1, 1]));
        save(&dir, "test/b/1.png", plain(4, 4, [9; 3]), ImageFormat::Png);
        let raw = read(dir.path(), 4).unwrap();
        assert_eq!((raw.valid.unwrap().len(), raw.test.unwrap().labels), (3, vec![1]));
    }

    #[test]
    fn a_png_that_is_none() {
        let dir = two_classes();
        dir.file("cat/2.png", b"<html>404</html>");
        let text = message(read(dir.path(), 4));
        assert!(text.contains("cat/2.png is not an image that can be read"), "{text}");
        assert!(text.contains("expected a whole PNG or JPEG image. Replace it"), "{text}");
    }

    #[test]
    fn a_torn_png_and_an_empty_file() {
        let dir = two_classes();
        let whole = fs::read(dir.path().join("cat/1.png")).unwrap();
        dir.file("cat/1.png", &whole[..whole.len() / 2]);
        assert!(message(read(dir.path(), 4)).contains("cat/1.png is not an image that can be read"));
        dir.file("cat/1.png", &[]);
        assert!(message(read(dir.path(), 4)).contains("cat/1.png is not an image that can be read"));
    }

    #[test]
    fn the_first_bad_file_is_reported_whatever_the_threads_do() {
        let dir = two_classes();
        for i in 0..40 {
            dir.file(&format!("cat/{i:02}.png"), b"x");
        }
        for _ in 0..5 {
            assert!(message(read(dir.path(), 4)).contains("cat/00.png"));
        }
    }

    #[test]
    fn empty_and_missing_folders() {
        let dir = Dir::new();
        assert!(message(read(dir.path(), 4)).contains("has 0 sub-folders; expected at least two"));
        assert!(message(read(&dir.path().join("nowhere"), 4)).contains("nowhere is missing: expected a folder"));
        let dir = two_classes();
        fs::create_dir(dir.path().join("bee")).unwrap();
        assert!(message(read(dir.path(), 4)).contains("bee holds no image; expected PNG or JPEG"));
    }

    #[test]
    fn a_class_only_the_test_part_has() {
        let dir = Dir::new();
        for name in ["train/a/1.png", "train/b/1.png", "test/c/1.png"] {
            save(&dir, name, plain(4, 4, [0; 3]), ImageFormat::Png);
        }
        assert!(message(read(dir.path(), 4)).contains("test/c is a class that the training images do not have"));
    }
}
