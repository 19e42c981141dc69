//! The pairs of networks that settings name.

use kiln_spec::{CriticNorm, GanNet, PuganSettings};

use super::piece::{self, Piece};
use crate::cost::Cost;
use crate::plan::Shape;
use crate::space::ArchError;

/// Slope of the discriminators' LeakyReLU below zero, as in the authors' code: "arch 1" has its own.
const SLOPE: f64 = 0.2;
const SLOPE_CONV: f64 = 0.1;

/// Sides that generators of images begin at.
const STARTS: std::ops::RangeInclusive<u32> = 4..=7;

/// How weights begin. Biases of convolutions are 0; linear layers in front of no ReLU are not told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// Convolutions `N(0, 0.02)`, gains of batch normalisation `N(1, 0.02)`; weights and biases of linear layers uniform up
    /// to `1 / sqrt(fan_in)`, as PyTorch leaves them. What the authors' code does.
    Dcgan,
    /// Weights uniform with the variance `2 / (fan_in + fan_out)` (Glorot), gains 1, biases 0: residual networks.
    Glorot,
}

/// A generator and a discriminator. The one takes noise `[n, latent]` and makes images of [`GanPlan::image`] with pixels from
/// -1 to 1, the other takes such images and gives one logit each, `[n, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub struct GanPlan {
    pub latent: u32,
    /// With the padding that the settings ask for.
    pub image: Shape,
    pub generator: Vec<Piece>,
    pub discriminator: Vec<Piece>,
    pub init: Init,
    /// Divide each of the discriminator's weights by its largest singular value.
    pub spectral: bool,
}

impl GanPlan {
    /// The pair that settings ask for, for images of this shape.
    ///
    /// # Errors
    /// The key that is wrong and a sentence: a side that the network cannot make, or padding that is none.
    pub fn of(settings: &PuganSettings, image: Shape) -> Result<GanPlan, (&'static str, ArchError)> {
        let image = padded(image, settings.side).map_err(|e| ("pugan.side", e))?;
        let made = match settings.net {
            GanNet::Mlp => mlp(settings, image),
            GanNet::Dcgan => scales(image, settings.net).and_then(|s| dcgan(settings, &s)),
            GanNet::Conv => scales(image, settings.net).and_then(|s| conv(settings, &s)),
            GanNet::Resnet => scales(image, settings.net).and_then(|s| resnet(settings, &s)),
        };
        let (generator, discriminator) = made.map_err(|e| ("pugan.net", e))?;
        let plan = GanPlan {
            latent: settings.latent,
            image,
            generator,
            discriminator,
            init: if settings.net == GanNet::Resnet { Init::Glorot } else { Init::Dcgan },
            spectral: settings.critic_norm == CriticNorm::Spectral,
        };
        let made = piece::output(&plan.generator, Shape::Flat(plan.latent)).map_err(|e| ("pugan.net", e))?;
        let judged = piece::output(&plan.discriminator, image).map_err(|e| ("pugan.net", e))?;
        if made != image || judged != Shape::Flat(1) {
            return Err(("pugan.net", ArchError(format!("the pair makes {made} of noise and {judged} of {image}"))));
        }
        Ok(plan)
    }

    /// Whether the discriminator's judgement of an image depends on those beside it.
    pub fn judges_batches(&self) -> bool {
        piece::any(&self.discriminator, &|piece| matches!(piece, Piece::BatchNorm { .. }))
    }

    /// Cost of one image made.
    pub fn generator_cost(&self) -> Cost {
        piece::sum(&self.generator, Shape::Flat(self.latent))
    }

    /// Cost of one image judged.
    pub fn discriminator_cost(&self) -> Cost {
        piece::sum(&self.discriminator, self.image)
    }
}

/// The shape with black around it up to `side`; 0 for none.
fn padded(image: Shape, side: u32) -> Result<Shape, ArchError> {
    match image {
        Shape::Image(..) if side == 0 => Ok(image),
        Shape::Image(c, h, w) if side >= h.max(w) => Ok(Shape::Image(c, side, side)),
        Shape::Image(_, h, w) => Err(ArchError(format!(
            "is {side}, less than the {} pixels of the images; it pads images and cannot shrink them. Expected {} or more, or 0",
            h.max(w),
            h.max(w)
        ))),
        Shape::Flat(_) => Err(ArchError(format!("{image} is no image"))),
    }
}

/// An image's side as a start that is doubled some times.
struct Scales {
    channels: u32,
    start: u32,
    doublings: u32,
}

impl Scales {
    /// Channels at the start, doubling towards it from `width` at the finest of `scales` scales.
    fn widest(width: u32, scales: u32) -> Result<u32, ArchError> {
        let widest = 1_u32.checked_shl(scales).and_then(|m| m.checked_mul(width)).filter(|n| *n <= 65_536);
        widest.ok_or_else(|| {
            ArchError(format!(
                "would have more than 65,536 channels from a width of {width}; choose a smaller pugan.width"
            ))
        })
    }
}

fn scales(image: Shape, net: GanNet) -> Result<Scales, ArchError> {
    let misfit = || {
        let sides = match image {
            Shape::Image(_, h, w) => format!("{h}x{w}"),
            Shape::Flat(n) => n.to_string(),
        };
        ArchError(format!(
            "is `{net}`, which makes square images with a side of 4 to 7 times a power of two (8, 28, 32, 48, 64, ...), not {sides}. \
             Pad them with pugan.side, or choose `mlp`"
        ))
    };
    let Shape::Image(channels, height, width) = image else { return Err(misfit()) };
    if height != width {
        return Err(misfit());
    }
    let (mut start, mut doublings) = (height, 0);
    while start > *STARTS.end() && start.is_multiple_of(2) {
        (start, doublings) = (start / 2, doublings + 1);
    }
    if STARTS.contains(&start) && doublings > 0 { Ok(Scales { channels, start, doublings }) } else { Err(misfit()) }
}

type Pair = (Vec<Piece>, Vec<Piece>);

/// `z - width - width - pixels`, batch normalisation and ReLU inside and tanh at the end, against `pixels - width - width - 1`
/// with LeakyReLU. Without normalisation the generator keeps to one or two classes for thousands of iterations.
fn mlp(settings: &PuganSettings, image: Shape) -> Result<Pair, ArchError> {
    let Shape::Image(channels, height, width) = image else {
        return Err(ArchError(format!("{image} is no image")));
    };
    let pixels = u32::try_from(image.numel()).map_err(|_| ArchError(format!("{image} is too large an image")))?;
    let (hidden, linear) = (settings.width, |input, out| Piece::Linear { input, out });
    let generator = vec![
        linear(settings.latent, hidden),
        Piece::BatchNorm { channels: hidden },
        Piece::Relu,
        linear(hidden, hidden),
        Piece::BatchNorm { channels: hidden },
        Piece::Relu,
        linear(hidden, pixels),
        Piece::Tanh,
        Piece::Unflatten { channels, height, width },
    ];
    let leaky = || Piece::LeakyRelu { slope: SLOPE };
    let discriminator =
        vec![Piece::Flatten, linear(pixels, hidden), leaky(), linear(hidden, hidden), leaky(), linear(hidden, 1)];
    Ok((generator, discriminator))
}

/// Halves (transposed: doubles) the side.
fn halving(input: u32, out: u32, bias: bool) -> Piece {
    Piece::Conv { input, out, kernel: 4, stride: 2, padding: 1, bias }
}

fn doubling(input: u32, out: u32, bias: bool) -> Piece {
    Piece::Deconv { input, out, kernel: 4, stride: 2, padding: 1, bias }
}

fn same(input: u32, out: u32, kernel: u32) -> Piece {
    Piece::Conv { input, out, kernel, stride: 1, padding: kernel / 2, bias: true }
}

/// "Arch 0": transposed convolutions from a single pixel of noise; the discriminator mirrors it. Without biases.
fn dcgan(settings: &PuganSettings, scales: &Scales) -> Result<Pair, ArchError> {
    let Scales { channels, start, doublings } = *scales;
    let widest = Scales::widest(settings.width, doublings - 1)?;
    let first =
        Piece::Deconv { input: settings.latent, out: widest, kernel: start, stride: 1, padding: 0, bias: false };
    let mut generator = vec![
        Piece::Unflatten { channels: settings.latent, height: 1, width: 1 },
        first,
        Piece::BatchNorm { channels: widest },
        Piece::Relu,
    ];
    let mut now = widest;
    while now > settings.width {
        generator.extend([doubling(now, now / 2, false), Piece::BatchNorm { channels: now / 2 }, Piece::Relu]);
        now /= 2;
    }
    generator.extend([doubling(now, channels, false), Piece::Tanh]);

    let leaky = || Piece::LeakyRelu { slope: SLOPE };
    let mut discriminator = vec![halving(channels, settings.width, false), leaky()];
    let mut now = settings.width;
    while now < widest {
        discriminator.push(halving(now, 2 * now, false));
        discriminator.extend(norm(settings, 2 * now));
        discriminator.push(leaky());
        now *= 2;
    }
    let last = Piece::Conv { input: now, out: 1, kernel: start, stride: 1, padding: 0, bias: false };
    discriminator.extend([last, Piece::Flatten]);
    Ok((generator, discriminator))
}

/// "Arch 1".
fn conv(settings: &PuganSettings, scales: &Scales) -> Result<Pair, ArchError> {
    let Scales { channels, start, doublings } = *scales;
    let widest = Scales::widest(settings.width, doublings)?;
    let mut generator = vec![
        Piece::Linear { input: settings.latent, out: widest * start * start },
        Piece::Unflatten { channels: widest, height: start, width: start },
    ];
    let mut now = widest;
    while now > settings.width {
        generator.extend([doubling(now, now / 2, true), Piece::BatchNorm { channels: now / 2 }, Piece::Relu]);
        now /= 2;
    }
    generator.extend([same(now, channels, 3), Piece::Tanh]);

    let leaky = || Piece::LeakyRelu { slope: SLOPE_CONV };
    let mut discriminator = Vec::new();
    let (mut input, mut now) = (channels, settings.width);
    for _ in 0..doublings {
        for piece in [same(input, now, 3), halving(now, now, true)] {
            discriminator.push(piece);
            discriminator.extend(norm(settings, now));
            discriminator.push(leaky());
        }
        (input, now) = (now, 2 * now);
    }
    // The last convolution is followed by no normalisation.
    discriminator.extend([same(input, now, 3), leaky(), Piece::Flatten]);
    discriminator.push(Piece::Linear { input: now * start * start, out: 1 });
    Ok((generator, discriminator))
}

fn norm(settings: &PuganSettings, channels: u32) -> Option<Piece> {
    (settings.critic_norm == CriticNorm::Batch).then_some(Piece::BatchNorm { channels })
}

/// The residual pair of the paper on spectral normalisation (its tables 3 and 4): a constant number of channels, twice the
/// discriminator's in the generator; the discriminator halves the side down to at most eight, then two blocks keep it.
fn resnet(settings: &PuganSettings, scales: &Scales) -> Result<Pair, ArchError> {
    let Scales { channels, start, doublings } = *scales;
    let (d, g) = (settings.width, 2 * settings.width);
    let mut generator = vec![
        Piece::Linear { input: settings.latent, out: g * start * start },
        Piece::Unflatten { channels: g, height: start, width: start },
    ];
    for _ in 0..doublings {
        let norm = || Piece::BatchNorm { channels: g };
        let main = vec![norm(), Piece::Relu, Piece::Upsample, same(g, g, 3), norm(), Piece::Relu, same(g, g, 3)];
        generator.push(Piece::Residual { main, skip: vec![Piece::Upsample, same(g, g, 1)] });
    }
    generator.extend([Piece::BatchNorm { channels: g }, Piece::Relu, same(g, channels, 3), Piece::Tanh]);

    // The first block sees pixels: no activation in front, and the shortcut is pooled before it is widened.
    let main = vec![same(channels, d, 3), Piece::Relu, same(d, d, 3), Piece::AvgPool];
    let mut discriminator = vec![Piece::Residual { main, skip: vec![Piece::AvgPool, same(channels, d, 1)] }];
    let mut side = (start << doublings) / 2;
    while side > 8 {
        let main = vec![Piece::Relu, same(d, d, 3), Piece::Relu, same(d, d, 3), Piece::AvgPool];
        discriminator.push(Piece::Residual { main, skip: vec![same(d, d, 1), Piece::AvgPool] });
        side /= 2;
    }
    for _ in 0..2 {
        let main = vec![Piece::Relu, same(d, d, 3), Piece::Relu, same(d, d, 3)];
        discriminator.push(Piece::Residual { main, skip: Vec::new() });
    }
    discriminator.extend([Piece::Relu, Piece::SumPool, Piece::Linear { input: d, out: 1 }]);
    Ok((generator, discriminator))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(net: GanNet, width: u32) -> PuganSettings {
        PuganSettings { net, width, ..PuganSettings::default() }
    }

    fn plan(net: GanNet, width: u32, image: Shape) -> GanPlan {
        GanPlan::of(&settings(net, width), image).unwrap()
    }

    #[test]
    fn every_net_makes_the_sides_that_it_promises() {
        for net in [GanNet::Dcgan, GanNet::Conv, GanNet::Resnet] {
            for side in [8, 10, 14, 28, 32, 48, 64, 96] {
                let plan = plan(net, 8, Shape::Image(3, side, side));
                assert_eq!(plan.image, Shape::Image(3, side, side));
                assert!(plan.generator_cost().params > 0 && plan.discriminator_cost().macs > 0);
            }
        }
        let plan = plan(GanNet::Mlp, 16, Shape::Image(1, 5, 9));
        assert_eq!(plan.image, Shape::Image(1, 5, 9));
    }

    /// Counts by hand, from the layers that the method card lists.
    #[test]
    fn parameters_are_those_of_the_authors_networks() {
        let arch0 = plan(GanNet::Dcgan, 128, Shape::Image(3, 64, 64));
        let norms = 2 * (1024 + 512 + 256 + 128);
        let weights = 16 * (128 * 1024 + 1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3);
        assert_eq!(arch0.generator_cost().params, weights + norms);
        let weights = 16 * (3 * 128 + 128 * 256 + 256 * 512 + 512 * 1024 + 1024);
        assert_eq!(arch0.discriminator_cost().params, weights + 2 * (256 + 512 + 1024));

        let arch1 = plan(GanNet::Conv, 64, Shape::Image(3, 32, 32));
        let generator =
            128 * 8192 + 8192 + 16 * (512 * 256 + 256 * 128 + 128 * 64) + (256 + 128 + 64) * 3 + 9 * 64 * 3 + 3;
        assert_eq!(arch1.generator_cost().params, generator);
        let convs: [(u64, u64, u64); 7] =
            [(3, 64, 9), (64, 64, 16), (64, 128, 9), (128, 128, 16), (128, 256, 9), (256, 256, 16), (256, 512, 9)];
        let convs: u64 = convs.iter().map(|(input, out, k)| input * out * k + out).sum();
        assert_eq!(arch1.discriminator_cost().params, convs + 2 * 2 * (64 + 128 + 256) + 8192 + 1);
        let spectral = PuganSettings { critic_norm: CriticNorm::Spectral, ..settings(GanNet::Conv, 64) };
        let spectral = GanPlan::of(&spectral, Shape::Image(3, 32, 32)).unwrap();
        assert_eq!(spectral.discriminator_cost().params, convs + 8192 + 1);
        assert!(spectral.spectral && !spectral.judges_batches() && arch1.judges_batches());

        let mlp = plan(GanNet::Mlp, 128, Shape::Image(1, 8, 8));
        assert_eq!(mlp.discriminator_cost().macs, 64 * 128 + 128 * 128 + 128);
    }

    #[test]
    fn what_cannot_be_made_is_a_sentence() {
        let wrong = |net, side, image| {
            let settings = PuganSettings { side, ..settings(net, 8) };
            let (key, e) = GanPlan::of(&settings, image).unwrap_err();
            format!("{key} {e}")
        };
        let said = wrong(GanNet::Conv, 0, Shape::Image(1, 30, 30));
        assert!(said.starts_with("pugan.net is `conv`") && said.contains("not 30x30"), "{said}");
        assert!(wrong(GanNet::Dcgan, 0, Shape::Image(1, 28, 32)).contains("square"));
        assert!(wrong(GanNet::Resnet, 0, Shape::Image(1, 7, 7)).contains("7x7"));
        let said = wrong(GanNet::Conv, 20, Shape::Image(1, 28, 28));
        assert!(said.starts_with("pugan.side is 20, less than the 28 pixels"), "{said}");
        let said = GanPlan::of(
            &PuganSettings { net: GanNet::Conv, width: 2048, ..PuganSettings::default() },
            Shape::Image(1, 512, 512),
        );
        assert!(said.unwrap_err().1.to_string().contains("65,536"));
    }

    #[test]
    fn the_classifier_ends_in_the_features_asked_for() {
        for (image, features) in
            [(Shape::Image(1, 8, 8), 32), (Shape::Image(1, 28, 28), 64), (Shape::Image(3, 64, 64), 128)]
        {
            let plan = super::super::classifier(image, 10, features).unwrap();
            let [.., hidden, last] = plan.blocks.as_slice() else { panic!("{plan:?}") };
            assert_eq!((hidden.output, last.output), (Shape::Flat(features), Shape::Flat(10)));
        }
    }
}
