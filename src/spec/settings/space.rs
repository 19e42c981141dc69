//! Search spaces as data: what a space's TOML file may say. The shipped spaces are such files too.
//!
//! What a schema of single values cannot say (an operation that nobody defined, a block that every path needs but that
//! offers only `skip`) is in [`crate::space`].

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A search space: a file of its own, or the table `[space.definition]` of a preset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SpaceDefinition {
    /// Name of the space: lower-case letters, digits and `-`.
    #[schemars(
        regex(pattern = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"),
        extend("x-expected" = "a name of lower-case letters, digits and `-`, such as \"my-space\"")
    )]
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub title: String,
    /// What the space is made of.
    #[serde(default)]
    pub kind: SpaceKind,
    /// A typical member: an architecture in full, or one operation for every block that offers it. Default: the first option of every decision.
    #[serde(default)]
    pub reference: String,
    /// Chains: how the decisions of the blocks are called. Default: by stage and place (`stage2.1`); a word numbers them through (`slot4`).
    #[serde(default)]
    #[schemars(regex(pattern = r"^[a-z]*$"), extend("x-expected" = "a word of lower-case letters"))]
    pub numbered: String,
    /// Chains: choices that hold for the whole network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches: Option<SwitchSettings>,
    /// Chains: the first convolution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stem: Option<StemSettings>,
    /// Chains: the operations by name. A name is written in architectures: lower-case letters and digits.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ops: BTreeMap<String, OpSettings>,
    /// Chains: the stages in network order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageSettings>,
    /// Chains: what comes between the last stage and the pooling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<HeadSettings>,
    /// The table of `kind = "mlp"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlp: Option<MlpSettings>,
    /// The table of `kind = "cell-edges"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_edges: Option<CellEdgeSettings>,
    /// The table of `kind = "cell-vertices"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_vertices: Option<CellVertexSettings>,
}

/// What a space is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SpaceKind {
    /// Stages of convolutional blocks one after the other, an operation to choose for each: `stem`, `ops`, `stages`, `head`, `switches`.
    #[default]
    Chain,
    /// Residual multi-layer perceptrons: the table `[mlp]`.
    Mlp,
    /// One small graph with an operation on each edge, repeated as NAS-Bench-201 does: the table `[cell-edges]`.
    CellEdges,
    /// One small graph with an operation on each vertex, repeated as NAS-Bench-101 does: the table `[cell-vertices]`.
    CellVertices,
}

impl SpaceKind {
    /// As a space's file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            SpaceKind::Chain => "chain",
            SpaceKind::Mlp => "mlp",
            SpaceKind::CellEdges => "cell-edges",
            SpaceKind::CellVertices => "cell-vertices",
        }
    }
}

/// One value or several to choose from: `24` or `[16, 24, 32]`. Several are a decision of the space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "OneOrMany<T>")]
pub struct Choices<T>(pub Vec<T>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    Many(Vec<T>),
    One(T),
}

impl<T> From<OneOrMany<T>> for Choices<T> {
    fn from(raw: OneOrMany<T>) -> Self {
        match raw {
            OneOrMany::Many(values) => Choices(values),
            OneOrMany::One(value) => Choices(vec![value]),
        }
    }
}

impl<T: JsonSchema> JsonSchema for Choices<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("ChoicesOf{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "array", "items": one, "minItems": 1 }, one] })
    }
}

/// A positive number, or a list of such: widths and depths.
fn counts(_: &mut SchemaGenerator) -> Schema {
    let one = json!({ "type": "integer", "format": "uint32", "minimum": 1, "maximum": 65536 });
    json_schema!({ "anyOf": [{ "type": "array", "items": one, "minItems": 1 }, one] })
}

/// Normalisations of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NormName {
    /// Batch normalisation after every convolution; convolutions have no bias.
    Bn,
    /// None; convolutions have a bias.
    Nonorm,
}

/// Whether blocks of a chain have shortcuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PathName {
    /// A block adds its input to its output where both have the same shape.
    Residual,
    /// No shortcuts.
    Plain,
}

/// Activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActName {
    /// max(x, 0)
    Relu,
    /// x * Phi(x)
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// x * relu6(x + 3) / 6
    Hardswish,
}

/// The switches of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchName {
    /// The normalisation.
    Norm,
    /// Whether blocks have shortcuts.
    Path,
    /// The activation.
    Act,
    /// The base width.
    Base,
}

/// Choices that hold for the whole network. One value is a fact, several are a decision of that name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SwitchSettings {
    /// The normalisation.
    #[schemars(extend("x-aliases" = ["normalization", "normalisation"]))]
    pub norm: Choices<NormName>,
    /// Whether blocks have shortcuts.
    #[schemars(extend("x-aliases" = ["residual", "shortcut"]))]
    pub path: Choices<PathName>,
    /// The activation.
    #[schemars(extend("x-aliases" = ["activation"]))]
    pub act: Choices<ActName>,
    /// All widths of the space are multiples of this.
    #[schemars(schema_with = "counts")]
    pub base: Choices<u32>,
    /// Switches that change how fast a network learns: populations hold every combination of them in equal numbers.
    pub stratify: Vec<SwitchName>,
}

impl Default for SwitchSettings {
    fn default() -> Self {
        SwitchSettings {
            norm: Choices(vec![NormName::Bn]),
            path: Choices(vec![PathName::Residual]),
            act: Choices(vec![ActName::Relu]),
            base: Choices(vec![1]),
            stratify: Vec::new(),
        }
    }
}

/// The first convolution of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StemSettings {
    /// Channels (times `switches.base`).
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Side of the kernel; odd.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 31))]
    pub kernel: u32,
    /// Stride.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub stride: u32,
    /// 2x2 max pooling behind it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pool: bool,
}

fn one() -> u32 {
    1
}

fn three() -> u32 {
    3
}

/// Blocks of one width, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageSettings {
    /// Channels that its blocks give (times `switches.base`); a list makes a decision `stage1.width`.
    #[schemars(schema_with = "counts", extend("x-aliases" = ["channels"]))]
    pub width: Choices<u32>,
    /// Blocks; a list makes a decision `stage1.depth`. (For super-networks of one path, offer `skip` instead.)
    #[schemars(schema_with = "counts", extend("x-aliases" = ["layers", "blocks", "n"]))]
    pub depth: Choices<u32>,
    /// Stride of the first block; the others have 1.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 16))]
    pub stride: u32,
    /// Operations to choose from, in this order. Default: all that the space defines, by name. `skip` is left out where it cannot stand: in a block that changes stride or width.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<String>>,
    /// Squeeze-and-excite in this stage's inverted residuals, whatever the operation says: reduced channels as a share of the expanded ones; 0 for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0), extend("x-aliases" = ["se"]))]
    pub squeeze_excite: Option<f64>,
    /// The activation in this stage, whatever the switch says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-aliases" = ["activation"]))]
    pub act: Option<ActName>,
}

/// What a block can be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OpKind {
    /// 1x1 convolution to `expansion` times the channels, depthwise convolution, 1x1 convolution to the stage's width; no activation after the last.
    #[default]
    InvertedResidual,
    /// One convolution.
    Conv,
    /// A depthwise convolution and a 1x1 convolution, an activation after each.
    Separable,
    /// One convolution, and 2x2 max pooling that halves the side.
    ConvPool,
    /// Two convolutions with their own shortcut (a 1x1 convolution where the shape changes) and an activation behind the sum, as in ResNet.
    Basic,
    /// The same with normalisation and activation before each convolution, as in pre-activation ResNet; the head then begins with them.
    Preact,
    /// Nothing: the block is left out.
    Skip,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OpSettings {
    /// What the block is.
    pub kind: OpKind,
    /// Side of the kernel; odd.
    #[schemars(range(min = 1, max = 31))]
    pub kernel: u32,
    /// Inverted residuals: channels inside as a multiple of those that come in.
    #[schemars(range(min = 1, max = 64), extend("x-aliases" = ["e", "expand", "ratio"]))]
    pub expansion: u32,
    /// Groups of a convolution; of an inverted residual: of both 1x1 convolutions, with the channels shuffled after the first.
    #[schemars(range(min = 1, max = 1024))]
    pub groups: u32,
    /// Inverted residuals: squeeze-and-excite with this share of the expanded channels, 1 at least; 0 for none.
    #[schemars(range(min = 0.0, max = 1.0), extend("x-aliases" = ["se"]))]
    pub squeeze_excite: f64,
}

impl Default for OpSettings {
    fn default() -> Self {
        OpSettings { kind: OpKind::InvertedResidual, kernel: 3, expansion: 1, groups: 1, squeeze_excite: 0.0 }
    }
}

/// What comes between the last stage of a chain and the pooling.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HeadSettings {
    /// Channels of a 1x1 convolution (times `switches.base`); 0 for none.
    #[serde(default)]
    #[schemars(range(max = 65536))]
    pub width: u32,
    /// Gives the classifier every number of the last maps instead of the mean of each.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flatten: bool,
    /// Units of fully connected layers before the classifier (times `switches.base`), each with an activation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(inner(range(min = 1, max = 65536)), extend("x-expected" = "a list of widths, such as [512, 512]"))]
    pub hidden: Vec<u32>,
}

/// Residual multi-layer perceptrons: `h <- act(norm(W h + b))`, plus the block's input where the widths agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MlpSettings {
    /// Blocks.
    #[schemars(schema_with = "counts")]
    pub depth: Choices<u32>,
    /// Units of each block.
    #[schemars(schema_with = "counts")]
    pub width: Choices<u32>,
    /// Kinds of networks by name; several make a decision `family`. Populations hold each in equal numbers.
    pub families: BTreeMap<String, FamilySettings>,
}

/// One kind of multi-layer perceptron.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FamilySettings {
    /// The activation.
    pub act: ActName,
    /// Layer normalisation without parameters before the activation.
    #[serde(default)]
    pub norm: bool,
    /// No shortcuts round the blocks.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain: bool,
}

/// Operations on an edge of a cell, as NAS-Bench-201 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeOp {
    /// Nothing gets through.
    None,
    /// The identity.
    Skip,
    /// ReLU, 1x1 convolution, batch normalisation.
    C1,
    /// ReLU, 3x3 convolution, batch normalisation.
    C3,
    /// 3x3 average pooling, stride 1.
    Ap,
}

/// Networks of NAS-Bench-201's form: a 3x3 stem, stacks of one cell, a residual block between stacks that halves the side and doubles the width.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CellEdgeSettings {
    /// Channels of the stem and of the first stack.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Stacks.
    #[schemars(range(min = 1, max = 8))]
    pub stacks: u32,
    /// Cells a stack.
    #[schemars(range(min = 1, max = 64))]
    pub cells: u32,
    /// Nodes of a cell, its input among them; every pair is an edge.
    #[schemars(range(min = 2, max = 6))]
    pub nodes: u32,
    /// Operations to choose from on each edge.
    pub ops: Vec<EdgeOp>,
}

impl Default for CellEdgeSettings {
    fn default() -> Self {
        CellEdgeSettings {
            width: 16,
            stacks: 3,
            cells: 5,
            nodes: 4,
            ops: vec![EdgeOp::None, EdgeOp::Skip, EdgeOp::C1, EdgeOp::C3, EdgeOp::Ap],
        }
    }
}

/// Operations on a vertex of a cell, as NAS-Bench-101 has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VertexOp {
    /// 3x3 convolution, batch normalisation, ReLU.
    C3,
    /// 1x1 convolution, batch normalisation, ReLU.
    C1,
    /// 3x3 max pooling, stride 1.
    Mp,
}

/// Networks of NAS-Bench-101's form: a 3x3 stem, stacks of one cell, 2x2 max pooling between stacks and twice the width after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CellVertexSettings {
    /// Channels of the stem and of the first stack.
    #[schemars(range(min = 1, max = 65536))]
    pub width: u32,
    /// Stacks.
    #[schemars(range(min = 1, max = 8))]
    pub stacks: u32,
    /// Cells a stack.
    #[schemars(range(min = 1, max = 64))]
    pub cells: u32,
    /// Vertices of a cell at most, input and output among them.
    #[schemars(range(min = 2, max = 7))]
    pub vertices: u32,
    /// Edges of a cell at most.
    #[schemars(range(min = 1, max = 21))]
    pub edges: u32,
    /// Operations to choose from on each inner vertex.
    pub ops: Vec<VertexOp>,
}

impl Default for CellVertexSettings {
    fn default() -> Self {
        CellVertexSettings {
            width: 128,
            stacks: 3,
            cells: 3,
            vertices: 7,
            edges: 9,
            ops: vec![VertexOp::C3, VertexOp::C1, VertexOp::Mp],
        }
    }
}
