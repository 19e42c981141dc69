//! Reading `[[arms]]` of a preset: each arm is laid over the rest and checked like a preset of its own.

use std::collections::BTreeSet;

use crate::check;
use crate::problem::{Place, Problem, nearest};
use crate::settings::MethodName;
use crate::tree::{self, Node, Table, Value};

/// Longest name of an arm, in bytes.
pub(crate) const MAX_NAME: usize = 40;

/// What no arm may set, and why.
const NOT_AN_ARMS: &[(&str, &str)] = &[
    ("seed", "is the same for all arms, so that they can be compared; list `seeds` in the preset"),
    ("seeds", "belongs to the preset, not to one arm"),
    ("arms", "belongs to the preset, not to one arm"),
    ("sweep", "belongs to the preset, not to one arm"),
    ("extends", "belongs to the preset, not to one arm"),
    ("title", "belongs to the preset, not to one arm"),
    ("description", "belongs to the preset, not to one arm"),
];

/// An arm as written.
pub(crate) struct Draft {
    pub name: String,
    pub place: Place,
    /// Nested; dotted keys are taken apart.
    pub set: Table,
}

impl Draft {
    /// The whole preset with this arm's settings, without the tables of methods that it does not run.
    pub fn over(&self, base: &Table) -> Table {
        let mut whole = base.clone();
        if let Some(method) = method(&self.set).or_else(|| method(base)) {
            whole.retain(|key, _| method.may_have(key));
        }
        tree::merge(&mut whole, self.set.clone());
        whole
    }

    /// A mistake in what the arm makes of the preset, said to be so.
    pub fn mark(&self, mut problem: Problem) -> Problem {
        problem.message = marked(&problem.message, &self.name);
        problem
    }
}

/// `message` with the arm that it holds for.
pub(crate) fn marked(message: &str, arm: &str) -> String {
    format!("{message} (in arm `{arm}`)")
}

/// The method that a preset runs, where it names one.
pub(crate) fn method(table: &Table) -> Option<MethodName> {
    match table.get("method") {
        Some(Node { value: Value::Text(name), .. }) => MethodName::ALL.iter().find(|m| m.as_str() == name).copied(),
        _ => None,
    }
}

/// Takes the arms out of a preset.
pub(crate) fn take(table: &mut Table, problems: &mut Vec<Problem>) -> Vec<Draft> {
    let Some(node) = table.remove("arms") else { return Vec::new() };
    let Value::List(items) = &node.value else {
        let found = check::found(&node.value);
        problems.push(Problem::at(&node.place, "arms", format!("expected tables `[[arms]]`, found {found}")));
        return Vec::new();
    };
    let mut names = BTreeSet::new();
    items.iter().filter_map(|item| draft(item, &mut names, problems)).collect()
}

fn draft(item: &Node, names: &mut BTreeSet<String>, problems: &mut Vec<Problem>) -> Option<Draft> {
    let mut wrong = |place: &Place, key: &str, message: String| problems.push(Problem::at(place, key, message));
    let Value::Table(fields) = &item.value else {
        let found = check::found(&item.value);
        wrong(&item.place, "arms", format!("expected an arm as a table with `name` and `set`, found {found}"));
        return None;
    };
    for (key, node) in fields.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "set")) {
        let hint = nearest(key, ["name", "set"]).map(|near| format!("did you mean `{near}`?"));
        let hint = hint.unwrap_or_else(|| format!("write it as set = {{ {key} = … }}"));
        wrong(&node.place, &format!("arms.{key}"), format!("is not a key of an arm; {hint}"));
    }
    let name = match fields.get("name") {
        Some(Node { value: Value::Text(name), .. }) if is_name(name) => name.clone(),
        Some(node) => {
            let found = check::found(&node.value);
            let expected = "letters, digits, `-`, `_` and `.`, at most 40, beginning with a letter or a digit";
            wrong(&node.place, "arms.name", format!("expected {expected}, found {found}"));
            return None;
        }
        None => {
            wrong(&item.place, "arms.name", "is missing: an arm needs a name, such as name = \"joint\"".into());
            return None;
        }
    };
    if !names.insert(name.clone()) {
        let place = fields.get("name").map_or(&item.place, |node| &node.place);
        wrong(place, "arms.name", format!("two arms are called `{name}`; give one of them another name"));
        return None;
    }
    let mut set = Table::new();
    match fields.get("set") {
        None => {}
        Some(Node { value: Value::Table(table), .. }) => {
            for (key, node) in table {
                match nested(key, node) {
                    Some(one) => tree::merge(&mut set, one),
                    None => {
                        let message = format!("`{key}` is not a key; expected a dotted name, such as \"optim.lr\"");
                        wrong(&node.place, "arms.set", message);
                    }
                }
            }
        }
        Some(node) => {
            let found = check::found(&node.value);
            let message = format!("expected a table of settings, such as {{ \"optim.lr\" = 0.1 }}, found {found}");
            wrong(&node.place, "arms.set", message);
        }
    }
    for (key, why) in NOT_AN_ARMS {
        if let Some(node) = set.remove(*key) {
            wrong(&node.place, key, marked(why, &name));
        }
    }
    Some(Draft { name, place: item.place.clone(), set })
}

fn is_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    name.len() <= MAX_NAME && name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A dotted key with its value as tables within one another.
pub(crate) fn nested(key: &str, node: &Node) -> Option<Table> {
    let mut path = tree::key_path(key)?.into_iter().rev();
    let mut table = Table::from([(path.next()?, node.clone())]);
    for name in path {
        let inner = Node { value: Value::Table(table), place: node.place.clone(), typed: None };
        table = Table::from([(name, inner)]);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::testing::Text;
    use crate::{MethodName, Preset, Problems, Spec};

    const GOOD: &str = r#"method = "dc-nas"
seeds = [1, 2, 5]
[data]
set = "digits"
[space]
name = "digits-mlp"
[dc-nas]
population = 20
[[arms]]
name = "two-speed"
[[arms]]
name = "one-speed"
set = { "space.only.family" = ["fast"], "dc-nas.population" = 10, optim = { lr = 0.1 } }
[[arms]]
name = "plain"
[arms.set]
method = "train"
train.epochs = 3
data.set = "fashion"
"#;

    fn load(text: &str, overrides: &[&str]) -> Result<Preset, Problems> {
        let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
        Preset::load(Path::new("p.toml"), &overrides, &Text(text.into()))
    }

    fn answer(text: &str) -> String {
        load(text, &[]).map(|_| "fine".to_owned()).unwrap_or_else(|problems| problems.to_string())
    }

    #[test]
    fn every_arm_is_run_with_every_seed_all_arms_of_the_first_seed_first() {
        let preset = load(GOOD, &[]).unwrap();
        let jobs = preset.spec.jobs().unwrap();
        let parts: Vec<(u32, &str, u64)> = jobs.iter().map(|j| (j.n, j.arm.as_deref().unwrap(), j.spec.seed)).collect();
        assert_eq!(parts[..4], [(1, "two-speed", 1), (2, "one-speed", 1), (3, "plain", 1), (4, "two-speed", 2)]);
        assert_eq!((jobs.len(), jobs[8].seed, jobs[8].n), (9, 5, 9));
        for job in &jobs {
            assert!(!job.spec.is_experiment());
            assert_eq!(Spec::from_toml("job", &job.spec.to_toml().unwrap()).unwrap(), job.spec);
        }
        let (one, two, plain) = (&jobs[0].spec, &jobs[1].spec, &jobs[2].spec);
        assert_eq!(one.dc_nas.as_ref().unwrap().population, 20);
        assert_eq!(two.dc_nas.as_ref().unwrap().population, 10);
        assert_eq!((two.optim.lr, one.optim.lr), (0.1, 0.05));
        assert_eq!(two.space.only["family"], ["fast"]);
        assert_eq!((plain.method, plain.train.as_ref().unwrap().epochs), (MethodName::Train, 3));
        assert!(plain.dc_nas.is_none(), "the table of a method that the arm does not run");
        assert_eq!((one.data.path.as_str(), plain.data.path.as_str()), ("/share/digits", "/share/fashion"));
        assert_eq!(preset.variants().len(), 3);
        assert_eq!(preset.variants()[1].arm(), Some("one-speed"));
        assert!(!preset.spec.arms[1].changes_data() && preset.spec.arms[2].changes_data());
    }

    #[test]
    fn a_frozen_experiment_makes_the_same_jobs() {
        let preset = load(GOOD, &[]).unwrap();
        let frozen = preset.frozen().unwrap();
        let again = Spec::from_toml("spec.toml", &frozen).unwrap();
        assert_eq!(again, preset.spec, "{frozen}");
        assert_eq!(again.jobs().unwrap(), preset.spec.jobs().unwrap());
        assert_eq!(again.to_toml().unwrap(), frozen);
        let said = again.arms[1].settings();
        let said: Vec<String> = said.into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
        assert_eq!(said, ["space.only.family = [\"fast\"]", "optim.lr = 0.1", "dc-nas.population = 10"]);
        assert!(again.arms[0].set.is_empty());
    }

    #[test]
    fn seeds_alone_arms_alone_and_neither() {
        let alone = GOOD.split("[[arms]]").next().unwrap();
        let jobs = |text: &str, set: &[&str]| load(text, set).unwrap().spec.jobs().unwrap();
        let seeds: Vec<(Option<String>, u64)> = jobs(alone, &[]).into_iter().map(|j| (j.arm, j.spec.seed)).collect();
        assert_eq!(seeds, [(None, 1), (None, 2), (None, 5)]);
        assert_eq!(jobs(GOOD, &["seeds=[7]"]).len(), 3);
        let arms = jobs(GOOD, &["seeds=[]", "seed=4"]);
        assert_eq!(arms.iter().map(|j| j.seed).collect::<Vec<_>>(), [4, 4, 4]);
        assert!(jobs(GOOD, &["seeds=[]", "arms=[]"]).is_empty());
        assert!(!load(GOOD, &["seeds=[]", "arms=[]"]).unwrap().spec.is_experiment());
    }

    #[test]
    fn a_bad_arm_is_named_with_line_and_key() {
        let cases = [
            (
                "seeds = [1, 2, 5]",
                "seeds = [1, 2, 1]",
                "p.toml:2: seeds: names 1 twice; the same seed gives the same run",
            ),
            (
                "seeds = [1, 2, 5]",
                "seeds = 3",
                "p.toml:2: seeds: expected a list of whole numbers, such as [1, 2, 3], found 3",
            ),
            (
                "seeds = [1, 2, 5]",
                "seeds = [1, -2]",
                "p.toml:2: seeds[1]: expected a whole number from 0 to 9007199254740991, found -2",
            ),
            (
                "name = \"plain\"",
                "name = \"one-speed\"",
                "p.toml:15: arms.name: two arms are called `one-speed`; give one of them another name",
            ),
            (
                "name = \"plain\"",
                "name = \"a/b\"",
                "p.toml:15: arms.name: expected letters, digits, `-`, `_` and `.`, at most 40, beginning with a letter or a digit, found the text \"a/b\"",
            ),
            (
                "name = \"plain\"\n",
                "",
                "p.toml:14: arms.name: is missing: an arm needs a name, such as name = \"joint\"",
            ),
            (
                "name = \"plain\"",
                "name = \"plain\"\nsets = {}",
                "p.toml:16: arms.sets: is not a key of an arm; did you mean `set`?",
            ),
            (
                "optim = { lr = 0.1 }",
                "optim = { lr = \"x\" }",
                "p.toml:13: optim.lr: expected a number from 1e-8 to 100, found the text \"x\" (in arm `one-speed`)",
            ),
            (
                "\"dc-nas.population\" = 10",
                "\"dc-nas.populaton\" = 10",
                "p.toml:13: dc-nas.populaton: is not a setting; did you mean `population`? (in arm `one-speed`)",
            ),
            (
                "\"dc-nas.population\" = 10",
                "\"dc nas\" = 10",
                "p.toml:13: arms.set: `dc nas` is not a key; expected a dotted name, such as \"optim.lr\"",
            ),
            (
                "\"dc-nas.population\" = 10",
                "seed = 10",
                "p.toml:13: seed: is the same for all arms, so that they can be compared; list `seeds` in the preset (in arm `one-speed`)",
            ),
            (
                "\"dc-nas.population\" = 10",
                "\"dc-nas.clusters\" = 20",
                "p.toml:13: dc-nas.clusters: is 20; expected fewer than the 20 networks of the population (in arm `one-speed`)",
            ),
            (
                "method = \"train\"\n",
                "",
                "p.toml:17: train: is the table of the method `train`, but this preset runs `dc-nas`; take the table away or set method = \"train\" (in arm `plain`)",
            ),
            (
                "data.set = \"fashion\"",
                "data.set = \"cifar10\"",
                "p.toml:19: data.path: is empty, but this data set does not ship with Kiln; expected a folder with CIFAR-10 in its binary version (data_batch_1.bin and so on). To say where: --set data.path=PATH (in arm `plain`)",
            ),
        ];
        for (line, instead, expected) in cases {
            let text = GOOD.replacen(line, instead, 1);
            assert_ne!(text, GOOD, "{line}");
            assert_eq!(answer(&text), expected, "in\n{text}");
        }
        assert_eq!(
            answer(&format!("arms = 3\n{}", GOOD.split("[[arms]]").next().unwrap())),
            "p.toml:1: arms: expected tables `[[arms]]`, found 3"
        );
        let many = GOOD.replace("[1, 2, 5]", &format!("{:?}", (0..400).collect::<Vec<_>>()));
        assert_eq!(answer(&many), "p.toml:2: seeds: and arms make 1200 jobs; an experiment has at most 1000");
    }

    #[test]
    fn what_is_wrong_with_the_rest_is_said_once() {
        assert_eq!(answer(&GOOD.replace("population = 20", "population = 2")).lines().count(), 1);
        assert_eq!(
            answer(&GOOD.replace("name = \"digits-mlp\"", "")),
            "p.toml:5: space.name: is missing: expected text in quotation marks"
        );
    }
}
