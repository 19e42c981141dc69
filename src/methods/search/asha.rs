//! Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2): whoever is free promotes the best
//! candidate that belongs to the top `1 / eta` of its rung and was not promoted yet, from the highest rung down; else it
//! starts a new candidate at the bottom. A promoted candidate goes on training; its schedule of the learning rate was that of
//! the whole training from the start.

use super::record::Ledger;

/// Candidates that have finished this rung, the best first (of equals the earlier finished one). Those that failed stand
/// at the end: they count as members of the rung, and are never promoted.
pub fn rung(ledger: &Ledger, rung: usize) -> Vec<usize> {
    let mut members: Vec<(Option<f64>, usize)> =
        ledger.finished.iter().filter(|f| f.rung == rung).map(|f| (ledger.score(*f), f.candidate)).collect();
    let key = |accuracy: Option<f64>| accuracy.unwrap_or(f64::NEG_INFINITY);
    members.sort_by(|a, b| key(b.0).total_cmp(&key(a.0)));
    members.into_iter().map(|(_, id)| id).collect()
}

/// Who is promoted next, and to which rung, if anybody: only such rungs count whose work is left in the budget.
pub fn promotable(ledger: &Ledger, eta: u32, work: &[u64], left: u64) -> Option<(usize, usize)> {
    (1..work.len()).rev().filter(|&to| work[to] <= left).find_map(|to| {
        let members = rung(ledger, to - 1);
        let top = &members[..members.len() / eta.max(2) as usize];
        let waits = |id: &&usize| {
            let candidate = &ledger.candidates[**id];
            candidate.started == to && candidate.scores.get(to - 1).is_some_and(|score| score.accuracy.is_some())
        };
        top.iter().find(waits).map(|&id| (id, to))
    })
}

#[cfg(test)]
mod tests {
    use super::super::record::LegResult;
    use super::super::record::tests::first_rung;
    use super::*;

    const WORK: [u64; 3] = [10, 20, 60];

    fn finish(ledger: &mut Ledger, candidate: usize, to: usize, accuracy: f64) {
        ledger.start(candidate, to, WORK[to]);
        ledger.result(candidate, LegResult { accuracy: Some(accuracy), failure: None, seconds: 0.0 });
        ledger.deliver(&[1, 3, 9]).unwrap();
    }

    #[test]
    fn the_top_third_of_each_rung_is_promoted_and_the_highest_rung_comes_first() {
        // Two of three are not enough for a third.
        assert_eq!(promotable(&first_rung(&[Some(0.2), Some(0.9)]), 3, &WORK, 1000), None);
        let mut ledger = first_rung(&[Some(0.2), Some(0.9), Some(0.4), Some(0.7), Some(0.1), Some(0.3)]);
        assert_eq!(rung(&ledger, 0), [1, 3, 2, 5, 0, 4]);
        // The top third are 1 and 3.
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), Some((1, 1)));
        finish(&mut ledger, 1, 1, 0.91);
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), Some((3, 1)));
        finish(&mut ledger, 3, 1, 0.95);
        assert_eq!(
            promotable(&ledger, 3, &WORK, 1000),
            None,
            "all of the top third are promoted, and two are no third"
        );
        // Three more, of which one is among the best three of nine.
        for accuracy in [0.05, 0.8, 0.06] {
            let id = ledger.candidates.len();
            ledger.candidates.push(super::super::record::tests::candidate(&id.to_string()));
            finish(&mut ledger, id, 0, accuracy);
        }
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), Some((7, 1)));
        finish(&mut ledger, 7, 1, 0.90);
        // Now the second rung has three, the best of which is 3; it comes before anybody of the first.
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), Some((3, 2)));
        assert_eq!(promotable(&ledger, 3, &WORK, 59), None, "a rung that the budget does not cover is passed over");
    }

    #[test]
    fn a_candidate_that_is_being_promoted_or_has_failed_is_not_promoted() {
        let mut ledger = first_rung(&[None, None, Some(0.1)]);
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), Some((2, 1)));
        ledger.start(2, 1, 20);
        assert_eq!(promotable(&ledger, 3, &WORK, 1000), None);
        assert_eq!(promotable(&first_rung(&[None, None, None]), 3, &WORK, 1000), None);
    }
}
