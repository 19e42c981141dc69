//! What a preset will cost, before anything is trained. An estimate, and said to be one: a network's layers cost a fixed
//! time each per step, plus its multiply-accumulates at a flat rate.
//!
//! The constants are coarse and stand here in one place; they are of the right order for small networks, within a factor
//! of about two on the machines that they were taken from, and further off elsewhere.

mod adversarial;

use kiln_protocol::arch::{Arch, ArchError, Cost, Plan, Space};
use kiln_protocol::images::shape_and_classes;
use kiln_protocol::spec::{
    AssessorSettings, BudgetUnit, ChannelsLast, DcNasSettings, HournasMode, MethodName, OptimKind, Precision,
    Predictor, Preset, SearchOrder, Spec,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use crate::images::{self, Number};

/// Forward, and twice as much backward; two operations a multiply-accumulate.
const OPS_PER_MAC: f64 = 6.0;

/// What a kind of device does.
struct Rates {
    /// Seconds a layer costs in every step, however small it is: dispatch, forward, backward and optimiser.
    layer: f64,
    /// Seconds a step costs beyond its layers: batch, loss.
    step: f64,
    /// Floating-point operations a second, of one candidate on one core or on the GPU, counted as [`OPS_PER_MAC`].
    ops: f64,
    /// Seconds from the start of the worker to its first step.
    start: f64,
    /// Bytes of the process before any network.
    base: u64,
}

/// One core of a server CPU, 32-bit floats, one intra-op thread.
const CPU: Rates = Rates { layer: 22e-6, step: 60e-6, ops: 3.0e10, start: 0.5, base: 250_000_000 };

/// A recent data-centre GPU. Small networks are bound by the start of kernels there, not by arithmetic.
const GPU: Rates = Rates { layer: 60e-6, step: 150e-6, ops: 4.0e12, start: 4.0, base: 1_200_000_000 };

/// Candidates that pay side by side on one GPU, each with a thread that starts kernels.
const GPU_PARALLEL: f64 = 4.0;

/// Networks drawn to find the mean cost of a space's members.
const SAMPLE: usize = 48;

/// Cost of one named network.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    pub arch: String,
    pub params: u64,
    pub macs: u64,
}

/// The ends of a space by MACs.
#[derive(Clone, Debug, Serialize)]
pub struct Extremes {
    pub cheapest: Member,
    pub dearest: Member,
}

impl Extremes {
    /// Searches the space (of an experiment: that of its first arm) for them, which takes up to a second where they cannot be
    /// counted; none for methods without a space.
    ///
    /// # Errors
    /// As [`estimate`].
    pub fn of(spec: &Spec) -> Result<Option<Extremes>, ArchError> {
        let jobs = spec.jobs().unwrap_or_default();
        let spec = jobs.first().map_or(spec, |job| &job.spec);
        if !spec.method.has_space() {
            return Ok(None);
        }
        let space = Space::of(&spec.space).map_err(|(_, e)| e)?;
        let (shape, classes) = shape_and_classes(&spec.data);
        let end = |dearest| {
            let arch = space.extreme(shape, classes, dearest)?;
            Ok(named(&arch, space.plan(&arch, shape, classes)?.cost()))
        };
        Ok(Some(Extremes { cheapest: end(false)?, dearest: end(true)? }))
    }
}

/// What a preset will cost.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Estimate {
    /// Jobs of an experiment, which are done one after the other (on one device) and counted together; 0 for a plain run.
    #[serde(skip_serializing_if = "is_zero")]
    pub jobs: usize,
    pub space: String,
    /// Number of architectures in it.
    pub space_size: f64,
    /// Whether the size counts some networks more than once, or some that are none.
    pub space_size_is_bound: bool,
    /// The preset's own architecture, where it names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<Member>,
    /// The reference network of the space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Member>,
    /// What a method without a space trains.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Member>,
    /// The cheapest and the dearest network, where they were asked for.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub extremes: Option<Extremes>,
    /// Training images of an epoch, and whether the files were looked at to know.
    pub images: u64,
    pub images_known: bool,
    /// Epochs over all networks, in epochs of the whole training part.
    pub epochs: f64,
    /// Images shown to networks in training, epochs times images.
    pub epoch_images: f64,
    /// Floating-point operations of all training.
    pub operations: f64,
    /// Trainings and their steps, where networks learn from a table of architectures instead of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predictors: Option<(u64, u64)>,
    /// Iterations of all trainings, where those are counted and not epochs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iterations: Option<u64>,
    pub device: String,
    pub seconds: f64,
    /// Bytes in the device's memory (or the machine's, for the CPU).
    pub memory: u64,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a run trains: epochs of some images, by networks drawn from the space (`None`: the preset's own one).
struct Work {
    networks: f64,
    epochs: f64,
    images: f64,
    /// Looks at images without learning from them: takes time, and is no epoch.
    look: bool,
}

impl Work {
    fn of(networks: f64, epochs: f64, images: f64) -> Work {
        Work { networks, epochs, images, look: false }
    }
}

/// Estimates a preset that [`crate::presets::read`] has accepted.
///
/// # Errors
/// A sentence of the architecture crate; presets that were accepted have none.
pub fn estimate(preset: &Preset) -> Result<Estimate, ArchError> {
    of(&preset.spec)
}

/// As [`estimate`], of settings that stand for themselves.
///
/// # Errors
/// As [`estimate`].
pub fn of(spec: &Spec) -> Result<Estimate, ArchError> {
    let jobs = spec.jobs().unwrap_or_default();
    let arms = spec.arms.len().max(1);
    // Seeds cost the same.
    let mut variants = jobs.iter().take(arms).map(|job| single(&job.spec));
    let Some(first) = variants.next() else { return single(spec) };
    let mut sum = first?;
    for one in variants {
        let one = one?;
        sum.epochs += one.epochs;
        sum.epoch_images += one.epoch_images;
        sum.operations += one.operations;
        sum.seconds += one.seconds;
        sum.iterations = sum.iterations.zip(one.iterations).map(|(a, b)| a + b);
        sum.memory = sum.memory.max(one.memory);
    }
    let seeds = (jobs.len() / arms) as f64;
    sum.jobs = jobs.len();
    sum.epochs *= seeds;
    sum.epoch_images *= seeds;
    sum.operations *= seeds;
    sum.seconds *= seeds;
    sum.iterations = sum.iterations.map(|n| n * (jobs.len() / arms) as u64);
    Ok(sum)
}

/// A run without jobs.
fn single(spec: &Spec) -> Result<Estimate, ArchError> {
    if let Some(own) = spec.pugan.as_ref().filter(|_| spec.method == MethodName::Pugan) {
        return adversarial::estimate(spec, own);
    }
    if !spec.method.has_space() {
        return Ok(spaceless(spec));
    }
    let space = Space::of(&spec.space).map_err(|(_, e)| e)?;
    let (shape, classes) = shape_and_classes(&spec.data);
    let Number { train, seen } = images::number(&spec.data);
    let plan = |arch: &Arch| space.plan(arch, shape, classes);
    let member = |arch: &Arch| plan(arch).map(|p| named(arch, p.cost()));

    let chosen = match own_arch(spec) {
        None | Some("random") => None,
        Some("reference") => Some(space.reference()),
        Some(text) => Some(space.parse(text)?),
    };
    let plans: Vec<Plan> = match &chosen {
        Some(arch) => vec![plan(arch)?],
        None => sample(&space, spec).iter().map(plan).collect::<Result<_, _>>()?,
    };
    let work = work(spec, train as f64);
    let gpu = on_gpu(spec);
    let rates = if gpu { &GPU } else { &CPU };
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);

    let mean = |f: &dyn Fn(&Plan) -> f64| plans.iter().map(f).sum::<f64>() / plans.len().max(1) as f64;
    let macs = mean(&|p| p.cost().macs as f64);
    let layers =
        mean(&|p| p.blocks.iter().map(|b| b.all_layers().len() as f64 + f64::from(u8::from(b.shortcut))).sum());
    let batch = f64::from(spec.optim.batch);
    let networks: f64 = work.iter().map(|w| w.networks).sum();
    let side_by_side = match (spec.run.parallel, gpu) {
        (0, true) => GPU_PARALLEL,
        (0, false) => (cores / f64::from(spec.run.threads)).max(1.0).floor(),
        (n, _) => f64::from(n),
    }
    .min(networks.max(1.0));
    // More threads than cores share them; a second thread of one network helps its arithmetic alone.
    let lanes = if gpu { side_by_side } else { side_by_side.min(cores) };
    let per_candidate = if gpu { 1.0 } else { f64::from(spec.run.threads).min((cores / lanes).max(1.0)) };
    let bf16 = spec.run.precision == Precision::Bf16;
    let speed = match (bf16, spec.run.channels_last != ChannelsLast::No) {
        (true, true) => 2.0,
        (true, false) => 1.3,
        (false, true) => 1.2,
        (false, false) => 1.0,
    };
    let per_step = rates.step + layers * rates.layer;
    let per_image = OPS_PER_MAC * macs / (rates.ops * speed * per_candidate);

    let epoch_images: f64 = work.iter().map(|w| w.networks * w.epochs * w.images).sum();
    let learnt: f64 = work.iter().filter(|w| !w.look).map(|w| w.networks * w.epochs * w.images).sum();
    let steps: f64 = work.iter().map(|w| w.networks * w.epochs * (w.images / batch).floor().max(1.0)).sum();
    let predictors =
        spec.assessor.as_ref().filter(|_| spec.method == MethodName::Assessor).map(|own| predictors(own, gpu));
    let fits = predictors.map_or(0.0, |p| p.seconds) / if gpu { side_by_side } else { cores };
    let seconds = rates.start + fits + time_budget(spec) + (steps * per_step + epoch_images * per_image) / lanes;

    let state = match spec.optim.kind {
        OptimKind::Sgd => 3.0,
        OptimKind::Adamw => 4.0,
    };
    let largest = |f: &dyn Fn(&Plan) -> f64| plans.iter().map(f).fold(0.0, f64::max);
    let each = largest(&|p| 4.0 * state * p.cost().params as f64 + 2.0 * 4.0 * batch * p.activations() as f64);
    let pixels = shape.numel() as f64 * train as f64 * 1.3;
    Ok(Estimate {
        jobs: 0,
        space: space.name.clone(),
        space_size: space.size(),
        space_size_is_bound: space.size_is_bound(),
        chosen: chosen.as_ref().map(member).transpose()?,
        reference: Some(member(&space.reference())?),
        networks: Vec::new(),
        extremes: None,
        images: train,
        images_known: seen,
        epochs: if train == 0 { 0.0 } else { learnt / train as f64 },
        epoch_images: learnt,
        operations: epoch_images * OPS_PER_MAC * macs,
        predictors: predictors.map(|p| (p.trainings, p.steps)),
        iterations: None,
        device: if gpu { "one GPU".into() } else { cpu_name(cores) },
        seconds,
        memory: match predictors {
            // The table's codes, and graphs of some 1,500 nodes for each of the trainings side by side.
            Some(_) => rates.base + 150_000_000,
            None => rates.base + (each * side_by_side + pixels) as u64,
        },
    })
}

/// A training of a method whose own table describes its networks.
pub struct Training {
    pub network: Member,
    /// Layers that a step goes through, those of a teacher beside it and the work of quantisation included.
    pub layers: f64,
    /// Multiply-accumulates of a step's image, counted as forward and backward of so many.
    pub macs: f64,
    /// Numbers that a step keeps for each image.
    pub activations: f64,
    pub epochs: f64,
}

/// A run without jobs of a method without a space.
fn spaceless(spec: &Spec) -> Estimate {
    let (shape, classes) = shape_and_classes(&spec.data);
    let trainings = match &spec.widen_squeeze {
        Some(own) if spec.method == MethodName::WidenSqueeze => crate::quantised::trainings(own, shape, classes),
        _ => Vec::new(),
    };
    let Number { train, seen } = images::number(&spec.data);
    let gpu = on_gpu(spec);
    let rates = if gpu { &GPU } else { &CPU };
    let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
    let side_by_side = match (spec.run.parallel, gpu) {
        (0, true) => GPU_PARALLEL,
        (0, false) => (cores / f64::from(spec.run.threads)).max(1.0).floor(),
        (n, _) => f64::from(n),
    }
    .min(trainings.len().max(1) as f64);
    let (images, batch) = (train as f64, f64::from(spec.optim.batch));
    let steps = (images / batch).floor().max(1.0);
    let each = |t: &Training| {
        let step = rates.step + t.layers * rates.layer;
        t.epochs * (steps * step + images * OPS_PER_MAC * t.macs / rates.ops)
    };
    let epochs: f64 = trainings.iter().map(|t| t.epochs).sum();
    let memory = |t: &Training| 16.0 * t.network.params as f64 + 8.0 * batch * t.activations;
    let largest = trainings.iter().map(memory).fold(0.0, f64::max);
    let mut networks: Vec<Member> = Vec::new();
    for training in &trainings {
        if !networks.iter().any(|n| n.arch == training.network.arch) {
            networks.push(training.network.clone());
        }
    }
    Estimate {
        networks,
        images: train,
        images_known: seen,
        epochs,
        epoch_images: epochs * images,
        operations: trainings.iter().map(|t| t.epochs * images * OPS_PER_MAC * t.macs).sum(),
        device: if gpu { "one GPU".into() } else { cpu_name(cores) },
        seconds: rates.start + trainings.iter().map(each).sum::<f64>() / side_by_side,
        memory: rates.base + (largest * side_by_side + shape.numel() as f64 * images * 1.3) as u64,
        ..Estimate::default()
    }
}

impl Estimate {
    /// Whether there is anything to estimate from: without images there is no telling.
    pub fn is_known(&self) -> bool {
        self.images > 0 || self.predictors.is_some()
    }

    /// `about 40 s on 2 CPU cores · 4,080 epochs`.
    pub fn in_words(&self) -> String {
        if !self.is_known() {
            return "time unknown until its data are there".into();
        }
        let work = match (self.predictors, self.iterations) {
            (Some((trainings, _)), _) => format!("{} trainings", crate::human::count(trainings as f64)),
            (None, Some(iterations)) => format!("{} iterations", crate::human::count(iterations as f64)),
            (None, None) => format!("{} epochs", crate::human::count(self.epochs)),
        };
        format!("{} on {} · {work}", crate::human::roughly(self.seconds), self.device)
    }
}

/// Trainings of predictors on a table: how many, their steps, and seconds on one core (or of one at a time on a GPU).
#[derive(Clone, Copy)]
struct Fits {
    trainings: u64,
    steps: u64,
    seconds: f64,
}

/// Seconds a step, as measured with the default batches on one core; on a GPU every step costs the start of its kernels.
fn predictors(own: &AssessorSettings, gpu: bool) -> Fits {
    let mut all = Fits { trainings: 0, steps: 0, seconds: 0.0 };
    for &labels in &own.labels {
        for &predictor in &own.methods {
            let (steps, each) = match predictor {
                Predictor::Linear | Predictor::Forest => (0, 0.0),
                Predictor::NeuralPredictor => {
                    (u64::from(own.predictor_epochs) * u64::from((labels / 10).max(1)), 2.0e-3)
                }
                Predictor::MlpFlat => (u64::from(own.steps), 0.7e-3),
                Predictor::AeFlat => (u64::from(own.steps), 2.0e-3),
                Predictor::GcnFlat => (u64::from(own.steps), 2.5e-3),
                Predictor::AssessorFlat => (u64::from(own.steps), 6.0e-3),
                Predictor::MlpCell | Predictor::GcnCell => (u64::from(own.steps_deep), 10e-3),
                Predictor::AeCell | Predictor::AssessorCell => (u64::from(own.steps_deep), 35e-3),
                Predictor::MlpConv | Predictor::GcnConv => (u64::from(own.steps_deep), 15e-3),
                Predictor::AeConv | Predictor::AssessorConv => (u64::from(own.steps_deep), 70e-3),
            };
            // A tree looks at every bit of its labels at every depth.
            let forest =
                if predictor == Predictor::Forest { f64::from(own.trees) * f64::from(labels) * 2e-5 } else { 0.0 };
            let repeats = u64::from(own.repeats);
            all.trainings += repeats;
            all.steps += repeats * steps;
            all.seconds += repeats as f64 * (steps as f64 * if gpu { 2.0e-3 } else { each } + forest);
        }
    }
    all
}

fn named(arch: &Arch, Cost { params, macs }: Cost) -> Member {
    Member { arch: arch.to_string(), params, macs }
}

fn cpu_name(cores: f64) -> String {
    if cores == 1.0 { "1 CPU core".into() } else { format!("{cores} CPU cores") }
}

fn sample(space: &Space, spec: &Spec) -> Vec<Arch> {
    let mut rng = ChaCha8Rng::seed_from_u64(spec.seed);
    let n = spec.dc_nas.as_ref().map_or(SAMPLE, |d| d.population as usize);
    space.population(n.min(SAMPLE), &mut rng)
}

fn work(spec: &Spec, train: f64) -> Vec<Work> {
    match (spec.method, &spec.train, &spec.dc_nas) {
        (MethodName::Train, Some(own), _) => {
            vec![Work::of(1.0, f64::from(own.epochs), train)]
        }
        (MethodName::Disout, ..) => disout(spec, train),
        (MethodName::DcNas, _, Some(own)) => dc_nas(own, train),
        (MethodName::Hournas, ..) => hournas(spec, train),
        (MethodName::Random | MethodName::Evolution | MethodName::Asha, ..) => search(spec, train),
        _ => Vec::new(),
    }
}

/// The architecture that a method of a single network names, as the preset writes it.
pub fn own_arch(spec: &Spec) -> Option<&str> {
    match spec.method {
        MethodName::Train => spec.train.as_ref().map(|own| own.arch.as_str()),
        MethodName::Disout => spec.disout.as_ref().map(|own| own.arch.as_str()),
        _ => None,
    }
}

/// The training, and two looks at some images after each epoch, each a third of a step's work.
fn disout(spec: &Spec, train: f64) -> Vec<Work> {
    let own = spec.disout.clone().unwrap_or_default();
    let looked = if own.look == 0 { train } else { f64::from(own.look).min(train) };
    let epochs = f64::from(own.epochs);
    let looks = Work { look: true, ..Work::of(1.0, epochs * 2.0 / 3.0, looked) };
    vec![Work::of(1.0, epochs, train), looks]
}

/// Both stages of a search, each with a step of the weights and one of the architecture (which runs two operations a block)
/// on a mean network, and the trainings from scratch; or the trainings of a study.
fn hournas(spec: &Spec, train: f64) -> Vec<Work> {
    let own = spec.hournas.clone().unwrap_or_default();
    let (full, repeats) = (f64::from(own.retrain_epochs), f64::from(own.repeats));
    let whole = |networks: f64| Work::of(networks, full, train);
    let slots = Space::of(&spec.space).ok().and_then(|space| space.fixed_slots()).unwrap_or(0) as f64;
    match own.mode {
        HournasMode::Lesion => return vec![whole(repeats)],
        HournasMode::Weaken => return vec![whole(repeats * (1.0 + slots))],
        HournasMode::Search => {}
    }
    let images = train * own.split;
    let search = match own.order {
        SearchOrder::Random => Work::of(f64::from(own.proxies), f64::from(own.proxy_epochs), images),
        _ => Work::of(1.0, 2.0 * f64::from(own.vital_epochs + own.rest_epochs), images),
    };
    // A search by the clock is no work, but time.
    let search = if own.seconds > 0.0 { Work { networks: 0.0, ..search } } else { search };
    vec![search, whole(if own.compare { 2.0 } else { 1.0 })]
}

/// As many candidates as the budget pays for, and the final training. A budget in seconds is no work, but time.
fn search(spec: &Spec, train: f64) -> Vec<Work> {
    let own = spec.search.clone().unwrap_or_default();
    let epochs = f64::from(own.epochs);
    let all = match own.unit {
        BudgetUnit::EpochImages => own.budget / (epochs * train).max(1.0),
        BudgetUnit::Seconds => 0.0,
    };
    vec![Work::of(all, epochs, train), Work::of(1.0, f64::from(own.final_epochs), train)]
}

/// The seconds that a search may take, where its budget counts those.
fn time_budget(spec: &Spec) -> f64 {
    match &spec.search {
        Some(own) if own.unit == BudgetUnit::Seconds => own.budget,
        _ => match &spec.hournas {
            Some(own) if spec.method == MethodName::Hournas && own.mode == HournasMode::Search => own.seconds,
            _ => 0.0,
        },
    }
}

/// The short training of all, then either all in full, or the winners and as many globally best.
fn dc_nas(own: &DcNasSettings, train: f64) -> Vec<Work> {
    let n = f64::from(own.population);
    let clusters = if own.clusters > 0 { own.clusters } else { own.clusters_min.midpoint(own.clusters_max) };
    let winners = f64::from(clusters) * f64::from(own.winners);
    let short = Work::of(n, f64::from(own.early_epochs), train * own.proxy);
    let in_full = if own.truth { n } else { (2.0 * winners).min(n) };
    vec![short, Work::of(in_full, f64::from(own.full_epochs), train)]
}

/// Whether the run will take a GPU: asked for, or left to Kiln on a machine whose driver lists one.
fn on_gpu(spec: &Spec) -> bool {
    match spec.run.device.as_str() {
        "cpu" => false,
        "auto" => std::fs::read_dir("/proc/driver/nvidia/gpus").is_ok_and(|mut gpus| gpus.next().is_some()),
        _ => true,
    }
}
