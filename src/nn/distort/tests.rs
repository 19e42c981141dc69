use kiln_arch::spec::RegulariserPlace;
use kiln_arch::{Act, Layer, Plan, sites};

use super::mask::{centred, grown};
use super::*;
use crate::network::{Mode, Network};
use crate::testing::{cnn, conv, linear, norm, plan, same_bits};

const CPU: Device = Device::Cpu;

fn generator(seed: u64) -> Generator {
    Generator::new(seed, CPU).unwrap()
}

fn settings(kind: RegulariserKind) -> RegulariserSettings {
    RegulariserSettings { kind, p: 0.3, block: 3, at: RegulariserPlace::All, ..RegulariserSettings::default() }
}

fn random(shape: &[i64], seed: u64) -> Tensor {
    let mut t = Tensor::zeros(shape, (Kind::Float, CPU));
    generator(seed).normal_(&mut t, 0.2, 1.0).unwrap();
    t
}

fn numbers(t: &Tensor) -> Vec<f64> {
    Vec::<f64>::try_from(t.to_kind(Kind::Double).reshape([-1])).unwrap()
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-6, "{a} is not {b}");
}

/// The +-1 that a generator of this seed draws.
fn signs(shape: &[i64], seed: u64) -> Tensor {
    let mut t = Tensor::zeros(shape, (Kind::Float, CPU));
    generator(seed).bernoulli_(&mut t, 0.5).unwrap();
    t * 2.0 - 1.0
}

#[test]
fn seed_probability_by_hand() {
    // ResNet-56: 0.09 * 64 / 36 / (3 * 3).
    close(seed_probability(0.09, 8, 8, 6), 0.09 * 64.0 / 36.0 / 9.0);
    close(seed_probability(0.3, 4, 6, 1), 0.3);
    // One place for a block as large as the map.
    close(seed_probability(0.07, 7, 7, 7), 0.07);
}

/// A map of 6x6 with one centre; rows and columns that its block covers.
fn block_of(row: i64, column: i64, block: i64) -> (Vec<i64>, Vec<i64>) {
    let keep = Tensor::ones([1, 1, 6, 6], (Kind::Float, CPU));
    let _ = keep.narrow(2, row, 1).narrow(3, column, 1).fill_(0.0);
    let gone = grown(&keep, block).unwrap().eq(0.0).view([6, 6]);
    let lines = |other: i64| -> Vec<i64> {
        let any = gone.any_dim(other, false);
        (0..6).filter(|i| any.int64_value(&[*i]) == 1).collect()
    };
    let (rows, columns) = (lines(1), lines(0));
    assert_eq!(gone.sum(Kind::Int64).int64_value(&[]) as usize, rows.len() * columns.len(), "a full rectangle");
    (rows, columns)
}

#[test]
fn centres_grow_to_blocks_of_odd_and_even_sides() {
    assert_eq!(block_of(2, 3, 1), (vec![2], vec![3]));
    assert_eq!(block_of(2, 3, 3), (vec![1, 2, 3], vec![2, 3, 4]));
    assert_eq!(block_of(2, 2, 5), ((0..5).collect(), (0..5).collect()));
    // The kernel of an even side looks half its side back: the block begins at the centre less (side - 2) / 2.
    assert_eq!(block_of(2, 3, 2), (vec![2, 3], vec![3, 4]));
    assert_eq!(block_of(2, 3, 4), (vec![1, 2, 3, 4], vec![2, 3, 4, 5]));
    // At the last centre that is allowed, the row and column beyond the map are cut off.
    assert_eq!(block_of(5, 2, 2), (vec![5], vec![2, 3]));
}

#[test]
fn a_block_as_large_as_the_map_takes_the_whole_channel() {
    let keep = Tensor::ones([1, 2, 5, 5], (Kind::Float, CPU));
    let _ = keep.narrow(1, 1, 1).narrow(2, 2, 1).narrow(3, 2, 1).fill_(0.0);
    let grown = grown(&keep, 5).unwrap();
    assert_eq!(grown.size(), [1, 2, 1, 1]);
    assert_eq!(numbers(&grown), [1.0, 0.0]);
}

#[test]
fn centres_lie_where_their_block_fits() {
    // Rows b/2 to H - (b - 1)/2, the end exclusive.
    for (side, block, allowed) in [(8, 6, 3..6), (8, 3, 1..7), (5, 5, 2..3), (6, 2, 1..6), (4, 1, 0..4)] {
        let none = Tensor::zeros([1, 1, side, side], (Kind::Bool, CPU));
        let seeds = centred(&none, block).unwrap().logical_not().view([side, side]);
        let rows: Vec<i64> = (0..side).filter(|i| seeds.get(*i).any().int64_value(&[]) == 1).collect();
        assert_eq!(rows, allowed.clone().collect::<Vec<_>>(), "{block} on {side}");
        assert_eq!(seeds.sum(Kind::Int64).int64_value(&[]) as usize, rows.len() * rows.len());
    }
}

#[test]
fn about_the_share_asked_for_is_masked() {
    for (size, p, block) in [
        (vec![300, 256], 0.5, 1),
        (vec![64, 32, 8, 8], 0.25, 1),
        (vec![64, 64, 16, 16], 0.1, 3),
        (vec![128, 64, 8, 8], 0.09, 5),
        (vec![256, 64, 7, 7], 0.07, 7),
        (vec![256, 64, 1, 1], 0.3, 1),
    ] {
        let keep = keep(&size, p, block, &mut generator(3)).unwrap();
        let masked = 1.0 - keep.mean(Kind::Double).double_value(&[]);
        assert!((masked / p - 1.0).abs() < 0.1, "{masked} of {size:?} in blocks of {block}, not {p}");
    }
}

#[test]
fn coefficients_are_largest_weights_with_averaged_signs() {
    let dense = Reading { groups: 1, inputs: None, channels: None };
    let weight = Tensor::from_slice(&[1f32, -2.0, 3.0, -4.0, -1.0, -3.0]).view([2, 3]);
    // Fully connected: max over the outputs, signed, times a sign.
    let c = coefficient(Some((&weight, &dense)), false, 3, &mut generator(5)).unwrap();
    let want = Tensor::from_slice(&[1f32, -1.0, 3.0]) * signs(&[3, 1], 5).view([3]);
    assert_eq!(numbers(&c), numbers(&want));
    // A pointwise kernel: a tenth of that.
    let c = coefficient(Some((&weight.view([2, 3, 1, 1]), &dense)), true, 3, &mut generator(5)).unwrap();
    assert!((c - want * 0.1).abs().max().double_value(&[]) < 1e-7);
    // 2x2 kernels: a sign for every place, then the mean.
    let weight = random(&[4, 3, 2, 2], 1);
    let c = coefficient(Some((&weight, &dense)), true, 3, &mut generator(6)).unwrap();
    let (signs, mut want) = (signs(&[3, 2, 2], 6), Vec::new());
    for channel in 0..3 {
        let mut sum = 0.0;
        for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let most = (0..4).map(|out| weight.double_value(&[out, channel, row, column])).fold(f64::MIN, f64::max);
            sum += most * signs.double_value(&[channel, row, column]);
        }
        want.push(sum / 4.0);
    }
    numbers(&c).iter().zip(want).for_each(|(c, want)| close(*c, want));
    // No layer reads it.
    assert_eq!(numbers(&coefficient(None, true, 2, &mut generator(1)).unwrap()), [0.01f32 as f64; 2]);
}

#[test]
fn groups_read_their_own_channels_and_depthwise_kernels_count_by_magnitude() {
    // Two groups of two channels; outputs 0 and 1 read the first, 2 and 3 the second.
    let weight = Tensor::from_slice(&[1f32, 2.0, 3.0, -4.0, -5.0, 6.0, -7.0, -8.0]).view([4, 2, 1, 1]);
    let grouped = Reading { groups: 2, inputs: None, channels: None };
    assert_eq!(numbers(&noise::largest(&weight, &grouped).unwrap()), [3.0, 2.0, -5.0, 6.0]);
    let weight = Tensor::from_slice(&[1f32, -2.0, -3.0, 0.5]).view([4, 1, 1, 1]);
    let depthwise = Reading { groups: 4, inputs: None, channels: None };
    assert_eq!(numbers(&noise::largest(&weight, &depthwise).unwrap()), [1.0, 2.0, 3.0, 0.5]);
    let doubled = Reading { groups: 2, inputs: None, channels: None };
    assert_eq!(numbers(&noise::largest(&weight, &doubled).unwrap()), [2.0, 3.0]);
    // The layer reads the site's channel 1 first, then one of another origin, then 0; channel 2 it does not read.
    let reader = Reader { name: "x".into(), kernel: 1, groups: 1, channels: Some(vec![Some(1), None, Some(0)]) };
    let reading = Reading::new(&reader, 3, CPU).unwrap();
    let weight = Tensor::from_slice(&[1f32, 2.0, 3.0]).view([1, 3]);
    assert_eq!(numbers(&noise::largest(&weight, &reading).unwrap()), [3.0, 1.0, 0.0]);
}

#[test]
fn what_is_kept_is_divided_by_its_share_and_alone_has_a_gradient() {
    let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([1, 4]).set_requires_grad(true);
    let keep = Tensor::from_slice(&[1f32, 0.0, 1.0, 1.0]).view([1, 4]);
    let noise = Tensor::from_slice(&[9f32, 0.6, 9.0, 9.0]).view([1, 4]);
    let y = replaced(&x, &keep, Some(&noise)).unwrap();
    let share = 0.75;
    numbers(&y).iter().zip([1.0 / share, 0.6 / share, 3.0 / share, 4.0 / share]).for_each(|(y, want)| close(*y, want));
    y.sum(Kind::Float).backward();
    numbers(&x.grad()).iter().zip([1.0 / share, 0.0, 1.0 / share, 1.0 / share]).for_each(|(g, want)| close(*g, want));
    // Zeros without noise; nothing to divide by where all is distorted.
    close(numbers(&replaced(&x, &keep, None).unwrap())[1], 0.0);
    let nothing = keep.zeros_like();
    close(numbers(&replaced(&x, &nothing, Some(&noise)).unwrap())[1], f64::from(0.6f32));
    // The other form adds, and divides by nothing.
    close(numbers(&added(&x, &keep, Some(&noise)).unwrap())[1], 2.6);
    close(numbers(&added(&x, &keep, Some(&noise)).unwrap())[2], 3.0);
}

/// The noise of one site, by hand.
#[test]
fn the_noise_is_normal_times_coefficient_spread_and_alpha() {
    let site = Site { name: "x".into(), shape: Shape::Flat(5), next: None };
    let weight = random(&[7, 5], 2) * 2.0;
    let reading = Reading { groups: 1, inputs: None, channels: None };
    for clamp in [false, true] {
        let settings = RegulariserSettings { alpha: 2.0, clamp, ..settings(RegulariserKind::Disout) };
        let x = random(&[40, 5], 1);
        let mut own = Distortion::new(&settings, 0.5, 9, CPU).unwrap();
        let y = own.of(x.shallow_clone(), &site, Some((&weight, &reading))).unwrap();
        let mut masks = generator(derive(9, "masks", 0, 0));
        let keep = keep(&[40, 5], 0.5, 1, &mut masks).unwrap();
        let mut stream = generator(derive(9, "noise", 0, 0));
        let mut strength = coefficient(Some((&weight, &reading)), false, 5, &mut stream).unwrap() * 2.0;
        if clamp {
            strength = strength.clamp(-1.0, 1.0);
        }
        let mut z = Tensor::zeros([40, 5], (Kind::Float, CPU));
        stream.normal_(&mut z, 0.0, 1.0).unwrap();
        let noise = z * strength * x.std(true);
        let want: Tensor = (&x * &keep + noise * keep.logical_not()) / keep.mean(Kind::Float);
        assert!((y - want).abs().max().double_value(&[]) < 1e-5, "clamp {clamp}");
    }
}

#[test]
fn the_gradient_form_lowers_the_complexity_that_it_is_made_from() {
    let x = random(&[30, 6], 1);
    let weight = random(&[4, 6], 2);
    let reading = Reading { groups: 1, inputs: None, channels: None };
    let (row, v) = noise::descent(&x, Some((&weight, &reading)), &mut generator(4)).unwrap();
    let sigma = signs(&[30, 1], 4);
    let t = (&sigma * x.matmul(&weight.tr())).sum_dim_intlist(&[0i64][..], false, Kind::Float);
    let k = t.abs().argmax(0, false).int64_value(&[]);
    assert_eq!(numbers(&row), numbers(&weight.get(k)));
    let sign = t.double_value(&[k]).signum();
    assert_eq!(numbers(&v), numbers(&(sigma.view([30]) * sign)));
    let moved: Tensor = &x - &v * &row * 0.01;
    let after = (&sigma * moved.matmul(&weight.tr())).sum_dim_intlist(&[0i64][..], false, Kind::Float);
    assert!(after.double_value(&[k]).abs() < t.double_value(&[k]).abs());
    // Of maps, kernels and maps enter by their means; in groups, a row has zeros for the other groups.
    let maps = random(&[5, 4, 3, 3], 3);
    let kernels = random(&[2, 2, 3, 3], 4);
    let grouped = Reading { groups: 2, inputs: None, channels: None };
    let (row, _) = noise::descent(&maps, Some((&kernels, &grouped)), &mut generator(4)).unwrap();
    let zeros: Vec<bool> = numbers(&row).iter().map(|w| *w == 0.0).collect();
    assert!(zeros == [false, false, true, true] || zeros == [true, true, false, false], "{zeros:?}");
}

#[test]
fn the_complexity_is_the_mean_of_the_largest_signed_sums() {
    let x = random(&[6, 3], 1);
    let weight = random(&[4, 3], 2);
    let reading = Reading { groups: 1, inputs: None, channels: None };
    let signs = signs(&[2, 6], 3);
    let mut want = 0.0;
    for draw in 0..2 {
        let mut most = 0f64;
        for k in 0..4 {
            let mut sum = 0.0;
            for i in 0..6 {
                for j in 0..3 {
                    sum += signs.double_value(&[draw, i]) * weight.double_value(&[k, j]) * x.double_value(&[i, j]);
                }
            }
            most = most.max(sum.abs());
        }
        want += most / 6.0 / 2.0;
    }
    close(look::complexity(&x, &weight, &reading, &signs).unwrap(), want);
}

fn deep() -> Plan {
    let relu = Layer::Act(Act::Relu);
    plan(
        Shape::Image(1, 8, 8),
        4,
        vec![
            ("stem", None, vec![conv(1, 8, 3, 1, 1), norm(8), relu], false),
            ("cell.0", Some(0), vec![conv(8, 8, 3, 1, 1), norm(8), relu], true),
            ("cell.1", Some(1), vec![conv(8, 8, 3, 1, 4), relu], true),
            ("head", None, vec![Layer::Flatten, linear(512, 16), relu, linear(16, 4)], false),
        ],
    )
}

fn regularised(plan: &Plan, settings: &RegulariserSettings) -> Network {
    Network::build_regularised(plan, settings, 3, CPU).unwrap()
}

#[test]
fn only_distorted_passes_distort() {
    let plan = deep();
    let x = random(&[16, 1, 8, 8], 1);
    for kind in [
        RegulariserKind::Dropout,
        RegulariserKind::SpatialDropout,
        RegulariserKind::Dropblock,
        RegulariserKind::Disout,
        RegulariserKind::Isotropic,
    ] {
        let (own, plain) = (regularised(&plan, &settings(kind)), Network::build(&plan, 3, CPU).unwrap());
        for mode in [Mode::Eval, Mode::Train] {
            assert!(same_bits(&own.forward(&x, mode).unwrap(), &plain.forward(&x, mode).unwrap()), "{kind}");
        }
        let (probed, _) = own.forward_probe(&x).unwrap();
        assert!(same_bits(&probed, &plain.forward_probe(&x).unwrap().0));
        assert!(same_bits(&own.forward_without(&x, 0).unwrap(), &plain.forward_without(&x, 0).unwrap()));
        let distorted = own.forward_distorted(&x, 0.3, 1).unwrap();
        let again = own.forward_distorted(&x, 0.3, 1).unwrap();
        let clean = plain.forward(&x, Mode::Train).unwrap();
        assert!(!same_bits(&distorted, &clean) && same_bits(&distorted, &again), "{kind}");
        assert!(same_bits(&own.forward_distorted(&x, 0.0, 1).unwrap(), &clean), "nothing at the start of the ramp");
        distorted.square().sum(Kind::Float).backward();
        let finite = |p: &Tensor| p.grad().isfinite().all().int64_value(&[]) == 1;
        assert!(own.trainable().iter().all(|p| p.grad().defined() && finite(p)), "{kind}");
        let before = own.running_statistics().iter().map(Tensor::copy).collect::<Vec<_>>();
        let (_, looks) = own.look(&x, 0.3, 1).unwrap();
        assert_eq!(looks.len(), 4);
        assert!(before.iter().zip(own.running_statistics()).all(|(a, b)| same_bits(a, &b)), "a look changes nothing");
    }
}

#[test]
fn dropblock_and_disout_mask_the_same_entries() {
    let x = random(&[16, 1, 8, 8], 1);
    let looks = [RegulariserKind::Dropblock, RegulariserKind::Disout, RegulariserKind::Isotropic].map(|kind| {
        let (_, looks) = regularised(&deep(), &settings(kind)).look(&x, 0.3, 7).unwrap();
        assert_eq!(
            looks.iter().map(|l| l.site.as_str()).collect::<Vec<_>>(),
            ["stem.0", "cell.0.0", "cell.1.0", "head.2"]
        );
        looks
    });
    for (zeros, noise) in looks[0].iter().zip(&looks[1]) {
        assert_eq!((&zeros.channel.keep, zeros.kept), (&noise.channel.keep, noise.kept));
        assert!(zeros.noise.is_none() && noise.noise.is_some_and(|n| n > 0.0));
        assert_eq!((zeros.block, noise.block), if zeros.site == "head.2" { (1, 1) } else { (3, 3) });
    }
    // The control has noise of one size everywhere.
    let [_, least, most] = looks[2][0].coefficient.unwrap();
    assert_eq!(least, most);
    let [_, least, most] = looks[1][0].coefficient.unwrap();
    assert!(least < most);
    // A grouped convolution reads the second site; nothing that convolves reads the last map.
    assert!(looks[1][1].complexity.is_some() && looks[1][2].complexity.is_none() && looks[1][3].complexity.is_some());
}

#[test]
fn a_kept_channel_shows_what_was_done_to_it() {
    let x = random(&[16, 1, 8, 8], 1);
    let (_, looks) = regularised(&deep(), &settings(RegulariserKind::Dropblock)).look(&x, 0.5, 7).unwrap();
    let channel = &looks[0].channel;
    assert_eq!((channel.width, channel.before.len()), (8, 64));
    assert!(channel.keep.contains(&0.0));
    for ((before, keep), after) in channel.before.iter().zip(&channel.keep).zip(&channel.after) {
        let want = f64::from(before * keep) / looks[0].kept;
        assert!((f64::from(*after) - want).abs() < 1e-4, "{after} is not {want}");
    }
}

#[test]
fn places_that_do_not_fit_are_refused_with_their_layer() {
    let large = RegulariserSettings { block: 5, at: RegulariserPlace::LastStage, ..settings(RegulariserKind::Disout) };
    let error = Network::build_regularised(&cnn(), &large, 1, CPU).err().unwrap().to_string();
    assert!(error.contains("is 5") && error.contains("4x4 map behind layer `cell.1.0`"), "{error}");
    let hidden = RegulariserSettings { at: RegulariserPlace::Hidden, ..large.clone() };
    let (key, error) = sites::find(&cnn(), &hidden).unwrap_err();
    assert_eq!(key, "regulariser.at");
    assert!(error.to_string().contains("no hidden fully connected layer"), "{error}");
    // Single entries have no block that could be too large.
    let single = RegulariserSettings { kind: RegulariserKind::Dropout, ..large };
    assert!(Network::build_regularised(&cnn(), &single, 1, CPU).is_ok());
}
