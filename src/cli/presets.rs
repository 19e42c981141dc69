//! Finding presets by name or path, and checking them as far as spec and arch can.

use std::io;
use std::path::{Path, PathBuf};

use kiln_protocol::arch::limits::{Affordable, Limits};
use kiln_protocol::arch::{ArchError, GanPlan, Plan, Space, sites};
use kiln_protocol::home;
use kiln_protocol::images::shape_and_classes;
use kiln_protocol::spec::problem::nearest;
use kiln_protocol::spec::{DataSet, MethodName, Preset, Problem, Problems, Spec, Surroundings};

use crate::failure::{Failure, Outcome};
use crate::images;

/// The preset that runs where nobody says which.
pub const DEFAULT: &str = "dc-nas-digits";

/// The presets of the source tree, for a program that lies somewhere without its shared folder.
const BUILT_IN: &[(&str, &str)] = &[
    ("dc-nas-digits.toml", include_str!("../../presets/dc-nas-digits.toml")),
    ("dc-nas-digits-claim.toml", include_str!("../../presets/dc-nas-digits-claim.toml")),
    ("dc-nas-fashion.toml", include_str!("../../presets/dc-nas-fashion.toml")),
    ("dc-nas-fashion-demo.toml", include_str!("../../presets/dc-nas-fashion-demo.toml")),
    ("dc-nas-cifar10.toml", include_str!("../../presets/dc-nas-cifar10.toml")),
    ("assessor-tiny.toml", include_str!("../../presets/assessor-tiny.toml")),
    ("assessor-nb201.toml", include_str!("../../presets/assessor-nb201.toml")),
    ("assessor-nb101.toml", include_str!("../../presets/assessor-nb101.toml")),
    ("assessor-paper.toml", include_str!("../../presets/assessor-paper.toml")),
    ("disout-digits.toml", include_str!("../../presets/disout-digits.toml")),
    ("disout-fashion.toml", include_str!("../../presets/disout-fashion.toml")),
    ("disout-cifar10.toml", include_str!("../../presets/disout-cifar10.toml")),
    ("disout-paper.toml", include_str!("../../presets/disout-paper.toml")),
    ("train-digits.toml", include_str!("../../presets/train-digits.toml")),
    ("train-fashion.toml", include_str!("../../presets/train-fashion.toml")),
    ("train-cifar10.toml", include_str!("../../presets/train-cifar10.toml")),
    ("random-digits.toml", include_str!("../../presets/random-digits.toml")),
    ("evolution-digits.toml", include_str!("../../presets/evolution-digits.toml")),
    ("asha-digits.toml", include_str!("../../presets/asha-digits.toml")),
    ("search-digits-claim.toml", include_str!("../../presets/search-digits-claim.toml")),
    ("evolution-fashion.toml", include_str!("../../presets/evolution-fashion.toml")),
    ("hournas-digits.toml", include_str!("../../presets/hournas-digits.toml")),
    ("hournas-lesion-digits.toml", include_str!("../../presets/hournas-lesion-digits.toml")),
    ("hournas-digits-claim.toml", include_str!("../../presets/hournas-digits-claim.toml")),
    ("hournas-fashion.toml", include_str!("../../presets/hournas-fashion.toml")),
    ("hournas-fashion-claim.toml", include_str!("../../presets/hournas-fashion-claim.toml")),
    ("hournas-cifar10.toml", include_str!("../../presets/hournas-cifar10.toml")),
    ("hournas-paper.toml", include_str!("../../presets/hournas-paper.toml")),
    ("pugan-digits.toml", include_str!("../../presets/pugan-digits.toml")),
    ("pugan-digits-claim.toml", include_str!("../../presets/pugan-digits-claim.toml")),
    ("pugan-fashion.toml", include_str!("../../presets/pugan-fashion.toml")),
    ("pugan-cifar10.toml", include_str!("../../presets/pugan-cifar10.toml")),
    ("pugan-paper.toml", include_str!("../../presets/pugan-paper.toml")),
    ("widen-squeeze-digits.toml", include_str!("../../presets/widen-squeeze-digits.toml")),
    ("widen-squeeze-digits-claim.toml", include_str!("../../presets/widen-squeeze-digits-claim.toml")),
    ("widen-squeeze-fashion.toml", include_str!("../../presets/widen-squeeze-fashion.toml")),
    ("widen-squeeze-cifar10.toml", include_str!("../../presets/widen-squeeze-cifar10.toml")),
    ("widen-squeeze-paper.toml", include_str!("../../presets/widen-squeeze-paper.toml")),
];

/// Folder that stands for the program itself in the paths of built-in presets.
const BUILT_IN_FOLDER: &str = "(built in)";

/// The disk, the shared folder, and what is built in.
pub struct Here;

impl Surroundings for Here {
    fn read(&self, file: &Path) -> io::Result<String> {
        match file.strip_prefix(BUILT_IN_FOLDER) {
            Ok(name) => BUILT_IN
                .iter()
                .find(|(n, _)| Path::new(n) == name)
                .map(|(_, text)| (*text).to_owned())
                .ok_or_else(|| io::ErrorKind::NotFound.into()),
            Err(_) => std::fs::read_to_string(file),
        }
    }

    fn named(&self, name: &str) -> Option<PathBuf> {
        all().into_iter().find(|(known, _)| known == name).map(|(_, file)| file)
    }

    fn shipped(&self, set: DataSet) -> Result<PathBuf, String> {
        let assets = home::assets_dir().map_err(|e| e.to_string())?;
        let path = assets.join(match set {
            DataSet::Digits => "digits",
            DataSet::Fashion => "fashion-mnist",
            DataSet::Cells => "cells",
            DataSet::Cifar10 | DataSet::Folder => return Err("it does not ship with Kiln".into()),
        });
        if path.exists() { Ok(path) } else { Err(format!("there is no {}", path.display())) }
    }
}

/// The same, but that one file says something else than it does.
struct Drafted<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Surroundings for Drafted<'_> {
    fn read(&self, file: &Path) -> io::Result<String> {
        if file == self.file { Ok(self.text.to_owned()) } else { Here.read(file) }
    }

    fn named(&self, name: &str) -> Option<PathBuf> {
        Here.named(name)
    }

    fn shipped(&self, set: DataSet) -> Result<PathBuf, String> {
        Here.shipped(set)
    }
}

/// The text of a preset's file.
///
/// # Errors
/// Those of reading it.
pub fn text(file: &Path) -> io::Result<String> {
    Here.read(file)
}

/// Whether a file is one of the program itself.
pub fn is_built_in(file: &Path) -> bool {
    file.starts_with(BUILT_IN_FOLDER)
}

/// Whether a preset of this name ships with Kiln.
pub fn ships(name: &str) -> bool {
    BUILT_IN.iter().any(|(known, _)| known.strip_suffix(".toml") == Some(name))
}

/// Where presets are found by name, nearest first.
fn folders() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("presets")];
    folders.extend(home::config_dir().ok().map(|folder| folder.join("presets")));
    folders.extend(home::presets_dir());
    folders.push(BUILT_IN_FOLDER.into());
    folders
}

/// The presets that can be named without a path: `(name, file)`, the user's own by name, then the built-in list in its
/// order. Of equal names, the nearest file counts.
pub fn all() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for folder in folders() {
        let mut files: Vec<PathBuf> = if folder == Path::new(BUILT_IN_FOLDER) {
            BUILT_IN.iter().map(|(name, _)| folder.join(name)).collect()
        } else {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "toml")).collect()
        };
        files.sort();
        for file in files {
            let Some(name) = file.file_stem().map(|s| s.to_string_lossy().into_owned()) else { continue };
            if !found.iter().any(|(n, _)| *n == name) {
                found.push((name, file));
            }
        }
    }
    found.sort_by(|(a, _), (b, _)| (place(a), a).cmp(&(place(b), b)));
    found
}

/// Where a preset stands in lists: the user's own first, by name, then the shipped ones in the order of their table.
fn place(name: &str) -> usize {
    let shipped = BUILT_IN.iter().position(|(n, _)| n.strip_suffix(".toml") == Some(name));
    shipped.map_or(0, |at| at + 1)
}

/// The file that `asked` means: a path if it looks like one or exists, else a name.
pub fn find(asked: &str) -> Outcome<PathBuf> {
    let path = Path::new(asked);
    if asked.ends_with(".toml") || asked.contains('/') || path.is_file() {
        return Ok(path.to_path_buf());
    }
    let all = all();
    if let Some((_, file)) = all.iter().find(|(name, _)| name == asked) {
        return Ok(file.clone());
    }
    let names = || all.iter().map(|(name, _)| name.as_str());
    let hint = match nearest(asked, names()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there are {}; or name a TOML file", names().collect::<Vec<_>>().join(", ")),
    };
    Err(Failure::Input(format!("there is no preset `{asked}`; {hint}")))
}

/// Reads and checks the preset that `asked` means. With the preset comes what is wrong with its data, if anything is.
pub fn read(asked: &str, overrides: &[String]) -> Outcome<(Preset, Option<Problem>)> {
    check(&find(asked)?, overrides).map_err(refuse)
}

/// As [`read`], of a file; with the mistakes as they are.
pub fn check(file: &Path, overrides: &[String]) -> Result<(Preset, Option<Problem>), Problems> {
    check_in(file, overrides, &Here)
}

/// As [`check`], of a file that says this.
pub fn check_text(file: &Path, text: &str, overrides: &[String]) -> Result<(Preset, Option<Problem>), Problems> {
    check_in(file, overrides, &Drafted { file, text })
}

fn check_in(
    file: &Path,
    overrides: &[String],
    around: &dyn Surroundings,
) -> Result<(Preset, Option<Problem>), Problems> {
    let (preset, missing) = Preset::read(file, overrides, around)?;
    let mut problems: Vec<Problem> = Vec::new();
    for found in preset.variants().into_iter().flat_map(misfits) {
        if !problems.iter().any(|p| (&p.key, p.line) == (&found.key, found.line)) {
            problems.push(found);
        }
    }
    if problems.is_empty() {
        return Ok((preset, missing));
    }
    problems.extend(missing);
    Err(Problems(problems))
}

/// As [`read`], for a run: the data must be there.
pub fn load(asked: &str, overrides: &[String]) -> Outcome<Preset> {
    match read(asked, overrides)? {
        (preset, None) => Ok(preset),
        (_, Some(missing)) => Err(refuse(Problems(vec![missing]))),
    }
}

fn refuse(problems: Problems) -> Failure {
    let end = match problems.0.len() {
        1 => "nothing was started".to_owned(),
        n => format!("{n} mistakes; nothing was started"),
    };
    Failure::Input(format!("{problems}\nkiln: {end}"))
}

/// The preset's space, narrowed as it says.
///
/// # Errors
/// The sentence, with the key that it is about.
pub fn space(preset: &Preset) -> Result<Space, (&'static str, ArchError)> {
    Space::of(&preset.spec.space)
}

/// What a pair of adversarial networks cannot make: the key, and a sentence.
fn adversarial_misfit(spec: &Spec) -> Option<(&'static str, String)> {
    let own = spec.pugan.as_ref().filter(|_| spec.method == MethodName::Pugan)?;
    let (image, _) = shape_and_classes(&spec.data);
    GanPlan::of(own, image).err().map(|(key, e)| (key, e.to_string()))
}

/// What only the architecture crate can tell: unknown spaces, options and architectures, images that do not fit.
fn misfits(preset: &Preset) -> Vec<Problem> {
    let wrong = |(key, e): (&'static str, ArchError)| vec![preset.problem(key, e.to_string())];
    if !preset.spec.method.has_space() {
        let found = images::shortage(&preset.spec.data)
            .or_else(|| crate::quantised::misfit(&preset.spec))
            .or_else(|| adversarial_misfit(&preset.spec));
        return found.into_iter().map(|(key, said)| preset.problem(key, said)).collect();
    }
    let space = match space(preset) {
        Ok(space) => space,
        Err(e) => return wrong(e),
    };
    if let Some((key, said)) = images::shortage(&preset.spec.data) {
        return vec![preset.problem(key, said)];
    }
    let (shape, classes) = shape_and_classes(&preset.spec.data);
    let fits = |arch| space.plan(&arch, shape, classes);
    let distorted = |plan: &Plan| sites::find(plan, &preset.spec.regulariser);
    match fits(space.reference()) {
        Err(e) => return wrong(("space.name", e)),
        Ok(plan) => {
            // Where the preset names its own network, that one counts.
            let own = crate::estimate::own_arch(&preset.spec).is_some_and(|arch| arch != "reference");
            if let Err(e) = if own { Ok(Vec::new()) } else { distorted(&plan) } {
                return wrong(e);
            }
        }
    }
    if MethodName::SEARCHES.contains(&preset.spec.method)
        && let Some(own) = &preset.spec.search
    {
        let limits = Limits { params: own.max_params, macs: own.max_macs };
        let key = if own.max_macs > 0 { "search.max-macs" } else { "search.max-params" };
        let affordable = Affordable::new(space, shape, classes, limits);
        return affordable.map_or_else(|e| wrong((key, e)), |_| Vec::new());
    }
    let key = if preset.spec.method == MethodName::Disout { "disout.arch" } else { "train.arch" };
    match crate::estimate::own_arch(&preset.spec) {
        None | Some("reference" | "random") => Vec::new(),
        Some(text) => match space.parse(text).and_then(fits) {
            Err(e) => wrong((key, e)),
            Ok(plan) => distorted(&plan).map_or_else(wrong, |_| Vec::new()),
        },
    }
}

#[cfg(test)]
mod tests {
    use kiln_protocol::arch::space::NAMES;
    use kiln_protocol::spec::schema;

    use super::*;

    #[test]
    fn the_built_in_presets_are_those_of_the_folder_and_have_no_mistake() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../presets");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        let mut built_in: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
        built_in.sort_unstable();
        assert_eq!(files, built_in);
        for (name, _) in BUILT_IN {
            let file = Path::new(BUILT_IN_FOLDER).join(name);
            let (preset, _) = Preset::read(&file, &[], &Here).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(misfits(&preset), []);
            assert!(!preset.spec.title.is_empty() && !preset.spec.description.is_empty(), "{name}");
            assert!(crate::estimate::estimate(&preset).unwrap().seconds > 0.0);
        }
    }

    #[test]
    fn ones_own_presets_come_first() {
        let first = BUILT_IN[0].0.strip_suffix(".toml").unwrap();
        assert!(place("zz-mine") < place(first) && place(first) < place("train-digits"));
    }

    #[test]
    fn the_help_on_spaces_names_all_of_them() {
        let fields = schema::fields(MethodName::Train);
        let help = &fields.iter().find(|f| f.key == "space.name").unwrap().help;
        for name in NAMES {
            assert!(help.contains(&format!("`{name}`")), "{name} is not in: {help}");
        }
    }
}
