//! Numbers as people read them: those of [`kiln_protocol::figures`] that tables of results use.

pub use kiln_protocol::figures::{count as thousands, fixed as maybe};
