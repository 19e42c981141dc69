use super::*;
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
        "hournas-f" => Shape::Image(3, 224, 224),
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
            assert_eq!(arch.genes.iter().zip(&mutant.genes).filter(|(a, b)| a != b).count(), 1);
            let slots = space.fixed_slots().unwrap_or(plan.slots);
            assert_eq!(space.glyph(&arch).len(), slots);
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
