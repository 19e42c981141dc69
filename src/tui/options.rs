//! What the caller of the full-screen client decides: how to reach the engine, which presets there are, how it looks.

use std::path::PathBuf;
use std::sync::Arc;

use kiln_protocol::RunId;
use kiln_protocol::compare::{Comparison, Weighed};
use kiln_protocol::spec::schema::Field;
use kiln_protocol::wire::{FromEngine, ToEngine};

use crate::graphics;

/// Everything [`crate::run`] needs to know.
pub struct Options {
    /// Opens a connection to the engine (starting an engine if that is wanted). Called on a thread of its own, at the
    /// start and again, with growing pauses, whenever the connection is lost; may block. The error is a sentence.
    pub connect: Connect,
    /// What the launcher lists, in order.
    pub presets: Vec<PresetInfo>,
    /// Turns a preset into a frozen spec.
    pub launcher: Arc<dyn Launcher>,
    /// The first screen.
    pub start: Start,
    /// Name of a shipped theme (see [`crate::theme::SHIPPED`]), of a file `NAME.toml` in `theme_dirs`, or a path to such a
    /// file. `None` asks the environment: `KILN_THEME`, then what was chosen last, then `COLORFGBG`, else dark.
    pub theme: Option<String>,
    /// Folders in which themes are looked for by name, before the shipped ones.
    pub theme_dirs: Vec<PathBuf>,
    /// How many colours to use.
    pub colour: Colour,
    /// Draw with ASCII alone. `None` asks the environment: locale and `TERM`.
    pub ascii: Option<bool>,
    /// Whether pictures are shown in the terminal's own pixels, and how it is told of them.
    pub graphics: graphics::Wanted,
    /// Take the mouse: wheel scrolls, click selects. Costs the terminal's own selection of text. Else as it was left last.
    pub mouse: bool,
    /// Folder of a user's own files: `keymap.toml`, `workbench.toml`. `None`: nothing is read, nothing is kept, and there is no
    /// tour, since nobody could remember that it was seen.
    pub config: Option<PathBuf>,
}

/// The function that opens a connection. See [`Options::connect`].
pub type Connect = Arc<dyn Fn() -> Result<Connection, String> + Send + Sync>;

/// An open connection to an engine that has been greeted with `Hello`.
pub struct Connection {
    /// Version of the engine.
    pub version: String,
    /// Process id of the engine, on its own host.
    pub pid: u32,
    pub sender: Box<dyn Submit>,
    pub receiver: Box<dyn Receive>,
}

/// The half of a connection that takes requests.
pub trait Submit: Send {
    /// Sends one frame. The error is a sentence; the connection is then given up.
    fn send(&mut self, frame: &ToEngine) -> Result<(), String>;
}

/// The half of a connection that yields replies and pushes.
pub trait Receive: Send {
    /// Waits for the next frame. The error is a sentence; the connection is then given up.
    fn receive(&mut self) -> Result<FromEngine, String>;
}

/// One line of the launcher.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PresetInfo {
    /// Name, such as `dc-nas-digits`; handed to [`Launcher::load`].
    pub name: String,
    /// One line: what it does.
    pub title: String,
    /// What to expect: data, time, machine. May have several paragraphs.
    pub description: String,
    /// Method name, such as `dc-nas`.
    pub method: String,
    /// Cost estimate in words, such as `about 90 s on 2 CPU cores · 1,632 epochs`. Empty if there is none.
    pub estimate: String,
    /// Its figures, as far as they are known: jobs, parameters, MACs, time, memory.
    pub costs: Vec<Cost>,
    /// Why it cannot be started, if so (a mistake in the file, data not there): shown instead of the estimate.
    pub problem: Option<String>,
    /// Whether its settings are wrong, rather than only its data away: as it is, it cannot be saved either.
    pub mistaken: bool,
    /// The preset that the launcher opens on. The first one if none says so.
    pub default: bool,
    /// Whether the preset has been read. The launcher asks for those that have not, one after the other, once it is on the
    /// screen ([`Launcher::look`]): the first frame does not wait for files.
    pub known: bool,
    /// Of settings that are another run's: the preset that a run of them is called after. Empty for presets.
    pub run_as: String,
}

/// A figure of what a preset costs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Such as `memory`.
    pub name: &'static str,
    /// In words, such as `about 264 MB`.
    pub value: String,
    /// What it would be without the changes of the form, where that is something else.
    pub was: Option<String>,
}

/// A preset as it is to be started: its own text or another one, and changes on top.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub preset: String,
    /// Its settings as TOML, where those are not what its file says: edited by hand, or those of a run.
    pub text: Option<String>,
    /// Settings changed in the form, each as `key=value`.
    pub changes: Vec<String>,
}

/// One setting of a preset, for the launcher's form.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub field: Field,
    /// What the preset's text says, or the default: as it would be typed after `--set key=`.
    pub value: String,
    /// What the preset's file says instead, where its text was edited.
    pub filed: Option<String>,
}

/// Loads and validates presets. All methods are called on threads of their own.
pub trait Launcher: Send + Sync {
    /// The complete, frozen preset in TOML, or its problems in words, one a line.
    fn load(&self, wanted: &Wanted) -> Result<String, String>;

    /// How long a run of this frozen spec will take, in words, or what is wrong with it.
    fn estimate(&self, spec: &str) -> Result<String, String>;

    /// Writes the weights of a run's network, or of one of its candidates, into the working folder: what was written, as a
    /// sentence, or why nothing was.
    fn export(&self, run: &RunId, candidate: Option<u32>) -> Result<String, String>;

    /// Writes what runs have into the working folder, as that: what was written, as a sentence, or why nothing was.
    fn take(&self, runs: &[RunId], what: Take) -> Result<String, String>;

    /// These runs side by side; experiments stand for their jobs. The error is a sentence.
    fn compare(&self, runs: &[RunId]) -> Result<Comparison, String>;

    /// What the settings have to do with a figure, and which runs no other beats in it and another.
    fn weigh(&self, runs: &Comparison, figure: &str, against: &str) -> Weighed;

    /// What the launcher shows of the preset with its changes, and all settings as its text has them.
    fn look(&self, wanted: &Wanted) -> (PresetInfo, Vec<Setting>);

    /// The preset's text for an editor: changes laid in, comments kept, a line `#! …` above each line with a mistake.
    fn text(&self, wanted: &Wanted) -> Result<String, String>;

    /// Keeps the preset with its changes as one of the user's own, under this name: the name that it can be found by, and a
    /// sentence; or why it was not saved.
    fn save(&self, wanted: &Wanted, name: &str) -> Result<(String, String), String>;
}

/// What can be taken along of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// An HTML page.
    Report,
    /// All points, as CSV.
    Points,
    /// Event files for TensorBoard.
    Events,
    /// Curves, as PNG.
    Charts,
    /// The run folders, packed.
    Bundle,
    /// A preset that repeats the run; of several, the first.
    Repeat,
}

/// The first screen.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Start {
    /// The run list; the launcher, on its default preset, if there are no runs.
    #[default]
    Auto,
    /// The launcher, on this preset.
    Launcher(String),
    /// This run.
    Run(RunId),
}

/// How many colours to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// As many as the environment says the terminal has; none with `NO_COLOR`.
    #[default]
    Auto,
    None,
    Ansi16,
    Ansi256,
    True,
}
