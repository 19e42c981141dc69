//! Reading presets: TOML files that may extend one another, with overrides on top.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::check::Checked;
use crate::problem::{Place, Problem, Problems};
use crate::settings::{DataSet, MAX_JOBS, MethodName, SpaceDefinition, Spec};
use crate::tree::{self, Source, Table, Value};
use crate::{check, cross, experiment, space, sweep};

/// What a preset refers to beyond itself.
pub trait Surroundings {
    /// The text of a preset file.
    ///
    /// # Errors
    /// Those of reading the file.
    fn read(&self, file: &Path) -> io::Result<String> {
        std::fs::read_to_string(file)
    }

    /// The file of a preset that is known by name, such as one that ships with Kiln.
    fn named(&self, _name: &str) -> Option<PathBuf> {
        None
    }

    /// Where the copy of a data set lies that ships with Kiln.
    ///
    /// # Errors
    /// A sentence: there is none, or where it was looked for.
    fn shipped(&self, set: DataSet) -> Result<PathBuf, String>;
}

/// A preset as read from disk.
#[derive(Clone, Debug)]
pub struct Preset {
    /// File stem, such as `dc-nas-digits`.
    pub name: String,
    /// The file it came from.
    pub file: PathBuf,
    /// The settings: defaults filled in, `extends` and overrides applied, the data path absolute.
    pub spec: Spec,
    places: BTreeMap<String, Place>,
    /// The preset as each of its arms has it.
    arms: Vec<Preset>,
    /// Of such a one: the arm's name.
    arm: Option<String>,
}

impl Preset {
    /// Reads `file`, applies `extends` and then `overrides` (`key=value`, dotted keys), and validates the whole,
    /// including that the data is there.
    ///
    /// # Errors
    /// All mistakes found, in the order of files and lines.
    pub fn load(file: &Path, overrides: &[String], around: &dyn Surroundings) -> Result<Preset, Problems> {
        let (preset, mut problems, data) = read(file, overrides, around);
        problems.extend(data);
        finish(preset, problems)
    }

    /// As [`Preset::load`], but answers also where only the data is missing: the second value is then what to say about it.
    ///
    /// # Errors
    /// All mistakes found but missing data.
    pub fn read(
        file: &Path,
        overrides: &[String],
        around: &dyn Surroundings,
    ) -> Result<(Preset, Option<Problem>), Problems> {
        let (preset, mut problems, data) = read(file, overrides, around);
        if preset.is_none() || !problems.is_empty() {
            problems.extend(data.clone());
        }
        finish(preset, problems).map(|preset| (preset, data))
    }

    /// A mistake that somebody else found (such as a space that no architecture crate knows), at the place of `key` or,
    /// if nobody wrote that key, of the table that it belongs to.
    pub fn problem(&self, key: &str, message: impl Into<String>) -> Problem {
        let place = std::iter::successors(Some(key), |k| k.rsplit_once('.').map(|(table, _)| table))
            .find_map(|k| self.places.get(k));
        let message = match &self.arm {
            Some(arm) => experiment::marked(&message.into(), arm),
            None => message.into(),
        };
        match place {
            Some(place) => Problem::at(place, key, message),
            None => Problem { file: self.file.display().to_string(), line: None, key: key.to_owned(), message },
        }
    }

    /// The presets that are really run, without arms: one an arm, or this one. Each is run with every seed.
    pub fn variants(&self) -> Vec<&Preset> {
        if self.arms.is_empty() { vec![self] } else { self.arms.iter().collect() }
    }

    /// Of one of [`Preset::variants`]: the arm's name, if the preset has arms.
    pub fn arm(&self) -> Option<&str> {
        self.arm.as_deref()
    }

    /// The preset as TOML with every default written out: what a run folder's `spec.toml` holds.
    ///
    /// # Errors
    /// A sentence, if a value cannot be written as TOML.
    pub fn frozen(&self) -> Result<String, Problem> {
        self.spec.to_toml().map_err(|said| self.problem("", said))
    }
}

impl Spec {
    /// TOML with every default written out.
    ///
    /// # Errors
    /// A sentence, if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, String> {
        let mut whole = self.clone();
        whole.fill_defaults();
        toml::to_string_pretty(&whole).map_err(|e| format!("the settings cannot be written as TOML: {e}"))
    }

    /// Reads a frozen preset, such as a run folder's `spec.toml`; `name` stands for the file in messages. No `extends`, and
    /// paths are taken as they are.
    ///
    /// # Errors
    /// All mistakes found.
    pub fn from_toml(name: &str, text: &str) -> Result<Spec, Problems> {
        let place = Place { file: name.into(), line: None, folder: Arc::new(PathBuf::new()) };
        let (table, mut problems) = Source { text, place: place.clone() }.parse();
        let built = build(&table, &place, !problems.is_empty());
        problems.extend(built.problems);
        match built.base {
            Some((mut spec, _)) if problems.is_empty() => {
                let arms: Vec<(&str, &Spec)> = built.arms.iter().map(|a| (a.name.as_str(), &a.spec)).collect();
                spec.set_arms(&arms);
                Ok(spec)
            }
            _ => Err(Problems(problems)),
        }
    }
}

fn finish(preset: Option<Preset>, problems: Vec<Problem>) -> Result<Preset, Problems> {
    match preset {
        Some(preset) if problems.is_empty() => Ok(preset),
        _ => Err(Problems(problems)),
    }
}

/// The preset if it can be built at all, its mistakes, and what is wrong with the data's path.
fn read(
    file: &Path,
    overrides: &[String],
    around: &dyn Surroundings,
) -> (Option<Preset>, Vec<Problem>, Option<Problem>) {
    let mut reader = Reader { around, chain: Vec::new(), problems: Vec::new() };
    let mut table = reader.file(file, None).unwrap_or_default();
    let mut problems = reader.problems;
    // Of a file with broken lines, a key that seems to be missing may stand in one of them.
    let torn = !problems.is_empty();
    let unreadable = torn && table.is_empty();
    let here = std::env::current_dir().unwrap_or_default();
    for argument in overrides {
        match tree::parse_override(argument, &here) {
            Ok(over) => tree::merge(&mut table, over),
            Err(problem) => problems.push(problem),
        }
    }
    if unreadable {
        return (None, problems, None);
    }
    let place = file_place(file);
    let built = build(&table, &place, torn);
    let broken: Vec<Option<usize>> = problems.iter().map(|p| p.line).collect();
    problems.extend(built.problems.into_iter().filter(|p| p.line.is_none() || !broken.contains(&p.line)));
    problems.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    let Some((spec, places)) = built.base else { return (None, problems, None) };
    let name = file.file_stem().map_or_else(|| "preset".into(), |s| s.to_string_lossy().into_owned());
    let mut preset = Preset { name, file: file.to_path_buf(), spec, places, arms: Vec::new(), arm: None };
    problems.extend(resolve_space(&mut preset, around));
    problems.extend(resolve_latency(&mut preset));
    let mut data = resolve_data(&mut preset, around);
    let variant = |arm: Variant| Preset {
        spec: arm.spec,
        places: arm.places,
        arm: Some(arm.name),
        arms: Vec::new(),
        ..preset.clone()
    };
    let mut arms: Vec<Preset> = built.arms.into_iter().map(variant).collect();
    if !arms.is_empty() {
        // Only what is really run needs its data.
        for arm in &mut arms {
            let mut wrong = resolve_space(arm, around);
            wrong.extend(resolve_latency(arm));
            wrong.retain(|problem| !problems.contains(problem));
            problems.extend(wrong);
        }
        let found: Vec<Option<Problem>> = arms.iter_mut().map(|arm| resolve_data(arm, around)).collect();
        data = found.into_iter().flatten().next();
    }
    let named: Vec<(&str, &Spec)> = arms.iter().filter_map(|a| Some((a.arm.as_deref()?, &a.spec))).collect();
    preset.spec.set_arms(&named);
    preset.arms = arms;
    (Some(preset), problems, data)
}

/// A preset as one of its arms has it.
struct Variant {
    name: String,
    spec: Spec,
    places: BTreeMap<String, Place>,
}

/// What a preset amounts to: the settings that all arms share, without the arms, and those of each arm.
struct Built {
    base: Option<(Spec, BTreeMap<String, Place>)>,
    arms: Vec<Variant>,
    problems: Vec<Problem>,
}

fn build(table: &Table, place: &Place, torn: bool) -> Built {
    let (mut shared, mut problems) = (table.clone(), Vec::new());
    let drafts = experiment::take(&mut shared, &mut problems);
    let drafts = sweep::take(&mut shared, drafts, &mut problems);
    let others: Vec<MethodName> = drafts.iter().filter_map(|arm| experiment::method(&arm.set)).collect();
    let (base, checked) = build_one(&shared, place, torn, &others);
    let mut arms = Vec::new();
    for draft in &drafts {
        // What is missing is best said at the arm; what is wrong with the rest was said once.
        let (spec, of_arm) = build_one(&draft.over(&shared), &draft.place, torn, &[]);
        let own = of_arm.problems.into_iter().filter(|p| !checked.problems.iter().any(|q| q.key == p.key));
        problems.extend(own.map(|problem| draft.mark(problem)));
        let spec = spec.map(|spec| Spec { arms: Vec::new(), seeds: Vec::new(), ..spec });
        arms.extend(spec.map(|spec| Variant { name: draft.name.clone(), spec, places: of_arm.places }));
    }
    if let Some(spec) = &base {
        let mut seen = BTreeSet::new();
        if let Some(twice) = spec.seeds.iter().find(|seed| !seen.insert(**seed)) {
            let message = format!("names {twice} twice; the same seed gives the same run");
            problems.push(checked.at("seeds", place, message));
        }
        let jobs = spec.seeds.len().max(1) * drafts.len().max(1);
        if jobs > MAX_JOBS {
            let message = format!("and arms make {jobs} jobs; an experiment has at most {MAX_JOBS}");
            problems.push(checked.at("seeds", place, message));
        }
    }
    let base = base.map(|spec| (spec, checked.places));
    Built { base, arms, problems: checked.problems.into_iter().chain(problems).collect() }
}

fn build_one(table: &Table, place: &Place, torn: bool, also: &[MethodName]) -> (Option<Spec>, Checked) {
    let mut checked = check::spec(table, place, also);
    if torn {
        checked.problems.retain(|p| !p.message.starts_with(check::MISSING));
    }
    if !checked.problems.is_empty() {
        return (None, checked);
    }
    match serde_json::from_value::<Spec>(checked.value.clone()) {
        Ok(mut spec) => {
            spec.fill_defaults();
            for (key, message) in cross::check(&spec) {
                checked.problems.push(checked.at(key, place, message));
            }
            if let Some(definition) = &spec.space.definition {
                let wrong = space::found(definition, "space.definition.", &checked, place);
                checked.problems.extend(wrong);
            }
            (Some(spec), checked)
        }
        // What broken lines leave out is no mistake of its own.
        Err(_) if torn => (None, checked),
        Err(e) => {
            // The schema is derived from the structs, so this says that they disagree: still a sentence, not a panic.
            checked.problems.push(Problem::at(place, "", format!("the settings cannot be read: {e}")));
            (None, checked)
        }
    }
}

fn file_place(file: &Path) -> Place {
    let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
    Place { file: file.display().to_string().into(), line: None, folder: Arc::new(folder) }
}

struct Reader<'a> {
    around: &'a dyn Surroundings,
    /// Files being read, outermost first.
    chain: Vec<PathBuf>,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    /// Reads one file and, below it, what it extends. `asked` is the place of the `extends` that led here.
    fn file(&mut self, file: &Path, asked: Option<&Place>) -> Option<Table> {
        let place = file_place(file);
        let real = std::fs::canonicalize(file).unwrap_or_else(|_| tidy(file));
        if self.chain.contains(&real) {
            let names: Vec<String> = self
                .chain
                .iter()
                .chain([&real])
                .map(|f| f.file_name().unwrap_or_default().display().to_string())
                .collect();
            self.problems.push(Problem::at(
                asked.unwrap_or(&place),
                "extends",
                format!("goes round in a circle: {}; take one of the links away", names.join(" -> ")),
            ));
            return None;
        }
        let text = match self.around.read(file) {
            Ok(text) => text,
            Err(e) => {
                let why = match e.kind() {
                    io::ErrorKind::NotFound => "there is no such file".into(),
                    io::ErrorKind::InvalidData => "is not text in UTF-8".into(),
                    io::ErrorKind::IsADirectory => "is a folder; expected a preset in TOML".into(),
                    _ => format!("cannot be read: {e}"),
                };
                self.problems.push(match asked {
                    Some(asked) => Problem::at(asked, "extends", format!("`{}`: {why}", file.display())),
                    None => Problem::at(&place, "", why),
                });
                return None;
            }
        };
        let (mut table, problems) = Source { text: &text, place: place.clone() }.parse();
        self.problems.extend(problems);
        let Some(extends) = table.remove("extends") else { return Some(table) };
        let Value::Text(base) = &extends.value else {
            self.problems.push(Problem::at(
                &extends.place,
                "extends",
                format!("expected the name of a preset file as text, found {}", check::found(&extends.value)),
            ));
            return Some(table);
        };
        self.chain.push(real);
        // A file beside this one counts first; else a preset of that name, as on the command line.
        let beside = tidy(&place.folder.join(base));
        let there = self.around.read(&beside).is_ok();
        let name = base.strip_suffix(".toml").unwrap_or(base);
        let known = if there || name.contains('/') { None } else { self.around.named(name) };
        let below = self.file(&known.unwrap_or(beside), Some(&extends.place));
        self.chain.pop();
        let mut merged = below.unwrap_or_default();
        tree::merge(&mut merged, table);
        Some(merged)
    }
}

/// The path without `.` and with `..` folded where that is only a matter of text.
fn tidy(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Reads the file that `space.name` means, if it means one, into the spec, so that nothing depends on the file later.
fn resolve_space(preset: &mut Preset, around: &dyn Surroundings) -> Vec<Problem> {
    let settings = &preset.spec.space;
    let name = settings.name.clone();
    if !name.ends_with(".toml") && !name.contains('/') {
        return match &settings.definition {
            Some(own) if own.name != name => vec![preset.problem(
                "space.name",
                format!("is `{name}`, but the definition below it is called `{}`; give both one name", own.name),
            )],
            _ => Vec::new(),
        };
    }
    if settings.definition.is_some() {
        let said = "names a file, but the preset has a [space.definition] too; take one of the two away";
        return vec![preset.problem("space.name", said)];
    }
    let folder = preset.places.get("space.name").map(|p| p.folder.clone()).unwrap_or_default();
    let path = tidy(&beside(&folder, &name));
    match around.read(&path) {
        Err(e) => {
            let why = match e.kind() {
                io::ErrorKind::NotFound => "there is no such file".into(),
                _ => format!("cannot be read: {e}"),
            };
            vec![preset.problem("space.name", format!("`{}`: {why}", path.display()))]
        }
        Ok(text) => match SpaceDefinition::from_toml(&path.display().to_string(), &text) {
            Ok(definition) => {
                preset.spec.space.name.clone_from(&definition.name);
                preset.spec.space.definition = Some(definition);
                Vec::new()
            }
            Err(problems) => problems.0,
        },
    }
}

/// `path` as seen from `folder`; `~` is the home folder.
fn beside(folder: &Path, path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => folder.join(path),
    }
}

/// Makes the path of a table of latencies absolute: the worker runs in another folder.
fn resolve_latency(preset: &mut Preset) -> Option<Problem> {
    const KEY: &str = "hournas.latency-table";
    let written = preset.spec.hournas.as_ref().map(|own| own.latency_table.clone()).filter(|w| !w.trim().is_empty())?;
    let folder = preset.places.get(KEY).map(|p| p.folder.clone()).unwrap_or_default();
    let path = beside(&folder, &written);
    let path = tidy(&std::path::absolute(&path).unwrap_or(path));
    if let Some(own) = preset.spec.hournas.as_mut() {
        own.latency_table = path.display().to_string();
    }
    let missing = !path.is_file();
    missing.then(|| preset.problem(KEY, format!("there is no file `{}`; `kiln latency` writes one", path.display())))
}

/// Makes the data's path absolute and looks whether something is there.
fn resolve_data(preset: &mut Preset, around: &dyn Surroundings) -> Option<Problem> {
    let data = &preset.spec.data;
    if data.path.is_empty() {
        if matches!(data.set, DataSet::Cifar10 | DataSet::Folder) {
            let what = describe(data.set);
            return Some(preset.problem(
                "data.path",
                format!("is empty, but this data set does not ship with Kiln; expected {what}. To say where: --set data.path=PATH"),
            ));
        }
        return match around.shipped(data.set).and_then(|path| shipped_file(path, &preset.spec)) {
            Ok(path) => {
                preset.spec.data.path = path.display().to_string();
                None
            }
            Err(said) => Some(
                preset.problem("data.path", format!("is empty, and the copy that ships with Kiln is missing: {said}")),
            ),
        };
    }
    let folder = preset.places.get("data.path").map(|p| p.folder.clone()).unwrap_or_default();
    let path = beside(&folder, &data.path);
    let path = tidy(&std::path::absolute(&path).unwrap_or(path));
    let asked = data.set;
    preset.spec.data.path = path.display().to_string();
    let there = std::fs::metadata(&path);
    let message = match there {
        Err(e) if e.kind() == io::ErrorKind::NotFound => format!("`{}` does not exist", path.display()),
        Err(e) => format!("`{}` cannot be read: {e}", path.display()),
        Ok(meta) if meta.is_file() && !matches!(asked, DataSet::Digits | DataSet::Cells) => {
            format!("`{}` is a file", path.display())
        }
        Ok(meta) if meta.is_dir() && asked == DataSet::Cells => format!("`{}` is a folder", path.display()),
        Ok(meta) if meta.is_dir() && !seems_right(&path, asked) => {
            format!("`{}` is a folder without such data", path.display())
        }
        Ok(_) => return None,
    };
    Some(
        preset.problem(
            "data.path",
            format!("{message}; expected {}. To say where: --set data.path=PATH", describe(asked)),
        ),
    )
}

/// Whether something in the folder is called as the data set's files are; what they hold the worker looks at. A folder that
/// cannot be listed is not judged.
fn seems_right(folder: &Path, set: DataSet) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return true };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match set {
            DataSet::Digits => matches!(&*name, "digits.csv" | "digits.csv.gz"),
            DataSet::Fashion => name.starts_with("train-images"),
            DataSet::Cifar10 => name.starts_with("data_batch_") || name.starts_with("cifar-10-batches-"),
            DataSet::Folder | DataSet::Cells => true,
        }
    })
}

/// Of tables of architectures, Kiln has one for some spaces.
fn shipped_file(path: PathBuf, spec: &Spec) -> Result<PathBuf, String> {
    if spec.data.set != DataSet::Cells {
        return Ok(path);
    }
    let file = path.join(format!("{}.csv.gz", spec.space.name));
    if file.is_file() {
        return Ok(file);
    }
    Err(format!(
        "no table of the space `{}` ships with Kiln. To say where one is: --set data.path=FILE.csv",
        spec.space.name
    ))
}

fn describe(set: DataSet) -> &'static str {
    match set {
        DataSet::Digits => "the digits as CSV (digits.csv.gz) or a folder that holds it",
        DataSet::Fashion => "a folder with the four IDX files of Fashion-MNIST (train-images-idx3-ubyte.gz and so on)",
        DataSet::Cifar10 => "a folder with CIFAR-10 in its binary version (data_batch_1.bin and so on)",
        DataSet::Folder => "a folder with one sub-folder of PNG or JPEG images a class",
        DataSet::Cells => "a table of architectures as CSV, plain or gzipped",
    }
}
