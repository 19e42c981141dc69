//! One series: points in blocks, summaries in memory, appending, cutting back, answering charts.

use sled::IVec;

use crate::codec;
use crate::error::StoreError;
use crate::keys::{self, Changes, Kind, Trees};
use crate::record::SeriesRecord;
use crate::summary::{BLOCK, Columns, GROUP, SUMMARY_BYTES, Summary, read_block, write_block};

/// Crumbs before they are put together.
const MAX_CRUMBS: u32 = 64;

/// Points of a stretch: what means over many points are made of.
const STRETCH: usize = 64;

/// Where a series is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub run: u32,
    pub series: u32,
}

impl Place {
    fn key(self, kind: Kind, n: u32) -> Vec<u8> {
        keys::part(self.run, kind, self.series, n)
    }
}

/// All that is needed to append to a series and to find its points: the summaries of its blocks, and the points that do
/// not fill a block yet. 52 bytes for 512 points.
#[derive(Debug, Default)]
pub(crate) struct Index {
    blocks: Vec<Summary>,
    groups: Vec<Summary>,
    open: Vec<[f64; 2]>,
    /// Means of the blocks' stretches, once somebody has asked for such: eight a block.
    means: Option<Vec<[f64; 2]>>,
}

/// The mean of a stretch of points: of those with a finite y, where there are any.
fn mean_of(points: &[[f64; 2]]) -> [f64; 2] {
    let finite = || points.iter().filter(|p| p[1].is_finite());
    let n = finite().count();
    if n == 0 {
        return [points.first().map_or(f64::NAN, |p| p[0]), f64::NAN];
    }
    [finite().map(|p| p[0]).sum::<f64>() / n as f64, finite().map(|p| p[1]).sum::<f64>() / n as f64]
}

fn damaged(what: &str, place: Place, n: usize) -> StoreError {
    StoreError::Damaged(format!("{what} {n} of series {} of run number {}", place.series, place.run))
}

impl Index {
    pub(crate) fn load(trees: &Trees, place: Place, record: &SeriesRecord) -> Result<Index, StoreError> {
        let mut index = Index::default();
        let count = record.blocks as usize;
        for group in 0..count / GROUP {
            let value = trees.get(&place.key(Kind::Group, group as u32))?;
            let value = value.filter(|v| v.len() == GROUP * SUMMARY_BYTES);
            let value = value.ok_or_else(|| damaged("group", place, group))?;
            index.blocks.extend(value.chunks_exact(SUMMARY_BYTES).filter_map(Summary::read));
            index.close_group();
        }
        let start = index.blocks.len() as u32;
        for item in trees.range(place.key(Kind::Points, start), place.key(Kind::Points, u32::MAX)) {
            let summary = Summary::read(&item?.1);
            index.blocks.push(summary.ok_or_else(|| damaged("block", place, index.blocks.len()))?);
        }
        for item in trees.range(place.key(Kind::Crumb, 0), place.key(Kind::Crumb, u32::MAX)) {
            codec::decode(&item?.1, &mut index.open).ok_or_else(|| damaged("crumbs", place, index.open.len()))?;
        }
        let points = index.blocks.len() * BLOCK + index.open.len();
        if index.blocks.len() != count || points as u64 != record.points {
            return Err(damaged(&format!("count of points {points} instead of {} in", record.points), place, count));
        }
        Ok(index)
    }

    fn close_group(&mut self) {
        if self.blocks.len().is_multiple_of(GROUP)
            && let Some(sum) = Summary::sum(&self.blocks[self.blocks.len() - GROUP..])
        {
            self.groups.push(sum);
        }
    }

    /// Appends points, x not falling. `record` is brought up to date, but not stored.
    pub(crate) fn append(
        &mut self,
        changes: &mut Changes<'_>,
        place: Place,
        record: &mut SeriesRecord,
        points: &[[f64; 2]],
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return Ok(()) };
        if record.points == 0 {
            record.first_x = first[0];
        }
        record.last_x = last[0];
        record.set_last_y(last[1]);
        record.points += points.len() as u64;
        self.open.extend_from_slice(points);
        let mut closed = 0;
        while self.open.len() - closed >= BLOCK {
            let block = &self.open[closed..closed + BLOCK];
            closed += BLOCK;
            let Some(summary) = Summary::of(block) else { break };
            let no = self.blocks.len() as u32;
            if let Some(means) = &mut self.means {
                means.extend(block.chunks(STRETCH).map(mean_of));
            }
            changes.put(place.key(Kind::Points, no), write_block(block, &summary));
            self.blocks.push(summary);
            if self.blocks.len().is_multiple_of(GROUP) {
                let mut value = Vec::with_capacity(GROUP * SUMMARY_BYTES);
                self.blocks[self.blocks.len() - GROUP..].iter().for_each(|s| s.write(&mut value));
                changes.put(place.key(Kind::Group, no / GROUP as u32), value);
                self.close_group();
            }
        }
        self.open.drain(..closed);
        record.blocks = self.blocks.len() as u32;
        if closed > 0 || record.crumbs >= MAX_CRUMBS {
            return self.gather_crumbs(changes, place, record);
        }
        let mut crumb = Vec::new();
        codec::encode(points, &mut crumb);
        changes.put(place.key(Kind::Crumb, record.crumbs), crumb);
        record.crumbs += 1;
        Ok(())
    }

    /// Puts what is not in a block into one crumb.
    fn gather_crumbs(
        &self,
        changes: &mut Changes<'_>,
        place: Place,
        record: &mut SeriesRecord,
    ) -> Result<(), StoreError> {
        for crumb in 0..record.crumbs {
            changes.remove(place.key(Kind::Crumb, crumb))?;
        }
        record.crumbs = 0;
        if !self.open.is_empty() {
            let mut crumb = Vec::new();
            codec::encode(&self.open, &mut crumb);
            changes.put(place.key(Kind::Crumb, 0), crumb);
            record.crumbs = 1;
        }
        Ok(())
    }

    /// At the end of an attempt: what is left in one crumb.
    pub(crate) fn settle(
        &self,
        changes: &mut Changes<'_>,
        place: Place,
        record: &mut SeriesRecord,
    ) -> Result<(), StoreError> {
        if record.crumbs > 1 { self.gather_crumbs(changes, place, record) } else { Ok(()) }
    }

    /// Forgets all points at or beyond `x`.
    pub(crate) fn cut(
        &mut self,
        changes: &mut Changes<'_>,
        place: Place,
        record: &mut SeriesRecord,
        x: f64,
    ) -> Result<(), StoreError> {
        if record.points == 0 || x > record.last_x {
            return Ok(());
        }
        let keep = self.blocks.partition_point(|b| b.last_x < x);
        if keep < self.blocks.len() {
            let points = read(changes.get(&place.key(Kind::Points, keep as u32))?, place, keep)?;
            for no in keep..self.blocks.len() {
                changes.remove(place.key(Kind::Points, no as u32))?;
            }
            for group in keep / GROUP..self.groups.len() {
                changes.remove(place.key(Kind::Group, group as u32))?;
            }
            self.blocks.truncate(keep);
            self.groups.truncate(keep / GROUP);
            if let Some(means) = &mut self.means {
                means.truncate(keep * (BLOCK / STRETCH));
            }
            self.open = points;
        }
        self.open.truncate(self.open.partition_point(|p| p[0] < x));
        record.blocks = self.blocks.len() as u32;
        record.points = (self.blocks.len() * BLOCK + self.open.len()) as u64;
        self.gather_crumbs(changes, place, record)?;
        let last = match self.open.last() {
            Some(last) => Some(*last),
            None if keep > 0 => {
                read(changes.get(&place.key(Kind::Points, keep as u32 - 1))?, place, keep - 1)?.last().copied()
            }
            None => None,
        };
        if let Some(last) = last {
            record.last_x = last[0];
            record.set_last_y(last[1]);
        }
        Ok(())
    }

    /// What a mean of several series in `columns` columns needs of this one: its points in `from..=to`, or, where there are
    /// so many that each column has several stretches, the means of those; and how many points there are.
    pub(crate) fn samples(
        &mut self,
        trees: &Trees,
        place: Place,
        from: Option<f64>,
        to: Option<f64>,
        columns: u32,
    ) -> Result<(Vec<[f64; 2]>, u64), StoreError> {
        let total = self.query(trees, place, from, to, 1)?.1;
        if columns == 0 || total < (2 * STRETCH) as u64 * u64::from(columns) {
            return self.query(trees, place, from, to, 0);
        }
        let mut means = match self.means.take() {
            Some(means) => means,
            None => {
                let mut means = Vec::with_capacity(self.blocks.len() * (BLOCK / STRETCH));
                for block in 0..self.blocks.len() {
                    let points = read(trees.get(&place.key(Kind::Points, block as u32))?, place, block)?;
                    means.extend(points.chunks(STRETCH).map(mean_of));
                }
                means
            }
        };
        let known = means.len();
        means.extend(self.open.chunks(STRETCH).map(mean_of));
        let inside = |p: &&[f64; 2]| from.is_none_or(|from| p[0] >= from) && to.is_none_or(|to| p[0] <= to);
        let samples = means.iter().filter(inside).copied().collect();
        means.truncate(known);
        self.means = Some(means);
        Ok((samples, total))
    }

    /// The points in `from..=to` (open where `None`) and how many there are: all of them if they are at most two a
    /// column or if `columns` is 0, else the smallest and largest of each column.
    pub(crate) fn query(
        &self,
        trees: &Trees,
        place: Place,
        from: Option<f64>,
        to: Option<f64>,
        columns: u32,
    ) -> Result<(Vec<[f64; 2]>, u64), StoreError> {
        let first = self.blocks.first().map(|b| b.first_x).or(self.open.first().map(|p| p[0]));
        let last = self.open.last().map(|p| p[0]).or(self.blocks.last().map(|b| b.last_x));
        let (Some(first), Some(last)) = (first, last) else { return Ok((Vec::new(), 0)) };
        let (from, to) = (from.filter(|x| !x.is_nan()), to.filter(|x| !x.is_nan()));
        let (from, to) = (from.unwrap_or(first), to.unwrap_or(last));
        let lo = self.blocks.partition_point(|b| b.last_x < from);
        let hi = self.blocks.partition_point(|b| b.first_x <= to).max(lo);
        let inside = |p: &[f64; 2]| p[0] >= from && p[0] <= to;
        let read_inside = |block: usize| {
            let mut points = read(trees.get(&place.key(Kind::Points, block as u32))?, place, block)?;
            points.retain(inside);
            Ok::<_, StoreError>(points)
        };
        let open: Vec<[f64; 2]> = self.open.iter().copied().filter(inside).collect();
        let whole = |b: &Summary| b.first_x >= from && b.last_x <= to;

        // At most the two blocks at the edges have to be read to count; they are kept for the drawing.
        let mut total = open.len() as u64;
        let mut edges: Vec<(usize, Vec<[f64; 2]>)> = Vec::new();
        for block in [lo, hi.saturating_sub(1)] {
            if (lo..hi).contains(&block) && !whole(&self.blocks[block]) && edges.iter().all(|e| e.0 != block) {
                edges.push((block, read_inside(block)?));
            }
        }
        total += ((hi - lo - edges.len()) * BLOCK) as u64;
        total += edges.iter().map(|e| e.1.len() as u64).sum::<u64>();

        let mut take = |block: usize| match edges.iter().position(|e| e.0 == block) {
            Some(edge) => Ok(edges.swap_remove(edge).1),
            None => read_inside(block),
        };
        if columns == 0 || total <= 2 * u64::from(columns) {
            let mut points = Vec::with_capacity(total as usize);
            for block in lo..hi {
                points.append(&mut take(block)?);
            }
            points.extend(open);
            return Ok((points, total));
        }
        let mut gather = Columns::new(from, to, columns);
        let mut block = lo;
        while block < hi {
            let group = self.groups.get(block / GROUP).filter(|g| block.is_multiple_of(GROUP) && whole(g));
            if group.is_some_and(|g| gather.take(g)) {
                block += GROUP;
                continue;
            }
            let summary = &self.blocks[block];
            if !(whole(summary) && gather.take(summary)) {
                take(block)?.into_iter().for_each(|p| gather.push(p));
            }
            block += 1;
        }
        open.into_iter().for_each(|p| gather.push(p));
        Ok((gather.finish(), total))
    }
}

/// The points of a stored block.
fn read(value: Option<IVec>, place: Place, block: usize) -> Result<Vec<[f64; 2]>, StoreError> {
    let mut points = Vec::with_capacity(BLOCK);
    value.and_then(|v| read_block(&v, &mut points)).ok_or_else(|| damaged("block", place, block))?;
    Ok(points)
}
