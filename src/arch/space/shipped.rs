//! The spaces that come with Kiln: TOML files like a user's own, built into the program.

use std::sync::OnceLock;

use kiln_spec::SpaceDefinition;

use super::{ArchError, Space};

/// Names of the shipped spaces.
pub const NAMES: &[&str] = &[
    "digits-mlp",
    "conv-cells",
    "mobile-xs",
    "mobile-m",
    "fbnet",
    "hournas-f",
    "hournas-f-cifar",
    "nas-bench-201",
    "nas-bench-101",
    "plain-mlp",
    "resnet",
    "resnet-preact",
    "cnn-fc",
];

/// In the order of [`NAMES`].
const TEXTS: [&str; 13] = [
    include_str!("../spaces/digits-mlp.toml"),
    include_str!("../spaces/conv-cells.toml"),
    include_str!("../spaces/mobile-xs.toml"),
    include_str!("../spaces/mobile-m.toml"),
    include_str!("../spaces/fbnet.toml"),
    include_str!("../spaces/hournas-f.toml"),
    include_str!("../spaces/hournas-f-cifar.toml"),
    include_str!("../spaces/nas-bench-201.toml"),
    include_str!("../spaces/nas-bench-101.toml"),
    include_str!("../spaces/plain-mlp.toml"),
    include_str!("../spaces/resnet.toml"),
    include_str!("../spaces/resnet-preact.toml"),
    include_str!("../spaces/cnn-fc.toml"),
];

/// The file of a shipped space, to read and to copy.
pub fn text(name: &str) -> Option<&'static str> {
    NAMES.iter().position(|n| *n == name).map(|i| TEXTS[i])
}

/// The space of this name; read once.
pub(super) fn find(name: &str) -> Option<Result<Space, ArchError>> {
    static READ: [OnceLock<Result<Space, ArchError>>; TEXTS.len()] = [const { OnceLock::new() }; TEXTS.len()];
    let index = NAMES.iter().position(|n| *n == name)?;
    let read = || {
        let definition = SpaceDefinition::from_toml(name, TEXTS[index]).map_err(|e| ArchError(e.to_string()))?;
        Space::lowered(&definition)
    };
    Some(READ[index].get_or_init(read).clone())
}
