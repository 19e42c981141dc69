//! Reading a space's file, and what must agree in it: what a schema of single values cannot say.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use crate::check::{self, Checked};
use crate::problem::{Place, Problem, Problems, nearest};
use crate::settings::{Choices, OpKind, OpSettings, SpaceDefinition, SpaceKind, StageSettings, SwitchSettings};
use crate::tree::Source;

impl SpaceDefinition {
    /// Reads a space's file; `name` stands for the file in messages.
    ///
    /// # Errors
    /// All mistakes found, each with file, line and key.
    pub fn from_toml(name: &str, text: &str) -> Result<SpaceDefinition, Problems> {
        let place = Place { file: name.into(), line: None, folder: Arc::new(PathBuf::new()) };
        let (table, mut problems) = Source { text, place: place.clone() }.parse();
        let mut checked = check::space(&table, &place);
        if !problems.is_empty() {
            // Of a file with broken lines, a key that seems to be missing may stand in one of them.
            checked.problems.retain(|p| !p.message.starts_with(check::MISSING));
        }
        let definition = serde_json::from_value::<SpaceDefinition>(checked.value.clone());
        match definition {
            Ok(definition) if problems.is_empty() && checked.problems.is_empty() => {
                problems.extend(found(&definition, "", &checked, &place));
                if problems.is_empty() { Ok(definition) } else { Err(Problems(problems)) }
            }
            Err(e) if problems.is_empty() && checked.problems.is_empty() => {
                // The schema is derived from the structs, so this says that they disagree: still a sentence, not a panic.
                Err(Problems(vec![Problem::at(&place, "", format!("the space cannot be read: {e}"))]))
            }
            _ => {
                problems.extend(checked.problems);
                problems.sort_by_key(|p| p.line);
                Err(Problems(problems))
            }
        }
    }

    /// TOML with every default written out.
    ///
    /// # Errors
    /// A sentence, if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, String> {
        toml::to_string_pretty(self).map_err(|e| format!("the space cannot be written as TOML: {e}"))
    }
}

/// The mistakes of a definition whose keys begin with `prefix`, at their places.
pub(crate) fn found(definition: &SpaceDefinition, prefix: &str, checked: &Checked, file: &Place) -> Vec<Problem> {
    let mistakes = mistakes(definition).into_iter();
    mistakes.map(|(key, message)| checked.at(&format!("{prefix}{key}"), file, message)).collect()
}

type Mistakes = Vec<(String, String)>;

/// Keys and what is wrong with them.
fn mistakes(space: &SpaceDefinition) -> Mistakes {
    let mut out = Mistakes::new();
    tables(space, &mut out);
    match space.kind {
        SpaceKind::Chain => chain(space, &mut out),
        SpaceKind::Mlp => {
            if let Some(mlp) = &space.mlp {
                choices("mlp.depth", &mlp.depth, &mut out);
                choices("mlp.width", &mlp.width, &mut out);
                if mlp.families.is_empty() {
                    out.push((
                        "mlp.families".into(),
                        "is empty; name a family, such as fast = { act = \"tanh\" }".into(),
                    ));
                }
                for name in mlp.families.keys() {
                    gene_name(&format!("mlp.families.{name}"), name, &mut out);
                }
            }
        }
        SpaceKind::CellEdges => {
            if let Some(cell) = &space.cell_edges {
                options("cell-edges.ops", &cell.ops, &mut out);
            }
        }
        SpaceKind::CellVertices => {
            if let Some(cell) = &space.cell_vertices {
                options("cell-vertices.ops", &cell.ops, &mut out);
            }
        }
    }
    out
}

/// Tables of another kind, and tables that are missing.
fn tables(space: &SpaceDefinition, out: &mut Mistakes) {
    use SpaceKind::{CellEdges, CellVertices, Chain, Mlp};
    let there = [
        ("switches", Chain, space.switches.is_some()),
        ("stem", Chain, space.stem.is_some()),
        ("ops", Chain, !space.ops.is_empty()),
        ("stages", Chain, !space.stages.is_empty()),
        ("head", Chain, space.head.is_some()),
        ("numbered", Chain, !space.numbered.is_empty()),
        ("mlp", Mlp, space.mlp.is_some()),
        ("cell-edges", CellEdges, space.cell_edges.is_some()),
        ("cell-vertices", CellVertices, space.cell_vertices.is_some()),
    ];
    for (key, kind, there) in there {
        if there && kind != space.kind {
            let message = format!(
                "belongs to kind = \"{}\", but this space is of kind \"{}\"; take one of the two away",
                kind.as_str(),
                space.kind.as_str()
            );
            out.push((key.into(), message));
        }
        let needed = matches!(key, "stem" | "ops" | "stages" | "mlp" | "cell-edges" | "cell-vertices");
        if !there && needed && kind == space.kind {
            let example = match key {
                "stem" => "[stem] with a width",
                "ops" => "[ops] with an operation, such as k3e3 = { kernel = 3, expansion = 3 }",
                "stages" => "[[stages]] with width and depth",
                "mlp" => "[mlp] with depth, width and families",
                "cell-edges" => "[cell-edges]",
                _ => "[cell-vertices]",
            };
            out.push((
                key.into(),
                format!("{}: a space of kind \"{}\" needs {example}", check::MISSING, kind.as_str()),
            ));
        }
    }
}

fn chain(space: &SpaceDefinition, out: &mut Mistakes) {
    for (name, op) in &space.ops {
        operation(name, op, out);
        if let Some((twin, _)) = space.ops.iter().find(|(other, o)| *other < name && *o == op) {
            out.push((format!("ops.{name}"), format!("is the same operation as `{twin}`; keep one of the two")));
        }
    }
    if let Some(stem) = &space.stem {
        odd("stem.kernel", stem.kernel, out);
    }
    let switches = space.switches.clone().unwrap_or_default();
    switch(&switches, out);
    let mut before = space.stem.as_ref().map(|stem| Choices(vec![stem.width]));
    for (i, stage) in space.stages.iter().enumerate() {
        let key = format!("stages[{i}]");
        choices(&format!("{key}.width"), &stage.width, out);
        choices(&format!("{key}.depth"), &stage.depth, out);
        let offered: Vec<&str> = match &stage.ops {
            Some(names) => names.iter().map(String::as_str).collect(),
            None => space.ops.keys().map(String::as_str).collect(),
        };
        for (j, name) in stage.ops.iter().flatten().enumerate() {
            if !space.ops.contains_key(name) {
                let near = match nearest(name, space.ops.keys().map(String::as_str)) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None if name == "skip" => "; define it: [ops] skip = { kind = \"skip\" }".to_owned(),
                    None => format!("; define it: [ops] {name} = {{ kernel = 3, expansion = 3 }}"),
                };
                out.push((format!("{key}.ops[{j}]"), format!("there is no operation `{name}` in [ops]{near}")));
            }
            if offered[..j].contains(&name.as_str()) {
                out.push((format!("{key}.ops[{j}]"), format!("`{name}` is offered twice; once is enough")));
            }
        }
        let known: Vec<&OpSettings> = offered.iter().filter_map(|name| space.ops.get(*name)).collect();
        let pooling = known.iter().filter(|op| op.kind == OpKind::ConvPool).count();
        if pooling > 0 && pooling < known.len() {
            let said =
                "offers `conv-pool`, which halves the side, beside operations that keep it; offer one or the other";
            out.push((format!("{key}{}", if stage.ops.is_some() { ".ops" } else { "" }), said.into()));
        }
        if offered.is_empty() {
            out.push((format!("{key}.ops"), "offers no operation; name at least one".into()));
        } else if known.len() == offered.len() && known.iter().all(|op| op.kind == OpKind::Skip) {
            out.push((
                format!("{key}{}", if stage.ops.is_some() { ".ops" } else { "" }),
                if keeps(before.as_ref(), stage) {
                    "offers nothing but `skip`, so that the stage would never do anything; add an operation".to_owned()
                } else {
                    format!(
                        "stage {} changes stride or width, so every path leads through its first block, but it offers nothing but `skip`; add an operation",
                        i + 1
                    )
                },
            ));
        }
        before = Some(stage.width.clone());
    }
    let whole = space.stages.iter().all(|s| s.width.0.len() == 1 && s.depth.0.len() == 1)
        && switches.norm.0.len().max(switches.path.0.len()).max(switches.act.0.len()).max(switches.base.0.len()) == 1;
    let chosen = space.stages.iter().any(|s| s.ops.as_ref().map_or(space.ops.len(), Vec::len) > 1);
    if out.is_empty() && whole && !chosen {
        out.push(("stages".into(), "leave nothing to choose: offer more than one operation, width or depth".into()));
    }
}

/// Whether the first block of a stage can be left out: stride 1, and the same single width as before.
pub fn keeps(before: Option<&Choices<u32>>, stage: &StageSettings) -> bool {
    stage.stride == 1 && stage.width.0.len() == 1 && before.is_some_and(|b| *b == stage.width)
}

fn operation(name: &str, op: &OpSettings, out: &mut Mistakes) {
    let key = format!("ops.{name}");
    gene_name(&key, name, out);
    if name == "none" {
        out.push((key.clone(), "`none` stands for blocks beyond a stage's depth; choose another name".into()));
    }
    odd(&format!("{key}.kernel"), op.kernel, out);
    let plain = OpSettings { kind: op.kind, kernel: op.kernel, ..OpSettings::default() };
    let what = match op.kind {
        OpKind::Skip if *op != (OpSettings { kind: OpKind::Skip, ..OpSettings::default() }) => {
            "is `skip`, which has no kernel and nothing else; take the other keys away"
        }
        OpKind::Conv if *op != (OpSettings { groups: op.groups, ..plain.clone() }) => {
            "is a `conv`: expansion and squeeze-excite belong to an `inverted-residual`"
        }
        OpKind::Separable if *op != plain => {
            "is `separable`: expansion, groups and squeeze-excite belong to an `inverted-residual`"
        }
        OpKind::ConvPool | OpKind::Basic | OpKind::Preact if *op != plain => {
            "has a kernel alone: expansion, groups and squeeze-excite belong to an `inverted-residual`"
        }
        _ => return,
    };
    out.push((key, what.into()));
}

fn switch(switches: &SwitchSettings, out: &mut Mistakes) {
    options("switches.norm", &switches.norm.0, out);
    options("switches.path", &switches.path.0, out);
    options("switches.act", &switches.act.0, out);
    choices("switches.base", &switches.base, out);
    for (i, name) in switches.stratify.iter().enumerate() {
        if switches.stratify[..i].contains(name) {
            out.push((format!("switches.stratify[{i}]"), "is named twice; once is enough".into()));
        }
    }
}

/// A list of numbers to choose from.
fn choices(key: &str, list: &Choices<u32>, out: &mut Mistakes) {
    options(key, &list.0, out);
    if let Some(zero) = list.0.iter().position(|n| *n == 0) {
        out.push((format!("{key}[{zero}]"), "is 0; expected a whole number from 1".into()));
    }
}

/// A list to choose from: not empty, nothing twice.
fn options<T: PartialEq>(key: &str, list: &[T], out: &mut Mistakes) {
    if list.is_empty() {
        out.push((key.into(), "offers nothing; name at least one value".into()));
    }
    if let Some(twice) = (1..list.len()).find(|&i| list[..i].contains(&list[i])) {
        out.push((format!("{key}[{twice}]"), "is offered twice; once is enough".into()));
    }
}

fn odd(key: &str, kernel: u32, out: &mut Mistakes) {
    if kernel.is_multiple_of(2) {
        out.push((key.into(), format!("is {kernel}; expected an odd number, so that an image keeps its side")));
    }
}

/// Names that are written in architectures, between `-`.
fn gene_name(key: &str, name: &str, out: &mut Mistakes) {
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if !fits {
        let plain: BTreeSet<char> = name.chars().filter(|c| !c.is_ascii_lowercase() && !c.is_ascii_digit()).collect();
        let wrong: String = plain.into_iter().collect();
        let why = if wrong.is_empty() { "it should begin with a letter".into() } else { format!("not `{wrong}`") };
        out.push((
            key.into(),
            format!("a name that is written in architectures has lower-case letters and digits only: {why}"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;
    use crate::{DataSet, Preset, Spec, Surroundings};

    const GOOD: &str = r#"name = "my-space"
title = "A chain"
reference = "k3e3"

[switches]
act = ["relu", "hardswish"]
base = 4

[stem]
width = 2

[ops]
k3e1 = { kernel = 3, expansion = 1 }
k3e3 = { kernel = 3, expansion = 3, squeeze-excite = 0.25 }
skip = { kind = "skip" }

[[stages]]
width = 2
depth = [1, 2]

[[stages]]
width = [4, 6]
depth = 2
stride = 2
ops = ["k3e1", "k3e3"]
"#;

    fn answer(text: &str) -> String {
        SpaceDefinition::from_toml("s.toml", text).map(|_| "fine".to_owned()).unwrap_or_else(|p| p.to_string())
    }

    #[test]
    fn a_good_file_reads_and_reads_back_equal() {
        let space = SpaceDefinition::from_toml("s.toml", GOOD).unwrap();
        assert_eq!(space.stages[0].depth.0, [1, 2]);
        assert_eq!(space.switches.as_ref().unwrap().base.0, [4]);
        let again = SpaceDefinition::from_toml("again.toml", &space.to_toml().unwrap()).unwrap();
        assert_eq!(again, space);
    }

    /// One mistake each: what to replace, by what, the whole answer.
    #[test]
    fn every_mistake_is_one_sentence_with_place_and_remedy() {
        let cases = [
            (
                "depth = [1, 2]",
                "depth = 0",
                "s.toml:19: stages[0].depth: expected a whole number from 1 to 65536, found 0",
            ),
            (
                "depth = [1, 2]",
                "depth = [1, 0]",
                "s.toml:19: stages[0].depth[1]: expected a whole number from 1 to 65536, found 0",
            ),
            ("depth = [1, 2]", "depth = []", "s.toml:19: stages[0].depth: offers nothing; name at least one value"),
            ("depth = [1, 2]", "depth = [2, 2]", "s.toml:19: stages[0].depth[1]: is offered twice; once is enough"),
            (
                "ops = [\"k3e1\", \"k3e3\"]",
                "ops = [\"k3e1\", \"k3e4\"]",
                "s.toml:25: stages[1].ops[1]: there is no operation `k3e4` in [ops]; did you mean `k3e1`?",
            ),
            (
                "ops = [\"k3e1\", \"k3e3\"]",
                "ops = [\"bottleneck\"]",
                "s.toml:25: stages[1].ops[0]: there is no operation `bottleneck` in [ops]; define it: [ops] bottleneck = { kernel = 3, expansion = 3 }",
            ),
            (
                "ops = [\"k3e1\", \"k3e3\"]",
                "ops = [\"skip\"]",
                "s.toml:25: stages[1].ops: stage 2 changes stride or width, so every path leads through its first block, but it offers nothing but `skip`; add an operation",
            ),
            (
                "ops = [\"k3e1\", \"k3e3\"]",
                "ops = [\"k3e1\", \"k3e1\"]",
                "s.toml:25: stages[1].ops[1]: `k3e1` is offered twice; once is enough",
            ),
            (
                "k3e3 = { kernel = 3, expansion = 3, squeeze-excite = 0.25 }",
                "k3e3 = { kernel = 3, expansion = 1 }",
                "s.toml:14: ops.k3e3: is the same operation as `k3e1`; keep one of the two",
            ),
            (
                "k3e1 = { kernel = 3, expansion = 1 }",
                "k3e1 = { kernel = 4 }",
                "s.toml:13: ops.k3e1.kernel: is 4; expected an odd number, so that an image keeps its side",
            ),
            (
                "k3e1 = { kernel = 3, expansion = 1 }",
                "k3e1 = { kernl = 3 }",
                "s.toml:13: ops.k3e1.kernl: is not a setting; did you mean `kernel`?",
            ),
            (
                "k3e1 = { kernel = 3, expansion = 1 }",
                "k3e1 = { kind = \"conv\", expansion = 2 }",
                "s.toml:13: ops.k3e1: is a `conv`: expansion and squeeze-excite belong to an `inverted-residual`",
            ),
            (
                "act = [\"relu\", \"hardswish\"]",
                "act = [\"relu\", \"hardswich\"]",
                "s.toml:6: switches.act[1]: expected `relu`, `gelu`, `tanh`, `sigmoid` or `hardswish`, found `hardswich`; did you mean `hardswish`?",
            ),
            (
                "name = \"my-space\"",
                "name = \"My Space\"",
                "s.toml:1: name: expected a name of lower-case letters, digits and `-`, such as \"my-space\", found `My Space`",
            ),
            (
                "title = \"A chain\"",
                "kind = \"mlp\"",
                "s.toml:5: switches: belongs to kind = \"chain\", but this space is of kind \"mlp\"; take one of the two away",
            ),
            (
                "base = 4",
                "base = \"4\"",
                "s.toml:7: switches.base: expected a whole number from 1 to 65536, found the text \"4\"; take the quotation marks away",
            ),
        ];
        for (old, new, want) in cases {
            assert!(GOOD.contains(old), "{old}");
            let said = answer(&GOOD.replacen(old, new, 1));
            assert_eq!(said.lines().next().unwrap_or_default(), want);
        }
        assert_eq!(
            answer(&GOOD.replace("skip = { kind = \"skip\" }", "k3-e2 = { expansion = 2 }")),
            "s.toml:15: ops.k3-e2: a name that is written in architectures has lower-case letters and digits only: not `-`"
        );
        let twice = answer(&GOOD.replace("skip = { kind = \"skip\" }", "k3e1 = { kind = \"skip\" }"));
        assert!(twice.starts_with("s.toml:15: not TOML: duplicate key"), "{twice}");
        let single = answer(&GOOD.replace("[[stages]]", "[stages]"));
        assert!(single.contains("duplicate key") && single.contains("[[stages]]"), "{single}");
        let nowhere =
            answer(&GOOD.replace("skip = { kind = \"skip\" }\n", "").replace("[\"k3e1\", \"k3e3\"]", "[\"skip\"]"));
        let flat = answer(&GOOD.replace("depth = 2\n", ""));
        assert!(flat.contains("depth") && flat.contains("a whole number from 1 to 65536, or a list of such"), "{flat}");
        assert!(nowhere.contains("skip = { kind = \"skip\" }"), "{nowhere}");
        let bare = "name = \"a\"\n[stem]\nwidth = 8\n[ops]\na = {}\n[[stages]]\nwidth = 8\ndepth = 2\n";
        assert_eq!(
            answer(bare),
            "s.toml:6: stages: leave nothing to choose: offer more than one operation, width or depth"
        );
        assert_eq!(
            answer("name = \"a\"\nkind = \"cell-edges\"\n"),
            "s.toml: cell-edges: is missing: a space of kind \"cell-edges\" needs [cell-edges]"
        );
    }

    struct Disk(&'static str);

    impl Surroundings for Disk {
        fn read(&self, file: &Path) -> io::Result<String> {
            match file.to_str() {
                Some("lab/p.toml") => {
                    Ok(format!("method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"{}\"\n", self.0))
                }
                Some("lab/spaces/mine.toml") => Ok(GOOD.to_owned()),
                Some("lab/spaces/bad.toml") => Ok(GOOD.replace("depth = 2", "depth = 0")),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
        fn shipped(&self, _: DataSet) -> Result<PathBuf, String> {
            Ok("/share/digits".into())
        }
    }

    fn load(name: &'static str) -> Result<Preset, Problems> {
        Preset::load(Path::new("lab/p.toml"), &[], &Disk(name))
    }

    #[test]
    fn a_preset_takes_a_file_and_freezes_what_it_says() {
        let preset = load("spaces/mine.toml").unwrap();
        assert_eq!(preset.spec.space.name, "my-space");
        let frozen = preset.frozen().unwrap();
        // No file is asked for any more.
        assert_eq!(Spec::from_toml("spec.toml", &frozen).unwrap(), preset.spec);
        let definition = preset.spec.space.definition.clone().unwrap();
        assert_eq!(definition, SpaceDefinition::from_toml("s.toml", GOOD).unwrap());
        let bad = frozen.replace("width = 2\nkernel", "width = 0\nkernel");
        let said = Spec::from_toml("spec.toml", &bad).unwrap_err().to_string();
        assert!(said.contains("space.definition.stem.width: expected a whole number from 1"), "{said}");
    }

    #[test]
    fn a_file_that_is_not_there_or_wrong_is_named() {
        assert_eq!(
            load("spaces/none.toml").unwrap_err().to_string(),
            "lab/p.toml:5: space.name: `lab/spaces/none.toml`: there is no such file"
        );
        assert_eq!(
            load("spaces/bad.toml").unwrap_err().to_string(),
            "lab/spaces/bad.toml:23: stages[1].depth: expected a whole number from 1 to 65536, found 0"
        );
    }
}
