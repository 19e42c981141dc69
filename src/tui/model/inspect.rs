//! One candidate looked at closely: its decisions, what each block costs, its drawing.

use std::collections::BTreeMap;

use kiln_protocol::arch::cell::{Cell101, Cell201};
use kiln_protocol::arch::{Arch, Cost, Shape, Space};
use kiln_protocol::images::shape_and_classes;
use kiln_protocol::run::Table;
use kiln_protocol::spec::Spec;
use kiln_protocol::view::{Candidate, Candidates, GlyphBar};
use ratatui::layout::Size;

use crate::chart::{Fit, Scale, scale};
use crate::glyphs::Glyphs;
use crate::layout;
use crate::model::curves::metric;
use crate::model::detail::Detail;
use crate::model::list::Scroll;
use crate::model::pages::{self, Line};
use crate::text;
use crate::theme::{Role, series};

/// An open page about a candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Inspect {
    /// Number in the run's table of candidates; `None` for an architecture that is only a point of a picture.
    pub id: Option<u32>,
    /// What the cursor showed.
    pub label: String,
    pub scroll: Scroll,
    /// What it is made of, or why that cannot be told.
    pub anatomy: Result<Anatomy, String>,
    /// Ranges of the charts of its history, by what they measure.
    pub ranges: BTreeMap<String, Fit>,
}

/// What an architecture is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Anatomy {
    pub arch: Arch,
    /// Decision and option.
    pub decisions: Vec<(String, String)>,
    pub blocks: Vec<Part>,
    pub total: Cost,
    pub glyph: Vec<GlyphBar>,
    /// The graph of a cell, in spaces of cells.
    pub dag: Option<Dag>,
}

/// A block of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    pub name: String,
    pub output: Shape,
    pub cost: Cost,
}

/// A directed graph without cycles: vertices in topological order, edges from lower to higher numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dag {
    pub vertices: Vec<String>,
    pub edges: Vec<(usize, usize)>,
}

impl Inspect {
    /// Opens the first of `texts` that is an architecture of the run's space, or the first word of one that is.
    pub fn open(spec: &str, id: Option<u32>, label: String, texts: &[&str]) -> Inspect {
        let anatomy = read(spec).and_then(|(spec, space)| {
            let whole = texts.iter().map(|t| space.parse(t));
            let words = texts.iter().flat_map(|t| t.split_whitespace());
            let words = words.map(|t| space.parse(t.trim_end_matches([':', ',', ';'])));
            let mut first = None;
            for parsed in whole.chain(words) {
                match parsed {
                    Ok(arch) => return dissect(&spec, &space, arch),
                    Err(e) => first = first.or(Some(e.to_string())),
                }
            }
            Err(first.unwrap_or_else(|| "the point does not say which architecture it is".into()))
        });
        Inspect { id, label, scroll: Scroll::default(), anatomy, ranges: BTreeMap::new() }
    }

    /// Whether a series belongs to this candidate, as `cand-007/valid/accuracy` does to candidate 7.
    pub fn owns(&self, series: &str) -> bool {
        let number = series.split_once('/').and_then(|(first, _)| first.rsplit_once('-')).map(|(_, number)| number);
        self.id.is_some() && number.and_then(|n| n.parse().ok()) == self.id
    }
}

fn read(spec: &str) -> Result<(Spec, Space), String> {
    let spec = Spec::from_toml("spec.toml", spec).map_err(|p| format!("the run's settings cannot be read: {p}"))?;
    let space = Space::of(&spec.space).map_err(|(_, e)| e.to_string())?;
    Ok((spec, space))
}

fn dissect(spec: &Spec, space: &Space, arch: Arch) -> Result<Anatomy, String> {
    let (input, classes) = shape_and_classes(&spec.data);
    let plan = space.plan(&arch, input, classes).map_err(|e| e.to_string())?;
    let part = |b: &kiln_protocol::arch::Block| Part { name: b.name.clone(), output: b.output, cost: b.cost() };
    Ok(Anatomy {
        decisions: space.decisions.iter().zip(&arch.genes).map(|(d, g)| (d.name.clone(), g.clone())).collect(),
        blocks: plan.blocks.iter().map(part).collect(),
        total: plan.cost(),
        glyph: space.glyph(&arch).into_iter().map(|(height, class)| GlyphBar { height, class }).collect(),
        dag: dag(&arch),
        arch,
    })
}

/// The graph of a cell of one of the benchmarks.
fn dag(arch: &Arch) -> Option<Dag> {
    match arch.space.as_str() {
        "nas-bench-101" => {
            let cell = Cell101::from_genes(&arch.genes).ok()?;
            let n = cell.ops.len();
            let edges = (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j)));
            let edges = edges.filter(|&(i, j)| cell.adjacency[i][j]).collect();
            Some(Dag {
                vertices: cell.ops.iter().map(|op| op.name().trim_end_matches("-bn-relu").into()).collect(),
                edges,
            })
        }
        "nas-bench-201" => {
            // Operations stand on edges: each becomes a vertex between its ends. Edges without one are left out.
            let cell = Cell201::from_genes(&arch.genes).ok()?;
            let mut dag = Dag { vertices: vec!["input".into()], edges: Vec::new() };
            let mut place = vec![0];
            for node in 1..4 {
                let arriving = Cell201::EDGES.iter().zip(&cell.ops).filter(|((_, to), _)| *to == node);
                let mut ends = Vec::new();
                for ((from, _), op) in arriving.filter(|(_, op)| op.short() != "none") {
                    dag.edges.push((place[*from], dag.vertices.len()));
                    ends.push(dag.vertices.len());
                    dag.vertices.push(format!("  {}", op.name().trim_start_matches("nor_")));
                }
                let here = dag.vertices.len();
                dag.edges.extend(ends.into_iter().map(|end| (end, here)));
                dag.vertices.push(if node == 3 { "output".into() } else { format!("node {node}") });
                place.push(here);
            }
            Some(dag)
        }
        _ => None,
    }
}

impl Dag {
    /// Columns of rails: each edge runs down its own, from the line of its source to that of its target. A column is used
    /// again once its edge has ended above.
    pub fn rails(&self) -> Vec<Vec<(usize, usize)>> {
        let mut edges = self.edges.clone();
        // Short edges run next to the vertices.
        edges.sort_by_key(|(from, to)| (to - from, *from));
        let mut rails: Vec<Vec<(usize, usize)>> = Vec::new();
        for (from, to) in edges {
            let free = |rail: &Vec<(usize, usize)>| rail.iter().all(|(a, b)| *b < from || *a > to);
            match rails.iter_mut().find(|rail| free(rail)) {
                Some(rail) => rail.push((from, to)),
                None => rails.push(vec![(from, to)]),
            }
        }
        rails
    }

    /// One line a vertex: its rails from left to right, as signs of [`crate::glyphs::Glyphs::rails`].
    pub fn lines(&self, rails: &[&str; 8]) -> Vec<String> {
        let [across, down, start, starts, end, ends, cross, both] = *rails;
        let columns = self.rails();
        (0..self.vertices.len())
            .map(|row| {
                let touches = |rail: &Vec<(usize, usize)>| rail.iter().any(|(a, b)| *a == row || *b == row);
                let last = columns.iter().rposition(touches);
                let mut line = String::new();
                for (c, rail) in columns.iter().enumerate() {
                    let before = last.is_some_and(|last| c <= last);
                    line.push_str(if before { across } else { " " });
                    let passes = rail.iter().any(|(a, b)| *a < row && row < *b);
                    let from = rail.iter().any(|(a, _)| *a == row);
                    let to = rail.iter().any(|(_, b)| *b == row);
                    line.push_str(match (passes, from, to) {
                        (true, ..) if before => cross,
                        (true, ..) => down,
                        (_, true, true) => both,
                        (_, true, _) => {
                            if Some(c) == last {
                                start
                            } else {
                                starts
                            }
                        }
                        (_, _, true) => {
                            if Some(c) == last {
                                end
                            } else {
                                ends
                            }
                        }
                        _ => {
                            if before {
                                across
                            } else {
                                " "
                            }
                        }
                    });
                }
                line.trim_end().to_owned()
            })
            .collect()
    }
}

/// A chart of the candidate's history: all its series that measure the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    pub metric: String,
    pub series: Vec<String>,
    /// End of the x axis: what was planned, or a number beyond what has come.
    pub end: f64,
    pub unit: String,
    pub y: Scale,
}

impl Detail {
    /// The charts of the candidate that is looked at: by what they measure, accuracies first.
    pub fn inspected_charts(&self) -> Vec<Chart> {
        let Some(page) = &self.inspect else { return Vec::new() };
        let mut charts: Vec<Chart> = Vec::new();
        for info in self.curves.series.iter().filter(|s| page.owns(&s.name)) {
            let end = info.x_max.filter(|end| *end >= info.last_x).unwrap_or_else(|| scale::end_beyond(info.last_x));
            match charts.iter_mut().find(|c| c.metric == metric(&info.name)) {
                Some(chart) => {
                    chart.series.push(info.name.clone());
                    chart.end = chart.end.max(end);
                }
                None => charts.push(Chart {
                    metric: metric(&info.name).to_owned(),
                    series: vec![info.name.clone()],
                    end,
                    unit: info.x_unit.clone(),
                    y: page.ranges.get(metric(&info.name)).copied().unwrap_or_default().scale(),
                }),
            }
        }
        charts.sort_by_key(|c| c.metric != "accuracy");
        charts
    }

    /// Lets the ranges of the charts follow, and keeps the page's last line at the end of the screen.
    pub fn fit_inspected(&mut self, size: Size, glyphs: &Glyphs) {
        let charts = self.inspected_charts();
        let areas = layout::inspect(size, charts.len());
        let lines = self.inspected_lines(usize::from(areas.words.width), glyphs).len();
        let bounds = |chart: &Chart| {
            let all = chart.series.iter().filter_map(|name| self.curves.track(name)?.bounds(0.0, chart.end, false));
            all.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
        };
        let found: Vec<_> = charts.iter().map(|c| (c.metric.clone(), bounds(c))).collect();
        if let Some(page) = &mut self.inspect {
            for (metric, bounds) in found {
                page.ranges.entry(metric).or_default().follow(bounds, false);
            }
            page.scroll.fit(lines, usize::from(areas.words.height));
        }
    }

    /// The words of the page, for `width` cells.
    pub fn inspected_lines(&self, width: usize, glyphs: &Glyphs) -> Vec<Line> {
        let Some(page) = &self.inspect else { return Vec::new() };
        let mut lines = head(page, page.id.and_then(|id| self.candidate(id)), glyphs);
        match &page.anatomy {
            Ok(anatomy) => lines.extend(body(anatomy, width, glyphs)),
            Err(said) => {
                lines.push(Line::new());
                let said = format!("Its network cannot be shown: {said}.");
                lines.extend(text::wrap(&said, width).into_iter().map(|line| vec![(Role::Warn, line)]));
            }
        }
        lines
    }
}

/// Which candidate, how it stands, what is known of it.
fn head(page: &Inspect, row: Option<(&Candidates, &Candidate)>, glyphs: &Glyphs) -> Vec<Line> {
    let mut first = Line::new();
    if let Some(id) = page.id {
        first.push((Role::Dim, format!("candidate {id:03}  ")));
    }
    let name = match (&page.anatomy, row) {
        (Ok(anatomy), _) => anatomy.arch.to_string(),
        (_, Some((_, row))) => row.arch.clone(),
        _ => page.label.clone(),
    };
    first.push((Role::Title, name));
    let Some((table, row)) = row else { return vec![first, vec![(Role::Dim, page.label.clone())]] };
    if row.winner {
        first.push((Role::Accent, format!("  {} winner", glyphs.winner)));
    }
    first.push((Role::Dim, format!("  {}", row.status)));
    let mut second = Line::new();
    for (column, cell) in table.columns.iter().zip(&row.cells) {
        let value = cell.map_or(glyphs.none.to_owned(), text::number);
        second.extend([(Role::Dim, format!("{} ", column.name)), (Role::Text, format!("{value}   "))]);
    }
    vec![first, second]
}

/// Drawing, decisions, costs.
fn body(anatomy: &Anatomy, width: usize, glyphs: &Glyphs) -> Vec<Line> {
    let mut lines = vec![Line::new()];
    match &anatomy.dag {
        Some(dag) => {
            let names = dag.vertices.iter().map(|v| text::width(v)).max().unwrap_or(0);
            for (name, rails) in dag.vertices.iter().zip(dag.lines(&glyphs.rails)) {
                let operation = !["input", "output"].contains(&name.as_str()) && !name.starts_with("node");
                let role = if operation { Role::Title } else { Role::Dim };
                lines.push(vec![(role, text::left(name, names + 1, "")), (Role::Accent, rails)]);
            }
        }
        None => {
            let mut line = Line::new();
            for bar in &anatomy.glyph {
                let level = (f64::from(bar.height.clamp(0.0, 1.0)) * 8.0).round() as usize;
                let sign = glyphs.heights[level.min(8)].repeat(2);
                let role = if level == 0 { Role::Faint } else { series(bar.class.to_ascii_lowercase() as usize % 8) };
                line.push((role, format!("{sign} ")));
            }
            lines.push(line);
        }
    }
    lines.push(Line::new());
    lines.extend(decisions(anatomy, width));
    lines.push(Line::new());
    lines.extend(costs(anatomy, width, glyphs));
    lines
}

/// Decision by decision, as many side by side as fit.
fn decisions(anatomy: &Anatomy, width: usize) -> Vec<Line> {
    let all = &anatomy.decisions;
    let names = all.iter().map(|d| text::width(&d.0)).max().unwrap_or(0);
    let genes = all.iter().map(|d| text::width(&d.1)).max().unwrap_or(0);
    let across = (width / (names + genes + 4)).clamp(1, all.len().max(1));
    // Down first, as stages are read.
    let down = all.len().div_ceil(across);
    (0..down)
        .map(|row| {
            let cells = (0..across).filter_map(|c| all.get(c * down + row));
            let cell = |(name, gene): &(String, String)| {
                [(Role::Dim, text::left(name, names + 1, "")), (Role::Text, text::left(gene, genes + 3, ""))]
            };
            cells.flat_map(cell).collect()
        })
        .collect()
}

/// What each block costs, and all together.
fn costs(anatomy: &Anatomy, width: usize, glyphs: &Glyphs) -> Vec<Line> {
    let total = anatomy.total;
    let share =
        |part: u64, of: u64| if of > 0 { format!("{:.1}%", 100.0 * part as f64 / of as f64) } else { String::new() };
    let shape = |shape: Shape| match shape {
        Shape::Flat(n) => n.to_string(),
        Shape::Image(c, h, w) => format!("{c}x{h}x{w}"),
    };
    let row = |name: &str, output: String, cost: Cost| {
        let [params, macs] = [cost.params, cost.macs].map(|n| text::count(n as f64));
        vec![name.to_owned(), output, params, share(cost.params, total.params), macs, share(cost.macs, total.macs)]
    };
    let mut table = Table {
        title: String::new(),
        columns: ["block", "output", "params", "", "MACs", ""].map(String::from).to_vec(),
        rows: anatomy.blocks.iter().map(|b| row(&b.name, shape(b.output), b.cost)).collect(),
    };
    table.rows.push(row("total", String::new(), total));
    let mut lines = pages::table(&table, width, 0, glyphs);
    if let Some(last) = lines.last_mut() {
        last.iter_mut().for_each(|part| part.0 = Role::Title);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::glyphs::{ASCII, UNICODE};

    fn spec(space: &str, set: &str) -> String {
        format!("method = \"train\"\n[data]\nset = \"{set}\"\n[space]\nname = \"{space}\"\n")
    }

    #[test]
    fn a_candidate_is_found_in_what_the_cursor_shows() {
        let label = "013  fast-3-64: accuracy 0.9612";
        let page = Inspect::open(&fixture::spec(), Some(13), label.into(), &[label]);
        let found = page.anatomy.as_ref().unwrap();
        assert_eq!(found.arch.to_string(), "fast-3-64");
        assert_eq!(found.decisions[2], ("width".into(), "64".into()));
        let sum: u64 = found.blocks.iter().map(|b| b.cost.params).sum();
        assert!(sum == found.total.params && sum > 10_000, "{found:?}");
        assert!(page.owns("cand-013/valid/accuracy") && !page.owns("cand-113/x") && !page.owns("train/loss"));
    }

    #[test]
    fn what_is_no_architecture_says_why() {
        let said = |spec: &str, text: &str| Inspect::open(spec, None, String::new(), &[text]).anatomy.unwrap_err();
        assert!(said(&fixture::spec(), "slow-1").contains("2 parts"));
        assert!(said("method = 3", "slow-1").contains("settings cannot be read"));
        assert!(Inspect::open(&fixture::spec(), None, String::new(), &[]).anatomy.is_err());
    }

    #[test]
    fn cells_are_drawn_as_graphs() {
        let space = Space::named("nas-bench-201").unwrap();
        let arch = "c3-none-skip-none-none-ap";
        let page = Inspect::open(&spec("nas-bench-201", "cifar10"), None, String::new(), &[arch]);
        let dag = page.anatomy.unwrap().dag.unwrap();
        assert_eq!(
            dag.vertices,
            ["input", "  conv_3x3", "node 1", "  skip_connect", "node 2", "  avg_pool_3x3", "output"]
        );
        assert_eq!(dag.edges, [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 6)]);
        let reference = space.reference().to_string();
        let page = Inspect::open(&spec("nas-bench-201", "cifar10"), None, String::new(), &[&reference]);
        assert!(page.anatomy.unwrap().dag.is_some());
    }

    #[test]
    fn every_edge_has_a_rail_of_its_own() {
        let dag = Dag {
            vertices: ["in", "a", "b", "c", "out"].map(String::from).to_vec(),
            edges: vec![(0, 1), (0, 2), (1, 2), (2, 3), (0, 4), (3, 4), (1, 4)],
        };
        let rails = dag.rails();
        assert_eq!(rails.iter().map(Vec::len).sum::<usize>(), dag.edges.len());
        for rail in &rails {
            for (i, a) in rail.iter().enumerate() {
                assert!(rail[i + 1..].iter().all(|b| a.1 < b.0 || b.1 < a.0), "{rail:?}");
            }
        }
        assert_eq!(dag.lines(&UNICODE.rails), ["─┬───┬───╮", "─┴─┬─┼─╮ │", "─┬─┴─╯ │ │", "─┴─╮   │ │", "───┴───┴─╯"]);
        assert!(dag.lines(&ASCII.rails).concat().is_ascii());
        assert!(Dag::default().lines(&UNICODE.rails).is_empty());
    }
}
