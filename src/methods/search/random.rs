//! Random search: every affordable network is as likely as any other, and none is trained twice.

use kiln_arch::Arch;
use kiln_arch::limits::Affordable;
use rand::Rng;

use super::propose::Proposal;

/// A network that `fresh` accepts; `None` if there is none left.
pub fn draw(affordable: &Affordable, rng: &mut impl Rng, fresh: &dyn Fn(&Arch) -> bool) -> Option<Proposal> {
    let arch = affordable.draw(rng, fresh)?;
    let cost = affordable.cost(&arch)?;
    Some(Proposal::New { arch, cost, parents: Vec::new() })
}
