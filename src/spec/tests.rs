//! Good and bad presets, one mistake each, with what they are answered.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{DataSet, MethodName, OptimKind, Preset, Problems, Spec, Surroundings, schema};

/// Files in memory.
struct Files(Vec<(&'static str, String)>);

impl Surroundings for Files {
    fn read(&self, file: &Path) -> io::Result<String> {
        let found = self.0.iter().find(|(name, _)| Path::new(name) == file);
        found.map(|(_, text)| text.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn named(&self, name: &str) -> Option<PathBuf> {
        (name == "shipped").then(|| "presets/shipped.toml".into())
    }

    fn shipped(&self, set: DataSet) -> Result<PathBuf, String> {
        match set {
            DataSet::Digits => Ok("/share/digits.csv.gz".into()),
            _ => Err("no folder `share/kiln` was found beside the program".into()),
        }
    }
}

const GOOD: &str = r#"method = "dc-nas"
title = "A search"
[data]
set = "digits"
train = 576
[space]
name = "digits-mlp"
[optim]
lr = 0.02
batch = 32
[dc-nas]
population = 8
clusters-max = 4
"#;

fn load(text: &str, overrides: &[&str]) -> Result<Preset, Problems> {
    let overrides: Vec<String> = overrides.iter().map(|s| s.to_string()).collect();
    Preset::load(Path::new("p.toml"), &overrides, &Files(vec![("p.toml", text.into())]))
}

fn answer(text: &str, overrides: &[&str]) -> String {
    load(text, overrides).map(|_| "fine".to_owned()).unwrap_or_else(|problems| problems.to_string())
}

#[test]
fn a_good_preset_has_its_values_and_all_defaults() {
    let preset = load(GOOD, &[]).unwrap();
    assert_eq!(preset.name, "p");
    assert_eq!(preset.spec.data.path, "/share/digits.csv.gz");
    assert_eq!(preset.spec.optim.lr, 0.02);
    assert_eq!(preset.spec.optim.kind, OptimKind::Sgd);
    assert_eq!(preset.spec.dc_nas.as_ref().unwrap().early_epochs, 2);
    assert!(preset.spec.train.is_none());
}

#[test]
fn a_frozen_preset_reads_back_equal_and_hides_no_default() {
    let preset = load(GOOD, &["seed=9007199254740991"]).unwrap();
    let frozen = preset.frozen().unwrap();
    assert_eq!(Spec::from_toml("spec.toml", &frozen).unwrap(), preset.spec);
    let written: toml::Value = toml::from_str(&frozen).unwrap();
    // A run without arms and seeds is no experiment and says nothing of them; a sweep has become arms.
    let said = |key: &str| !matches!(key, "arms" | "seeds") && !key.starts_with("sweep.");
    for field in schema::fields(MethodName::DcNas).into_iter().filter(|f| said(&f.key)) {
        let found = field.key.split('.').try_fold(&written, |at, part| at.get(part));
        assert!(found.is_some(), "{} is not in\n{frozen}", field.key);
    }
}

/// One mistake a line: the line of [`GOOD`] to replace (or nothing, to append), what to write, the whole answer.
#[test]
fn every_mistake_is_one_sentence_with_place_and_remedy() {
    let cases = [
        (
            "population = 8",
            "populaton = 8",
            "p.toml:12: dc-nas.populaton: is not a setting; did you mean `population`?",
        ),
        (
            "population = 8",
            "early_epochs = 2",
            "p.toml:12: dc-nas.early_epochs: is not a setting; did you mean `early-epochs`?",
        ),
        ("title = \"A search\"", "lr = 0.1", "p.toml:2: lr: is not a setting; did you mean `optim.lr`?"),
        ("lr = 0.02", "learning-rate = 0.1", "p.toml:9: optim.learning-rate: is not a setting; did you mean `lr`?"),
        (
            "train = 576",
            "banana = 1",
            "p.toml:5: data.banana: is not a setting; expected `set`, `path`, `train`, `valid`, `test`, `side`, `crop-pad`, `flip`, `rotate` or `label-noise`",
        ),
        (
            "lr = 0.02",
            "lr = \"fast\"",
            "p.toml:9: optim.lr: expected a number from 1e-8 to 100, found the text \"fast\"",
        ),
        (
            "lr = 0.02",
            "lr = \"0.02\"",
            "p.toml:9: optim.lr: expected a number from 1e-8 to 100, found the text \"0.02\"; take the quotation marks away",
        ),
        ("lr = 0.02", "lr = -1", "p.toml:9: optim.lr: expected a number from 1e-8 to 100, found -1"),
        (
            "[optim]",
            "[regulariser]\np = 1.0\n[optim]",
            "p.toml:9: regulariser.p: expected a number from 0 to 0.999, found 1",
        ),
        (
            "[optim]",
            "[regulariser]\nkind = \"dropot\"\n[optim]",
            "p.toml:9: regulariser.kind: expected `none`, `dropout`, `spatial-dropout`, `dropblock`, `disout` or `isotropic`, found `dropot`; did you mean `dropout`?",
        ),
        (
            "[optim]",
            "[regulariser]\nblock = 0\n[optim]",
            "p.toml:9: regulariser.block: expected a whole number from 1 to 1024 (px), found 0",
        ),
        (
            "[optim]",
            "[regularizer]\np = 0.1\n[optim]",
            "p.toml:8: regularizer: is not a setting; did you mean `regulariser`?",
        ),
        ("train = 576", "label-noise = 1.5", "p.toml:5: data.label-noise: expected a number from 0 to 1, found 1.5"),
        (
            "lr = 0.02",
            "schedule = \"step\"",
            "p.toml:8: optim.milestones: is empty; the schedule `step` needs epochs to step at, such as [60, 120]",
        ),
        (
            "lr = 0.02",
            "milestones = [3]",
            "p.toml:9: optim.milestones: belongs to schedule = \"step\"; set that, or take the milestones away",
        ),
        (
            "lr = 0.02",
            "schedule = \"step\"\nmilestones = [9, 3]",
            "p.toml:10: optim.milestones: names 9 before 3; expected rising epochs",
        ),
        ("lr = 0.02", "lr = nan", "p.toml:9: optim.lr: expected a number from 1e-8 to 100, found NaN"),
        (
            "batch = 32",
            "batch = 0",
            "p.toml:10: optim.batch: expected a whole number from 1 to 65536 (images), found 0",
        ),
        (
            "batch = 32",
            "batch = 32.5",
            "p.toml:10: optim.batch: expected a whole number from 1 to 65536 (images), found 32.5",
        ),
        (
            "train = 576",
            "train = 9999999999",
            "p.toml:5: data.train: expected a whole number from 0 to 4294967295, found 9999999999",
        ),
        (
            "train = 576",
            "train = 99999999999999999999999999999999999999999999",
            "p.toml:5: data.train: expected a whole number from 0 to 4294967295, found inf",
        ),
        (
            "title = \"A search\"",
            "seed = 9007199254740992",
            "p.toml:2: seed: expected a whole number from 0 to 9007199254740991, found 9007199254740992",
        ),
        (
            "title = \"A search\"",
            "title = 1979-05-27",
            "p.toml:2: title: expected text in quotation marks, found the date 1979-05-27",
        ),
        ("batch = 32", "nesterov = 1", "p.toml:10: optim.nesterov: expected true or false, found 1"),
        (
            "batch = 32",
            "kind = \"sdg\"",
            "p.toml:10: optim.kind: expected `sgd` or `adamw`, found `sdg`; did you mean `sgd`?",
        ),
        (
            "set = \"digits\"",
            "set = 3",
            "p.toml:4: data.set: expected `digits`, `fashion`, `cifar10`, `folder` or `cells`, found 3",
        ),
        (
            "method = \"dc-nas\"",
            "method = \"dcnas\"",
            "p.toml:1: method: expected METHODS, found `dcnas`; did you mean `dc-nas`?",
        ),
        ("method = \"dc-nas\"", "", "p.toml: method: is missing: expected METHODS"),
        ("name = \"digits-mlp\"", "", "p.toml:6: space.name: is missing: expected text in quotation marks"),
        ("[space]\nname = \"digits-mlp\"\n", "", "p.toml: space: is missing: a preset needs the table `[space]`"),
        (
            "name = \"digits-mlp\"",
            "name = \"digits-mlp\"\nonly = { family = [] }",
            "p.toml:8: space.only: leaves no option for `family`; name at least one",
        ),
        (
            "name = \"digits-mlp\"",
            "name = \"digits-mlp\"\nonly = { family = \"fast\" }",
            "p.toml:8: space.only.family: expected a list, such as [\"a\", \"b\"], found the text \"fast\"",
        ),
        (
            "",
            "[run]\ndevice = \"gpu\"",
            "p.toml:15: run.device: expected `auto`, `cpu`, `cuda` or `cuda:N`, found `gpu`",
        ),
        (
            "",
            "[train]\nepochs = 3",
            "p.toml:14: train: is the table of the method `train`, but this preset runs `dc-nas`; take the table away or set method = \"train\"",
        ),
        (
            "clusters-max = 4",
            "clusters-max = 2\nclusters-min = 5",
            "p.toml:14: dc-nas.clusters-min: is 5, more than clusters-max (2)",
        ),
        (
            "clusters-max = 4",
            "clusters-max = 8",
            "p.toml:13: dc-nas.clusters-max: is 8; expected fewer clusters than the 8 networks of the population",
        ),
        (
            "clusters-max = 4",
            "clusters = 3\nwinners = 3",
            "p.toml:14: dc-nas.winners: is 3; 3 clusters of 8 networks cannot have that many winners each",
        ),
        (
            "clusters-max = 4",
            "clusters = 2\nfull-epochs = 1",
            "p.toml:11: dc-nas.early-epochs: is 2, more than full-epochs (1): nothing would be saved",
        ),
        (
            "train = 576",
            "train = 100",
            "p.toml:11: dc-nas.proxy: of 100 training images is 30, less than one batch of 32 (optim.batch)\np.toml:11: dc-nas.probe: is 128, more than the 100 training images of data.train",
        ),
        (
            "batch = 32",
            "batch = 32\nkind = \"adamw\"\nnesterov = true",
            "p.toml:12: optim.nesterov: is a form of momentum of `sgd`; expected kind = \"sgd\" and a momentum above 0",
        ),
        (
            "batch = 32",
            "batch = 32\nwarmup = 5.0",
            "p.toml:11: optim.warmup: is 5 epochs, more than the 2 of dc-nas.early-epochs: the rate would never be reached",
        ),
        (
            "set = \"digits\"",
            "set = \"fashion\"",
            "p.toml:3: data.path: is empty, and the copy that ships with Kiln is missing: no folder `share/kiln` was found beside the program",
        ),
        (
            "set = \"digits\"",
            "set = \"cifar10\"",
            "p.toml:3: data.path: is empty, but this data set does not ship with Kiln; expected a folder with CIFAR-10 in its binary version (data_batch_1.bin and so on). To say where: --set data.path=PATH",
        ),
        (
            "set = \"digits\"",
            "set = \"fashion\"\npath = \"/not/there\"",
            "p.toml:5: data.path: `/not/there` does not exist; expected a folder with the four IDX files of Fashion-MNIST (train-images-idx3-ubyte.gz and so on). To say where: --set data.path=PATH",
        ),
        (
            "title = \"A search\"",
            "extends = 3",
            "p.toml:2: extends: expected the name of a preset file as text, found 3",
        ),
        ("title = \"A search\"", "extends = \"gone.toml\"", "p.toml:2: extends: `gone.toml`: there is no such file"),
        (
            "title = \"A search\"",
            "extends = \"p.toml\"",
            "p.toml:2: extends: goes round in a circle: p.toml -> p.toml; take one of the links away",
        ),
    ];
    for (line, instead, expected) in cases {
        let text = if line.is_empty() { format!("{GOOD}{instead}\n") } else { GOOD.replacen(line, instead, 1) };
        assert_ne!(text, GOOD);
        let methods = schema::one_of(MethodName::ALL.iter().map(|m| m.as_str()));
        assert_eq!(answer(&text, &[]), expected.replace("METHODS", &methods), "in\n{text}");
    }
}

#[test]
fn broken_toml_is_named_with_its_line_and_does_not_hide_other_mistakes() {
    let text = GOOD.replace("lr = 0.02", "lr = ").replace("population = 8", "populaton = 8");
    let said = answer(&text, &[]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("p.toml:9: not TOML: "), "{said}");
    assert!(lines[1].starts_with("p.toml:12: dc-nas.populaton: is not a setting"), "{said}");
    for torn in ["[data", "a = \"x", "a == 1", "= 3", "a = 1\na = 2", "[data]\n[data]", "x = [1,", "\u{0}"] {
        let said = answer(&format!("{torn}\n{GOOD}"), &[]);
        assert!(said.lines().all(|l| l.starts_with("p.toml:")), "{torn:?}: {said}");
        assert!(said.contains("not TOML"), "{torn:?}: {said}");
    }
}

#[test]
fn all_mistakes_are_named_at_once_in_the_order_of_lines() {
    let text = "method = \"dc-nas\"\nsede = 3\n[optim]\nlr = \"x\"\nbatch = 0\n[data]\nset = \"digit\"\n";
    let lines: Vec<usize> = load(text, &[]).unwrap_err().0.iter().filter_map(|p| p.line).collect();
    assert_eq!(lines, [2, 4, 5, 7]);
    assert!(answer(text, &[]).contains("space: is missing"));
}

#[test]
fn overrides_win_and_are_checked_like_files() {
    let set = |argument: &str| load(GOOD, &[argument]).map(|p| p.spec);
    assert_eq!(set("optim.lr=1e-3").unwrap().optim.lr, 1e-3);
    assert_eq!(set("optim.lr=1").unwrap().optim.lr, 1.0);
    assert_eq!(set("run.device=cuda:1").unwrap().run.device, "cuda:1");
    assert_eq!(set("title=two words").unwrap().title, "two words");
    assert_eq!(set("title=12").unwrap().title, "12");
    assert_eq!(set("title = \"=\"").unwrap().title, "=");
    assert_eq!(set("data.train=1_000").unwrap().data.train, 1000);
    for (typed, number) in [("2k", 2000), ("1.1K", 1100), ("1e3", 1000)] {
        assert_eq!(set(&format!("data.train={typed}")).unwrap().data.train, number, "{typed}");
    }
    assert_eq!(set("optim.lr=0.0015k").unwrap().optim.lr, 1.5);
    assert_eq!(set("space.only.family=[\"fast\"]").unwrap().space.only["family"], ["fast"]);
    for (argument, expected) in [
        ("optim.lr=fast", "--set optim.lr=fast: optim.lr: expected a number from 1e-8 to 100, found the text \"fast\""),
        ("optim.rl=1", "--set optim.rl=1: optim.rl: is not a setting; did you mean `lr`?"),
        ("seed=-1k", "--set seed=-1k: seed: expected a whole number from 0 to 9007199254740991, found -1000"),
        ("seed=1.5", "--set seed=1.5: seed: expected a whole number from 0 to 9007199254740991, found 1.5"),
        (
            "seed=fork",
            "--set seed=fork: seed: expected a whole number from 0 to 9007199254740991, found the text \"fork\"",
        ),
        ("optim.lr", "--set optim.lr: expected KEY=VALUE, such as `optim.lr=0.01`"),
        ("=1", "--set =1: `` is not a key; expected a dotted name, such as `optim.lr`"),
        ("a b=1", "--set a b=1: `a b` is not a key; expected a dotted name, such as `optim.lr`"),
        ("seed.x=1", "--set seed.x=1: seed: expected a whole number from 0 to 9007199254740991, found a table"),
    ] {
        assert_eq!(answer(GOOD, &[argument]), expected);
    }
    assert!(
        answer(GOOD, &["space.only.family=[\"fast\""])
            .starts_with("--set space.only.family=[\"fast\": the value is not TOML")
    );
}

#[test]
fn extends_lays_tables_over_one_another_and_keeps_places() {
    let files = Files(vec![
        ("a/base.toml", format!("extends = \"../deep.toml\"\n{GOOD}")),
        ("deep.toml", "seed = 7\n[optim]\nmomentum = 0.5\nlr = 5.0\n".into()),
        ("a/top.toml", "extends = \"base.toml\"\ntitle = \"Top\"\n[optim]\nbatch = 64\n".into()),
        ("a/bad.toml", "extends = \"base.toml\"\n[dc-nas]\nclusters-min = 5\n".into()),
        ("a/loop.toml", "extends = \"../loop.toml\"\n".into()),
        ("loop.toml", "extends = \"a/loop.toml\"\n".into()),
    ]);
    let read = |name: &str| Preset::load(Path::new(name), &[], &files);
    let spec = read("a/top.toml").unwrap().spec;
    assert_eq!((spec.title.as_str(), spec.seed, spec.optim.batch), ("Top", 7, 64));
    assert_eq!((spec.optim.momentum, spec.optim.lr), (0.5, 0.02));
    let said = read("a/bad.toml").unwrap_err().to_string();
    assert_eq!(said, "a/bad.toml:3: dc-nas.clusters-min: is 5, more than clusters-max (4)");
    let said = read("a/loop.toml").unwrap_err().to_string();
    assert!(
        said.starts_with("loop.toml:1: extends: goes round in a circle: loop.toml -> loop.toml -> loop.toml"),
        "{said}"
    );
    let said = read("none.toml").unwrap_err().to_string();
    assert_eq!(said, "none.toml: there is no such file");
}

#[test]
fn what_a_preset_extends_may_be_a_name() {
    let mine = |base: &str| ("mine.toml", format!("extends = \"{base}\"\ntitle = \"Mine\"\n"));
    for base in ["shipped", "shipped.toml"] {
        let files = vec![("presets/shipped.toml", GOOD.to_owned()), mine(base)];
        let preset = Preset::load(Path::new("mine.toml"), &[], &Files(files)).unwrap();
        assert_eq!(preset.spec.title, "Mine");
    }
    // A file beside it counts first.
    let beside = GOOD.replace("method = \"dc-nas\"", "method = \"dc-nas\"\nseed = 77");
    let files = vec![("presets/shipped.toml", GOOD.to_owned()), ("shipped.toml", beside), mine("shipped.toml")];
    assert_eq!(Preset::load(Path::new("mine.toml"), &[], &Files(files)).unwrap().spec.seed, 77);
}

#[test]
fn data_paths_are_taken_from_the_file_that_names_them() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("data/images/cat")).unwrap();
    let file = dir.path().join("p.toml");
    let text = GOOD.replace("set = \"digits\"", "set = \"folder\"\npath = \"./data/../data/images\"");
    std::fs::write(&file, text).unwrap();
    struct Disk;
    impl Surroundings for Disk {
        fn shipped(&self, _: DataSet) -> Result<PathBuf, String> {
            Err("none".into())
        }
    }
    let preset = Preset::load(&file, &[], &Disk).unwrap();
    assert_eq!(preset.spec.data.path, dir.path().join("data/images").display().to_string());
    let (preset, missing) = Preset::read(&file, &["data.path=/not/there".into()], &Disk).unwrap();
    assert_eq!(preset.spec.data.path, "/not/there");
    let said = missing.unwrap().to_string();
    assert!(
        said.starts_with("--set data.path=/not/there: data.path: `/not/there` does not exist; expected a folder"),
        "{said}"
    );
}

#[test]
fn a_folder_without_the_data_is_told_from_one_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let missing = |set: &str| {
        let text = GOOD.replace("set = \"digits\"", &format!("set = \"{set}\"\npath = \"{}\"", dir.path().display()));
        let (_, missing) = Preset::read(Path::new("p.toml"), &[], &Files(vec![("p.toml", text)])).unwrap();
        missing.map(|problem| problem.to_string())
    };
    std::fs::write(dir.path().join("notes.txt"), "").unwrap();
    for (set, file) in
        [("digits", "digits.csv.gz"), ("fashion", "train-images-idx3-ubyte.gz"), ("cifar10", "data_batch_1.bin")]
    {
        let said = missing(set).unwrap();
        assert!(said.contains("is a folder without such data; expected") && said.contains(file), "{said}");
        std::fs::write(dir.path().join(file), "").unwrap();
        assert_eq!(missing(set), None);
    }
}

#[test]
fn problems_found_by_others_get_the_place_of_their_key() {
    let preset = load(GOOD, &[]).unwrap();
    assert_eq!(preset.problem("space.name", "is unknown").to_string(), "p.toml:7: space.name: is unknown");
    assert_eq!(preset.problem("space.only.width", "x").line, Some(6));
    assert_eq!(preset.problem("run.device", "x").line, None);
}

#[test]
fn the_schema_names_only_the_tables_of_its_method() {
    let schema = schema::json_schema(MethodName::Train);
    assert_eq!(schema["properties"]["method"]["const"], "train");
    assert!(schema["properties"].get("train").is_some() && schema["properties"].get("dc-nas").is_none());
    assert_eq!(schema["properties"]["extends"]["type"], "string");
    assert_eq!(schema["$defs"]["OptimSettings"]["properties"]["batch"]["maximum"], 65536);
    assert!(schema["$defs"].get("DcNasSettings").is_none());
}

#[test]
fn fields_carry_what_a_form_needs() {
    let fields = schema::fields(MethodName::DcNas);
    let get = |key: &str| fields.iter().find(|f| f.key == key).unwrap_or_else(|| panic!("no {key}"));
    let lr = get("optim.lr");
    assert_eq!((lr.min, lr.max, lr.live, lr.required), (Some(1e-8), Some(100.0), false, false));
    let live = |method: MethodName| -> Vec<String> {
        schema::fields(method).into_iter().filter(|f| f.live).map(|f| f.key).collect()
    };
    for method in MethodName::ALL {
        let mut said: Vec<&str> = method.live().to_vec();
        said.sort_unstable();
        let mut found = live(*method);
        found.sort_unstable();
        assert_eq!(found, said, "{method}: every live setting says that it is one");
    }
    assert_eq!(lr.check("0.1"), Ok(()));
    assert_eq!(lr.check("0"), Err("expected a number from 1e-8 to 100, found 0".into()));
    assert_eq!(
        get("optim.kind").check("adam").unwrap_err(),
        "expected `sgd` or `adamw`, found `adam`; did you mean `adamw`?"
    );
    assert_eq!(get("seed").check("-1").unwrap_err(), "expected a whole number from 0 to 9007199254740991, found -1");
    assert!(get("seeds").check("1, 2").is_ok() && get("seeds").check("1, two").is_err());
    assert!(get("seeds").check("[1, 2").is_err() && get("seeds").check("[1, 2]").is_ok());
    assert!(get("run.device").check("tpu").is_err() && get("data.path").check("12").is_ok());
    assert_eq!(lr.default, Some(json!(0.05)));
    let set = get("data.set");
    assert!(set.required && set.kind == schema::Kind::Choice);
    assert_eq!(set.options.len(), 5);
    assert!(set.options.iter().all(|o| !o.help.is_empty()));
    assert_eq!(get("dc-nas.early-epochs").unit.as_deref(), Some("epochs"));
    assert_eq!(get("space.only").kind, schema::Kind::Map);
    for field in &fields {
        assert!(!field.help.is_empty() && !field.help.contains('\n'), "{} has no help", field.key);
        // A list that nobody wrote is empty.
        let plain = field.kind == schema::Kind::List;
        assert!(field.required || plain || field.default.is_some(), "{} has no default", field.key);
    }
    assert!(!fields.iter().any(|f| f.key.starts_with("train.")));
    assert!(schema::fields(MethodName::Train).iter().any(|f| f.key == "train.epochs"));
    let order: Vec<&str> = fields.iter().map(|f| f.key.as_str()).take(5).collect();
    assert_eq!(order, ["method", "title", "description", "seed", "seeds"]);
}

#[test]
fn the_order_of_memory_is_a_switch_that_may_be_left_open() {
    let order = |text: &str| {
        let preset = load(&format!("{GOOD}[run]\nchannels-last = {text}\n"), &[]).unwrap();
        let run = preset.spec.run;
        let back: crate::RunSettings = toml::from_str(&toml::to_string(&run).unwrap()).unwrap();
        assert_eq!(back, run);
        run.channels_last
    };
    assert_eq!(order("true"), crate::ChannelsLast::Yes);
    assert_eq!(order("false"), crate::ChannelsLast::No);
    assert_eq!(order("\"auto\""), crate::ChannelsLast::Auto);
    assert_eq!(order("\"true\""), crate::ChannelsLast::Yes, "as forms write it");
    let wrong = answer(&format!("{GOOD}[run]\nchannels-last = 1\n"), &[]);
    assert!(wrong.contains("run.channels-last") && wrong.contains("auto"), "{wrong}");
    let wrong = answer(&format!("{GOOD}[run]\nprecision = true\n"), &[]);
    assert!(wrong.contains("run.precision"), "{wrong}");
    let field = schema::fields(MethodName::Train).into_iter().find(|f| f.key == "run.channels-last").unwrap();
    assert_eq!((field.kind, field.default), (schema::Kind::Choice, Some(json!("false"))));
}

#[test]
fn no_damage_to_a_preset_makes_reading_it_panic() {
    for at in 0..GOOD.len() {
        for damaged in [
            GOOD[..at].to_owned(),
            format!("{}{}", &GOOD[..at], &GOOD[at + 1..]),
            format!("{}\"{}", &GOOD[..at], &GOOD[at..]),
            format!("{}[{}", &GOOD[..at], &GOOD[at..]),
            format!("{}={}", &GOOD[..at], &GOOD[at..]),
            format!("{}ß{}", &GOOD[..at], &GOOD[at..]),
        ] {
            if let Err(problems) = load(&damaged, &[]) {
                assert!(!problems.0.is_empty(), "refused without a word:\n{damaged}");
                let lines = damaged.lines().count();
                for problem in problems.0 {
                    assert!(problem.line.is_none_or(|l| l >= 1 && l <= lines + 1), "{problem}\n{damaged}");
                    assert!(!problem.message.is_empty() && !problem.to_string().contains('\n'), "{problem}");
                }
            }
        }
    }
}

#[test]
fn tables_of_architectures_are_for_the_assessor_and_its_settings_hold_together() {
    const TABLE: &str =
        "method = \"assessor\"\n[data]\nset = \"cells\"\n[space]\nname = \"nas-bench-201\"\n[assessor]\n";
    let said = |text: &str| match Spec::from_toml("p.toml", text) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    assert_eq!(said(TABLE), "");
    let wrong = |line: &str| said(&format!("{TABLE}{line}\n"));
    assert!(wrong("labels = [100, 50]").contains("p.toml:7: assessor.labels: expected rising numbers"));
    assert!(wrong("labels = []").contains("assessor.labels"));
    assert!(wrong("methods = []").contains("assessor.methods: is empty"));
    assert!(wrong("methods = [\"forest\", \"forest\"]").contains("names `forest` twice"));
    assert!(wrong("methods = [\"forrest\"]").contains("`forest`"));
    assert!(wrong("top = 50\ntest = 20").contains("more than the 20 test cells"));
    let other = TABLE.replace("nas-bench-201", "digits-mlp");
    let other = said(&format!("{other}methods = [\"mlp-cell\"]\n"));
    assert!(other.contains("names `mlp-cell`, which reads the graph of a cell"), "{other}");
    assert!(said(&GOOD.replace("set = \"digits\"", "set = \"cells\"")).contains("`dc-nas` cannot train on"));
    assert!(said(&TABLE.replace("cells", "digits")).contains("data.set: is a set of images"));
}

#[test]
fn quantised_networks_have_no_space_and_settings_that_hold_together() {
    const TABLE: &str = "method = \"widen-squeeze\"\n[data]\nset = \"digits\"\n[widen-squeeze]\n";
    let said = |text: &str| match Spec::from_toml("p.toml", text) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    assert_eq!(said(TABLE), "");
    let wrong = |line: &str| said(&format!("{TABLE}{line}\n"));
    assert_eq!(wrong("weight-bits = 3"), "p.toml:5: widen-squeeze.weight-bits: is 3; expected 1, 2 or 4");
    assert!(
        wrong("activation-bits = 8")
            .contains("p.toml:5: widen-squeeze.activation-bits: expected a whole number from 1 to 4")
    );
    assert!(wrong("factors = [4.0, 2.0]").contains("expected rising factors"));
    assert!(wrong("factors = []").contains("expected rising factors"));
    assert!(wrong("factors = [0.5]").contains("widen-squeeze.factors"));
    assert!(wrong("squeeze-to = 4.0").contains("expected less than the largest factor (4)"));
    assert!(wrong("widths = []").contains("widen-squeeze.widths: is empty"));
    assert!(wrong("network = \"mlp\"\nwidths = [8]").contains("leaves no layer to quantise"));
    assert!(wrong("projecton = \"none\"").contains("did you mean `projection`?"));
    assert!(wrong("[run]\nprecision = \"bf16\"").contains("run.precision: cannot be changed for quantised networks"));
    let space = wrong("[space]\nname = \"digits-mlp\"");
    assert!(
        space.contains("p.toml:5: space: is the search space of methods that take their networks from one"),
        "{space}"
    );
    let arm = wrong("[[arms]]\nname = \"a\"\n[[arms]]\nname = \"b\"\nset = { \"widen-squeeze.weight-bits\" = 3 }");
    assert!(arm.contains("is 3; expected 1, 2 or 4 (in arm `b`)"), "{arm}");
    let unknown = wrong("[[arms]]\nname = \"a\"\nset = { \"widen-squeeze.width\" = 3 }");
    assert!(unknown.contains("`widths`") && unknown.contains("arm `a`"), "{unknown}");
    // A frozen preset stays without a space, and is read again.
    let spec = Spec::from_toml("p.toml", TABLE).unwrap();
    let text = spec.to_toml().unwrap();
    assert!(!text.contains("[space]"), "{text}");
    assert_eq!(Spec::from_toml("spec.toml", &text).unwrap(), spec);
}
