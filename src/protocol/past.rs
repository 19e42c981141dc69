//! Earlier states of a view, from the run folder: the store keeps the newest alone.

use serde::{Deserialize, Serialize};

use crate::event::{Body, Event};
use crate::lines::Tail;
use crate::spool::{RunFolder, SpoolError};
use crate::view::View;

/// A view as it was once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastView {
    /// When, in seconds since the Unix epoch.
    pub t: f64,
    pub view: View,
}

/// What lines of views have in them; all others are passed over unread, and there are many.
const VIEW: &[u8] = b"\"type\":\"view\"";

fn parse(line: &[u8]) -> Result<Option<Event>, String> {
    if !line.windows(VIEW.len()).any(|part| part == VIEW) {
        return Ok(None);
    }
    serde_json::from_slice(line).map(Some).map_err(|e| e.to_string())
}

/// All states of the view of that name, the oldest first; of more than `most` (at least 2), an even choice with the first and
/// the newest among them. Blocks: reads the whole file of events.
///
/// # Errors
/// The events cannot be read.
pub fn read(folder: &RunFolder, name: &str, most: usize) -> Result<Vec<PastView>, SpoolError> {
    let mut tail: Tail<Option<Event>> = Tail::new(folder.events(), 0, parse);
    let mut states: Vec<PastView> = Vec::new();
    // Of states, every so many-th is kept; the newest waits beside them until it is known whether it is one of these.
    let (mut every, mut seen) = (1_usize, 0_usize);
    let mut newest: Option<PastView> = None;
    loop {
        let batch = tail.poll()?;
        for event in batch.items.into_iter().flatten() {
            let Body::View { name: of, view } = event.body else { continue };
            if of != name {
                continue;
            }
            let state = PastView { t: event.t, view: *view };
            newest = None;
            if seen % every == 0 {
                states.push(state);
            } else {
                newest = Some(state);
            }
            seen += 1;
            if states.len() >= 2 * most.max(2) {
                // An even number: the last one is among those that go.
                newest = states.pop();
                let mut i = 0;
                states.retain(|_| {
                    i += 1;
                    i % 2 == 1
                });
                every *= 2;
            }
        }
        if !batch.more {
            break;
        }
    }
    states.extend(newest);
    let most = most.max(2);
    if states.len() > most {
        let last = states.len() - 1;
        let wanted: Vec<usize> = (0..most).map(|i| i * last / (most - 1)).collect();
        let mut i = 0;
        states.retain(|_| {
            i += 1;
            wanted.binary_search(&(i - 1)).is_ok()
        });
    }
    Ok(states)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Level;
    use crate::run::Table;
    use crate::spool::EventWriter;

    #[test]
    fn states_are_told_in_order_with_the_first_and_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path().join("x-0001"));
        folder.create("method = \"train\"\n").unwrap();
        assert_eq!(read(&folder, "a", 8).unwrap(), []);
        let mut events = EventWriter::open(&folder).unwrap();
        let table = |title: String| Box::new(View::Table(Table { title, ..Table::default() }));
        for i in 0..100 {
            events.append(Body::View { name: "a".into(), view: table(i.to_string()) }).unwrap();
            events.append(Body::View { name: "b".into(), view: table("b".into()) }).unwrap();
            events.append(Body::Log { level: Level::Info, message: "not a \"type\":\"view\"".into() }).unwrap();
        }
        for most in [2, 3, 7, 8, 64, 100, 500] {
            let states = read(&folder, "a", most).unwrap();
            let title = |s: &PastView| match &s.view {
                View::Table(table) => table.title.parse::<u32>().unwrap(),
                other => panic!("{other:?}"),
            };
            let titles: Vec<u32> = states.iter().map(title).collect();
            assert_eq!((titles.first(), titles.last()), (Some(&0), Some(&99)), "{most}");
            assert!(
                titles.is_sorted_by(|a, b| a < b) && titles.len() <= most && titles.len() * 2 >= most.min(100),
                "{titles:?}"
            );
            assert!(states.is_sorted_by_key(|s| s.t));
        }
    }
}
