//! What other languages have and this one has not, told with what to write instead.

use std::sync::LazyLock;

use kiln_spec::{MethodName, schema};

/// Why a word outside quotes is none of this language's; `None` if it may be a text.
pub(super) fn word(word: &str) -> Option<String> {
    let instead = match word {
        "or" | "|" | "||" => "a filter has no `or`: give one field several values, as in state:failed,stopped",
        "and" | "&" | "&&" => "a filter needs no `and`: all its terms must hold",
        "not" | "!" => "write a `-` before the term that must not hold, as in -failed",
        _ if word.starts_with(['(', ')']) || word.ends_with(')') => {
            "a filter has no parentheses: all its terms must hold, and a field may have several values, as in \
             state:failed,stopped"
        }
        _ => return None,
    };
    Some(format!("{instead}; in quotes it is a text"))
}

/// Keys of all settings; those that methods share come first.
static SETTINGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut keys: Vec<String> = Vec::new();
    for field in MethodName::ALL.iter().flat_map(|method| schema::fields(*method)) {
        if !keys.contains(&field.key) {
            keys.push(field.key);
        }
    }
    keys.sort_by_key(|key| is_own(key));
    keys
});

/// Whether only some methods have the setting, in a table of their own.
fn is_own(key: &str) -> bool {
    let table = key.split('.').next().unwrap_or_default();
    table == "search" || MethodName::ALL.iter().any(|method| method.as_str() == table)
}

/// That a name is a setting's and so no figure's, with what looks at settings; `None` if no setting is called so. The last
/// part of a name is enough, but not for settings of single methods, of which some are called as figures are, such as `tau`.
pub(super) fn setting(name: &str) -> Option<String> {
    let last = |key: &&String| key.rsplit('.').next() == Some(name) && !is_own(key);
    let key = SETTINGS.iter().find(|key| *key == name).or_else(|| SETTINGS.iter().find(last))?;
    let what = if key == name { format!("`{name}` is a setting") } else { format!("`{name}` is the setting `{key}`") };
    Some(format!("{what}, and a filter looks at figures; `kiln compare` shows the settings of runs"))
}
