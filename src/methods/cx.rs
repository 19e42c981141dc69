//! What a method sees of the world outside: where its figures go, and whether it should come to a safe point.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kiln_data::DataSet;
use kiln_protocol::event::{Body, Level};
use kiln_protocol::run::{Best, Progress};
use kiln_protocol::spec::Spec;
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

    pub fn device(&self) -> Device {
        self.device
    }

    /// The run folder's `artifacts/`, made if missing.
    pub fn artifacts(&self) -> Result<PathBuf> {
        let folder = self.folder.join("artifacts");
        std::fs::create_dir_all(&folder)
            .map_err(|error| MethodError::failed(format!("cannot make the folder {}: {error}", folder.display())))?;
        Ok(folder)
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
