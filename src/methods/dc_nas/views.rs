//! What a person sees of the search: views from plain numbers.

use kiln_arch::Space;
use kiln_protocol::View;
use kiln_protocol::run::Table;
use kiln_protocol::view::{
    Candidate, Candidates, ClusterPoint, Clusters, Column, GlyphBar, Matrix, Scatter, ScatterGroup,
};
use ndarray::Array2;

use super::findings::{Findings, trend};
use super::geometry::{Plane, similarity};
use super::kmeans::Partition;
use super::record::{Clustering, Sampled};
use crate::pareto::{self, Point};
use crate::text::{maybe, thousands};

/// Rows of the table of candidates; `ids` says which ones (all are sent once, later only those that changed).
pub fn candidates(
    space: &Space,
    population: &[Sampled],
    clustering: Option<&Clustering>,
    winners: &[usize],
    training: &[usize],
    ids: impl Iterator<Item = usize>,
) -> View {
    let column = |name: &str, decimals: u8, higher: Option<bool>| Column {
        name: name.to_owned(),
        decimals,
        higher_is_better: higher,
    };
    let rows = ids
        .filter_map(|id| Some((id, population.get(id)?)))
        .map(|(id, s)| Candidate {
            id: id as u32,
            arch: s.arch.to_string(),
            glyph: space.glyph(&s.arch).into_iter().map(|(height, class)| GlyphBar { height, class }).collect(),
            cells: vec![Some(s.params as f64), Some(s.macs as f64), s.early_accuracy(), s.full_accuracy()],
            cluster: clustering.and_then(|c| c.labels.get(id).copied().flatten()).map(|label| label as u32),
            winner: winners.contains(&id),
            status: status(s, training.contains(&id)),
        })
        .collect();
    View::Candidates(Candidates {
        columns: vec![
            column("params", 0, Some(false)),
            column("MACs", 0, Some(false)),
            column("acc@E_0", 4, Some(true)),
            column("acc@E_F", 4, Some(true)),
        ],
        rows,
    })
}

fn status(s: &Sampled, training: bool) -> String {
    let failed = |why: &Option<String>| why.as_ref().map(|why| format!("failed: {why}"));
    let early = s.early.as_ref().and_then(|early| failed(&early.failure));
    match (&s.early, &s.full) {
        (_, Some(full)) => failed(&full.failure).or(early).unwrap_or_else(|| "done".into()),
        _ if training => "training".into(),
        (Some(_), None) => early.unwrap_or_else(|| "ranked".into()),
        (None, None) => "waiting".into(),
    }
}

/// What the cursor shows of a network.
fn label(id: usize, s: &Sampled) -> String {
    let mut text = format!("{id} {}  {} params", s.arch, thousands(s.params as f64));
    if let Some(accuracy) = s.early_accuracy() {
        text += &format!("  early {accuracy:.4}");
    }
    if let Some(accuracy) = s.full_accuracy() {
        text += &format!("  final {accuracy:.4}");
    }
    text
}

/// The cluster picture of rows `members` (network ids), with labels as they stand.
pub struct Picture<'a> {
    pub population: &'a [Sampled],
    pub members: &'a [usize],
    pub z: &'a Array2<f64>,
    pub plane: &'a Plane,
}

impl Picture<'_> {
    pub fn draw(&self, labels: &[usize], centroids: &Array2<f64>, winners: &[usize], note: String) -> View {
        let points = self.members.iter().enumerate().map(|(row, &id)| {
            let [x, y] = self.plane.project(self.z.row(row));
            ClusterPoint {
                id: id as u32,
                x,
                y,
                cluster: labels.get(row).map(|&label| label as u32),
                winner: winners.contains(&id),
                label: label(id, &self.population[id]),
            }
        });
        let share = |axis: usize| format!("component {} ({:.0} %)", axis + 1, self.plane.explained[axis] * 100.0);
        View::Clusters(Clusters {
            title: "networks by how their layers change".into(),
            x_label: share(0),
            y_label: share(1),
            points: points.collect(),
            centroids: centroids.rows().into_iter().map(|row| self.plane.project(row)).collect(),
            names: (0..centroids.nrows()).map(cluster_name).collect(),
            note,
        })
    }
}

pub fn cluster_name(k: usize) -> String {
    format!("cluster {k}")
}

/// Rows of `z` by cluster (ties by id), and the rows before which a cluster begins.
fn order(partition: &Partition, members: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|&row| (partition.labels[row], members[row]));
    let breaks = (1..order.len()).filter(|&i| partition.labels[order[i]] != partition.labels[order[i - 1]]).collect();
    (order, breaks)
}

/// Which layers move in which cluster: z, row by row.
pub fn feature_map(z: &Array2<f64>, partition: &Partition, members: &[usize], names: &[String]) -> View {
    let (order, breaks) = order(partition, members);
    View::Matrix(Matrix {
        title: "layer changes (z)".into(),
        row_labels: order.iter().map(|&row| members[row].to_string()).collect(),
        column_labels: names.to_vec(),
        values: order.iter().map(|&row| z.row(row).iter().copied().map(Some).collect()).collect(),
        breaks,
    })
}

/// The similarity matrix, in the same order.
pub fn similarity_map(distances: &Array2<f64>, partition: &Partition, members: &[usize]) -> View {
    let (order, breaks) = order(partition, members);
    let s = similarity(distances);
    let labels: Vec<String> = order.iter().map(|&row| members[row].to_string()).collect();
    View::Matrix(Matrix {
        title: "similarity".into(),
        row_labels: labels.clone(),
        column_labels: labels,
        values: order.iter().map(|&i| order.iter().map(|&j| Some(s[[i, j]])).collect()).collect(),
        breaks,
    })
}

/// Early against final accuracy, one group a cluster with its trend line.
pub fn early_final(population: &[Sampled], clustering: &Clustering, note: String) -> View {
    let group = |label: Option<usize>| {
        let of = population.iter().enumerate().zip(&clustering.labels).filter(|(_, l)| **l == label);
        let measured: Vec<(usize, &Sampled, [f64; 2])> =
            of.filter_map(|((id, s), _)| Some((id, s, [s.early_accuracy()?, s.full_accuracy()?]))).collect();
        let points: Vec<[f64; 2]> = measured.iter().map(|m| m.2).collect();
        ScatterGroup {
            name: label.map_or("failed".into(), cluster_name),
            trend: trend(&points),
            points,
            labels: measured.iter().map(|(id, s, _)| self::label(*id, s)).collect(),
            ids: measured.iter().map(|m| m.0 as u32).collect(),
            joined: false,
        }
    };
    let mut groups: Vec<ScatterGroup> = (0..clustering.k).map(|k| group(Some(k))).collect();
    groups.extend(Some(group(None)).filter(|failed| !failed.points.is_empty()));
    View::Scatter(Scatter {
        title: "early against final accuracy".into(),
        x_label: "acc@E_0".into(),
        y_label: "acc@E_F".into(),
        groups,
        note,
        ..Scatter::default()
    })
}

/// Accuracy after the full training against MACs, of the networks that had one.
pub fn pareto(population: &[Sampled]) -> View {
    let point = |(id, s): (usize, &Sampled)| {
        let (id, arch) = (u32::try_from(id).unwrap_or(u32::MAX), s.arch.to_string());
        Some(Point { id, arch, cost: s.macs as f64, accuracy: s.full_accuracy()? })
    };
    let points: Vec<Point> = population.iter().enumerate().filter_map(point).collect();
    pareto::scatter("accuracy against cost", "MACs", "acc@E_F", &points)
}

/// Kendall's tau: global, inside clusters, and the band of random partitions.
pub fn tau_note(found: Option<&Findings>) -> String {
    let Some(truth) = found.and_then(|f| f.truth.as_ref()) else { return String::new() };
    let mut note = format!("tau global {}, within {}", maybe(truth.tau_global, 3), maybe(truth.within.weighted, 3));
    for cluster in &truth.within.clusters {
        note += &format!(", {} {}", cluster_name(cluster.cluster), maybe(cluster.tau, 3));
    }
    if let Some(null) = &truth.null {
        note += &format!("; random {:.3} +- {:.3}, p {:.3}", null.mean, null.std, null.p);
    }
    note
}

/// Epoch-images by purpose: what was spent, of what is planned.
pub fn budget(rows: &[(&str, f64, f64)]) -> View {
    View::Table(Table {
        title: "epoch-images".into(),
        columns: vec!["phase".into(), "spent".into(), "planned".into()],
        rows: rows
            .iter()
            .map(|(phase, spent, planned)| vec![(*phase).to_owned(), thousands(*spent), thousands(*planned)])
            .collect(),
    })
}
