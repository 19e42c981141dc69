//! Writes what `tests/reference/compare.py` compares with PyTorch: random streams, optimiser runs, clipped gradients.
//!
//! One file, `reference.safetensors` in the folder given as the argument. Names of optimiser runs carry their settings, so
//! that the cases are listed here only: `sgd lr=0.1 momentum=0.9 nesterov=1/fused/3` is parameter 3 after the run.

use kiln_torch::optim_kernels::{AdamW, AdamWState, Sgd, foreach_adamw, foreach_sgd, fused_adamw, fused_sgd};
use kiln_torch::tch::{Device, Kind, Tensor};
use kiln_torch::{CudaChoice, Generator, clip_grad_norm};
use std::error::Error;
use std::path::PathBuf;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);
const STEPS: usize = 50;
const SEEDS: [u64; 3] = [0, 1, 0xdead_beef_cafe];
/// As networks have them; odd sizes, so that vectorised kernels have remainders.
const SHAPES: [&[i64]; 6] = [&[16, 3, 3, 3], &[16], &[32, 48], &[7, 5], &[1], &[129]];

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Named = Vec<(String, Tensor)>;
type SgdKernel = fn(&Sgd, &[Tensor], &[Tensor], &[Tensor], bool) -> std::result::Result<(), kiln_torch::TorchError>;
type AdamWKernel = fn(&AdamW, &[Tensor], &[Tensor], AdamWState) -> std::result::Result<(), kiln_torch::TorchError>;

fn main() -> Result<()> {
    kiln_torch::init(&CudaChoice::Off);
    kiln_torch::set_threads(1);
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: reference FOLDER")?);
    std::fs::create_dir_all(&folder)?;

    let mut out = Named::new();
    streams(&mut out)?;
    let mut g = Generator::new(1, Device::Cpu)?;
    let start = random(&mut g)?;
    let grads = (0..STEPS).map(|_| random(&mut g)).collect::<Result<Vec<_>>>()?;
    put(&mut out, "start", &start);
    for (step, grads) in grads.iter().enumerate() {
        put(&mut out, &format!("grad/{step}"), grads);
    }
    sgd(&mut out, &start, &grads)?;
    adamw(&mut out, &start, &grads)?;
    clip(&mut out, &grads[0])?;
    Ok(Tensor::write_safetensors(&out, folder.join("reference.safetensors"))?)
}

fn put(out: &mut Named, prefix: &str, tensors: &[Tensor]) {
    out.extend(tensors.iter().enumerate().map(|(i, t)| (format!("{prefix}/{i}"), t.copy())));
}

fn random(g: &mut Generator) -> Result<Vec<Tensor>> {
    let mut tensors = Vec::new();
    for shape in SHAPES {
        let mut t = Tensor::empty(shape, CPU);
        g.normal_(&mut t, 0.0, 1.0)?;
        tensors.push(t);
    }
    Ok(tensors)
}

/// For each seed the draws that Kiln makes, one after the other from one generator.
fn streams(out: &mut Named) -> Result<()> {
    for seed in SEEDS {
        let mut g = Generator::new(seed, Device::Cpu)?;
        let mut put = |name: &str, t: Tensor| out.push((format!("stream/{seed}/{name}"), t));
        let mut draw = Tensor::empty([1001], CPU);
        g.normal_(&mut draw, 0.0, 1.0)?;
        put("randn", draw.copy());
        g.normal_(&mut draw, -2.0, 0.5)?;
        put("normal", draw.copy());
        g.uniform_(&mut draw, -1.0, 2.0)?;
        put("uniform", draw.copy());
        g.bernoulli_(&mut draw, 0.3)?;
        put("bernoulli", draw.copy());
        put("randperm", g.randperm(5000)?);
        put("randint", g.randint(9, &[4, 25])?);
        put("state", g.state()?);
    }
    Ok(())
}

fn sgd(out: &mut Named, start: &[Tensor], grads: &[Vec<Tensor>]) -> Result<()> {
    let kernels: [(&str, SgdKernel); 2] = [("fused", fused_sgd), ("foreach", foreach_sgd)];
    for (momentum, dampening, weight_decay, nesterov) in [
        (0.0, 0.0, 0.0, false),
        (0.0, 0.0, 5e-4, false),
        (0.9, 0.0, 0.0, false),
        (0.9, 0.1, 5e-4, false),
        (0.9, 0.0, 0.0, true),
        (0.9, 0.0, 5e-4, true),
    ] {
        let settings = Sgd { lr: 0.1, momentum, dampening, weight_decay, nesterov };
        let name = format!(
            "sgd lr={} momentum={momentum} dampening={dampening} weight_decay={weight_decay} nesterov={}",
            settings.lr,
            u8::from(nesterov)
        );
        for (variant, kernel) in kernels {
            let params: Vec<Tensor> = start.iter().map(Tensor::copy).collect();
            let buffers: Vec<Tensor> =
                if momentum > 0.0 { params.iter().map(Tensor::zeros_like).collect() } else { Vec::new() };
            for (step, grads) in grads.iter().enumerate() {
                kernel(&settings, &params, grads, &buffers, step == 0)?;
            }
            put(out, &format!("{name}/{variant}"), &params);
        }
    }
    Ok(())
}

fn adamw(out: &mut Named, start: &[Tensor], grads: &[Vec<Tensor>]) -> Result<()> {
    let kernels: [(&str, AdamWKernel); 2] = [("fused", fused_adamw), ("foreach", foreach_adamw)];
    for weight_decay in [0.0, 0.05] {
        let settings = AdamW { lr: 0.01, beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay };
        let AdamW { lr, beta1, beta2, eps, .. } = settings;
        let name = format!("adamw lr={lr} beta1={beta1} beta2={beta2} eps={eps} weight_decay={weight_decay}");
        for (variant, kernel) in kernels {
            let params: Vec<Tensor> = start.iter().map(Tensor::copy).collect();
            let averages: Vec<Tensor> = params.iter().map(Tensor::zeros_like).collect();
            let squares: Vec<Tensor> = params.iter().map(Tensor::zeros_like).collect();
            let steps: Vec<Tensor> = params.iter().map(|_| Tensor::zeros([], CPU)).collect();
            for grads in grads {
                let state = AdamWState { averages: &averages, squares: &squares, steps: &steps };
                kernel(&settings, &params, grads, state)?;
            }
            put(out, &format!("{name}/{variant}"), &params);
        }
    }
    Ok(())
}

fn clip(out: &mut Named, grads: &[Tensor]) -> Result<()> {
    for max_norm in [0.5, 1e6] {
        let grads: Vec<Tensor> = grads.iter().map(Tensor::copy).collect();
        let norm = clip_grad_norm(&grads, max_norm)?;
        out.push((format!("clip max_norm={max_norm}/norm"), norm));
        put(out, &format!("clip max_norm={max_norm}/grad"), &grads);
    }
    Ok(())
}
