//! What is being typed: ways to go on, and what is wrong with it so far.

use std::collections::BTreeMap;

use kiln_protocol::filter;
use kiln_protocol::labels::check_tag;

use crate::model::{Model, PromptKind};
use crate::saved;

/// A text that is being completed with `tab`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completing {
    /// As it was typed.
    pub base: String,
    /// Which of the offers stands in its place.
    pub at: usize,
}

/// A way to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The whole text then.
    pub whole: String,
    /// What is new about it, as it is shown.
    pub word: String,
}

/// Ways to go on with what was typed by hand.
pub fn offers(m: &Model) -> Vec<Offer> {
    let Some(prompt) = &m.prompt else { return Vec::new() };
    let text = m.completing.as_ref().map_or(prompt.text(), |c| c.base.as_str());
    match prompt.kind {
        PromptKind::RunFilter => {
            let all = filter::complete(text, m.runs.all().iter());
            all.into_iter().map(|c| Offer { whole: c.whole, word: c.word }).collect()
        }
        PromptKind::Tags => tags(m, text),
        PromptKind::ViewName => {
            let names = m.saved.iter().map(|v| &v.name).filter(|name| name.starts_with(text));
            names.map(|name| Offer { whole: name.clone(), word: name.clone() }).collect()
        }
        _ => Vec::new(),
    }
}

/// Tags that runs have and the text has not yet, the commonest first.
fn tags(m: &Model, text: &str) -> Vec<Offer> {
    let at = text.rfind(' ').map_or(0, |at| at + 1);
    let (before, word) = text.split_at(at);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    m.runs.all().iter().flat_map(|run| &run.tags).for_each(|tag| *counts.entry(tag).or_default() += 1);
    let mut known: Vec<(&str, usize)> = counts.into_iter().collect();
    known.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let fits = |tag: &&str| tag.starts_with(word) && !before.split_whitespace().any(|t| t == *tag);
    let offer = |tag: &str| Offer { whole: format!("{before}{tag}"), word: tag.to_owned() };
    known.into_iter().map(|(tag, _)| tag).filter(fits).map(offer).collect()
}

/// What is wrong with what is typed so far, as a sentence.
pub fn mistake(m: &Model) -> Option<String> {
    let prompt = m.prompt.as_ref()?;
    match prompt.kind {
        PromptKind::RunFilter => m.runs.mistake.as_ref().map(ToString::to_string),
        PromptKind::Tags => prompt.text().split_whitespace().find_map(|tag| check_tag(tag).err()),
        PromptKind::ViewName if !prompt.text().is_empty() => saved::check_name(prompt.text()).err(),
        _ => None,
    }
}
