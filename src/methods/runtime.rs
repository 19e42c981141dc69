//! libtorch as the worker starts it: the allocator, CUDA, the choice of the device.

use kiln_nn::torch::{self, CudaChoice, CudaStatus, Init};
use kiln_protocol::spec::Spec;
use serde::Serialize;
use tch::Device;

use crate::error::{MethodError, Result};

/// Proof that libtorch was started, and what became of CUDA.
pub struct Runtime {
    init: Init,
    tuned: bool,
}

/// Where a run computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `cpu` or `cuda:N`
    pub name: String,
    /// In words, such as `cpu (2 cores)` or `cuda:0 NVIDIA H100`.
    pub words: String,
    pub(crate) device: Device,
}

/// What `kiln doctor` says about a worker.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub version: String,
    pub libtorch: String,
    pub libtorch_path: Option<String>,
    /// `off`, `absent`, `failed` or `loaded`.
    pub cuda: String,
    /// One line: what was found and why not.
    pub cuda_says: String,
    pub cudnn: Option<String>,
    pub devices: Vec<Card>,
    pub cores: usize,
    /// Whether the C library's allocator was told to keep large blocks.
    pub allocator_tuned: bool,
}

/// One device of a [`Report`].
#[derive(Clone, Debug, Serialize)]
pub struct Card {
    pub name: String,
    pub words: String,
    /// Bytes; none for the CPU.
    pub memory: Option<u64>,
}

impl Runtime {
    /// Tunes the allocator and opens CUDA. First statement of `main`, before any thread: both must come before libtorch
    /// looks for the one and threads take memory from the other.
    pub fn start() -> Runtime {
        let tuned = torch::tune_allocator();
        Runtime { init: torch::init(&CudaChoice::from_env()), tuned }
    }

    /// The device of a run. A spec that names one exactly gets it; `auto` and `cuda` take the one that the engine
    /// assigned (`KILN_DEVICE`), else the first that is there.
    ///
    /// # Errors
    /// A sentence, if a GPU is asked for that cannot be had.
    pub fn place(&self, setting: &str, assigned: Option<&str>) -> Result<Place> {
        let status = self.init.status();
        let assigned = assigned.map(str::trim).filter(|name| !name.is_empty());
        let wanted = match (setting, assigned) {
            ("auto", Some(name)) => name,
            ("auto", None) if status.devices() > 0 => "cuda:0",
            ("auto", None) => "cpu",
            ("cuda", Some(name)) if name.starts_with("cuda") => name,
            (exact, _) => exact,
        };
        if wanted == "cpu" {
            return Ok(Place { name: "cpu".into(), words: cpu_words(), device: Device::Cpu });
        }
        let index = match wanted.strip_prefix("cuda") {
            Some("") => Some(0),
            Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse::<usize>().ok()),
            None => None,
        };
        let index = index.ok_or_else(|| {
            MethodError::failed(format!("there is no device `{wanted}`: use `auto`, `cpu`, `cuda` or `cuda:N`"))
        })?;
        match status {
            CudaStatus::Loaded { devices, .. } if index < devices.len() => Ok(Place {
                name: format!("cuda:{index}"),
                words: format!("cuda:{index} {}", devices[index]),
                device: Device::Cuda(index),
            }),
            other => Err(MethodError::failed(format!(
                "the device `{wanted}` cannot be used: CUDA is {other}. Set `run.device` to `auto` or `cpu` to compute without it"
            ))),
        }
    }

    /// Switches that hold for the whole process.
    pub fn configure(&self, spec: &Spec, place: &Place) -> Result<()> {
        if place.device != Device::Cpu {
            let fast = !spec.run.deterministic;
            torch::deterministic(!fast).map_err(MethodError::failed)?;
            torch::tf32(fast).map_err(MethodError::failed)?;
            torch::cudnn_benchmark(fast).map_err(MethodError::failed)?;
        }
        // The thread that drives the method computes little, and must not bring a team of threads of its own along.
        torch::set_threads(1);
        Ok(())
    }

    /// Everything that `kiln doctor` wants to know.
    pub fn report(&self, version: &str) -> Report {
        let status = self.init.status();
        let mut devices = vec![Card { name: "cpu".into(), words: cpu_words(), memory: None }];
        let mut dnn = None;
        if let CudaStatus::Loaded { devices: cards, cudnn } = status {
            dnn.clone_from(cudnn);
            devices.extend(cards.iter().enumerate().map(|(i, words)| Card {
                name: format!("cuda:{i}"),
                words: words.clone(),
                memory: torch::memory(Device::Cuda(i)).map(|memory| memory.total),
            }));
        }
        let cuda = match status {
            CudaStatus::Off => "off",
            CudaStatus::Absent(_) => "absent",
            CudaStatus::Failed(_) => "failed",
            CudaStatus::Loaded { .. } => "loaded",
        };
        Report {
            version: version.to_owned(),
            libtorch: torch::libtorch_version().to_owned(),
            libtorch_path: torch::libtorch_path().map(|path| path.display().to_string()),
            cuda: cuda.to_owned(),
            cuda_says: status.to_string(),
            cudnn: dnn,
            devices,
            cores: cores(),
            allocator_tuned: self.tuned,
        }
    }
}

impl Place {
    /// The CPU, without asking anybody.
    pub fn cpu() -> Place {
        Place { name: "cpu".into(), words: cpu_words(), device: Device::Cpu }
    }

    /// Device memory in tensors of this process, in bytes; 0 on the CPU.
    pub fn memory(&self) -> u64 {
        torch::memory(self.device).map_or(0, |memory| memory.allocated)
    }
}

fn cpu_words() -> String {
    match cores() {
        1 => "cpu (1 core)".to_owned(),
        n => format!("cpu ({n} cores)"),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_device_wins_over_the_assigned_one_and_a_missing_card_is_explained() {
        let runtime = Runtime { init: torch::init(&CudaChoice::Off), tuned: false };
        assert_eq!(runtime.place("cpu", Some("cuda:1")).unwrap().name, "cpu");
        assert_eq!(runtime.place("auto", Some("cpu")).unwrap().name, "cpu");
        assert_eq!(runtime.place("auto", None).unwrap().name, "cpu");
        let error = runtime.place("cuda:7", None).unwrap_err().to_string();
        assert!(error.contains("cuda:7") && error.contains("KILN_CUDA") && error.contains("run.device"), "{error}");
        assert!(runtime.place("auto", Some("tpu")).unwrap_err().to_string().contains("tpu"));
    }
}
