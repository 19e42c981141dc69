//! Signs of life.

use kiln_methods::runtime::Place;
use kiln_protocol::Body;

/// A heartbeat with what the process uses now.
pub fn beat(place: &Place) -> Body {
    Body::Beat { rss: resident(), device_memory: place.memory() }
}

/// Resident memory of this process in bytes; 0 where the system does not say.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_living_process_uses_memory() {
        assert!(super::resident() > 1 << 20);
    }
}
