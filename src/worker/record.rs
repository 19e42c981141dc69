//! What the run is made of, written into its folder at the start of each attempt.

use std::sync::Arc;
use std::thread::JoinHandle;

use kiln_methods::runtime::{Place, Report, Runtime};
use kiln_protocol::record::{Libraries, Program, Record};
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::RunFolder;
use kiln_protocol::{Body, Level};

use crate::outbox::Outbox;

/// The build of this program.
pub fn program() -> Program {
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("KILN_COMMIT").to_owned(),
        changes: env!("KILN_CHANGES").to_owned(),
    }
}

/// What computes here, the driver aside.
fn libraries(report: Report) -> Libraries {
    Libraries {
        version: report.libtorch,
        cuda: report.cuda_says,
        cudnn: report.cudnn.unwrap_or_default(),
        driver: String::new(),
    }
}

/// Writes the record on a thread of its own: the digest of large data takes seconds, which the first step need not wait
/// for. That it cannot be written is said in the run's log and keeps nobody from training.
pub fn keep(
    folder: &RunFolder,
    spec: &Spec,
    runtime: &Runtime,
    place: &Place,
    attempt: u32,
    outbox: &Arc<Outbox>,
) -> Option<JoinHandle<()>> {
    let libraries = libraries(runtime.report(env!("CARGO_PKG_VERSION")));
    let (device, device_words) = (place.name.clone(), place.words.clone());
    let (folder, spec, outbox) = (folder.clone(), spec.clone(), Arc::clone(outbox));
    let work = move || {
        let written = std::fs::read_to_string(folder.spec()).map_err(|e| e.to_string()).and_then(|text| {
            let here = Record::here(&text, &spec, attempt);
            let libtorch = Libraries { driver: here.libtorch.driver.clone(), ..libraries };
            let record = Record { kiln: program(), libtorch, device, device_words, ..here };
            record.append(&folder).map_err(|e| e.to_string())
        });
        if let Err(said) = written {
            let message = format!("what this run is made of was not recorded: {said}");
            outbox.send(Body::Log { level: Level::Warn, message });
        }
    };
    std::thread::Builder::new().name("record".into()).spawn(work).ok()
}
