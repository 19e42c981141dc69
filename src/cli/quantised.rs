//! What a preset of the method `widen-squeeze` will train: its networks, their costs, and whether its budget can be met.

use kiln_protocol::arch::Shape;
use kiln_protocol::arch::quantised::{self, Bits, Blueprint};
use kiln_protocol::images::shape_and_classes;
use kiln_protocol::spec::{MethodName, Projection, Spec, WidenSqueezeSettings};

use crate::estimate::{Member, Training};

/// Kernels of a quantised layer's estimators, in layers: signs, scales, surrogates, there and back. So small networks are
/// bound by these: 2.1 ms of one core a step were measured on digits.
const ESTIMATORS: f64 = 24.0;

/// Kernels of a projection's term for one feature, in layers.
const PROJECTION: f64 = 14.0;

/// What a step keeps for each number that a quantised layer puts out: the surrogates' intermediate values.
const KEPT: f64 = 4.0;

/// What the teacher's forward pass costs of forward and backward.
const FORWARD: f64 = 1.0 / 3.0;

/// Everything that a run trains; nothing where its settings make no network, which [`misfit`] tells.
pub fn trainings(own: &WidenSqueezeSettings, shape: Shape, classes: u32) -> Vec<Training> {
    let Shape::Image(channels, height, width) = shape else { return Vec::new() };
    let input = [channels, height, width];
    let network = |factor: f64, quantised: bool| {
        Blueprint::new(own, input, classes, factor, quantised.then(|| Bits::of(own))).ok()
    };
    let Some(full) = network(1.0, false) else { return Vec::new() };
    let led = (own.projection != Projection::None && own.beta > 0.0) || own.mu > 0.0;
    let mut all = Vec::new();
    let mut add = |name: String, factor: f64, quantised: bool, led: bool, epochs: u32| {
        let Some(net) = network(factor, quantised) else { return };
        let units = net.units.len() as f64;
        // The float emulation multiplies as often as the full-precision network of these widths.
        let emulated = net.cost().flops as f64 + net.cost().bops as f64 / own_bits(own, quantised);
        let teacher = if led { FORWARD * full.cost().flops as f64 } else { 0.0 };
        let outputs = |net: &Blueprint| -> f64 {
            let area = |side: [u32; 2]| f64::from(side[0]) * f64::from(side[1]);
            let units = net.units.iter().map(|u| f64::from(net.widths[u.to]) * area(u.output));
            units.sum::<f64>() + f64::from(net.widths[0]) * area(net.first.convolved)
        };
        let kernels = 2.0 + units * if quantised { 2.0 + ESTIMATORS } else { 2.0 };
        let beside = if led { units * (2.0 * FORWARD + PROJECTION) } else { 0.0 };
        let cost = net.cost();
        all.push(Training {
            network: Member { arch: name, params: cost.params, macs: cost.ops().round() as u64 },
            layers: kernels + beside,
            macs: emulated + teacher,
            activations: outputs(&net) * if quantised { KEPT } else { 2.0 },
            epochs: f64::from(epochs),
        });
    };
    add("full precision".into(), 1.0, false, false, own.teacher_epochs);
    add("plain quantised".into(), 1.0, true, false, own.widen_epochs);
    for &factor in &own.factors {
        add(format!("widened by {factor}"), factor, true, led, own.widen_epochs);
    }
    let squeezed = format!("squeezed to the cost of {}", own.squeeze_to);
    let (squeezes, tunes) = (own.rounds * own.squeeze_epochs, own.rounds * own.tune_epochs);
    add(format!("widened by {}", own.widest()), own.widest(), true, led, squeezes);
    add(squeezed.clone(), own.squeeze_to, true, led, tunes);
    if own.controls {
        add(squeezed.clone(), own.squeeze_to, true, led, own.tune_epochs);
    }
    if own.scratch {
        add(squeezed, own.squeeze_to, true, led, own.total_epochs());
    }
    all
}

/// Bit operations that stand for one multiply-accumulate of the emulation.
fn own_bits(own: &WidenSqueezeSettings, quantised: bool) -> f64 {
    if quantised { f64::from(own.weight_bits) * f64::from(own.activation_bits) } else { 1.0 }
}

/// Why the networks of a preset cannot be built or squeezed: the key, and a sentence.
pub fn misfit(spec: &Spec) -> Option<(&'static str, String)> {
    let own = spec.widen_squeeze.as_ref().filter(|_| spec.method == MethodName::WidenSqueeze)?;
    let (Shape::Image(channels, height, width), classes) = shape_and_classes(&spec.data) else { return None };
    quantised::check(own, [channels, height, width], classes).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_run_trains_is_counted() {
        let own = WidenSqueezeSettings::default();
        let all = trainings(&own, Shape::Image(1, 28, 28), 10);
        let names: Vec<&str> = all.iter().map(|t| t.network.arch.as_str()).collect();
        assert_eq!(names[..4], ["full precision", "plain quantised", "widened by 2", "widened by 4"]);
        assert_eq!(names.len(), 8);
        let epochs: f64 = all.iter().map(|t| t.epochs).sum();
        assert_eq!(epochs, 30.0 + 30.0 + 60.0 + 10.0 + 15.0 + 15.0 + 55.0);
        // Emulated, width 2 multiplies nearly four times as often as width 1.
        let ratio = all[2].macs / all[1].macs;
        assert!((3.0..4.5).contains(&ratio), "{ratio}");
    }
}
