//! Histograms as they are drawn: bins that make sense, and what a column shows.

use kiln_protocol::view::{Histograms, Panel};
use ratatui::layout::Rect;

use crate::chart::plot::{self, GUTTER};
use crate::chart::{Plot, Scale};
use crate::layout;

/// The bins of a panel: borders, rising and finite, and how much each group has in each bin.
#[derive(Clone, Debug, PartialEq)]
pub struct Bins {
    pub edges: Vec<f64>,
    /// By group, one a bin; what is missing, negative or no number counts as 0.
    pub counts: Vec<Vec<f64>>,
}

impl Bins {
    /// Those of a panel. `Ok(None)` where nothing is counted yet.
    ///
    /// # Errors
    /// A sentence, where the borders are none.
    pub fn of(panel: &Panel) -> Result<Option<Bins>, &'static str> {
        let mut edges = panel.edges.clone();
        if edges.iter().any(|e| !e.is_finite()) {
            return Err("A border of its bins is no number.");
        }
        if edges.windows(2).any(|w| w[0] >= w[1]) {
            match edges.as_mut_slice() {
                // All values are the same: a bin of no width around it.
                [lo, hi] if lo == hi => (*lo, *hi) = (*lo - lo.abs().max(1.0) / 2.0, *hi + hi.abs().max(1.0) / 2.0),
                _ => return Err("The borders of its bins do not rise."),
            }
        }
        let bins = edges.len().saturating_sub(1);
        if bins == 0 || panel.groups.is_empty() {
            return Ok(None);
        }
        let known = |v: &f64| if v.is_finite() && *v > 0.0 { *v } else { 0.0 };
        let counts = panel.groups.iter().map(|g| {
            let mut counts: Vec<f64> = g.counts.iter().take(bins).map(known).collect();
            counts.resize(bins, 0.0);
            counts
        });
        let counts = counts.collect();
        Ok(Some(Bins { edges, counts }))
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.edges.len() - 1
    }

    /// The highest bin of all groups.
    pub fn top(&self) -> f64 {
        self.counts.iter().flatten().copied().fold(0.0, f64::max)
    }

    /// The bin in which most is counted, all groups together.
    pub fn highest(&self) -> usize {
        let total = |bin: &usize| self.counts.iter().map(|g| g[*bin]).sum::<f64>();
        // The first of equals: `max_by` would give the last.
        (0..self.count()).rev().max_by(|a, b| total(a).total_cmp(&total(b))).unwrap_or(0)
    }

    pub fn x(&self) -> Scale {
        Scale { lo: self.edges[0], hi: self.edges[self.count()], log: false }
    }

    /// The bin that holds `x`, or the nearest one.
    pub fn at(&self, x: f64) -> usize {
        self.edges.partition_point(|e| *e <= x).saturating_sub(1).min(self.count() - 1)
    }

    pub fn centre(&self, bin: usize) -> f64 {
        let bin = bin.min(self.count() - 1);
        self.edges[bin] + (self.edges[bin + 1] - self.edges[bin]) / 2.0
    }

    /// What a column from `lo` to `hi` shows of a group: the highest of the bins that have their middle in it, so that no peak
    /// is lost where bins are narrower than columns; else the bin under its own middle.
    pub fn column(&self, group: usize, lo: f64, hi: f64) -> f64 {
        let (first, last) = (self.at(lo), self.at(hi));
        let within = (first..=last).filter(|b| (lo..hi).contains(&self.centre(*b)));
        let highest = within.map(|b| self.counts[group][b]).reduce(f64::max);
        highest.unwrap_or_else(|| self.counts[group][self.at(lo + (hi - lo) / 2.0)])
    }

    /// Share of a group that lies in a bin, 0 to 1.
    pub fn share(&self, group: usize, bin: usize) -> Option<f64> {
        let total: f64 = self.counts[group].iter().sum();
        (total > 0.0).then(|| self.counts[group][bin] / total)
    }
}

/// Names and places of what is marked within reach of the bins: a range away, it would leave no room for these.
pub fn marks<'a>(panel: &'a Panel, bins: Option<&Bins>) -> Vec<(&'a str, f64)> {
    let Some(Scale { lo, hi, .. }) = bins.map(Bins::x) else { return Vec::new() };
    let reach = lo - (hi - lo)..=hi + (hi - lo);
    let marks = panel.marks.iter().filter(|m| m.x.is_finite() && reach.contains(&m.x));
    marks.map(|m| (m.name.as_str(), m.x)).collect()
}

/// Where a panel is drawn in its place. `single`: no other one is in view, so that there is room for labels of the y axis.
pub fn plot(panel: &Panel, bins: &Bins, area: Rect, single: bool) -> Plot {
    let marks = marks(panel, Some(bins));
    let chart = layout::histogram(area, !marks.is_empty()).chart;
    // Marks that lie outside widen the axis: they are there to be compared with.
    let x = marks.iter().fold(bins.x(), |x, (_, at)| Scale { lo: x.lo.min(*at), hi: x.hi.max(*at), ..x });
    let top = bins.top();
    let y = Scale { lo: 0.0, hi: if top > 0.0 { top } else { 1.0 }, log: false };
    let inner = if single && chart.width >= 5 * GUTTER {
        plot::inner(chart)
    } else {
        Rect { height: chart.height - u16::from(chart.height >= 3), ..chart }
    };
    Plot { area: chart, inner, x, y }
}

/// Names of all groups in the order of their first appearance: the same group has the same colour in every panel.
pub fn groups(view: &Histograms) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for group in view.panels.iter().flat_map(|p| &p.groups) {
        if !names.contains(&group.name.as_str()) {
            names.push(&group.name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::view::HistogramGroup;

    fn panel(edges: &[f64], counts: &[&[f64]]) -> Panel {
        let group = |c: &&[f64]| HistogramGroup { name: "g".into(), counts: c.to_vec() };
        Panel { edges: edges.to_vec(), groups: counts.iter().map(group).collect(), ..Panel::default() }
    }

    #[test]
    fn odd_bins_are_told_or_put_right() {
        assert_eq!(Bins::of(&panel(&[], &[&[]])), Ok(None));
        assert_eq!(Bins::of(&panel(&[1.0], &[&[1.0]])), Ok(None));
        assert_eq!(Bins::of(&panel(&[0.0, 1.0], &[])), Ok(None));
        assert!(Bins::of(&panel(&[0.0, f64::NAN], &[&[1.0]])).unwrap_err().contains("no number"));
        assert!(Bins::of(&panel(&[0.0, 2.0, 1.0], &[&[1.0]])).unwrap_err().contains("do not rise"));
        let same = Bins::of(&panel(&[3.0, 3.0], &[&[5.0]])).unwrap().unwrap();
        assert_eq!(same.edges, [1.5, 4.5]);
        let odd = Bins::of(&panel(&[0.0, 1.0, 2.0], &[&[f64::NAN, -1.0, 9.0], &[2.0]])).unwrap().unwrap();
        assert_eq!(odd.counts, [[0.0, 0.0], [2.0, 0.0]]);
        assert_eq!((odd.top(), odd.share(0, 0), odd.share(1, 0)), (2.0, None, Some(1.0)));
    }

    #[test]
    fn values_find_their_bins() {
        let bins = Bins::of(&panel(&[0.0, 1.0, 3.0, 4.0], &[&[1.0, 2.0, 4.0]])).unwrap().unwrap();
        let at: Vec<usize> = [-9.0, 0.0, 0.99, 1.0, 2.9, 3.0, 4.0, 9.0].map(|x| bins.at(x)).to_vec();
        assert_eq!(at, [0, 0, 0, 1, 1, 2, 2, 2]);
        assert_eq!([bins.centre(1), bins.centre(2), bins.centre(99)], [2.0, 3.5, 3.5]);
    }

    #[test]
    fn columns_lose_no_peak_and_widen_no_bin() {
        let mut counts = vec![1.0; 100];
        counts[37] = 50.0;
        let edges: Vec<f64> = (0..=100).map(f64::from).collect();
        let bins = Bins::of(&panel(&edges, &[&counts])).unwrap().unwrap();
        for columns in [7, 30, 99, 100, 400] {
            let width = 100.0 / f64::from(columns);
            let drawn: Vec<f64> =
                (0..columns).map(|c| bins.column(0, f64::from(c) * width, f64::from(c + 1) * width)).collect();
            let high = drawn.iter().filter(|v| **v == 50.0).count();
            assert_eq!(high, (columns as usize / 100).max(1), "{columns}");
        }
    }

    #[test]
    fn a_group_keeps_its_place_in_all_panels() {
        let named = |names: &[&str]| Panel {
            groups: names.iter().map(|n| HistogramGroup { name: (*n).into(), counts: vec![] }).collect(),
            ..Panel::default()
        };
        let view = Histograms { panels: vec![named(&["a", "b"]), named(&["c", "b"])], ..Histograms::default() };
        assert_eq!(groups(&view), ["a", "b", "c"]);
    }
}
