//! Accuracy against cost, as every search shows it: all candidates, and the front of those that no other beats.

use kiln_protocol::View;
use kiln_protocol::run::Table;
use kiln_protocol::view::{Scatter, ScatterGroup};

use crate::text::thousands;

/// One candidate in the picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// As in the run's table of candidates.
    pub id: u32,
    pub arch: String,
    /// Such as MACs; lower is better.
    pub cost: f64,
    /// Higher is better.
    pub accuracy: f64,
}

/// Which points no other beats, as indices in the order of rising cost; of equal ones the first alone.
pub fn front(points: &[Point]) -> Vec<usize> {
    let pairs: Vec<(f64, f64)> = points.iter().map(|p| (p.cost, p.accuracy)).collect();
    let mut front = kiln_metrics::pareto_front(&pairs);
    front.dedup_by(|b, a| pairs[*a] == pairs[*b]);
    front
}

/// The picture: `cost` and `accuracy` are the axes' names.
pub fn scatter(title: &str, cost: &str, accuracy: &str, points: &[Point]) -> View {
    let front = front(points);
    let group = |name: &str, members: Vec<usize>, joined: bool| ScatterGroup {
        name: name.to_owned(),
        points: members.iter().map(|&i| [points[i].cost, points[i].accuracy]).collect(),
        labels: members.iter().map(|&i| label(&points[i], cost)).collect(),
        ids: members.iter().map(|&i| points[i].id).collect(),
        joined,
        ..ScatterGroup::default()
    };
    let others = (0..points.len()).filter(|i| !front.contains(i)).collect();
    let note = match (front.first(), front.last()) {
        (Some(&cheapest), Some(&best)) if cheapest != best => format!(
            "{} of {} on the front, from {:.4} at {} {cost} to {:.4} at {}",
            front.len(),
            points.len(),
            points[cheapest].accuracy,
            thousands(points[cheapest].cost),
            points[best].accuracy,
            thousands(points[best].cost)
        ),
        (Some(&only), _) => {
            format!(
                "1 of {} on the front: {:.4} at {} {cost}",
                points.len(),
                points[only].accuracy,
                thousands(points[only].cost)
            )
        }
        _ => String::new(),
    };
    View::Scatter(Scatter {
        title: title.to_owned(),
        x_label: cost.to_owned(),
        y_label: accuracy.to_owned(),
        groups: vec![group("dominated", others, false), group("Pareto front", front, true)],
        note,
        ..Scatter::default()
    })
}

/// The front as a table, the cheapest first.
pub fn table(cost: &str, accuracy: &str, points: &[Point]) -> Table {
    let row = |i: usize| {
        let point = &points[i];
        vec![point.id.to_string(), point.arch.clone(), thousands(point.cost), format!("{:.4}", point.accuracy)]
    };
    Table {
        title: "Pareto front".into(),
        columns: ["candidate", "architecture", cost, accuracy].map(str::to_owned).to_vec(),
        rows: front(points).into_iter().map(row).collect(),
    }
}

fn label(point: &Point, cost: &str) -> String {
    format!("{} {}  {} {cost}  {:.4}", point.id, point.arch, thousands(point.cost), point.accuracy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_is_joined_and_every_candidate_is_in_one_group() {
        let given = [(1.0, 0.50), (2.0, 0.40), (3.0, 0.70), (3.0, 0.60), (9.0, 0.71), (9.0, 0.71)];
        let point = |(i, &(cost, accuracy)): (usize, &(f64, f64))| Point {
            id: i as u32 + 10,
            arch: format!("a{i}"),
            cost,
            accuracy,
        };
        let points: Vec<Point> = given.iter().enumerate().map(point).collect();
        assert_eq!(front(&points), [0, 2, 4], "of equal ones the first alone");
        let View::Scatter(picture) = scatter("t", "MACs", "accuracy", &points) else { panic!("no scatter") };
        let [others, front] = &picture.groups[..] else { panic!("{picture:?}") };
        assert_eq!((&others.ids[..], &front.ids[..]), (&[11, 13, 15][..], &[10, 12, 14][..]));
        assert!(front.joined && !others.joined);
        assert!(picture.note.starts_with("3 of 6 on the front"), "{}", picture.note);
        assert_eq!(table("MACs", "accuracy", &points).rows.len(), 3);
        let View::Scatter(empty) = scatter("t", "MACs", "accuracy", &[]) else { panic!("no scatter") };
        assert!(empty.note.is_empty() && empty.groups.iter().all(|g| g.points.is_empty()));
    }
}
