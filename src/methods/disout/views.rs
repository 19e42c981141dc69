//! What a person sees: the operators with their figures, and channels before and after.

use kiln_arch::Site;
use kiln_nn::Look;
use kiln_protocol::View;
use kiln_protocol::spec::RegulariserSettings;
use kiln_protocol::view::{Images, Layer, LayerColumn, Layers, Picture};

use super::watch::Snapshot;

/// Operators whose channels are shown: evenly over the network.
const SHOWN: usize = 4;

/// One row an operator, in the order of the network.
pub fn operators(settings: &RegulariserSettings, sites: &[Site], snapshot: &Snapshot) -> View {
    let column =
        |name: &str, decimals, unit: &str, full| LayerColumn { name: name.into(), decimals, unit: unit.into(), full };
    let rows = sites.iter().zip(&snapshot.sites).map(|(site, figures)| {
        let c = |i: usize| figures.coefficient.map(|c| c[i]);
        let complexity = |i: usize| figures.complexity.map(|c| c[i]);
        Layer {
            name: site.name.clone(),
            cells: vec![
                Some(figures.p),
                Some(1.0 - figures.kept),
                Some(figures.block),
                figures.noise,
                c(0),
                c(1),
                c(2),
                complexity(0),
                complexity(1),
            ],
        }
    });
    View::Layers(Layers {
        title: format!("{} behind each layer", settings.kind),
        columns: vec![
            column("p", 3, "", Some(settings.p)),
            column("distorted", 3, "", Some(1.0)),
            column("block", 0, "px", None),
            column("noise/std", 3, "", Some(1.0)),
            column("mean |c|", 4, "", None),
            column("least c", 4, "", None),
            column("most c", 4, "", None),
            column("complexity", 4, "", None),
            column("when distorted", 4, "", None),
        ],
        rows: rows.collect(),
        note: "complexity: 1/n max_k |sum_i sigma_i (K f_i)[k]| of the next layer's weights K, over 16 draws of signs"
            .into(),
    })
}

/// A channel before, which of it is kept, and after, of some operators.
pub fn channels(epochs: f64, looks: &[Look]) -> View {
    let step = looks.len().div_ceil(SHOWN).max(1);
    let mut pictures = Vec::new();
    // The last operator is always among them.
    let mut chosen: Vec<&Look> = looks.iter().rev().step_by(step).collect();
    chosen.reverse();
    for look in chosen {
        let channel = &look.channel;
        let what = match channel.number {
            Some(number) => format!("{} ch {number}", look.site),
            None => format!("{} units", look.site),
        };
        let width = u32::try_from(channel.width).unwrap_or(0).max(1);
        let height = channel.before.len() as u32 / width;
        let all = || channel.before.iter().chain(&channel.after).copied().filter(|v| v.is_finite());
        let (low, high) = (all().fold(f32::INFINITY, f32::min), all().fold(f32::NEG_INFINITY, f32::max));
        let scale = if high > low { 255.0 / (high - low) } else { 0.0 };
        let grey = |values: &[f32]| -> Vec<u8> {
            values.iter().map(|v| ((v - low) * scale).clamp(0.0, 255.0) as u8).collect()
        };
        let kept: Vec<u8> = channel.keep.iter().map(|keep| if *keep > 0.5 { 255 } else { 0 }).collect();
        pictures.extend([
            Picture::new(what, width, height, 1, &grey(&channel.before)),
            Picture::new("kept".to_owned(), width, height, 1, &kept),
            Picture::new("after".to_owned(), width, height, 1, &grey(&channel.after)),
        ]);
    }
    View::Images(Images {
        title: format!("Channels before, kept (white) and after, at epoch {epochs:.1}"),
        pictures,
        columns: 3,
        note: "before and after have one scale; of vectors, a row is an image and a column a unit".into(),
    })
}
