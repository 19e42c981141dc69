//! How a batch of events changes a run: points into series, views merged, lines into the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kiln_protocol::reduce::reduce;
use kiln_protocol::wire::Mark;
use kiln_protocol::{Body, Event, View};

use crate::error::StoreError;
use crate::keys::{self, Changes, Kind, Trees};
use crate::record::{Head, SeriesRecord, compress, decompress, from_json, to_json};
use crate::series::{Index, Place};

/// Events in one block of the log.
const LOG_BLOCK: u32 = 64;

/// Changes of live settings that are kept of a run; older ones make room.
const MAX_MARKS: usize = 500;

/// What is read when a run is asked for, and kept while it is used.
#[derive(Default)]
pub(crate) struct Live {
    pub series: Vec<LiveSeries>,
    pub by_name: HashMap<String, usize>,
    pub views: Vec<View>,
}

pub(crate) struct LiveSeries {
    pub record: SeriesRecord,
    pub index: Option<Index>,
}

impl LiveSeries {
    pub(crate) fn index(&mut self, trees: &Trees, place: Place) -> Result<&mut Index, StoreError> {
        let index = match self.index.take() {
            Some(index) => index,
            None => Index::load(trees, place, &self.record)?,
        };
        Ok(self.index.insert(index))
    }
}

/// One call of [`Store::ingest`] under way. Memory is changed as it goes; should the database then fail, all of it is
/// dropped and read again.
pub(crate) struct Batch<'a> {
    no: u32,
    head: &'a mut Head,
    live: &'a mut Live,
    trees: &'a Trees,
    changes: Changes<'a>,
    found: Found,
}

/// What one call has gathered.
#[derive(Default)]
pub(crate) struct Found {
    /// By series; written when the attempt changes and at the end.
    points: BTreeMap<usize, Vec<[f64; 2]>>,
    views: BTreeSet<usize>,
    log: Vec<Event>,
    pub problems: Vec<String>,
}

impl<'a> Batch<'a> {
    pub(crate) fn new(no: u32, head: &'a mut Head, live: &'a mut Live, trees: &'a Trees) -> Batch<'a> {
        Batch { no, head, live, trees, changes: Changes::new(trees), found: Found::default() }
    }

    /// Returns 1 if the event was new.
    pub(crate) fn event(&mut self, event: &Event) -> Result<usize, StoreError> {
        if !reduce(&mut self.head.summary, &mut self.head.pace, event) {
            return Ok(0);
        }
        match &event.body {
            Body::Started { resumed_from, x_max, x_unit, .. } => {
                self.write_points()?;
                self.head.starts += 1;
                self.head.x_max.clone_from(x_max);
                self.head.x_unit.clone_from(x_unit);
                if resumed_from.is_none() && self.head.starts > 1 {
                    self.begin_anew()?;
                }
            }
            Body::Points { series, points } => self.points(series, points),
            Body::View { name, view } => self.view(name, view),
            Body::KnobSet { .. } => self.mark(event),
            Body::Completed { outcome } => {
                self.changes.put(keys::one(self.no, Kind::Outcome), compress(&to_json(outcome)?)?);
            }
            _ => {}
        }
        if event.body.ends_attempt() {
            self.write_points()?;
            for (series, live) in self.live.series.iter_mut().enumerate() {
                let place = Place { run: self.no, series: series as u32 };
                live.index(self.trees, place)?;
                if let Some(index) = &live.index {
                    index.settle(&mut self.changes, place, &mut live.record)?;
                    self.changes.put(keys::series(self.no, series as u32), to_json(&live.record)?);
                }
            }
        }
        if event.body.is_lifecycle() {
            self.found.log.push(event.clone());
        }
        Ok(1)
    }

    /// A run that starts from the beginning again: what it had shown is void, its log stays.
    fn begin_anew(&mut self) -> Result<(), StoreError> {
        for kind in [Kind::Series, Kind::Points, Kind::Group, Kind::Crumb, Kind::View, Kind::Outcome] {
            self.changes.remove_all(&keys::one(self.no, kind))?;
        }
        *self.live = Live::default();
        self.head.series = 0;
        self.head.views.clear();
        self.head.marks.clear();
        self.found.views.clear();
        Ok(())
    }

    /// A live setting was changed. A worker that takes a run up says what was set before once more: that is no change.
    fn mark(&mut self, event: &Event) {
        let Some(mark) = Mark::of(event) else { return };
        let marks = &mut self.head.marks;
        if marks.iter().rev().find(|m| m.key == mark.key).is_none_or(|m| m.value != mark.value) {
            marks.push(mark);
        }
        // The head is written with every batch: it must stay small, whatever a script does.
        if marks.len() > MAX_MARKS {
            marks.remove(0);
        }
    }

    fn points(&mut self, name: &str, points: &[[f64; 2]]) {
        let at = match self.live.by_name.get(name) {
            Some(&at) => at,
            None => {
                let at = self.live.series.len();
                let record = SeriesRecord::new(name, self.head.starts);
                self.live.series.push(LiveSeries { record, index: Some(Index::default()) });
                self.live.by_name.insert(name.to_owned(), at);
                self.head.series = self.live.series.len() as u32;
                at
            }
        };
        let record = &self.live.series[at].record;
        let held = self.found.points.entry(at).or_default();
        let mut last = held.last().map(|p| p[0]);
        if last.is_none() && record.starts == self.head.starts && record.points > 0 {
            last = Some(record.last_x);
        }
        let mut refused = 0;
        for &point in points {
            if point[0].is_finite() && last.is_none_or(|last| point[0] >= last) {
                last = Some(point[0]);
                held.push(point);
            } else {
                refused += 1;
            }
        }
        if refused > 0 {
            self.found.problems.push(format!(
                "{refused} points of series `{name}` were left out: their x is not a number or lies before the last one"
            ));
        }
    }

    fn view(&mut self, name: &str, view: &View) {
        match self.head.views.iter().position(|n| n == name) {
            Some(at) => {
                self.live.views[at].merge(view.clone());
                self.found.views.insert(at);
            }
            None => {
                self.found.views.insert(self.live.views.len());
                self.live.views.push(view.clone());
                self.head.views.push(name.to_owned());
            }
        }
    }

    /// Brings the gathered points into blocks and crumbs.
    fn write_points(&mut self) -> Result<(), StoreError> {
        for (at, points) in std::mem::take(&mut self.found.points) {
            let place = Place { run: self.no, series: at as u32 };
            let live = &mut self.live.series[at];
            live.index(self.trees, place)?;
            let (Some(index), Some(first)) = (&mut live.index, points.first()) else { continue };
            if live.record.starts != self.head.starts {
                index.cut(&mut self.changes, place, &mut live.record, first[0])?;
                live.record.starts = self.head.starts;
            }
            index.append(&mut self.changes, place, &mut live.record, &points)?;
            self.changes.put(keys::series(self.no, at as u32), to_json(&live.record)?);
        }
        Ok(())
    }

    fn write_log(&mut self) -> Result<(), StoreError> {
        let mut new = std::mem::take(&mut self.found.log).into_iter().peekable();
        while let Some(next) = new.peek() {
            let (first, mut block) = match self.head.log {
                Some((first, len)) if len < LOG_BLOCK => {
                    let old = self.changes.get(&keys::log(self.no, first))?;
                    let old = old.ok_or_else(|| StoreError::Damaged("a block of the log is missing".to_owned()))?;
                    (first, from_json::<Vec<Event>>(&decompress(&old)?)?)
                }
                _ => (next.seq, Vec::new()),
            };
            block.extend(new.by_ref().take(LOG_BLOCK as usize - block.len()));
            self.changes.put(keys::log(self.no, first), compress(&to_json(&block)?)?);
            self.head.log = Some((first, block.len() as u32));
        }
        Ok(())
    }

    pub(crate) fn finish(mut self, new_offset: u64) -> Result<Found, StoreError> {
        self.write_points()?;
        self.write_log()?;
        for &at in &self.found.views {
            let view = to_json(&self.live.views[at])?;
            self.changes.put(keys::view(self.no, at as u16), compress(&view)?);
        }
        // A reader that lags behind (it kept its place while the store was rebuilt) must not take it back.
        self.head.offset = self.head.offset.max(new_offset);
        self.changes.put(keys::one(self.no, Kind::Head), to_json(self.head)?);
        self.changes.apply()?;
        Ok(self.found)
    }
}
