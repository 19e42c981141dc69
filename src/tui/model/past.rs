//! Histograms as they were: the states of a view over time, as a heat map.

use std::collections::BTreeMap;

use kiln_protocol::View;
use kiln_protocol::past::PastView;
use kiln_protocol::view::Histograms;

use crate::chart::Scale;
use crate::model::panels::Bins;

/// States asked for: two a line of a large screen.
pub const STATES: u32 = 128;

/// States of the views of a run that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past {
    views: BTreeMap<String, Vec<(f64, Histograms)>>,
}

impl Past {
    /// Whether the states of a view are here, or on their way.
    pub fn is_asked(&self, view: &str) -> bool {
        self.views.contains_key(view)
    }

    /// They are on their way.
    pub fn ask(&mut self, view: &str) {
        self.views.entry(view.to_owned()).or_default();
    }

    /// They may have missed something: they are to be asked for anew.
    pub fn doubt(&mut self) {
        self.views.clear();
    }

    /// What the engine knows; states that came meanwhile stay.
    pub fn answer(&mut self, view: &str, states: Vec<PastView>) {
        let histogram = |state: PastView| match state.view {
            View::Histogram(histograms) => Some((state.t, histograms)),
            _ => None,
        };
        let mut all: Vec<(f64, Histograms)> = states.into_iter().filter_map(histogram).collect();
        let newest = all.last().map_or(f64::NEG_INFINITY, |s| s.0);
        if let Some(known) = self.views.get_mut(view) {
            all.extend(known.drain(..).filter(|s| s.0 > newest));
            *known = all;
        }
    }

    /// A newer state of a view.
    pub fn take(&mut self, name: &str, t: f64, view: &View) {
        if let (Some(states), View::Histogram(histograms)) = (self.views.get_mut(name), view) {
            states.push((t, histograms.clone()));
            if states.len() > 2 * STATES as usize {
                // Every second one goes; the newest stays.
                let mut keep = states.len() % 2 == 0;
                states.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        }
    }

    /// The states of a view, the oldest first.
    pub fn states(&self, view: &str) -> &[(f64, Histograms)] {
        self.views.get(view).map_or(&[], Vec::as_slice)
    }
}

/// A panel over time: a row for each state that has it, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct Heat {
    pub x: Scale,
    /// When each row was.
    pub times: Vec<f64>,
    /// By row and column, how much is there, as a share of the most there ever was, 0 to 1; `None` outside the row's bins.
    pub rows: Vec<Vec<Option<f64>>>,
}

/// The panel of that name over time, in so many columns and at most so many rows; all its groups together, each state by its
/// own total, so that what is counted more often is no darker. `None` if no state has anything in it.
pub fn heat(states: &[(f64, Histograms)], panel: &str, columns: usize, most: usize) -> Option<Heat> {
    let known: Vec<(f64, Bins)> = states
        .iter()
        .filter_map(|(t, h)| Some((*t, Bins::of(h.panels.iter().find(|p| p.name == panel)?).ok()??)))
        .filter(|(_, bins)| bins.top() > 0.0)
        .collect();
    if known.is_empty() || columns == 0 || most == 0 {
        return None;
    }
    let lo = known.iter().map(|(_, b)| b.edges[0]).fold(f64::INFINITY, f64::min);
    let hi = known.iter().map(|(_, b)| b.edges[b.count()]).fold(f64::NEG_INFINITY, f64::max);
    let n = known.len().min(most);
    let chosen = (0..n).map(|i| if n > 1 { i * (known.len() - 1) / (n - 1) } else { known.len() - 1 });
    let step = (hi - lo) / columns as f64;
    let row = |bins: &Bins| -> Vec<Option<f64>> {
        // Densities: bins of different states may be of different widths.
        let total: f64 = bins.counts.iter().flatten().sum();
        let density: Vec<f64> = (0..bins.count())
            .map(|b| bins.counts.iter().map(|g| g[b]).sum::<f64>() / total / (bins.edges[b + 1] - bins.edges[b]))
            .collect();
        let column = |c: usize| {
            let (from, to) = (lo + c as f64 * step, lo + (c + 1) as f64 * step);
            let middle = (from + to) / 2.0;
            if middle < bins.edges[0] || middle > bins.edges[bins.count()] {
                return None;
            }
            let (first, last) = (bins.at(from), bins.at(to));
            (first..=last).map(|b| density[b]).reduce(f64::max)
        };
        (0..columns).map(column).collect()
    };
    let (times, mut rows): (Vec<f64>, Vec<Vec<Option<f64>>>) =
        chosen.filter_map(|i| known.get(i)).map(|(t, bins)| (*t, row(bins))).unzip();
    let top = rows.iter().flatten().flatten().copied().filter(|v| v.is_finite()).fold(0.0, f64::max);
    for value in rows.iter_mut().flatten().flatten() {
        // The root lets the tails be seen beside a peak.
        *value = if top > 0.0 && value.is_finite() { (*value / top).sqrt() } else { 0.0 };
    }
    Some(Heat { x: Scale { lo, hi, log: false }, times, rows })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::{HistogramGroup, Panel};

    fn state(t: f64, lo: f64, hi: f64, counts: &[f64]) -> (f64, Histograms) {
        let n = counts.len() as f64;
        let edges = (0..=counts.len()).map(|i| lo + (hi - lo) * i as f64 / n).collect();
        let groups = vec![HistogramGroup { name: "g".into(), counts: counts.to_vec() }];
        let panel = Panel { name: "w".into(), edges, groups, marks: vec![] };
        (t, Histograms { panels: vec![panel], ..Histograms::default() })
    }

    #[test]
    fn rows_share_an_axis_and_a_measure() {
        let states = [state(1.0, 0.0, 4.0, &[1.0, 1.0, 1.0, 1.0]), state(2.0, 1.0, 3.0, &[50.0, 50.0])];
        let heat = heat(&states, "w", 4, 10).unwrap();
        assert_eq!((heat.x.lo, heat.x.hi, heat.times.clone()), (0.0, 4.0, vec![1.0, 2.0]));
        let half = 0.5_f64.sqrt();
        assert_eq!(heat.rows[1], [None, Some(1.0), Some(1.0), None], "counted more often is no darker");
        assert!(heat.rows[0].iter().all(|v| (v.unwrap() - half).abs() < 1e-12), "{heat:?}");
        assert_eq!(super::heat(&states, "other", 4, 10), None);
        assert_eq!(super::heat(&[state(1.0, 0.0, 1.0, &[0.0])], "w", 4, 10), None);
    }

    #[test]
    fn the_first_and_the_newest_state_are_always_there() {
        let states: Vec<_> = (0..50).map(|i| state(f64::from(i), 0.0, 1.0, &[1.0])).collect();
        for most in [1, 2, 7, 50, 99] {
            let times = heat(&states, "w", 3, most).unwrap().times;
            assert_eq!(times.len(), most.min(50));
            assert_eq!(times.last(), Some(&49.0));
            assert!(most == 1 || times[0] == 0.0);
        }
    }

    #[test]
    fn what_comes_while_an_answer_is_under_way_is_kept_and_memory_is_bounded() {
        let mut past = Past::default();
        past.take("v", 1.0, &View::Histogram(Histograms::default()));
        assert!(past.states("v").is_empty(), "nobody asked");
        past.ask("v");
        past.take("v", 3.0, &View::Histogram(state(3.0, 0.0, 1.0, &[1.0]).1));
        let old = |t: f64| PastView { t, view: View::Histogram(Histograms::default()) };
        past.answer("v", vec![old(1.0), old(2.0)]);
        assert_eq!(past.states("v").iter().map(|s| s.0).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
        for i in 4..5000 {
            past.take("v", f64::from(i), &View::Histogram(Histograms::default()));
        }
        let states = past.states("v");
        assert!(states.len() <= 2 * STATES as usize && states.last().unwrap().0 == 4999.0);
    }
}
