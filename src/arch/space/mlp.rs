//! Space D: residual MLPs on small images, in two speed families (project space of the DC-NAS card).
//!
//! `fast` is tanh without normalisation, `slow` is sigmoid with parameter-free layer normalisation before it. Block:
//! `h <- act(norm(W h + b)); h <- h + previous` where the shapes agree. One slot a block, so depth varies.

use super::{Arch, ArchError, Decision, Lowering, Space, number};
use crate::plan::{Act, Builder, Layer, Plan, Shape};

pub(super) fn space() -> Space {
    Space {
        name: "digits-mlp".into(),
        title: "residual MLPs of depth 1 to 4 in two speed families (space D)".into(),
        decisions: vec![
            Decision::new("family", &["fast", "slow"]).stratified(),
            Decision::new("depth", &["1", "2", "3", "4"]),
            Decision::new("width", &["8", "16", "32", "64", "128"]),
        ],
        reference: ["fast", "2", "64"].map(String::from).to_vec(),
        lowering: Lowering::Mlp,
    }
}

fn genes(arch: &Arch) -> Result<(bool, u32, u32), ArchError> {
    Ok((arch.genes[0] == "fast", number(&arch.genes[1])?, number(&arch.genes[2])?))
}

pub(super) fn plan(arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
    let (fast, depth, width) = genes(arch)?;
    let mut builder = Builder::new(input, classes, depth as usize);
    if let Shape::Image(..) = input {
        builder.block("flatten".into(), None, false, vec![Layer::Flatten])?;
    }
    for i in 0..depth {
        let linear = Layer::Linear { input: builder.shape().channels(), out: width, bias: true };
        let layers = if fast {
            vec![linear, Layer::Act(Act::Tanh)]
        } else {
            vec![linear, Layer::PlainLayerNorm, Layer::Act(Act::Sigmoid)]
        };
        builder.block(format!("block{}", i + 1), Some(i as usize), true, layers)?;
    }
    let linear = Layer::Linear { input: builder.shape().channels(), out: classes, bias: true };
    builder.block("head".into(), None, false, vec![linear])?;
    Ok(builder.finish())
}

pub(super) fn glyph(arch: &Arch) -> Vec<(f32, char)> {
    let Ok((fast, depth, width)) = genes(arch) else { return vec![] };
    let bar = ((width as f32).log2() / 7.0, if fast { 'f' } else { 's' });
    vec![bar; depth as usize]
}
