//! Experiments: one preset run with several seeds, and in several variants (arms) that are compared with one another.
//!
//! A preset with `seeds` or `[[arms]]` is an experiment; every pair of an arm and a seed is a job, a run of its own whose
//! settings have neither. Jobs of one seed draw the same data split, since that depends on the seed alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::{MethodName, Spec};

/// Most jobs of one experiment.
pub const MAX_JOBS: usize = 1000;

/// A variant of a preset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Arm {
    /// Name in tables and of series: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What differs from the rest of the preset: any settings but the seed, as dotted keys or nested tables, such as `{ "optim.lr" = 0.1, method = "train" }`.
    #[serde(default)]
    pub set: Map<String, Json>,
}

/// One job of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// From 1, in the order in which jobs are started.
    pub n: u32,
    /// `None` where the preset has no arms.
    pub arm: Option<String>,
    pub seed: u64,
    /// The settings of its run, every default filled in.
    pub spec: Spec,
}

impl MethodName {
    /// Whether a preset of this method may have such a table (or a setting of that name on its top level).
    pub(crate) fn may_have(self, table: &str) -> bool {
        let owners = MethodName::owners(table);
        owners.is_empty() || owners.contains(&self)
    }
}

impl Spec {
    /// Whether it describes several runs.
    pub fn is_experiment(&self) -> bool {
        !self.arms.is_empty() || !self.seeds.is_empty()
    }

    /// Arm and seed of each job in the order in which they are started: all arms of the first seed, then of the second, so
    /// that arms can be compared early. Empty for a plain run.
    pub fn parts(&self) -> Vec<(Option<&str>, u64)> {
        if !self.is_experiment() {
            return Vec::new();
        }
        let arms: Vec<Option<&str>> =
            if self.arms.is_empty() { vec![None] } else { self.arms.iter().map(|a| Some(a.name.as_str())).collect() };
        let seeds = if self.seeds.is_empty() { std::slice::from_ref(&self.seed) } else { &self.seeds };
        seeds.iter().flat_map(|&seed| arms.iter().map(move |&arm| (arm, seed))).collect()
    }

    /// The runs that the experiment consists of; none for a plain run.
    ///
    /// # Errors
    /// A sentence, if an arm's settings make no preset. [`Spec::from_toml`] and presets that were read have none such.
    pub fn jobs(&self) -> Result<Vec<Job>, String> {
        let variants = self.arms.iter().map(|arm| self.variant(arm)).collect::<Result<Vec<Spec>, String>>()?;
        let plain = Spec { arms: Vec::new(), seeds: Vec::new(), ..self.clone() };
        let job = |(i, (arm, seed)): (usize, (Option<&str>, u64))| {
            let variant = variants.get(i % variants.len().max(1)).unwrap_or(&plain);
            let mut spec = Spec { seed, ..variant.clone() };
            spec.fill_defaults();
            Job { n: i as u32 + 1, arm: arm.map(str::to_owned), seed, spec }
        };
        Ok(self.parts().into_iter().enumerate().map(job).collect())
    }

    /// The settings of one arm, arms and seeds left out.
    fn variant(&self, arm: &Arm) -> Result<Spec, String> {
        let wrong = |e: serde_json::Error| format!("the settings of arm `{}` cannot be read: {e}", arm.name);
        let plain = Spec { arms: Vec::new(), seeds: Vec::new(), ..self.clone() };
        let mut value = serde_json::to_value(&plain).map_err(wrong)?;
        lay_over(&mut value, &Json::Object(arm.set.clone()));
        if let Some(settings) = value.as_object_mut() {
            let method: MethodName =
                serde_json::from_value(settings.get("method").cloned().unwrap_or_default()).map_err(wrong)?;
            settings.retain(|key, _| method.may_have(key));
        }
        serde_json::from_value(value).map_err(wrong)
    }

    /// Makes these the arms: each is what tells the variant from the rest, so that a frozen preset shows it.
    pub(crate) fn set_arms(&mut self, variants: &[(&str, &Spec)]) {
        // Twice: what the tables of the arms' methods have by default is no difference.
        for _ in 0..2 {
            let arm = |(name, spec): &(&str, &Spec)| Arm { name: (*name).to_owned(), set: self.difference(spec) };
            self.arms = variants.iter().map(arm).collect();
            self.fill_defaults();
        }
    }

    fn difference(&self, variant: &Spec) -> Map<String, Json> {
        let json = |spec: &Spec| serde_json::to_value(spec).unwrap_or_default();
        let (mut base, mut other) = (json(self), json(variant));
        for value in [&mut base, &mut other] {
            if let Some(settings) = value.as_object_mut() {
                ["arms", "seeds", "seed"].iter().for_each(|key| drop(settings.shift_remove(*key)));
            }
        }
        match differing(&base, other) {
            Some(Json::Object(set)) => set,
            _ => Map::new(),
        }
    }
}

impl Arm {
    /// The method that it runs, where that is another than the preset's.
    pub fn method(&self) -> Option<MethodName> {
        self.set.get("method").and_then(|name| serde_json::from_value(name.clone()).ok())
    }

    /// Dotted keys with their values as TOML, for people: `space.only.family = ["fast"]`.
    pub fn settings(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        flatten("", &Json::Object(self.set.clone()), &mut out);
        out
    }

    /// Whether it trains on other images than the rest, so that its figures may not be comparable.
    pub fn changes_data(&self) -> bool {
        self.set.contains_key("data")
    }
}

fn flatten(key: &str, value: &Json, out: &mut Vec<(String, String)>) {
    match value {
        Json::Object(table) => {
            for (name, value) in table {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                flatten(&key, value, out);
            }
        }
        // JSON's texts, numbers, switches and lists of such are TOML's.
        other => out.push((key.to_owned(), other.to_string())),
    }
}

/// Tables are merged key by key, anything else is replaced.
fn lay_over(base: &mut Json, over: &Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                lay_over(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, over) => base.clone_from(over),
    }
}

/// What of `other` is not in `base`.
fn differing(base: &Json, other: Json) -> Option<Json> {
    match (base, other) {
        (Json::Object(base), Json::Object(other)) => {
            let left: Map<String, Json> = other
                .into_iter()
                .filter_map(|(key, value)| {
                    let differs = match base.get(&key) {
                        Some(old) => differing(old, value),
                        None => Some(value),
                    };
                    Some((key, differs?))
                })
                .collect();
            (!left.is_empty()).then_some(Json::Object(left))
        }
        (base, other) => (*base != other).then_some(other),
    }
}
