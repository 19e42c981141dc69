//! Settings of PUGAN (arXiv:2002.01136) and of the adversarial networks that it is compared with.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Losses of the discriminator on its logit `s`: `f1` of calling an image real, `f2` of calling it generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GanLoss {
    /// `softplus(-s)` and `softplus(s)`; the generator's is `softplus(-s)` (non-saturating).
    Standard,
    /// `(s - 1)^2` and, with the positive-unlabelled risk, `(s + 1)^2`; without it `s^2`, unless `signed-labels` is set. The generator's is `(s - 1)^2`.
    LeastSquares,
    /// `relu(1 - s)` and `relu(1 + s)`; the generator's is `-s`.
    Hinge,
    /// `-s` and `s` with a gradient penalty (WGAN-GP); the generator's is `-s`.
    Wasserstein,
}

impl GanLoss {
    /// The name as presets write it.
    pub fn as_str(self) -> &'static str {
        match self {
            GanLoss::Standard => "standard",
            GanLoss::LeastSquares => "least-squares",
            GanLoss::Hinge => "hinge",
            GanLoss::Wasserstein => "wasserstein",
        }
    }
}

impl std::fmt::Display for GanLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How the prior pi moves during the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PriorSchedule {
    /// It stays at `prior` (mode 1 of the authors' code).
    Fixed,
    /// It rises by `prior-step` every `prior-every` iterations up to `prior-end`: steps of 0.1 are mode 0 of the authors' code, of 0.2 mode 2.
    Step,
    /// It moves evenly from `prior` to `prior-end` over the whole training.
    Linear,
}

/// Pairs of networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GanNet {
    /// Two hidden layers of `width` each, for images of a few pixels.
    Mlp,
    /// Strided and transposed convolutions whose width doubles from scale to scale (DCGAN; "arch 0" of the authors' code).
    Dcgan,
    /// Two convolutions a scale in the discriminator ("arch 1" of the authors' code, from the paper on spectral normalisation).
    Conv,
    /// Residual blocks (arXiv:1802.05957); the discriminator has no batch normalisation.
    Resnet,
}

impl GanNet {
    /// The name as presets write it.
    pub fn as_str(self) -> &'static str {
        match self {
            GanNet::Mlp => "mlp",
            GanNet::Dcgan => "dcgan",
            GanNet::Conv => "conv",
            GanNet::Resnet => "resnet",
        }
    }
}

impl std::fmt::Display for GanNet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What keeps the discriminator's layers in range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CriticNorm {
    /// Batch normalisation, in the nets that have any there (`dcgan`, `conv`). Real and generated images pass apart from each other.
    Batch,
    /// Spectral normalisation of every weight instead: one step of power iteration a step.
    Spectral,
    /// Nothing.
    None,
}

/// PUGAN: generated images are unlabelled, a share pi of them as good as real ones; the discriminator learns by the positive-unlabelled risk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PuganSettings {
    /// The loss.
    pub loss: GanLoss,
    /// The positive-unlabelled risk; without it the plain loss of that name, the baseline.
    pub pu: bool,
    /// Share pi of generated images that count as good (the class prior), at the start.
    #[schemars(range(min = 0.001, max = 0.999))]
    pub prior: f64,
    /// How pi moves.
    pub prior_schedule: PriorSchedule,
    /// Where a moving pi ends.
    #[schemars(range(min = 0.001, max = 0.999))]
    pub prior_end: f64,
    /// Rise of pi at each of its steps.
    #[schemars(range(min = 0.0, max = 0.9))]
    pub prior_step: f64,
    /// Iterations between two steps of pi.
    #[schemars(range(min = 1, max = 100000000), extend("x-unit" = "iterations"))]
    pub prior_every: u32,
    /// Where the estimated risk of the negatives is below zero, descend its opposite (nnPU, arXiv:1703.00593) instead of leaving that batch's part out, as the authors' code does.
    pub nnpu: bool,
    /// Iterations at the start that use the ordinary sum of both losses, a remedy for a discriminator that dies early.
    #[schemars(range(max = 100000000), extend("x-unit" = "iterations"))]
    pub warmup: u32,
    /// Compare logits with the mean logit of the other kind (relativistic average, arXiv:1807.00734): a baseline, without the positive-unlabelled risk.
    pub relativistic: bool,
    /// Least squares without the positive-unlabelled risk: label generated images -1, as with it, instead of 0, as the authors' code does.
    pub signed_labels: bool,
    /// Weight of the gradient penalty, with `wasserstein` alone.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub penalty: f64,
    /// Iterations: each is `critic-steps` steps of the discriminator and one of the generator.
    #[schemars(range(min = 1, max = 100000000), extend("x-unit" = "iterations", "x-aliases" = ["steps", "iters"]))]
    pub iterations: u32,
    /// Steps of the discriminator an iteration.
    #[schemars(range(min = 1, max = 100))]
    pub critic_steps: u32,
    /// The pair of networks.
    pub net: GanNet,
    /// Width of the networks: neurons of a hidden layer (`mlp`), channels at the finest scale (`dcgan`: 128 in the paper, `conv`: 64; `resnet`: the discriminator's, the generator has twice as many).
    #[schemars(range(min = 4, max = 2048))]
    pub width: u32,
    /// Length of the noise vector.
    #[schemars(range(min = 1, max = 4096))]
    pub latent: u32,
    /// Side to which images are padded with black, such as 32 for the 28 pixels of Fashion-MNIST; 0 leaves them as they are.
    #[schemars(range(max = 1024), extend("x-unit" = "px"))]
    pub side: u32,
    /// What keeps the discriminator's layers in range.
    pub critic_norm: CriticNorm,
    /// Decay of the moving average of the generator's weights from which samples and figures are made; 0 takes the weights themselves.
    #[schemars(range(min = 0.0, max = 0.99999))]
    pub ema: f64,
    /// Iterations over which losses, logits and the clip fraction are averaged for the charts.
    #[schemars(range(min = 1, max = 100000), extend("x-unit" = "iterations"))]
    pub report_every: u32,
    /// Iterations between two sheets of samples, all from the same noise.
    #[schemars(range(min = 1, max = 100000000), extend("x-unit" = "iterations"))]
    pub sample_every: u32,
    /// Iterations between two measurements of the Fréchet distance.
    #[schemars(range(min = 1, max = 100000000), extend("x-unit" = "iterations"))]
    pub evaluate_every: u32,
    /// Generated images a measurement; 20 for each feature are wanted at least.
    #[schemars(range(min = 100, max = 1000000), extend("x-unit" = "images"))]
    pub samples: u32,
    /// Share of the iterations before measurements count for the best, worst and mean distance.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub burn_in: f64,
    /// Features of an image: the width of the last hidden layer of the classifier that Kiln trains on the real images for this, with a seed of its own.
    #[schemars(range(min = 4, max = 512))]
    pub features: u32,
    /// Epochs of that classifier.
    #[schemars(range(min = 1, max = 1000), extend("x-unit" = "epochs"))]
    pub feature_epochs: u32,
}

impl Default for PuganSettings {
    fn default() -> Self {
        PuganSettings {
            loss: GanLoss::Standard,
            pu: true,
            prior: 0.3,
            prior_schedule: PriorSchedule::Fixed,
            prior_end: 0.6,
            prior_step: 0.1,
            prior_every: 10_000,
            nnpu: false,
            warmup: 0,
            relativistic: false,
            signed_labels: false,
            penalty: 10.0,
            iterations: 20_000,
            critic_steps: 1,
            net: GanNet::Conv,
            width: 64,
            latent: 128,
            side: 0,
            critic_norm: CriticNorm::Batch,
            ema: 0.0,
            report_every: 50,
            sample_every: 500,
            evaluate_every: 1000,
            samples: 2000,
            burn_in: 0.1,
            features: 64,
            feature_epochs: 20,
        }
    }
}

impl PuganSettings {
    /// The prior of the iteration that follows `done` finished ones.
    pub fn prior_at(&self, done: u64) -> f64 {
        match self.prior_schedule {
            PriorSchedule::Fixed => self.prior,
            PriorSchedule::Step => {
                // The code counts the iteration at hand: with steps every 10,000, the 10,000th is the first with the new prior.
                let steps = (done + 1) / u64::from(self.prior_every.max(1));
                (self.prior + self.prior_step * steps as f64).min(self.prior_end)
            }
            PriorSchedule::Linear => {
                let share = done as f64 / f64::from(self.iterations.max(2) - 1);
                self.prior + (self.prior_end - self.prior) * share.min(1.0)
            }
        }
    }

    /// The logit that the best discriminator gives once generated images are spread as real ones are; `None` where the loss
    /// has no single one. Follows from the pointwise optimum `D* = min(1, pi p_data / p_g)` at `p_g = p_data`.
    pub fn target_logit(&self, prior: f64) -> Option<f64> {
        match (self.loss, self.pu) {
            (GanLoss::Standard, true) => Some((prior / (1.0 - prior)).ln()),
            // Only differences of logits count in relativistic losses.
            (_, false) if self.relativistic => None,
            (GanLoss::Standard, false) => Some(0.0),
            (GanLoss::LeastSquares, true) => Some(2.0 * prior - 1.0),
            (GanLoss::LeastSquares, false) => Some(if self.signed_labels { 0.0 } else { 0.5 }),
            (GanLoss::Hinge | GanLoss::Wasserstein, _) => None,
        }
    }

    /// The name of the whole loss, as papers write it: `PUSGAN`, `LSGAN`, `RaSGAN`.
    pub fn label(&self) -> String {
        let base = match self.loss {
            GanLoss::Standard => "SGAN",
            GanLoss::LeastSquares => "LSGAN",
            GanLoss::Hinge => "HingeGAN",
            GanLoss::Wasserstein => "WGAN-GP",
        };
        match (self.pu, self.relativistic) {
            (true, _) => format!("PU{base}"),
            (false, true) => format!("Ra{base}"),
            (false, false) => base.to_owned(),
        }
    }
}
