//! The settings of a run as a flat list of dotted keys.

use std::collections::BTreeMap;

use kiln_protocol::spec::Spec;
use kiln_protocol::wire::RunDetail;
use serde_json::Value as Json;

use crate::compare::gather;
use crate::failure::{Failure, Outcome};

/// Every setting of a run, defaults included: key, value.
///
/// # Errors
/// The run's `spec.toml` is one that this Kiln cannot read.
pub fn of(detail: &RunDetail) -> Outcome<BTreeMap<String, Json>> {
    let spec = Spec::from_toml("spec.toml", &detail.spec)
        .map_err(|problems| Failure::Input(format!("{}: {}", detail.summary.id, problems.of_another_kiln())))?;
    gather::settings(&spec).map_err(Failure::Input)
}

/// The settings in which runs differ: key, and one value a run (`None` where it has no such setting). Words that only name
/// a run are no difference.
pub fn differences(runs: &[BTreeMap<String, Json>]) -> Vec<(String, Vec<Option<Json>>)> {
    const NAMES: [&str; 2] = ["title", "description"];
    let mut keys: Vec<&String> = runs.iter().flat_map(BTreeMap::keys).collect();
    keys.sort();
    keys.dedup();
    let row = |key: &String| (key.clone(), runs.iter().map(|r| r.get(key).cloned()).collect::<Vec<_>>());
    let rows = keys.into_iter().filter(|key| !NAMES.contains(&key.as_str())).map(row);
    rows.filter(|(_, values)| values.windows(2).any(|pair| pair[0] != pair[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_those_that_matter() {
        let settings = |value: Json| -> BTreeMap<String, Json> { serde_json::from_value(value).unwrap() };
        let one = settings(json!({ "title": "a", "seed": 1, "optim.lr": 0.1 }));
        let two = settings(json!({ "title": "b", "seed": 1, "optim.lr": 0.2, "train.epochs": 3 }));
        let expected = vec![
            ("optim.lr".to_owned(), vec![Some(json!(0.1)), Some(json!(0.2))]),
            ("train.epochs".to_owned(), vec![None, Some(json!(3))]),
        ];
        assert_eq!(differences(&[one.clone(), two]), expected);
        assert_eq!(differences(&[one.clone(), one]), []);
    }
}
