//! What a search leaves in `artifacts/`: tables for other programs.

use std::fmt::Write as _;

use ndarray::Array2;

use super::kmeans::Partition;
use super::record::{Clustering, Sampled};

/// `features.csv`: one row a network, with what it is, what it reached, its cluster and its features z (empty for failed
/// ones, whose cluster is `failed`).
pub fn features(
    population: &[Sampled],
    clustering: &Clustering,
    winners: &[usize],
    (z, members): (&Array2<f64>, &[usize]),
    names: &[String],
) -> String {
    let mut out = String::from("id,arch,family,params,macs,cluster,winner,early_accuracy,final_accuracy");
    for name in names {
        out += &format!(",z_{name}");
    }
    out.push('\n');
    for (id, s) in population.iter().enumerate() {
        let cluster = clustering.labels.get(id).copied().flatten().map_or("failed".to_owned(), |k| k.to_string());
        let number = |v: Option<f64>| v.map(|v| v.to_string()).unwrap_or_default();
        let _ = write!(
            out,
            "{id},{},{},{},{},{cluster},{},{},{}",
            s.arch,
            s.family,
            s.params,
            s.macs,
            u8::from(winners.contains(&id)),
            number(s.early_accuracy()),
            number(s.full_accuracy())
        );
        match members.iter().position(|&member| member == id) {
            Some(row) => z.row(row).iter().for_each(|v| {
                let _ = write!(out, ",{v}");
            }),
            None => out += &",".repeat(names.len()),
        }
        out.push('\n');
    }
    out
}

/// `centroids.csv`: one row a cluster, in the coordinates of z.
pub fn centroids(partition: &Partition, names: &[String]) -> String {
    let mut out = String::from("cluster,networks");
    for name in names {
        out += &format!(",z_{name}");
    }
    out.push('\n');
    for (k, (row, size)) in partition.centroids.rows().into_iter().zip(partition.sizes()).enumerate() {
        let _ = write!(out, "{k},{size}");
        for v in row {
            let _ = write!(out, ",{v}");
        }
        out.push('\n');
    }
    out
}
