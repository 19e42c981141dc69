//! What this machine can run jobs on: GPUs, asked of NVML at run time, and the CPU.

use std::fmt;

use kiln_protocol::wire::{Gpu, GpuProcess};
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;

use crate::scheduler::Device;

/// A device with its name for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub device: Device,
    pub name: String,
}

/// The GPUs that workers can use, in CUDA's numbering, and NVML to watch them by.
#[derive(Default)]
pub struct Gpus {
    nvml: Option<Nvml>,
    /// NVML's index of CUDA's device 0, 1, …
    indices: Vec<u32>,
}

impl fmt::Debug for Gpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gpus").field("indices", &self.indices).finish_non_exhaustive()
    }
}

impl Gpus {
    /// Looks for GPUs. None where there is no NVIDIA driver, where `KILN_CUDA` is `off`, or where `CUDA_VISIBLE_DEVICES`
    /// hides them.
    pub fn find() -> Gpus {
        if std::env::var("KILN_CUDA").is_ok_and(|v| v.eq_ignore_ascii_case("off")) {
            return Gpus::default();
        }
        let nvml = match Nvml::init() {
            Ok(nvml) => nvml,
            Err(reason) => {
                tracing::info!("no GPUs: {reason}");
                return Gpus::default();
            }
        };
        let count = nvml.device_count().unwrap_or(0);
        let uuids: Vec<String> =
            (0..count).map(|i| nvml.device_by_index(i).and_then(|d| d.uuid()).unwrap_or_default()).collect();
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        Gpus { nvml: Some(nvml), indices: visible_devices(visible.as_deref(), &uuids) }
    }

    /// Devices in CUDA's numbering.
    pub fn devices(&self) -> Vec<Named> {
        let name = |i: u32| Some(self.nvml.as_ref()?.device_by_index(i).ok()?.name().unwrap_or_else(|_| "GPU".into()));
        let named = |(n, &i): (usize, &u32)| Some(Named { device: Device::Cuda(n as u32), name: name(i)? });
        self.indices.iter().enumerate().filter_map(named).collect()
    }

    /// Present figures. What a card does not tell is zero.
    pub fn figures(&self) -> Vec<Gpu> {
        let Some(nvml) = &self.nvml else { return Vec::new() };
        let figures = |(n, &i): (usize, &u32)| {
            let device = nvml.device_by_index(i).ok()?;
            let memory = device.memory_info().ok();
            Some(Gpu {
                index: n as u32,
                name: device.name().unwrap_or_else(|_| "GPU".into()),
                utilisation: device.utilization_rates().map_or(0.0, |u| f64::from(u.gpu) / 100.0),
                memory_used: memory.as_ref().map_or(0, |m| m.used),
                memory_total: memory.as_ref().map_or(0, |m| m.total),
                temperature: device.temperature(TemperatureSensor::Gpu).unwrap_or(0),
                power: device.power_usage().map_or(0.0, |mw| f64::from(mw) / 1000.0),
                power_limit: device.enforced_power_limit().map_or(0.0, |mw| f64::from(mw) / 1000.0),
                clock: device.clock_info(Clock::SM).unwrap_or(0),
                clock_max: device.max_clock_info(Clock::SM).unwrap_or(0),
                memory_clock: device.clock_info(Clock::Memory).unwrap_or(0),
                processes: device
                    .running_compute_processes()
                    .map_or_else(|_| Vec::new(), |all| all.iter().map(process).collect()),
            })
        };
        self.indices.iter().enumerate().filter_map(figures).collect()
    }
}

/// A process as NVML knows it. Its name, and whose it is, is found out by whoever knows the processes of this machine.
fn process(p: &nvml_wrapper::struct_wrappers::device::ProcessInfo) -> GpuProcess {
    let memory = match p.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => bytes,
        UsedGpuMemory::Unavailable => 0,
    };
    GpuProcess { pid: p.pid, memory, ..GpuProcess::default() }
}

/// NVML's indices in the order that CUDA numbers them, given `CUDA_VISIBLE_DEVICES`. As CUDA does, the list ends at its
/// first entry that names no device. Workers get `CUDA_DEVICE_ORDER=PCI_BUS_ID`, which is NVML's own order.
fn visible_devices(variable: Option<&str>, uuids: &[String]) -> Vec<u32> {
    let Some(list) = variable else { return (0..uuids.len() as u32).collect() };
    let find = |entry: &str| match entry.trim().parse::<u32>() {
        Ok(i) if (i as usize) < uuids.len() => Some(i),
        Ok(_) => None,
        Err(_) if entry.trim().starts_with("GPU-") => {
            uuids.iter().position(|u| u.starts_with(entry.trim())).map(|i| i as u32)
        }
        Err(_) => None,
    };
    list.split(',').map_while(find).collect()
}

/// The CPU's slots. A job uses all cores (one candidate each), so there is one unless the setting says otherwise.
pub fn cpu_slots(slots: usize, cores: usize) -> Vec<Named> {
    let noun = if cores == 1 { "core" } else { "cores" };
    (0..slots).map(|_| Named { device: Device::Cpu, name: format!("CPU, {cores} {noun}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_devices_are_left_out_as_cuda_does() {
        let uuids = ["GPU-aa1", "GPU-bb2", "GPU-cc3"].map(String::from);
        let visible = |v| visible_devices(v, &uuids);
        assert_eq!(visible(None), [0, 1, 2]);
        assert_eq!(visible(Some("2,0")), [2, 0]);
        assert_eq!(visible(Some("GPU-bb, 0")), [1, 0]);
        assert_eq!(visible(Some("1,-1,0")), [1]);
        assert_eq!(visible(Some("0,7,1")), [0]);
        assert!(visible(Some("")).is_empty());
    }

    #[test]
    fn no_driver_means_no_gpu_and_no_error() {
        // On a machine with a driver this still holds: every device has a name and a figure.
        let gpus = Gpus::find();
        assert_eq!(gpus.devices().len(), gpus.figures().len());
        assert_eq!(cpu_slots(1, 2)[0].name, "CPU, 2 cores");
    }
}
