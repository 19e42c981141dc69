//! Scaffold
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub params: u64,
    pub macs: u64,
}
