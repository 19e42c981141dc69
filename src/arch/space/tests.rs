use super::*;
use crate::plan::{Act, Block, Layer};
use kiln_spec::{SpaceDefinition, SpaceSettings};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

fn cost(space: &str, arch: &str, input: Shape, classes: u32) -> Cost {
    let space = Space::named(space).unwrap();
    space.plan(&space.parse(arch).unwrap(), input, classes).unwrap().cost()
}

fn input_of(space: &str) -> Shape {
    match space {
        "hournas-f" | "fbnet" => Shape::Image(3, 224, 224),
        "digits-mlp" | "mobile-xs" => Shape::Image(1, 8, 8),
        _ => Shape::Image(3, 32, 32),
    }
}

/// The genotype released by the authors (see the paper's repository); published: 5.3 M parameters, 383 M FLOPs.
const HOURNAS_F: &str = "k3e1-k5e6-k5e1-k5e1-k3e1-k5e6-k5e1-k3e1-k5e1-k5e6-k3e6-k3e6-k3e6-\
                         k5e6-k5e3-k5e3-k5e3-k5e6-k5e6-k3e6-k5e6-k5e6";

#[test]
fn hournas_f_has_its_published_cost() {
    let imagenet = cost("hournas-f", HOURNAS_F, Shape::Image(3, 224, 224), 1000);
    assert_eq!(imagenet, Cost { params: 5_343_112, macs: 382_964_976 });
    let cifar = cost("hournas-f-cifar", HOURNAS_F, Shape::Image(3, 32, 32), 10);
    assert_eq!((cifar.params / 10_000, cifar.macs / 1_000_000), (407, 393));
}

#[test]
fn mlps_count_as_by_hand() {
    // 64 -> 32 -> 32 -> 10 with biases.
    let hand = Cost { params: 64 * 32 + 32 + 32 * 32 + 32 + 32 * 10 + 10, macs: 64 * 32 + 32 * 32 + 32 * 10 };
    assert_eq!(cost("digits-mlp", "fast-2-32", Shape::Image(1, 8, 8), 10), hand);
    assert_eq!(cost("digits-mlp", "slow-2-32", Shape::Flat(64), 10), hand);
}

#[test]
fn convolutional_cells_count_as_by_hand() {
    let arch = "bn-plain-relu-8-skip-c3-skip-d3-skip-skip-i3-skip-skip";
    let stem = (9 * 8 + 16, 9 * 8 * 28 * 28);
    let c3 = (9 * 64 + 16, 9 * 64 * 28 * 28);
    let d3 = (9 * 8 + 16 + 8 * 16 + 32, 9 * 8 * 14 * 14 + 8 * 16 * 14 * 14);
    let i3 = (16 * 48 + 96 + 9 * 48 + 96 + 48 * 32 + 64, 16 * 48 * 14 * 14 + 9 * 48 * 7 * 7 + 48 * 32 * 7 * 7);
    let head = (32 * 10 + 10, 32 * 10);
    let parts: [(u64, u64); 5] = [stem, c3, d3, i3, head];
    let hand = Cost { params: parts.iter().map(|p| p.0).sum(), macs: parts.iter().map(|p| p.1).sum() };
    assert_eq!(cost("conv-cells", arch, Shape::Image(1, 28, 28), 10), hand);
}

#[test]
fn an_inverted_residual_counts_as_the_card_says() {
    // Space XS, k5e3 at 16 -> 32 channels, stride 2, 8x8 input, no squeeze-and-excite.
    let space = Space::named("mobile-xs").unwrap();
    let arch = space.parse("skip-skip-skip-k5e3-skip-skip-k3e1-skip-skip").unwrap();
    let plan = space.plan(&arch, Shape::Image(1, 8, 8), 10).unwrap();
    let block = plan.blocks.iter().find(|b| b.slot == Some(3)).unwrap();
    let m = 3 * 16;
    assert_eq!(block.cost().macs, 64 * 16 * m + 16 * 25 * m + 16 * m * 32);
    assert_eq!(block.cost().params, 16 * m + 25 * m + m * 32 + 2 * (m + m + 32));
    assert!(!block.shortcut);
}

#[test]
fn every_space_samples_lowers_and_round_trips() {
    for name in NAMES {
        let space = Space::named(name).unwrap();
        let mut rng = rng(7);
        for _ in 0..50 {
            let arch = space.sample(&mut rng);
            assert_eq!(space.parse(&arch.to_string()).unwrap(), arch);
            let plan = space.plan(&arch, input_of(name), 10).unwrap();
            assert_eq!(plan.blocks.last().unwrap().output, Shape::Flat(10));
            assert!(plan.blocks.windows(2).all(|w| w[0].output == w[1].input));
            let other = space.sample(&mut rng);
            let child = space.crossover(&arch, &other, &mut rng);
            space.validate(&child).unwrap();
            let mutant = space.mutate(&arch, &mut rng);
            space.validate(&mutant).unwrap();
            // A depth that changes also brings blocks or takes them away, which have no options in the spaces that have it.
            let differ = |i: &usize| space.decisions[*i].options.len() > 1 && arch.genes[*i] != mutant.genes[*i];
            assert_eq!((0..arch.genes.len()).filter(differ).count(), 1);
            let bars = if name.starts_with("nas-bench") {
                space.decisions.len()
            } else {
                space.fixed_slots().unwrap_or(plan.slots)
            };
            assert_eq!(space.glyph(&arch).len(), bars);
            assert!(space.glyph(&arch).iter().all(|(h, _)| (0.0..=1.0).contains(h)));
        }
        space.plan(&space.reference(), input_of(name), 10).unwrap();
    }
}

#[test]
fn populations_hold_each_family_equally_often_without_repeats() {
    let space = Space::named("digits-mlp").unwrap();
    let all = space.population(40, &mut rng(1));
    assert_eq!(all.iter().filter(|a| space.family(a) == "fast").count(), 20);
    assert_eq!(all.iter().collect::<HashSet<_>>().len(), 40, "the space has just 40 members");
    let cells = Space::named("conv-cells").unwrap();
    let mut families = BTreeMap::new();
    for arch in cells.population(60, &mut rng(2)) {
        *families.entry(cells.family(&arch)).or_insert(0) += 1;
    }
    assert_eq!(families.into_values().collect::<Vec<_>>(), vec![5; 12]);
    assert_eq!(space.population(9, &mut rng(3)), space.population(9, &mut rng(3)));
}

#[test]
fn extremes_are_those_of_enumeration() {
    let space = Space::named("digits-mlp").unwrap();
    let image = Shape::Image(1, 8, 8);
    let macs: Vec<u64> =
        space.population(40, &mut rng(1)).iter().map(|a| space.plan(a, image, 10).unwrap().cost().macs).collect();
    let of = |dearest| space.plan(&space.extreme(image, 10, dearest).unwrap(), image, 10).unwrap().cost().macs;
    assert_eq!(of(false), *macs.iter().min().unwrap());
    assert_eq!(of(true), *macs.iter().max().unwrap());
}

#[test]
fn no_random_network_beats_the_extremes() {
    for name in NAMES {
        let space = Space::named(name).unwrap();
        let macs = |arch: &Arch| space.plan(arch, input_of(name), 10).unwrap().cost().macs;
        let low = macs(&space.extreme(input_of(name), 10, false).unwrap());
        let high = macs(&space.extreme(input_of(name), 10, true).unwrap());
        let mut rng = rng(5);
        for _ in 0..200 {
            let cost = macs(&space.sample(&mut rng));
            assert!((low..=high).contains(&cost), "{name}: {cost} outside {low}..={high}");
        }
    }
}

#[test]
fn skip_is_offered_only_where_shapes_stay() {
    let space = Space::named("mobile-m").unwrap();
    let without: Vec<usize> = (0..11).filter(|&i| !space.decisions[i].options.contains(&"skip".to_string())).collect();
    assert_eq!(without, [0, 3, 6, 9]);
    let space = Space::named("mobile-xs").unwrap();
    let without: Vec<usize> = (0..9).filter(|&i| !space.decisions[i].options.contains(&"skip".to_string())).collect();
    assert_eq!(without, [3, 6]);
}

#[test]
fn narrowing_keeps_members_and_names_mistakes() {
    let only = |k: &str, v: &str| BTreeMap::from([(k.to_string(), vec![v.to_string()])]);
    let space = Space::named("digits-mlp").unwrap().only(&only("family", "slow")).unwrap();
    assert!(space.population(10, &mut rng(1)).iter().all(|a| a.genes[0] == "slow"));
    space.validate(&space.reference()).unwrap();
    let wrong = |k, v| Space::named("digits-mlp").unwrap().only(&only(k, v)).unwrap_err().to_string();
    assert!(wrong("famly", "slow").contains("did you mean `family`"), "{}", wrong("famly", "slow"));
    assert!(wrong("family", "slw").contains("fast, slow"), "{}", wrong("family", "slw"));
}

#[test]
fn mistakes_are_sentences() {
    let space = Space::named("digits-mlp").unwrap();
    assert_eq!(
        Space::named("digit-mlp").unwrap_err().to_string(),
        "there is no search space `digit-mlp`; did you mean `digits-mlp`?"
    );
    let parts = space.parse("fast-3").unwrap_err().to_string();
    assert!(parts.contains("has 2 parts") && parts.contains("family-depth-width"), "{parts}");
    let gene = space.parse("fast-9-64").unwrap_err().to_string();
    assert!(gene.contains("`9`") && gene.contains("1, 2, 3, 4"), "{gene}");
    let cells = Space::named("conv-cells").unwrap();
    let vector = cells.plan(&cells.reference(), Shape::Flat(64), 10).unwrap_err().to_string();
    assert!(vector.contains("needs images"), "{vector}");
}

/// Seeds of runs that exist must go on drawing what they drew when spaces were code: (space, 4th and 7th of a population,
/// a mutant, a child, parameters and MACs of the 4th).
#[test]
fn spaces_from_files_draw_and_count_as_the_coded_ones_did() {
    type Row = (&'static str, &'static str, &'static str, &'static str, &'static str, u64, u64);
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("digits-mlp", "fast-2-64", "slow-4-128", "fast-4-64", "slow-4-64", 8970, 8832),
        ("conv-cells", "bn-plain-sigmoid-24-skip-d3-c3-d5-c3-c3-d3-c3-skip", "nonorm-plain-sigmoid-24-i3-d5-d5-c3-d5-skip-c3-skip-skip", "nonorm-plain-gelu-24-skip-c3-d3-d5-d3-i3-d3-i3-d5", "bn-residual-relu-24-d3-skip-skip-i3-d3-skip-i3-skip-i3", 139810, 23480256),
        ("mobile-xs", "skip-k3e1-k5e3-k5e3-k3e3-k3e1-k3e3-k3e3-k3e3", "k3e1-k3e3-k3e1-k3e3-skip-k5e3-k5e3-k3e3-k3e3", "k3e3-k3e3-skip-k5e3-k3e1-k5e3-k5e3-k5e3-k3e1", "k3e3-skip-k3e1-k5e3-skip-k3e1-k3e1-skip-k3e1", 83274, 756992),
        ("mobile-m", "k3e6-k3e1-skip-k5e3-k5e6-k3e1-k5e6-k5e1-skip-k5e1-skip", "k5e1-skip-skip-k3e6-k5e1-k3e3-k3e6-k5e6-k3e1-k3e1-k3e3", "k5e3-skip-k5e3-k3e3-k3e3-k3e6-k5e6-k3e3-k5e1-k5e6-skip", "k3e1-k5e6-k5e6-k5e3-k5e3-k5e3-k3e1-k3e3-k3e3-k5e3-k3e1", 114162, 23119968),
        ("hournas-f", "k5e6-k3e6-k5e1-k3e3-k3e6-k5e3-k3e1-k3e1-k3e3-k5e1-k5e1-k3e3-skip-k5e3-k3e1-k5e3-k5e6-k3e6-k5e1-k3e1-k3e6-k3e3", "k5e1-k3e6-k3e3-k5e1-k3e1-k3e6-skip-k5e1-k3e3-k5e3-k5e3-k3e3-k3e6-k3e3-k5e6-k3e6-k5e1-k3e1-skip-k5e1-k5e3-k5e1", "k5e3-k5e6-k5e3-k3e6-k3e3-k5e3-k3e3-k5e1-skip-k5e6-k5e3-k5e6-k3e3-k5e1-k5e6-k5e1-k3e1-k5e3-k3e1-k3e1-k3e3-k5e6", "k5e3-k5e3-k5e3-k5e3-k5e6-k5e3-k5e1-k5e6-k5e3-k3e6-k3e1-k3e1-k5e3-k5e3-k3e6-k3e1-k5e6-k5e6-k5e3-k5e3-k5e3-k3e3", 2307986, 446630032),
        ("hournas-f-cifar", "k5e6-k3e6-k5e1-k3e3-k3e6-k5e3-k3e1-k3e1-k3e3-k5e1-k5e1-k3e3-skip-k5e3-k3e1-k5e3-k5e6-k3e6-k5e1-k3e1-k3e6-k3e3", "k5e1-k3e6-k3e3-k5e1-k3e1-k3e6-skip-k5e1-k3e3-k5e3-k5e3-k3e3-k3e6-k3e3-k5e6-k3e6-k5e1-k3e1-skip-k5e1-k5e3-k5e1", "k5e3-k5e6-k5e3-k3e6-k3e3-k5e3-k3e3-k5e1-skip-k5e6-k5e3-k5e6-k3e3-k5e1-k5e6-k5e1-k3e1-k5e3-k3e1-k3e1-k3e3-k5e6", "k5e3-k5e3-k5e3-k5e3-k5e6-k5e3-k5e1-k5e6-k5e3-k3e6-k3e1-k3e1-k5e3-k5e3-k3e6-k3e1-k5e6-k5e6-k5e3-k5e3-k5e3-k3e3", 2307986, 272865232),
    ];
    for (name, fourth, seventh, mutant, child, params, macs) in rows {
        let space = Space::named(name).unwrap();
        let mut rng = rng(42);
        let drawn = space.population(7, &mut rng);
        assert_eq!((drawn[3].to_string(), drawn[6].to_string()), (fourth.to_string(), seventh.to_string()));
        assert_eq!(space.mutate(&drawn[0], &mut rng).to_string(), *mutant);
        assert_eq!(space.crossover(&drawn[1], &drawn[2], &mut rng).to_string(), *child);
        let plan = space.plan(&drawn[3], input_of(name), 10).unwrap();
        assert_eq!(plan.cost(), Cost { params: *params, macs: *macs }, "{name}");
    }
}

#[test]
fn decisions_of_space_c_keep_their_names() {
    let space = Space::named("conv-cells").unwrap();
    let names: Vec<&str> = space.decisions.iter().map(|d| d.name.as_str()).collect();
    assert_eq!(&names[..6], ["norm", "path", "act", "base", "slot1", "slot2"]);
    assert_eq!(space.reference().to_string(), "bn-residual-relu-16-c3-c3-c3-c3-c3-c3-c3-c3-c3");
    assert_eq!(space.family(&space.reference()), "bn-residual-relu");
    assert!(space.chain(Shape::Image(3, 32, 32), 10).unwrap().is_none());
}

#[test]
fn chains_and_plans_agree() {
    for name in ["mobile-xs", "mobile-m", "fbnet", "hournas-f"] {
        let space = Space::named(name).unwrap();
        let input = input_of(name);
        let chain = space.chain(input, 10).unwrap().unwrap();
        let arch = space.sample(&mut rng(9));
        let plan = space.plan(&arch, input, 10).unwrap();
        assert_eq!(chain.plan(&arch, input, 10).unwrap(), plan);
        let choices: Vec<usize> = chain.slots.iter().zip(&arch.genes).map(|(s, g)| s.index(g).unwrap()).collect();
        assert_eq!(chain.cost(&choices), plan.cost());
    }
}

/// FBNet-Max: 5.75 M parameters and 573 M MACs, as counted for the method card; 8^6 x 9^16 networks.
#[test]
fn fbnet_has_the_counts_of_its_card() {
    let max = ["k5e6"; 22].join("-");
    let cost = cost("fbnet", &max, Shape::Image(3, 224, 224), 1000);
    assert_eq!(cost, Cost { params: 5_754_072, macs: 572_634_080 });
    let space = Space::named("fbnet").unwrap();
    assert_eq!(space.size(), 8f64.powi(6) * 9f64.powi(16));
    let vital = space.chain(Shape::Image(3, 224, 224), 1000).unwrap().unwrap().vital();
    let vital: Vec<usize> = (1..=22).filter(|l| vital[l - 1]).collect();
    assert_eq!(vital, [2, 6, 10, 14, 18, 22]);
}

/// Published counts of NAS-Bench-201 on CIFAR-10.
#[test]
fn cells_with_operations_on_edges_count_as_published() {
    let params = |arch: &str| cost("nas-bench-201", arch, Shape::Image(3, 32, 32), 10).params;
    assert_eq!(params("none-none-none-none-none-none"), 73_306);
    assert_eq!(
        params("|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"),
        129_306
    );
    assert_eq!(
        params("|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|"),
        802_426
    );
    assert_eq!(params("c3-c3-c3-c3-c3-c3"), 1_531_546);
}

/// Published counts of NAS-Bench-101.
#[test]
fn cells_with_operations_on_vertices_count_as_published() {
    let params = |arch: &str| cost("nas-bench-101", arch, Shape::Image(3, 32, 32), 10).params;
    let ops = "input|conv1x1-bn-relu|conv3x3-bn-relu|maxpool3x3|conv3x3-bn-relu|maxpool3x3|output";
    assert_eq!(params(&format!("0100000001000100011000000001000001000000010000000:{ops}")), 2_479_416);
    let ops = "input|conv3x3-bn-relu|conv1x1-bn-relu|maxpool3x3|maxpool3x3|conv3x3-bn-relu|output";
    assert_eq!(params(&format!("0110010000100000010000000110000001000000010000000:{ops}")), 22_257_802);
    let ops = "input|maxpool3x3|maxpool3x3|conv1x1-bn-relu|conv3x3-bn-relu|maxpool3x3|output";
    assert_eq!(params(&format!("0100100001001100010000000100000001000000010000000:{ops}")), 3_468_426);
    // The fewest parameters of the benchmark; and by hand: stem, nine projections, classifier.
    let ops = "input|maxpool3x3|maxpool3x3|maxpool3x3|maxpool3x3|maxpool3x3|output";
    assert_eq!(params(&format!("0100000001000100011100000001000000100000010000000:{ops}")), 227_274);
    let projection = |from: u64, to: u64| from * to + 2 * to;
    let stack = |from: u64, to: u64| projection(from, to) + 2 * projection(to, to);
    let hand = 27 * 128 + 256 + stack(128, 128) + stack(128, 256) + stack(256, 512) + 512 * 10 + 10;
    assert_eq!(params("none-none-none-none-none-out0"), hand);
}

/// Every count of both published tables, where `KILN_DATA` names the folder that holds them.
#[test]
fn cells_count_as_published_over_the_whole_tables() {
    let Some(rows) = crate::cell::tests::table("nas-bench-101-cells/nas-bench-101-cells.csv.gz") else { return };
    let space = Space::named("nas-bench-101").unwrap();
    for row in &rows {
        let arch = space.parse(&format!("{}:{}", row["adjacency"], row["ops"])).unwrap();
        let plan = space.plan(&arch, Shape::Image(3, 32, 32), 10).unwrap();
        assert_eq!(plan.cost().params.to_string(), row["params"], "{arch}");
    }
    let space = Space::named("nas-bench-201").unwrap();
    for row in crate::cell::tests::table("nas-bench-201/nas-bench-201.csv.gz").unwrap() {
        let arch = space.parse(&row["arch"]).unwrap();
        let sets = [("params_c10", 32, 10), ("params_c100", 32, 100), ("params_in16", 16, 120)];
        for (column, side, classes) in sets {
            let plan = space.plan(&arch, Shape::Image(3, side, side), classes).unwrap();
            assert_eq!(plan.cost().params.to_string(), row[column], "{arch} {column}");
        }
    }
}

#[test]
fn sizes_count_members() {
    let size = |name| Space::named(name).unwrap().size();
    assert_eq!((size("nas-bench-201"), size("nas-bench-101"), size("digits-mlp")), (15_625.0, 423_624.0, 40.0));
    let narrowed = BTreeMap::from([("vertex1".to_string(), vec!["c3i0".to_string(), "c1i0".to_string()])]);
    let space = Space::named("nas-bench-101").unwrap().only(&narrowed).unwrap();
    assert!(space.size_is_bound() && !Space::named("nas-bench-101").unwrap().size_is_bound());
    assert_eq!(space.size(), 2.0 * 10.0 * 22.0 * 46.0 * 94.0 * 63.0);
    let mut rng = rng(3);
    assert!((0..50).all(|_| ["c3i0", "c1i0"].contains(&space.sample(&mut rng).genes[0].as_str())));
}

#[test]
fn samples_and_mutants_of_cells_are_members_and_reach_every_option() {
    let space = Space::named("nas-bench-101").unwrap();
    let mut rng = rng(11);
    let mut arch = space.reference();
    let mut vertices = HashSet::new();
    for _ in 0..500 {
        arch = space.mutate(&arch, &mut rng);
        space.validate(&arch).unwrap();
        vertices.insert(Cell101::from_genes(&arch.genes).unwrap().pruned().unwrap().ops.len());
    }
    assert!(vertices.len() >= 5, "{vertices:?}");
    let wrong = |text: &str| space.parse(text).unwrap_err().to_string();
    assert!(
        wrong("c3i0-c3i1-none-none-none-out4").contains("no path leads"),
        "{}",
        wrong("c3i0-c3i1-none-none-none-out4")
    );
    let many = wrong("c3i0-c3i01-c3i012-c3i0123-none-out01234");
    assert!(many.contains("edges; its space allows 9"), "{many}");
    assert!(
        wrong("c3i1-none-none-none-none-out0").contains("and 1 more")
            || wrong("c3i1-none-none-none-none-out0").contains("its options are")
    );
}

/// The fewest and the most parameters in NAS-Bench-101 are published: 227,274 and 49,979,274.
#[test]
fn extremes_of_nas_bench_101_are_the_published_ones() {
    let space = Space::named("nas-bench-101").unwrap();
    let params = |dearest| {
        let arch = space.extreme(Shape::Image(3, 32, 32), 10, dearest).unwrap();
        space.plan(&arch, Shape::Image(3, 32, 32), 10).unwrap().cost().params
    };
    assert_eq!((params(false), params(true)), (227_274, 49_979_274));
}

const ELASTIC: &str = r#"
name = "elastic"
reference = "a"
[stem]
width = 8
[ops]
a = { kernel = 3, expansion = 1 }
b = { kernel = 3, expansion = 3, groups = 2 }
skip = { kind = "skip" }
[[stages]]
width = [8, 12]
depth = [1, 3]
[[stages]]
width = 16
depth = 2
stride = 2
ops = ["a", "b"]
squeeze-excite = 0.5
act = "hardswish"
"#;

fn elastic() -> Space {
    Space::define(&SpaceDefinition::from_toml("elastic.toml", ELASTIC).unwrap()).unwrap()
}

#[test]
fn a_chosen_depth_leaves_blocks_away_and_keeps_their_genes_in_step() {
    let space = elastic();
    let names: Vec<&str> = space.decisions.iter().map(|d| d.name.as_str()).collect();
    let want = ["stage1.width", "stage1.depth", "stage1.1", "stage1.2", "stage1.3", "stage2.1", "stage2.2"];
    assert_eq!(names, want);
    // The first block may change the width, so it is never skipped; the other two may be.
    assert_eq!(space.size(), 2.0 * (2.0 + 2.0 * 3.0 * 3.0) * 4.0);
    assert_eq!(space.reference().to_string(), "8-1-a-none-none-a-a");
    let mut rng = rng(4);
    let (mut depths, mut mutated) = (HashSet::new(), HashSet::new());
    let mut seen = HashSet::new();
    for _ in 0..2000 {
        let arch = space.sample(&mut rng);
        space.validate(&arch).unwrap();
        depths.insert(arch.genes[1].clone());
        let other = space.mutate(&arch, &mut rng);
        space.validate(&other).unwrap();
        mutated.insert(arch.genes[1] == other.genes[1]);
        space.validate(&space.crossover(&arch, &other, &mut rng)).unwrap();
        let plan = space.plan(&arch, Shape::Image(3, 8, 8), 10).unwrap();
        let blocks = plan.blocks.iter().filter(|b| b.name.starts_with("stage1")).count();
        let skipped = arch.genes[2..5].iter().filter(|g| *g == "skip" || *g == "none").count();
        assert_eq!(blocks + skipped, 3);
        seen.insert(arch);
    }
    assert_eq!((depths.len(), mutated.len(), seen.len() as f64), (2, 2, space.size()));
    let wrong = space.parse("8-1-a-a-none-a-a").unwrap_err().to_string();
    assert!(wrong.contains("`stage1.2`, which lies beyond the depth"), "{wrong}");
    assert!(space.parse("8-3-a-none-a-a-a").is_err());
    let of = |dearest| space.extreme(Shape::Image(3, 8, 8), 10, dearest).unwrap().to_string();
    assert_eq!((of(false), of(true)), ("8-1-a-none-none-a-a".into(), "12-3-b-b-b-b-b".into()));
    assert!(space.chain(Shape::Image(3, 8, 8), 10).unwrap().is_none());
    let only = BTreeMap::from([("stage1.depth".to_string(), vec!["3".to_string()])]);
    let narrowed = elastic().only(&only).unwrap();
    narrowed.validate(&narrowed.reference()).unwrap();
}

#[test]
fn what_a_definition_says_is_what_is_built() {
    let space = elastic();
    let plan = space.plan(&space.parse("12-1-b-none-none-b-a").unwrap(), Shape::Image(3, 8, 8), 10).unwrap();
    let block = |name: &str| &plan.blocks.iter().find(|b| b.name == name).unwrap().layers;
    let conv = |input, out, kernel, stride, groups| Layer::Conv { input, out, kernel, stride, groups, bias: false };
    let norm = |channels| Layer::BatchNorm { channels };
    let (relu, swish) = (Layer::Act(Act::Relu), Layer::Act(Act::HardSwish));
    let first = [
        conv(8, 24, 1, 1, 2),
        norm(24),
        relu,
        Layer::ChannelShuffle { groups: 2 },
        conv(24, 24, 3, 1, 24),
        norm(24),
        relu,
        conv(24, 12, 1, 1, 2),
        norm(12),
    ];
    assert_eq!(*block("stage1.1"), first);
    let last = [
        conv(16, 16, 1, 1, 1),
        norm(16),
        swish,
        conv(16, 16, 3, 1, 16),
        norm(16),
        swish,
        Layer::SqueezeExcite { channels: 16, reduced: 8 },
        conv(16, 16, 1, 1, 1),
        norm(16),
    ];
    assert_eq!(*block("stage2.2"), last);
}

#[test]
fn a_space_of_ones_own_goes_by_its_settings() {
    let mut definition = SpaceDefinition::from_toml("elastic.toml", ELASTIC).unwrap();
    let mut settings =
        SpaceSettings { name: "elastic".into(), only: BTreeMap::new(), definition: Some(definition.clone()) };
    assert_eq!(Space::of(&settings).unwrap(), elastic());
    settings.only.insert("stage2.3".into(), vec!["a".into()]);
    let (key, error) = Space::of(&settings).unwrap_err();
    assert!(key == "space.only" && error.to_string().contains("did you mean `stage1.3`"), "{key} {error}");
    definition.name = "mobile-m".into();
    let error = Space::define(&definition).unwrap_err().to_string();
    assert!(error.contains("ships with Kiln") && error.contains("name of its own"), "{error}");
    // A copy of a shipped file is that space.
    let copy = SpaceDefinition::from_toml("copy.toml", text("mobile-m").unwrap()).unwrap();
    assert_eq!(Space::define(&copy).unwrap(), Space::named("mobile-m").unwrap());
    let wrong = SpaceDefinition { name: "elastic".into(), reference: "8-1-a".into(), ..definition };
    let error = Space::define(&wrong).unwrap_err().to_string();
    assert!(error.contains("the reference of space `elastic` is no member"), "{error}");
}

/// What the manual says on writing a space is true.
#[test]
fn the_example_of_the_readme_is_a_space() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let section = readme.split("## A space of your own").nth(1).unwrap();
    let example = section.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let space = Space::define(&SpaceDefinition::from_toml("README.md", example).unwrap()).unwrap();
    let size = format!("{}", space.size());
    let (head, tail) = size.split_at(size.len() - 3);
    assert!(section.contains(&format!("{head},{tail} networks")), "{size}");
    assert!(section.contains(&space.reference().to_string()), "{}", space.reference());
    space.plan(&space.sample(&mut rng(1)), Shape::Image(1, 28, 28), 10).unwrap();
}

#[test]
fn resnets_have_their_published_layers() {
    // Normalisation stands behind each convolution, the projection's too, or before the two of a block.
    for (name, behind) in [("resnet", true), ("resnet-preact", false)] {
        let space = Space::named(name).unwrap();
        let plan = space.plan(&space.reference(), Shape::Image(3, 32, 32), 10).unwrap();
        let convolutions = |kernel| {
            let layers = plan.blocks.iter().flat_map(Block::all_layers);
            layers.filter(|(l, _)| matches!(l, Layer::Conv { kernel: k, .. } if *k == kernel)).count()
        };
        assert_eq!((convolutions(3), convolutions(1)), (19, 2), "{name}: two shortcuts change the shape");
        assert_eq!(plan.blocks.last().unwrap().input, Shape::Image(64, 8, 8));
        // A block of the first stage: two convolutions of 16 channels, two normalisations.
        assert_eq!(plan.blocks[2].cost().params, 2 * 16 * 16 * 9 + 2 * (16 + 16), "{name}");
        // The first block of the second: 16 to 32 channels, and the projection (with its own normalisation in the one form).
        let projection = 16 * 32 + if behind { 2 * 32 } else { 0 };
        let norms = if behind { 2 * (32 + 32) } else { 2 * (16 + 32) };
        assert_eq!(plan.blocks[4].cost().params, 9 * (16 * 32 + 32 * 32) + norms + projection, "{name}");
    }
    let space = Space::named("cnn-fc").unwrap();
    let plan = space.plan(&space.reference(), Shape::Image(3, 32, 32), 10).unwrap();
    let head = plan.blocks.last().unwrap();
    assert_eq!(head.input, Shape::Image(64, 4, 4));
    assert_eq!(head.cost().params, 1024 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10);
}
