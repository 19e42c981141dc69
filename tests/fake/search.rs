//! What the fake worker shows: an imitation of a DC-NAS search, computed from the seed and the step alone.
//!
//! Each candidate belongs to one of three families that learn at different speeds; its features lie around its family's
//! centre, its accuracy follows a saturating curve. The clustering is a real k-means on these features.

use std::collections::BTreeMap;
use std::f64::consts::TAU;

use kiln_protocol::run::{Best, Figure, Outcome, Table};
use kiln_protocol::spec::seed::derive;
use kiln_protocol::view::{
    Candidate, Candidates, ClusterPoint, Clusters, Column, GlyphBar, Matrix, Scatter, ScatterGroup,
};
use kiln_protocol::{Body, Level, View};

use super::Script;

const FAMILIES: usize = 3;
const FAMILY_NAMES: [&str; FAMILIES] = ["fast", "steady", "late"];
/// Epochs of a short training.
const EARLY: f64 = 2.0;
/// Epochs of a full training.
const FULL: f64 = 30.0;
/// Lloyd iterations that are shown.
const ITERATIONS: u64 = 6;

/// One imagined network.
struct Net {
    arch: String,
    glyph: Vec<GlyphBar>,
    family: usize,
    feature: [f64; 2],
    params: f64,
    /// Accuracy in the end, and epochs to get two thirds there.
    limit: f64,
    pace: f64,
    key: u64,
}

/// The whole imagined search.
pub struct Search {
    nets: Vec<Net>,
    steps: u64,
    /// Last step of the short trainings, and of the clustering.
    early_end: u64,
    cluster_end: u64,
    /// Assignments and centroids after each iteration.
    lloyd: Vec<(Vec<usize>, Vec<[f64; 2]>)>,
    winners: Vec<usize>,
}

/// A number in [0, 1) that belongs to `(key, what, n)`.
fn unit(key: u64, what: &str, n: u64) -> f64 {
    (derive(key, what, n, 0) >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number that belongs to `(key, what, n)` (Box-Muller).
fn normal(key: u64, what: &str, n: u64) -> f64 {
    let radius = (-2.0 * (1.0 - unit(key, what, 2 * n)).ln()).sqrt();
    radius * (TAU * unit(key, what, 2 * n + 1)).cos()
}

impl Net {
    fn new(seed: u64, id: u64) -> Net {
        let key = derive(seed, "net", id, 0);
        let family = (id as usize + usize::from(unit(key, "swap", 0) < 0.3)) % FAMILIES;
        let depth = 2 + (unit(key, "depth", 0) * 5.0) as usize;
        let widths: Vec<u32> = (0..depth as u64).map(|l| 8 << (unit(key, "width", l) * 4.0) as u32).collect();
        let glyph = widths.iter().enumerate().map(|(l, w)| GlyphBar {
            height: (*w as f32).log2() / 7.0,
            class: if unit(key, "class", l as u64) < 0.6 { 'c' } else { 'd' },
        });
        let params: u32 = widths.windows(2).map(|w| w[0] * w[1] * 9).sum::<u32>() + widths[0] * 9;
        let centre = [[-1.0, 0.6], [0.9, 0.8], [0.1, -1.0]][family];
        let skill = f64::from(params).ln() / 12.0 + 0.15 * normal(key, "skill", 0);
        Net {
            arch: format!(
                "{}-{depth}-{}",
                FAMILY_NAMES[family],
                widths.iter().map(u32::to_string).collect::<Vec<_>>().join("-")
            ),
            glyph: glyph.collect(),
            family,
            feature: [centre[0] + 0.28 * normal(key, "fx", 0), centre[1] + 0.28 * normal(key, "fy", 0)],
            params: f64::from(params),
            limit: (0.78 + 0.16 * skill.clamp(0.0, 1.2)).min(0.985),
            pace: [1.2, 3.0, 7.0][family] * (0.8 + 0.4 * unit(key, "pace", 0)),
            key,
        }
    }

    /// Validation accuracy after so many epochs.
    fn accuracy(&self, epoch: f64) -> f64 {
        let noise = 0.012 * normal(self.key, "noise", (epoch * 64.0) as u64);
        (0.1 + (self.limit - 0.1) * (1.0 - (-epoch / self.pace).exp()) + noise * (-epoch / 20.0).exp()).clamp(0.0, 1.0)
    }

    fn loss(&self, epoch: f64) -> f64 {
        let noise = 1.0 + 0.06 * normal(self.key, "loss", (epoch * 64.0) as u64);
        (2.3 * (-epoch / self.pace).exp() + 3.0 * (1.0 - self.limit)) * noise.max(0.1)
    }
}

impl Search {
    pub fn new(seed: u64, script: &Script) -> Search {
        let nets: Vec<Net> = (0..script.candidates.max(FAMILIES as u64)).map(|id| Net::new(seed, id)).collect();
        let early_end = script.steps * 6 / 10;
        let cluster_end = (early_end + ITERATIONS).min(script.steps);
        let lloyd = k_means(&nets);
        let assigned = lloyd.last().map(|l| l.0.clone()).unwrap_or_default();
        let winners = (0..FAMILIES)
            .filter_map(|c| {
                let members = (0..nets.len()).filter(|&i| assigned.get(i) == Some(&c));
                members.max_by(|&a, &b| nets[a].accuracy(EARLY).total_cmp(&nets[b].accuracy(EARLY)))
            })
            .collect();
        Search { nets, steps: script.steps, early_end, cluster_end, lloyd, winners }
    }

    /// The planned ends of the x axes.
    pub fn x_max(&self) -> BTreeMap<String, f64> {
        let mut ends: BTreeMap<String, f64> = BTreeMap::from([("*".into(), FULL), ("burst".into(), self.steps as f64)]);
        for id in 0..self.nets.len() {
            if !self.winners.contains(&id) {
                ends.insert(format!("cand-{id:03}/valid/accuracy"), EARLY);
            }
        }
        ends
    }

    /// What is being done.
    pub fn note(&self, step: u64) -> String {
        if step <= self.early_end {
            format!("short training {}/{}", self.early_at(step).0 + 1, self.nets.len())
        } else if step <= self.cluster_end {
            format!("clustering, iteration {}", step - self.early_end)
        } else {
            format!("full training of {} winners", self.winners.len())
        }
    }

    /// Candidate and epoch of a step of the short trainings.
    fn early_at(&self, step: u64) -> (usize, f64) {
        let at = step as f64 / self.early_end.max(1) as f64 * self.nets.len() as f64;
        let candidate = (at.ceil() as usize).clamp(1, self.nets.len()) - 1;
        (candidate, ((at - candidate as f64) * EARLY).clamp(0.0, EARLY))
    }

    /// Epoch of a step of the full trainings, which go side by side and on from where the short ones ended.
    fn full_at(&self, step: u64) -> f64 {
        let whole = (self.steps - self.cluster_end).max(1) as f64;
        EARLY + (step.saturating_sub(self.cluster_end)) as f64 / whole * (FULL - EARLY)
    }

    /// What a worker shows that starts at a later step: the views as they were.
    pub fn catch_up(&self, step: u64) -> Vec<Body> {
        let mut out = vec![self.candidates(0..self.nets.len(), step)];
        if step > self.early_end {
            out.push(self.clusters(step));
        }
        out
    }

    /// Everything that happens at a step.
    pub fn step(&self, step: u64) -> Vec<Body> {
        let mut out = Vec::new();
        if step <= self.early_end {
            let (id, epoch) = self.early_at(step);
            let net = &self.nets[id];
            out.push(points(&format!("cand-{id:03}/valid/accuracy"), epoch, net.accuracy(epoch)));
            let before = self.early_at(step - 1).0;
            if before != id || step == 1 {
                out.push(self.candidates(before..id + 1, step));
            }
        } else if step <= self.cluster_end {
            out.push(self.clusters(step));
            if step == self.cluster_end {
                out.push(self.candidates(0..self.nets.len(), step));
                let names: Vec<&str> = self.winners.iter().map(|&w| self.nets[w].arch.as_str()).collect();
                out.push(info(format!("the clusters' winners: {}", names.join(", "))));
            }
        } else {
            out.extend(self.full_training(step));
        }
        if step == self.early_end {
            out.push(info(format!("{} short trainings done; clustering their features", self.nets.len())));
        }
        if step == self.steps {
            out.push(self.candidates(0..self.nets.len(), step));
            out.push(self.scatter());
            out.push(self.distances());
        }
        out
    }

    fn full_training(&self, step: u64) -> Vec<Body> {
        let epoch = self.full_at(step);
        let mut out = Vec::new();
        for &id in &self.winners {
            out.push(points(&format!("cand-{id:03}/valid/accuracy"), epoch, self.nets[id].accuracy(epoch)));
        }
        let Some(lead) = self.lead() else { return out };
        out.push(points("train/loss", epoch, lead.loss(epoch)));
        out.push(points("valid/loss", epoch, lead.loss(epoch) * 1.1 + 0.02));
        out.push(points("valid/accuracy", epoch, lead.accuracy(epoch)));
        let best_before = (self.cluster_end + 1..step).map(|s| lead.accuracy(self.full_at(s))).fold(0.0, f64::max);
        if lead.accuracy(epoch) > best_before {
            let value = lead.accuracy(epoch);
            out.push(Body::Best(Best { name: "valid/accuracy".into(), value, higher_is_better: true }));
        }
        out
    }

    /// The winner that ends best.
    fn lead(&self) -> Option<&Net> {
        self.winners.iter().map(|&w| &self.nets[w]).max_by(|a, b| a.limit.total_cmp(&b.limit))
    }

    fn candidates(&self, ids: std::ops::Range<usize>, step: u64) -> Body {
        let column = |name: &str, decimals, better| Column { name: name.into(), decimals, higher_is_better: better };
        let columns = vec![
            column("params k", 1, Some(false)),
            column("early acc", 4, Some(true)),
            column("full acc", 4, Some(true)),
        ];
        let now = if step <= self.early_end { self.early_at(step).0 } else { self.nets.len() };
        let row = |id: usize| {
            let net = &self.nets[id];
            let winner = step >= self.cluster_end && self.winners.contains(&id);
            let full = (winner && step == self.steps).then(|| net.accuracy(FULL));
            Candidate {
                id: id as u32,
                arch: net.arch.clone(),
                glyph: net.glyph.clone(),
                cells: vec![Some(net.params / 1e3), (id < now).then(|| net.accuracy(EARLY)), full],
                cluster: self.cluster(id, step).map(|c| c as u32),
                winner,
                status: match id.cmp(&now) {
                    std::cmp::Ordering::Less => "done".into(),
                    std::cmp::Ordering::Equal => "training".into(),
                    std::cmp::Ordering::Greater => "waiting".into(),
                },
            }
        };
        let rows = ids.map(row).collect();
        Body::View { name: "candidates".into(), view: Box::new(View::Candidates(Candidates { columns, rows })) }
    }

    fn iteration(&self, step: u64) -> Option<&(Vec<usize>, Vec<[f64; 2]>)> {
        let n = step.checked_sub(self.early_end + 1)?;
        self.lloyd.get((n as usize).min(self.lloyd.len().saturating_sub(1)))
    }

    fn cluster(&self, id: usize, step: u64) -> Option<usize> {
        self.iteration(step)?.0.get(id).copied()
    }

    fn clusters(&self, step: u64) -> Body {
        let (assigned, centroids) = self.iteration(step).cloned().unwrap_or_default();
        let point = |(id, net): (usize, &Net)| ClusterPoint {
            id: id as u32,
            x: net.feature[0],
            y: net.feature[1],
            cluster: assigned.get(id).map(|&c| c as u32),
            winner: step >= self.cluster_end && self.winners.contains(&id),
            label: format!("{}: {:.4} after {EARLY} epochs", net.arch, net.accuracy(EARLY)),
        };
        let iteration = step.saturating_sub(self.early_end).min(ITERATIONS);
        let view = View::Clusters(Clusters {
            title: "Features of the short training".into(),
            x_label: "PC 1 (61 %)".into(),
            y_label: "PC 2 (22 %)".into(),
            points: self.nets.iter().enumerate().map(point).collect(),
            note: format!("iteration {iteration}, objective {:.3}", objective(&self.nets, &assigned, &centroids)),
            names: (0..centroids.len()).map(|c| format!("cluster {c}")).collect(),
            centroids,
        });
        Body::View { name: "clusters".into(), view: Box::new(view) }
    }

    fn scatter(&self) -> Body {
        let group = |family: usize| {
            let of_family = || self.nets.iter().filter(move |n| n.family == family);
            ScatterGroup {
                name: FAMILY_NAMES[family].into(),
                points: of_family().map(|n| [n.accuracy(EARLY), n.accuracy(FULL)]).collect(),
                labels: of_family().map(|n| n.arch.clone()).collect(),
                ..ScatterGroup::default()
            }
        };
        let view = View::Scatter(Scatter {
            title: "Short against full training".into(),
            x_label: format!("accuracy after {EARLY} epochs"),
            y_label: format!("accuracy after {FULL} epochs"),
            groups: (0..FAMILIES).map(group).collect(),
            note: format!("Kendall tau {:.3}", self.tau(|_| true)),
            ..Scatter::default()
        });
        Body::View { name: "early against full".into(), view: Box::new(view) }
    }

    /// Distances between the candidates' features, sorted by family.
    fn distances(&self) -> Body {
        let mut order: Vec<usize> = (0..self.nets.len()).collect();
        order.sort_by_key(|&i| self.nets[i].family);
        let labels: Vec<String> = order.iter().map(|&i| format!("{i:03}")).collect();
        let feature = |i: usize| self.nets[i].feature;
        let row = |&i: &usize| order.iter().map(|&j| Some(square(feature(i), feature(j)).sqrt())).collect::<Vec<_>>();
        let breaks = (1..order.len()).filter(|&i| self.nets[order[i]].family != self.nets[order[i - 1]].family);
        let view = View::Matrix(Matrix {
            title: "Distances between features".into(),
            row_labels: labels.clone(),
            column_labels: labels,
            values: order.iter().map(row).collect(),
            breaks: breaks.collect(),
        });
        Body::View { name: "distances".into(), view: Box::new(view) }
    }

    /// Kendall's tau between accuracy after the short and the full training.
    fn tau(&self, belongs: impl Fn(&Net) -> bool) -> f64 {
        let nets: Vec<&Net> = self.nets.iter().filter(|n| belongs(n)).collect();
        let (mut sum, mut pairs) = (0.0, 0.0);
        for (i, a) in nets.iter().enumerate() {
            for b in &nets[..i] {
                let early = a.accuracy(EARLY) - b.accuracy(EARLY);
                sum += (early * (a.accuracy(FULL) - b.accuracy(FULL))).signum();
                pairs += 1.0;
            }
        }
        if pairs > 0.0 { sum / pairs } else { 0.0 }
    }

    pub fn outcome(&self, digest: u64) -> Outcome {
        let within = (0..FAMILIES).map(|f| self.tau(|n| n.family == f)).sum::<f64>() / FAMILIES as f64;
        let best = self.lead().map(|n| n.accuracy(FULL));
        let figures = [
            ("tau_global", Some(self.tau(|_| true))),
            ("tau_within", Some(within)),
            ("valid_accuracy", best),
            // 52 bits of it, so that it survives being a floating-point number.
            ("digest", Some((digest >> 12) as f64)),
        ];
        let row = |&w: &usize| {
            let net = &self.nets[w];
            let accuracy = |epochs| format!("{:.4}", net.accuracy(epochs));
            vec![net.arch.clone(), format!("{:.1}", net.params / 1e3), accuracy(EARLY), accuracy(FULL)]
        };
        Outcome {
            verdict: "This run was imagined by the fake worker; it shows nothing but how results look.".into(),
            figures: figures.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
            tables: vec![Table {
                title: "Winners".into(),
                columns: ["architecture", "params k", "early", "full"].map(String::from).to_vec(),
                rows: self.winners.iter().map(row).collect(),
            }],
            headline: vec![Figure::new("valid_accuracy", true), Figure::new("digest", true)],
            flaws: Vec::new(),
        }
    }
}

fn points(series: &str, x: f64, y: f64) -> Body {
    Body::Points { series: series.into(), points: vec![[x, y]] }
}

fn info(message: String) -> Body {
    Body::Log { level: Level::Info, message }
}

fn square(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)
}

fn objective(nets: &[Net], assigned: &[usize], centroids: &[[f64; 2]]) -> f64 {
    nets.iter().zip(assigned).map(|(n, &c)| square(n.feature, centroids[c])).sum()
}

/// Lloyd's iterations from a poor start, so that there is something to watch.
fn k_means(nets: &[Net]) -> Vec<(Vec<usize>, Vec<[f64; 2]>)> {
    let mut centroids: Vec<[f64; 2]> = nets.iter().take(FAMILIES).map(|n| n.feature.map(|v| v * 0.2)).collect();
    let mut out = Vec::new();
    for _ in 0..ITERATIONS {
        let nearest = |n: &Net| {
            (0..centroids.len())
                .min_by(|&a, &b| square(n.feature, centroids[a]).total_cmp(&square(n.feature, centroids[b])))
        };
        let assigned: Vec<usize> = nets.iter().map(|n| nearest(n).unwrap_or(0)).collect();
        for (c, centroid) in centroids.iter_mut().enumerate() {
            let members: Vec<_> =
                nets.iter().zip(&assigned).filter(|(_, a)| **a == c).map(|(n, _)| n.feature).collect();
            if !members.is_empty() {
                *centroid = [0, 1].map(|d| members.iter().map(|m| m[d]).sum::<f64>() / members.len() as f64);
            }
        }
        out.push((assigned, centroids.clone()));
    }
    out
}
