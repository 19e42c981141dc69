//! The link argument for libtorch does not travel to dependent packages, so each one with tests or binaries sets it. And
//! the state of the source, which every run's record names.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/torch/lib");
    state();
}

/// `KILN_COMMIT`: the commit, empty outside a git checkout. `KILN_CHANGES`: a hash of what differs from it in what is
/// built, empty where nothing does.
fn state() {
    // Whatever changes the program changes something here; a commit moves the log of HEAD.
    println!("cargo:rerun-if-changed=..");
    println!("cargo:rerun-if-changed=../../Cargo.lock");
    let log = git(&["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"]);
    let log = log.filter(|path| std::path::Path::new(path).is_file());
    log.iter().for_each(|path| println!("cargo:rerun-if-changed={path}"));
    let commit = git(&["rev-parse", "HEAD"]).unwrap_or_default();
    let mut changes = git(&["diff", "HEAD", "--", "..", "../../Cargo.lock"]).unwrap_or_default();
    // Files that git does not know yet: their names and contents, by git's own hash.
    let new = git(&["ls-files", "--others", "--exclude-standard", "--", ".."]).unwrap_or_default();
    for file in new.lines() {
        changes += &format!("\n{file} {}", git(&["hash-object", "--", file]).unwrap_or_default());
    }
    let changes = if commit.is_empty() || changes.trim().is_empty() { String::new() } else { hash(&changes) };
    println!("cargo:rustc-env=KILN_COMMIT={commit}");
    println!("cargo:rustc-env=KILN_CHANGES={changes}");
}

/// What a git command prints; `None` where there is no git or no checkout.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// FNV-1a: the same on every machine and in every version of Rust, which the standard library's hashes are not.
fn hash(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}
