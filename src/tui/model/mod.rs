//! The state of the client. [`crate::update`] changes it, [`crate::view`] draws it; neither terminal, clock nor socket is
//! in here.
//!
//! - [`runs`]: the list of runs; [`arrange`]: its order, groups and columns
//! - [`palette`]: everything, found by a few letters; [`typing`]: what is being typed; [`input`]: the line and its cursor
//! - [`detail`]: the open run: tabs, views, log
//! - [`curves`]: its charts; [`clocked`]: over time
//! - [`compare`]: several runs side by side; [`overlay`]: their curves
//! - [`figure`]: cursors within its views; [`blocks`]: maps of blocks; [`panels`]: histograms; [`sheet`]: pictures; [`layers`]:
//!   what is known of layers
//! - [`past`]: histograms as they were
//! - [`inspect`]: a candidate looked at closely; [`retrain`]: the question before it is trained in full
//! - [`log`]: its log
//! - [`form`]: settings of a preset, changed before it is started; [`knobs`]: those of a run that goes on
//! - [`pages`]: outcome, tables and settings as lines of text
//! - [`system`]: the page of the machine
//! - [`list`]: selection and scrolling
//! - [`copied`]: what a key copies; [`tour`]: pages for who is new

pub mod arrange;
pub mod blocks;
pub mod clocked;
pub mod compare;
pub mod copied;
pub mod curves;
pub mod detail;
pub mod figure;
pub mod form;
pub mod input;
pub mod inspect;
pub mod knobs;
pub mod layers;
pub mod list;
pub mod log;
pub mod overlay;
pub mod pages;
pub mod palette;
pub mod panels;
pub mod past;
pub mod retrain;
pub mod runs;
pub mod sheet;
pub mod system;
pub mod tour;
pub mod typing;

use std::collections::{BTreeMap, VecDeque};

use kiln_protocol::wire::{Request, System, ToEngine};
use kiln_protocol::{Level, RunId, RunState};
use ratatui::layout::{Position, Size};

use crate::action::Context;
use crate::facts::{Fact, Facts};
use crate::graphics::Graphics;
use crate::kept::Kept;
use crate::keymap::Keymap;
use crate::keys::Key;
use crate::model::compare::Compare;
use crate::model::curves::Want;
use crate::model::detail::{Detail, Tab};
use crate::model::form::{Changes, Form};
use crate::model::input::Input;
use crate::model::knobs::Knobs;
use crate::model::list::{List, Scroll};
use crate::model::overlay::Need;
use crate::model::palette::Palette;
use crate::model::retrain::Retrain;
use crate::model::runs::Runs;
use crate::model::system::Machine;
use crate::model::typing::Completing;
use crate::msg::Effect;
use crate::options::{PresetInfo, Start, Wanted};
use crate::saved::{self, SavedView};
use crate::text;

/// Everything the client knows.
#[derive(Clone, Debug)]
pub struct Model {
    /// Seconds since the Unix epoch, from the newest tick.
    pub now: f64,
    pub size: Size,
    /// Whether charts are drawn in braille: decides how many columns of dots a chart has.
    pub braille: bool,
    /// How pictures are shown in the terminal's own pixels, where it can.
    pub graphics: Option<Graphics>,
    /// Something visible may have changed.
    pub dirty: bool,
    /// Where the mouse was last, if there is one that tells.
    pub pointer: Option<Position>,
    pub link: Link,
    pub screen: Screen,
    pub overlay: Option<Overlay>,
    /// What lies under that and comes back when it is closed, such as the tour under the help; the uppermost is last.
    pub beneath: Vec<Overlay>,
    /// When the tour was closed, and with which key: the same key once more may have been meant for it.
    pub toured: Option<(Key, f64)>,
    /// The line being typed, over anything else.
    pub prompt: Option<Prompt>,
    /// The line being typed is being completed.
    pub completing: Option<Completing>,
    /// The run whose tags are being typed.
    pub tagging: Option<RunId>,
    /// Messages on the screen; the newest is last.
    pub notes: Vec<Note>,
    /// All messages of late, also those that have gone from the screen.
    pub said: VecDeque<Said>,
    pub system: Option<System>,
    pub machine: Machine,
    pub runs: Runs,
    /// Ways to look at the list of runs.
    pub saved: Vec<SavedView>,
    pub detail: Option<Detail>,
    /// Runs side by side; kept while one of them is open.
    pub compare: Option<Compare>,
    pub launcher: LauncherState,
    pub start: Start,
    pub asked: Asked,
    /// What keys mean.
    pub keymap: Keymap,
    /// What is kept between starts.
    pub kept: Kept,
    /// Names of all themes, in the order in which a key goes through them.
    pub themes: Vec<String>,
    /// The engine's home, on its own host.
    pub home: Option<String>,
}

/// The connection to the engine.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    Connecting,
    Up {
        version: String,
        pid: u32,
    },
    /// `since` and `retry_at` in seconds since the Unix epoch.
    Down {
        reason: String,
        since: f64,
        retry_at: f64,
    },
}

/// What fills the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    Runs,
    Detail,
    Launcher,
    /// The machine: figures, queue, advice.
    System,
    Compare,
}

/// What lies over the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Overlay {
    Help(Scroll),
    /// Messages of late, in full.
    Messages(Scroll),
    /// The choice of series.
    Picker,
    Confirm(Question),
    /// Before a candidate is trained in full.
    Retrain(Box<Retrain>),
    /// A page of the tour, from 0.
    Tour(usize),
    /// The settings of a run that can be changed while it goes on.
    Knobs(Box<Knobs>),
    Palette(Box<Palette>),
    /// Saved views.
    Views(List),
    /// The choice of columns.
    Columns(List),
}

/// A question before something that cannot be taken back.
#[derive(Clone, Debug, PartialEq)]
pub enum Question {
    Stop(RunId),
    Remove(RunId),
    /// A saved view, by name.
    RemoveView(String),
}

impl Question {
    /// Title, text, and the word for yes.
    pub fn words(&self, m: &Model) -> (&'static str, String, &'static str) {
        match self {
            Question::Stop(run) => {
                let queued = m.runs.get(run).is_some_and(|r| r.state == RunState::Queued);
                let what = if queued {
                    "It leaves the queue."
                } else {
                    "It writes a checkpoint first, and can be resumed from there."
                };
                ("Stop", format!("Stop {run}? {what}"), "stop")
            }
            Question::Remove(run) => (
                "Remove",
                format!(
                    "Remove {run} with its folder: log, curves, checkpoints, artifacts? This cannot be taken back."
                ),
                "remove",
            ),
            Question::RemoveView(name) => ("Remove", format!("Remove the saved view `{name}`? Runs stay."), "remove"),
        }
    }
}

/// A line being typed.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompt {
    pub kind: PromptKind,
    pub line: Input,
    /// What it was before, for `esc`.
    pub before: String,
}

impl Prompt {
    /// A line with a text that is there already: what is typed takes its place, keys that move edit it.
    pub fn new(kind: PromptKind, text: &str) -> Prompt {
        Prompt { kind, line: Input::selected(text), before: text.to_owned() }
    }

    pub fn text(&self) -> &str {
        self.line.text()
    }
}

/// What is being typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    RunFilter,
    /// The tags of a run.
    Tags,
    /// Name of a view to be saved.
    ViewName,
    SeriesFilter,
    LogSearch,
    /// Epochs of a candidate's full training.
    Epochs,
    /// The value of the selected setting of the launcher's form.
    Setting,
    /// What that setting is varied over.
    Sweep,
    FormFilter,
    /// Which presets the launcher lists.
    PresetFilter,
    /// The name that a preset is saved under.
    PresetName,
    /// The value of a live setting of a run.
    Knob,
}

/// A message to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub level: Level,
    pub text: String,
    /// How often it has been told while it stood there.
    pub count: usize,
    /// What it is about, such as a run: a later message about the same takes its place. Empty if about nothing else.
    pub subject: String,
    /// When it goes, in seconds since the Unix epoch.
    pub until: f64,
}

/// A message that has been told.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Seconds since the Unix epoch.
    pub t: f64,
    pub level: Level,
    pub text: String,
    /// How often, all in all.
    pub count: usize,
}

/// The launcher's presets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LauncherState {
    pub presets: Vec<PresetInfo>,
    /// Only presets whose name, method or title contains this are listed.
    pub filter: String,
    /// Among those that are listed.
    pub list: List,
    /// What was wrong with presets that could not be started, by name.
    pub problems: BTreeMap<String, String>,
    /// The preset that is being started.
    pub busy: Option<String>,
    /// The preset that is being read for the list.
    pub reading: Option<String>,
    /// Settings changed before the start.
    pub changes: Changes,
    /// Texts of presets that were edited, and of runs whose settings are used again, by name of the preset.
    pub texts: BTreeMap<String, String>,
    /// The open form.
    pub form: Option<Form>,
}

impl LauncherState {
    /// What keeps a preset from being started.
    pub fn problem<'a>(&'a self, preset: &'a PresetInfo) -> Option<&'a str> {
        self.problems.get(&preset.name).or(preset.problem.as_ref()).map(String::as_str)
    }

    /// A preset as it would be started now.
    pub fn wanted(&self, preset: &str) -> Wanted {
        Wanted {
            preset: preset.to_owned(),
            text: self.texts.get(preset).cloned(),
            changes: self.changes.arguments(preset),
        }
    }

    /// The presets that the filter leaves.
    pub fn visible(&self) -> impl Iterator<Item = &PresetInfo> {
        let fits = |p: &&PresetInfo| [&p.name, &p.method, &p.title].iter().any(|t| text::matches(t, &self.filter));
        self.presets.iter().filter(fits)
    }

    /// The selected preset.
    pub fn selected(&self) -> Option<&PresetInfo> {
        self.visible().nth(self.list.selected)
    }

    /// Lists other presets; the selected one stays so where it is among them.
    pub fn set_filter(&mut self, filter: &str) {
        let before = self.selected().map(|p| p.name.clone());
        self.filter = filter.to_owned();
        let at = before.and_then(|name| self.visible().position(|p| p.name == name));
        self.list.selected = at.unwrap_or(0);
    }

    /// Selects by name, whatever the filter; the default preset if there is no such name, else the first.
    pub fn select(&mut self, name: &str) {
        if !self.visible().any(|p| p.name == name) {
            self.filter.clear();
        }
        let by = |f: &dyn Fn(&PresetInfo) -> bool| self.visible().position(f);
        self.list.selected = by(&|p| p.name == name).or(by(&|p| p.default)).unwrap_or(0);
    }
}

/// Requests that wait for their answers.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    last: u64,
    waiting: BTreeMap<u64, Ask>,
}

/// What a request was for.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    Runs,
    Status,
    Advice,
    Watch,
    Run(RunId),
    /// A run for the sake of its note, which is to be edited.
    Note(RunId),
    Events(RunId),
    Series(RunId, Want),
    /// Earlier states of a view.
    Past(RunId, String),
    Clocks(RunId),
    /// Points or clock of a curve laid over others.
    Overlay(Need),
    Launch(String),
    /// A run whose settings are to be used again.
    Clone(RunId),
    /// A run whose live settings are to be shown.
    Tune(RunId),
    /// A live setting of a run that was changed: its key and new value.
    Knob(RunId, String, String),
    /// Something done to a run, in words for the error message: `pause`, `remove` ...
    Do(RunId, &'static str),
}

impl Asked {
    /// A frame for `request`; its answer will be recognised as that to `ask`.
    pub fn send(&mut self, ask: Ask, request: Request) -> Effect {
        self.last += 1;
        self.waiting.insert(self.last, ask);
        Effect::Send(ToEngine { id: self.last, request })
    }

    /// The question that an answer belongs to.
    pub fn answered(&mut self, id: u64) -> Option<Ask> {
        self.waiting.remove(&id)
    }

    /// Id of the newest question of a kind.
    #[cfg(test)]
    pub fn find(&self, which: impl Fn(&Ask) -> bool) -> Option<u64> {
        self.waiting.iter().rev().find(|(_, ask)| which(ask)).map(|(id, _)| *id)
    }

    /// The connection is gone, and all answers with it.
    pub fn forget(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}

/// Notes kept at once; older ones make room.
const MAX_NOTES: usize = 3;

/// Messages kept to be read again.
const MAX_SAID: usize = 200;

impl Model {
    pub fn new(presets: Vec<PresetInfo>, start: Start, braille: bool, size: Size, now: f64) -> Model {
        let mut launcher = LauncherState { presets, ..LauncherState::default() };
        launcher.select(match &start {
            Start::Launcher(name) => name,
            _ => "",
        });
        let screen = if matches!(start, Start::Launcher(_)) { Screen::Launcher } else { Screen::Runs };
        Model {
            now,
            size,
            braille,
            graphics: None,
            dirty: true,
            pointer: None,
            link: Link::Connecting,
            screen,
            overlay: None,
            beneath: Vec::new(),
            toured: None,
            prompt: None,
            completing: None,
            tagging: None,
            notes: Vec::new(),
            said: VecDeque::new(),
            system: None,
            machine: Machine { asked: now, ..Machine::default() },
            runs: Runs::at(now),
            saved: saved::shipped(),
            detail: None,
            compare: None,
            launcher,
            start,
            asked: Asked::default(),
            keymap: Keymap::default(),
            kept: Kept::default(),
            themes: Vec::new(),
            home: None,
        }
    }

    /// Tells something for a while: long enough to be read, longer for what went wrong.
    pub fn note(&mut self, level: Level, text: impl Into<String>) {
        self.note_about("", level, text);
    }

    /// As [`Model::note`], in place of what was told of the same subject before.
    pub fn note_about(&mut self, subject: &str, level: Level, text: impl Into<String>) {
        let text = text.into();
        let count = |before: Option<usize>| before.unwrap_or(0) + 1;
        let noted = count(self.notes.iter().find(|n| n.text == text).map(|n| n.count));
        self.notes.retain(|n| n.text != text && (subject.is_empty() || n.subject != subject));
        let seconds = if level >= Level::Warn { 8.0 } else { 4.0 };
        let until = self.now + seconds + (text.len() as f64 / 40.0).min(4.0);
        // What is told again stands in the list once, where it is newest.
        let same = self.said.iter().position(|s| s.level == level && s.text == text);
        let said = count(same.and_then(|at| self.said.remove(at)).map(|s| s.count));
        self.said.push_back(Said { t: self.now, level, text: text.clone(), count: said });
        self.notes.push(Note { level, until, text, count: noted, subject: subject.to_owned() });
        if self.notes.len() > MAX_NOTES {
            self.notes.remove(0);
        }
        if self.said.len() > MAX_SAID {
            self.said.pop_front();
        }
    }

    /// Saved views, as they were read; the list begins with the one called `default`.
    pub fn begin_with(&mut self, views: Vec<SavedView>) {
        if let Some(view) = views.iter().find(|v| v.name == saved::DEFAULT) {
            view.apply(&mut self.runs);
        }
        self.saved = views;
    }

    /// Lays something over the screen and whatever lies on it already.
    pub fn cover(&mut self, overlay: Overlay) {
        self.beneath.extend(self.overlay.replace(overlay));
    }

    /// Takes away what lies uppermost; what it was laid over is seen again.
    pub fn uncover(&mut self) {
        self.overlay = self.beneath.pop();
    }

    /// The newest message on the screen, and how many more there are: a note, else why there is no engine.
    pub fn message(&self) -> Option<(Level, String, usize)> {
        let down = match &self.link {
            Link::Down { reason, since, .. } if self.runs.loaded => {
                let age = text::age(self.now - since);
                Some((Level::Warn, format!("The engine has been out of reach for {age}: {reason}")))
            }
            Link::Down { reason, .. } => Some((Level::Warn, reason.clone())),
            _ => None,
        };
        let told = self.notes.iter().rev().map(|n| (n.level, text::times(&n.text, n.count)));
        let mut all = told.chain(down);
        let (level, text) = all.next()?;
        Some((level, text, all.count()))
    }

    /// The run that commands act on: the open one, else the selected one.
    pub fn target(&self) -> Option<RunId> {
        match self.screen {
            Screen::Runs => self.runs.selected.clone(),
            Screen::Detail => self.detail.as_ref().map(|d| d.id.clone()),
            Screen::Compare => self.compare.as_ref().and_then(Compare::selected),
            Screen::Launcher => None,
            Screen::System => self.machine.selected.as_ref().and_then(|item| item.run().cloned()),
        }
    }

    /// What holds now: the conditions of keys.
    pub fn facts(&self) -> Facts {
        let target = self.target();
        let run = target.as_ref().and_then(|id| self.runs.get(id));
        let is = |f: &dyn Fn(RunState) -> bool| run.is_some_and(|r| f(r.state));
        Facts::default()
            .with(Fact::Connected, matches!(self.link, Link::Up { .. }))
            .with(Fact::Empty, self.runs.is_empty())
            .with(Fact::Filtered, !self.runs.filter().is_empty())
            .with(Fact::Selected, target.is_some())
            .with(Fact::Queued, is(&|s| s == RunState::Queued))
            .with(Fact::Running, is(&|s| s == RunState::Running))
            .with(Fact::Paused, is(&|s| s == RunState::Paused))
            .with(Fact::Live, is(&RunState::is_live))
            .with(Fact::Ended, is(&RunState::is_ended))
            .with(Fact::Failed, is(&|s| s == RunState::Failed))
            .with(Fact::Experiment, run.is_some_and(|r| r.jobs.is_some()))
            .with(Fact::Job, target.is_some_and(|id| id.parent().is_some()))
            .with(Fact::Wide, self.size.width >= 120)
            .with(Fact::Tall, self.size.height >= 40)
    }

    /// Contexts whose keys are valid now, from special to general.
    pub fn contexts(&self) -> Vec<Context> {
        match &self.overlay {
            Some(Overlay::Help(_) | Overlay::Messages(_)) => return vec![Context::Help],
            Some(Overlay::Confirm(_)) => return vec![Context::Confirm],
            Some(Overlay::Retrain(_)) => return vec![Context::Confirm],
            Some(Overlay::Knobs(_)) => return vec![Context::Knobs, Context::Global],
            Some(Overlay::Picker) => return vec![Context::Picker, Context::Global],
            Some(Overlay::Tour(_)) => return vec![Context::Tour, Context::Global],
            Some(Overlay::Palette(_)) => return vec![Context::Palette],
            Some(Overlay::Views(_)) => return vec![Context::Views, Context::Global],
            Some(Overlay::Columns(_)) => return vec![Context::Columns, Context::Global],
            None => {}
        }
        self.screen_contexts()
    }

    /// As [`Model::contexts`], whatever lies over the screen.
    pub fn screen_contexts(&self) -> Vec<Context> {
        match (self.screen, &self.detail) {
            (Screen::Detail, Some(detail)) => {
                let special = match &detail.tab {
                    Tab::View(_) if detail.inspect.is_some() => Context::Inspect,
                    Tab::Curves => Context::Curves,
                    Tab::Jobs => Context::Jobs,
                    Tab::Log => Context::Log,
                    Tab::Settings | Tab::Outcome => Context::Text,
                    Tab::View(name) => detail.view(name).map_or(Context::Text, figure::context),
                };
                vec![special, Context::Run, Context::Global]
            }
            (Screen::System, _) => vec![Context::System, Context::Global],
            (Screen::Launcher, _) if self.launcher.form.is_some() => vec![Context::Form, Context::Global],
            (Screen::Launcher, _) => vec![Context::Launcher, Context::Global],
            (Screen::Compare, _) => vec![Context::Compare, Context::Global],
            _ => vec![Context::Runs, Context::Global],
        }
    }
}
