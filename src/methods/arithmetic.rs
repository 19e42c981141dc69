//! Precision and order of memory of a run, where its preset leaves them open (`auto`).
//!
//! Measured once, before the first step, on the device and with the data of the run; then kept in the run's folder
//! (`arithmetic.json`), so that a run that is resumed goes on with the same and ends in the same bits.

use std::fmt::Write;
use std::time::Duration;

use kiln_arch::{Plan, Shape};
use kiln_nn::TrainerConfig;
use kiln_nn::probe::{self, Setting, Timing};
use kiln_protocol::spec::{ChannelsLast, DataSet, Precision, Spec};
use kiln_protocol::spool::replace;
use serde::{Deserialize, Serialize};

use crate::cx::StepCx;
use crate::error::{MethodError, Result};

/// Where the choice is kept, in the run's folder.
pub const FILE: &str = "arithmetic.json";

/// What measuring may take.
const BUDGET: Duration = Duration::from_secs(3);

/// What a run computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Choice {
    precision: Precision,
    channels_last: ChannelsLast,
}

/// Settles what the context's spec leaves open, and says in a sentence what was measured and taken; nothing if the spec
/// leaves nothing open. A network of flat layers has no order to choose.
///
/// # Errors
/// The data cannot be read, no setting works on the device, or the choice cannot be kept.
pub fn settle(cx: &mut StepCx) -> Result<Option<String>> {
    let run = &cx.spec().run;
    // A table of architectures trains nothing; networks of a method's own are not built from a space.
    if cx.spec().data.set == DataSet::Cells || !cx.spec().method.has_space() {
        return Ok(None);
    }
    if run.precision != Precision::Auto && run.channels_last != ChannelsLast::Auto {
        return Ok(None);
    }
    let file = cx.folder().join(FILE);
    if file.is_file() {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| MethodError::failed(format!("cannot read {}: {error}", file.display())))?;
        let choice: Choice = serde_json::from_str(&text).map_err(|error| {
            MethodError::failed(format!(
                "{} does not say what the run computed with so far ({error}); without that it cannot be resumed",
                file.display()
            ))
        })?;
        cx.settle(choice.precision, choice.channels_last);
        return Ok(Some(format!("as before: {}", words(choice.precision, choice.channels_last == ChannelsLast::Yes))));
    }
    let (setting, message) = measured(cx)?;
    let channels_last = if setting.channels_last { ChannelsLast::Yes } else { ChannelsLast::No };
    let choice = Choice { precision: setting.precision, channels_last };
    let text = serde_json::to_vec(&choice).map_err(MethodError::failed)?;
    replace(&file, &text).map_err(|error| MethodError::failed(format!("cannot write {}: {error}", file.display())))?;
    cx.settle(choice.precision, choice.channels_last);
    Ok(Some(message))
}

fn measured(cx: &mut StepCx) -> Result<(Setting, String)> {
    let spec = cx.spec().clone();
    let open = |precision| match spec.run.precision {
        Precision::Auto => true,
        said => said == precision,
    };
    let allowed = |channels_last| match spec.run.channels_last {
        ChannelsLast::Auto => true,
        said => said.is_on() == channels_last,
    };
    let data = cx.data()?;
    let plan = subject(&spec, &data)?;
    let flat = plan.blocks.iter().all(|block| matches!(block.output, Shape::Flat(_)));
    let mut settings = Vec::new();
    for precision in [Precision::F32, Precision::Bf16] {
        for channels_last in [false, true] {
            // Of two orders that mean the same, plain is enough.
            let same = flat && channels_last && spec.run.channels_last == ChannelsLast::Auto;
            if open(precision) && allowed(channels_last) && !same {
                settings.push(Setting { precision, channels_last });
            }
        }
    }
    if let [only] = settings.as_slice() {
        let message = format!("{}: nothing else to choose from", words(only.precision, only.channels_last));
        return Ok((*only, message));
    }
    let config = TrainerConfig::of(&spec, 0, 1);
    let stop = cx.stop_flag();
    let tick = || stop.load(std::sync::atomic::Ordering::Relaxed);
    let timings = probe::time(&plan, &config, &data, &settings, BUDGET, &tick).map_err(MethodError::failed)?;
    let setting = probe::choose(&timings).ok_or_else(|| MethodError::failed("no precision was measured"))?;
    Ok((setting, sentence(setting, &timings)))
}

/// The network that is measured: what `train` trains, else the reference of the space.
fn subject(spec: &Spec, data: &kiln_data::DataSet) -> Result<Plan> {
    let space = crate::train::space(spec)?;
    let (input, classes) = crate::data::shape_and_classes(data)?;
    space.plan(&space.reference(), input, classes).map_err(MethodError::failed)
}

fn words(precision: Precision, channels_last: bool) -> String {
    let precision = if precision == Precision::Bf16 { "bf16" } else { "f32" };
    format!("{precision}, {}", if channels_last { "channels-last" } else { "channels first" })
}

fn sentence(taken: Setting, timings: &[Timing]) -> String {
    let mut text = format!("{}; a step takes", words(taken.precision, taken.channels_last));
    for (i, Timing { setting, step }) in timings.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma} {:.1} ms ({})", step * 1e3, words(setting.precision, setting.channels_last));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::World;
    use kiln_protocol::Body;

    fn preset(run: &str) -> String {
        format!(
            "method = \"train\"\n[data]\ntrain = 128\nvalid = 64\n[space]\nname = \"conv-cells\"\n[optim]\nbatch = 32\n[run]\n{run}\n"
        )
    }

    fn settled(world: &World) -> (Precision, ChannelsLast, Option<String>) {
        let mut cx = world.cx();
        let message = settle(&mut cx).unwrap();
        (cx.spec().run.precision, cx.spec().run.channels_last, message)
    }

    #[test]
    fn what_is_said_is_not_measured() {
        let world = World::new(&preset("precision = \"bf16\"\nchannels-last = true"));
        assert_eq!(settled(&world), (Precision::Bf16, ChannelsLast::Yes, None));
        assert!(!world.dir.path().join(FILE).exists());
    }

    #[test]
    fn what_is_open_is_measured_once_and_kept() {
        let world = World::new(&preset("precision = \"auto\"\nchannels-last = \"auto\""));
        let (precision, order, message) = settled(&world);
        assert!(precision != Precision::Auto && order != ChannelsLast::Auto);
        let message = message.unwrap();
        for tried in
            ["(f32, channels first)", "(f32, channels-last)", "(bf16, channels first)", "(bf16, channels-last)"]
        {
            assert!(message.contains(tried), "{message}");
        }
        // Another attempt takes what stands in the folder, whatever it would measure itself.
        let kept = r#"{"precision":"bf16","channels-last":false}"#;
        std::fs::write(world.dir.path().join(FILE), kept).unwrap();
        let (precision, order, message) = settled(&world);
        assert_eq!((precision, order), (Precision::Bf16, ChannelsLast::No));
        assert_eq!(message.unwrap(), "as before: bf16, channels first");
        std::fs::write(world.dir.path().join(FILE), "{}").unwrap();
        assert!(settle(&mut world.cx()).unwrap_err().to_string().contains(FILE));
    }

    #[test]
    fn what_is_said_stays_where_the_rest_is_open() {
        let world = World::new(&preset("precision = \"f32\"\nchannels-last = \"auto\""));
        let (precision, _, message) = settled(&world);
        assert_eq!(precision, Precision::F32);
        assert!(!message.unwrap().contains("bf16"));
        // Flat images have no order.
        let flat = preset("channels-last = \"auto\"").replace("conv-cells", "digits-mlp");
        let (_, order, message) = settled(&World::new(&flat));
        assert_eq!(order, ChannelsLast::No);
        assert!(message.unwrap().contains("nothing else to choose from"));
    }

    #[test]
    fn the_log_says_what_was_taken() {
        let world = World::new(&(preset("channels-last = \"auto\"") + "[train]\nepochs = 1\n"));
        world.run();
        let events = world.events.lock().unwrap();
        let said = events.iter().find_map(|body| match body {
            Body::Log { message, .. } if message.contains("a step takes") => Some(message.clone()),
            _ => None,
        });
        assert!(said.is_some(), "{events:?}");
    }
}
