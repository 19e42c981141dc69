//! Which key means what: Kiln's own keys, and those of a user's `keymap.toml` in their place.
//!
//! ```toml
//! [keys]
//! "run.stop" = "X"                                  # this key alone, in place of Kiln's
//! "app.palette" = ["ctrl-p", ":", "f3"]
//! "run.remove" = []                                 # no key
//! "run.pause" = { keys = "space", in = "run", when = "running" }
//! ```
//!
//! What is not named keeps its keys. A mistake is told with its line, and that entry alone is as if it were not there.

use std::collections::{BTreeMap, HashMap};

use kiln_protocol::spec::problem::nearest;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::action::{Action, Context};
use crate::facts::{Facts, When};
use crate::keys::Key;
use crate::mistake::{Mistake, line_of};

/// One meaning of one key.
#[derive(Clone, Debug, PartialEq)]
struct Binding {
    context: Context,
    key: Key,
    action: Action,
    when: When,
}

/// All meanings of all keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Keymap {
    /// Those with a condition stand before those without.
    bindings: Vec<Binding>,
    /// The keys of each action, the first one first, whatever their conditions.
    keys: HashMap<Action, Vec<Key>>,
}

impl Default for Keymap {
    fn default() -> Self {
        Keymap::of(&[])
    }
}

/// Name of the file in the configuration folder.
pub const FILE: &str = "keymap.toml";

/// What a user says of one action.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    line: usize,
    action: Action,
    rules: Vec<Rule>,
}

/// Some keys of an action, and where and when they are valid.
#[derive(Clone, Debug, PartialEq)]
struct Rule {
    keys: Vec<Key>,
    /// Everywhere the action is valid if empty.
    contexts: Vec<Context>,
    when: When,
}

/// Without these, there is no way out of something.
const NEEDED: [Action; 8] = [
    Action::Quit,
    Action::Help,
    Action::CloseHelp,
    Action::Decline,
    Action::ClosePicker,
    Action::CloseForm,
    Action::CloseTour,
    Action::Back,
];

impl Keymap {
    /// Kiln's own keys, and these in place of some.
    fn of(entries: &[Entry]) -> Keymap {
        let mut bindings = Vec::new();
        for action in Action::ALL.iter().copied() {
            let own = entries.iter().find(|e| e.action == action).map(|e| e.rules.clone());
            let shipped = || vec![Rule { keys: action.keys().collect(), contexts: Vec::new(), when: When::default() }];
            for rule in own.unwrap_or_else(shipped) {
                let contexts = if rule.contexts.is_empty() { action.contexts() } else { &rule.contexts };
                for context in contexts {
                    for key in &rule.keys {
                        bindings.push(Binding { context: *context, key: *key, action, when: rule.when.clone() });
                    }
                }
            }
        }
        bindings.sort_by_key(|b| b.when.always());
        let mut keys: HashMap<Action, Vec<Key>> = HashMap::new();
        for binding in &bindings {
            let mine = keys.entry(binding.action).or_default();
            if !mine.contains(&binding.key) {
                mine.push(binding.key);
            }
        }
        Keymap { bindings, keys }
    }

    /// Reads a keymap. What is wrong in it is as if it were not there, and told; the mistakes are in the order of their lines.
    pub fn read(text: &str) -> (Keymap, Vec<Mistake>) {
        let mut mistakes = Vec::new();
        let mut entries = match entries(text, &mut mistakes) {
            Ok(entries) => entries,
            Err(e) => {
                let message = format!("{}; all keys are Kiln's own until that is mended", e.message());
                return (Keymap::default(), vec![Mistake::at(FILE, text, e.span().map_or(0, |s| s.start), message)]);
            }
        };
        // Leaving one entry out may bring a default back that another entry has taken: until all is well. Defaults alone
        // are never in conflict.
        loop {
            let keymap = Keymap::of(&entries);
            let Some((at, message)) = keymap.conflict(&entries) else {
                mistakes.sort_by_key(|m| m.line);
                return (keymap, mistakes);
            };
            let wrong = entries.remove(at);
            mistakes.push(Mistake { file: FILE.to_owned(), line: wrong.line, message });
        }
    }

    /// The last entry that cannot stay, and why.
    fn conflict(&self, entries: &[Entry]) -> Option<(usize, String)> {
        let entry = |action: Action| entries.iter().rposition(|e| e.action == action);
        for (i, a) in self.bindings.iter().enumerate() {
            let same = |b: &&Binding| b.context == a.context && b.key == a.key && b.when == a.when;
            let Some(b) = self.bindings[i + 1..].iter().find(|b| same(b) && b.action != a.action) else { continue };
            let (of_a, of_b) = (entry(a.action), entry(b.action));
            let (at, other) = if of_a > of_b { (of_a?, b.action) } else { (of_b?, a.action) };
            let message = format!(
                "`{}` means `{}` already ({}: {}); give that another key too, or say `when`",
                a.key,
                other.id(),
                a.context.title(),
                other.help(),
            );
            return Some((at, message));
        }
        let lost = NEEDED.iter().copied().find(|action| !self.always(*action))?;
        let message =
            format!("`{}` needs a key that works everywhere and always: there is no other way out", lost.id());
        Some((entry(lost)?, message))
    }

    /// Whether an action has a key without a condition wherever it is valid.
    fn always(&self, action: Action) -> bool {
        let here = |c: &Context| self.bindings.iter().any(|b| b.action == action && b.context == *c && b.when.always());
        action.contexts().iter().filter(|c| **c != Context::Lists).all(here)
    }

    /// What `key` means, given the contexts from special to general and what holds.
    pub fn lookup(&self, stack: &[Context], key: Key, facts: Facts) -> Option<Action> {
        let within = |context: &Context| {
            self.bindings.iter().find(|b| b.context == *context && b.key == key && b.when.met(facts)).map(|b| b.action)
        };
        stack.iter().find_map(within)
    }

    /// The keys of an action, the first one first, whatever their conditions.
    pub fn keys(&self, action: Action) -> &[Key] {
        self.keys.get(&action).map_or(&[], Vec::as_slice)
    }

    /// The first key of an action as text; empty if it has none.
    pub fn first_key(&self, action: Action) -> String {
        self.keys(action).first().map(Key::to_string).unwrap_or_default()
    }

    /// All keys of an action for help; a row of digits as `1-9`. Empty if it has none.
    pub fn all_keys(&self, action: Action) -> String {
        let keys: Vec<String> = self.keys(action).iter().map(Key::to_string).collect();
        if keys.len() == 9 && keys.concat() == "123456789" { "1-9".into() } else { keys.join(", ") }
    }

    /// Under which condition an action has its keys, if only then: for help.
    pub fn condition(&self, action: Action) -> Option<String> {
        let mut mine = self.bindings.iter().filter(|b| b.action == action).peekable();
        let first = mine.peek().map(|b| b.when.clone()).filter(|when| !when.always())?;
        mine.all(|b| b.when == first).then(|| first.to_string())
    }
}

type Table<'a> = DeTable<'a>;

/// The entries of a file, without those that cannot be read.
fn entries(text: &str, mistakes: &mut Vec<Mistake>) -> Result<Vec<Entry>, toml::de::Error> {
    let file = Table::parse(text)?.into_inner();
    let mut found: BTreeMap<usize, Entry> = BTreeMap::new();
    let mut wrong = |at: usize, message: String| mistakes.push(Mistake::at(FILE, text, at, message));
    let mut said: Vec<(usize, String, &Spanned<DeValue>)> = Vec::new();
    for (key, value) in &file {
        let (name, at) = (key.get_ref().as_ref(), key.span().start);
        match (name, value.get_ref()) {
            ("keys", DeValue::Table(keys)) => {
                for (key, value) in keys {
                    let name = key.get_ref().as_ref();
                    match value.get_ref() {
                        // `run.stop = "X"` without quotes is a table `run` with a key `stop`.
                        DeValue::Table(inner) if !name.contains('.') => said
                            .extend(inner.iter().map(|(k, v)| (k.span().start, format!("{name}.{}", k.get_ref()), v))),
                        _ => said.push((key.span().start, name.to_owned(), value)),
                    }
                }
            }
            ("keys", other) => wrong(at, format!("`keys` is a table of actions, found {}", other.type_str())),
            _ => wrong(at, format!("unknown key `{name}`; expected a table `[keys]`")),
        }
    }
    for (at, id, value) in said {
        let entry = match Action::from_id(&id) {
            None => {
                let near = nearest(&id, Action::ALL.iter().map(|a| a.id()));
                let hint = near.map_or("`kiln keys` lists them".to_owned(), |near| format!("did you mean `{near}`?"));
                Err(format!("there is no action `{id}`; {hint}"))
            }
            Some(action) => {
                rules(action, value.get_ref()).map(|rules| Entry { line: line_of(text, at), action, rules })
            }
        };
        match entry {
            Ok(entry) => {
                found.insert(at, entry);
            }
            Err(message) => wrong(at, message),
        }
    }
    Ok(found.into_values().collect())
}

/// What is said of one action: keys, or tables of keys with where and when.
fn rules(action: Action, value: &DeValue) -> Result<Vec<Rule>, String> {
    let bare = |keys: Vec<Key>| Rule { keys, contexts: Vec::new(), when: When::default() };
    match value {
        DeValue::Array(items) if items.iter().any(|i| i.get_ref().is_table()) => {
            items.iter().map(|item| rule(action, item.get_ref())).collect()
        }
        DeValue::Table(_) => Ok(vec![rule(action, value)?]),
        _ => Ok(vec![bare(keys(action, value)?)]),
    }
}

fn rule(action: Action, value: &DeValue) -> Result<Rule, String> {
    let DeValue::Table(table) = value else {
        return Err(format!("`{}`: expected tables with `keys`, found {}", action.id(), value.type_str()));
    };
    let mut rule = Rule { keys: Vec::new(), contexts: Vec::new(), when: When::default() };
    for (key, value) in table {
        let value = value.get_ref();
        match key.get_ref().as_ref() {
            "keys" => rule.keys = keys(action, value)?,
            "in" => rule.contexts = contexts(action, value)?,
            "when" => match value.as_str() {
                Some(text) => rule.when = text.parse()?,
                None => return Err(format!("`when` is a text such as \"running !wide\", found {}", value.type_str())),
            },
            other => return Err(format!("unknown `{other}`; expected keys, in or when")),
        }
    }
    Ok(rule)
}

/// Texts of a value: one, with blanks between several, or a list.
fn words(value: &DeValue, what: &str) -> Result<Vec<String>, String> {
    let many = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    match value {
        DeValue::String(text) => Ok(many(text)),
        DeValue::Array(items) => {
            let one = |item: &Spanned<DeValue>| {
                let item = item.get_ref();
                item.as_str().map(many).ok_or_else(|| format!("expected {what}, found {}", item.type_str()))
            };
            Ok(items.iter().map(one).collect::<Result<Vec<_>, _>>()?.concat())
        }
        other => Err(format!("expected {what}, found {}", other.type_str())),
    }
}

fn keys(action: Action, value: &DeValue) -> Result<Vec<Key>, String> {
    let keys: Result<Vec<Key>, String> =
        words(value, "a key such as \"ctrl-p\", or a list of keys")?.iter().map(|w| w.parse()).collect();
    let keys = keys?;
    // Which tab is meant is in the key itself.
    if action == Action::GoTab
        && let Some(odd) = keys.iter().find(|k| k.digit().is_none())
    {
        return Err(format!("`{}` takes digits from 1 to 9, alone or as `alt-1`, not `{odd}`", action.id()));
    }
    Ok(keys)
}

fn contexts(action: Action, value: &DeValue) -> Result<Vec<Context>, String> {
    let valid = || action.contexts().iter().copied().filter(|c| *c != Context::Lists);
    let find = |word: &String| {
        valid().find(|c| c.id() == *word).ok_or_else(|| {
            let all: Vec<String> = valid().map(Context::id).collect();
            format!("`{}` means nothing in `{word}`; it does in {}", action.id(), all.join(", "))
        })
    };
    words(value, "a part of the client such as \"runs\"")?.iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;

    fn key(text: &str) -> Key {
        text.parse().unwrap()
    }

    fn means(keymap: &Keymap, stack: &[Context], text: &str) -> Option<Action> {
        keymap.lookup(stack, key(text), Facts::default())
    }

    fn lines(mistakes: &[Mistake]) -> Vec<(usize, &str)> {
        mistakes.iter().map(|m| (m.line, m.message.as_str())).collect()
    }

    #[test]
    fn the_shipped_keys_mean_one_thing_in_a_context() {
        let shipped = Keymap::default();
        let mut taken: HashMap<(Context, Key), Action> = HashMap::new();
        for binding in &shipped.bindings {
            let before = taken.insert((binding.context, binding.key), binding.action);
            assert_eq!(before, None, "{} in {:?}", binding.key, binding.context);
        }
        assert_eq!(shipped.conflict(&[]), None);
        assert_eq!(Keymap::read("").0, shipped);
        assert_eq!(shipped.all_keys(Action::GoTab), "1-9");
        for action in Action::ALL {
            assert_eq!(shipped.keys(*action), action.keys().collect::<Vec<_>>(), "{action:?}");
        }
    }

    #[test]
    fn the_special_context_wins() {
        let shipped = Keymap::default();
        assert_eq!(means(&shipped, &[Context::Log, Context::Run, Context::Global], "n"), Some(Action::NextMatch));
        assert_eq!(means(&shipped, &[Context::Curves, Context::Run, Context::Global], "n"), Some(Action::Launcher));
        assert_eq!(means(&shipped, &[Context::Confirm], "n"), Some(Action::Decline));
    }

    #[test]
    fn ones_own_keys_take_the_place_of_kilns() {
        let (keymap, mistakes) = Keymap::read(
            "[keys]\n\"run.stop\" = \"X f5\"\nrun.pause = [\"ctrl-space\"]\n\"run.remove\" = []\n\"app.theme\" = 'T alt-t'\n",
        );
        assert_eq!(mistakes, []);
        let runs = [Context::Runs, Context::Global];
        assert_eq!(means(&keymap, &runs, "x"), None);
        assert_eq!(means(&keymap, &runs, "X"), Some(Action::Stop));
        assert_eq!(means(&keymap, &runs, "f5"), Some(Action::Stop));
        assert_eq!(means(&keymap, &runs, "ctrl-space"), Some(Action::Pause));
        assert_eq!((means(&keymap, &runs, "p"), means(&keymap, &runs, "D")), (None, None));
        assert_eq!(keymap.first_key(Action::Stop), "X");
        assert_eq!(keymap.all_keys(Action::Remove), "");
        assert_eq!(means(&keymap, &runs, "q"), Some(Action::Quit), "what is not named stays");
    }

    #[test]
    fn keys_may_be_exchanged_and_need_a_condition_to_share() {
        let swap = "[keys]\n\"run.stop\" = \"p\"\n\"run.pause\" = \"x\"\n";
        let (keymap, mistakes) = Keymap::read(swap);
        assert_eq!(mistakes, []);
        assert_eq!(means(&keymap, &[Context::Runs], "p"), Some(Action::Stop));

        let share = "[keys]\n\"run.stop\" = [{ keys = \"p\", when = \"paused\" }, { keys = \"x\" }]\n";
        let (keymap, mistakes) = Keymap::read(share);
        assert_eq!(mistakes, []);
        let paused = Facts::default().with(Fact::Paused, true);
        assert_eq!(keymap.lookup(&[Context::Runs], key("p"), paused), Some(Action::Stop));
        assert_eq!(means(&keymap, &[Context::Runs], "p"), Some(Action::Pause));
        assert_eq!(keymap.condition(Action::Stop), None, "one of its keys works always");

        let only = "[keys]\n\"run.checkpoint\" = { keys = \"c\", in = \"run\", when = \"running wide\" }\n";
        let (keymap, mistakes) = Keymap::read(only);
        assert_eq!(mistakes, []);
        assert_eq!(keymap.condition(Action::Checkpoint).as_deref(), Some("running wide"));
    }

    #[test]
    fn mistakes_name_their_line_and_cost_only_their_entry() {
        let (keymap, mistakes) = Keymap::read("keys = 1\ncolour = 2\n");
        assert_eq!(lines(&mistakes)[0].0, 1);
        assert_eq!(lines(&mistakes)[1], (2, "unknown key `colour`; expected a table `[keys]`"));
        assert_eq!(keymap, Keymap::default());

        let (keymap, mistakes) = Keymap::read(
            "[keys]\n\"run.stpo\" = \"X\"\n\"run.stop\" = \"qq\"\n\"run.pause\" = { keys = \"P\", when = \"runing\" }\n\"run.resume\" = { keys = \"R\", in = \"log\" }\n\"run.tab\" = \"t\"\n\"runs.filter\" = 3\n\"table.sort\" = \"alt-s\"\n",
        );
        let told = lines(&mistakes);
        assert_eq!(told.len(), 6, "{told:?}");
        assert_eq!(told[0], (2, "there is no action `run.stpo`; did you mean `run.stop`?"));
        assert!(told[1].0 == 3 && told[1].1.contains("`qq` is no key"), "{told:?}");
        assert_eq!(told[2], (4, "`when` knows no `runing`; did you mean `running`?"));
        assert_eq!(told[3], (5, "`run.resume` means nothing in `log`; it does in runs, run, system"));
        assert!(told[4].0 == 6 && told[4].1.contains("digits"), "{told:?}");
        assert!(told[5].0 == 7 && told[5].1.contains("found integer"), "{told:?}");
        let (mine, _) = Keymap::read("[keys]\n\"table.sort\" = \"alt-s\"\n");
        assert_eq!(keymap, mine, "the good entry counts, the rest is as shipped");
        assert_eq!(
            mistakes[0].to_string(),
            "keymap.toml, line 2: there is no action `run.stpo`; did you mean `run.stop`?"
        );
    }

    #[test]
    fn a_conflict_is_told_and_the_later_entry_gives_way() {
        let (keymap, mistakes) = Keymap::read("[keys]\n\"run.stop\" = \"p\"\n");
        let told = lines(&mistakes);
        assert!(told.len() == 1 && told[0].0 == 2, "{told:?}");
        assert!(told[0].1.starts_with("`p` means `run.pause` already (Runs: Pause"), "{told:?}");
        assert_eq!(keymap, Keymap::default());

        // The second entry goes; with it gone, its default comes back and the first, which had taken it, goes too.
        let (keymap, mistakes) = Keymap::read("[keys]\n\"run.stop\" = \"p\"\n\"run.pause\" = \"r\"\n");
        assert_eq!(lines(&mistakes).iter().map(|l| l.0).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(keymap, Keymap::default());
    }

    #[test]
    fn there_is_always_a_way_out() {
        for bad in ["[]", "{ keys = \"q\", when = \"wide\" }", "{ keys = \"q\", in = [] , when = \"!empty\" }"] {
            let (keymap, mistakes) = Keymap::read(&format!("[keys]\n\"app.quit\" = {bad}\n"));
            assert_eq!(mistakes.len(), 1, "{bad}");
            assert!(mistakes[0].message.contains("no other way out"), "{mistakes:?}");
            assert_eq!(keymap, Keymap::default());
        }
    }

    #[test]
    fn the_readmes_example_is_a_keymap_without_mistakes() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
        let (_, section) = readme.split_once("### Keys of your own").unwrap();
        let (_, example) = section.split_once("```toml\n").unwrap();
        let (keymap, mistakes) = Keymap::read(example.split_once("```").unwrap().0);
        assert_eq!(mistakes, []);
        assert!(keymap != Keymap::default());
        let told = section.split_once("`when` knows ").unwrap().1;
        assert!(Fact::ALL.iter().all(|f| told.contains(&format!("`{}`", f.id()))));
    }

    #[test]
    fn a_file_that_is_no_toml_leaves_kilns_keys() {
        let (keymap, mistakes) = Keymap::read("[keys]\n\"run.stop\" = \n");
        assert_eq!((keymap, mistakes.len(), mistakes[0].line), (Keymap::default(), 1, 2));
    }
}
