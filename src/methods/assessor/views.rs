//! What a person sees of the comparison: views from plain numbers.

use kiln_arch::{Arch, Space};
use kiln_protocol::View;
use kiln_protocol::view::{Candidate, Candidates, Column, GlyphBar, Line, Lines, Scatter, ScatterGroup};
use ndarray::Array2;

use super::results::{Figure, Results, Scored, best};
use crate::dc_nas::geometry::Plane;
use crate::text::maybe;

/// Groups by accuracy in the picture of embeddings.
const GROUPS: [&str; 4] = ["lowest quarter", "second", "third", "best quarter"];

/// Best-predicted test cells in the table.
const TOP: usize = 20;

/// The main figure: a figure of merit against the number of labels.
pub fn lines(results: &Results, title: &str, y_label: &str, figure: Figure) -> View {
    let settings = results.settings;
    let lines = settings.methods.iter().map(|&predictor| {
        let point = |(i, n): (usize, &u32)| {
            let summary = results.summary(predictor, i, figure)?;
            Some([f64::from(*n), summary.mean, summary.std])
        };
        Line { name: predictor.to_string(), points: settings.labels.iter().enumerate().filter_map(point).collect() }
    });
    let done = results.scored.iter().flatten().count();
    View::Lines(Lines {
        title: title.to_owned(),
        x_label: "labels".into(),
        y_label: y_label.to_owned(),
        log_x: true,
        lines: lines.filter(|line| !line.points.is_empty()).collect(),
        note: format!("{done} of {} trainings; bars: standard deviation over repeats", results.jobs.len()),
    })
}

/// Architectures that pictures are made of.
pub struct Shown<'a> {
    /// What is being trained, such as `assessor-flat, 100 labels`.
    pub title: String,
    pub archs: &'a [&'a Arch],
    /// Percent.
    pub truth: &'a [f64],
    /// Percent.
    pub predicted: &'a [f64],
    pub scored: &'a Scored,
    /// Test cells that the score is of; the picture may show fewer.
    pub tested: usize,
}

/// Predicted against true.
pub fn scatter(shown: &Shown, clip: f64) -> View {
    let pairs = || shown.predicted.iter().zip(shown.truth);
    let group = ScatterGroup {
        name: "test cells".into(),
        points: pairs().map(|(p, y)| [y.max(clip), *p]).collect(),
        labels: pairs().zip(shown.archs).map(|((p, y), a)| format!("{a}: true {y:.2}, predicted {p:.2}")).collect(),
        ..ScatterGroup::default()
    };
    let Scored { tau, pearson, mse, .. } = shown.scored;
    View::Scatter(Scatter {
        title: format!("Predicted against true: {}", shown.title),
        x_label: if clip > 0.0 { format!("accuracy, %, at least {clip}") } else { "accuracy, %".into() },
        y_label: "predicted, %".into(),
        groups: vec![group],
        note: format!(
            "tau {}, Pearson {}, MSE {} on {} test cells{}",
            maybe(*tau, 3),
            maybe(*pearson, 3),
            maybe(*mse, 2),
            shown.tested,
            if shown.predicted.len() < shown.tested {
                format!(", {} of them drawn", shown.predicted.len())
            } else {
                String::new()
            }
        ),
        diagonal: true,
        ..Scatter::default()
    })
}

/// Embeddings on their two principal components, by accuracy; the labelled ones as a group of their own.
pub fn embedding(shown: &Shown, rows: &[Vec<f64>], labelled: (&[&Arch], &[f64], &[Vec<f64>])) -> Option<View> {
    let width = rows.first()?.len();
    let all: Vec<f64> = rows.iter().chain(labelled.2).flatten().copied().collect();
    let z = Array2::from_shape_vec((rows.len() + labelled.2.len(), width), all).ok()?;
    let plane = Plane::fit(&z);
    let at = |row: usize| plane.project(z.row(row));
    let mut sorted = shown.truth.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter =
        |y: f64| (sorted.partition_point(|v| *v < y) * GROUPS.len() / sorted.len().max(1)).min(GROUPS.len() - 1);
    let mut groups: Vec<ScatterGroup> =
        GROUPS.iter().map(|name| ScatterGroup { name: (*name).into(), ..ScatterGroup::default() }).collect();
    // Where each row comes to stand: group, and place in it.
    let mut places: Vec<(usize, usize)> = Vec::new();
    for (i, (arch, y)) in shown.archs.iter().zip(shown.truth).enumerate() {
        let group = &mut groups[quarter(*y)];
        places.push((quarter(*y), group.points.len()));
        group.points.push(at(i));
        group.labels.push(format!("{arch}: {y:.2} %"));
    }
    places.extend((0..labelled.2.len()).map(|i| (GROUPS.len(), i)));
    let own = ScatterGroup {
        name: "labelled".into(),
        points: (0..labelled.2.len()).map(|i| at(rows.len() + i)).collect(),
        labels: labelled.0.iter().zip(labelled.1).map(|(arch, y)| format!("{arch}: {y:.2} %, labelled")).collect(),
        ..ScatterGroup::default()
    };
    groups.push(own);
    let place = |row: usize| {
        let (group, i) = places.get(row).copied()?;
        u32::try_from(groups[..group].iter().map(|g| g.points.len()).sum::<usize>() + i).ok()
    };
    let vectors: Vec<&[f64]> = rows.iter().chain(labelled.2).map(Vec::as_slice).collect();
    let edges: Vec<[u32; 2]> =
        strongest(&vectors, vectors.len() / 3).into_iter().filter_map(|[a, b]| Some([place(a)?, place(b)?])).collect();
    Some(View::Scatter(Scatter {
        title: format!("Embeddings: {}", shown.title),
        x_label: "first principal component".into(),
        y_label: "second".into(),
        groups,
        note: format!("test cells by accuracy, and labelled ones; lines: the {} strongest relations", edges.len()),
        edges,
        ..Scatter::default()
    }))
}

/// The `n` pairs whose embeddings point most nearly in one direction, which is what the relation graph weighs its edges by
/// (see [`super::relation`]).
fn strongest(vectors: &[&[f64]], n: usize) -> Vec<[usize; 2]> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let norms: Vec<f64> = vectors.iter().map(|v| dot(v, v).sqrt()).collect();
    let cosine = |a: usize, b: usize| dot(vectors[a], vectors[b]) / (norms[a] * norms[b]);
    let mut pairs: Vec<(f64, [usize; 2])> = (0..vectors.len())
        .flat_map(|b| (0..b).map(move |a| [a, b]))
        .map(|[a, b]| (cosine(a, b), [a, b]))
        .filter(|pair| pair.0.is_finite())
        .collect();
    let n = n.min(pairs.len());
    if n > 0 && n < pairs.len() {
        // Only the first few are wanted: no need to sort the rest. Equal ones keep the order of their rows.
        pairs.select_nth_unstable_by(n - 1, |x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    }
    pairs.truncate(n);
    pairs.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
    pairs.into_iter().map(|pair| pair.1).collect()
}

/// The best-predicted test cells, one row a rank.
pub fn candidates(space: &Space, shown: &Shown, params: &[Option<f64>]) -> View {
    let column = |name: &str, decimals: u8, higher: Option<bool>| Column {
        name: name.to_owned(),
        decimals,
        higher_is_better: higher,
    };
    let rows = best(shown.predicted, TOP).into_iter().enumerate().map(|(rank, i)| Candidate {
        id: rank as u32 + 1,
        arch: shown.archs[i].to_string(),
        glyph: space.glyph(shown.archs[i]).into_iter().map(|(height, class)| GlyphBar { height, class }).collect(),
        cells: vec![Some(shown.predicted[i]), Some(shown.truth[i]), params.get(i).copied().flatten()],
        cluster: None,
        winner: rank == 0,
        status: "predicted".into(),
    });
    View::Candidates(Candidates {
        columns: vec![
            column("predicted %", 2, Some(true)),
            column("true %", 2, Some(true)),
            column("params", 0, Some(false)),
        ],
        rows: rows.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_relations_are_those_of_one_direction() {
        let vectors: [&[f64]; 5] = [&[1.0, 0.0], &[0.0, 2.0], &[3.0, 0.03], &[0.0, 0.0], &[-1.0, 0.0]];
        assert_eq!(strongest(&vectors, 1), [[0, 2]], "length does not count");
        assert_eq!(strongest(&vectors, 2), [[0, 2], [1, 2]]);
        // What has no direction is related to nothing.
        let all = strongest(&vectors, 99);
        assert_eq!((all.len(), all.last()), (6, Some(&[0, 4])), "{all:?}");
        assert!(strongest(&vectors, 0).is_empty() && strongest(&[], 3).is_empty());
    }
}
