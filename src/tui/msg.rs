//! What happens to the client, and what it wants done: the two ends of [`crate::update::update`].

use std::sync::Arc;

use kiln_protocol::compare::{Comparison, Weighed};
use kiln_protocol::wire::{FromEngine, ToEngine};
use kiln_protocol::{Level, RunId};

use crate::kept::Kept;
use crate::keys::Key;
use crate::options::{PresetInfo, Setting, Take, Wanted};
use crate::saved::{SavedView, ViewChange};

/// Something has happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Msg {
    Key(Key),
    /// Text pasted into the terminal.
    Paste(String),
    /// The wheel has turned by this many notches, downwards if positive.
    Wheel(i32),
    /// A click at column and row.
    Click(u16, u16),
    /// A cell of the terminal has so many pixels across and down; `None`: it does not say.
    Cell(Option<(u16, u16)>),
    /// The pointer has moved to column and row; its left button is held down.
    Drag(u16, u16),
    /// The pointer has moved to column and row, no button held.
    Hover(u16, u16),
    /// The terminal has this many columns and rows.
    Resize(u16, u16),
    /// The time, in seconds since the Unix epoch; about once a second.
    Tick(f64),
    /// Connected to an engine.
    Connected {
        version: String,
        pid: u32,
    },
    /// Not connected, or no longer; the next try is in `retry` seconds.
    Disconnected {
        reason: String,
        retry: f64,
    },
    /// A frame from the engine.
    Frame(Box<FromEngine>),
    /// A preset has been loaded for launching: its frozen spec, or its problems.
    Loaded {
        preset: String,
        spec: Result<String, String>,
    },
    /// What the launcher shows of a preset with its changes, and its settings without them.
    Looked {
        wanted: Wanted,
        info: Box<PresetInfo>,
        settings: Vec<Setting>,
    },
    /// The text of a preset, to be edited; or why there is none.
    Text {
        preset: String,
        text: Result<String, String>,
    },
    /// A preset has been saved: its name and a sentence; or why not.
    Saved {
        preset: String,
        saved: Result<(String, String), String>,
    },
    /// How long a run of this frozen spec will take, in words; or what is wrong with it.
    Estimated {
        spec: String,
        words: Result<String, String>,
    },
    /// Runs side by side, or why they cannot be compared.
    Compared {
        runs: Vec<RunId>,
        found: Box<Result<Comparison, String>>,
    },
    /// What settings have to do with a figure.
    Weighed(Box<Weighed>),
    /// The saved views after a change of their file, and what came of it.
    Views {
        views: Vec<SavedView>,
        said: Result<String, String>,
    },
    /// Something to tell.
    Note(Level, String),
    /// What has come of writing weights.
    Exported(Level, String),
    /// What the user's editor has left of a text, or why there is nothing.
    Edited {
        what: Draft,
        text: Result<String, String>,
    },
    /// A theme is in use now, with mistakes that its file has.
    Themed {
        name: String,
        problems: Vec<String>,
    },
    /// Stop as a job of the shell (SIGTSTP, `ctrl-z`).
    Suspend,
    /// Back from that (SIGCONT).
    Continued,
    /// Leave, whatever is on the screen (SIGTERM, SIGHUP, SIGINT).
    Leave,
}

/// What a text in the user's editor is.
#[derive(Clone, Debug, PartialEq)]
pub enum Draft {
    /// The settings of this preset, as TOML.
    Settings(String),
    /// The note on this run.
    Note(RunId),
}

/// Something is to be done outside the model.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    Send(ToEngine),
    /// Load this preset; answered with [`Msg::Loaded`].
    Load(Wanted),
    /// Look at this preset; answered with [`Msg::Looked`].
    Look(Wanted),
    /// Fetch the text of this preset, to be edited; answered with [`Msg::Text`].
    Text(Wanted),
    /// Save this preset under a name; answered with [`Msg::Saved`].
    Save {
        wanted: Wanted,
        name: String,
    },
    /// Say how long a run of this frozen spec will take; answered with [`Msg::Estimated`].
    Estimate(String),
    /// Write the weights of a run's network, or of a candidate; answered with [`Msg::Exported`].
    Export {
        run: RunId,
        candidate: Option<u32>,
    },
    /// Write what these runs have; answered with [`Msg::Exported`].
    Take {
        runs: Vec<RunId>,
        what: Take,
    },
    /// Change the file of saved views; answered with [`Msg::Views`].
    Views(ViewChange),
    /// Lend the terminal to the user's editor for this text, in a file with this ending (such as `.toml`); answered with
    /// [`Msg::Edited`].
    EditText {
        what: Draft,
        text: String,
        suffix: &'static str,
    },
    /// Lay these runs side by side; answered with [`Msg::Compared`].
    Compare(Vec<RunId>),
    /// Say what settings have to do with a figure; answered with [`Msg::Weighed`].
    Weigh {
        comparison: Arc<Comparison>,
        figure: String,
        against: String,
    },
    /// Use the next theme; answered with [`Msg::Themed`].
    SwitchTheme,
    /// Use the theme of that name; answered with [`Msg::Themed`].
    UseTheme(String),
    /// Write down what is kept between starts.
    Keep(Box<Kept>),
    /// Put a text into the clipboard of the terminal (OSC 52).
    Copy(String),
    /// Tell who looks elsewhere: with the bell, with a banner (OSC 9).
    Notify {
        text: String,
        bell: bool,
        banner: bool,
    },
    /// Take the mouse, or leave it to the terminal.
    Mouse(bool),
    /// Draw every cell anew.
    Redraw,
    /// Leave the terminal and stop as a job of the shell.
    Suspend,
    /// Take the terminal over again.
    TakeOver,
    Quit,
}
