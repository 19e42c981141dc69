//! Settings that must agree with one another: what a schema of single values cannot say.

use crate::settings::{
    AssessorSettings, BudgetUnit, ChannelsLast, CriticNorm, DataSet, DcNasSettings, DisoutSettings, GanLoss, GanNet,
    HournasMode, HournasSettings, MethodName, OptimKind, Precision, PriorSchedule, PuganSettings, QuantFamily,
    Schedule, Spec, TrainSettings, WidenSqueezeSettings,
};

/// Keys and what is wrong with them.
pub(crate) fn check(spec: &Spec) -> Vec<(&'static str, String)> {
    let mut out = Vec::new();
    let optim = &spec.optim;
    if optim.nesterov && (optim.kind != OptimKind::Sgd || optim.momentum == 0.0) {
        out.push((
            "optim.nesterov",
            "is a form of momentum of `sgd`; expected kind = \"sgd\" and a momentum above 0".into(),
        ));
    }
    let stepping = optim.schedule == Schedule::Step;
    if stepping && optim.milestones.is_empty() {
        out.push((
            "optim.milestones",
            "is empty; the schedule `step` needs epochs to step at, such as [60, 120]".into(),
        ));
    }
    if !stepping && !optim.milestones.is_empty() {
        out.push(("optim.milestones", "belongs to schedule = \"step\"; set that, or take the milestones away".into()));
    }
    if let Some(pair) = optim.milestones.windows(2).find(|pair| pair[0] >= pair[1]) {
        out.push(("optim.milestones", format!("names {} before {}; expected rising epochs", pair[0], pair[1])));
    }
    if spec.method == MethodName::Assessor && spec.regulariser.is_on() {
        let said =
            "is a regulariser of networks that learn from images; the method `assessor` trains none. Expected `none`";
        out.push(("regulariser.kind", said.into()));
    }
    let train = spec.data.train;
    if train > 0 && optim.batch > train {
        out.push((
            "optim.batch",
            format!(
                "is {}, more than the {train} training images of data.train; no whole batch would ever be seen",
                optim.batch
            ),
        ));
    }
    for (decision, options) in &spec.space.only {
        if options.is_empty() {
            out.push(("space.only", format!("leaves no option for `{decision}`; name at least one")));
        }
    }
    let tables = spec.data.set == DataSet::Cells;
    if tables != (spec.method == MethodName::Assessor) {
        out.push((
            "data.set",
            match tables {
                true => format!(
                    "is a table of architectures, which the method `{}` cannot train on; expected a set of images",
                    spec.method
                ),
                false => {
                    "is a set of images; the method `assessor` reads a table of architectures, set = \"cells\"".into()
                }
            },
        ));
    }
    match spec.method {
        MethodName::Assessor => assessor(spec, spec.assessor.as_ref(), &mut out),
        MethodName::Disout => disout(spec, spec.disout.as_ref(), &mut out),
        MethodName::Train => plain(spec, spec.train.as_ref(), &mut out),
        MethodName::Hournas => hournas(spec, spec.hournas.as_ref(), &mut out),
        MethodName::DcNas => dc_nas(spec, spec.dc_nas.as_ref(), &mut out),
        MethodName::Pugan => pugan(spec, spec.pugan.as_ref(), &mut out),
        MethodName::Random | MethodName::Evolution | MethodName::Asha => search(spec, &mut out),
        MethodName::WidenSqueeze => widen_squeeze(spec, spec.widen_squeeze.as_ref(), &mut out),
    }
    out
}

fn widen_squeeze(spec: &Spec, own: Option<&WidenSqueezeSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    for (key, bits) in
        [("widen-squeeze.weight-bits", own.weight_bits), ("widen-squeeze.activation-bits", own.activation_bits)]
    {
        if ![1, 2, 4].contains(&bits) {
            out.push((key, format!("is {bits}; expected 1, 2 or 4")));
        }
    }
    if own.widths.is_empty() {
        out.push((
            "widen-squeeze.widths",
            "is empty; expected the channels of every layer, such as [16, 32, 64]".into(),
        ));
    } else if own.widths.len() < 2 && own.network != QuantFamily::Resnet {
        let said = "has one width, which leaves no layer to quantise; expected two and more, such as [16, 16]";
        out.push(("widen-squeeze.widths", said.into()));
    }
    if own.factors.is_empty() || own.factors.windows(2).any(|pair| pair[0] >= pair[1]) {
        out.push(("widen-squeeze.factors", "expected rising factors, such as [2.0, 4.0]".into()));
    } else if own.squeeze_to >= own.widest() {
        out.push((
            "widen-squeeze.squeeze-to",
            format!(
                "is {}; expected less than the largest factor ({}), whose network is squeezed",
                own.squeeze_to,
                own.widest()
            ),
        ));
    }
    for (key, set) in [
        ("run.precision", spec.run.precision != Precision::F32),
        ("run.channels-last", spec.run.channels_last != ChannelsLast::No),
    ] {
        if set {
            let said =
                "cannot be changed for quantised networks, which compute in 32 bits and plain order; take it away";
            out.push((key, said.into()));
        }
    }
    if spec.regulariser.is_on() {
        let said = "works in networks of a space; those of `widen-squeeze` have none of its places. Expected `none`";
        out.push(("regulariser.kind", said.into()));
    }
    warmup(spec, own.teacher_epochs, "widen-squeeze.teacher-epochs", out);
}

fn assessor(spec: &Spec, own: Option<&AssessorSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.methods.is_empty() {
        out.push(("assessor.methods", "is empty; expected at least one predictor, such as [\"assessor-flat\"]".into()));
    }
    if let Some(twice) = own.methods.iter().enumerate().find(|(i, m)| own.methods[..*i].contains(m)) {
        out.push(("assessor.methods", format!("names `{}` twice; expected every predictor once", twice.1)));
    }
    let cells = ["nas-bench-101", "nas-bench-201"];
    if let Some(predictor) = own.methods.iter().find(|m| m.needs_cells() && !cells.contains(&spec.space.name.as_str()))
    {
        out.push((
            "assessor.methods",
            format!(
                "names `{predictor}`, which reads the graph of a cell; only the spaces `nas-bench-101` and `nas-bench-201` have cells. \
                 Expected predictors that end in -flat or -conv, `linear` or `forest`"
            ),
        ));
    }
    if own.labels.is_empty() || own.labels[0] < 2 || own.labels.windows(2).any(|pair| pair[0] >= pair[1]) {
        out.push((
            "assessor.labels",
            "expected rising numbers of labels, the least 2 or more, such as [50, 100, 200]".into(),
        ));
    }
    if own.top > own.test {
        out.push(("assessor.top", format!("is {}, more than the {} test cells of assessor.test", own.top, own.test)));
    }
}

fn plain(spec: &Spec, own: Option<&TrainSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.arch.trim().is_empty() {
        out.push(("train.arch", "is empty; expected `reference`, `random` or an architecture of the space".into()));
    }
    warmup(spec, own.epochs, "train.epochs", out);
}

fn disout(spec: &Spec, own: Option<&DisoutSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.arch.trim().is_empty() {
        out.push(("disout.arch", "is empty; expected `reference`, `random` or an architecture of the space".into()));
    }
    warmup(spec, own.epochs, "disout.epochs", out);
}

fn hournas(spec: &Spec, own: Option<&HournasSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.mode == HournasMode::Search {
        if [&own.macs, &own.params, &own.latency].iter().all(|limit| limit.trim().is_empty()) {
            let said = "is empty, and so are params and latency; expected at least one limit, such as `40M` or `90%`";
            out.push(("hournas.macs", said.into()));
        }
        if !own.latency.trim().is_empty() && own.latency_table.trim().is_empty() {
            let said = "is empty, but hournas.latency sets a limit; measure a table with `kiln latency` and name it";
            out.push(("hournas.latency-table", said.into()));
        }
        if own.tau_end > own.tau {
            out.push((
                "hournas.tau-end",
                format!("is {}, more than tau ({}); the temperature falls during the search", own.tau_end, own.tau),
            ));
        }
        if spec.data.train > 0 {
            let images = f64::from(spec.data.train) * own.split;
            if images < f64::from(spec.optim.batch) {
                out.push((
                    "hournas.split",
                    format!(
                        "leaves the weights {images:.0} of {} training images, less than one batch of {} (optim.batch)",
                        spec.data.train, spec.optim.batch
                    ),
                ));
            }
        }
    }
    warmup(spec, own.retrain_epochs, "hournas.retrain-epochs", out);
}

fn dc_nas(spec: &Spec, own: Option<&DcNasSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    let n = own.population;
    if own.clusters == 0 && own.clusters_min > own.clusters_max {
        out.push((
            "dc-nas.clusters-min",
            format!("is {}, more than clusters-max ({})", own.clusters_min, own.clusters_max),
        ));
    }
    if own.clusters == 0 && own.clusters_max >= n {
        out.push((
            "dc-nas.clusters-max",
            format!("is {}; expected fewer clusters than the {n} networks of the population", own.clusters_max),
        ));
    }
    if own.clusters >= n {
        out.push((
            "dc-nas.clusters",
            format!("is {}; expected fewer than the {n} networks of the population", own.clusters),
        ));
    }
    if own.min_cluster > n / 2 {
        out.push((
            "dc-nas.min-cluster",
            format!(
                "is {}; with a population of {n} that leaves a single cluster; expected at most {}",
                own.min_cluster,
                n / 2
            ),
        ));
    }
    let fewest = if own.clusters > 0 { own.clusters } else { own.clusters_min };
    if u64::from(own.winners) * u64::from(fewest) > u64::from(n) {
        out.push((
            "dc-nas.winners",
            format!("is {}; {fewest} clusters of {n} networks cannot have that many winners each", own.winners),
        ));
    }
    if own.early_epochs > own.full_epochs {
        out.push((
            "dc-nas.early-epochs",
            format!("is {}, more than full-epochs ({}): nothing would be saved", own.early_epochs, own.full_epochs),
        ));
    }
    if spec.data.train > 0 {
        let proxy = f64::from(spec.data.train) * own.proxy;
        if proxy < f64::from(spec.optim.batch) {
            out.push((
                "dc-nas.proxy",
                format!(
                    "of {} training images is {proxy:.0}, less than one batch of {} (optim.batch)",
                    spec.data.train, spec.optim.batch
                ),
            ));
        }
        if own.probe > spec.data.train {
            out.push((
                "dc-nas.probe",
                format!("is {}, more than the {} training images of data.train", own.probe, spec.data.train),
            ));
        }
    }
    warmup(spec, own.early_epochs, "dc-nas.early-epochs", out);
}

fn pugan(spec: &Spec, own: Option<&PuganSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.pu && own.prior_schedule == PriorSchedule::Step && own.prior_end < own.prior {
        out.push((
            "pugan.prior-end",
            format!(
                "is {}, below the prior ({}); steps only rise. Expected more, or prior-schedule = \"linear\"",
                own.prior_end, own.prior
            ),
        ));
    }
    if own.pu && own.relativistic {
        let said = "compares every logit with those of the other kind, so no risk of single images can be told; expected \
                    pu = false beside it";
        out.push(("pugan.relativistic", said.into()));
    }
    if own.relativistic && own.loss == GanLoss::Wasserstein {
        let said =
            "leaves the loss `wasserstein` as it is, which is a difference of means already; expected another loss";
        out.push(("pugan.relativistic", said.into()));
    }
    if own.warmup >= own.iterations && own.warmup > 0 {
        out.push((
            "pugan.warmup",
            format!(
                "is {} iterations, all of the {} of pugan.iterations; the risk would never be used",
                own.warmup, own.iterations
            ),
        ));
    }
    let normalised = matches!(own.net, GanNet::Dcgan | GanNet::Conv) && own.critic_norm == CriticNorm::Batch;
    if own.loss == GanLoss::Wasserstein && own.penalty > 0.0 && normalised {
        let said = "is `batch`, but the gradient penalty is that of each image alone; expected `none` or `spectral` with the loss \
                    `wasserstein`";
        out.push(("pugan.critic-norm", said.into()));
    }
    for (key, every) in [("pugan.evaluate-every", own.evaluate_every), ("pugan.sample-every", own.sample_every)] {
        if every > own.iterations {
            out.push((
                key,
                format!(
                    "is {every} iterations, more than the {} of pugan.iterations: it would never come",
                    own.iterations
                ),
            ));
        }
    }
    let optim = &spec.optim;
    if optim.kind != OptimKind::Adamw {
        out.push((
            "optim.kind",
            "is `sgd`; `pugan` trains by Adam: expected kind = \"adamw\" with momentum 0.5 (its beta1) and a small lr, such as 2e-4".into(),
        ));
    }
    if optim.label_smoothing > 0.0 {
        out.push(("optim.label-smoothing", "belongs to classifiers; `pugan` has no labels. Expected 0".into()));
    }
    if spec.regulariser.is_on() {
        let said = "works in networks of a space; those of `pugan` have none of its places. Expected `none`";
        out.push(("regulariser.kind", said.into()));
    }
    if spec.run.precision == Precision::Bf16 {
        out.push(("run.precision", "is `bf16`; `pugan` computes in 32 bits. Expected `f32`".into()));
    }
    if spec.data.crop_pad > 0 {
        out.push(("data.crop-pad", "would teach the generator the black borders of cropped images. Expected 0".into()));
    }
    for (key, set) in [("data.flip", spec.data.flip), ("data.rotate", spec.data.rotate > 0.0)] {
        if set {
            out.push((key, "is not used by `pugan`, which shows real images as they are; take it away".into()));
        }
    }
    if spec.data.label_noise > 0.0 {
        let said = "would spoil the classifier that `pugan` measures images with, which alone needs labels. Expected 0";
        out.push(("data.label-noise", said.into()));
    }
}

/// The three searches.
fn search(spec: &Spec, out: &mut Vec<(&'static str, String)>) {
    let own = spec.search.clone().unwrap_or_default();
    let rungs = match spec.method {
        MethodName::Asha => spec.asha.clone().unwrap_or_default().rungs(own.epochs),
        _ => vec![own.epochs],
    };
    let first = f64::from(rungs.first().copied().unwrap_or(own.epochs));
    let one = first * f64::from(spec.data.train);
    if own.unit == BudgetUnit::EpochImages && spec.data.train > 0 && own.budget < one {
        out.push((
            "search.budget",
            format!(
                "is {} epoch-images, less than the {one} of a single candidate: {first} epochs of the {} images of data.train",
                own.budget, spec.data.train
            ),
        ));
    }
    if let Some(asha) =
        spec.asha.as_ref().filter(|asha| spec.method == MethodName::Asha && asha.min_epochs > own.epochs)
    {
        out.push((
            "asha.min-epochs",
            format!("is {}, more than search.epochs ({}), those of the last rung", asha.min_epochs, own.epochs),
        ));
    }
    if let Some(evolution) = spec.evolution.as_ref().filter(|_| spec.method == MethodName::Evolution)
        && evolution.tournament > evolution.population
    {
        out.push((
            "evolution.tournament",
            format!("is {}, more than the {} members of the population", evolution.tournament, evolution.population),
        ));
    }
    if own.screen && spec.method == MethodName::Asha {
        out.push((
            "search.screen",
            "works with `random` and `evolution`; `asha` judges candidates by short trainings".into(),
        ));
    }
    if own.screen && own.screen_top > own.screen_pool {
        out.push((
            "search.screen-top",
            format!("is {}, more than the {} proposals of search.screen-pool", own.screen_top, own.screen_pool),
        ));
    }
    warmup(spec, own.epochs, "search.epochs", out);
}

fn warmup(spec: &Spec, epochs: u32, key: &str, out: &mut Vec<(&'static str, String)>) {
    if spec.optim.warmup > f64::from(epochs) {
        out.push((
            "optim.warmup",
            format!(
                "is {} epochs, more than the {epochs} of {key}: the rate would never be reached",
                spec.optim.warmup
            ),
        ));
    }
}
