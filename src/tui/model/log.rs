//! The log of one run: messages and lifecycle events as lines.

use kiln_protocol::{Body, Event, Level};

use crate::text;

/// Lines kept; the oldest go.
const MAX_LINES: usize = 20_000;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub seq: u64,
    /// Seconds since the Unix epoch.
    pub t: f64,
    pub level: Level,
    /// Whether it tells of the run itself (started, paused, ...), not of its work.
    pub lifecycle: bool,
    pub text: String,
}

/// The lines, and where the view stands.
#[derive(Clone, Debug, PartialEq)]
pub struct LogBook {
    pub lines: Vec<LogLine>,
    /// Whether lines of level debug are shown.
    pub details: bool,
    /// The newest line stays in view.
    pub follow: bool,
    /// First visible line, among those shown.
    pub top: usize,
    pub query: String,
    /// The line that the last search has found.
    pub found: Option<u64>,
    /// The view has been moved down since it was last fitted: at the end, following starts.
    pushed: bool,
}

impl Default for LogBook {
    fn default() -> Self {
        LogBook {
            lines: Vec::new(),
            details: false,
            follow: true,
            top: 0,
            query: String::new(),
            found: None,
            pushed: false,
        }
    }
}

impl LogBook {
    /// Adds an event if it makes a line and is not there yet.
    pub fn add(&mut self, event: &Event) {
        let Some((level, lifecycle, text)) = describe(&event.body) else { return };
        let at = self.lines.partition_point(|l| l.seq < event.seq);
        if self.lines.get(at).is_some_and(|l| l.seq == event.seq) {
            return;
        }
        self.lines.insert(at, LogLine { seq: event.seq, t: event.t, level, lifecycle, text });
        if self.lines.len() > MAX_LINES {
            let excess = self.lines.len() - MAX_LINES;
            let gone = self.lines[..excess].iter().filter(|l| self.details || l.level > Level::Debug).count();
            self.lines.drain(..excess);
            self.top = self.top.saturating_sub(gone);
        }
    }

    /// The lines that are shown, in order.
    pub fn shown(&self) -> Vec<&LogLine> {
        self.lines.iter().filter(|l| self.details || l.level > Level::Debug).collect()
    }

    /// Shows or hides lines of level debug; what is on top stays there.
    pub fn toggle_details(&mut self) {
        let top = self.shown().get(self.top).map(|l| l.seq);
        self.details = !self.details;
        if let Some(seq) = top {
            self.top = self.shown().partition_point(|l| l.seq < seq);
        }
    }

    /// Goes to the next line that matches, forwards or backwards, round the end. Returns whether there is one.
    pub fn search(&mut self, forwards: bool) -> bool {
        let shown = self.shown();
        let hits: Vec<usize> = (0..shown.len()).filter(|i| text::matches(&shown[*i].text, &self.query)).collect();
        let at = self.found.map(|seq| shown.partition_point(|l| l.seq < seq));
        let hit = match (at, forwards) {
            _ if self.query.is_empty() => None,
            (Some(at), true) => hits.iter().find(|h| **h > at).or(hits.first()),
            (Some(at), false) => hits.iter().rev().find(|h| **h < at).or(hits.last()),
            // The first search looks from what is on the screen; the newest matter most.
            (None, _) => hits.iter().rev().find(|h| self.follow || **h >= self.top).or(hits.last()),
        };
        let found = hit.map(|hit| (*hit, shown[*hit].seq));
        self.found = found.map(|f| f.1);
        if let Some((hit, _)) = found {
            self.follow = false;
            self.top = hit.saturating_sub(3);
        }
        found.is_some()
    }

    /// Puts `top` right for a view of `height` rows with `cells` cells for text.
    pub fn fit(&mut self, height: usize, cells: usize) {
        let shown = self.shown();
        let (mut rows, mut last_page) = (0, shown.len());
        while last_page > 0 {
            rows += text::wrap(&shown[last_page - 1].text, cells).len();
            if rows > height.max(1) {
                break;
            }
            last_page -= 1;
        }
        let last_page = last_page.min(shown.len().saturating_sub(1));
        self.follow |= std::mem::take(&mut self.pushed) && self.top >= last_page;
        self.top = if self.follow { last_page } else { self.top.min(last_page) };
    }

    /// Moves the view; reaching the end starts following.
    pub fn step(&mut self, by: isize) {
        self.follow &= by > 0;
        self.pushed = by > 0;
        self.top = self.top.saturating_add_signed(by);
    }
}

/// Level, whether it is of the run's life, and words; `None` for what is shown elsewhere.
fn describe(body: &Body) -> Option<(Level, bool, String)> {
    let line = |level, text: String| Some((level, true, text));
    match body {
        Body::Log { level, message } => Some((*level, false, message.clone())),
        Body::Started { attempt, resumed_from, device, host, pid, version, .. } => {
            let what = match resumed_from {
                Some(step) => format!("resumed from checkpoint {step} (attempt {attempt})"),
                None if *attempt > 1 => format!("started again from the beginning (attempt {attempt})"),
                None => "started".into(),
            };
            line(Level::Info, format!("{what} on {device}, host {host}, pid {pid}, Kiln {version}"))
        }
        Body::Best(best) => Some((Level::Debug, true, format!("new best {}: {}", best.name, text::number(best.value)))),
        Body::Checkpoint { step, bytes, seconds } => {
            Some((Level::Debug, true, format!("checkpoint {step}: {} in {seconds:.2} s", text::bytes(*bytes))))
        }
        Body::KnobSet { key, value, x } => line(Level::Info, format!("{key} set to {value} at {}", text::number(*x))),
        Body::Paused { reason } => line(Level::Warn, format!("paused: {reason}")),
        Body::Resumed { reason } => line(Level::Info, format!("goes on: {reason}")),
        Body::Completed { outcome } => line(Level::Info, format!("completed: {}", outcome.verdict)),
        Body::Stopped { step, reason } => line(Level::Info, format!("stopped at checkpoint {step}: {reason}")),
        Body::Failed { message } => line(Level::Error, format!("failed: {message}")),
        Body::Progress(_) | Body::Points { .. } | Body::View { .. } | Body::Beat { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(n: u64) -> LogBook {
        let mut book = LogBook::default();
        for seq in 1..=n {
            let message = format!("line {seq}{}", if seq % 10 == 0 { " TEN" } else { "" });
            book.add(&Event { seq, t: seq as f64, body: Body::Log { level: Level::Info, message } });
        }
        book
    }

    #[test]
    fn events_come_once_and_in_order() {
        let mut book = log(5);
        let again = Event { seq: 3, t: 0.0, body: Body::Log { level: Level::Info, message: "again".into() } };
        book.add(&again);
        assert_eq!(book.lines.len(), 5);
        book.add(&Event { seq: 9, t: 0.0, body: Body::Beat { rss: 1, device_memory: 0 } });
        assert_eq!(book.lines.len(), 5);
        let mut late = LogBook::default();
        for seq in [4, 1, 3] {
            late.add(&Event { seq, ..again.clone() });
        }
        assert_eq!(late.lines.iter().map(|l| l.seq).collect::<Vec<_>>(), [1, 3, 4]);
    }

    #[test]
    fn following_shows_the_end_and_scrolling_up_stops_it() {
        let mut book = log(100);
        book.fit(10, 40);
        assert_eq!(book.top, 90);
        book.step(-3);
        book.fit(10, 40);
        assert!(!book.follow && book.top == 87);
        book.step(1000);
        book.fit(10, 40);
        assert!(book.follow && book.top == 90);
        book.fit(0, 0);
        assert!(book.top < 100);
    }

    #[test]
    fn searching_goes_round_both_ways() {
        let mut book = log(35);
        book.query = "ten".into();
        assert!(book.search(true));
        assert_eq!(book.found, Some(30));
        book.search(true);
        assert_eq!(book.found, Some(10));
        book.search(false);
        assert_eq!(book.found, Some(30));
        book.query = "nothing".into();
        assert!(!book.search(true));
        assert_eq!(book.found, None);
    }

    #[test]
    fn details_are_shown_on_request_and_the_top_stays() {
        let mut book = LogBook::default();
        for seq in 0..60 {
            let level = if seq % 3 == 0 { Level::Info } else { Level::Debug };
            book.add(&Event { seq, t: 0.0, body: Body::Log { level, message: seq.to_string() } });
        }
        assert_eq!(book.shown().len(), 20);
        (book.follow, book.top) = (false, 5);
        book.toggle_details();
        assert_eq!((book.shown().len(), book.shown()[book.top].seq), (60, 15));
        book.toggle_details();
        assert_eq!(book.top, 5);
    }

    #[test]
    fn the_oldest_lines_go() {
        let book = log(MAX_LINES as u64 + 50);
        assert_eq!(book.lines.len(), MAX_LINES);
        assert_eq!(book.lines[0].seq, 51);
    }
}
