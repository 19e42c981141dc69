//! `retrain`: a candidate of a run, trained in full as a run of its own.

use kiln_protocol::retrain;
use kiln_protocol::wire::{Reply, Request};

use crate::engines::{self, Engines};
use crate::failure::{Failure, Outcome};
use crate::{args, run, tag};

pub fn retrain(engines: &Engines, args: &args::Retrain) -> Outcome {
    let mut client = engines.open()?;
    let id = engines::find(&mut client, &args.run)?;
    let detail = engines::detail(&mut client, &id)?;
    let mut request = retrain::request(&detail, args.candidate, args.epochs).map_err(Failure::Input)?;
    if let Request::Launch { priority, .. } = &mut request {
        *priority = args.launch.priority;
    }
    let title = match &request {
        Request::Launch { origin: Some(origin), .. } => format!("training of {origin}"),
        _ => String::new(),
    };
    let launched = match client.request(&request)? {
        Reply::Launched { run } => run,
        other => return engines::unexpected(&other),
    };
    tag::add(&mut client, &launched, &args.launch.tags)?;
    drop(client);
    run::follow_launched(engines, &launched, &title, args.launch.detach, args.launch.json)
}
