//! Rules about runs. They look at what a series has done, never at the method.

use super::{Advice, Found, RunLook};
use crate::event::Level;
use crate::figures::{duration, number, percent};
use crate::run::{RunState, RunSummary};
use crate::wire::SeriesInfo;

/// Fewest points that say anything about a trend.
const ENOUGH: usize = 8;

/// Points over which a median is taken: a single spike is no trend.
const WINDOW: usize = 3;

/// A loss this many times its least is on its way out.
const DIVERGED: f64 = 2.0;

/// A validation loss this many times its least has left it for good.
const OVERFITTED: f64 = 1.1;

/// Share of the points that must have gone by without a gain for a plateau.
const PLATEAU: f64 = 0.4;

/// Share of what was gained before below which a gain is none.
const GAIN: f64 = 0.01;

/// Share of cut gradients above which the limit, not the loss, decides how far a step goes.
const CLIPPED: f64 = 0.5;

/// Seconds of silence after which a worker, which tells of itself every few seconds, is worth a look.
const SILENT: f64 = 120.0;

/// The series that the rules look at, of all that a run has: losses and shares of cut gradients of the run itself (not of
/// single candidates), and the figure that it is judged by.
pub fn series_of_interest(run: &RunSummary, series: &[SeriesInfo]) -> Vec<String> {
    let judged = run.best.as_ref().map(|b| b.name.as_str());
    let wanted = |name: &str| {
        let candidate = name.starts_with("cand-");
        Some(name) == judged || (!candidate && (is(name, TRAIN_LOSS) || is(name, VALID_LOSS) || is(name, CUT)))
    };
    series.iter().map(|s| &s.name).filter(|name| wanted(name)).take(MOST).cloned().collect()
}

/// Series looked at of one run: a search with dozens of trainings has told enough by then.
const MOST: usize = 24;

const TRAIN_LOSS: &str = "train/loss";
const VALID_LOSS: &str = "valid/loss";
/// Share of steps whose gradient was cut to its longest allowed length.
const CUT: &str = "train/clipped";

/// Whether a series measures that: by itself, or of a part of the run, as `search/train/loss`.
fn is(name: &str, what: &str) -> bool {
    name == what || name.strip_suffix(what).is_some_and(|part| part.ends_with('/') || part.ends_with(": "))
}

type Rule = fn(&RunLook) -> Option<Found>;

/// All rules about runs; at most one of the first three speaks, for they tell of the same loss.
const ABOUT_THE_LOSS: [Rule; 3] = [diverged, diverging, overfitting];
const OTHERS: [Rule; 3] = [plateau, clipped, silent];

/// What is worth doing about a run. An experiment is judged by its arms' means.
pub fn of_run(look: &RunLook) -> Vec<Advice> {
    let loss = ABOUT_THE_LOSS.iter().find_map(|rule| rule(look));
    let found = loss.into_iter().chain(OTHERS.iter().filter_map(|rule| rule(look)));
    found.map(|found| found.of(Some(look.run.id.clone()))).collect()
}

impl RunLook<'_> {
    fn named(&self, what: &str) -> impl Iterator<Item = (&str, &[[f64; 2]])> {
        self.series.iter().filter(move |(name, _)| is(name, what)).map(|(name, points)| (name.as_str(), &points[..]))
    }

    fn live(&self) -> bool {
        self.run.state.is_live()
    }
}

/// Medians of every few neighbouring finite points: `[x, y]`.
fn medians(points: &[[f64; 2]]) -> Vec<[f64; 2]> {
    let finite: Vec<[f64; 2]> = points.iter().filter(|p| p[1].is_finite()).copied().collect();
    let median = |w: &[[f64; 2]]| {
        let mut ys: Vec<f64> = w.iter().map(|p| p[1]).collect();
        ys.sort_by(f64::total_cmp);
        [w[w.len() / 2][0], ys[ys.len() / 2]]
    };
    finite.windows(WINDOW).map(median).collect()
}

/// The least point of a curve, and where it stands in it.
fn least(points: &[[f64; 2]]) -> Option<(usize, [f64; 2])> {
    points.iter().copied().enumerate().min_by(|a, b| a.1[1].total_cmp(&b.1[1]))
}

fn diverged(look: &RunLook) -> Option<Found> {
    let broken = |(name, points): (&str, &[[f64; 2]])| {
        let last = points.last().filter(|p| !p[1].is_finite())?;
        let sound = points.iter().rposition(|p| p[1].is_finite());
        let first = points.get(sound.map_or(0, |at| at + 1)).unwrap_or(last);
        Some(Found {
            rule: "diverged",
            level: Level::Error,
            what: format!("{name} has been {} since {}.", number(last[1]), number(first[0])),
            remedy:
                "Start again with a smaller learning rate (`optim.lr`), a longer warm-up or a limit for the gradient \
                     (`optim.grad-clip`); bf16 may be too coarse for this network."
                    .into(),
        })
    };
    look.named(TRAIN_LOSS).find_map(broken)
}

fn diverging(look: &RunLook) -> Option<Found> {
    let rising = |(name, points): (&str, &[[f64; 2]])| {
        let curve = medians(points);
        let (at, low) = least(&curve)?;
        let end = curve.last()?;
        // A loss that may be negative has no ratio; one that has just jumped may come back.
        let rises = curve.len() - at > WINDOW && low[1] > 0.0 && end[1] > DIVERGED * low[1];
        (curve.len() >= ENOUGH && rises).then(|| Found {
            rule: "diverging",
            level: Level::Warn,
            what: format!("{name} has risen from {} at {} to {}.", number(low[1]), number(low[0]), number(end[1])),
            remedy: if look.live() {
                format!(
                    "Lower the learning rate now (`kiln set {} optim.lr=...`), or stop the run and start it from its best \
                     checkpoint.",
                    look.run.id
                )
            } else {
                "Take a smaller learning rate, a longer warm-up or a limit for the gradient (`optim.grad-clip`).".into()
            },
        })
    };
    look.named(TRAIN_LOSS).find_map(rising)
}

fn overfitting(look: &RunLook) -> Option<Found> {
    let left = |(name, points): (&str, &[[f64; 2]])| {
        let curve = medians(points);
        let (at, low) = least(&curve)?;
        let end = *curve.last()?;
        if curve.len() < ENOUGH || low[1] <= 0.0 || end[1] < OVERFITTED * low[1] || curve.len() - at <= 2 * WINDOW {
            return None;
        }
        // The training loss of the same part must have fallen meanwhile: else the run diverges.
        let of_train = format!("{}{TRAIN_LOSS}", name.strip_suffix(VALID_LOSS)?);
        let train = medians(&look.series.iter().find(|s| s.0 == of_train)?.1);
        let then = train.iter().rfind(|p| p[0] <= low[0]).or(train.first())?;
        let now = train.last()?;
        (now[1] < then[1]).then(|| Found {
            rule: "over-fitting",
            level: Level::Warn,
            what: format!(
                "{name} has risen from {} at {} to {}, while {of_train} fell from {} to {}.",
                number(low[1]),
                number(low[0]),
                number(end[1]),
                number(then[1]),
                number(now[1])
            ),
            remedy: if look.live() {
                "The best checkpoint is kept: the run can be stopped; next time train for less long, or with more weight decay, \
                 augmentation or a smaller network."
                    .into()
            } else {
                "Train for less long, or with more weight decay, augmentation or a smaller network.".into()
            },
        })
    };
    look.named(VALID_LOSS).find_map(left)
}

fn plateau(look: &RunLook) -> Option<Found> {
    if look.run.state != RunState::Running || look.run.progress.fraction() > 0.9 {
        return None;
    }
    let best = look.run.best.as_ref()?;
    let points = &look.series.iter().find(|s| s.0 == best.name)?.1;
    let sign = if best.higher_is_better { 1.0 } else { -1.0 };
    let good: Vec<[f64; 2]> = points.iter().filter(|p| p[1].is_finite()).map(|p| [p[0], sign * p[1]]).collect();
    let late = (good.len() as f64 * PLATEAU) as usize;
    if late < ENOUGH {
        return None;
    }
    let (before, after) = good.split_at(good.len() - late);
    let top = |points: &[[f64; 2]]| points.iter().copied().max_by(|a, b| a[1].total_cmp(&b[1]));
    let (early, later) = (top(before)?, top(after)?);
    let gained = early[1] - before.first()?[1];
    // Nothing gained at all is not a plateau: it has not begun to learn, or began at its best.
    (gained > 0.0 && later[1] - early[1] < GAIN * gained).then(|| Found {
        rule: "plateau",
        level: Level::Info,
        what: format!(
            "{} has not got better than {} since {}, for {} of the way so far.",
            best.name,
            number(sign * early[1]),
            number(early[0]),
            percent(1.0 - early[0] / after.last().map_or(1.0, |p| p[0]))
        ),
        remedy: format!(
            "Lower the learning rate (`kiln set {} optim.lr=...`), or stop the run: its best checkpoint is kept.",
            look.run.id
        ),
    })
}

fn clipped(look: &RunLook) -> Option<Found> {
    let often = |(name, points): (&str, &[[f64; 2]])| {
        let late = &points[points.len() - points.len().div_ceil(4)..];
        let finite: Vec<f64> = late.iter().map(|p| p[1]).filter(|y| y.is_finite()).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        (points.len() >= WINDOW && mean > CLIPPED).then(|| Found {
            rule: "clipped-gradients",
            level: Level::Info,
            what: format!("The gradient was cut to `optim.grad-clip` in {} of the last steps ({name}).", percent(mean)),
            remedy: "The limit decides the length of the steps, not the loss: raise `optim.grad-clip`, or lower the learning \
                     rate."
                .into(),
        })
    };
    look.named(CUT).find_map(often)
}

fn silent(look: &RunLook) -> Option<Found> {
    let since = look.now - look.run.last_event?;
    (look.run.state == RunState::Running && look.run.jobs.is_none() && since > SILENT).then(|| Found {
        rule: "silent",
        level: Level::Warn,
        what: format!("The worker has said nothing for {}.", duration(since)),
        remedy: format!(
            "It may hang on its data or its device: `kiln tail {}` and the run's worker.log show its last words; `kiln stop` and \
             `kiln resume` start it again from its last checkpoint.",
            look.run.id
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Best, Progress, RunId};

    fn summary(state: RunState) -> RunSummary {
        serde_json::from_value::<RunSummary>(serde_json::json!({
            "id": "train-k3f7", "preset": "p", "title": "", "method": "train", "state": "running", "priority": 0,
            "created": 0.0, "attempts": 1, "progress": Progress::default(), "last_event": 1000.0,
        }))
        .map(|run| RunSummary {
            state,
            progress: Progress { done: 40.0, total: 100.0, ..Progress::default() },
            best: Some(Best { name: "valid/accuracy".into(), value: 0.9, higher_is_better: true }),
            ..run
        })
        .unwrap()
    }

    fn curve(n: u32, y: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
        (1..=n).map(|i| [f64::from(i), y(f64::from(i))]).collect()
    }

    fn rules(state: RunState, series: Vec<(&str, Vec<[f64; 2]>)>) -> Vec<Advice> {
        let series: Vec<_> = series.into_iter().map(|(name, points)| (name.to_owned(), points)).collect();
        of_run(&RunLook { run: &summary(state), series: &series, now: 1010.0 })
    }

    fn names(advice: &[Advice]) -> Vec<&str> {
        advice.iter().map(|a| a.rule.as_str()).collect()
    }

    #[test]
    fn a_run_that_learns_needs_no_advice() {
        let falling = |x: f64| 2.0 * (-x / 10.0).exp() + 0.02 * (x * 1.7).sin().abs() + 0.05;
        let advice = rules(
            RunState::Running,
            vec![
                ("train/loss", curve(40, falling)),
                ("valid/loss", curve(40, |x| falling(x) + 0.1)),
                ("valid/accuracy", curve(40, |x| 1.0 - (-x / 20.0).exp())),
                ("train/clipped", curve(40, |x| 1.0 / x)),
            ],
        );
        assert_eq!(names(&advice), [""; 0], "{advice:?}");
    }

    #[test]
    fn a_loss_that_is_no_number_is_told_with_its_beginning() {
        let points = curve(20, |x| if x > 14.0 { f64::NAN } else { 1.0 / x });
        let advice = rules(RunState::Failed, vec![("search/train/loss", points)]);
        assert_eq!(names(&advice), ["diverged"]);
        assert_eq!(advice[0].what, "search/train/loss has been nan since 15.");
        assert_eq!(advice[0].run, Some(RunId("train-k3f7".into())));
    }

    #[test]
    fn a_rising_loss_diverges_but_a_spike_does_not() {
        let rising = |x: f64| if x < 20.0 { 2.0 / x } else { 0.1 * (x - 18.0) };
        assert_eq!(names(&rules(RunState::Running, vec![("train/loss", curve(30, rising))])), ["diverging"]);
        let spike = |x: f64| if x == 30.0 { 50.0 } else { 2.0 / x };
        assert_eq!(names(&rules(RunState::Running, vec![("train/loss", curve(30, spike))])), [""; 0]);
        // A loss below zero has no ratio to its least.
        assert_eq!(names(&rules(RunState::Running, vec![("train/loss", curve(30, |x| x - 40.0))])), [""; 0]);
    }

    #[test]
    fn over_fitting_needs_a_training_loss_that_falls() {
        let valid = curve(40, |x| 0.3 + (x - 15.0).powi(2) * 4e-4);
        let train = curve(40, |x| 1.0 / x);
        let advice = rules(RunState::Running, vec![("train/loss", train.clone()), ("valid/loss", valid.clone())]);
        assert_eq!(names(&advice), ["over-fitting"]);
        assert!(advice[0].what.starts_with("valid/loss has risen from 0.3004 at 14 to"), "{}", advice[0].what);
        assert_eq!(names(&rules(RunState::Running, vec![("valid/loss", valid.clone())])), [""; 0]);
        // Of another part of the run nothing follows.
        let other = vec![("final/train/loss", train), ("valid/loss", valid)];
        assert_eq!(names(&rules(RunState::Running, other)), [""; 0]);
    }

    #[test]
    fn a_plateau_is_told_while_there_is_time_left() {
        let flat = |x: f64| 0.9 * (1.0 - (-x / 3.0).exp()).min(0.95) + 1e-4 * (x * 3.1).sin();
        let series = || vec![("valid/accuracy", curve(50, flat))];
        assert_eq!(names(&rules(RunState::Running, series())), ["plateau"]);
        assert_eq!(names(&rules(RunState::Completed, series())), [""; 0]);
        assert_eq!(names(&rules(RunState::Running, vec![("valid/accuracy", curve(15, flat))])), [""; 0], "too early");
    }

    #[test]
    fn gradients_that_are_cut_most_of_the_time_are_told() {
        let series = |share: f64| vec![("train/clipped", curve(12, move |x| if x < 6.0 { 1.0 } else { share }))];
        let advice = rules(RunState::Running, series(0.75));
        assert_eq!(names(&advice), ["clipped-gradients"]);
        assert!(advice[0].what.contains("75%"), "{}", advice[0].what);
        assert_eq!(names(&rules(RunState::Running, series(0.2))), [""; 0]);
    }

    #[test]
    fn a_worker_that_says_nothing_is_told() {
        let run = summary(RunState::Running);
        let at = |now: f64| of_run(&RunLook { run: &run, series: &[], now });
        assert_eq!(names(&at(1100.0)), [""; 0]);
        assert_eq!(names(&at(1400.0)), ["silent"]);
        assert!(at(1400.0)[0].remedy.contains("kiln tail train-k3f7"));
    }

    #[test]
    fn odd_series_are_no_trouble() {
        for odd in [vec![], vec![[1.0, f64::NAN]], vec![[f64::NAN, f64::NAN]; 40], vec![[1.0, f64::INFINITY]; 40]] {
            let series = ["train/loss", "valid/loss", "valid/accuracy", "train/clipped"].map(|n| (n, odd.clone()));
            rules(RunState::Running, series.to_vec());
        }
    }

    #[test]
    fn series_of_single_candidates_are_left_out() {
        let info = |name: &str| SeriesInfo {
            name: name.into(),
            points: 9,
            first_x: 1.0,
            last_x: 9.0,
            last_y: None,
            x_max: None,
            x_unit: String::new(),
        };
        let all =
            ["train/loss", "cand-003/train/loss", "joint: valid/loss", "valid/accuracy", "train/lr", "xtrain/loss"];
        let wanted = series_of_interest(&summary(RunState::Running), &all.map(info));
        assert_eq!(wanted, ["train/loss", "joint: valid/loss", "valid/accuracy"]);
    }
}
