//! Small graphs inside a block: values over edges of layers, summed or concatenated in nodes. Cells are such.

use serde::{Deserialize, Serialize};

use crate::cost::Cost;
use crate::plan::{Layer, Shape};
use crate::space::ArchError;

/// A graph of values. Value 0 is the block's input, node `i` makes value `i + 1`, and the last value leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// In topological order; at least one.
    pub nodes: Vec<Node>,
}

/// Inputs joined into one value, and layers that it then goes through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    pub join: Join,
    /// Without any, the node is zeros of the shape of the block's input.
    pub inputs: Vec<Input>,
    pub layers: Vec<Layer>,
}

/// An earlier value, and the layers on the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// The value's number.
    pub from: usize,
    pub layers: Vec<Layer>,
}

/// How a node joins its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Join {
    /// Element by element; all inputs have one shape.
    Sum,
    /// Along the channels, in order; all inputs have one height and width.
    Concat,
}

impl Input {
    /// The value itself.
    pub fn plain(from: usize) -> Input {
        Input { from, layers: Vec::new() }
    }
}

impl Graph {
    /// Shapes of all values, the block's input first.
    ///
    /// # Errors
    /// A graph without nodes, an edge from a value that is not made yet, layers or inputs that do not fit together.
    pub fn shapes(&self, input: Shape) -> Result<Vec<Shape>, ArchError> {
        let mut shapes = vec![input];
        if self.nodes.is_empty() {
            return Err(ArchError("a graph needs a node".into()));
        }
        for (i, node) in self.nodes.iter().enumerate() {
            let joined = node.joined(i, &shapes)?;
            shapes.push(through(&node.layers, joined)?);
        }
        Ok(shapes)
    }

    /// Shape of the value that leaves.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn output(&self, input: Shape) -> Result<Shape, ArchError> {
        self.shapes(input).map(|shapes| shapes.last().copied().unwrap_or(input))
    }

    /// Every layer with the shape that it takes.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn layers(&self, input: Shape) -> Result<Vec<(Layer, Shape)>, ArchError> {
        let shapes = self.shapes(input)?;
        let mut all = Vec::new();
        let mut walk = |layers: &[Layer], mut shape: Shape| {
            for layer in layers {
                all.push((*layer, shape));
                shape = layer.output(shape)?;
            }
            Ok(())
        };
        for (i, node) in self.nodes.iter().enumerate() {
            for edge in &node.inputs {
                walk(&edge.layers, shapes[edge.from])?;
            }
            walk(&node.layers, node.joined(i, &shapes)?)?;
        }
        Ok(all)
    }

    /// Cost for one sample.
    ///
    /// # Errors
    /// As [`Graph::shapes`].
    pub fn cost(&self, input: Shape) -> Result<Cost, ArchError> {
        self.layers(input)?.into_iter().map(|(layer, shape)| layer.cost(shape)).sum()
    }
}

impl Node {
    /// Shape of node number `i` before its own layers, from the shapes of the values before it.
    ///
    /// # Errors
    /// An edge from a value that is not made yet, inputs that do not fit together.
    pub fn joined(&self, i: usize, shapes: &[Shape]) -> Result<Shape, ArchError> {
        let mut joined: Option<Shape> = None;
        for edge in &self.inputs {
            let source = shapes.get(edge.from).filter(|_| edge.from <= i).copied();
            let source =
                source.ok_or_else(|| ArchError(format!("node {i} takes value {}, which comes later", edge.from)))?;
            let next = through(&edge.layers, source)?;
            joined = Some(match (joined, self.join, next) {
                (None, _, shape) => shape,
                (Some(before), Join::Sum, shape) if before == shape => shape,
                (Some(Shape::Image(a, h, w)), Join::Concat, Shape::Image(b, y, x)) if (h, w) == (y, x) => {
                    Shape::Image(a + b, h, w)
                }
                (Some(Shape::Flat(a)), Join::Concat, Shape::Flat(b)) => Shape::Flat(a + b),
                (Some(before), ..) => {
                    return Err(ArchError(format!("node {i} cannot join {before} and {next}")));
                }
            });
        }
        joined.or_else(|| shapes.first().copied()).ok_or_else(|| ArchError("a graph needs an input".into()))
    }
}

fn through(layers: &[Layer], input: Shape) -> Result<Shape, ArchError> {
    layers.iter().try_fold(input, |shape, layer| layer.output(shape))
}
