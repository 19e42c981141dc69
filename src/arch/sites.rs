//! Where a regulariser works in a network, and which layer reads what it distorts there.
//!
//! Disout (arXiv:2002.11022) scales its noise by the weights of the next layer. In a network with branches the next one in
//! the order of modules need not be the one that reads the distorted values, so it is found by following them: through
//! normalisation, activation, pooling, sums, concatenation and shuffles, up to the first convolution (of a map) or fully
//! connected layer (of a vector) on every way. Of several in the first block that has one, that with the largest kernel is
//! taken, the first of equals: a 1x1 projection beside a block is skipped for the block's own convolution, as the authors do.

use kiln_spec::{RegulariserPlace, RegulariserSettings};

use crate::graph::Join;
use crate::plan::{Layer, Plan, Shape};
use crate::space::ArchError;

/// A place in a network where activations are distorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The layer behind which it is, as the network's tensors are called: `stage3.1.0`, `stack1.1.node0.in0.1`.
    pub name: String,
    /// What is distorted.
    pub shape: Shape,
    /// The layer that reads it; `None` for maps that no convolution reads any more.
    pub next: Option<Reader>,
}

/// A layer that reads the values of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// As the network's tensors are called; its weights are `<name>.weight`.
    pub name: String,
    /// Side of its kernel; 1 for a fully connected layer.
    pub kernel: u32,
    /// Groups of its inputs.
    pub groups: u32,
    /// Which of the site's channels each of its inputs is (`None`: one of another origin); nothing where they are the same
    /// in the same order.
    pub channels: Option<Vec<Option<u32>>>,
}

/// The places in a network that settings name, in its order; none for a regulariser that is off.
///
/// # Errors
/// The setting and a sentence: a network without such a place, a block larger than a map.
pub fn find(plan: &Plan, settings: &RegulariserSettings) -> Result<Vec<Site>, (&'static str, ArchError)> {
    if !settings.is_on() {
        return Ok(Vec::new());
    }
    let flow = Flow::of(plan).map_err(|e| ("regulariser.at", e))?;
    let sites: Vec<Site> = flow.places(settings.at).into_iter().filter_map(|at| flow.site(at)).collect();
    if sites.is_empty() {
        let missing = match settings.at {
            RegulariserPlace::LastStage => {
                "convolution with a kernel above 1x1 on its last maps; expected `hidden` or `all`"
            }
            RegulariserPlace::Hidden => "hidden fully connected layer; expected `last-stage` or `all`",
            RegulariserPlace::All => "layer to regularise; expected another network, or kind = \"none\"",
        };
        let said = format!("is `{}`, but the network has no {missing}", settings.at.as_str());
        return Err(("regulariser.at", ArchError(said)));
    }
    if settings.kind.has_blocks() {
        for site in &sites {
            if let Shape::Image(_, h, w) = site.shape
                && settings.block > h.min(w)
            {
                let said = format!(
                    "is {}, larger than the {h}x{w} map behind layer `{}`; expected at most {}",
                    settings.block,
                    site.name,
                    h.min(w)
                );
                return Err(("regulariser.block", ArchError(said)));
            }
        }
    }
    Ok(sites)
}

/// What makes a value.
#[derive(Clone, Copy)]
enum What {
    /// The input, or zeros.
    Source,
    Layer(Layer),
    Sum,
    Concat,
}

/// A value of a network.
struct Value {
    /// The layer's name; empty where a layer of that place has none, such as an addition.
    name: String,
    what: What,
    from: Vec<usize>,
    shape: Shape,
    /// Number of the block; the stem has none.
    block: Option<usize>,
}

/// All values of a network, each after those that it is made of.
struct Flow {
    values: Vec<Value>,
}

/// Of every channel of a value, which channel of a site it is.
type Origin = Vec<Option<u32>>;

impl Flow {
    fn of(plan: &Plan) -> Result<Flow, ArchError> {
        let mut flow = Flow { values: Vec::new() };
        let mut at = flow.push(String::new(), What::Source, Vec::new(), plan.input, None);
        for (i, block) in plan.blocks.iter().enumerate() {
            let number = (block.name != "stem").then_some(i);
            let input = at;
            if let Some(graph) = &block.graph {
                let shapes = graph.shapes(block.input)?;
                let mut made = vec![input];
                for (n, node) in graph.nodes.iter().enumerate() {
                    let name = format!("{}.node{n}", block.name);
                    let mut terms = Vec::with_capacity(node.inputs.len());
                    for (k, edge) in node.inputs.iter().enumerate() {
                        terms.push(flow.chain(&edge.layers, &format!("{name}.in{k}"), made[edge.from], number)?);
                    }
                    let what = match (terms.is_empty(), node.join) {
                        (true, _) => What::Source,
                        (false, Join::Sum) => What::Sum,
                        (false, Join::Concat) => What::Concat,
                    };
                    let shape = node.joined(n, &shapes)?;
                    let joined = flow.push(String::new(), what, terms, shape, number);
                    made.push(flow.chain(&node.layers, &name, joined, number)?);
                }
                at = made[made.len() - 1];
            }
            at = flow.chain(&block.layers, &block.name, at, number)?;
            if block.shortcut {
                at = flow.push(String::new(), What::Sum, vec![at, input], block.output, number);
            }
            if let Some(act) = block.after {
                at = flow.push(String::new(), What::Layer(Layer::Act(act)), vec![at], block.output, number);
            }
        }
        Ok(flow)
    }

    fn push(&mut self, name: String, what: What, from: Vec<usize>, shape: Shape, block: Option<usize>) -> usize {
        self.values.push(Value { name, what, from, shape, block });
        self.values.len() - 1
    }

    /// Layers one after the other, behind the value `at`; gives the last value.
    fn chain(&mut self, layers: &[Layer], name: &str, mut at: usize, block: Option<usize>) -> Result<usize, ArchError> {
        for (i, &layer) in layers.iter().enumerate() {
            let shape = layer.output(self.values[at].shape)?;
            at = self.push(format!("{name}.{i}"), What::Layer(layer), vec![at], shape, block);
        }
        Ok(at)
    }

    /// The values that settings mean.
    fn places(&self, at: RegulariserPlace) -> Vec<usize> {
        let side = |shape: Shape| if let Shape::Image(_, h, w) = shape { Some((h, w)) } else { None };
        let conv = |value: &&Value| matches!(value.what, What::Layer(Layer::Conv { .. }));
        let last = self.values.iter().rev().find(conv).and_then(|value| side(value.shape));
        let linear = |value: &Value| matches!(value.what, What::Layer(Layer::Linear { .. }));
        let classifier = self.values.iter().rposition(linear);
        let mut places = Vec::new();
        for (i, value) in self.values.iter().enumerate() {
            match value.what {
                What::Layer(Layer::Conv { kernel, .. }) if kernel > 1 => {
                    let wanted = match at {
                        RegulariserPlace::All => true,
                        RegulariserPlace::LastStage => value.block.is_some() && side(value.shape) == last,
                        RegulariserPlace::Hidden => false,
                    };
                    places.extend(wanted.then_some(i));
                }
                What::Layer(Layer::Linear { .. }) if Some(i) != classifier && at != RegulariserPlace::LastStage => {
                    places.push(self.activated(i));
                }
                _ => {}
            }
        }
        places
    }

    /// The value behind the normalisation and activation that follow a layer in its own list.
    fn activated(&self, mut at: usize) -> usize {
        while let Some(next) = self.values.get(at + 1)
            && next.from == [at]
            && !next.name.is_empty()
            && matches!(next.what, What::Layer(Layer::Act(_) | Layer::PlainLayerNorm))
        {
            at += 1;
        }
        at
    }

    fn site(&self, at: usize) -> Option<Site> {
        let value = self.values.get(at)?;
        Some(Site { name: value.name.clone(), shape: value.shape, next: self.reader(at) })
    }

    /// The layer that reads a value.
    fn reader(&self, site: usize) -> Option<Reader> {
        let shape = self.values[site].shape;
        let map = matches!(shape, Shape::Image(..));
        let same: Origin = (0..shape.channels()).map(Some).collect();
        let mut origins: Vec<Option<Origin>> = vec![None; self.values.len()];
        origins[site] = Some(same.clone());
        let mut best: Option<(Reader, Option<usize>)> = None;
        for (i, value) in self.values.iter().enumerate().skip(site + 1) {
            let of = |from: usize| origins[from].as_ref();
            origins[i] = match value.what {
                What::Source => None,
                What::Sum => value.from.iter().find_map(|&from| origins[from].clone()),
                What::Concat if value.from.iter().any(|&from| of(from).is_some()) => Some(
                    value
                        .from
                        .iter()
                        .flat_map(|&from| match of(from) {
                            Some(origin) => origin.clone(),
                            None => vec![None; self.values[from].shape.channels() as usize],
                        })
                        .collect(),
                ),
                What::Concat => None,
                What::Layer(layer) => {
                    let Some(origin) = value.from.first().and_then(|&from| origins[from].clone()) else { continue };
                    let reads = match layer {
                        Layer::Conv { kernel, groups, .. } if map => Some((kernel, groups)),
                        Layer::Linear { .. } if !map => Some((1, 1)),
                        _ => None,
                    };
                    if let Some((kernel, groups)) = reads
                        && best.as_ref().is_none_or(|(best, of)| kernel > best.kernel && *of == value.block)
                    {
                        let channels = (origin != same).then(|| origin.clone());
                        best = Some((Reader { name: value.name.clone(), kernel, groups, channels }, value.block));
                    }
                    through(layer, origin)
                }
            };
        }
        best.map(|(reader, _)| reader)
    }
}

/// Origins behind a layer; `None` where channels are mixed or a map becomes a vector.
fn through(layer: Layer, mut origin: Origin) -> Option<Origin> {
    match layer {
        Layer::Conv { .. } | Layer::Linear { .. } | Layer::GlobalAvgPool | Layer::Flatten => None,
        Layer::Truncate { channels } => {
            origin.truncate(channels as usize);
            Some(origin)
        }
        Layer::ChannelShuffle { groups } => {
            let (groups, each) = (groups as usize, origin.len() / (groups as usize).max(1));
            Some((0..origin.len()).map(|i| origin[(i % groups.max(1)) * each + i / groups.max(1)]).collect())
        }
        Layer::BatchNorm { .. }
        | Layer::PlainLayerNorm
        | Layer::Act(_)
        | Layer::SqueezeExcite { .. }
        | Layer::MaxPool
        | Layer::MaxPool3
        | Layer::AvgPool
        | Layer::AvgPool3 => Some(origin),
    }
}

#[cfg(test)]
mod tests {
    use kiln_spec::RegulariserKind;

    use super::*;
    use crate::space::Space;

    fn settings(at: RegulariserPlace, block: u32) -> RegulariserSettings {
        RegulariserSettings { kind: RegulariserKind::Disout, at, block, ..RegulariserSettings::default() }
    }

    fn plan(space: &str, arch: &str, input: Shape) -> Plan {
        let space = Space::named(space).unwrap();
        let arch = if arch.is_empty() { space.reference() } else { space.parse(arch).unwrap() };
        space.plan(&arch, input, 10).unwrap()
    }

    fn read_by(site: &Site) -> &str {
        site.next.as_ref().map_or("-", |next| next.name.as_str())
    }

    #[test]
    fn resnet_56_has_18_operators_in_its_last_stage_each_with_the_next_convolution() {
        let space = Space::named("resnet-preact").unwrap();
        let nine = ["stage1.depth", "stage2.depth", "stage3.depth"].map(|d| (d.to_owned(), vec!["9".to_owned()]));
        let arch = space.clone().only(&nine.into_iter().collect()).unwrap().reference();
        let plan = space.plan(&arch, Shape::Image(3, 32, 32), 10).unwrap();
        let sites = find(&plan, &settings(RegulariserPlace::LastStage, 6)).unwrap();
        assert_eq!(sites.len(), 18);
        assert!(sites.iter().all(|site| site.shape == Shape::Image(64, 8, 8)));
        // Two convolutions a block on the way; the projection of the first block is neither a site nor a reader.
        assert_eq!((sites[0].name.as_str(), read_by(&sites[0])), ("stage3.1.node1.in0.0", "stage3.1.node1.in0.3"));
        assert_eq!((sites[1].name.as_str(), read_by(&sites[1])), ("stage3.1.node1.in0.3", "stage3.2.node1.in0.0"));
        assert_eq!((sites[16].name.as_str(), read_by(&sites[16])), ("stage3.9.node1.in0.0", "stage3.9.node1.in0.3"));
        // Behind the last one comes the pooling.
        assert_eq!(sites[17].next, None);
        assert!(sites.iter().flat_map(|s| &s.next).all(|next| next.kernel == 3 && next.channels.is_none()));
    }

    #[test]
    fn a_projection_beside_the_block_does_not_read_for_it() {
        let plan = plan("resnet", "", Shape::Image(3, 32, 32));
        let all = find(&plan, &settings(RegulariserPlace::All, 5)).unwrap();
        let last_of_stage = all.iter().find(|site| site.name == "stage1.3.node0.in0.3").unwrap();
        assert_eq!(read_by(last_of_stage), "stage2.1.node0.in0.0");
        assert_eq!(last_of_stage.next.as_ref().unwrap().kernel, 3);
        assert_eq!(all.len(), 1 + 18, "the stem and two a block");
    }

    #[test]
    fn hidden_layers_are_those_before_the_classifier() {
        let small = plan("plain-mlp", "2-256", Shape::Image(1, 8, 8));
        let sites = find(&small, &settings(RegulariserPlace::Hidden, 7)).unwrap();
        let found: Vec<(&str, &str)> = sites.iter().map(|site| (site.name.as_str(), read_by(site))).collect();
        assert_eq!(found, [("block1.1", "block2.0"), ("block2.1", "head.0")]);
        let cnn = plan("cnn-fc", "", Shape::Image(3, 32, 32));
        let sites = find(&cnn, &settings(RegulariserPlace::Hidden, 1)).unwrap();
        let found: Vec<(&str, &str)> = sites.iter().map(|site| (site.name.as_str(), read_by(site))).collect();
        assert_eq!(found, [("head.2", "head.3"), ("head.4", "head.5")]);
    }

    #[test]
    fn every_shipped_space_has_places_and_readers_that_fit() {
        for name in crate::space::NAMES {
            let image = *name != "digits-mlp" && *name != "plain-mlp";
            let input = if image { Shape::Image(3, 32, 32) } else { Shape::Image(1, 8, 8) };
            let plan = plan(name, "", input);
            let at = if image { RegulariserPlace::LastStage } else { RegulariserPlace::Hidden };
            let sites = find(&plan, &settings(at, 1)).unwrap_or_else(|(_, e)| panic!("{name}: {e}"));
            assert!(!sites.is_empty(), "{name}");
            for site in sites {
                let Some(next) = site.next else { continue };
                if let Some(channels) = &next.channels {
                    assert!(channels.iter().flatten().all(|c| *c < site.shape.channels()), "{name}: {}", site.name);
                }
            }
        }
    }

    #[test]
    fn concatenated_and_shuffled_channels_are_followed() {
        use crate::plan::Block;
        use crate::{Act, Graph, Input, Node};
        let conv = |input, out, kernel| Layer::Conv { input, out, kernel, stride: 1, groups: 1, bias: false };
        let input = Shape::Image(2, 6, 6);
        let graph = Graph {
            nodes: vec![
                Node { join: Join::Sum, inputs: vec![Input { from: 0, layers: vec![conv(2, 4, 3)] }], layers: vec![] },
                Node {
                    join: Join::Concat,
                    inputs: vec![
                        Input::plain(0),
                        Input { from: 1, layers: vec![Layer::Act(Act::Relu), Layer::Truncate { channels: 2 }] },
                    ],
                    layers: vec![Layer::ChannelShuffle { groups: 2 }, conv(4, 4, 1)],
                },
            ],
        };
        let block = Block::graph("cell".into(), Some(0), input, graph, vec![Layer::Flatten]).unwrap();
        let plan = Plan { input, classes: 144, slots: 1, blocks: vec![block] };
        let sites = find(&plan, &settings(RegulariserPlace::All, 3)).unwrap();
        assert_eq!(sites.len(), 1);
        let next = sites[0].next.as_ref().unwrap();
        assert_eq!(next.name, "cell.node1.1");
        // Concatenated: two of the input, then channels 0 and 1 of the site; dealt out in turn.
        assert_eq!(next.channels, Some(vec![None, Some(0), None, Some(1)]));
    }

    #[test]
    fn a_regulariser_that_is_off_asks_for_nothing() {
        let plan = plan("plain-mlp", "2-256", Shape::Image(1, 8, 8));
        let off = RegulariserSettings { kind: RegulariserKind::None, ..settings(RegulariserPlace::LastStage, 99) };
        assert_eq!(find(&plan, &off), Ok(Vec::new()));
        assert_eq!(find(&plan, &settings(RegulariserPlace::LastStage, 1)).unwrap_err().0, "regulariser.at");
    }
}
