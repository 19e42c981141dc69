//! Writes losses of adversarial networks with their gradients, and passes of whole pairs, as safetensors;
//! `tests/reference/gan.py` computes the same in PyTorch from the equations and compares.

use std::error::Error;
use std::path::PathBuf;

use kiln_arch::spec::{CriticNorm, GanLoss, GanNet, PuganSettings};
use kiln_arch::{GanPlan, Shape};
use kiln_nn::gan::{Criterion, Net, Pass, gradient_penalty};
use kiln_nn::torch::{Generator, set_threads};
use tch::{Device, Kind, Tensor};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Named = Vec<(String, Tensor)>;

const CPU: (Kind, Device) = (Kind::Float, Device::Cpu);
const PRIOR: f64 = 0.3;
const PENALTY: f64 = 10.0;

fn main() -> Result<()> {
    set_threads(1);
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: gan FOLDER")?);
    let mut out = Named::new();
    losses(&mut out)?;
    for (net, norm, image) in [
        (GanNet::Mlp, CriticNorm::None, Shape::Image(1, 8, 8)),
        (GanNet::Dcgan, CriticNorm::Batch, Shape::Image(1, 28, 28)),
        (GanNet::Conv, CriticNorm::Spectral, Shape::Image(3, 32, 32)),
        (GanNet::Resnet, CriticNorm::None, Shape::Image(3, 32, 32)),
    ] {
        pair(&mut out, net, norm, image)?;
    }
    Ok(Tensor::write_safetensors(&out, folder.join("gan.safetensors"))?)
}

fn random(generator: &mut Generator, shape: &[i64], mean: f64, spread: f64) -> Result<Tensor> {
    let mut tensor = Tensor::f_zeros(shape, CPU)?;
    generator.normal_(&mut tensor, mean, spread)?;
    Ok(tensor)
}

/// Every loss on logits of a critic that is wrong, unsure, and far ahead (where the risk is clipped).
fn losses(out: &mut Named) -> Result<()> {
    let mut generator = Generator::new(1, Device::Cpu)?;
    for (case, real, fake) in [("unsure", 0.1, -0.2), ("wrong", -2.0, 3.0), ("ahead", 4.0, -6.0)] {
        let (real, fake) = (random(&mut generator, &[64], real, 1.0)?, random(&mut generator, &[64], fake, 1.0)?);
        out.push((format!("{case}/real"), real.f_detach_copy()?));
        out.push((format!("{case}/fake"), fake.f_detach_copy()?));
        for loss in [GanLoss::Standard, GanLoss::LeastSquares, GanLoss::Hinge, GanLoss::Wasserstein] {
            for mode in ["plain", "pu", "nnpu", "relativistic"] {
                if mode == "relativistic" && loss == GanLoss::Wasserstein {
                    continue;
                }
                let pu = matches!(mode, "pu" | "nnpu");
                let (nnpu, relativistic) = (mode == "nnpu", mode == "relativistic");
                let criterion =
                    Criterion::of(&PuganSettings { loss, pu, nnpu, relativistic, ..PuganSettings::default() });
                let leaf = |t: &Tensor| t.f_detach_copy().and_then(|t| t.f_set_requires_grad(true));
                let (r, f) = (leaf(&real)?, leaf(&fake)?);
                let risk = criterion.critic(&r, &f, pu.then_some(PRIOR))?;
                risk.loss.f_backward()?;
                let mut put = |what: &str, t: &Tensor| -> Result<()> {
                    // A loss that does not depend on a kind of image has no gradient there.
                    let t = if t.defined() { t.f_detach_copy()? } else { Tensor::f_zeros([64], CPU)? };
                    out.push((format!("{case}/{loss}/{mode}/{what}"), t));
                    Ok(())
                };
                put("critic", &risk.loss)?;
                put("critic-real", &r.f_grad()?)?;
                put("critic-fake", &f.f_grad()?)?;
                let (r, f) = (leaf(&real)?, leaf(&fake)?);
                let own = criterion.generator(&f, Some(&r))?;
                own.f_backward()?;
                put("generator", &own)?;
                put("generator-fake", &f.f_grad()?)?;
            }
        }
    }
    Ok(())
}

/// A step of both networks without the optimiser: losses and the gradients of all weights.
fn pair(out: &mut Named, net: GanNet, critic_norm: CriticNorm, image: Shape) -> Result<()> {
    let settings = PuganSettings { net, critic_norm, width: 8, latent: 12, ..PuganSettings::default() };
    let plan = GanPlan::of(&settings, image).map_err(|(_, e)| e)?;
    let maker = Net::build(&plan.generator, plan.init, false, 1, Device::Cpu)?;
    let critic = Net::build(&plan.discriminator, plan.init, plan.spectral, 2, Device::Cpu)?;
    let mut put = |what: String, t: &Tensor| -> Result<()> {
        out.push((format!("{net}/{what}"), t.f_detach_copy()?));
        Ok(())
    };
    // The weights of DCGAN begin so small that its gradients would be below what 32 bits can compare.
    let mut generator = Generator::new(3, Device::Cpu)?;
    for (part, network) in [("generator", &maker), ("critic", &critic)] {
        for (i, (name, mut tensor)) in network.named_tensors().into_iter().enumerate() {
            if tensor.dim() > 1 {
                let _frozen = kiln_nn::torch::NoGrad::new();
                let fan: i64 = tensor.size().iter().skip(1).product();
                tensor.f_copy_(&random(&mut generator, &tensor.size(), 0.0, (1.5 / fan as f64).sqrt())?)?;
            }
            put(format!("{part}/{i:03}/{name}"), &tensor)?;
        }
    }
    let Shape::Image(c, h, w) = image else { return Err("all of these make images".into()) };
    let noise = random(&mut generator, &[6, 12], 0.0, 1.0)?;
    let real = random(&mut generator, &[6, c, h, w].map(i64::from), 0.0, 0.5)?.f_clamp(-1.0, 1.0)?;
    let mut mix = Tensor::f_zeros([6, 1, 1, 1], CPU)?;
    generator.uniform_(&mut mix, 0.0, 1.0)?;
    for (name, tensor) in [("noise", &noise), ("real", &real), ("mix", &mix)] {
        put(name.into(), tensor)?;
    }
    let fake = maker.forward(&noise, Pass::Train)?;
    put("fake".into(), &fake)?;
    let criterion = Criterion::of(&settings);
    let on_real = critic.forward(&real, Pass::Train)?.f_flatten(0, -1)?;
    let on_fake = critic.forward(&fake.f_detach()?, Pass::Train)?.f_flatten(0, -1)?;
    let mut loss = criterion.critic(&on_real, &on_fake, Some(PRIOR))?.loss;
    // The penalty is one image's: it does not go together with batch normalisation.
    if critic_norm != CriticNorm::Batch {
        let penalty = gradient_penalty(|x| critic.forward(x, Pass::Again), &real, &fake.f_detach()?, &mix)?;
        put("penalty".into(), &penalty)?;
        loss = loss.f_add(&penalty.f_mul_scalar(PENALTY)?)?;
    }
    loss.f_backward()?;
    put("logits-real".into(), &on_real)?;
    put("logits-fake".into(), &on_fake)?;
    put("loss".into(), &loss)?;
    for (i, (name, tensor)) in critic.named_parameters().into_iter().enumerate() {
        put(format!("critic-grad/{i:03}/{name}"), &tensor.f_grad()?)?;
    }
    let own = criterion.generator(&critic.forward(&fake, Pass::Through)?.f_flatten(0, -1)?, None)?;
    own.f_backward()?;
    put("generator-loss".into(), &own)?;
    for (i, (name, tensor)) in maker.named_parameters().into_iter().enumerate() {
        put(format!("generator-grad/{i:03}/{name}"), &tensor.f_grad()?)?;
    }
    Ok(())
}
