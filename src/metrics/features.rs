//! Sets of feature vectors, and figures of merit of generated images that need no assumption on their distribution: kernel
//! distance, precision and recall.

use crate::symmetric::dot;

/// Feature vectors of one length, one after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Features<'a> {
    data: &'a [f64],
    dim: usize,
}

impl<'a> Features<'a> {
    /// Vectors of `dim` numbers each; `None` if `data` is not a whole number of them.
    pub fn new(data: &'a [f64], dim: usize) -> Option<Features<'a>> {
        (dim > 0 && data.len().is_multiple_of(dim)).then_some(Features { data, dim })
    }

    /// How many vectors.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// Numbers a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [f64]> + Clone {
        self.data.chunks_exact(self.dim)
    }

    /// The first ones, `count` at most.
    pub fn first(&self, count: usize) -> Features<'a> {
        Features { data: &self.data[..count.min(self.len()) * self.dim], dim: self.dim }
    }

    /// The vectors before and from `at` on.
    pub fn split(&self, at: usize) -> (Features<'a>, Features<'a>) {
        let (a, b) = self.data.split_at(at.min(self.len()) * self.dim);
        (Features { data: a, dim: self.dim }, Features { data: b, dim: self.dim })
    }

    pub(crate) fn is_finite(&self) -> bool {
        self.data.iter().all(|x| x.is_finite())
    }
}

/// Kernel distance (KID, arXiv:1801.01401): the unbiased estimate of the squared maximum mean discrepancy with the kernel
/// `(a . b / d + 1)^3`. May fall below zero where both sets are alike. `None` for fewer than two vectors in a set, for sets of
/// different lengths of vectors, or where a number is not finite.
pub fn kernel_distance(real: Features, made: Features) -> Option<f64> {
    let ready = |f: &Features| f.len() > 1 && f.is_finite();
    if real.dim() != made.dim() || !ready(&real) || !ready(&made) {
        return None;
    }
    let d = real.dim() as f64;
    let kernel = |a: &[f64], b: &[f64]| (dot(a, b) / d + 1.0).powi(3);
    let within = |f: Features| {
        let n = f.len() as f64;
        let pairs: f64 = f.rows().enumerate().map(|(i, a)| f.rows().take(i).map(|b| kernel(a, b)).sum::<f64>()).sum();
        2.0 * pairs / (n * (n - 1.0))
    };
    let between: f64 = real.rows().map(|a| made.rows().map(|b| kernel(a, b)).sum::<f64>()).sum();
    Some(within(real) + within(made) - 2.0 * between / (real.len() as f64 * made.len() as f64))
}

/// Precision and recall of generated images in feature space (Kynkäänniemi et al., arXiv:1904.06991): the share of generated
/// vectors within the manifold of the real ones, and the other way round. A manifold is the union of balls around its
/// vectors, each up to its `k`-th nearest neighbour in the same set.
///
/// `None` if a set has no more than `k` vectors, lengths differ, or a number is not finite.
pub fn precision_recall(real: Features, made: Features, k: usize) -> Option<(f64, f64)> {
    let ready = |f: &Features| f.len() > k && f.is_finite();
    if k == 0 || real.dim() != made.dim() || !ready(&real) || !ready(&made) {
        return None;
    }
    Some((covered(made, real, &radii(real, k)), covered(real, made, &radii(made, k))))
}

fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}

/// Squared distance of every vector to its `k`-th nearest neighbour.
fn radii(set: Features, k: usize) -> Vec<f64> {
    let of = |(i, a): (usize, &[f64])| {
        let others = set.rows().enumerate().filter(|(j, _)| *j != i);
        let mut distances: Vec<f64> = others.map(|(_, b)| squared_distance(a, b)).collect();
        *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
    };
    set.rows().enumerate().map(of).collect()
}

/// Share of `points` that lie in a ball of `set`.
fn covered(points: Features, set: Features, radii: &[f64]) -> f64 {
    let within = |p: &[f64]| set.rows().zip(radii).any(|(centre, r)| squared_distance(p, centre) <= *r);
    points.rows().filter(|p| within(p)).count() as f64 / points.len() as f64
}

/// Entropy of counts as a share of that of equal counts: 1 where all are equal, 0 where only one is not zero. `None` without
/// counts, or for a single kind.
pub fn evenness(counts: &[u64]) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 || counts.len() < 2 {
        return None;
    }
    let share = |&c: &u64| c as f64 / total as f64;
    let entropy: f64 = counts.iter().map(share).filter(|p| *p > 0.0).map(|p| -p * p.ln()).sum();
    // A single kind leaves -0, which would be printed with its sign.
    Some(entropy / (counts.len() as f64).ln() + 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(data: &[f64], dim: usize) -> Features<'_> {
        Features::new(data, dim).unwrap()
    }

    #[test]
    fn sets_are_whole_vectors() {
        let f = set(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2);
        assert_eq!((f.len(), f.dim()), (3, 2));
        assert_eq!(f.first(2).rows().collect::<Vec<_>>(), [&[1.0, 2.0], &[3.0, 4.0]]);
        assert_eq!(f.split(1).1.len(), 2);
        assert_eq!(f.first(9).len(), 3);
        assert!(Features::new(&[1.0, 2.0, 3.0], 2).is_none() && Features::new(&[], 0).is_none());
        assert!(set(&[], 2).is_empty());
    }

    #[test]
    fn the_kernel_distance_by_hand() {
        // k(x, y) = (xy + 1)^3 with d = 1. Real 0, 1; made 1, 2.
        // Real: k(0,1) = 1. Made: k(1,2) = 27. Between: k(0,1) = k(0,2) = 1, k(1,1) = 8, k(1,2) = 27: mean 37 / 4.
        let kid = kernel_distance(set(&[0.0, 1.0], 1), set(&[1.0, 2.0], 1)).unwrap();
        assert!((kid - (1.0 + 27.0 - 2.0 * 37.0 / 4.0)).abs() < 1e-12, "{kid}");
        // d = 2: k((1,1),(1,-1)) = 1, k of either with (1,0) is 1.5^3, of (1,0) with itself again 1.5^3.
        let kid = kernel_distance(set(&[1.0, 1.0, 1.0, -1.0], 2), set(&[1.0, 0.0, 1.0, 0.0], 2)).unwrap();
        assert!((kid - (1.0 - 1.5_f64.powi(3))).abs() < 1e-12, "{kid}");
        assert_eq!(kernel_distance(set(&[1.0], 1), set(&[1.0, 2.0], 1)), None);
        assert_eq!(kernel_distance(set(&[1.0, f64::INFINITY], 1), set(&[1.0, 2.0], 1)), None);
        assert_eq!(kernel_distance(set(&[1.0, 2.0], 2), set(&[1.0, 2.0], 1)), None);
    }

    #[test]
    fn precision_and_recall_by_hand() {
        // Real on a line at 0, 1, 2, 10: radii to the nearest are 1, 1, 1, 8, so the manifold is [-1, 18].
        let real = [0.0, 1.0, 2.0, 10.0];
        // Made: 0.5 and 17 are inside, -3 and 20 outside. Their radii are 3.5, 3, 3.5, 3: the manifold is [-6.5, 4] and [14, 23].
        let made = [0.5, 17.0, -3.0, 20.0];
        let (precision, recall) = precision_recall(set(&real, 1), set(&made, 1), 1).unwrap();
        assert_eq!((precision, recall), (0.5, 0.75));
        assert_eq!(precision_recall(set(&real, 1), set(&real, 1), 3), Some((1.0, 1.0)));
        assert_eq!(precision_recall(set(&real, 1), set(&made, 1), 4), None);
        // Collapsed to one mode that is real: all precise, little recalled.
        let one = [1.0, 1.01, 1.02, 1.03];
        let (precision, recall) = precision_recall(set(&real, 1), set(&one, 1), 1).unwrap();
        assert_eq!((precision, recall), (1.0, 0.25));
    }

    #[test]
    fn evenness_by_hand() {
        assert_eq!(evenness(&[5, 5, 5, 5]), Some(1.0));
        assert_eq!(evenness(&[0, 7, 0]).map(f64::to_bits), Some(0));
        let want = (0.75 * (4.0_f64 / 3.0).ln() + 0.25 * 4.0_f64.ln()) / 2.0_f64.ln();
        assert!((evenness(&[3, 1]).unwrap() - want).abs() < 1e-15);
        assert_eq!(evenness(&[0, 0]), None);
        assert_eq!(evenness(&[3]), None);
    }
}
