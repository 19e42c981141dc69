//! The classifier whose last hidden layer gives the features that distances between real and generated images are taken in.

use crate::plan::{Act, Builder, Layer, Plan, Shape};
use crate::space::ArchError;

/// Images with a side below this are flattened at once.
const SMALL: u32 = 16;

/// Neurons of the first hidden layer for those.
const HIDDEN: u32 = 64;

/// The classifier for images of this shape. Everything but its last block (`classes`) makes `features` numbers, behind a
/// ReLU, of an image. Small images pass through two linear layers, larger ones through convolutions with 2x2 pooling down
/// to a side of at most four and one linear layer.
///
/// # Errors
/// A sentence if no such network fits the shape.
pub fn classifier(image: Shape, classes: u32, features: u32) -> Result<Plan, ArchError> {
    let Shape::Image(channels, height, width) = image else {
        return Err(ArchError(format!("{image} is no image")));
    };
    let linear = |input, out| Layer::Linear { input, out, bias: true };
    if height.min(width) < SMALL {
        let pixels = u32::try_from(image.numel()).map_err(|_| ArchError(format!("{image} is too large an image")))?;
        let mut plan = Builder::new(Shape::Flat(pixels), classes, 0);
        plan.block("hidden".into(), None, false, vec![linear(pixels, HIDDEN), Layer::Act(Act::Relu)])?;
        plan.block("features".into(), None, false, vec![linear(HIDDEN, features), Layer::Act(Act::Relu)])?;
        plan.block("classes".into(), None, false, vec![linear(features, classes)])?;
        return Ok(plan.finish());
    }
    let mut plan = Builder::new(image, classes, 0);
    let (mut input, mut side) = (channels, height.max(width));
    for scale in 0.. {
        let out = if scale == 0 { 32 } else { 64 };
        let conv = Layer::Conv { input, out, kernel: 3, stride: 1, groups: 1, bias: false };
        let layers = vec![conv, Layer::BatchNorm { channels: out }, Layer::Act(Act::Relu), Layer::MaxPool];
        plan.block(format!("scale{scale}"), None, false, layers)?;
        (input, side) = (out, side / 2);
        if side <= 4 {
            break;
        }
    }
    let flat = u32::try_from(plan.shape().numel()).map_err(|_| ArchError(format!("{image} is too large an image")))?;
    let layers = vec![Layer::Flatten, linear(flat, features), Layer::Act(Act::Relu)];
    plan.block("features".into(), None, false, layers)?;
    plan.block("classes".into(), None, false, vec![linear(features, classes)])?;
    Ok(plan.finish())
}
