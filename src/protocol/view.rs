//! Kinds of view: figures as data. A method emits them, every client can draw them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use crate::run::Table;

/// A figure. A newer one of the same name replaces the older, but see [`View::merge`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum View {
    Clusters(Clusters),
    Candidates(Candidates),
    Scatter(Scatter),
    Matrix(Matrix),
    Table(Table),
    BlockImportance(BlockImportance),
    Lines(Lines),
    Histogram(Histograms),
    Images(Images),
    Layers(Layers),
    Detections(Detections),
}

impl View {
    /// Applies a newer state of the same view. Tables of candidates are updated row by row, by id; all others replaced.
    pub fn merge(&mut self, newer: View) {
        match (self, newer) {
            (View::Candidates(old), View::Candidates(new)) => old.merge(new),
            (old, new) => *old = new,
        }
    }

    /// The kind as written in files, such as `clusters`.
    pub fn kind(&self) -> &'static str {
        match self {
            View::Clusters(_) => "clusters",
            View::Candidates(_) => "candidates",
            View::Scatter(_) => "scatter",
            View::Matrix(_) => "matrix",
            View::Table(_) => "table",
            View::BlockImportance(_) => "block-importance",
            View::Lines(_) => "lines",
            View::Histogram(_) => "histogram",
            View::Images(_) => "images",
            View::Layers(_) => "layers",
            View::Detections(_) => "detections",
        }
    }
}

/// 2-D projection of architectures' features, coloured by cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Clusters {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub points: Vec<ClusterPoint>,
    /// One a cluster, in the same coordinates; index = cluster.
    pub centroids: Vec<[f64; 2]>,
    /// One a cluster, for the legend.
    pub names: Vec<String>,
    /// Lloyd iteration and objective, or whatever the method wants said under the picture.
    pub note: String,
}

/// One architecture in a cluster view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterPoint {
    /// Candidate id, as in the run's table of candidates.
    pub id: u32,
    pub x: f64,
    pub y: f64,
    /// `None`: failed, or not assigned yet.
    pub cluster: Option<u32>,
    pub winner: bool,
    /// What the cursor shows: the architecture and its figures.
    pub label: String,
}

/// A sortable table with a drawing of each architecture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Candidates {
    pub columns: Vec<Column>,
    pub rows: Vec<Candidate>,
}

/// A column of figures in a table of candidates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    /// Digits after the point.
    pub decimals: u8,
    /// Sorting starts with the best: `Some(true)` if higher is better.
    #[serde(default)]
    pub higher_is_better: Option<bool>,
}

/// One candidate architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub id: u32,
    /// The architecture as its space writes it.
    pub arch: String,
    /// A drawing: one bar a layer, in network order.
    pub glyph: Vec<GlyphBar>,
    /// One a column; `None` where not known yet.
    pub cells: Vec<Option<f64>>,
    #[serde(default)]
    pub cluster: Option<u32>,
    #[serde(default)]
    pub winner: bool,
    /// `waiting`, `training`, `done`, `failed: why`.
    pub status: String,
}

/// A layer in the drawing of an architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GlyphBar {
    /// Relative height (such as width of the layer), 0 to 1; 0 draws a gap (skip).
    pub height: f32,
    /// What distinguishes the kind of layer; drawn as colour and, without colour, as letter.
    pub class: char,
}

impl Candidates {
    fn merge(&mut self, newer: Candidates) {
        let by_id: std::collections::HashMap<u32, usize> =
            self.rows.iter().enumerate().map(|(i, r)| (r.id, i)).collect();
        self.columns = newer.columns;
        for row in newer.rows {
            match by_id.get(&row.id) {
                Some(&i) => self.rows[i] = row,
                None => self.rows.push(row),
            }
        }
    }
}

/// Points in a plane, in groups, each group with an optional trend line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scatter {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub groups: Vec<ScatterGroup>,
    /// Figures said under the picture, such as Kendall tau.
    pub note: String,
    /// Both axes measure the same: they share their range, and the diagonal `y = x` is drawn.
    #[serde(default)]
    pub diagonal: bool,
    /// Pairs of points joined by a thin line, such as neighbours in a graph: by their places among all points, group after
    /// group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<[u32; 2]>,
}

/// One group of points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScatterGroup {
    pub name: String,
    /// `[x, y]`.
    pub points: Vec<[f64; 2]>,
    /// One a point: what the cursor shows.
    pub labels: Vec<String>,
    /// One a point: candidate id, as in the run's table of candidates. Empty where the points are no candidates.
    #[serde(default)]
    pub ids: Vec<u32>,
    /// Slope and intercept of a trend line.
    #[serde(default)]
    pub trend: Option<[f64; 2]>,
    /// Whether the points are joined by a line, in their order (such as a Pareto front).
    #[serde(default)]
    pub joined: bool,
}

/// A heat map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Matrix {
    pub title: String,
    pub row_labels: Vec<String>,
    pub column_labels: Vec<String>,
    /// Row by row; `None` draws an empty cell.
    pub values: Vec<Vec<Option<f64>>>,
    /// Rows before which a line is drawn (cluster borders).
    #[serde(default)]
    pub breaks: Vec<usize>,
}

/// Blocks of a network in order, what is known of each, and how budgets stand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockImportance {
    pub title: String,
    /// All candidate operations of the space, in its order: columns of the weights.
    pub ops: Vec<String>,
    /// In network order.
    pub blocks: Vec<BlockCell>,
    /// Limits that the network must keep.
    #[serde(default)]
    pub gauges: Vec<Gauge>,
    /// Stage, temperature, steps a second: said under the picture.
    #[serde(default)]
    pub note: String,
}

/// One block of a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BlockCell {
    /// Such as `stage2.1`; blocks of one stage stand together.
    pub name: String,
    /// On every path from input to output: no shortcut goes round it.
    pub vital: bool,
    /// The choice is made and stays.
    #[serde(default)]
    pub locked: bool,
    /// Operation now chosen (that of the largest weight).
    #[serde(default)]
    pub chosen: Option<String>,
    /// Probability of each of [`BlockImportance::ops`]; `None` where the block does not offer it. Empty where nothing is searched.
    #[serde(default)]
    pub weights: Vec<Option<f64>>,
    /// Accuracy lost when the block is bypassed, 0 to 1.
    #[serde(default)]
    pub lesion: Option<f64>,
    /// Accuracy lost when the block is weakened and the network trained again.
    #[serde(default)]
    pub weaken: Option<f64>,
    /// Of the chosen operation.
    pub params: u64,
    pub macs: u64,
}

/// A cost and its limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// Such as `MACs`, `params`, `latency`.
    pub name: String,
    /// Such as `ms`; empty for counts.
    #[serde(default)]
    pub unit: String,
    pub limit: f64,
    /// Cost of the chosen network.
    #[serde(default)]
    pub chosen: Option<f64>,
    /// Mean cost under the present distribution.
    #[serde(default)]
    pub expected: Option<f64>,
    /// Least, mean and largest cost of the networks sampled lately.
    #[serde(default)]
    pub sampled: Option<[f64; 3]>,
}

/// Curves with a spread, such as a figure of merit against the number of labels, over seeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lines {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    /// Whether x is drawn on a logarithmic axis.
    #[serde(default)]
    pub log_x: bool,
    pub lines: Vec<Line>,
    #[serde(default)]
    pub note: String,
}

/// One curve of a [`Lines`] view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    /// `[x, mean, standard deviation]`, x rising; a deviation of 0 draws no bar.
    pub points: Vec<[f64; 3]>,
}

/// Histograms, one or several panels of them, such as the weights of each layer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histograms {
    pub title: String,
    pub x_label: String,
    pub panels: Vec<Panel>,
    /// Figures said under the picture.
    #[serde(default)]
    pub note: String,
}

/// One panel of histograms over the same bins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    pub name: String,
    /// Borders of the bins, rising; one more than there are bins.
    #[serde(with = "floats")]
    pub edges: Vec<f64>,
    pub groups: Vec<HistogramGroup>,
    #[serde(default)]
    pub marks: Vec<HistogramMark>,
}

/// What is counted in one colour.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistogramGroup {
    pub name: String,
    /// One a bin: counts, or shares of the whole.
    #[serde(with = "floats")]
    pub counts: Vec<f64>,
}

/// A value of x worth a line, such as the optimum that theory gives.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HistogramMark {
    pub name: String,
    #[serde(with = "float")]
    pub x: f64,
}

/// A grid of pictures, such as samples of a generator from fixed noise.
///
/// The sheet travels in its event and stays in `events.jsonl` for good: keep it below some 100 kB, and draw a new one only
/// every so often, such as once an epoch. Pictures worth keeping go to the run's `artifacts/`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Images {
    pub title: String,
    pub pictures: Vec<Picture>,
    /// Pictures a row, where rows mean something (a class, a stage); 0 lets the client fit as many as it can.
    #[serde(default)]
    pub columns: u32,
    #[serde(default)]
    pub note: String,
}

/// One picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    pub label: String,
    /// In pixels.
    pub width: u32,
    pub height: u32,
    /// 1 (grey) or 3 (RGB).
    pub channels: u32,
    /// Rows from the top, pixels from the left, channels next to each other, a byte each: `width * height * channels`
    /// bytes, in base64 with padding (RFC 4648).
    pub pixels: String,
}

impl Picture {
    /// A picture of `width * height * channels` bytes: rows from the top, pixels from the left, channels next to each other.
    /// Bytes of another number are kept as they are: [`Picture::bytes`] tells.
    pub fn new(label: impl Into<String>, width: u32, height: u32, channels: u32, bytes: &[u8]) -> Picture {
        Picture { label: label.into(), width, height, channels, pixels: BASE64.encode(bytes) }
    }

    /// The bytes of the pixels: `width * height * channels` of them, and at least one.
    ///
    /// # Errors
    /// A sentence, if there are no pixels, channels are neither 1 nor 3, the text is no base64, or the number of bytes is not
    /// what the picture's size says.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let Picture { width, height, channels, .. } = self;
        if !matches!(channels, 1 | 3) {
            return Err(format!("A picture has 1 channel (grey) or 3 (RGB), this one {channels}."));
        }
        if *width == 0 || *height == 0 {
            return Err(format!("A picture of {width} x {height} pixels has nothing to show."));
        }
        let bytes = BASE64.decode(&self.pixels).map_err(|e| format!("The picture's pixels are no base64: {e}."))?;
        let said = u128::from(*width) * u128::from(*height) * u128::from(*channels);
        if bytes.len() as u128 != said {
            return Err(format!(
                "A picture of {width} x {height} pixels with {channels} channel{} has {said} bytes, this one {}.",
                if *channels == 1 { "" } else { "s" },
                bytes.len()
            ));
        }
        Ok(bytes)
    }
}

/// Pictures with what was found in them: boxes, classes, scores.
///
/// The pictures travel as those of [`Images`] do: the same limits hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detections {
    pub title: String,
    /// Names of the classes; index = [`Detection::class`].
    pub classes: Vec<String>,
    pub scenes: Vec<Scene>,
    #[serde(default)]
    pub note: String,
}

/// One picture and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scene {
    pub picture: Picture,
    pub found: Vec<Detection>,
    /// What is known to be there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub truth: Vec<Detection>,
}

/// A box around a thing in a picture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    pub class: u32,
    /// How sure the network is, 0 to 1; `None` for what is known.
    #[serde(default)]
    pub score: Option<f64>,
    /// Left edge, upper edge, width and height, in pixels of the picture.
    #[serde(rename = "box")]
    pub place: [f64; 4],
}

impl Detection {
    /// Share of the area of two boxes together that they have in common (intersection over union), 0 to 1.
    pub fn overlap(&self, other: &Detection) -> f64 {
        let side = |i: usize| {
            let (a, b) = (self.place, other.place);
            ((a[i] + a[i + 2]).min(b[i] + b[i + 2]) - a[i].max(b[i])).max(0.0)
        };
        let area = |d: &Detection| d.place[2].max(0.0) * d.place[3].max(0.0);
        let common = side(0) * side(1);
        let both = area(self) + area(other) - common;
        if both > 0.0 && both.is_finite() { common / both } else { 0.0 }
    }
}

/// What is known of the layers of a network, in its order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layers {
    pub title: String,
    pub columns: Vec<LayerColumn>,
    pub rows: Vec<Layer>,
    #[serde(default)]
    pub note: String,
}

/// A figure that all layers of a [`Layers`] view have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerColumn {
    pub name: String,
    /// Digits after the point.
    pub decimals: u8,
    /// Such as `bits`; empty for plain numbers.
    #[serde(default)]
    pub unit: String,
    /// Drawn as a bar beside the number, which is full at this value.
    #[serde(default)]
    pub full: Option<f64>,
}

/// One layer of a [`Layers`] view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    pub name: String,
    /// One a column; `None` where the layer has no such figure.
    pub cells: Vec<Option<f64>>,
}

/// JSON has no NaN or infinity: they are written as null and as the strings `inf` and `-inf`.
pub(crate) mod floats_pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    pub(super) enum Number {
        Finite(f64),
        Word(String),
        Null,
    }

    pub(super) fn write(v: f64) -> Number {
        match v {
            v if v.is_finite() => Number::Finite(v),
            v if v.is_nan() => Number::Null,
            v => Number::Word(if v > 0.0 { "inf" } else { "-inf" }.into()),
        }
    }

    pub(super) fn read(n: Number) -> f64 {
        match n {
            Number::Finite(v) => v,
            Number::Null => f64::NAN,
            Number::Word(w) if w == "inf" => f64::INFINITY,
            Number::Word(w) if w == "-inf" => f64::NEG_INFINITY,
            Number::Word(_) => f64::NAN,
        }
    }

    pub fn serialize<S: Serializer>(points: &[[f64; 2]], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(points.iter().map(|p| [write(p[0]), write(p[1])]))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<[f64; 2]>, D::Error> {
        let raw: Vec<[Number; 2]> = Vec::deserialize(d)?;
        Ok(raw.into_iter().map(|[x, y]| [read(x), read(y)]).collect())
    }
}

/// The same for plain lists.
pub(crate) mod floats {
    use super::floats_pairs::{Number, read, write};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(values: &[f64], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(values.iter().map(|v| write(*v)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<f64>, D::Error> {
        Ok(Vec::<Number>::deserialize(d)?.into_iter().map(read).collect())
    }
}

/// The same for single numbers.
mod float {
    use super::floats_pairs::{Number, read, write};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, s: S) -> Result<S::Ok, S::Error> {
        write(*value).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
        Number::deserialize(d).map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_of_what_is_no_number_are_written_and_read() {
        let group = HistogramGroup { name: "a".into(), counts: vec![1.0, f64::NAN] };
        let mark = HistogramMark { name: "m".into(), x: f64::INFINITY };
        let edges = vec![f64::NEG_INFINITY, 0.5, f64::NAN];
        let panel = Panel { name: "p".into(), edges, groups: vec![group], marks: vec![mark] };
        let view = View::Histogram(Histograms { panels: vec![panel], ..Histograms::default() });
        let text = serde_json::to_string(&view).unwrap();
        let read: View = serde_json::from_str(&text).unwrap();
        // NaN equals nothing, its text does.
        assert_eq!(format!("{read:?}"), format!("{view:?}"), "{text}");
    }

    #[test]
    fn pixels_come_out_as_they_went_in() {
        let bytes: Vec<u8> = (0..=255).chain(0..32).collect();
        for (width, height, channels) in [(12, 8, 3), (16, 18, 1), (288, 1, 1)] {
            let picture = Picture::new("a", width, height, channels, &bytes);
            assert_eq!(picture.bytes().unwrap(), bytes);
            let view = View::Images(Images { pictures: vec![picture], ..Images::default() });
            let text = serde_json::to_string(&view).unwrap();
            assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
        }
        assert_eq!(Picture::new("", 2, 2, 1, &[0, 255, 16, 1]).pixels, "AP8QAQ==", "RFC 4648 with padding");
    }

    #[test]
    fn pictures_that_are_none_say_why() {
        let why = |p: Picture| p.bytes().unwrap_err();
        let four = Picture::new("", 2, 2, 1, &[1, 2, 3, 4]);
        let is = |change: fn(&mut Picture)| {
            let mut picture = four.clone();
            change(&mut picture);
            why(picture)
        };
        assert_eq!(is(|p| p.channels = 4), "A picture has 1 channel (grey) or 3 (RGB), this one 4.");
        assert_eq!(is(|p| p.width = 0), "A picture of 0 x 2 pixels has nothing to show.");
        assert_eq!(is(|p| p.height = 3), "A picture of 2 x 3 pixels with 1 channel has 6 bytes, this one 4.");
        assert_eq!(is(|p| p.channels = 3), "A picture of 2 x 2 pixels with 3 channels has 12 bytes, this one 4.");
        // No number is too large to be refused.
        let huge = why(Picture { width: u32::MAX, height: u32::MAX, channels: 3, ..four.clone() });
        assert!(huge.ends_with("has 55340232195358851075 bytes, this one 4."), "{huge}");
        for odd in ["AP8QAQ=", "AP8QAQ", "äöü", "AP8Q AQ=="] {
            let said = why(Picture { pixels: odd.into(), ..four.clone() });
            assert!(said.starts_with("The picture's pixels are no base64: "), "{odd}: {said}");
        }
    }

    #[test]
    fn every_kind_is_written_under_its_name() {
        let views = [
            View::Histogram(Histograms::default()),
            View::Images(Images::default()),
            View::Layers(Layers::default()),
            View::Detections(Detections::default()),
            View::Lines(Lines::default()),
        ];
        for view in views {
            let json = serde_json::to_value(&view).unwrap();
            assert_eq!(json["kind"], view.kind());
        }
    }

    #[test]
    fn boxes_overlap_by_what_they_have_in_common() {
        let at = |place| Detection { place, ..Detection::default() };
        let a = at([0.0, 0.0, 10.0, 10.0]);
        for (other, expected) in [
            ([0.0, 0.0, 10.0, 10.0], 1.0),
            ([5.0, 0.0, 10.0, 10.0], 1.0 / 3.0),
            ([2.0, 2.0, 5.0, 5.0], 0.25),
            ([10.0, 0.0, 5.0, 5.0], 0.0),
            ([0.0, 0.0, -5.0, -5.0], 0.0),
            ([f64::NAN; 4], 0.0),
        ] {
            assert!((a.overlap(&at(other)) - expected).abs() < 1e-12, "{other:?}");
            assert_eq!(a.overlap(&at(other)), at(other).overlap(&a));
        }
        assert_eq!(at([0.0; 4]).overlap(&at([0.0; 4])), 0.0);
    }
}
