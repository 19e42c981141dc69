//! Residual multi-layer perceptrons on small images, in families that learn at different speed (space D of the DC-NAS
//! card): `h <- act(norm(W h + b)); h <- h + previous` where the shapes agree and the family is not plain. One slot a block, so depth varies.

use kiln_spec::{FamilySettings, SpaceDefinition};

use super::stages::act_of;
use super::{Arch, ArchError, Decision, number};
use crate::plan::{Builder, Layer, Plan, Shape};

/// Families, depths and widths with the index of their decision, if they have one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    families: Vec<(String, FamilySettings)>,
    depths: Vec<u32>,
    widths: Vec<u32>,
    at: [Option<usize>; 3],
}

/// Decisions and rules of a definition that [`SpaceDefinition::from_toml`] has checked.
pub(super) fn define(def: &SpaceDefinition) -> Result<(Vec<Decision>, Rules), ArchError> {
    let own = def.mlp.as_ref().ok_or_else(|| ArchError(format!("space `{}` has no table [mlp]", def.name)))?;
    let mut decisions = Vec::new();
    let mut decide = |name: &str, options: Vec<String>, stratify| {
        (options.len() > 1).then(|| {
            decisions.push(Decision { name: name.into(), options, stratify });
            decisions.len() - 1
        })
    };
    let text = |list: &[u32]| list.iter().map(u32::to_string).collect::<Vec<_>>();
    let at = [
        decide("family", own.families.keys().cloned().collect(), true),
        decide("depth", text(&own.depth.0), false),
        decide("width", text(&own.width.0), false),
    ];
    let families = own.families.clone().into_iter().collect();
    Ok((decisions, Rules { families, depths: own.depth.0.clone(), widths: own.width.0.clone(), at }))
}

impl Rules {
    fn genes(&self, arch: &Arch) -> Result<(usize, u32, u32), ArchError> {
        let gene = |i: usize| self.at[i].and_then(|at| arch.genes.get(at));
        let family = match gene(0) {
            Some(gene) => self.families.iter().position(|(name, _)| name == gene),
            None => Some(0),
        };
        let family = family.ok_or_else(|| ArchError(format!("`{arch}` names no family")))?;
        let count = |i: usize, list: &[u32]| match gene(i) {
            Some(gene) => number(gene),
            None => list.first().copied().ok_or_else(|| ArchError("a list of sizes is empty".into())),
        };
        Ok((family, count(1, &self.depths)?, count(2, &self.widths)?))
    }

    pub(super) fn plan(&self, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        let (family, depth, width) = self.genes(arch)?;
        let family = &self.families[family].1;
        let mut builder = Builder::new(input, classes, depth as usize);
        if let Shape::Image(..) = input {
            builder.block("flatten".into(), None, false, vec![Layer::Flatten])?;
        }
        for i in 0..depth {
            let mut layers = vec![Layer::Linear { input: builder.shape().channels(), out: width, bias: true }];
            layers.extend(family.norm.then_some(Layer::PlainLayerNorm));
            layers.push(Layer::Act(act_of(family.act)));
            builder.block(format!("block{}", i + 1), Some(i as usize), !family.plain, layers)?;
        }
        let linear = Layer::Linear { input: builder.shape().channels(), out: classes, bias: true };
        builder.block("head".into(), None, false, vec![linear])?;
        Ok(builder.finish())
    }

    pub(super) fn glyph(&self, arch: &Arch) -> Vec<(f32, char)> {
        let Ok((family, depth, width)) = self.genes(arch) else { return Vec::new() };
        let letter = self.families.get(family).and_then(|(name, _)| name.chars().next()).unwrap_or('m');
        let most = self.widths.iter().copied().max().unwrap_or(width).max(2) as f32;
        let bar = (((width as f32).log2() / most.log2()).clamp(0.05, 1.0), letter);
        vec![bar; depth as usize]
    }
}
