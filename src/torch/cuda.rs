//! CUDA at run time: one program serves machines with and without a card.

use crate::error::TorchError;
use crate::ffi::{self, Library, Symbols};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tch::Device;

/// What libtorch_cuda is called, beside libtorch_cpu.
const LIBRARY: &str = "libtorch_cuda.so";

/// Whether and from where CUDA is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaChoice {
    /// From beside libtorch_cpu.so, if the machine has an NVIDIA driver.
    Auto,
    /// Not at all.
    Off,
    /// This libtorch_cuda.so, or the one in this folder.
    Path(PathBuf),
}

impl CudaChoice {
    /// What `KILN_CUDA` asks for: `auto` (also when unset or empty), `off`, or a path.
    pub fn from_env() -> CudaChoice {
        match std::env::var_os("KILN_CUDA") {
            None => CudaChoice::Auto,
            Some(value) => match value.to_str() {
                Some("" | "auto" | "on" | "1") => CudaChoice::Auto,
                Some("off" | "0" | "no" | "none") => CudaChoice::Off,
                _ => CudaChoice::Path(PathBuf::from(value)),
            },
        }
    }
}

/// What became of CUDA in this process. As text: one line for `kiln doctor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CudaStatus {
    /// Not wanted.
    Off,
    /// Nothing to open, for this reason; usual on a machine without a card.
    Absent(String),
    /// There, but it could not be opened or started, for this reason.
    Failed(String),
    /// Opened.
    Loaded {
        /// Names of the cards, by index: `devices[0]` is `cuda:0`. Empty if it opened but sees no card.
        devices: Vec<String>,
        /// Version of cuDNN, such as `9.10.2`.
        cudnn: Option<String>,
    },
}

impl CudaStatus {
    /// How many cards can be used.
    pub fn devices(&self) -> usize {
        match self {
            CudaStatus::Loaded { devices, .. } => devices.len(),
            _ => 0,
        }
    }
}

impl fmt::Display for CudaStatus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            CudaStatus::Off => write!(f, "off: switched off by KILN_CUDA"),
            CudaStatus::Absent(why) => write!(f, "absent: {why}"),
            CudaStatus::Failed(why) => write!(f, "failed: {why}"),
            CudaStatus::Loaded { devices, cudnn } => {
                let cudnn = cudnn.as_ref().map_or("no cuDNN".to_string(), |version| format!("cuDNN {version}"));
                if devices.is_empty() {
                    return write!(
                        f,
                        "loaded ({cudnn}), but it sees no card: is the driver running, CUDA_VISIBLE_DEVICES set?"
                    );
                }
                let cards = devices.iter().enumerate().map(|(i, name)| format!("cuda:{i} {name}"));
                write!(f, "loaded ({cudnn}): {}", cards.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

/// Proof that [`init`] has run.
#[derive(Debug, Clone, Copy)]
pub struct Init {
    status: &'static CudaStatus,
}

impl Init {
    /// What became of CUDA.
    pub fn status(&self) -> &'static CudaStatus {
        self.status
    }
}

static STATUS: OnceLock<CudaStatus> = OnceLock::new();

/// Opens CUDA if there is any. Call it as the first statement of `main`, before any thread and any use of `tch`: libtorch
/// asks once per process for its CUDA part, and who asks too early gets none until the end.
///
/// Further calls change nothing and give the first one's result. Without a driver it costs under a millisecond, with one
/// 0.2 to 1.2 seconds and 235 MB of resident memory.
pub fn init(choice: &CudaChoice) -> Init {
    Init { status: STATUS.get_or_init(|| open(choice)) }
}

fn open(choice: &CudaChoice) -> CudaStatus {
    if *choice == CudaChoice::Off {
        return CudaStatus::Off;
    }
    let driver = Library::open(Path::new("libcuda.so.1"), Symbols::Local).ok();
    let path = match choice {
        CudaChoice::Path(path) if path.is_dir() => path.join(LIBRARY),
        CudaChoice::Path(path) => path.clone(),
        _ => {
            if driver.is_none() && !Path::new("/dev/nvidiactl").exists() {
                return CudaStatus::Absent("this machine has no NVIDIA driver (libcuda.so.1, /dev/nvidiactl)".into());
            }
            let Some(path) = ffi::torch_library().and_then(|cpu| Some(cpu.parent()?.join(LIBRARY))) else {
                return CudaStatus::Failed("the dynamic linker does not say where libtorch_cpu.so lies".into());
            };
            if !path.exists() {
                return CudaStatus::Absent(format!(
                    "an NVIDIA driver is here, but libtorch was fetched for the CPU only ({} is missing): \
                     fetch it again with `make libtorch`",
                    path.display()
                ));
            }
            path
        }
    };
    // cuBLAS reads this at its first use, and `deterministic(true)` fails without it; it costs 32 MiB a stream.
    ffi::default_env("CUBLAS_WORKSPACE_CONFIG", ":4096:8");
    if let Err(reason) = Library::open(&path, Symbols::Global) {
        return CudaStatus::Failed(format!("{} cannot be opened: {reason}", path.display()));
    }
    match ffi::cuda_devices() {
        Err(error) => CudaStatus::Failed(format!("{} is opened, but gives an error: {error}", path.display())),
        Ok((devices, cudnn)) => CudaStatus::Loaded {
            devices: (0..devices)
                .map(|i| driver.and_then(|d| d.cuda_device_name(i)).unwrap_or_else(|| "(name unknown)".into()))
                .collect(),
            cudnn: cudnn_version(cudnn),
        },
    }
}

/// cuDNN counts 1000 a major version up to 8, 10000 from 9 on.
fn cudnn_version(number: i64) -> Option<String> {
    let major = if number >= 90_000 { 10_000 } else { 1_000 };
    (number > 0).then(|| format!("{}.{}.{}", number / major, number % major / 100, number % 100))
}

/// The shim's number for a device: -1 for the CPU, else the index of a card that [`init`] has found.
pub(crate) fn device_index(device: Device) -> Result<i32, TorchError> {
    let index = match device {
        Device::Cpu => return Ok(-1),
        Device::Cuda(index) => index,
        other => {
            return Err(TorchError::Device(format!("{other:?} is no device that Kiln uses: there are Cpu and Cuda")));
        }
    };
    let reason = match STATUS.get() {
        None => "CUDA was not initialised (kiln_torch::init comes first in main)".to_string(),
        Some(status) if index < status.devices() => {
            return i32::try_from(index).map_err(|_| TorchError::Device(format!("there is no cuda:{index}")));
        }
        Some(status) => format!("CUDA is {status}"),
    };
    Err(TorchError::Device(format!("cuda:{index} cannot be used: {reason}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cudnn_numbers_read_as_versions() {
        assert_eq!(cudnn_version(0), None);
        assert_eq!(cudnn_version(8902).as_deref(), Some("8.9.2"));
        assert_eq!(cudnn_version(91_900).as_deref(), Some("9.19.0"));
        assert_eq!(cudnn_version(91_002).as_deref(), Some("9.10.2"));
    }

    #[test]
    fn a_path_to_nothing_fails_with_the_linkers_words() {
        let CudaStatus::Failed(why) = open(&CudaChoice::Path("/nowhere/libtorch_cuda.so".into())) else {
            panic!("opened a file that does not exist")
        };
        assert!(why.contains("/nowhere/libtorch_cuda.so cannot be opened"), "{why}");
        assert!(why.contains("No such file"), "{why}");
    }

    #[test]
    fn off_stays_off() {
        assert_eq!(open(&CudaChoice::Off), CudaStatus::Off);
        assert_eq!(CudaStatus::Off.devices(), 0);
    }

    #[test]
    fn the_library_that_libtorch_came_from_is_found() {
        let path = ffi::torch_library().unwrap();
        assert!(path.ends_with("libtorch_cpu.so") && path.is_file(), "{}", path.display());
    }

    #[test]
    fn a_card_that_is_not_there_is_refused_with_the_reason() {
        let error = device_index(Device::Cuda(99)).unwrap_err().to_string();
        assert!(error.starts_with("cuda:99 cannot be used: CUDA"), "{error}");
        assert_eq!(device_index(Device::Cpu).unwrap(), -1);
        assert!(device_index(Device::Mps).is_err());
    }

    #[test]
    fn a_status_reads_as_one_line() {
        let status = CudaStatus::Loaded { devices: vec!["NVIDIA H100".into()], cudnn: Some("9.10.2".into()) };
        assert_eq!(status.to_string(), "loaded (cuDNN 9.10.2): cuda:0 NVIDIA H100");
        assert_eq!(status.devices(), 1);
    }
}
