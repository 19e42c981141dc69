//! Layers of generators and discriminators.

use crate::cost::Cost;
use crate::plan::Shape;
use crate::space::ArchError;

/// One layer. Weights of convolutions are `[out, input, k, k]`, of transposed ones `[input, out, k, k]`, of linear layers
/// `[out, input]`; those have biases.
#[derive(Clone, Debug, PartialEq)]
pub enum Piece {
    Linear {
        input: u32,
        out: u32,
    },
    Conv {
        input: u32,
        out: u32,
        kernel: u32,
        stride: u32,
        padding: u32,
        bias: bool,
    },
    /// Transposed: the side `n` becomes `(n - 1) * stride - 2 * padding + kernel`.
    Deconv {
        input: u32,
        out: u32,
        kernel: u32,
        stride: u32,
        padding: u32,
        bias: bool,
    },
    /// Over channels, with gain and shift.
    BatchNorm {
        channels: u32,
    },
    Relu,
    /// What is below zero is multiplied by the slope.
    LeakyRelu {
        slope: f64,
    },
    Tanh,
    /// A vector becomes an image, channel by channel.
    Unflatten {
        channels: u32,
        height: u32,
        width: u32,
    },
    /// An image becomes a vector.
    Flatten,
    /// Every pixel becomes four.
    Upsample,
    /// 2x2 average pooling, stride 2.
    AvgPool,
    /// Sum over height and width; an image becomes a vector.
    SumPool,
    /// Two ways whose results are added.
    Residual {
        main: Vec<Piece>,
        /// Empty: the input itself.
        skip: Vec<Piece>,
    },
}

impl Piece {
    /// Shape behind this layer.
    ///
    /// # Errors
    /// When it does not fit its input; the sentence names both.
    pub fn output(&self, input: Shape) -> Result<Shape, ArchError> {
        let misfit = || ArchError(format!("{self:?} cannot take {input}"));
        match (self, input) {
            (Piece::Linear { input: n, out }, Shape::Flat(m)) if *n == m => Ok(Shape::Flat(*out)),
            (Piece::Conv { input: ci, out, kernel, stride, padding, .. }, Shape::Image(c, h, w)) if *ci == c => {
                let side = |n: u32| (n + 2 * padding).checked_sub(*kernel).map(|m| m / stride + 1);
                match (side(h), side(w)) {
                    (Some(h), Some(w)) => Ok(Shape::Image(*out, h, w)),
                    _ => Err(misfit()),
                }
            }
            (Piece::Deconv { input: ci, out, kernel, stride, padding, .. }, Shape::Image(c, h, w)) if *ci == c => {
                let side = |n: u32| (n.saturating_sub(1) * stride + kernel).checked_sub(2 * padding).filter(|n| *n > 0);
                match (side(h), side(w)) {
                    (Some(h), Some(w)) => Ok(Shape::Image(*out, h, w)),
                    _ => Err(misfit()),
                }
            }
            (Piece::BatchNorm { channels }, Shape::Image(c, ..) | Shape::Flat(c)) if *channels == c => Ok(input),
            (Piece::Relu | Piece::LeakyRelu { .. } | Piece::Tanh, _) => Ok(input),
            (Piece::Unflatten { channels, height, width }, Shape::Flat(n))
                if u64::from(*channels) * u64::from(*height) * u64::from(*width) == u64::from(n) =>
            {
                Ok(Shape::Image(*channels, *height, *width))
            }
            (Piece::Flatten, Shape::Image(..)) => Ok(Shape::Flat(u32::try_from(input.numel()).map_err(|_| misfit())?)),
            (Piece::Upsample, Shape::Image(c, h, w)) => Ok(Shape::Image(c, 2 * h, 2 * w)),
            (Piece::AvgPool, Shape::Image(c, h, w)) if h >= 2 && w >= 2 => Ok(Shape::Image(c, h / 2, w / 2)),
            (Piece::SumPool, Shape::Image(c, ..)) => Ok(Shape::Flat(c)),
            (Piece::Residual { main, skip }, _) => {
                let (main, skip) = (output(main, input)?, output(skip, input)?);
                if main == skip {
                    Ok(main)
                } else {
                    Err(ArchError(format!("ways of {main} and {skip} cannot be added")))
                }
            }
            _ => Err(misfit()),
        }
    }

    /// Parameters, and multiply-accumulates of one image of this shape. Shapes that do not fit cost nothing: see
    /// [`Piece::output`].
    pub fn cost(&self, input: Shape) -> Cost {
        let out = self.output(input).unwrap_or(Shape::Flat(0));
        let places = |shape: Shape| shape.numel() / u64::from(shape.channels().max(1));
        let cost = |weights: u64, biases: u64, uses: u64| Cost { params: weights + biases, macs: weights * uses };
        match self {
            Piece::Linear { input, out } => cost(u64::from(*input) * u64::from(*out), u64::from(*out), 1),
            Piece::Conv { input: ci, out: co, kernel, bias, .. } => {
                let weights = u64::from(*ci) * u64::from(*co) * u64::from(kernel * kernel);
                cost(weights, if *bias { u64::from(*co) } else { 0 }, places(out))
            }
            // Every pixel of the input is spread by the whole kernel.
            Piece::Deconv { input: ci, out: co, kernel, bias, .. } => {
                let weights = u64::from(*ci) * u64::from(*co) * u64::from(kernel * kernel);
                cost(weights, if *bias { u64::from(*co) } else { 0 }, places(input))
            }
            Piece::BatchNorm { channels } => Cost { params: 2 * u64::from(*channels), macs: 0 },
            Piece::Residual { main, skip } => sum(main, input) + sum(skip, input),
            _ => Cost::default(),
        }
    }
}

/// Shape behind a chain of layers.
///
/// # Errors
/// As [`Piece::output`].
pub fn output(pieces: &[Piece], input: Shape) -> Result<Shape, ArchError> {
    pieces.iter().try_fold(input, |shape, piece| piece.output(shape))
}

/// Whether some layer of a chain, or of its branches, is such a one.
pub fn any(pieces: &[Piece], such: &dyn Fn(&Piece) -> bool) -> bool {
    pieces.iter().any(|piece| match piece {
        Piece::Residual { main, skip } => any(main, such) || any(skip, such),
        other => such(other),
    })
}

/// Cost of a chain of layers.
pub fn sum(pieces: &[Piece], input: Shape) -> Cost {
    let mut total = Cost::default();
    let mut shape = input;
    for piece in pieces {
        total = total + piece.cost(shape);
        shape = piece.output(shape).unwrap_or(shape);
    }
    total
}

/// Layers with weights, activations and additions of a chain, for estimates of time.
pub fn layers(pieces: &[Piece]) -> usize {
    pieces
        .iter()
        .map(|piece| match piece {
            Piece::Flatten | Piece::Unflatten { .. } => 0,
            Piece::Residual { main, skip } => layers(main) + layers(skip) + 1,
            _ => 1,
        })
        .sum()
}

/// Numbers that a chain leaves between its layers for one image, for estimates of memory.
pub fn activations(pieces: &[Piece], input: Shape) -> u64 {
    let mut shape = input;
    let mut total = 0;
    for piece in pieces {
        if let Piece::Residual { main, skip } = piece {
            total += activations(main, shape) + activations(skip, shape);
        }
        shape = piece.output(shape).unwrap_or(shape);
        total += shape.numel();
    }
    total
}
