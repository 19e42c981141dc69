//! The command line: what there is, and its help.

mod take;

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use kiln_protocol::compare::By;
use kiln_protocol::spec::{MethodName, sweep};

pub use take::{Export, Import, Report, Repro};

/// A terminal workbench for people who search, train and shrink neural networks.
///
/// Without a command, `kiln` opens the workbench on the whole screen. Runs are done by a background engine and go on when the
/// workbench is left or the connection drops. Where standard output is no terminal, `kiln` runs the default preset.
#[derive(Parser, Debug)]
#[command(
    name = "kiln",
    version,
    after_help = "Examples:
  kiln                                   open the workbench
  kiln run dc-nas-digits                 run a preset and watch it here
  kiln run dc-nas-digits --set seed=2    the same with another seed
  kiln ls                                list the runs
  kiln --help                            more, with exit codes and environment",
    after_long_help = "Examples:
  kiln                                   open the workbench
  kiln run dc-nas-digits                 run a preset and watch it here
  kiln run my.toml --set optim.lr=0.01   a preset of your own, with one setting changed
  kiln ls                                list the runs
  kiln show                              what the newest run found
  kiln tail -f                           follow its log
  ssh -L kiln.sock:.local/share/kiln/engine.sock server   then: kiln --socket kiln.sock

RUN stands for a run's id, a beginning of it or of its last part that no other run shares, or `last`
for the newest run.
PRESET stands for a TOML file, or for a name found in ./presets, in Kiln's shared folder, or in the program itself.

Exit codes:
  0    done; a run that was waited for has completed
  1    a run that was waited for has failed, or something unexpected happened
  2    a mistake in the command line or in a preset, or no such run; nothing was started
  3    a run that was waited for was stopped
  4    the engine cannot be started or reached, or is of another version
  130  interrupted while waiting; the run goes on
  141  the reader of the output has gone away

Environment:
  KILN_HOME      folder of the runs (else kiln in XDG_DATA_HOME, else ~/.local/share/kiln)
  KILN_CONFIG    folder of your keymap, views, presets and themes (else kiln in XDG_CONFIG_HOME, else ~/.config/kiln)
  KILN_SHARE     folder with presets, assets and themes
  KILN_WORKER    the program that trains (else kiln-worker beside this program)
  KILN_CUDA      auto, off, or the path of libtorch_cuda.so; taken over by an engine at its start
  KILN_LOG       what the engine logs, such as debug (its log is engine.log in KILN_HOME)
  KILN_THEME     theme of the workbench (else the one chosen last)
  NO_COLOR       no colours"
)]
pub struct Cli {
    /// Talk to the engine at this socket (such as one forwarded by ssh) and never start one.
    #[arg(long, global = true, value_name = "PATH", display_order = 100)]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub look: Look,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// How the workbench opens.
#[derive(Args, Debug, Clone, Default)]
pub struct Look {
    /// Open the launcher on this preset.
    #[arg(long, value_name = "PRESET")]
    pub preset: Option<String>,
    /// Theme of the workbench: `dark`, `light`, `contrast`, `contrast-light`, `colour-blind`, `terminal`, or a TOML file.
    #[arg(long, value_name = "NAME")]
    pub theme: Option<String>,
    /// How many colours the terminal has: `auto` asks the environment.
    #[arg(long, value_name = "COLOURS", default_value = "auto", value_parser = ["auto", "none", "16", "256", "true"])]
    pub color: String,
    /// Draw with ASCII alone.
    #[arg(long)]
    pub ascii: bool,
    /// Show pictures in the terminal's own pixels: `auto` asks the environment, `none` draws them with characters.
    #[arg(long, value_name = "HOW", default_value = "auto", value_parser = ["auto", "none", "kitty", "iterm2", "sixel"])]
    pub graphics: String,
    /// Take the mouse: the wheel scrolls, a click selects. A key switches it, and it is kept.
    #[arg(long)]
    pub mouse: bool,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Start a run and watch it.
    ///
    /// Shows a progress bar in a terminal and progress lines elsewhere, and ends with what the run found. Ctrl-C leaves the run
    /// going; so does a lost connection.
    #[command(after_help = "Examples:
  kiln run dc-nas-digits
  kiln run presets/train-digits.toml --set train.epochs=5 --set seed=3
  kiln run dc-nas-fashion --set data.path=/data/fashion-mnist --detach
  kiln run train-digits --sweep optim.lr=0.02,0.05,0.1 --sweep 'optim.kind=*' --seeds 1,2,3
  kiln run train-digits --sweep optim.lr=log:1e-3..0.3 --sweep train.epochs=10..40 --sweep-runs 12")]
    Run(Run),
    /// List the runs, newest first.
    ///
    /// A filter is a row of terms that all must hold: words; `method:`, `preset:`, `id:`, `title:`, `device:`, `host:`, `note:`,
    /// `reason:` with a part of a text (`=` for all of it, `*` for anything); `tag:paper`; `state:running,queued`, or the state
    /// alone; figures and numbers such as `acc>0.9`, `best`, `done>50%`, `seed:1,2`, `priority`, `attempts`, `jobs`; times such as
    /// `age<2d`, `took>1h30m`, `left`, `seen`. A `-` before a term turns it round. The workbench's `/` takes the same.
    #[command(
        visible_alias = "list",
        after_help = "Examples:
  kiln ls
  kiln ls --filter 'method:hournas acc>0.9 tag:paper -failed age<2d'
  kiln ls --view 'best by method'
  kiln ls --json | jq -r '.[].id'"
    )]
    Ls(Ls),
    /// List the presets.
    #[command(after_help = "Examples:
  kiln presets
  kiln presets --json")]
    Presets(Presets),
    /// List the search spaces, or print the file of one.
    ///
    /// A space is a TOML file. Of a shipped one the file is printed, to read or to copy; a file of your own is checked, and what
    /// is in it is listed. Where a preset says `space.name`, either will do.
    #[command(after_help = "Examples:
  kiln spaces
  kiln spaces mobile-m > my-space.toml
  kiln spaces my-space.toml
  kiln run train-fashion --set space.name=my-space.toml --set train.arch=reference")]
    Spaces(Spaces),
    /// Measure what each block of a search space takes on a device.
    ///
    /// Writes a table of milliseconds by block and operation for one input and batch; the time of a network is the sum over its
    /// blocks. HourNAS takes such a table as a limit (`hournas.latency-table`). For spaces that are chains of blocks.
    #[command(after_help = "Examples:
  kiln latency mobile-m --input 1x28x28 --out mobile-m-cpu.toml
  kiln latency fbnet --input 3x224x224 --classes 1000 --batch 8 --device cuda:0 --out fbnet-gpu.toml")]
    Latency(Latency),
    /// Show one run: state, figures, what it found.
    #[command(after_help = "Examples:
  kiln show
  kiln show dc-nas-digits-k3f7 --json
  kiln show last --spec > again.toml")]
    Show(Show),
    /// Compare runs: figures with means and deviations over seeds, and the settings that differ.
    ///
    /// Runs that differ in nothing but their seeds are one column; an experiment stands for all its jobs. On demand also: curves
    /// over one another, runs sorted by a figure with the places of their settings, which settings matter for it, and which runs
    /// no other beats. The workbench draws the same (`space` marks runs, `c` compares them).
    #[command(after_help = "Examples:
  kiln compare random-digits-k3f7 evolution-digits-9qx2
  kiln compare last --all
  kiln compare last --curves valid/accuracy --by time
  kiln compare last --importance --strip --figure test_accuracy
  kiln compare last --front params
  kiln compare last --json | jq '.figures[0]'")]
    Compare(Compare),
    /// Show in which settings two runs differ, or a run and a preset, or two presets.
    #[command(after_help = "Examples:
  kiln diff random-digits-k3f7 evolution-digits-9qx2
  kiln diff last train-digits
  kiln diff mine.toml theirs.toml --json")]
    Diff(Diff),
    /// Train a candidate of a run in full, as a run of its own.
    #[command(after_help = "Examples:
  kiln retrain last
  kiln retrain evolution-digits-k3f7 12 --epochs 100")]
    Retrain(Retrain),
    /// Write what runs have as files for other programs: weights, tables, event files, plots, or the whole run.
    ///
    /// Weights: images must be normalised before they enter the network: by the mean and deviation of each channel in the
    /// file's metadata (the entry `kiln`; in TorchScript the extra file `kiln.json`).
    ///
    /// Tables have a row for every point of every series, with its time; with `--rows runs` a row for every run, with its
    /// settings and figures. An experiment is exported as its jobs.
    #[command(after_help = "Examples:
  kiln export last
  kiln export last --format torchscript --out network.pt
  kiln export evolution-digits-k3f7 12
  kiln export last --format csv --series valid/accuracy --out -
  kiln export k3f7 9qx2 --format parquet --rows runs
  kiln export last --format tensorboard
  kiln export last --format svg
  kiln export last --format bundle      then, elsewhere: kiln import")]
    Export(Export),
    /// Take up runs that were packed with `kiln export --format bundle`.
    ///
    /// A run that had not ended is stopped here, and can be resumed from its last checkpoint.
    #[command(after_help = "Examples:
  kiln import dc-nas-digits-k3f7.tar.zst
  ssh server kiln export last --format bundle --out - | kiln import -")]
    Import(Import),
    /// Write one HTML page about runs: plots, tables, settings, environment. It needs no other file and no network.
    #[command(after_help = "Examples:
  kiln report
  kiln report k3f7 9qx2 --title 'Two seeds' --out seeds.html")]
    Report(Report),
    /// Write a preset that repeats a run, and say what differs here from where it ran.
    ///
    /// Compares the run's record (versions, device, processor, digest of the data) with this machine.
    #[command(after_help = "Examples:
  kiln repro
  kiln repro dc-nas-digits-k3f7 --check
  kiln repro last --out again.toml && kiln run again.toml")]
    Repro(Repro),
    /// Ask a run's assessor for the accuracy of architectures, as CSV.
    ///
    /// The run must be a completed one of the method `assessor`. A table has an architecture a line in the column `arch`, as the
    /// space writes it, or in the columns `adjacency` and `ops`; predictions come in its order. An assessor with a relation graph
    /// looks at all architectures of a question together: asked about others besides, it may answer a little differently.
    #[command(after_help = "Examples:
  kiln predict last --table mine.csv > predicted.csv
  kiln predict assessor-nb201-k3f7 --sample 1000 --top 10")]
    Predict(Predict),
    /// Plot series of a run as text, or as a picture.
    #[command(after_help = "Examples:
  kiln plot
  kiln plot last train/loss valid/accuracy
  kiln plot last train/loss --log --from 10
  kiln plot last train/loss --out loss.svg
  kiln plot last train/loss --json > loss.json")]
    Plot(Plot),
    /// Print the log of a run.
    #[command(after_help = "Examples:
  kiln tail
  kiln tail -f
  kiln tail last -n 1000 --json")]
    Tail(Tail),
    /// Pause runs at their next safe point; they stay in memory.
    #[command(after_help = "Examples:
  kiln pause last
  kiln pause dc-nas-digits-k3f7 train-digits-9qx2")]
    Pause(Runs),
    /// Resume runs that are paused, were stopped, or failed (from their last checkpoint).
    #[command(after_help = "Examples:
  kiln resume last
  kiln resume dc-nas-digits-k3f7")]
    Resume(Runs),
    /// Stop runs after a checkpoint; they can be resumed.
    #[command(after_help = "Examples:
  kiln stop last
  kiln stop last --wait")]
    Stop(Stop),
    /// Change a setting of a run while it goes on.
    ///
    /// `kiln schema METHOD --fields` marks the settings that can be changed.
    #[command(after_help = "Examples:
  kiln set last optim.lr=0.01
  kiln set last optim.lr=0.01 optim.weight-decay=0")]
    Set(Set),
    /// Tag a run, take tags away, or list them.
    #[command(after_help = "Examples:
  kiln tag last paper ablation
  kiln tag last --remove ablation
  kiln tag dc-nas-digits-k3f7
  kiln tag                                  all tags there are
  kiln ls --filter tag:paper")]
    Tag(Tag),
    /// Write a note about a run, or print it.
    #[command(after_help = "Examples:
  kiln note last 'wider first block, same seeds'
  kiln note last --edit
  kiln note last --append 'second look: the gap is noise'
  kiln note dc-nas-digits-k3f7 - < notes.md
  kiln note last")]
    Note(Note),
    /// Remove ended runs with everything they wrote.
    #[command(after_help = "Examples:
  kiln rm dc-nas-digits-k3f7
  kiln rm last")]
    Rm(Runs),
    /// Check a preset, and print its networks' sizes and an estimate of time and memory, without training.
    #[command(after_help = "Examples:
  kiln check dc-nas-digits
  kiln check my.toml --set dc-nas.population=64
  kiln check train-digits --sweep optim.lr=log:1e-3..0.1/5
  kiln check my.toml --spec")]
    Check(Check),
    /// List what every key of the workbench means, with the keymap of your own.
    ///
    /// A keymap.toml in KILN_CONFIG gives actions other keys; what is wrong in it is said here, and the exit code is then 2.
    #[command(after_help = "Examples:
  kiln keys
  kiln keys --json | jq '.[] | select(.id == \"run.stop\")'")]
    Keys(Json),
    /// Look at everything Kiln needs, and say what is missing.
    #[command(after_help = "Examples:
  kiln doctor
  kiln doctor --json")]
    Doctor(Json),
    /// Start, stop and look at the background engine.
    #[command(
        subcommand,
        after_help = "Examples:
  kiln engine status
  kiln engine stop     runs go on, and the next engine adopts them"
    )]
    Engine(Engine),
    /// Print what a preset of a method may say: JSON Schema for editors, or a table.
    #[command(after_help = "Examples:
  kiln schema dc-nas > dc-nas.schema.json
  kiln schema dc-nas --fields
  kiln schema --markdown")]
    Schema(Schema),
    /// Print completions for a shell.
    #[command(after_help = "Examples:
  kiln completions bash > ~/.local/share/bash-completion/completions/kiln
  kiln completions zsh > ~/.zfunc/_kiln")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// A preset with changes.
#[derive(Args, Debug, Default)]
pub struct Chosen {
    /// A TOML file, or the name of a preset.
    pub preset: String,
    /// Change a setting: a dotted key and a TOML value; a bare word is text, and numbers may end in k, M or G.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Run it once with each of these seeds, such as `1,2,3`: short for --set 'seeds=[1,2,3]'.
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seeds: Option<Vec<u64>>,
    /// Vary a setting: a list `0.1,0.2`, a range `0.1..0.5/5` or `log:1e-4..0.1/4` (that many numbers, at equal distances or
    /// ratios), or `*` for all options. Each combination is a job of one experiment. May be repeated.
    #[arg(long, value_name = "KEY=VALUES", value_parser = varied)]
    pub sweep: Vec<(String, String)>,
    /// Draw this many combinations of a sweep at random; ranges then need no number: `log:1e-4..0.1`.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub sweep_runs: Option<u32>,
}

impl Chosen {
    /// All changes, as `--set` takes them.
    pub fn changes(&self) -> Vec<String> {
        let seeds = self.seeds.as_ref().map(|seeds| format!("seeds={seeds:?}"));
        let vary = |(key, values): &(String, String)| sweep::argument(key, values);
        let runs = self.sweep_runs.map(|runs| format!("sweep.runs={runs}"));
        self.set.iter().cloned().chain(seeds).chain(self.sweep.iter().map(vary)).chain(runs).collect()
    }
}

/// A setting and what it is varied over.
fn varied(argument: &str) -> Result<(String, String), String> {
    let expected = "expected KEY=VALUES, such as optim.lr=0.1,0.2";
    let (key, values) = argument.split_once('=').ok_or(expected)?;
    Ok((key.trim().to_owned(), values.trim().to_owned()))
}

/// How a run is started and waited for.
#[derive(Args, Debug, Default)]
pub struct Launch {
    /// Start the run, print its id, and leave.
    #[arg(long, short)]
    pub detach: bool,
    /// Runs of higher priority leave the queue first.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    pub priority: i32,
    /// Tag the run; may be repeated.
    #[arg(long = "tag", value_name = "TAG", value_parser = crate::tag::parse)]
    pub tags: Vec<String>,
    /// Print the outcome as JSON at the end (with --detach: the id).
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    pub chosen: Chosen,
    #[command(flatten)]
    pub launch: Launch,
}

#[derive(Args, Debug)]
pub struct Ls {
    /// Only runs in this state; may be repeated.
    #[arg(long, value_name = "STATE", value_parser = ["queued", "starting", "running", "paused", "stopping", "stopped", "completed", "failed"])]
    pub state: Vec<String>,
    /// Only runs that match; see above.
    #[arg(long, short, value_name = "FILTER", allow_hyphen_values = true)]
    pub filter: Option<String>,
    /// As a saved view of the workbench has them: its filter, order, groups and columns.
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
    /// At most this many.
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<usize>,
    /// Also the jobs of experiments, below them.
    #[arg(long)]
    pub jobs: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Tag {
    /// The run; all tags, and how many runs have them, if not given.
    pub run: Option<String>,
    /// Tags to add.
    #[arg(value_name = "TAG", value_parser = crate::tag::parse)]
    pub tags: Vec<String>,
    /// A tag to take away; may be repeated.
    #[arg(long, short, value_name = "TAG", value_parser = crate::tag::parse)]
    pub remove: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Note {
    /// The run.
    #[arg(default_value = "last")]
    pub run: String,
    /// The note, in place of the old one; `-` reads it from standard input. The note is printed if nothing is given.
    #[arg(value_name = "TEXT", conflicts_with_all = ["edit", "clear"])]
    pub text: Vec<String>,
    /// Write it in your editor ($VISUAL, else $EDITOR, else vi).
    #[arg(long, short, conflicts_with = "clear")]
    pub edit: bool,
    /// Put the text below the note that there is.
    #[arg(long, short, requires = "text")]
    pub append: bool,
    /// Take the note away.
    #[arg(long)]
    pub clear: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Presets {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Spaces {
    /// A shipped space, or the file of one.
    #[arg(value_name = "SPACE")]
    pub space: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Latency {
    /// A shipped space, or the file of one.
    #[arg(value_name = "SPACE")]
    pub space: String,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Channels, height and width of an image.
    #[arg(long, value_name = "CxHxW", default_value = "3x32x32", value_parser = crate::spaces::input)]
    pub input: [u32; 3],
    /// Classes.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub classes: u32,
    /// Images in a pass.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65536))]
    pub batch: u32,
    /// Threads of one operation, on the CPU.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    pub threads: u32,
    /// Timings of each block, of which the median counts.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// The file to write; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Print the table as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Show {
    /// The run.
    #[arg(default_value = "last")]
    pub run: String,
    /// Print the preset as it was launched, every default written out, instead (live changes are in the log).
    #[arg(long, conflicts_with_all = ["json", "view"])]
    pub spec: bool,
    /// Print one of its views instead: a table, or a drawing of histograms and (in a terminal) of pictures.
    #[arg(long, value_name = "NAME")]
    pub view: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Compare {
    /// The runs; the first is what the others are compared with.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,
    /// All figures, not only those that the methods want to be judged by.
    #[arg(long)]
    pub all: bool,
    /// What --strip, --importance and --front are about; the foremost figure if not given.
    #[arg(long, value_name = "NAME")]
    pub figure: Option<String>,
    /// Also the runs sorted by the figure, and where the values of their settings lie (parallel coordinates).
    #[arg(long)]
    pub strip: bool,
    /// Also which settings matter for the figure: permutation importance in a random forest.
    #[arg(long)]
    pub importance: bool,
    /// Also the runs that no other beats in both the figure and this one; parameters or time if not given.
    #[arg(long, value_name = "NAME", num_args = 0..=1)]
    pub front: Option<Option<String>>,
    /// Also this series of all runs in one chart; the one that most of them have if not given.
    #[arg(long, value_name = "SERIES", num_args = 0..=1)]
    pub curves: Option<Option<String>>,
    /// What curves are laid over one another by: steps as each run counts them, share of its plan, or seconds at work.
    #[arg(long, value_enum, default_value = "count")]
    pub by: Along,
    /// Logarithmic y axis of the curves.
    #[arg(long)]
    pub log: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Diff {
    /// A run, or a preset.
    #[arg(value_name = "RUN|PRESET")]
    pub first: String,
    /// Another one.
    #[arg(value_name = "RUN|PRESET")]
    pub second: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// What curves are laid over one another by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Along {
    #[default]
    Count,
    Share,
    Time,
}

impl From<Along> for By {
    fn from(along: Along) -> By {
        match along {
            Along::Count => By::Count,
            Along::Share => By::Share,
            Along::Time => By::Time,
        }
    }
}

#[derive(Args, Debug)]
pub struct Retrain {
    /// The run.
    pub run: String,
    /// Number of the candidate, as the run's table has it; the winner if not given.
    pub candidate: Option<u32>,
    /// Epochs; as many as the run trains its winners if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub epochs: Option<u32>,
    #[command(flatten)]
    pub launch: Launch,
}

#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("asked").required(true).args(["table", "sample"]))]
pub struct Predict {
    /// The run.
    #[arg(default_value = "last")]
    pub run: String,
    /// A table of architectures, plain or gzipped.
    #[arg(long, value_name = "FILE.csv")]
    pub table: Option<PathBuf>,
    /// So many random architectures of the run's space.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub sample: Option<u32>,
    /// Seed of the sample.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Only so many, the best first.
    #[arg(long, value_name = "N")]
    pub top: Option<u32>,
    /// The file; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long, requires = "out")]
    pub force: bool,
}

#[derive(Args, Debug)]
pub struct Plot {
    /// The run.
    #[arg(default_value = "last")]
    pub run: String,
    /// Names of series, as `kiln show` lists them; without any, the one by which the run is judged.
    pub series: Vec<String>,
    /// Least x.
    #[arg(long, allow_negative_numbers = true, value_name = "X")]
    pub from: Option<f64>,
    /// Greatest x.
    #[arg(long, allow_negative_numbers = true, value_name = "X")]
    pub to: Option<f64>,
    /// Logarithmic y axis.
    #[arg(long)]
    pub log: bool,
    /// Columns of the plot; the terminal's width if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(20..=1000), value_name = "N")]
    pub width: Option<u16>,
    /// Lines of the plot.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(3..=200), value_name = "N")]
    pub height: u16,
    /// Draw into this file instead, by its name as SVG or PNG.
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["json", "width", "height"])]
    pub out: Option<PathBuf>,
    /// Overwrite a file that is there already.
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Dark paper, with --out.
    #[arg(long, requires = "out")]
    pub dark: bool,
    /// Print all points as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Tail {
    /// The run.
    #[arg(default_value = "last")]
    pub run: String,
    /// Go on printing until the run has ended.
    #[arg(long, short)]
    pub follow: bool,
    /// How many of the newest lines.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    pub lines: u32,
    /// Also lines that matter when something is looked into, such as checkpoints.
    #[arg(long, short)]
    pub verbose: bool,
    /// Print events as JSON, one a line.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Runs {
    /// The runs.
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,
    /// Print what was done as JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Stop {
    #[command(flatten)]
    pub runs: Runs,
    /// Wait until the runs have ended.
    #[arg(long, short)]
    pub wait: bool,
}

#[derive(Args, Debug)]
pub struct Set {
    /// The run.
    pub run: String,
    /// What to change, such as `optim.lr=0.01`.
    #[arg(required = true, value_name = "KEY=VALUE")]
    pub values: Vec<String>,
}

#[derive(Args, Debug)]
pub struct Check {
    #[command(flatten)]
    pub chosen: Chosen,
    /// Print the preset as TOML with every default written out, instead.
    #[arg(long, conflicts_with = "json")]
    pub spec: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Json {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Subcommand, Debug)]
pub enum Engine {
    /// Start an engine, if none is running.
    #[command(after_help = "Example:\n  kiln engine start")]
    Start {
        /// Stay in this terminal instead of going to the background.
        #[arg(long)]
        foreground: bool,
    },
    /// End the engine. Runs go on; the next engine adopts them.
    #[command(after_help = "Example:\n  kiln engine stop")]
    Stop,
    /// Say how the engine and its machine are.
    #[command(after_help = "Example:\n  kiln engine status --json")]
    Status(Json),
    /// Forget the store and read all run folders again.
    #[command(after_help = "Example:\n  kiln engine rebuild")]
    Rebuild,
}

#[derive(Args, Debug)]
pub struct Schema {
    /// The method; or `space`, for files of search spaces (a JSON Schema, whatever else is asked for).
    #[arg(
        value_parser = PossibleValuesParser::new(MethodName::ALL.iter().map(|m| m.as_str()).chain(["space"])),
        required_unless_present = "markdown"
    )]
    pub method: Option<String>,
    /// A table of all settings, for reading.
    #[arg(long)]
    pub fields: bool,
    /// The same table in Markdown; of all methods if none is named.
    #[arg(long, conflicts_with = "fields")]
    pub markdown: bool,
    /// The table as JSON.
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
}
