//! Writes what `tests/reference/distort.py` compares with PyTorch: activations before and after their distortion, the
//! gradient through it, and the random numbers that it drew.
//!
//! One file, `distort.safetensors` in the folder given as the argument. Names carry the settings, so that the cases are
//! listed here only: `disout b=3 p=0.2 alpha=2 clamp=1 groups=1/x`.

use std::error::Error;
use std::path::PathBuf;

use kiln_arch::spec::seed::derive;
use kiln_arch::spec::{DisoutVariant, RegulariserKind, RegulariserSettings};
use kiln_arch::{Shape, Site};
use kiln_nn::distort::{Distortion, Reading};
use kiln_torch::{CudaChoice, Generator};
use tch::{Device, Kind, Tensor};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);

/// An activation, and the layer that reads it.
struct Case {
    kind: RegulariserKind,
    variant: DisoutVariant,
    /// `[n, c, h, w]` or `[n, d]`.
    size: &'static [i64],
    /// Weights of the next layer and its groups; none where no layer reads.
    next: Option<(&'static [i64], i64)>,
    block: u32,
    p: f64,
    alpha: f64,
    clamp: bool,
}

const MAP: Case = Case {
    kind: RegulariserKind::Disout,
    variant: DisoutVariant::Official,
    size: &[6, 8, 9, 9],
    next: Some((&[12, 8, 3, 3], 1)),
    block: 3,
    p: 0.2,
    alpha: 2.0,
    clamp: true,
};

const VECTOR: Case = Case { size: &[40, 24], next: Some((&[16, 24], 1)), block: 1, p: 0.5, ..MAP };

fn main() -> Result<()> {
    kiln_torch::init(&CudaChoice::Off);
    kiln_torch::set_threads(1);
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: distort FOLDER")?);
    let (dropout, dropblock) = (RegulariserKind::Dropout, RegulariserKind::Dropblock);
    let (spatial, isotropic, erc) = (RegulariserKind::SpatialDropout, RegulariserKind::Isotropic, DisoutVariant::Erc);
    let cases = [
        MAP,
        Case { block: 6, alpha: 50.0, ..MAP },
        Case { block: 6, alpha: 50.0, clamp: false, ..MAP },
        Case { block: 4, size: &[4, 8, 8, 11], ..MAP },
        Case { block: 9, ..MAP },
        Case { next: Some((&[12, 8, 1, 1], 1)), ..MAP },
        Case { next: Some((&[12, 4, 3, 3], 2)), ..MAP },
        Case { next: Some((&[16, 1, 5, 5], 8)), ..MAP },
        Case { next: None, ..MAP },
        Case { kind: dropout, ..MAP },
        Case { kind: spatial, ..MAP },
        Case { kind: dropblock, block: 5, ..MAP },
        Case { kind: isotropic, ..MAP },
        Case { variant: erc, ..MAP },
        VECTOR,
        Case { clamp: false, alpha: 20.0, ..VECTOR },
        Case { kind: dropout, ..VECTOR },
        Case { kind: isotropic, ..VECTOR },
        Case { variant: erc, ..VECTOR },
    ];
    let mut out = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        write(number as u64, case, &mut out)?;
    }
    Ok(Tensor::write_safetensors(&out, folder.join("distort.safetensors"))?)
}

fn normal(generator: &mut Generator, shape: &[i64], spread: f64) -> Result<Tensor> {
    let mut t = Tensor::empty(shape, CPU);
    generator.normal_(&mut t, 0.1, spread)?;
    Ok(t)
}

fn write(number: u64, case: &Case, out: &mut Vec<(String, Tensor)>) -> Result<()> {
    let settings = RegulariserSettings {
        kind: case.kind,
        variant: case.variant,
        p: case.p,
        block: case.block,
        alpha: case.alpha,
        clamp: case.clamp,
        ..RegulariserSettings::default()
    };
    let mut generator = Generator::new(number, Device::Cpu)?;
    let x = normal(&mut generator, case.size, 1.5)?.set_requires_grad(true);
    let dy = normal(&mut generator, case.size, 1.0)?;
    let next = match case.next {
        Some((size, groups)) => {
            let weight = normal(&mut generator, size, 0.4)?;
            Some((weight, Reading { groups, inputs: None, channels: None }))
        }
        None => None,
    };
    let side = |i: usize| case.size[i] as u32;
    let shape = if case.size.len() == 4 { Shape::Image(side(1), side(2), side(3)) } else { Shape::Flat(side(1)) };
    let site = Site { name: "site".into(), shape, next: None };
    let key = 1000 + number;
    let mut distortion = Distortion::new(&settings, case.p, key, Device::Cpu)?;
    let y = distortion.of(x.shallow_clone(), &site, next.as_ref().map(|(weight, reading)| (weight, reading)))?;
    (&y * &dy).sum(Kind::Float).backward();

    // The same streams again, as one draw of each kind: what the other side is given instead of generators.
    let mut masks = Generator::new(derive(key, "masks", 0, 0), Device::Cpu)?;
    let whole = case.kind == RegulariserKind::SpatialDropout;
    let size = if whole { vec![case.size[0], case.size[1], 1, 1] } else { case.size.to_vec() };
    let mut uniform = Tensor::empty(&size, CPU);
    masks.uniform_(&mut uniform, 0.0, 1.0)?;
    let mut noise = Generator::new(derive(key, "noise", 0, 0), Device::Cpu)?;
    let signs: Vec<i64> = match (case.variant, case.next) {
        (DisoutVariant::Erc, _) => vec![case.size[0], 1],
        (_, Some((weight, _))) => [&[case.size[1]], &weight[2..]].concat(),
        (_, None) => Vec::new(),
    };
    let signs = if signs.len() == 1 { vec![signs[0], 1] } else { signs };
    let mut coins = Tensor::empty(&signs, CPU);
    if !signs.is_empty() {
        noise.bernoulli_(&mut coins, 0.5)?;
    }
    let mut z = Tensor::empty(case.size, CPU);
    noise.normal_(&mut z, 0.0, 1.0)?;

    let kind = if case.variant == DisoutVariant::Erc { "erc" } else { case.kind.as_str() };
    let groups = case.next.map_or(0, |(_, groups)| groups);
    let name = format!(
        "{kind} n={number} b={} p={} alpha={} clamp={} groups={groups}",
        case.block,
        case.p,
        case.alpha,
        u8::from(case.clamp)
    );
    let mut put = |what: &str, t: Tensor| out.push((format!("{name}/{what}"), t.detach().copy()));
    put("gradient", x.grad());
    put("x", x);
    put("y", y);
    put("dy", dy);
    put("uniform", uniform);
    put("z", z);
    if !signs.is_empty() {
        put("coins", coins);
    }
    if let Some((weight, _)) = next {
        put("weight", weight);
    }
    Ok(())
}
