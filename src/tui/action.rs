//! Everything that can be done with a key, in one table. From it come the keymap, the hints in the status bar, the help
//! overlay and the key table of the manual.

use crate::keys::Key;

macro_rules! actions {
    ($($name:ident $id:literal [$($context:ident)*] $keys:literal $hint:literal $help:literal;)*) => {
        /// What a key can mean.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Action { $($name),* }

        impl Action {
            pub const ALL: &'static [Action] = &[$(Action::$name),*];

            /// Stable name, such as `run.pause`.
            pub fn id(self) -> &'static str {
                match self { $(Action::$name => $id),* }
            }

            /// Where it is available.
            pub fn contexts(self) -> &'static [Context] {
                match self { $(Action::$name => &[$(Context::$context),*]),* }
            }

            /// The keys as text, apart by blanks.
            fn keys_text(self) -> &'static str {
                match self { $(Action::$name => $keys),* }
            }

            /// A word or two for the status bar; empty for what goes without saying. `keys|words` where one hint stands for two
    /// actions.
            pub fn hint(self) -> &'static str {
                match self { $(Action::$name => $hint),* }
            }

            /// A sentence for the help overlay and the manual.
            pub fn help(self) -> &'static str {
                match self { $(Action::$name => $help),* }
            }
        }
    };
}

/// Parts of the client that have keys of their own. The more special one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    Global,
    /// Never valid by itself: the heading under which help lists what moves about in all lists and texts.
    Lists,
    Runs,
    Run,
    Curves,
    Picker,
    Clusters,
    Candidates,
    Scatter,
    Matrix,
    Lines,
    Jobs,
    Blocks,
    Histogram,
    Images,
    Detections,
    Layers,
    Inspect,
    Text,
    Log,
    Launcher,
    Form,
    Compare,
    System,
    Knobs,
    Palette,
    Views,
    Columns,
    Confirm,
    Help,
    Tour,
}

impl Context {
    pub const ALL: &'static [Context] = &[
        Context::Runs,
        Context::Compare,
        Context::Launcher,
        Context::Form,
        Context::Run,
        Context::Knobs,
        Context::Curves,
        Context::Picker,
        Context::Jobs,
        Context::Clusters,
        Context::Candidates,
        Context::Scatter,
        Context::Matrix,
        Context::Lines,
        Context::Blocks,
        Context::Histogram,
        Context::Images,
        Context::Detections,
        Context::Layers,
        Context::Inspect,
        Context::Text,
        Context::Log,
        Context::System,
        Context::Palette,
        Context::Views,
        Context::Columns,
        Context::Confirm,
        Context::Lists,
        Context::Help,
        Context::Tour,
        Context::Global,
    ];

    /// Name in `keymap.toml`.
    pub fn id(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Heading in help and manual.
    pub fn title(self) -> &'static str {
        match self {
            Context::Global => "Everywhere",
            Context::Lists => "Lists and texts",
            Context::Runs => "Runs",
            Context::Run => "A run",
            Context::Curves => "Curves",
            Context::Picker => "Choice of series",
            Context::Clusters => "Clusters",
            Context::Candidates => "Candidates",
            Context::Scatter => "Scatter",
            Context::Matrix => "Matrix",
            Context::Lines => "Curves with a spread",
            Context::Jobs => "Jobs of an experiment",
            Context::Blocks => "Map of blocks",
            Context::Histogram => "Histograms",
            Context::Images => "Pictures",
            Context::Detections => "Detections",
            Context::Layers => "Layers",
            Context::Inspect => "A candidate",
            Context::Text => "Tables, settings, outcome",
            Context::Log => "Log",
            Context::Launcher => "Launcher",
            Context::Form => "Settings before a start",
            Context::Compare => "Runs side by side",
            Context::System => "Machine, queue, advice",
            Context::Knobs => "Settings of a run that goes on",
            Context::Palette => "Palette",
            Context::Views => "Saved views",
            Context::Columns => "Choice of columns",
            Context::Confirm => "Questions",
            Context::Help => "Help",
            Context::Tour => "Tour",
        }
    }
}

actions! {
    // Lists and runs.
    Open "runs.open" [Runs System] "enter" "open" "Open the selected run";
    OpenCompared "compare.open" [Compare] "enter" "open" "Open the selected run; `esc` leads back to the comparison";
    HideLine "compare.hide" [Compare] "space" "on/off" "Draw the curves of the selected group, or not";
    NextSeries "compare.series" [Compare] "m" "series" "Lay another series over one another";
    PrevSeries "compare.previous-series" [Compare] "M" "" "The series before";
    Along "compare.along" [Compare] "b" "by" "Lay curves over one another by steps as each run counts them, by share of its plan, or by time at work";
    Means "compare.means" [Compare] "e" "each/mean" "Of runs that differ in nothing but their seeds, draw the mean with its deviation, or each run";
    NextFigure "compare.figure" [Compare] "f" "figure" "Next figure: what strip, importance and front are about";
    PrevFigure "compare.previous-figure" [Compare] "F" "" "Previous figure";
    NextCost "compare.against" [Compare] "a" "against" "Next figure on the other axis of the front";
    Everything "compare.all" [Compare] "d" "all/few" "Show all figures, or those alone that the methods want to be judged by";
    Inspect "candidate.open" [Candidates Clusters Scatter] "enter" "inspect" "Show all about the candidate: decisions, cost per block, history, drawing";
    OpenJob "job.open" [Jobs] "enter" "open" "Open the selected job; `esc` leads back to its experiment";
    Export "candidate.export" [Inspect Run] "e" "export" "Write the weights of the candidate, or of the run's network, as safetensors into the folder where Kiln was started";
    CloseInspect "candidate.close" [Inspect] "esc backspace" "back" "Back to where the candidate was chosen";
    Retrain "candidate.train" [Inspect] "t" "train" "Train the candidate in full, as a run of its own (asks first, for how many epochs)";
    Launch "launcher.start" [Launcher Form] "enter" "start" "Start the selected preset, with the changes of its form";
    Settings "launcher.settings" [Launcher] "e" "settings" "Change settings of the selected preset before it is started, such as where its data lie";
    PresetFilter "launcher.filter" [Launcher] "/" "filter" "Show only presets whose name, method or title contains a text";
    Edit "form.edit" [Form] "space c" "change" "Type another value for the selected setting (it takes the old one's place; the arrows edit that); of a choice or switch, take the next option";
    PrevOption "form.previous" [Form] "h left" "" "Previous option of a choice or switch";
    NextOption "form.next" [Form] "l right" "h/l|option" "Next option of a choice or switch";
    TakeBack "form.back" [Form] "x delete backspace" "as it was" "Take the change of the selected setting back";
    FormFilter "form.filter" [Form] "/" "find" "Show only settings whose name or help contains a text";
    Vary "form.sweep" [Form] "v" "sweep" "Vary the selected setting: a list such as `0.1, 0.2`, a range such as `0.1..0.5/5` or `log:1e-4..0.1/4`, `*` for all options; each combination becomes an arm of one experiment";
    EditText "form.text" [Form] "e" "editor" "Edit the preset's TOML in `$EDITOR`; mistakes come back above their lines";
    SavePreset "form.save" [Form] "w" "save" "Save the preset with its changes as one of your own, comments kept";
    Differing "form.differing" [Form] "d" "" "Show only settings that differ from the preset, or all";
    CloseForm "form.close" [Form] "esc" "back" "Back to the launcher; changes stay until Kiln is left";
    Clone "run.clone" [Runs Run] "E" "" "Start another run with the settings of this one: opens them in the form";
    Tune "run.tune" [Runs Run] "u" "" "Change settings of the run while it goes on, such as its learning rate";
    TurnKnob "knobs.change" [Knobs] "enter space" "change" "Type another value for the selected setting of the run";
    CloseKnobs "knobs.close" [Knobs] "esc u q" "close" "Back";
    Launcher "app.launcher" [Runs Run System] "n" "new" "Open the launcher";
    Confirm "question.yes" [Confirm] "y enter" "yes" "Do it";
    Decline "question.no" [Confirm] "n esc q" "no" "Leave it";

    // A chart.
    CursorLeft "curves.left" [Curves Compare] "h left" "" "Move the cursor left";
    CursorRight "curves.right" [Curves Compare] "l right" "h/l|cursor" "Move the cursor right, and show the values of all series there";
    ZoomIn "curves.zoom-in" [Curves Compare] "+ =" "" "Zoom in around the cursor";
    ZoomOut "curves.zoom-out" [Curves Compare] "-" "+/-|zoom" "Zoom out";
    ZoomAll "curves.zoom-all" [Curves Compare] "0" "" "Show the whole planned axis again";
    PanLeft "curves.pan-left" [Curves Compare] "H shift-left" "" "Move the zoomed window left";
    PanRight "curves.pan-right" [Curves Compare] "L shift-right" "" "Move the zoomed window right";
    Smooth "curves.smooth" [Curves Compare] "s" "smooth" "Next strength of smoothing: off, 0.5, 1, 2, 5 % of the window";
    Median "curves.median" [Curves] "S" "" "Smooth by the median of the window, which forgets spikes, or by the exponential mean";
    LogY "curves.log" [Curves Compare] "y" "log" "Logarithmic y axis on or off";
    LogX "curves.log-x" [Curves] "X" "" "Logarithmic x axis on or off";
    OverClock "curves.time" [Curves] "b" "" "Draw charts over seconds at work, or over what the method counts";
    NextPanel "curves.next-panel" [Curves] "m down" "next chart" "Go to the next chart";
    PrevPanel "curves.previous-panel" [Curves] "M up" "" "Go to the previous chart";
    Maximise "curves.maximise" [Curves] "z" "one/all" "Show the chart alone, or all that fit";
    PerCandidate "curves.candidates" [Curves] "c" "candidates" "Show or hide the series of single candidates";
    Pick "curves.pick" [Curves] "v" "series" "Choose the series to draw";

    Toggle "picker.toggle" [Picker] "space enter" "on/off" "Show or hide the selected series";
    All "picker.all" [Picker] "a" "all" "Show all that the filter leaves";
    Nothing "picker.none" [Picker] "x" "none" "Hide all that the filter leaves";
    PickFilter "picker.filter" [Picker] "/" "filter" "Filter series by a part of their name";
    ClosePicker "picker.close" [Picker] "esc v q" "close" "Back to the chart";

    // Views.
    PointLeft "view.left" [Clusters Scatter Matrix Lines Blocks Histogram Images Layers Detections Text] "h left" "" "Move the cursor left; of a wide table, show the columns further left";
    PointRight "view.right" [Clusters Scatter Matrix Lines Blocks Histogram Images Layers Detections Text] "l right" "h/l|move" "Move the cursor right; of a wide table, show the columns further right";
    PointUp "view.up" [Clusters Scatter Matrix Blocks Histogram Images Detections] "k up" "" "Move the cursor up";
    PointDown "view.down" [Clusters Scatter Matrix Blocks Histogram Images Detections] "j down" "hjkl|move" "Move the cursor down";
    NextMeasure "blocks.measure" [Blocks] "b" "bars" "Draw the next figure as bars: lesion drop, weaken drop, parameters, MACs";
    Weights "blocks.weights" [Blocks] "a" "weights" "Show the weights of all operations alone, with the entropy of each block in bits, or the map";
    Closer "images.closer" [Images] "+ =" "" "Look closer at the picture under the cursor: half of it, a third, a quarter ... as large as fits";
    Further "images.further" [Images] "-" "+/-|zoom" "Show more of the picture again";
    PartLeft "images.part-left" [Images] "shift-left alt-h" "" "Move the part that is shown left";
    PartRight "images.part-right" [Images] "shift-right alt-l" "" "Move the part that is shown right";
    PartUp "images.part-up" [Images] "shift-up alt-k" "" "Move the part that is shown up";
    PartDown "images.part-down" [Images] "shift-down alt-j" "" "Move the part that is shown down";
    Difference "images.difference" [Images] "d" "difference" "Show the picture beside the first of its row (or its neighbour), and what tells them apart";
    OverTime "histogram.over-time" [Histogram] "w" "over time" "Show how the histogram has changed over time, the newest at the bottom; or the newest alone";
    ScoreUp "detections.surer" [Detections] "+ =" "" "Show only boxes that the network is surer of";
    ScoreDown "detections.less-sure" [Detections] "-" "+/-|least score" "Show boxes that the network is less sure of, too";
    Truth "detections.truth" [Detections] "a" "truth" "Show or hide what is known to be in the picture";
    Alone "view.alone" [Histogram Images] "enter z" "one/all" "Show the histogram or picture under the cursor alone (with the others of its row, where they fit as large), or all again";
    NextWinner "clusters.winner" [Clusters] "w" "next winner" "Go to the next cluster winner";
    Sort "table.sort" [Runs Candidates] "s" "sort" "Sort by the next column";
    SortBack "table.sort-back" [Runs Candidates] "S" "" "Sort by the previous column";
    Reverse "table.reverse" [Runs Candidates] "o" "order" "Turn the order round";
    Filter "runs.filter" [Runs] "/" "filter" "Show only runs that match, such as `method:hournas acc>0.9 tag:paper -failed age<2d`; `tab` completes";
    Mark "runs.mark" [Runs] "space" "mark" "Mark the run, to compare it with others, or take its mark away";
    MarkAll "runs.mark-all" [Runs] "*" "" "Mark all runs that the filter leaves; if they are marked, take all marks away";
    Compare "runs.compare" [Runs] "c" "compare" "Compare the marked runs; without marks, the arms of the selected experiment";
    Tags "runs.tags" [Runs Run] "t" "" "Change the run's tags: words apart by blanks; `tab` completes";
    Note "runs.note" [Runs Run] "N" "" "Write a note about the run, in your editor";
    Group "runs.group" [Runs] "b" "" "Put runs together by method, preset, state, tags, host or age; then not at all";
    Fold "runs.fold" [Runs] "z" "" "Show only the first run of the group, or all of them again";
    Columns "runs.columns" [Runs] "v" "" "Choose columns: figures, tags, seeds, times and more";
    Views "runs.views" [Runs] "V" "" "Saved views of the list: filter, order, groups and columns under a name";
    Search "log.search" [Log] "/" "search" "Search the log";
    NextMatch "log.next" [Log] "n" "" "Next line that matches";
    PrevMatch "log.previous" [Log] "N" "" "Previous line that matches";
    Details "log.details" [Log] "d" "details" "Show or hide lines of level debug";
    Follow "log.follow" [Log] "f" "follow" "Follow new lines, or stay";

    // The palette, and boxes over the list.
    PaletteGo "palette.go" [Palette] "enter" "go" "Do or open what is selected";
    PaletteUp "palette.up" [Palette] "up ctrl-p ctrl-k backtab" "" "Up";
    PaletteDown "palette.down" [Palette] "down ctrl-n ctrl-j tab" "" "Down";
    ClosePalette "palette.close" [Palette] "esc ctrl-c" "close" "Back";
    ApplyView "views.apply" [Views] "enter" "apply" "Make the list look so";
    SaveView "views.save" [Views] "w" "save the list as it is" "Save filter, order, groups and columns of the list under a name";
    RemoveView "views.remove" [Views] "D delete" "remove" "Remove a view of one's own (asks first)";
    CloseViews "views.close" [Views] "esc V q" "close" "Back to the list";
    ToggleColumn "columns.toggle" [Columns] "space enter" "on/off" "Show the column, or leave it out";
    ColumnLeft "columns.left" [Columns] "K" "" "Move the column further left";
    ColumnRight "columns.right" [Columns] "J" "K/J|order" "Move the column further right";
    NoColumns "columns.none" [Columns] "x" "none" "Only the columns that the list has by itself";
    CloseColumns "columns.close" [Columns] "esc v q" "close" "Back to the list";

    // What runs can be told.
    Pause "run.pause" [Runs Run System] "p" "pause" "Pause the run at its next safe point, or let a paused run go on";
    Resume "run.resume" [Runs Run System] "r" "resume" "Let a paused run go on, or start an ended one again from its last checkpoint";
    Stop "run.stop" [Runs Run System] "x" "stop" "Stop the run after a checkpoint (asks first)";
    Remove "run.remove" [Runs Run] "D delete" "remove" "Remove an ended run with its folder (asks first)";
    Report "run.report" [Runs Run Compare] "W" "" "Write a report of the run (of the marked runs), one HTML page, into the folder where Kiln was started";
    TakePoints "run.table" [Runs Run Compare] "alt-c" "" "Write all points of the run's series (of the marked runs') as CSV";
    TakeEvents "run.events" [Runs Run Compare] "alt-t" "" "Write the run's series (the marked runs') as event files for TensorBoard";
    TakeCharts "run.charts" [Runs Run Compare] "alt-d" "" "Draw the run's curves (those of the marked runs over one another) into a PNG";
    TakeBundle "run.bundle" [Runs Run Compare] "alt-b" "" "Pack the run (the marked runs) with all files, for `kiln import` elsewhere";
    Repeat "run.repeat" [Runs Run] "alt-r" "" "Write a preset that repeats the run, and say what differs here from where it ran";
    Checkpoint "run.checkpoint" [Run] "C" "" "Write a checkpoint now";
    Sooner "run.sooner" [Runs System] "+ =" "" "Raise the priority of a queued run";
    Later "run.later" [Runs System] "-" "" "Lower the priority of a queued run";
    Ahead "queue.ahead" [System] "K shift-up" "" "Let a queued run start before the one above it";
    Behind "queue.behind" [System] "J shift-down" "J/K|move in queue" "Let a queued run start after the one below it";

    // Moving about.
    Up "move.up" [Lists Runs Compare Launcher Form Picker Views Columns Knobs Candidates Layers Inspect Jobs Text Log Help System] "k up" "" "Up";
    Down "move.down" [Lists Runs Compare Launcher Form Picker Views Columns Knobs Candidates Layers Inspect Jobs Text Log Help System] "j down" "" "Down";
    PageUp "move.page-up" [Lists Runs Compare Launcher Form Picker Views Columns Candidates Histogram Images Layers Inspect Jobs Text Log Help System] "pgup ctrl-u ctrl-b" "" "A page up";
    PageDown "move.page-down" [Lists Runs Compare Launcher Form Picker Views Columns Candidates Histogram Images Layers Inspect Jobs Text Log Help System] "pgdn ctrl-d ctrl-f" "" "A page down";
    Top "move.top" [Lists Runs Compare Launcher Form Picker Views Columns Candidates Histogram Images Layers Inspect Jobs Text Log Help System] "g home" "" "To the top";
    Bottom "move.bottom" [Lists Runs Compare Launcher Form Picker Views Columns Candidates Histogram Images Layers Inspect Jobs Text Log Help System] "G end" "" "To the bottom";
    NextTab "run.next-tab" [Run Compare] "tab" "next tab" "Next tab";
    PrevTab "run.previous-tab" [Run Compare] "backtab" "" "Previous tab";
    GoTab "run.tab" [Run Compare] "1 2 3 4 5 6 7 8 9" "" "Tab by number; those after the ninth with `tab`, or by name in the palette";
    NextRun "run.next" [Run] "J" "" "Next run of the list";
    PrevRun "run.previous" [Run] "K" "" "Previous run of the list";
    CloseHelp "help.close" [Help] "esc ? q f1" "close" "Back";
    Back "app.back" [Run Compare Launcher System] "esc backspace" "back" "Back to the list; first takes cursor, zoom or search away";
    ClearFilter "runs.clear" [Runs] "esc" "" "Take the filter away; then the groups";
    Palette "app.palette" [Global] ": ctrl-p" "find" "Find an action, a run, a preset or a view by a few of its letters, and do or open it";
    Help "app.help" [Global] "? f1" "help" "Show all keys";
    Quit "app.quit" [Global] "q ctrl-c" "quit" "Leave Kiln; runs go on";
    Messages "app.messages" [Global] "i" "" "Read the messages of late in full; `esc` takes those on the screen away";
    System "app.system" [Global] "Y" "" "The machine: how busy it is, what runs and waits, and advice; again, or `esc`: back";
    Theme "app.theme" [Global] "T" "" "Next theme: dark, light, and those for high contrast, colour blindness and 16 colours; it is kept";
    Copy "app.copy" [Global] "ctrl-y" "" "Copy what the cursor is on (else the id of the run) to the clipboard, through the terminal";
    CopyId "app.copy-id" [Global] "alt-i" "" "Copy the id of the run";
    CopyPath "app.copy-path" [Global] "alt-p" "" "Copy the path of the run's folder";
    Mouse "app.mouse" [Global] "alt-m" "" "Take the mouse, or leave it to the terminal (to select text); it is kept";
    Tour "app.tour" [Global] "f2" "" "Show the tour of the first start again";
    NextPage "tour.next" [Tour] "enter space l right j down pgdn tab" "next" "Next page";
    PrevPage "tour.previous" [Tour] "h left k up pgup backspace backtab" "back" "Previous page";
    CloseTour "tour.close" [Tour] "esc q" "skip" "End the tour";
    Redraw "app.redraw" [Global] "ctrl-l" "" "Draw the screen anew";
    Suspend "app.suspend" [Global] "ctrl-z" "" "Suspend Kiln; `fg` brings it back";
}

impl Action {
    /// The keys that mean this action.
    pub fn keys(self) -> impl Iterator<Item = Key> {
        self.keys_text().split(' ').filter_map(|text| text.parse().ok())
    }

    /// All keys that Kiln ships for it, for the manual; a row of digits as `1-9`.
    fn all_keys(self) -> String {
        match self {
            Action::GoTab => "1-9".into(),
            _ => self.keys_text().replace(' ', ", "),
        }
    }

    /// The action of that id.
    pub fn from_id(id: &str) -> Option<Action> {
        Action::ALL.iter().copied().find(|a| a.id() == id)
    }
}

/// The key table of the manual, in Markdown.
pub fn manual() -> String {
    let mut out = String::new();
    for context in Context::ALL {
        let rows = Action::ALL.iter().filter(|a| a.contexts().first() == Some(context)).collect::<Vec<_>>();
        if rows.is_empty() {
            continue;
        }
        out.push_str(&format!("\n**{}**\n\n| key | |\n| --- | --- |\n", context.title()));
        for action in rows {
            let keys: Vec<String> = action.all_keys().split(", ").map(|k| format!("`{k}`")).collect();
            let others: Vec<&str> = action.contexts()[1..].iter().map(|c| c.title()).collect();
            let also = if others.is_empty() || action.contexts()[0] == Context::Lists {
                String::new()
            } else {
                format!(" (also: {})", others.join("; ").to_lowercase())
            };
            out.push_str(&format!("| {} | {}{also} |\n", keys.join(" "), action.help()));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_round_trip_and_are_unique() {
        for action in Action::ALL {
            assert_eq!(Action::from_id(action.id()), Some(*action));
        }
        assert_eq!(Action::ALL.iter().map(|a| a.id()).collect::<HashSet<_>>().len(), Action::ALL.len());
        assert_eq!(Action::from_id("app.explode"), None);
    }

    #[test]
    fn every_key_is_readable_and_every_action_has_a_place() {
        for action in Action::ALL {
            for text in action.keys_text().split(' ') {
                let key: Key = text.parse().unwrap();
                assert_eq!(key.to_string(), text);
            }
            assert!(!action.contexts().is_empty() && action.help().len() > 1);
        }
    }

    #[test]
    fn the_manual_names_every_action() {
        let manual = manual();
        for action in Action::ALL {
            assert!(manual.contains(action.help()), "{action:?}");
        }
    }
    #[test]
    fn the_readme_holds_the_manual() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
        let mut readme = std::fs::read_to_string(path).unwrap();
        if std::env::var_os("KILN_BLESS").is_some() {
            let (before, rest) = readme.split_once("<summary>All keys</summary>\n").unwrap();
            let (_, after) = rest.split_once("\n</details>").unwrap();
            readme = format!("{before}<summary>All keys</summary>\n{}\n</details>{after}", manual());
            std::fs::write(path, &readme).unwrap();
        }
        assert!(
            readme.contains(&manual()),
            "README.md's keys are not these: run this test with KILN_BLESS=1\n{}",
            manual()
        );
    }
}
