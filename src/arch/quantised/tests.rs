//! Costs counted by hand, products of bits against plain sums, files read back.

use std::collections::BTreeMap;

use kiln_spec::{QuantBudget, QuantFamily, QuantStem, WidenSqueezeSettings};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::bits::{Features, convolve, level, pack, weights};
use super::packed::{Numbers, payload, write};
use super::*;

fn mlp() -> WidenSqueezeSettings {
    WidenSqueezeSettings { network: QuantFamily::Mlp, widths: vec![16, 16, 16], ..WidenSqueezeSettings::default() }
}

fn resnet() -> WidenSqueezeSettings {
    WidenSqueezeSettings { widths: vec![4, 8], ..WidenSqueezeSettings::default() }
}

fn bits(weights: u8, activations: u8, pad_plus: bool) -> Bits {
    Bits { weights, activations, pad_plus }
}

const BINARY: Bits = Bits { weights: 1, activations: 1, pad_plus: false };

fn network(own: &WidenSqueezeSettings, factor: f64, bits: Option<Bits>) -> Blueprint {
    Blueprint::new(own, [1, 8, 8], 10, factor, bits).unwrap()
}

#[test]
fn a_fully_connected_network_costs_what_is_counted_by_hand() {
    // First: 64 * 16 weights and 2 * 16 of normalisation. Twice: 256 signs, 3 * 16 numbers. Classifier: 160 and 10.
    let cost = network(&mlp(), 1.0, Some(BINARY)).cost();
    assert_eq!((cost.quantised, cost.full), (512, 1056 + 96 + 170));
    assert_eq!((cost.bits, cost.bytes), (512 + 32 * 1322, 64 + 4 * 1322));
    assert_eq!((cost.bops, cost.flops, cost.params), (512, 1184, 1056 + 2 * 288 + 170));
    assert_eq!(cost.ops(), 1192.0);
    let full = network(&mlp(), 1.0, None).cost();
    assert_eq!((full.quantised, full.full, full.bits), (0, 1802, 32 * 1802));
    assert_eq!((full.bops, full.flops, full.ops()), (0, 1696, 1696.0));
}

#[test]
fn a_residual_network_costs_what_is_counted_by_hand() {
    // 1 -> 4, 4 -> 4 twice on 8x8; 4 -> 8 and 8 -> 8 on 4x4, a shortcut of 4 x 8; 8 -> 10.
    let cost = network(&resnet(), 1.0, Some(BINARY)).cost();
    assert_eq!(cost.quantised, 144 + 144 + 288 + 576);
    assert_eq!(cost.full, (36 + 8) + (12 + 12) + (24 + 24) + (32 + 16) + 90);
    assert_eq!(cost.bops, 144 * 64 * 2 + 288 * 16 + 576 * 16);
    assert_eq!(cost.flops, 36 * 64 + 32 * 16 + 80);
    assert_eq!(cost.bits, 1152 + 32 * 254);
    let wide = network(&resnet(), 2.0, Some(BINARY)).cost();
    assert_eq!(
        (wide.quantised, wide.bops),
        (4 * cost.quantised, 4 * cost.bops),
        "twice as wide, four times the weights"
    );
    let more = network(&resnet(), 1.0, Some(bits(2, 4, false))).cost();
    assert_eq!((more.bits, more.bops), (2 * 1152 + 32 * 254, 8 * cost.bops));
    let names: Vec<String> = network(&resnet(), 1.0, None).layers().into_iter().map(|l| l.name).collect();
    assert_eq!(names, ["first", "stage1.1", "stage1.2", "stage2.1", "stage2.1.shortcut", "stage2.2", "classifier"]);
}

#[test]
fn a_channel_costs_its_filter_and_its_slices() {
    let net = network(&mlp(), 1.0, Some(BINARY));
    // A filter of 64 weights and normalisation; 16 signs of the next layer. And so on.
    assert_eq!(net.marginal(QuantBudget::Bits), [66.0 * 32.0 + 16.0, 16.0 + 96.0 + 16.0, 16.0 + 96.0 + 320.0]);
    assert_eq!(net.marginal(QuantBudget::Ops), [64.25, 0.5, 10.25]);
    assert_eq!(net.marginal(QuantBudget::Bops), [16.0, 32.0, 16.0]);
    let twice: f64 = net.marginal(QuantBudget::Bops).iter().zip(&net.widths).map(|(m, w)| m * f64::from(*w)).sum();
    assert_eq!(twice, 2.0 * net.cost().bops as f64, "every product of widths is counted from both ends");
    let net = network(&WidenSqueezeSettings { widths: vec![16, 32, 64], ..resnet() }, 4.0, Some(BINARY));
    let about: f64 =
        net.marginal(QuantBudget::Ops).iter().zip(&net.widths).map(|(m, w)| m * f64::from(*w)).sum::<f64>()
            / net.cost().ops();
    assert!((1.7..2.05).contains(&about), "{about}: most of the cost is a product of two widths");
}

#[test]
fn stems_and_halves_fit_the_published_networks() {
    let own = WidenSqueezeSettings {
        widths: vec![64, 128, 256, 512],
        blocks: 2,
        stem: QuantStem::Imagenet,
        ..WidenSqueezeSettings::default()
    };
    let net = Blueprint::new(&own, [3, 224, 224], 1000, 1.0, None).unwrap();
    assert_eq!(net.units.len(), 16);
    assert_eq!((net.first.output, net.units[15].output), ([56, 56], [7, 7]));
    // ResNet-18: 11.69 M parameters, 1.81 G multiply-accumulates; its 17 convolutions and three shortcuts.
    assert_eq!(net.cost().params, 11_689_512);
    assert!((net.cost().flops as f64 / 1.814e9 - 1.0).abs() < 0.01, "{}", net.cost().flops);
    let tiny = Blueprint::new(&own, [3, 8, 8], 10, 1.0, None).unwrap_err();
    assert!(tiny.contains("8x8") && tiny.contains("stage"), "{tiny}");
    let conv = WidenSqueezeSettings {
        network: QuantFamily::Conv,
        widths: vec![8, 8, 16, 16],
        ..WidenSqueezeSettings::default()
    };
    let net = network(&conv, 1.0, Some(BINARY));
    assert_eq!(net.units.iter().map(|u| u.stride).collect::<Vec<_>>(), [1, 2, 1]);
    assert!(net.head_is_quantised() && !network(&resnet(), 1.0, Some(BINARY)).head_is_quantised());
}

#[test]
fn sums_that_floats_cannot_hold_and_budgets_below_the_floors_are_refused() {
    let own =
        WidenSqueezeSettings { network: QuantFamily::Mlp, widths: vec![8192, 8192], ..WidenSqueezeSettings::default() };
    let said = Blueprint::new(&own, [1, 8, 8], 10, 16.0, Some(bits(4, 4, false))).unwrap_err();
    assert!(said.contains("hold exactly") && said.contains("layer2"), "{said}");
    assert_eq!(check(&mlp(), [1, 8, 8], 10), Ok(()));
    let (key, said) = check(&WidenSqueezeSettings { squeeze_to: 0.5, ..mlp() }, [1, 8, 8], 10).unwrap_err();
    assert_eq!(key, "widen-squeeze.squeeze-to");
    assert!(said.contains("floors") && said.contains("[16, 16, 16]"), "{said}");
}

/// What [`convolve`] should give, from the numbers themselves.
fn plainly(unit: &Unit, map: &[i32], from: usize, weight: &[i8], to: usize, around: i32) -> Vec<i32> {
    let [h, w] = unit.input.map(|n| n as i32);
    let (k, stride) = (unit.kernel as i32, unit.stride as i32);
    let mut out = Vec::new();
    for o in 0..to {
        for row in 0..unit.output[0] as i32 {
            for column in 0..unit.output[1] as i32 {
                let mut sum = 0;
                for c in 0..from {
                    for tap in 0..k * k {
                        let (y, x) = (row * stride + tap / k - k / 2, column * stride + tap % k - k / 2);
                        let inside = (0..h).contains(&y) && (0..w).contains(&x);
                        let value =
                            if inside { map[(c as i32 * h + y) as usize * w as usize + x as usize] } else { around };
                        sum += value * i32::from(weight[(o * from + c) * (k * k) as usize + tap as usize]);
                    }
                }
                out.push(sum);
            }
        }
    }
    out
}

#[test]
fn products_of_bits_are_the_sums_of_the_numbers() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    for (weight_bits, activation_bits, pad_plus) in
        [(1, 1, false), (1, 1, true), (2, 2, false), (4, 4, false), (1, 4, false), (4, 1, true), (2, 1, false)]
    {
        let bits = bits(weight_bits, activation_bits, pad_plus);
        for (from, to, kernel, stride, side) in [(3, 5, 3, 1, 4), (64, 2, 3, 2, 5), (70, 3, 1, 1, 1), (130, 2, 3, 2, 6)]
        {
            let output = if stride == 2 { halved([side; 2]) } else { [side; 2] };
            let (input, name, shortcut) = ([side; 2], "x".to_owned(), Shortcut::None);
            let unit = Unit { name, from: 0, to: 1, kernel, stride, input, output, shortcut };
            let top = bits.weight_top() as i8;
            let odd: Vec<i8> = (-top..=top).step_by(2).collect();
            let weight: Vec<i8> =
                (0..to * from * (kernel * kernel) as usize).map(|_| odd[rng.gen_range(0..odd.len())]).collect();
            let real: Vec<f32> = (0..from * (side * side) as usize).map(|_| rng.gen_range(-1.5..1.5)).collect();
            let whole: Vec<i32> = real
                .iter()
                .map(|&v| match activation_bits {
                    1 => {
                        if v >= 0.0 {
                            1
                        } else {
                            -1
                        }
                    }
                    _ => level(v, bits) as i32,
                })
                .collect();
            let taps = (kernel * kernel) as usize;
            let packed = weights(&pack(&weight, bits, to, from, taps), bits, to, from, taps);
            let sums = convolve(&unit, &Features::of(&real, from, [side as usize; 2], bits), &packed);
            assert_eq!(sums, plainly(&unit, &whole, from, &weight, to, bits.padding() as i32), "{bits:?} {unit:?}");
        }
    }
}

#[test]
fn levels_by_hand() {
    assert_eq!([-0.1, -0.0, 0.0, 2.0].map(|v| level(v, BINARY)), [0, 1, 1, 1]);
    // Thirds: halves go to the even neighbour.
    assert_eq!([-1.0, 0.1, 0.5, 0.6, 7.0, f32::NAN].map(|v| level(v, bits(1, 2, false))), [0, 0, 2, 2, 3, 0]);
}

#[test]
fn a_file_has_the_claimed_size_and_is_read_back() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut floats = |n: u32| Numbers::Floats((0..n).map(|_| rng.gen_range(-1.0..1.0)).collect());
    let own = WidenSqueezeSettings { widths: vec![3, 5], ..resnet() };
    let net = network(&own, 1.0, Some(bits(2, 2, false)));
    let mut numbers = BTreeMap::new();
    for (name, fan_in, to) in [("first", 9, 3), ("stage2.1.shortcut", 3, 5)] {
        numbers.insert(format!("{name}.weight"), floats(fan_in * to));
        numbers.insert(format!("{name}.scale"), floats(to));
        numbers.insert(format!("{name}.shift"), floats(to));
    }
    for unit in &net.units {
        let to = net.widths[unit.to];
        for what in ["alpha", "scale", "shift"] {
            numbers.insert(format!("{}.{what}", unit.name), floats(to));
        }
        let weights = vec![3; (net.fan_in(unit) * u64::from(to)) as usize];
        let packed = pack(&weights, bits(2, 2, false), to as usize, net.widths[unit.from] as usize, 9);
        numbers.insert(format!("{}.bits", unit.name), Numbers::Bits(packed));
    }
    numbers.insert("classifier.weight".into(), floats(50));
    numbers.insert("classifier.bias".into(), floats(10));
    let about = PackedAbout {
        form: "packed".into(),
        network: net.clone(),
        classes: (0..10).map(|c| c.to_string()).collect(),
        mean: vec![0.5],
        std: vec![0.25],
        data: "none".into(),
        kiln: "0".into(),
    };
    let file = write(&about, &numbers).unwrap();
    assert_eq!(payload(&file), Some(net.cost().bytes), "behind the header lies what the cost claims");
    assert_eq!(write(&about, &numbers).unwrap(), file, "equal networks, equal files");
    let image: Vec<f32> = (0..64).map(|i| (i as f32 / 9.0).sin()).collect();
    let read = PackedNet::read(&file).unwrap();
    let logits = read.logits(&image).unwrap();
    assert_eq!(read.about, about);
    assert_eq!(read.tensors(), numbers.len());
    assert_eq!(logits, PackedNet::of(about.clone(), &numbers).unwrap().logits(&image).unwrap());
    assert!(logits.iter().all(|v| v.is_finite()) && logits.iter().any(|v| *v != logits[0]));
    assert!(read.logits(&image[1..]).unwrap_err().contains("1x8x8"));
    numbers.remove("stage1.2.alpha");
    assert!(write(&about, &numbers).unwrap_err().contains("stage1.2.alpha"));
    assert!(PackedNet::read(b"no").is_err());
}
