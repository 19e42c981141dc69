//! A latency table for `kiln latency`: from the request to the measured times of every block.

use kiln_arch::latency::WholeNetwork;
use kiln_arch::{LatencyRequest, LatencyTable};
use kiln_nn::latency::{LatencySettings, measure};

use crate::error::{MethodError, Result};
use crate::runtime::Runtime;

/// Measures what `request` asks for. `tick` is told how many of how many samples are done, and answers whether to stop.
///
/// # Errors
/// A space that is no chain, an input that does not fit, a device that cannot be had or is out of memory; an interruption.
pub fn table(
    request: &LatencyRequest,
    runtime: &Runtime,
    tick: &mut dyn FnMut(usize, usize) -> bool,
) -> Result<LatencyTable> {
    let (space, chain) = request.chain().map_err(MethodError::failed)?;
    let place = runtime.place(&request.device, None)?;
    let reference = space.reference();
    let whole = space.plan(&reference, request.shape(), request.classes).map_err(MethodError::failed)?;
    let settings = LatencySettings {
        batch: request.batch,
        threads: request.threads,
        rounds: request.rounds,
        ..LatencySettings::default()
    };
    let measured = measure(&chain, &whole, place.device, &settings, tick).map_err(MethodError::failed)?;
    let mut table = LatencyTable::new(&space.name, request.input, request.classes, request.batch);
    table.device = place.name;
    table.machine = place.words;
    table.threads = request.threads;
    (table.stem, table.head) = (rounded(measured.stem), rounded(measured.head));
    let mut sum = table.stem + table.head;
    for ((slot, times), gene) in chain.slots.iter().zip(&measured.slots).zip(&reference.genes) {
        let named = slot.choices.iter().zip(times).map(|(choice, ms)| (choice.gene.clone(), rounded(*ms)));
        table.slots.insert(slot.name.clone(), named.collect());
        sum += slot.index(gene).and_then(|choice| times.get(choice)).map_or(0.0, |ms| rounded(*ms));
    }
    table.reference = WholeNetwork {
        arch: reference.to_string(),
        sum: rounded(sum),
        whole: rounded(measured.whole),
        macs: whole.cost().macs,
    };
    Ok(table)
}

/// Milliseconds to whole nanoseconds.
fn rounded(ms: f64) -> f64 {
    (ms * 1e6).round() / 1e6
}
