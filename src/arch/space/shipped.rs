//! The spaces that come with Kiln.

use super::mobile::{Stage, Stages};
use super::{Space, cells, mlp};

/// Names of the shipped spaces.
pub const NAMES: &[&str] = &["digits-mlp", "conv-cells", "mobile-xs", "mobile-m", "hournas-f", "hournas-f-cifar"];

pub(super) fn find(name: &str) -> Option<Space> {
    Some(match name {
        "digits-mlp" => mlp::space(),
        "conv-cells" => cells::space(),
        "mobile-xs" => Stages {
            stem: (16, 1),
            stages: stages(&[(16, 3, 1), (32, 3, 2), (64, 3, 2)]),
            ops: vec!["k3e1", "k3e3", "k5e3", "skip"],
            squeeze_excite: false,
            head: None,
        }
        .space(name, "9 inverted residuals for 8x8 images (space XS)", "k3e3"),
        "mobile-m" => Stages {
            stem: (16, 1),
            stages: stages(&[(24, 3, 1), (40, 3, 2), (80, 3, 2), (112, 2, 1)]),
            ops: vec!["k3e1", "k3e3", "k3e6", "k5e1", "k5e3", "k5e6", "skip"],
            squeeze_excite: false,
            head: None,
        }
        .space(name, "11 inverted residuals for 28x28 to 32x32 images (space M)", "k3e3"),
        "hournas-f" => {
            let strides = [1, 2, 2, 2, 1, 2, 1];
            hournas_f(name, 2, strides, "22 inverted residuals for ImageNet: the space of HourNAS-F")
        }
        "hournas-f-cifar" => {
            let strides = [1, 1, 1, 2, 1, 2, 1];
            hournas_f(name, 1, strides, "22 inverted residuals for 32x32 images: HourNAS-F on CIFAR-10")
        }
        _ => return None,
    })
}

/// The MnasNet/EfficientNet-like space; its ops are read off the released genotype.
fn hournas_f(name: &str, stem_stride: u32, strides: [u32; 7], title: &str) -> Space {
    let shape = [(16, 1), (24, 4), (40, 4), (80, 4), (112, 4), (192, 4), (320, 1)];
    let chain: Vec<(u32, u32, u32)> =
        shape.iter().zip(strides).map(|(&(width, n), stride)| (width, n, stride)).collect();
    Stages {
        stem: (32, stem_stride),
        stages: stages(&chain),
        ops: vec!["k3e1", "k3e3", "k3e6", "k5e1", "k5e3", "k5e6", "skip"],
        squeeze_excite: true,
        head: Some(1280),
    }
    .space(name, title, "k3e3")
}

fn stages(rows: &[(u32, u32, u32)]) -> Vec<Stage> {
    rows.iter().map(|&(width, layers, stride)| Stage { width, layers, stride }).collect()
}
