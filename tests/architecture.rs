//! The folder list is the architecture; this test is what makes it so.

// Clippy's exemption of tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{CargoOpt, DependencyKind, Metadata, MetadataCommand, Package};
use object::read::elf::{Dyn, ElfFile64};

/// Each crate, and the crates of Kiln that it may use.
const EDGES: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("arch", &["spec"]),
    ("protocol", &["spec", "arch"]),
    ("metrics", &[]),
    ("store", &["protocol"]),
    ("engine", &["store", "protocol", "metrics"]),
    ("tui", &["protocol"]),
    ("cli", &["tui", "engine", "store", "protocol", "metrics"]),
    ("torch", &[]),
    ("data", &["torch"]),
    ("nn", &["arch", "data", "torch"]),
    ("methods", &["nn", "data", "arch", "metrics", "protocol"]),
    ("worker", &["methods", "protocol"]),
];

/// Crates that must not reach libtorch by any path.
const TORCH_FREE: &[&str] = &["tui", "cli", "engine", "store", "protocol", "spec", "arch", "metrics"];

/// Longest source file.
const MAX_LINES: usize = 800;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).features(CargoOpt::AllFeatures);
    // Of crates for other systems, a build has fetched none.
    let platform = format!("--filter-platform={}", host());
    command.other_options(["--offline".into(), "--locked".into(), platform]).exec().unwrap()
}

/// What this machine is called by the compiler.
fn host() -> String {
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    told.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// The crates under `src/`, by folder.
fn crates(metadata: &Metadata) -> BTreeMap<String, &Package> {
    let src = root().join("src");
    let folder = |p: &Package| {
        let folder = p.manifest_path.parent()?.as_std_path();
        (folder.parent()? == src).then(|| folder.file_name()?.to_str().map(String::from))?
    };
    metadata.workspace_packages().into_iter().filter_map(|p| Some((folder(p)?, p))).collect()
}

/// Every Rust file of the repository, without what is built.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("src"), root().join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > EDGES.len(), "no sources found below {}", root().display());
    found
}

#[test]
fn there_are_thirteen_crates_and_each_lies_flat() {
    let metadata = metadata();
    let crates = crates(&metadata);
    let expected: BTreeSet<&str> = EDGES.iter().map(|e| e.0).collect();
    assert_eq!(crates.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    assert_eq!(crates.len(), 13);
    for (folder, package) in crates {
        let name = if folder == "cli" { "kiln".to_string() } else { format!("kiln-{folder}") };
        assert_eq!(package.name.as_str(), name);
        for target in package.targets.iter().filter(|t| t.is_lib() || t.is_bin()) {
            let file = target.src_path.strip_prefix(root().join("src").join(&folder)).unwrap();
            let expected = if target.is_lib() { "lib.rs" } else { "main.rs" };
            assert_eq!(file, expected, "the root file of {name} must lie directly in its folder");
        }
    }
}

#[test]
fn crates_use_each_other_as_the_table_says() {
    let metadata = metadata();
    for (folder, package) in crates(&metadata) {
        let ours = package.dependencies.iter().filter(|d| d.path.is_some());
        let (mut uses, mut for_tests) = (BTreeSet::new(), BTreeSet::new());
        for dependency in ours {
            let used = dependency.path.as_ref().and_then(|p| p.file_name()).unwrap().to_string();
            let list = if dependency.kind == DependencyKind::Development { &mut for_tests } else { &mut uses };
            list.insert(used);
        }
        let allowed: BTreeSet<String> =
            EDGES.iter().filter(|e| e.0 == folder).flat_map(|e| e.1).map(|s| s.to_string()).collect();
        assert!(uses.is_subset(&allowed), "src/{folder} uses {uses:?}, and may use {allowed:?}");
        assert!(for_tests.is_subset(&allowed), "src/{folder} uses {for_tests:?} in its tests");
    }
}

#[test]
fn nothing_that_must_stay_free_of_torch_reaches_it() {
    let metadata = metadata();
    let nodes: BTreeMap<_, _> = metadata.resolve.as_ref().unwrap().nodes.iter().map(|n| (&n.id, n)).collect();
    let name = |id| metadata[id].name.as_str();
    for (folder, package) in crates(&metadata) {
        let (mut seen, mut todo) = (BTreeSet::new(), vec![&package.id]);
        while let Some(id) = todo.pop() {
            if seen.insert(id) {
                todo.extend(nodes[id].deps.iter().map(|d| &d.pkg));
            }
        }
        let torch = seen.iter().any(|id| matches!(name(id), "tch" | "torch-sys"));
        let free = TORCH_FREE.contains(&folder.as_str()) || folder == "spec";
        assert_eq!(torch, !free, "src/{folder} {} torch", if torch { "reaches" } else { "does not reach" });
    }
}

/// `kiln` must start in milliseconds and run where no libtorch is.
#[test]
fn the_binary_kiln_needs_no_libtorch() {
    let kiln = kiln_tests::program("kiln");
    let needed = needed_libraries(&kiln);
    assert!(needed.iter().any(|l| l.starts_with("libc.")), "{} needs {needed:?}", kiln.display());
    let bad = |l: &&String| ["torch", "c10", "cuda", "cudart", "nvidia", "gomp"].iter().any(|word| l.contains(word));
    assert_eq!(needed.iter().find(bad), None, "{} needs {needed:?}", kiln.display());
}

/// The names in the dynamic section's DT_NEEDED entries.
fn needed_libraries(path: &Path) -> Vec<String> {
    let bytes = std::fs::read(path).unwrap();
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).unwrap();
    let (endian, sections) = (file.endian(), file.elf_section_table());
    let (entries, link) = sections.dynamic(endian, &*bytes).unwrap().expect("a dynamic section");
    let strings = sections.strings(endian, &*bytes, link).unwrap();
    let needed = entries.iter().filter(|e| e.d_tag(endian) == object::elf::DT_NEEDED);
    needed.map(|e| String::from_utf8(e.string(endian, strings).unwrap().to_vec()).unwrap()).collect()
}

#[test]
fn unsafe_code_is_forbidden_everywhere_but_in_torch() {
    let workspace: toml::Table = toml::from_str(&std::fs::read_to_string(root().join("Cargo.toml")).unwrap()).unwrap();
    let lints = &workspace["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for lint in ["unwrap_used", "expect_used", "panic", "todo", "unimplemented"] {
        assert_eq!(lints["clippy"][lint].as_str(), Some("deny"), "{lint}");
    }
    let metadata = metadata();
    for package in metadata.workspace_packages() {
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(&package.manifest_path).unwrap()).unwrap();
        if package.name.as_str() == "kiln-torch" {
            // Its own table, since a manifest cannot inherit all lints but one; it must hold the others.
            let (own, all) = (manifest["lints"]["clippy"].as_table().unwrap(), lints["clippy"].as_table().unwrap());
            assert!(all.iter().all(|(lint, level)| own.get(lint) == Some(level)), "lints of kiln-torch: {own:?}");
        } else {
            assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{} must inherit the lints", package.name);
        }
    }
    let torch = root().join("src/torch");
    for file in sources().into_iter().filter(|f| !f.starts_with(&torch)) {
        let text = std::fs::read_to_string(&file).unwrap();
        let names_ffi = text.lines().any(|l| l.trim_start().starts_with("use torch_sys") || l.contains("torch_sys::"));
        assert!(!names_ffi || file == root().join("tests/architecture.rs"), "{} names FFI functions", file.display());
    }
}

#[test]
fn no_file_is_longer_than_one_can_keep_in_mind() {
    for file in sources() {
        let lines = std::fs::read_to_string(&file).unwrap().lines().count();
        assert!(lines <= MAX_LINES, "{} has {lines} lines; split it by duty", file.display());
    }
}
