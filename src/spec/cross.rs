//! Settings that must agree with one another: what a schema of single values cannot say.

use crate::settings::{DcNasSettings, MethodName, OptimKind, Spec, TrainSettings};

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
    match spec.method {
        MethodName::Train => plain(spec, spec.train.as_ref(), &mut out),
        MethodName::DcNas => dc_nas(spec, spec.dc_nas.as_ref(), &mut out),
    }
    out
}

fn plain(spec: &Spec, own: Option<&TrainSettings>, out: &mut Vec<(&'static str, String)>) {
    let Some(own) = own else { return };
    if own.arch.trim().is_empty() {
        out.push(("train.arch", "is empty; expected `reference`, `random` or an architecture of the space".into()));
    }
    warmup(spec, own.epochs, "train.epochs", out);
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
