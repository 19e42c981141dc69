//! What a pair of adversarial networks will cost.

use kiln_protocol::arch::gan::{self, piece};
use kiln_protocol::arch::{ArchError, Cost, GanPlan, Shape};
use kiln_protocol::images::shape_and_classes;
use kiln_protocol::spec::{GanLoss, PuganSettings, Spec};

use super::{CPU, Estimate, GPU, Member, OPS_PER_MAC, cpu_name, on_gpu};
use crate::images::{self, Number};

/// Images whose features are compared with, at most.
const REFERENCE: f64 = 10_000.0;

/// Seconds on one core that a Fréchet distance takes for each cubed feature: two eigen-decompositions by rotations.
const PER_CUBE: f64 = 3e-8;

pub fn estimate(spec: &Spec, own: &PuganSettings) -> Result<Estimate, ArchError> {
    let (image, classes) = shape_and_classes(&spec.data);
    let plan = GanPlan::of(own, image).map_err(|(_, e)| e)?;
    let classifier = gan::classifier(plan.image, classes, own.features)?;
    let Number { train, seen } = images::number(&spec.data);
    let gpu = on_gpu(spec);
    let rates = if gpu { &GPU } else { &CPU };
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let threads = if gpu { 1.0 } else { f64::from(spec.run.threads).min(cores) };

    let (batch, iterations) = (f64::from(spec.optim.batch), f64::from(own.iterations));
    let critic_steps = f64::from(own.critic_steps);
    let (g, d) = (plan.generator_cost(), plan.discriminator_cost());
    let penalised = own.loss == GanLoss::Wasserstein && own.penalty > 0.0;
    // Passes of an iteration, forward and back being three. A step of the critic: two there and back, and images made without
    // a way back; the penalty goes there, back, and both again. The generator's step: all of it, and the critic without the
    // gradients of its weights.
    let critic_passes = critic_steps * (6.0 + if penalised { 6.0 } else { 0.0 }) + 2.0;
    let generator_passes = critic_steps + 3.0;
    let macs = critic_passes / 3.0 * d.macs as f64 + generator_passes / 3.0 * g.macs as f64;
    let layers = critic_passes / 3.0 * piece::layers(&plan.discriminator) as f64
        + generator_passes / 3.0 * piece::layers(&plan.generator) as f64;
    let per_image = |macs: f64| OPS_PER_MAC * macs / (rates.ops * threads);
    let per_iteration = (critic_steps + 1.0) * rates.step + layers * rates.layer + batch * per_image(macs);

    let images = train as f64;
    let epochs = f64::from(own.feature_epochs);
    let cost = classifier.cost();
    let small = classifier.blocks.iter().map(|b| b.all_layers().len() as f64).sum::<f64>() * rates.layer;
    let training = epochs * (images / 64.0 * (rates.step + small) + images * per_image(cost.macs as f64));
    let samples = f64::from(own.samples);
    let measurements = (iterations / f64::from(own.evaluate_every)).ceil() + 1.0;
    let forward = |macs: u64| per_image(macs as f64) / 3.0;
    let one = samples * (forward(g.macs) + forward(cost.macs)) + f64::from(own.features).powi(3) * PER_CUBE;
    let measured = measurements * one + images.min(REFERENCE) * forward(cost.macs);

    let operations = OPS_PER_MAC * (iterations * batch * macs + epochs * images * cost.macs as f64);
    let weights = 4.0 * 4.0 * (g.params + d.params) as f64;
    let kept = piece::activations(&plan.generator, Shape::Flat(plan.latent)) as f64
        + 3.0 * piece::activations(&plan.discriminator, plan.image) as f64;
    let member = |name: &str, Cost { params, macs }: Cost| Member { arch: name.to_owned(), params, macs };
    Ok(Estimate {
        networks: vec![
            member(&format!("generator ({})", own.net), g),
            member(&format!("discriminator ({})", own.net), d),
            member("classifier for the features", cost),
        ],
        images: train,
        images_known: seen,
        epochs: if train == 0 { 0.0 } else { iterations * critic_steps * batch / images },
        epoch_images: iterations * critic_steps * batch,
        operations,
        iterations: Some(u64::from(own.iterations)),
        device: if gpu { "one GPU".into() } else { cpu_name(cores) },
        seconds: rates.start + iterations * per_iteration + training + measured,
        memory: rates.base + (weights + 2.0 * 4.0 * batch * kept + plan.image.numel() as f64 * images * 1.3) as u64,
        ..Estimate::default()
    })
}
