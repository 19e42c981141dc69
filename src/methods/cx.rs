//! What a method sees of the world outside: where its figures go, and whether it should come to a safe point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_data::DataSet;
use kiln_protocol::event::{Body, Level};
use kiln_protocol::run::{Best, Progress};
use kiln_protocol::spec::{ChannelsLast, Precision, Spec};
use kiln_protocol::spool::{is_disk_full, replace};
use kiln_protocol::view::View;
use tch::Device;

use crate::error::{MethodError, Result};
use crate::runtime::Place;

/// How often merged points, throttled views and progress go out. Eyes and the engine have enough of that.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

/// Points of one series that are kept back at most before they go out early, whatever the clock says.
const POINTS_HELD: usize = 4096;

/// Takes events to where they belong: the worker's run folder, or a vector in tests. It never fails; the worker keeps
/// what a full disk does not take.
pub type Emit = Box<dyn FnMut(Body) + Send>;

/// The context of a method's steps. The worker makes one for each run.
pub struct StepCx {
    spec: Spec,
    folder: PathBuf,
    device: Device,
    data: Option<DataSet>,
    emit: Emit,
    interrupt: Arc<AtomicBool>,
    knobs: BTreeMap<String, f64>,
    held: Held,
    flushed: Instant,
    knob_x: f64,
}

/// What waits for the next flush.
#[derive(Default)]
struct Held {
    /// What was said before the worker told that it started.
    first: Vec<String>,
    points: BTreeMap<String, Vec<[f64; 2]>>,
    /// In order of first appearance, so that clients list views as the method emitted them.
    views: Vec<(String, View)>,
    progress: Option<Progress>,
}

impl StepCx {
    /// A context for the run in `folder`.
    pub fn new(spec: Spec, folder: &Path, place: &Place, interrupt: Arc<AtomicBool>, emit: Emit) -> StepCx {
        StepCx {
            spec,
            folder: folder.to_owned(),
            device: place.device,
            data: None,
            emit,
            interrupt,
            knobs: BTreeMap::new(),
            held: Held::default(),
            flushed: Instant::now(),
            knob_x: 0.0,
        }
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The run folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// From now on the spec says so.
    pub(crate) fn settle(&mut self, precision: Precision, channels_last: ChannelsLast) {
        self.spec.run.precision = precision;
        self.spec.run.channels_last = channels_last;
    }

    /// A line for the log that waits until the worker has told that it started.
    pub(crate) fn log_first(&mut self, message: String) {
        self.held.first.push(message);
    }

    pub fn device(&self) -> Device {
        self.device
    }

    /// Writes a file into the run folder's `artifacts/`, whole or not at all, and gives its path. The name may have folders.
    ///
    /// # Errors
    /// [`MethodError::NoRoom`] if the disk is full: the caller should be able to do this step again.
    pub fn write_artifact(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let folder = self.folder.join("artifacts");
        let path = folder.join(name);
        let within = path.parent().unwrap_or(&folder);
        let written = std::fs::create_dir_all(within).and_then(|()| replace(&path, bytes));
        written.map(|()| path.clone()).map_err(|error| {
            let message = format!("cannot write {}: {error}", path.display());
            if is_disk_full(&error) { MethodError::NoRoom(message) } else { MethodError::Failed(message) }
        })
    }

    /// The data set, on the device. Read at the first call; later calls share its tensors.
    pub fn data(&mut self) -> Result<DataSet> {
        if self.data.is_none() {
            self.data = Some(crate::data::load(&self.spec, self.device)?);
        }
        self.data.as_ref().map(DataSet::share).ok_or_else(|| MethodError::failed("the data set is missing"))
    }

    /// A point of a series. Points of one series come with rising x; they are merged and go out a few times a second.
    pub fn scalar(&mut self, name: &str, x: f64, y: f64) {
        let points = match self.held.points.get_mut(name) {
            Some(points) => points,
            None => self.held.points.entry(name.to_owned()).or_default(),
        };
        points.push([x, y]);
        if points.len() >= POINTS_HELD {
            self.flush();
        }
    }

    /// The newest state of a view. A view that changes faster than a few times a second is thinned to its newest state
    /// (tables of candidates are merged row by row, so no row is lost).
    pub fn view(&mut self, name: &str, view: View) {
        match self.held.views.iter_mut().find(|(held, _)| held == name) {
            Some((_, held)) => held.merge(view),
            None => self.held.views.push((name.to_owned(), view)),
        }
    }

    /// A line for the log. What happened before it goes out before it.
    pub fn log(&mut self, level: Level, message: impl Into<String>) {
        self.flush();
        (self.emit)(Body::Log { level, message: message.into() });
    }

    /// How far the run is.
    pub fn progress(&mut self, progress: Progress) {
        self.held.progress = Some(progress);
    }

    /// The figure by which the run is judged has reached a new best.
    pub fn best(&mut self, best: Best) {
        self.flush();
        (self.emit)(Body::Best(best));
    }

    /// Sends what is due, and comes back with [`MethodError::Interrupted`] if the worker waits for a safe point. Cheap:
    /// methods call it between any two pieces of work after which they could be saved.
    pub fn tick(&mut self) -> Result<()> {
        self.flush_due();
        if self.interrupt.load(Ordering::Relaxed) { Err(MethodError::Interrupted) } else { Ok(()) }
    }

    /// The flag behind [`StepCx::tick`], for work on other threads.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupt)
    }

    /// The value of a live knob, such as `optim.lr`, if it was turned.
    pub fn knob(&self, key: &str) -> Option<f64> {
        self.knobs.get(key).copied()
    }

    /// Sets a live knob; the method sees it in its next step.
    pub fn set_knob(&mut self, key: &str, value: f64) {
        self.knobs.insert(key.to_owned(), value);
    }

    /// Where the method is on its main x axis; `KnobSet` events carry it.
    pub fn set_x(&mut self, x: f64) {
        self.knob_x = x;
    }

    pub fn x(&self) -> f64 {
        self.knob_x
    }

    /// Sends what is held back if the last time is a quarter of a second ago.
    pub fn flush_due(&mut self) {
        if self.flushed.elapsed() >= FLUSH_EVERY {
            self.flush();
        }
    }

    /// Sends everything that is held back. The worker calls it before a checkpoint and at the end, so that a resumed run
    /// never lacks points from before its checkpoint.
    pub fn flush(&mut self) {
        self.flushed = Instant::now();
        let held = std::mem::take(&mut self.held);
        for message in held.first {
            (self.emit)(Body::Log { level: Level::Info, message });
        }
        for (series, points) in held.points {
            (self.emit)(Body::Points { series, points });
        }
        for (name, view) in held.views {
            (self.emit)(Body::View { name, view: Box::new(view) });
        }
        if let Some(progress) = held.progress {
            (self.emit)(Body::Progress(progress));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_protocol::View;
    use kiln_protocol::view::{Candidate, Candidates};
    use std::sync::Mutex;

    fn cx() -> (StepCx, Arc<Mutex<Vec<Body>>>, Arc<AtomicBool>) {
        let text = "method = \"train\"\n[data]\nset = \"digits\"\n[space]\nname = \"digits-mlp\"\n";
        let spec = Spec::from_toml("spec.toml", text).unwrap();
        let (events, flag) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let sink = Arc::clone(&events);
        let emit = Box::new(move |body| sink.lock().unwrap().push(body));
        (StepCx::new(spec, Path::new("/nowhere"), &Place::cpu(), Arc::clone(&flag), emit), events, flag)
    }

    fn row(id: u32, status: &str) -> View {
        let row = Candidate {
            id,
            arch: "a".into(),
            glyph: vec![],
            cells: vec![],
            cluster: None,
            winner: false,
            status: status.into(),
        };
        View::Candidates(Candidates { columns: vec![], rows: vec![row] })
    }

    #[test]
    fn points_are_merged_and_views_thinned_without_losing_rows() {
        let (mut cx, events, _) = cx();
        for x in 0..100 {
            cx.scalar("loss", f64::from(x), 1.0);
        }
        cx.view("candidates", row(1, "waiting"));
        cx.view("candidates", row(2, "waiting"));
        cx.view("candidates", row(1, "done"));
        cx.tick().unwrap();
        assert!(events.lock().unwrap().is_empty(), "it is not time yet");
        std::thread::sleep(FLUSH_EVERY);
        cx.tick().unwrap();
        let events = events.lock().unwrap();
        let [Body::Points { points, .. }, Body::View { view, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!(points.len(), 100);
        let View::Candidates(table) = view.as_ref() else { panic!("{view:?}") };
        let rows: Vec<(u32, &str)> = table.rows.iter().map(|r| (r.id, r.status.as_str())).collect();
        assert_eq!(rows, [(1, "done"), (2, "waiting")]);
    }

    #[test]
    fn the_log_keeps_its_place_among_the_points() {
        let (mut cx, events, _) = cx();
        cx.scalar("loss", 1.0, 1.0);
        cx.log(Level::Info, "then this");
        assert!(matches!(events.lock().unwrap().as_slice(), [Body::Points { .. }, Body::Log { .. }]));
    }

    #[test]
    fn a_tick_says_when_the_worker_waits() {
        let (mut cx, _, flag) = cx();
        assert!(cx.tick().is_ok());
        flag.store(true, Ordering::Relaxed);
        assert!(matches!(cx.tick(), Err(MethodError::Interrupted)));
    }

    #[test]
    fn an_artifact_that_cannot_be_written_names_its_path() {
        let (cx, ..) = cx();
        std::fs::create_dir_all("/proc/nowhere").unwrap_err();
        let cx = StepCx { folder: "/proc/nowhere".into(), ..cx };
        let error = cx.write_artifact("x.csv", b"").unwrap_err();
        assert!(matches!(&error, MethodError::Failed(why) if why.contains("/proc/nowhere/artifacts/x.csv")), "{error}");
    }
}
