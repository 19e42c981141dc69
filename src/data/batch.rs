//! Batches, put together where the images lie. Nothing here waits for the device.

use kiln_torch::Generator;
use tch::{Kind, Tensor};

use crate::{DataError, DataSet, Split};

/// Random changes of training images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Augment {
    /// Crops of the old size at a random place of the image with this many black pixels around it; 0 for none.
    pub crop_pad: i64,
    /// Mirrors left to right, every second image on average.
    pub flip: bool,
    /// Turns about the middle by up to this many degrees either way, to the nearest pixel, black beyond the border.
    pub rotate: f64,
}

impl Augment {
    /// Whether images stay as they are.
    pub fn is_none(&self) -> bool {
        self.crop_pad <= 0 && !self.flip && self.rotate <= 0.0
    }
}

/// The images and labels of these rows of a split: f32 `[b, c, h, w]` with the mean 0 and standard deviation 1 of the
/// training images, and i64 `[b]`. `index` is i64 `[b]` on the device of the set.
///
/// With an [`Augment`], draws come from its generator, which must be of the same device: rows, columns, mirrorings,
/// angles, in that order and only where needed. So equal generators give equal batches.
///
/// # Errors
/// A row that does not exist (on the CPU), tensors of different devices, or no memory left.
pub fn batch(
    set: &DataSet,
    split: &Split,
    index: &Tensor,
    augment: Option<(&Augment, &mut Generator)>,
) -> Result<(Tensor, Tensor), DataError> {
    let mut images = split.images.f_index_select(0, index)?;
    let labels = split.labels.f_index_select(0, index)?;
    if let Some((augment, generator)) = augment {
        images = apply(augment, images, generator)?;
    }
    Ok((normalise(set, &images)?, labels))
}

/// The images and labels of the `len` rows from `start` on (fewer at the end), as [`batch`] gives them. For evaluation:
/// nothing is gathered.
///
/// # Errors
/// A start behind the last row, or no memory left.
pub fn range(set: &DataSet, split: &Split, start: i64, len: i64) -> Result<(Tensor, Tensor), DataError> {
    let len = len.min(split.len() - start);
    let images = split.images.f_narrow(0, start, len)?;
    Ok((normalise(set, &images)?, split.labels.f_narrow(0, start, len)?))
}

fn normalise(set: &DataSet, images: &Tensor) -> Result<Tensor, DataError> {
    Ok(images.f_to_kind(Kind::Float)?.f_mul_(&set.scale)?.f_add_(&set.shift)?)
}

/// Crops, mirrors and turns with one gather: each pixel of the result knows its place in the (padded) image.
fn apply(augment: &Augment, images: Tensor, generator: &mut Generator) -> Result<Tensor, DataError> {
    if augment.is_none() {
        return Ok(images);
    }
    let (count, channels, height, width) = images.size4()?;
    let pad = augment.crop_pad.max(0);
    let whole = (Kind::Int64, images.device());
    let mut rows = Tensor::f_arange(height, whole)?.f_view([1, height, 1])?;
    let mut columns = Tensor::f_arange(width, whole)?.f_view([1, 1, width])?;
    let mut at = None;
    if pad > 0 {
        let row = generator.randint(2 * pad + 1, &[count, 1, 1])?;
        at = Some((row, generator.randint(2 * pad + 1, &[count, 1, 1])?));
    }
    let mirrored = if augment.flip { Some(generator.randint(2, &[count, 1, 1])?) } else { None };
    let mut inside = None;
    if augment.rotate > 0.0 {
        let turned = turned(&rows, &columns, augment.rotate, count, generator)?;
        (rows, columns) = (turned.0, turned.1);
        inside = Some(turned.2);
    }
    if let Some(mirrored) = mirrored {
        // Mirrored (1): width - 1 - x in place of x, that is x + 1 * (width - 1 - 2 x).
        let turn = columns.f_mul_scalar(-2)?.f_add_scalar(width - 1)?;
        columns = columns.f_add(&mirrored.f_mul(&turn)?)?;
    }
    if let Some((row, column)) = at {
        rows = rows.f_add(&row)?;
        columns = columns.f_add(&column)?;
    }
    let padded = if pad > 0 { images.f_constant_pad_nd([pad, pad, pad, pad])? } else { images };
    let place = rows.f_mul_scalar(width + 2 * pad)?.f_add(&columns)?;
    let place = place.f_view([count, 1, height * width])?.f_expand([count, channels, height * width], false)?;
    let flat = padded.f_view([count, channels, (height + 2 * pad) * (width + 2 * pad)])?;
    let gathered = flat.f_gather(2, &place, false)?.f_view([count, channels, height, width])?;
    Ok(match inside {
        Some(inside) => gathered.f_mul(&inside.f_to_kind(gathered.kind())?.f_view([count, 1, height, width])?)?,
        None => gathered,
    })
}

/// Where each pixel `(row, column)` of images turned by random angles comes from, to the nearest pixel and clamped to the
/// image, and whether it comes from within: i64, i64 and bool `[count, height, width]`.
fn turned(
    rows: &Tensor,
    columns: &Tensor,
    degrees: f64,
    count: i64,
    generator: &mut Generator,
) -> Result<(Tensor, Tensor, Tensor), DataError> {
    let (height, width) = (rows.size()[1], columns.size()[2]);
    let float = (Kind::Float, rows.device());
    let mut angle = Tensor::f_empty([count, 1, 1], float)?;
    let most = degrees.to_radians();
    generator.uniform_(&mut angle, -most, most)?;
    let (cos, sin) = (angle.f_cos()?, angle.f_sin()?);
    let middle = |side: i64| (side - 1) as f64 / 2.0;
    let y = rows.f_to_kind(Kind::Float)?.f_sub_scalar(middle(height))?;
    let x = columns.f_to_kind(Kind::Float)?.f_sub_scalar(middle(width))?;
    let source = |along: Tensor, across: Tensor, side: i64| -> Result<(Tensor, Tensor), DataError> {
        let at = along.f_add(&across)?.f_add_scalar(middle(side))?.f_round()?;
        let within = at.f_ge(0.0)?.f_logical_and(&at.f_le((side - 1) as f64)?)?;
        Ok((at.f_clamp(0.0, (side - 1) as f64)?.f_to_kind(Kind::Int64)?, within))
    };
    let (rows, within_rows) = source(cos.f_mul(&y)?, sin.f_mul(&x)?, height)?;
    let (columns, within_columns) = source(cos.f_mul(&x)?, sin.f_mul(&y)?.f_neg()?, width)?;
    Ok((rows, columns, within_rows.f_logical_and(&within_columns)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    const H: i64 = 5;
    const W: i64 = 4;

    /// Six images of 2 channels whose pixels are all different.
    fn set() -> DataSet {
        let images = || Tensor::arange(6 * 2 * H * W, (Kind::Uint8, Device::Cpu)).view([6, 2, H, W]);
        let labels = || Tensor::arange(6, (Kind::Int64, Device::Cpu));
        let split = || Split { images: images(), labels: labels() };
        DataSet::new([split(), split(), split()], vec!["a".into(); 6], "none".into()).unwrap()
    }

    fn generator() -> Generator {
        Generator::new(5, Device::Cpu).unwrap()
    }

    fn numbers(t: &Tensor) -> Vec<i64> {
        Vec::<i64>::try_from(t.to_kind(Kind::Int64).reshape([-1])).unwrap()
    }

    #[test]
    fn a_batch_is_normalised_rows() {
        let set = set();
        let (images, labels) = batch(&set, &set.train, &Tensor::from_slice(&[4_i64, 0, 4]), None).unwrap();
        assert_eq!((images.size(), images.kind()), (vec![3, 2, H, W], Kind::Float));
        assert_eq!(numbers(&labels), [4, 0, 4]);
        let value = images.double_value(&[1, 1, 2, 3]);
        let pixel = (H * W + 2 * W + 3) as f64 / 255.0;
        let want = (pixel - f64::from(set.mean[1])) / f64::from(set.std[1]);
        assert!((value - want).abs() < 1e-5, "{value} is not {want}");
        assert_eq!(images.select(0, 0), images.select(0, 2));
    }

    #[test]
    fn all_training_images_have_mean_0_and_spread_1() {
        let set = set();
        let (images, _) = range(&set, &set.train, 0, 6).unwrap();
        let channels = images.transpose(0, 1).reshape([2, -1]);
        for channel in 0..2 {
            let values = channels.select(0, channel);
            assert!(values.mean(None).double_value(&[]).abs() < 1e-5);
            assert!((values.std(false).double_value(&[]) - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn a_range_is_the_batch_of_its_rows_and_stops_at_the_end() {
        let set = set();
        let (a, la) = range(&set, &set.valid, 4, 10).unwrap();
        let (b, lb) = batch(&set, &set.valid, &Tensor::from_slice(&[4_i64, 5]), None).unwrap();
        assert!(a == b && la == lb);
        assert!(range(&set, &set.valid, 7, 1).is_err());
    }

    /// What a crop and a mirroring mean, pixel by pixel, with the draws that the generator gives.
    fn by_definition(images: &Tensor, augment: &Augment, generator: &mut Generator) -> Vec<i64> {
        let (count, channels, ..) = images.size4().unwrap();
        let pad = augment.crop_pad;
        let rows = numbers(&generator.randint(2 * pad + 1, &[count, 1, 1]).unwrap());
        let columns = numbers(&generator.randint(2 * pad + 1, &[count, 1, 1]).unwrap());
        let mirrored = match augment.flip {
            true => numbers(&generator.randint(2, &[count, 1, 1]).unwrap()),
            false => vec![0; count as usize],
        };
        let mut out = Vec::new();
        for i in 0..count {
            for channel in 0..channels {
                for y in 0..H {
                    for x in 0..W {
                        let x = if mirrored[i as usize] == 1 { W - 1 - x } else { x };
                        let (y, x) = (y + rows[i as usize] - pad, x + columns[i as usize] - pad);
                        let inside = (0..H).contains(&y) && (0..W).contains(&x);
                        out.push(if inside { images.int64_value(&[i, channel, y, x]) } else { 0 });
                    }
                }
            }
        }
        out
    }

    #[test]
    fn crops_are_those_of_the_definition() {
        let set = set();
        let images = Tensor::cat(&[&set.train.images, &set.train.images, &set.train.images], 0);
        for (crop_pad, flip) in [(1, false), (2, true), (4, true), (9, true)] {
            let augment = Augment { crop_pad, flip, rotate: 0.0 };
            let got = apply(&augment, images.shallow_clone(), &mut generator()).unwrap();
            assert_eq!((got.size(), got.kind()), (images.size(), Kind::Uint8));
            assert_eq!(numbers(&got), by_definition(&images, &augment, &mut generator()), "{augment:?}");
        }
    }

    #[test]
    fn mirroring_alone_turns_about_half_of_the_images() {
        let images = Tensor::from_slice(&[1_u8, 2, 3]).view([1, 1, 1, 3]).repeat([400, 1, 1, 1]);
        let augment = Augment { flip: true, ..Augment::default() };
        let got = numbers(&apply(&augment, images, &mut generator()).unwrap());
        let turned = got.chunks(3).filter(|row| row == &[3, 2, 1]).count();
        assert_eq!(turned + got.chunks(3).filter(|row| row == &[1, 2, 3]).count(), 400);
        assert!((150..250).contains(&turned), "{turned}");
    }

    #[test]
    fn every_place_of_a_crop_is_drawn() {
        let images = Tensor::from_slice(&[1_u8]).view([1, 1, 1, 1]).repeat([900, 1, 1, 1]);
        let got = apply(&Augment { crop_pad: 1, ..Augment::default() }, images, &mut generator()).unwrap();
        // One of nine places shows the pixel: 100 expected, standard deviation 9.4.
        let shown: i64 = numbers(&got).iter().sum();
        assert!((60..140).contains(&shown), "{shown}");
    }

    #[test]
    fn equal_generators_give_equal_batches_and_none_draws_nothing() {
        let set = set();
        let index = Tensor::from_slice(&[1_i64, 2, 3, 0]);
        let augment = Augment { crop_pad: 2, flip: true, rotate: 0.0 };
        let take = |augment: &Augment, generator: &mut Generator| {
            batch(&set, &set.train, &index, Some((augment, generator))).unwrap().0
        };
        let (mut a, mut b) = (generator(), generator());
        let first = take(&augment, &mut a);
        assert_eq!(first, take(&augment, &mut b));
        assert_ne!(first, take(&augment, &mut a));
        let (mut used, fresh) = (generator(), generator());
        let plain = take(&Augment::default(), &mut used);
        assert_eq!(plain, batch(&set, &set.train, &index, None).unwrap().0);
        assert_eq!(used.state().unwrap(), fresh.state().unwrap());
    }

    #[test]
    fn a_row_that_is_not_there_is_an_error() {
        let set = set();
        assert!(batch(&set, &set.train, &Tensor::from_slice(&[6_i64]), None).is_err());
    }

    #[test]
    fn a_turn_takes_every_pixel_from_the_nearest_place() {
        // One image of one channel whose pixels are all different.
        let images = Tensor::arange(5 * 7, (Kind::Uint8, Device::Cpu)).view([1, 1, 5, 7]) + 1;
        let augment = Augment { rotate: 40.0, ..Augment::default() };
        let got = apply(&augment, images.shallow_clone(), &mut generator()).unwrap();
        let mut angle = Tensor::zeros([1, 1, 1], (Kind::Float, Device::Cpu));
        let most = 40f64.to_radians();
        generator().uniform_(&mut angle, -most, most).unwrap();
        let (sin, cos) = angle.double_value(&[0, 0, 0]).sin_cos();
        let (mut turned, mut black) = (Vec::new(), 0);
        for row in 0..5 {
            for column in 0..7 {
                let (y, x) = (f64::from(row) - 2.0, f64::from(column) - 3.0);
                let (y, x) = ((cos * y + sin * x + 2.0).round(), (cos * x - sin * y + 3.0).round());
                let inside = (0.0..=4.0).contains(&y) && (0.0..=6.0).contains(&x);
                black += usize::from(!inside);
                turned.push(if inside { images.int64_value(&[0, 0, y as i64, x as i64]) } else { 0 });
            }
        }
        assert_eq!(numbers(&got), turned);
        assert!(black > 0 && black < 20 && angle.double_value(&[0, 0, 0]).abs() > 0.1, "a turn that shows");
    }

    #[test]
    fn a_turn_leaves_the_draws_before_it() {
        let set = set();
        let index = Tensor::arange(6, (Kind::Int64, Device::Cpu));
        let both = Augment { crop_pad: 1, flip: true, rotate: 0.0 };
        let (straight, _) = batch(&set, &set.train, &index, Some((&both, &mut generator()))).unwrap();
        let barely = Augment { rotate: 1e-6, ..both };
        let (turned, _) = batch(&set, &set.train, &index, Some((&barely, &mut generator()))).unwrap();
        assert_eq!(straight, turned);
    }
}
