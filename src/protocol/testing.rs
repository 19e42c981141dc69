//! What tests of several crates tell of runs.

use crate::event::Body;

/// A worker on the CPU of a host `h` takes the run up. Its charts plan for nothing.
pub fn started(attempt: u32, resumed_from: Option<u64>) -> Body {
    Body::Started {
        attempt,
        resumed_from,
        device: "cpu".into(),
        host: "h".into(),
        pid: 7,
        version: "0.1.0".into(),
        x_max: Default::default(),
        x_unit: Default::default(),
    }
}
