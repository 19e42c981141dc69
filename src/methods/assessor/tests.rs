//! The card's protocol for small machines, on the table that ships with Kiln.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kiln_arch::{Arch, Cell101, Space};
use kiln_nn::torch::NoGrad;
use kiln_protocol::spec::{AssessorSettings, Predictor, Spec};
use kiln_protocol::{Body, Outcome, View};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use tch::{Device, Tensor};

use super::code::{Coder, Codes};
use super::fit::{Fit, Recipe, Task};
use super::relation::{distances, normalised, similarity};
use super::results::Scored;
use super::{Assessor, Screen, table};
use crate::testing::{World, timeless};

fn asset() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/cells/nas-bench-201.csv.gz")
}

/// `n` random lines of the table.
fn sample(n: usize) -> (Space, Vec<Arch>, Vec<f64>) {
    let space = Space::named("nas-bench-201").unwrap();
    let mut entries = table::read(&asset(), &space, &AssessorSettings::default(), true).unwrap();
    entries.shuffle(&mut ChaCha8Rng::seed_from_u64(5));
    entries.truncate(n);
    let accuracies = entries.iter().map(|e| e.accuracy.unwrap()).collect();
    (space, entries.into_iter().map(|e| e.arch).collect(), accuracies)
}

fn small() -> AssessorSettings {
    AssessorSettings { steps: 200, steps_deep: 80, cell_width: 32, ..AssessorSettings::default() }
}

/// A training on 100 labels and 300 unlabelled cells of 600, and the codes of 200 test cells.
fn training(predictor: Predictor, settings: &AssessorSettings) -> (Fit, Codes, Vec<f64>) {
    let (space, archs, accuracies) = sample(600);
    let coder = Coder::of(&space);
    let codes = |range: std::ops::Range<usize>| coder.codes(&archs[range], Device::Cpu).unwrap();
    let task = Task {
        coder: &coder,
        recipe: Recipe::of(predictor).unwrap(),
        settings,
        labelled: codes(0..100),
        accuracies: &accuracies[..100],
        unlabelled: codes(100..400),
        seed: 9,
    };
    (Fit::new(task).unwrap(), codes(400..600), accuracies[400..].to_vec())
}

fn bits(fit: &Fit) -> Vec<Vec<f32>> {
    fit.assessor.network.weights().iter().map(|w| Vec::try_from(w.flatten(0, -1)).unwrap()).collect()
}

#[test]
fn every_network_learns_to_rank() {
    for predictor in Predictor::ALL.into_iter().filter(|p| p.is_network()) {
        // The convolutional ones cost the most, and all of theirs is in the assessor.
        if matches!(predictor, Predictor::AeConv | Predictor::GcnConv | Predictor::MlpConv) {
            continue;
        }
        let settings = AssessorSettings { predictor_epochs: 100, ..small() };
        let (mut fit, test, truth) = training(predictor, &settings);
        fit.run(None, &|| false).unwrap();
        assert!(fit.done());
        assert!(fit.readings.iter().all(|r| r.loss.is_finite()));
        let (first, last) = (fit.readings[0], *fit.readings.last().unwrap());
        assert!(last.prediction < 0.7 * first.prediction, "{predictor}: {first:?} {last:?}");
        let recipe = Recipe::of(predictor).unwrap();
        assert_eq!(first.reconstruction.is_some(), recipe.decoder);
        if let (Some(first), Some(last)) = (first.reconstruction, last.reconstruction) {
            assert!(last.0 < first.0, "{predictor}: the reconstruction does not improve: {first:?} {last:?}");
        }
        if let Some([sigma, degree, isolated, mixed]) = first.graph {
            assert!(sigma > 0.0 && degree >= 1.0 && (0.0..=1.0).contains(&isolated) && (0.0..=1.0).contains(&mixed));
        }
        assert_eq!(first.graph.is_some(), recipe.graph);
        let predicted = fit.assessor.predict_codes(&test).unwrap();
        let tau = Scored::of(&predicted, &truth, &truth, 80.0, 10).tau.unwrap();
        assert!(tau > 0.3, "{predictor}: tau {tau}");
    }
}

#[test]
fn with_an_identity_graph_and_without_reconstruction_and_unlabelled_cells_it_is_the_plain_network() {
    // So narrow a scale that nobody has a neighbour.
    let settings = AssessorSettings { lambda: 0.0, batch_unlabelled: 0, sigma: 1e-4, steps: 60, ..small() };
    let (mut plain, test, _) = training(Predictor::MlpFlat, &settings);
    let (mut full, ..) = training(Predictor::AssessorFlat, &settings);
    plain.run(None, &|| false).unwrap();
    full.run(None, &|| false).unwrap();
    let weights = |fit: &Fit| -> Vec<(String, Tensor)> {
        let named = fit.assessor.network.named().filter(|(name, _)| !name.starts_with("decoder"));
        named.map(|(name, t)| (name.to_owned(), t.detach())).collect()
    };
    let (a, b) = (weights(&plain), weights(&full));
    assert_eq!(a.len(), 8);
    for ((name, a), (other, b)) in a.iter().zip(&b) {
        assert_eq!(name, other);
        assert!(a.equal(b), "{name} differs");
    }
    assert_eq!(plain.assessor.predict_codes(&test).unwrap(), full.assessor.predict_codes(&test).unwrap());
    for (a, b) in plain.readings.iter().zip(&full.readings) {
        assert_eq!(a.prediction, b.prediction);
        assert_eq!(b.graph.unwrap()[1], 1.0, "the mean degree of an identity");
    }
    // With a graph it is another network.
    let settings = AssessorSettings { sigma: 0.0, ..settings };
    let (mut other, ..) = training(Predictor::AssessorFlat, &settings);
    other.run(None, &|| false).unwrap();
    assert!(!weights(&other)[0].1.equal(&a[0].1));
}

#[test]
fn the_graph_of_a_training_has_spectral_radius_one_and_the_degree_asked_for() {
    let (mut fit, test, _) = training(Predictor::AssessorFlat, &AssessorSettings { steps: 51, ..small() });
    fit.run(None, &|| false).unwrap();
    let _frozen = NoGrad::new();
    let e = fit.assessor.network.encode(&test, None).unwrap();
    let a = normalised(&similarity(&distances(&e).unwrap(), fit.assessor.sigma, 1e-5).unwrap()).unwrap();
    let a = a.to_kind(tch::Kind::Double);
    assert!((&a - a.tr()).abs().max().double_value(&[]) < 1e-7);
    assert!(a.linalg_eigh("L").0.abs().max().double_value(&[]) <= 1.0 + 1e-5);
    // Sigma was solved in the step that was read last (50 steps are done before it).
    let degree = fit.readings.last().unwrap().graph.unwrap()[1];
    assert!((degree - 2.0).abs() < 0.02, "{degree}");
}

#[test]
fn gradients_flow_through_the_graph_into_the_encoder() {
    let (fit, test, _) = training(Predictor::AssessorFlat, &small());
    let network = &fit.assessor.network;
    let e = network.encode(&test, None).unwrap();
    // The head sees constants; only A^ depends on the encoder.
    let d = distances(&e).unwrap();
    let sigma = super::relation::solve_sigma(&d, 2.0, 1e-5).unwrap();
    let a = normalised(&similarity(&d, sigma, 1e-5).unwrap()).unwrap();
    network.predict(&e.detach(), Some(&a), None).unwrap().square().sum(tch::Kind::Float).backward();
    let first = &network.weights()[0];
    assert!(first.grad().defined() && first.grad().abs().max().double_value(&[]) > 0.0);
}

#[test]
fn a_saved_training_continues_with_the_same_bits() {
    for predictor in
        [Predictor::AssessorFlat, Predictor::AssessorConv, Predictor::AssessorCell, Predictor::NeuralPredictor]
    {
        let settings = AssessorSettings {
            steps: 40,
            steps_deep: 30,
            predictor_epochs: 4,
            batch_labelled: 32,
            batch_unlabelled: 32,
            ..small()
        };
        let (mut whole, ..) = training(predictor, &settings);
        whole.run(None, &|| false).unwrap();
        let (mut first, ..) = training(predictor, &settings);
        while first.progress().0 < 17 {
            let before = first.progress().0;
            let asked = std::cell::Cell::new(false);
            first.run(None, &|| asked.replace(true)).unwrap();
            assert_eq!(first.progress().0, before + 1);
        }
        let mut writer = crate::CheckpointWriter::new();
        first.save("x", &mut writer).unwrap();
        let (state, tensors) = writer.into_parts();
        let (mut second, ..) = training(predictor, &settings);
        second.load("x", &crate::CheckpointReader::new(state, tensors)).unwrap();
        second.run(None, &|| false).unwrap();
        assert_eq!(bits(&whole), bits(&second), "{predictor}");
        assert_eq!(whole.readings, second.readings);
    }
}

#[test]
fn an_assessor_is_kept_in_a_file_and_predicts_the_same() {
    let (space, archs, accuracies) = sample(300);
    let labelled: Vec<(Arch, f64)> = archs[..60].iter().cloned().zip(accuracies.iter().copied()).collect();
    let settings = AssessorSettings { steps: 40, steps_deep: 20, ..small() };
    for predictor in [Predictor::AssessorFlat, Predictor::AssessorCell] {
        let fit = || {
            let with = (3, Device::Cpu);
            Assessor::fit(&space, predictor, &settings, &labelled, &archs[60..200], with, &|| false).unwrap()
        };
        let assessor = fit();
        let predicted = assessor.predict(&archs[200..]).unwrap();
        assert_eq!(predicted, fit().predict(&archs[200..]).unwrap(), "equal seeds, equal bits");
        let world = world("");
        let about = assessor.about(predictor, &world.spec.space, &archs[..60]);
        let [weights, described] = super::predictor::files(&about, &assessor.tensors()).unwrap();
        assert!(String::from_utf8(described).unwrap().contains("anchors"));
        std::fs::write(world.dir.path().join(super::predictor::FILE), weights).unwrap();
        let (read, own, about) = Assessor::load(world.dir.path(), Device::Cpu).unwrap();
        assert_eq!((own.name.as_str(), about.predictor), ("nas-bench-201", predictor));
        assert_eq!(read.predict(&archs[200..]).unwrap(), predicted);
        std::fs::write(world.dir.path().join(super::predictor::FILE), b"torn").unwrap();
        let error = Assessor::load(world.dir.path(), Device::Cpu).err().unwrap().to_string();
        assert!(error.contains("assessor.safetensors") && error.contains("no assessor"), "{error}");
    }
    let error = Assessor::fit(&space, Predictor::Forest, &settings, &labelled, &[], (1, Device::Cpu), &|| false);
    assert!(error.err().unwrap().to_string().contains("forest"));
}

#[test]
fn a_screen_ranks_proposals_of_any_space() {
    let space = Space::named("digits-mlp").unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let archs = space.population(40, &mut rng);
    // Wider is better.
    let width = |arch: &Arch| arch.genes.last().unwrap().parse::<f64>().unwrap().log2() / 10.0;
    let trained: Vec<(Arch, f64)> = archs[..25].iter().map(|a| (a.clone(), width(a))).collect();
    let mut screen = Screen::new(&space, 7);
    assert!(!screen.ready() && screen.rank(&archs).unwrap().is_empty());
    screen.fit(&trained, &|| false).unwrap();
    let predicted = screen.rank(&archs[25..]).unwrap();
    let truth: Vec<f64> = archs[25..].iter().map(width).collect();
    let tau = Scored::of(&predicted, &truth, &truth, 0.0, 3).tau.unwrap();
    assert!(tau > 0.6, "tau {tau}");
    let mut again = Screen::new(&space, 7);
    again.fit(&trained, &|| false).unwrap();
    assert_eq!(again.rank(&archs[25..]).unwrap(), predicted);
    assert!(screen.fit(&trained[..1], &|| false).unwrap_err().to_string().contains("at least 2"));
}

const PRESET: &str = "method = \"assessor\"\nseed = 4\n[data]\nset = \"cells\"\npath = \"TABLE\"\n[space]\n\
    name = \"nas-bench-201\"\n[assessor]\nmethods = [\"linear\", \"forest\", \"mlp-flat\", \"assessor-flat\", \"assessor-cell\"]\n\
    labels = [30, 60]\nrepeats = 2\ntest = 200\nunlabelled = 300\nsteps = 60\nsteps-deep = 30\ntrees = 10\ncell-width = 16\n";

fn world(extra: &str) -> World {
    let text = PRESET.replace("TABLE", &asset().display().to_string()) + extra;
    let spec = Spec::from_toml("spec.toml", &text).unwrap_or_else(|problems| panic!("{problems:?}"));
    World { dir: tempfile::TempDir::new().unwrap(), spec, events: Arc::default(), interrupt: Arc::default() }
}

/// Without the seconds that the clock decides.
fn settled(outcome: Outcome) -> Outcome {
    let mut outcome = timeless(outcome);
    outcome.tables.retain(|table| !table.title.contains("seconds"));
    outcome
}

#[test]
fn a_comparison_measures_everything_and_shows_it() {
    let world = world("");
    let outcome = world.run();
    for predictor in ["linear", "forest", "mlp-flat", "assessor-flat", "assessor-cell"] {
        for labels in [30, 60] {
            let tau = outcome.figures[&format!("tau/{predictor}/{labels}")].unwrap();
            assert!(tau > 0.1, "{predictor} {labels}: {tau}");
            assert!(outcome.figures[&format!("regret/{predictor}/{labels}")].unwrap() >= 0.0);
        }
    }
    assert!(outcome.verdict.contains("assessor-flat") && outcome.verdict.contains("forest"), "{}", outcome.verdict);
    let rows = String::from_utf8(world.artifact("results.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1 + 5 * 2 * 2);
    let predictions = String::from_utf8(world.artifact("predictions.csv")).unwrap();
    assert_eq!(predictions.lines().count(), 1 + 15_625);
    assert_eq!(predictions.lines().filter(|l| l.contains(",labelled,")).count(), 60);
    assert_eq!(predictions.lines().filter(|l| l.contains(",test,")).count(), 200);
    let (assessor, ..) = Assessor::load(&world.dir.path().join("artifacts"), Device::Cpu).unwrap();
    assert_eq!(assessor.recipe, Recipe::of(Predictor::AssessorCell).unwrap());

    let events = world.events.lock().unwrap();
    let last = |wanted: &str| {
        events.iter().rev().find_map(|b| match b {
            Body::View { name, view } if name == wanted => Some((**view).clone()),
            _ => None,
        })
    };
    let Some(View::Lines(lines)) = last("tau") else { panic!("no main figure") };
    assert!(lines.log_x && lines.lines.len() == 5 && lines.lines.iter().all(|l| l.points.len() == 2));
    assert!(lines.lines[2].points[0][2] > 0.0, "two repeats differ");
    let Some(View::Scatter(scatter)) = last("predicted-true") else { panic!("no scatter") };
    assert!(scatter.note.contains("tau") && scatter.groups[0].points.len() == 200 && scatter.diagonal);
    let Some(View::Scatter(cloud)) = last("embeddings") else { panic!("no embeddings") };
    assert_eq!(cloud.groups.len(), 5);
    let Some(View::Candidates(top)) = last("candidates") else { panic!("no candidates") };
    assert_eq!(top.rows.len(), 20);
    drop(events);
    let loss = world.series("assessor-flat/loss");
    assert!(loss.windows(2).all(|p| p[0][0] < p[1][0]) && loss.last().unwrap()[0] == 2.0, "{loss:?}");
    assert_eq!(world.series("assessor-flat/mean-degree").len(), loss.len());
}

#[test]
fn side_by_side_in_turn_and_with_kills_it_ends_with_the_same_bits() {
    let whole = world("");
    let expected = settled(whole.run());
    let turn = world("[run]\nparallel = 1\n");
    assert_eq!(settled(turn.run()), expected);
    let other = world("");
    let (outcome, kills) = other.run_with_kills(0);
    assert!(kills > 3, "only {kills} kills");
    assert_eq!(settled(outcome), expected);
    for file in ["assessor.safetensors", "assessor.json", "predictions.csv"] {
        assert_eq!(other.artifact(file), whole.artifact(file), "{file}");
    }
}

fn refused(text: &str, change: impl Fn(&mut Spec)) -> String {
    let mut world = world("");
    let path = world.dir.path().join("table.csv");
    std::fs::write(&path, text).unwrap();
    world.spec.data.path = path.display().to_string();
    change(&mut world.spec);
    let mut cx = world.cx();
    crate::create(&world.spec, &mut cx).err().unwrap().to_string()
}

#[test]
fn a_wrong_table_is_answered_with_file_line_column_and_remedy() {
    let said = refused("arch,accuracy\nc3-c3-c3-c3-c3-c3,90\nc3-c3-c3-c3-c3-c9,90\n", |_| {});
    assert!(
        said.contains("table.csv, line 3, column 1")
            && said.contains("c9")
            && said.contains("the space is `nas-bench-201`"),
        "{said}"
    );
    let said = refused("arch,accuracy\nc3-c3-c3-c3-c3-c3,90\nc3-c3-c3-c3-c3-c3,91\n", |_| {});
    assert!(
        said.contains("line 3, column 1") && said.contains("same as that of line 2") && said.contains("Keep one"),
        "{said}"
    );
    let said = refused("arch,accuracy\nc3-c3-c3-c3-c3-c3,90\n", |_| {});
    assert!(said.contains("1 architectures") && said.contains("assessor.test"), "{said}");
    let whole = std::fs::read(asset()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let torn = dir.path().join("torn.csv.gz");
    std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let said = refused("", |spec| spec.data.path = torn.display().to_string());
    assert!(said.contains("torn.csv.gz is a gzip file that is cut short"), "{said}");
    let said = refused("", |spec| {
        spec.data.path = asset().display().to_string();
        spec.assessor.as_mut().unwrap().clip = 95.0;
    });
    assert!(said.contains("assessor.clip is 95") && said.contains("half"), "{said}");
}

#[test]
fn isomorphic_cells_of_nas_bench_101_are_one_architecture() {
    // Two parallel branches in either order.
    let rows = "adjacency,ops,accuracy\n0110000100010000,input|conv3x3-bn-relu|conv1x1-bn-relu|output,90\n\
        0110000100010000,input|conv1x1-bn-relu|conv3x3-bn-relu|output,91\n";
    let said = refused(rows, |spec| spec.space.name = "nas-bench-101".into());
    assert!(said.contains("line 3, column 1") && said.contains("same as that of line 2"), "{said}");
    let said = refused(&rows.replace("conv1x1", "conv9x9"), |spec| spec.space.name = "nas-bench-101".into());
    assert!(said.contains("line 2, column 1") && said.contains("conv9x9"), "{said}");
}

#[test]
fn the_split_keeps_equal_functions_together_and_depends_on_the_seed_alone() {
    let space = Space::named("nas-bench-201").unwrap();
    let settings = AssessorSettings::default();
    let entries = table::read(&asset(), &space, &settings, true).unwrap();
    let split = table::split(&entries, &settings, 1).unwrap();
    assert_eq!((split.test.len(), split.unlabelled.len()), (3000, 8000));
    let hashes =
        |part: &[usize]| part.iter().map(|&i| entries[i].hash.as_str()).collect::<std::collections::HashSet<_>>();
    let (test, unlabelled, pool) = (hashes(&split.test), hashes(&split.unlabelled), hashes(&split.pool));
    assert!(test.is_disjoint(&unlabelled) && test.is_disjoint(&pool) && unlabelled.is_disjoint(&pool));
    let mut shuffled = entries.clone();
    shuffled.reverse();
    let again = table::split(&shuffled, &settings, 1).unwrap();
    let again: std::collections::HashSet<&str> = again.test.iter().map(|&i| shuffled[i].hash.as_str()).collect();
    assert_eq!(test, again);
    assert_ne!(split, table::split(&entries, &settings, 2).unwrap());
    let few: Vec<usize> = table::drawn(&split, 1, 0)[..50].to_vec();
    assert_eq!(few, table::drawn(&split, 1, 0)[..50]);
    assert_ne!(few, table::drawn(&split, 1, 1)[..50]);
}

/// On the cells of NAS-Bench-101, where they are at hand: the card's smallest check.
#[test]
fn on_nas_bench_101_the_assessor_ranks() {
    let Some(folder) = std::env::var_os("KILN_DATA") else { return };
    let path = Path::new(&folder).join("nas-bench-101-cells/nas-bench-101-cells.csv.gz");
    if !path.exists() {
        return;
    }
    let space = Space::named("nas-bench-101").unwrap();
    let settings = AssessorSettings { label: "test_acc_108_mean".into(), ..small() };
    let mut entries = table::read(&path, &space, &settings, true).unwrap();
    assert_eq!(entries.len(), 13_484);
    entries.shuffle(&mut ChaCha8Rng::seed_from_u64(5));
    let archs: Vec<Arch> = entries.iter().take(600).map(|e| e.arch.clone()).collect();
    let labelled: Vec<(Arch, f64)> = entries.iter().take(100).map(|e| (e.arch.clone(), e.accuracy.unwrap())).collect();
    let with = (1, Device::Cpu);
    let assessor =
        Assessor::fit(&space, Predictor::AssessorFlat, &settings, &labelled, &archs[100..400], with, &|| false)
            .unwrap();
    let truth: Vec<f64> = entries[400..600].iter().map(|e| e.accuracy.unwrap()).collect();
    let tau = Scored::of(&assessor.predict(&archs[400..]).unwrap(), &truth, &truth, 80.0, 10).tau.unwrap();
    assert!(tau > 0.3, "{tau}");
    assert!(Cell101::from_genes(&archs[0].genes).unwrap().admitted());
}
