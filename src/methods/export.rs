//! Finished networks as files that other programs read: safetensors, with what the network is in its metadata.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use kiln_arch::quantised::PackedNet;
use kiln_arch::{Arch, Plan, Shape};
use kiln_data::DataSet;
use kiln_nn::Network;
use kiln_protocol::spec::Spec;
use kiln_protocol::spool::replace;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, View};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tch::{Device, Tensor};

use crate::error::{MethodError, Result};

/// The metadata's one entry.
const KEY: &str = "kiln";

/// What a network file says of itself, as JSON in the entry `kiln` of its metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub space: String,
    /// The genotype as the space writes it.
    pub arch: String,
    pub genes: Vec<String>,
    pub input: Shape,
    /// Names of the classes, in the order of the logits.
    pub classes: Vec<String>,
    /// Of pixels scaled to `0..=1`, by channel; images are normalised by these before they enter the network.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
    /// Digest of the data set that it was trained on.
    pub data: String,
    /// Version of the program that wrote it.
    pub kiln: String,
}

/// A network file, read.
pub struct Exported {
    pub about: About,
    /// By the names that the network gives them.
    pub tensors: Vec<(String, Tensor)>,
}

struct Plain {
    dtype: Dtype,
    shape: Vec<usize>,
    data: Vec<u8>,
}

impl View for &Plain {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.data)
    }
    fn data_len(&self) -> usize {
        self.data.len()
    }
}

/// The tensors of a network as the bytes of a file, with an [`About`] in its metadata. Equal networks give equal files.
pub fn network(arch: &Arch, plan: &Plan, data: &DataSet, tensors: &[(String, Tensor)]) -> Result<Vec<u8>> {
    let about = About {
        space: arch.space.clone(),
        arch: arch.to_string(),
        genes: arch.genes.clone(),
        input: plan.input,
        classes: data.classes.clone(),
        mean: data.mean.clone(),
        std: data.std.clone(),
        data: data.digest.clone(),
        kiln: env!("CARGO_PKG_VERSION").to_owned(),
    };
    file(tensors, &json!(about))
        .map_err(|error| MethodError::failed(format!("the network {arch} cannot be exported: {error}")))
}

/// Tensors as the bytes of a safetensors file, with a value in its metadata.
pub(crate) fn file(tensors: &[(String, Tensor)], about: &serde_json::Value) -> Result<Vec<u8>> {
    let mut plain = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let (dtype, shape, data) = kiln_nn::torch::to_bytes(tensor).map_err(MethodError::failed)?;
        let dtype = serde_json::from_value(json!(dtype)).map_err(MethodError::failed)?;
        plain.push((name.as_str(), Plain { dtype, shape, data }));
    }
    // One entry only: the library writes several in random order, and equal networks should give equal files.
    let metadata = HashMap::from([(KEY.to_owned(), about.to_string())]);
    let views = plain.iter().map(|(name, view)| (*name, view));
    safetensors::serialize(views, Some(metadata)).map_err(MethodError::failed)
}

/// Reads what [`file`] wrote: the value, and the tensors in plain layout on the CPU, by name.
pub(crate) fn parse<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<(T, Vec<(String, Tensor)>)> {
    let (_, head) = SafeTensors::read_metadata(bytes).map_err(MethodError::failed)?;
    let about = head.metadata().as_ref().and_then(|m| m.get(KEY));
    let about = about.ok_or_else(|| MethodError::failed(format!("its metadata has no entry `{KEY}`")))?;
    let about = serde_json::from_str(about).map_err(MethodError::failed)?;
    let file = SafeTensors::deserialize(bytes).map_err(MethodError::failed)?;
    let mut tensors = Vec::new();
    for (name, view) in file.tensors() {
        let dtype = json!(view.dtype());
        let dtype = dtype.as_str().unwrap_or_default();
        let tensor = kiln_nn::torch::from_bytes(dtype, view.shape(), view.data()).map_err(MethodError::failed)?;
        tensors.push((name, tensor));
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((about, tensors))
}

/// Reads a network file.
///
/// # Errors
/// A sentence that names the file, if it cannot be read or is none of Kiln's.
pub fn read(path: &Path) -> Result<Exported> {
    let fail = |why: &dyn std::fmt::Display| {
        MethodError::failed(format!("{} is no network that Kiln can read: {why}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| fail(&error))?;
    let (about, tensors) = parse(&bytes).map_err(|error| fail(&error))?;
    Ok(Exported { about, tensors })
}

/// What a network is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Tensors by name, with an [`About`] in the metadata.
    Safetensors,
    /// A module for PyTorch and libtorch, by tracing: normalised images `[n, c, h, w]` in, logits `[n, classes]` out. The
    /// [`About`] lies beside it as the extra file `kiln.json`.
    Torchscript,
}

/// A network file of a run.
pub struct Found {
    /// The run folder.
    run: PathBuf,
    file: PathBuf,
    kept: Kept,
}

/// What a network file holds.
enum Kept {
    /// A network of a space.
    Network(Box<Exported>),
    /// Packed bits, which only Kiln's own inference reads.
    Packed(Box<PackedNet>),
    /// A generator of images: how many tensors, and how many numbers the trainable ones hold.
    Generator { name: String, tensors: usize, numbers: usize },
}

/// The trained network of the first of these run folders that has one of this architecture (of any, if `None`).
///
/// # Errors
/// A sentence that says what the runs have instead.
pub fn find(runs: &[PathBuf], arch: Option<&str>) -> Result<Found> {
    let mut others = Vec::new();
    for run in runs {
        for file in network_files(run) {
            // Other tensors may lie there as well.
            let Ok(network) = read(&file) else { continue };
            if arch.is_none_or(|arch| arch == network.about.arch) {
                return Ok(Found { run: run.clone(), file, kept: Kept::Network(Box::new(network)) });
            }
            others.push(network.about.arch);
        }
        let packed = run.join("artifacts").join(crate::widen_squeeze::packed::FILE);
        if arch.is_none()
            && let Ok(bytes) = std::fs::read(&packed)
            && let Ok(net) = PackedNet::read(&bytes)
        {
            return Ok(Found { run: run.clone(), file: packed, kept: Kept::Packed(Box::new(net)) });
        }
        let generator = run.join("artifacts").join(crate::pugan::run::FILE);
        if arch.is_none()
            && let Ok(bytes) = std::fs::read(&generator)
            && let Ok((about, tensors)) = parse::<serde_json::Value>(&bytes)
        {
            let name = format!("generator {}-{}", about["net"].as_str().unwrap_or("?"), about["width"]);
            // Running statistics and the vectors of spectral normalisation are not learnt.
            let learnt = tensors.iter().filter(|(name, _)| name.ends_with(".weight") || name.ends_with(".bias"));
            let numbers = learnt.map(|(_, t)| t.numel()).sum();
            let kept = Kept::Generator { name, tensors: tensors.len(), numbers };
            return Ok(Found { run: run.clone(), file: generator, kept });
        }
    }
    let has = match others.as_slice() {
        [] => "no network was trained in full yet".to_owned(),
        some => format!("weights were kept of {} alone", some.join(", ")),
    };
    Err(MethodError::failed(match arch {
        Some(arch) => format!("there are no weights of {arch}: {has}"),
        None => format!("there are no weights: {has}"),
    }))
}

/// Files in a run's artifacts that may be networks: the run's one network first.
fn network_files(run: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run.join("artifacts")).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort_by_key(|path| (path.file_name().is_some_and(|name| name != "network.safetensors"), path.clone()));
    files
}

/// Writes a network to `out`, whole or not at all, and says what was written: `file`, `arch`, `space` (not of packed bits and
/// generators, which come from none), `tensors`, `parameters` (running statistics are none).
///
/// # Errors
/// A sentence that names the file; packed bits and generators in another format than their own.
pub fn write(found: &Found, format: Format, out: &Path) -> Result<serde_json::Value> {
    let fail = |why: &dyn std::fmt::Display| {
        MethodError::failed(format!("the network cannot be written to {}: {why}", out.display()))
    };
    let copy = || {
        let bytes = std::fs::read(&found.file).map_err(|error| fail(&error))?;
        replace(out, &bytes).map_err(|error| fail(&error))
    };
    let exported = match &found.kept {
        Kept::Network(exported) => exported,
        Kept::Packed(net) if format == Format::Safetensors => {
            copy()?;
            let network = &net.about.network;
            let widths: Vec<String> = network.widths.iter().map(u32::to_string).collect();
            let bits = network.bits.map_or(32, |bits| bits.weights);
            return Ok(json!({
                "file": out,
                "arch": format!("packed network of widths {} and {bits}-bit weights", widths.join("-")),
                "tensors": net.tensors(),
                "parameters": network.cost().params,
            }));
        }
        Kept::Packed(_) => return Err(fail(&"packed bits have no such form; take --format safetensors")),
        Kept::Generator { name, tensors, numbers } if format == Format::Safetensors => {
            copy()?;
            return Ok(json!({ "file": out, "arch": name, "tensors": tensors, "parameters": numbers }));
        }
        Kept::Generator { .. } => return Err(fail(&"generators have no such form; take --format safetensors")),
    };
    let about = &exported.about;
    let network = rebuilt(found, exported)?;
    match format {
        Format::Safetensors => copy()?,
        Format::Torchscript => {
            // libtorch writes a file of its own; beside the place and renamed in, like all others.
            let part = out.with_extension("part");
            let text = json!(about).to_string();
            let written = network
                .write_torchscript(&part, &[("kiln.json", &text)])
                .map_err(|error| fail(&error))
                .and_then(|()| std::fs::rename(&part, out).map_err(|error| fail(&error)));
            if let Err(error) = written {
                // What is left of it is of no use to anybody.
                let _ = std::fs::remove_file(&part);
                return Err(error);
            }
        }
    }
    Ok(json!({
        "file": out,
        "arch": about.arch,
        "space": about.space,
        "tensors": exported.tensors.len(),
        "parameters": network.parameters(),
    }))
}

/// The network on the CPU, from the space in its run's settings: a file alone cannot know a user's own space.
fn rebuilt(found: &Found, exported: &Exported) -> Result<Network> {
    let about = &exported.about;
    let path = found.run.join("spec.toml");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| MethodError::failed(format!("cannot read {}: {error}", path.display())))?;
    let spec = Spec::from_toml(&path.display().to_string(), &text).map_err(MethodError::failed)?;
    let space = crate::train::space(&spec)?;
    let arch = space.parse(&about.arch).map_err(MethodError::failed)?;
    let classes = u32::try_from(about.classes.len()).unwrap_or(u32::MAX);
    let plan = space.plan(&arch, about.input, classes).map_err(MethodError::failed)?;
    let built = || -> Result<Network, kiln_nn::TrainError> {
        let mut network = Network::build(&plan, 0, Device::Cpu)?;
        network.load(&exported.tensors)?;
        Ok(network)
    };
    built().map_err(|error| MethodError::failed(format!("{} cannot be rebuilt: {error}", found.file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_exported_as_it_computes_or_says_what_it_has() {
        let settings = "method = \"train\"\n[data]\ntrain = 100\nvalid = 64\ntest = 64\n[space]\nname = \"digits-mlp\"\n[optim]\n\
            batch = 50\n[train]\narch = \"fast-2-16\"\nepochs = 2\n";
        let world = crate::testing::World::new(settings);
        let runs = [world.dir.path().to_owned()];
        let none = find(&runs, None).err().unwrap().to_string();
        assert!(none.contains("no weights") && none.contains("yet"), "{none}");
        world.run();
        std::fs::write(world.dir.path().join("spec.toml"), world.spec.to_toml().unwrap()).unwrap();
        let other = find(&runs, Some("slow-2-16")).err().unwrap().to_string();
        assert!(other.contains("of slow-2-16") && other.contains("kept of fast-2-16 alone"), "{other}");

        let found = find(&runs, Some("fast-2-16")).unwrap();
        let out = world.dir.path().join("n.safetensors");
        let said = write(&found, Format::Safetensors, &out).unwrap();
        assert_eq!(std::fs::read(&out).unwrap(), world.artifact("network.safetensors"));
        assert_eq!((said["arch"].as_str(), said["space"].as_str()), (Some("fast-2-16"), Some("digits-mlp")));

        let out = world.dir.path().join("n.pt");
        write(&found, Format::Torchscript, &out).unwrap();
        let module = tch::CModule::load(&out).unwrap();
        let images = Tensor::rand([3, 1, 8, 8], (tch::Kind::Float, Device::Cpu));
        let Kept::Network(exported) = &found.kept else { panic!("a network of a space") };
        let expected = rebuilt(&found, exported).unwrap().forward(&images, kiln_nn::Mode::Eval).unwrap();
        assert!(module.forward_ts(&[images]).unwrap().equal(&expected));

        let unwritable = write(&found, Format::Torchscript, Path::new("/nonexistent/n.pt")).unwrap_err().to_string();
        assert!(unwritable.contains("/nonexistent/n.pt") && !unwritable.contains('\n'), "{unwritable}");
    }

    #[test]
    fn what_is_written_is_read_with_the_same_bits() {
        let tensors = vec![
            ("b.weight".to_owned(), Tensor::from_slice(&[0.1_f32, f32::MIN_POSITIVE, -0.0]).reshape([3, 1])),
            ("a.count".to_owned(), Tensor::from_slice(&[i64::MIN, 7])),
        ];
        let bytes = file(&tensors, &json!({"x": 1})).unwrap();
        let (about, mut back): (serde_json::Value, _) = parse(&bytes).unwrap();
        assert_eq!(about, json!({"x": 1}));
        back.reverse();
        for ((name, tensor), (other, read)) in tensors.iter().zip(&back) {
            assert_eq!((name, tensor.size(), tensor.kind()), (other, read.size(), read.kind()));
            assert!(tensor.equal(read));
        }
        assert_eq!(file(&tensors, &json!({"x": 1})).unwrap(), bytes, "equal networks, equal files");
    }

    #[test]
    fn a_file_of_another_kind_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        for bytes in [b"".as_slice(), b"not a network at all"] {
            std::fs::write(&path, bytes).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains("x.safetensors") && error.contains("no network"), "{error}");
        }
        assert!(read(Path::new("/nonexistent/y")).err().unwrap().to_string().contains("/nonexistent/y"));
    }
}
