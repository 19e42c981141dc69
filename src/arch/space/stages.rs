//! Chains: a stem, stages of blocks with an operation to choose for each, and a head. The mobile spaces of HourNAS
//! (arXiv:2005.14446) and FBNet (arXiv:1812.03443) and space C of the project are such.
//!
//! Decisions come in this order: the switches that have a choice (`norm`, `path`, `act`, `base`), then stage by stage its
//! width and depth, where they have one, and its blocks. A block beyond a chosen depth has the gene [`ABSENT`].
//!
//! Convolutions are followed by batch normalisation, or have a bias where there is none. `skip` is offered only where the
//! block keeps stride and channels.

use kiln_spec::{
    ActName, Choices, HeadSettings, NormName, OpKind, OpSettings, PathName, SpaceDefinition, StemSettings, SwitchName,
    keeps,
};
use rand::Rng;

use super::{ABSENT, Arch, ArchError, Decision, Space};
use crate::chain::{Chain, Choice, Slot};
use crate::graph::{Graph, Input, Join, Node};
use crate::plan::{Act, Block, Builder, Layer, Plan, Shape};

/// A chain, as its definition says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    norm: Pick<NormName>,
    path: Pick<PathName>,
    act: Pick<ActName>,
    base: Pick<u32>,
    stem: StemSettings,
    stages: Vec<Stage>,
    slots: Vec<Place>,
    ops: Vec<(String, OpSettings)>,
    head: HeadSettings,
    /// The last stage offers blocks that end without normalisation and activation.
    preact: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Stage {
    width: Pick<u32>,
    depth: Pick<u32>,
    stride: u32,
    squeeze_excite: Option<f64>,
    act: Option<ActName>,
    /// Its slots, of the greatest depth.
    slots: std::ops::Range<usize>,
}

/// Where a slot is.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    stage: usize,
    /// Within the stage, from 0.
    index: u32,
    /// Index of its decision.
    decision: usize,
}

/// A value that is fixed, or that a decision picks.
#[derive(Clone, Debug, PartialEq)]
struct Pick<T> {
    options: Vec<(String, T)>,
    decision: Option<usize>,
}

impl<T: Copy> Pick<T> {
    fn new(values: &[T], name: impl Fn(T) -> String) -> Pick<T> {
        Pick { options: values.iter().map(|v| (name(*v), *v)).collect(), decision: None }
    }

    /// Adds a decision if there is something to decide.
    fn decide(mut self, name: String, stratify: bool, to: &mut Vec<Decision>) -> Pick<T> {
        if self.options.len() > 1 {
            self.decision = Some(to.len());
            to.push(Decision { name, options: self.options.iter().map(|(o, _)| o.clone()).collect(), stratify });
        }
        self
    }

    fn of(&self, genes: &[String]) -> Result<T, ArchError> {
        let gene = self.decision.and_then(|d| genes.get(d));
        let found = match gene {
            Some(gene) => self.options.iter().find(|(name, _)| name == gene),
            None => self.options.first(),
        };
        found
            .map(|(_, value)| *value)
            .ok_or_else(|| ArchError(format!("`{}` is none of the options", gene.map_or("nothing", String::as_str))))
    }
}

fn act(name: ActName) -> Act {
    match name {
        ActName::Relu => Act::Relu,
        ActName::Gelu => Act::Gelu,
        ActName::Tanh => Act::Tanh,
        ActName::Sigmoid => Act::Sigmoid,
        ActName::Hardswish => Act::HardSwish,
    }
}

pub(super) fn act_of(name: ActName) -> Act {
    act(name)
}

fn act_gene(name: ActName) -> String {
    match name {
        ActName::Relu => "relu",
        ActName::Gelu => "gelu",
        ActName::Tanh => "tanh",
        ActName::Sigmoid => "sigmoid",
        ActName::Hardswish => "hardswish",
    }
    .into()
}

/// Decisions and rules of a definition that [`SpaceDefinition::from_toml`] has checked.
pub(super) fn define(def: &SpaceDefinition) -> Result<(Vec<Decision>, Rules), ArchError> {
    let said = |what: &str| ArchError(format!("space `{}` {what}", def.name));
    let stem = def.stem.as_ref().ok_or_else(|| said("has no stem"))?;
    let switches = def.switches.clone().unwrap_or_default();
    let stratified = |name| switches.stratify.contains(&name);
    let mut decisions = Vec::new();
    let norm = |n| if n == NormName::Bn { "bn" } else { "nonorm" }.to_owned();
    let path = |p| if p == PathName::Residual { "residual" } else { "plain" }.to_owned();
    let to = &mut decisions;
    let norm = Pick::new(&switches.norm.0, norm).decide("norm".into(), stratified(SwitchName::Norm), to);
    let path = Pick::new(&switches.path.0, path).decide("path".into(), stratified(SwitchName::Path), to);
    let act = Pick::new(&switches.act.0, act_gene).decide("act".into(), stratified(SwitchName::Act), to);
    let base = Pick::new(&switches.base.0, |b: u32| b.to_string());
    let base = base.decide("base".into(), stratified(SwitchName::Base), to);

    let (mut stages, mut slots) = (Vec::new(), Vec::new());
    let mut before = Some(Choices(vec![stem.width]));
    for (s, stage) in def.stages.iter().enumerate() {
        let number = |n: u32| n.to_string();
        let width = Pick::new(&stage.width.0, number).decide(format!("stage{}.width", s + 1), false, &mut decisions);
        let depth = Pick::new(&stage.depth.0, number).decide(format!("stage{}.depth", s + 1), false, &mut decisions);
        let first = slots.len();
        let offered: Vec<String> = stage.ops.clone().unwrap_or_else(|| def.ops.keys().cloned().collect());
        for index in 0..stage.depth.0.iter().copied().max().unwrap_or(0) {
            let may_skip = index > 0 || keeps(before.as_ref(), stage);
            let offers = |name: &&String| may_skip || def.ops.get(*name).is_none_or(|op| op.kind != OpKind::Skip);
            let options: Vec<String> = offered.iter().filter(offers).cloned().collect();
            if let Some(unknown) = options.iter().find(|name| !def.ops.contains_key(*name)) {
                return Err(said(&format!("has no operation `{unknown}`")));
            }
            if options.is_empty() {
                return Err(said(&format!("offers nothing for block {} of stage {}", index + 1, s + 1)));
            }
            let name = if def.numbered.is_empty() {
                format!("stage{}.{}", s + 1, index + 1)
            } else {
                format!("{}{}", def.numbered, slots.len() + 1)
            };
            slots.push(Place { stage: s, index, decision: decisions.len() });
            decisions.push(Decision { name, options, stratify: false });
        }
        stages.push(Stage {
            width,
            depth,
            stride: stage.stride,
            squeeze_excite: stage.squeeze_excite,
            act: stage.act,
            slots: first..slots.len(),
        });
        before = Some(stage.width.clone());
    }
    let offered = def.stages.last().and_then(|stage| stage.ops.clone());
    let offered = offered.unwrap_or_else(|| def.ops.keys().cloned().collect());
    let preact = offered.iter().any(|name| def.ops.get(name).is_some_and(|op| op.kind == OpKind::Preact));
    let rules = Rules {
        norm,
        path,
        act,
        base,
        stem: stem.clone(),
        stages,
        slots,
        ops: def.ops.clone().into_iter().collect(),
        head: def.head.clone().unwrap_or_default(),
        preact,
    };
    Ok((decisions, rules))
}

/// What the switches of one member say.
#[derive(Clone, Copy)]
struct Style {
    norm: bool,
    residual: bool,
    act: Act,
    base: u32,
}

impl Style {
    fn conv(&self, input: u32, out: u32, kernel: u32, stride: u32, groups: u32, active: bool) -> Vec<Layer> {
        let mut layers = vec![Layer::Conv { input, out, kernel, stride, groups, bias: !self.norm }];
        layers.extend(self.norm.then_some(Layer::BatchNorm { channels: out }));
        layers.extend(active.then_some(Layer::Act(self.act)));
        layers
    }

    /// What stands before a convolution in pre-activation blocks.
    fn before(&self, channels: u32) -> Vec<Layer> {
        let mut layers: Vec<Layer> = self.norm.then_some(Layer::BatchNorm { channels }).into_iter().collect();
        layers.push(Layer::Act(self.act));
        layers
    }

    /// Two convolutions and a shortcut round them, a 1x1 convolution where the shape changes. The activation is behind the
    /// sum, or before each convolution.
    fn residual(&self, c: u32, width: u32, kernel: u32, stride: u32, preact: bool) -> Graph {
        let bare = |input, out, kernel, stride| Layer::Conv { input, out, kernel, stride, groups: 1, bias: !self.norm };
        let sum = |inputs, layers| Node { join: Join::Sum, inputs, layers };
        let same = c == width && stride == 1;
        let mut nodes = Vec::new();
        let (ways, behind) = if preact {
            nodes.push(sum(vec![Input { from: 0, layers: self.before(c) }], Vec::new()));
            let mut inside = vec![bare(c, width, kernel, stride)];
            inside.extend(self.before(width));
            inside.push(bare(width, width, kernel, 1));
            let round = match same {
                true => Input::plain(0),
                false => Input { from: 1, layers: vec![bare(c, width, 1, stride)] },
            };
            (vec![Input { from: 1, layers: inside }, round], Vec::new())
        } else {
            let inside =
                [self.conv(c, width, kernel, stride, 1, true), self.conv(width, width, kernel, 1, 1, false)].concat();
            let round = if same { Vec::new() } else { self.conv(c, width, 1, stride, 1, false) };
            (vec![Input { from: 0, layers: inside }, Input { from: 0, layers: round }], vec![Layer::Act(self.act)])
        };
        let ways = if self.residual { ways } else { ways.into_iter().take(1).collect() };
        nodes.push(sum(ways, behind));
        Graph { nodes }
    }
}

impl Rules {
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    fn style(&self, genes: &[String]) -> Result<Style, ArchError> {
        Ok(Style {
            norm: self.norm.of(genes)? == NormName::Bn,
            residual: self.path.of(genes)? == PathName::Residual,
            act: act(self.act.of(genes)?),
            base: self.base.of(genes)?,
        })
    }

    /// Decisions that these genes leave without a meaning: blocks beyond the depth of their stage.
    pub(super) fn absent(&self, genes: &[String]) -> Vec<bool> {
        let mut absent = vec![false; genes.len()];
        for place in &self.slots {
            let depth = self.stages[place.stage].depth.of(genes).unwrap_or(u32::MAX);
            if let Some(absent) = absent.get_mut(place.decision) {
                *absent = place.index >= depth;
            }
        }
        absent
    }

    /// Number of genotypes, counting blocks only as far as the depth of their stage reaches.
    pub(super) fn size(&self, decisions: &[Decision]) -> f64 {
        let of = |d: usize| decisions[d].options.len() as f64;
        let pick = |d: Option<usize>| d.map_or(1.0, of);
        let switches = pick(self.norm.decision) * pick(self.path.decision) * pick(self.act.decision);
        let stages = self.stages.iter().map(|stage| {
            let blocks = |depth: usize| {
                self.slots[stage.slots.clone()].iter().take(depth).map(|p| of(p.decision)).product::<f64>()
            };
            let depths: f64 = match stage.depth.decision {
                None => blocks(stage.slots.len()),
                Some(d) => decisions[d].options.iter().map(|n| blocks(n.parse().unwrap_or(0))).sum(),
            };
            pick(stage.width.decision) * depths
        });
        switches * pick(self.base.decision) * stages.product::<f64>()
    }

    fn block(
        &self,
        style: &Style,
        place: &Place,
        gene: &str,
        input: Shape,
        width: u32,
    ) -> Result<Option<Block>, ArchError> {
        let stage = &self.stages[place.stage];
        let op = self.ops.iter().find(|(name, _)| name == gene).map(|(_, op)| op);
        let op = op.ok_or_else(|| ArchError(format!("there is no operation `{gene}`")))?;
        let style = Style { act: stage.act.map_or(style.act, act), ..*style };
        let stride = if place.index == 0 { stage.stride } else { 1 };
        let (c, k) = (input.channels(), op.kernel);
        let conv = |input, out, kernel, stride, groups, active| style.conv(input, out, kernel, stride, groups, active);
        let name = format!("stage{}.{}", place.stage + 1, place.index + 1);
        let slot = self.slots[stage.slots.clone()].iter().position(|p| p == place).map(|i| i + stage.slots.start);
        let layers = match op.kind {
            OpKind::Skip => return Ok(None),
            OpKind::Basic | OpKind::Preact => {
                let graph = style.residual(c, width, k, stride, op.kind == OpKind::Preact);
                return Block::graph(name, slot, input, graph, Vec::new()).map(Some);
            }
            OpKind::ConvPool => [conv(c, width, k, stride, 1, true), vec![Layer::MaxPool]].concat(),
            OpKind::Conv => conv(c, width, k, stride, op.groups, true),
            OpKind::Separable => [conv(c, c, k, stride, c, true), conv(c, width, 1, 1, 1, true)].concat(),
            OpKind::InvertedResidual => {
                let m = c * op.expansion;
                let mut layers = conv(c, m, 1, 1, op.groups, true);
                layers.extend((op.groups > 1).then_some(Layer::ChannelShuffle { groups: op.groups }));
                layers.extend(conv(m, m, k, stride, m, true));
                let share = stage.squeeze_excite.unwrap_or(op.squeeze_excite);
                // The smallest excess keeps 0.05 x 20 from being 0.99…
                let reduced = ((share * f64::from(m) + 1e-9).floor() as u32).max(1);
                layers.extend((share > 0.0).then_some(Layer::SqueezeExcite { channels: m, reduced }));
                layers.extend(conv(m, width, 1, 1, op.groups, false));
                layers
            }
        };
        Block::new(name, slot, style.residual, input, layers).map(Some)
    }

    fn stem(&self, style: &Style, space: &Space, input: Shape) -> Result<Vec<Layer>, ArchError> {
        let channels = space.channels(input)?;
        let own = &self.stem;
        let mut layers = style.conv(channels, own.width * style.base, own.kernel, own.stride, 1, true);
        layers.extend(own.pool.then_some(Layer::MaxPool));
        Ok(layers)
    }

    fn head(&self, style: &Style, input: Shape, classes: u32) -> Result<Vec<Layer>, ArchError> {
        let channels = input.channels();
        let mut layers = if self.preact { style.before(channels) } else { Vec::new() };
        if self.head.width > 0 {
            layers.extend(style.conv(channels, self.head.width * style.base, 1, 1, 1, true));
        }
        layers.push(if self.head.flatten { Layer::Flatten } else { Layer::GlobalAvgPool });
        let mut units = layers.iter().try_fold(input, |shape, layer| layer.output(shape))?.channels();
        for width in self.head.hidden.iter().map(|width| width * style.base) {
            layers.extend([Layer::Linear { input: units, out: width, bias: true }, Layer::Act(style.act)]);
            units = width;
        }
        layers.push(Layer::Linear { input: units, out: classes, bias: true });
        Ok(layers)
    }

    pub(super) fn plan(&self, space: &Space, arch: &Arch, input: Shape, classes: u32) -> Result<Plan, ArchError> {
        let genes = &arch.genes;
        let style = self.style(genes)?;
        let mut builder = Builder::new(input, classes, self.slots());
        builder.block("stem".into(), None, false, self.stem(&style, space, input)?)?;
        for place in &self.slots {
            let stage = &self.stages[place.stage];
            if place.index >= stage.depth.of(genes)? {
                continue;
            }
            let width = stage.width.of(genes)? * style.base;
            let gene = genes.get(place.decision).map_or("", String::as_str);
            if let Some(block) = self.block(&style, place, gene, builder.shape(), width)? {
                builder.push(block);
            }
        }
        let head = self.head(&style, builder.shape(), classes)?;
        builder.block("head".into(), None, false, head)?;
        Ok(builder.finish())
    }

    /// The blocks with every choice; `None` if something else than the operations of blocks is a decision.
    pub(super) fn chain(&self, space: &Space, input: Shape, classes: u32) -> Result<Option<Chain>, ArchError> {
        if space.decisions.len() != self.slots() {
            return Ok(None);
        }
        let style = self.style(&[])?;
        let stem = Block::new("stem".into(), None, false, input, self.stem(&style, space, input)?)?;
        let mut shape = stem.output;
        let mut slots = Vec::with_capacity(self.slots());
        for (place, decision) in self.slots.iter().zip(&space.decisions) {
            let stage = &self.stages[place.stage];
            let width = stage.width.of(&[])? * style.base;
            let mut output = shape;
            let mut choices = Vec::with_capacity(decision.options.len());
            for gene in &decision.options {
                let block = self.block(&style, place, gene, shape, width)?;
                output = block.as_ref().map_or(output, |b| b.output);
                let cost = block.as_ref().map(Block::cost).unwrap_or_default();
                choices.push(Choice { gene: gene.clone(), block, cost });
            }
            let stride = if place.index == 0 { stage.stride } else { 1 };
            slots.push(Slot { name: decision.name.clone(), input: shape, output, stride, choices });
            shape = output;
        }
        let layers = self.head(&style, shape, classes)?;
        let head = Block::new("head".into(), None, false, shape, layers)?;
        Ok(Some(Chain { stem: vec![stem], slots, head: vec![head] }))
    }

    /// A bar a slot: as high as its width where widths vary between members, else as its expansion.
    pub(super) fn glyph(&self, arch: &Arch) -> Vec<(f32, char)> {
        let widths: Vec<f32> =
            self.stages.iter().flat_map(|s| s.width.options.iter().map(|(_, w)| *w as f32)).collect();
        let bases = self.base.options.iter().map(|(_, b)| *b as f32);
        let most = bases.fold(1.0, f32::max) * widths.iter().copied().fold(1.0, f32::max);
        let vary = self.base.decision.is_some() || self.stages.iter().any(|s| s.width.decision.is_some());
        let bar = |place: &Place| {
            let stage = &self.stages[place.stage];
            let op = arch.genes.get(place.decision).and_then(|g| self.ops.iter().find(|(name, _)| name == g));
            let (Some((_, op)), Ok(width), Ok(base)) = (op, stage.width.of(&arch.genes), self.base.of(&arch.genes))
            else {
                return (0.0, '-');
            };
            let (small, large) = match op.kind {
                OpKind::Skip => return (0.0, '-'),
                OpKind::Conv | OpKind::ConvPool => ('c', 'C'),
                OpKind::Basic | OpKind::Preact => ('r', 'R'),
                OpKind::Separable => ('d', 'D'),
                OpKind::InvertedResidual if vary => ('i', 'I'),
                OpKind::InvertedResidual => ('k', 'K'),
            };
            let height = match vary {
                true => ((width * base) as f32).log2() / most.log2().max(1.0),
                false => 0.25 + op.expansion as f32 / 8.0,
            };
            (height.clamp(0.05, 1.0), if op.kernel > 3 { large } else { small })
        };
        self.slots.iter().map(bar).collect()
    }
}

/// Makes genes agree with the depths that they choose: blocks beyond are [`ABSENT`], blocks within get one of `fill`.
pub(super) fn settle(rules: &Rules, genes: &mut [String], mut fill: impl FnMut(usize) -> String) {
    for (i, absent) in rules.absent(genes).into_iter().enumerate() {
        if absent {
            ABSENT.clone_into(&mut genes[i]);
        } else if genes[i] == ABSENT {
            genes[i] = fill(i);
        }
    }
}

/// Some option of a decision, at random.
pub(super) fn any_option(decision: &Decision, rng: &mut impl Rng) -> String {
    decision.options[rng.gen_range(0..decision.options.len())].clone()
}
