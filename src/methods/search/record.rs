//! What a search knows: plain numbers, all of which a checkpoint holds.

use std::collections::HashSet;

use kiln_arch::{Arch, Cost};
use serde::{Deserialize, Serialize};

/// One proposed network and what is known of it so far. Its id is its place in the list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub arch: Arch,
    pub cost: Cost,
    /// Candidates that it descends from.
    pub parents: Vec<usize>,
    /// Validation accuracy that the screening assessor expected of it.
    pub predicted: Option<f64>,
    /// Rungs started; promotions count from the second.
    pub started: usize,
    /// One a rung that is done and due, in the order of rungs.
    pub scores: Vec<Score>,
    /// Why it was given up, as a sentence.
    pub failure: Option<String>,
    /// Seconds of training, of this candidate alone.
    pub seconds: f64,
}

/// What a rung gave.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Epochs trained so far.
    pub epochs: u32,
    /// Validation accuracy; `None` if the candidate could not be trained, or diverged.
    pub accuracy: Option<f64>,
    /// Epoch-images that the whole search had spent on finished work, this rung's included.
    pub spent: u64,
}

impl Candidate {
    pub fn new(arch: Arch, cost: Cost, parents: Vec<usize>) -> Candidate {
        Candidate { arch, cost, parents, predicted: None, started: 0, scores: Vec::new(), failure: None, seconds: 0.0 }
    }

    /// Accuracy at the highest rung that it has reached.
    pub fn accuracy(&self) -> Option<f64> {
        self.scores.last().and_then(|score| score.accuracy)
    }

    /// Epochs trained.
    pub fn epochs(&self) -> u32 {
        self.scores.last().map_or(0, |score| score.epochs)
    }
}

/// A rung of a candidate's training that is done, in the order of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finish {
    pub candidate: usize,
    pub rung: usize,
}

/// Work under way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leg {
    pub candidate: usize,
    pub rung: usize,
    /// Epoch-images of this rung alone.
    pub work: u64,
    /// When it is done in the schedule: epoch-images of one worker since the start.
    pub due: u64,
    /// What it gave, if that is known before it is due.
    pub result: Option<LegResult>,
}

/// What the training of a leg gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LegResult {
    pub accuracy: Option<f64>,
    pub failure: Option<String>,
    /// Seconds of training.
    pub seconds: f64,
}

/// The search's ledger.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    pub candidates: Vec<Candidate>,
    /// In the order in which they count.
    pub finished: Vec<Finish>,
    /// In the order of their starts.
    pub under_way: Vec<Leg>,
    /// The schedule's time: epoch-images of one worker.
    pub clock: u64,
    /// Epoch-images of all legs that were started.
    pub committed: u64,
    /// Epoch-images of all legs that are done.
    pub spent: u64,
}

impl Ledger {
    /// Starts a rung of a candidate.
    pub fn start(&mut self, candidate: usize, rung: usize, work: u64) {
        self.candidates[candidate].started = rung + 1;
        self.committed += work;
        self.under_way.push(Leg { candidate, rung, work, due: self.clock + work, result: None });
    }

    /// Notes a result that came in.
    pub fn result(&mut self, candidate: usize, result: LegResult) {
        if let Some(leg) = self.under_way.iter_mut().find(|leg| leg.candidate == candidate) {
            leg.result = Some(result);
        }
    }

    /// Takes the next leg that is due, if its result is known: the schedule moves on to it. `epochs` are those of the rungs.
    pub fn deliver(&mut self, epochs: &[u32]) -> Option<Finish> {
        let next = (0..self.under_way.len()).min_by_key(|&i| self.under_way[i].due)?;
        self.under_way[next].result.as_ref()?;
        let leg = self.under_way.remove(next);
        let result = leg.result?;
        self.clock = leg.due;
        self.spent += leg.work;
        let candidate = &mut self.candidates[leg.candidate];
        candidate.seconds += result.seconds;
        candidate.failure = result.failure;
        let epochs = epochs.get(leg.rung).copied().unwrap_or(0);
        candidate.scores.push(Score { epochs, accuracy: result.accuracy, spent: self.spent });
        let finish = Finish { candidate: leg.candidate, rung: leg.rung };
        self.finished.push(finish);
        Some(finish)
    }

    /// Gives up what is under way: time is over. Candidates keep what earlier rungs gave.
    pub fn abandon(&mut self) {
        for leg in self.under_way.drain(..) {
            let candidate = &mut self.candidates[leg.candidate];
            candidate.started = leg.rung;
            if leg.rung == 0 {
                candidate.failure = Some("the budget was spent before it was done".into());
            }
        }
    }

    /// Architectures that were proposed so far.
    pub fn seen(&self) -> HashSet<&Arch> {
        self.candidates.iter().map(|candidate| &candidate.arch).collect()
    }

    /// Accuracy that a finished rung gave.
    pub fn score(&self, finish: Finish) -> Option<f64> {
        self.candidates[finish.candidate].scores.get(finish.rung).and_then(|score| score.accuracy)
    }

    /// Candidates by falling accuracy at the highest rung that each has reached, equal ones by more epochs, then by id.
    /// Those without an accuracy are left out.
    pub fn ranking(&self) -> Vec<usize> {
        let mut ranked: Vec<(f64, u32, usize)> =
            self.candidates.iter().enumerate().filter_map(|(id, c)| Some((c.accuracy()?, c.epochs(), id))).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
        ranked.into_iter().map(|(_, _, id)| id).collect()
    }

    /// The best candidate so far.
    pub fn best(&self) -> Option<usize> {
        self.ranking().first().copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn candidate(gene: &str) -> Candidate {
        let arch = Arch { space: "digits-mlp".into(), genes: vec![gene.into()] };
        Candidate::new(arch, Cost::default(), Vec::new())
    }

    fn gave(accuracy: f64) -> LegResult {
        LegResult { accuracy: Some(accuracy), failure: None, seconds: 1.0 }
    }

    /// A ledger whose candidates have all finished their first rung with these accuracies, in this order.
    pub fn first_rung(accuracies: &[Option<f64>]) -> Ledger {
        let mut ledger = Ledger::default();
        for (id, accuracy) in accuracies.iter().enumerate() {
            ledger.candidates.push(candidate(&id.to_string()));
            ledger.start(id, 0, 10);
            ledger.result(id, LegResult { accuracy: *accuracy, failure: None, seconds: 0.0 });
            ledger.deliver(&[1, 3, 9]).unwrap();
        }
        ledger
    }

    #[test]
    fn results_count_in_the_order_of_work_whenever_they_come() {
        let mut ledger = Ledger::default();
        ledger.candidates.extend(["a", "b", "c"].map(candidate));
        ledger.start(0, 0, 30);
        ledger.start(1, 0, 10);
        ledger.result(0, gave(0.5));
        assert_eq!(ledger.deliver(&[1]), None, "candidate 1 is due first");
        ledger.result(1, gave(0.4));
        assert_eq!(ledger.deliver(&[1]), Some(Finish { candidate: 1, rung: 0 }));
        assert_eq!((ledger.clock, ledger.spent, ledger.committed), (10, 10, 40));
        ledger.start(2, 0, 20);
        ledger.result(2, gave(0.6));
        // Both are due at 30: the one that was started first counts first.
        assert_eq!(ledger.deliver(&[1]), Some(Finish { candidate: 0, rung: 0 }));
        assert_eq!(ledger.deliver(&[1]), Some(Finish { candidate: 2, rung: 0 }));
        assert_eq!(ledger.deliver(&[1]), None);
        assert_eq!((ledger.clock, ledger.spent, ledger.best()), (30, 60, Some(2)));
        let spent: Vec<u64> = ledger.candidates.iter().map(|c| c.scores[0].spent).collect();
        assert_eq!(spent, [40, 10, 60]);
    }

    #[test]
    fn what_is_abandoned_keeps_its_earlier_rungs() {
        let mut ledger = first_rung(&[Some(0.5)]);
        ledger.start(0, 1, 20);
        ledger.candidates.push(candidate("new"));
        ledger.start(1, 0, 10);
        ledger.abandon();
        assert_eq!((ledger.candidates[0].started, ledger.candidates[0].accuracy()), (1, Some(0.5)));
        assert_eq!(ledger.candidates[0].failure, None);
        assert!(ledger.candidates[1].failure.as_ref().unwrap().contains("budget"));
        assert!(ledger.under_way.is_empty());
    }

    #[test]
    fn the_best_has_the_highest_accuracy_and_among_equals_the_longest_training() {
        let mut ledger = first_rung(&[Some(0.7), Some(0.8), None, Some(0.8)]);
        assert_eq!(ledger.ranking(), [1, 3, 0]);
        ledger.start(3, 1, 20);
        ledger.result(3, gave(0.8));
        ledger.deliver(&[1, 3, 9]);
        assert_eq!(ledger.ranking(), [3, 1, 0]);
    }
}
