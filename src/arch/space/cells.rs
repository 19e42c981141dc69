//! Space C: three stages of three slots for small images, with global switches that change the speed of learning
//! (project space of the DC-NAS card).
//!
//! The first slot of stages 2 and 3 halves the side and doubles the width; `skip` is not offered there, since it could do
//! neither. Convolutions have a bias where there is no batch normalisation.

use super::{Arch, ArchError, Decision, Lowering, Space, number};
use crate::plan::{Act, Builder, Layer, Plan, Shape};

pub(super) const SLOTS: usize = 9;

const SWITCHES: usize = 4;

pub(super) fn space() -> Space {
    let mut decisions = vec![
        Decision::new("norm", &["bn", "nonorm"]).stratified(),
        Decision::new("path", &["residual", "plain"]).stratified(),
        Decision::new("act", &["relu", "gelu", "sigmoid"]).stratified(),
        Decision::new("base", &["8", "16", "24"]),
    ];
    let mut reference = ["bn", "residual", "relu", "16"].map(String::from).to_vec();
    for slot in 0..SLOTS {
        let all = ["c3", "d3", "d5", "i3", "skip"];
        let options = if widens(slot) { &all[..4] } else { &all[..] };
        decisions.push(Decision::new(format!("slot{}", slot + 1), options));
        reference.push("c3".into());
    }
    Space {
        name: "conv-cells".into(),
        title: "3 stages x 3 slots of dense, depthwise and inverted-residual convolutions (space C)".into(),
        decisions,
        reference,
        lowering: Lowering::Cells,
    }
}

/// Whether the slot starts stage 2 or 3.
fn widens(slot: usize) -> bool {
    slot > 0 && slot.is_multiple_of(3)
}

pub(super) fn plan(arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
    let Shape::Image(channels, ..) = input else {
        return Err(ArchError(format!("space `conv-cells` needs images, not {input}")));
    };
    let norm = arch.genes[0] == "bn";
    let residual = arch.genes[1] == "residual";
    let act = match arch.genes[2].as_str() {
        "relu" => Act::Relu,
        "gelu" => Act::Gelu,
        _ => Act::Sigmoid,
    };
    let base = number(&arch.genes[3])?;
    let conv = |input, out, kernel, stride, groups, active: bool| {
        let mut layers = vec![Layer::Conv { input, out, kernel, stride, groups, bias: !norm }];
        layers.extend(norm.then_some(Layer::BatchNorm { channels: out }));
        layers.extend(active.then_some(Layer::Act(act)));
        layers
    };
    let mut builder = Builder::new(input, classes, SLOTS);
    builder.block("stem".into(), None, false, conv(channels, base, 3, 1, 1, true))?;
    for slot in 0..SLOTS {
        let c = builder.shape().channels();
        let out = base << (slot / 3);
        let stride = if widens(slot) { 2 } else { 1 };
        let layers = match arch.genes[SWITCHES + slot].as_str() {
            "c3" => conv(c, out, 3, stride, 1, true),
            "d3" => [conv(c, c, 3, stride, c, true), conv(c, out, 1, 1, 1, true)].concat(),
            "d5" => [conv(c, c, 5, stride, c, true), conv(c, out, 1, 1, 1, true)].concat(),
            "i3" => {
                let m = 3 * c;
                [conv(c, m, 1, 1, 1, true), conv(m, m, 3, stride, m, true), conv(m, out, 1, 1, 1, false)].concat()
            }
            _ => continue,
        };
        builder.block(format!("stage{}.{}", slot / 3 + 1, slot % 3 + 1), Some(slot), residual, layers)?;
    }
    let linear = Layer::Linear { input: builder.shape().channels(), out: classes, bias: true };
    builder.block("head".into(), None, false, vec![Layer::GlobalAvgPool, linear])?;
    Ok(builder.finish())
}

pub(super) fn glyph(arch: &Arch) -> Vec<(f32, char)> {
    let base = arch.genes.get(SWITCHES - 1).and_then(|g| g.parse::<f32>().ok()).unwrap_or(8.0);
    let bar = |(slot, gene): (usize, &String)| match gene.as_str() {
        "skip" => (0.0, '-'),
        op => {
            let width = base * (1 << (slot / 3)) as f32;
            let class = match op {
                "c3" => 'c',
                "d3" => 'd',
                "d5" => 'D',
                _ => 'i',
            };
            (width.log2() / 96f32.log2(), class)
        }
    };
    arch.genes.iter().skip(SWITCHES).enumerate().map(bar).collect()
}
