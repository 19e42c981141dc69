//! Regularisers that distort activations during training: a table that every method has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is done to the entries of a feature map that chance selects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegulariserKind {
    /// No regulariser.
    #[default]
    None,
    /// Entries become zero, each on its own.
    Dropout,
    /// Whole channels of a map become zero.
    SpatialDropout,
    /// Square blocks of a map become zero (arXiv:1810.12890).
    Dropblock,
    /// Square blocks of a map become noise that follows the weights of the next layer (arXiv:2002.11022); of a vector, single entries.
    Disout,
    /// A control of `disout`: noise of the same power, but the same for all channels.
    Isotropic,
}

impl RegulariserKind {
    /// As presets write it.
    pub fn as_str(self) -> &'static str {
        match self {
            RegulariserKind::None => "none",
            RegulariserKind::Dropout => "dropout",
            RegulariserKind::SpatialDropout => "spatial-dropout",
            RegulariserKind::Dropblock => "dropblock",
            RegulariserKind::Disout => "disout",
            RegulariserKind::Isotropic => "isotropic",
        }
    }

    /// Whether it selects square blocks of a map.
    pub fn has_blocks(self) -> bool {
        matches!(self, RegulariserKind::Dropblock | RegulariserKind::Disout | RegulariserKind::Isotropic)
    }
}

impl std::fmt::Display for RegulariserKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Forms of Disout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DisoutVariant {
    /// As the authors' code does it: normal noise, scaled by the largest next weight of each channel with random signs and by the spread of the batch.
    #[default]
    Official,
    /// A step down the gradient of the complexity itself, added to the selected entries: an ablation.
    Erc,
}

/// Where a regulariser works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RegulariserPlace {
    /// Behind each convolution with a kernel above 1x1 whose maps have the size of the last convolution's; not in the stem.
    #[default]
    LastStage,
    /// Behind the activation of each fully connected layer but the classifier.
    Hidden,
    /// Behind each convolution with a kernel above 1x1, and behind the activation of each hidden fully connected layer.
    All,
}

impl RegulariserPlace {
    /// As presets write it.
    pub fn as_str(self) -> &'static str {
        match self {
            RegulariserPlace::LastStage => "last-stage",
            RegulariserPlace::Hidden => "hidden",
            RegulariserPlace::All => "all",
        }
    }
}

/// What is done to activations during training, of every network that is trained from its start. Evaluation never sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RegulariserSettings {
    /// The regulariser.
    pub kind: RegulariserKind,
    /// Probability with which an entry is distorted, at the end of the ramp.
    #[schemars(range(min = 0.0, max = 0.999), extend("x-live" = true, "x-aliases" = ["probability", "rate", "dist-prob", "drop-prob"]))]
    pub p: f64,
    /// Side of the blocks that are distorted together; at most that of the smallest map it works on. Vectors have single entries.
    #[schemars(range(min = 1, max = 1024), extend("x-unit" = "px", "x-aliases" = ["block-size", "block_size", "b"]))]
    pub block: u32,
    /// Strength of the noise of `disout` and `isotropic`.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub alpha: f64,
    /// Form of `disout`.
    pub variant: DisoutVariant,
    /// Share of the training over which the probability rises from 0; 0 for the full probability at once.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ramp: f64,
    /// Where it works.
    #[schemars(extend("x-aliases" = ["where", "layers", "place"]))]
    pub at: RegulariserPlace,
    /// Keeps the noise of each channel at most as large as the spread of the activations (alpha |c| <= 1), without which wide layers can diverge. The authors' code does not.
    pub clamp: bool,
}

impl Default for RegulariserSettings {
    fn default() -> Self {
        RegulariserSettings {
            kind: RegulariserKind::None,
            p: 0.1,
            block: 5,
            alpha: 1.0,
            variant: DisoutVariant::Official,
            ramp: 1.0,
            at: RegulariserPlace::LastStage,
            clamp: true,
        }
    }
}

impl RegulariserSettings {
    /// Whether it ever changes anything.
    pub fn is_on(&self) -> bool {
        self.kind != RegulariserKind::None && self.p > 0.0
    }

    /// `disout, p 0.09, at last-stage`; `none` where it changes nothing.
    pub fn in_words(&self) -> String {
        match self.is_on() {
            true => format!("{}, p {}, at {}", self.kind, self.p, self.at.as_str()),
            false => "none".into(),
        }
    }

    /// The probability in the step that follows `done` finished ones of `total`: from 0 in the first step to `p` in the last
    /// one of the ramp, and `p` from then on.
    pub fn probability(&self, done: u64, total: u64) -> f64 {
        let last = (self.ramp * total as f64).floor() - 1.0;
        if last < 1.0 { self.p } else { self.p * (done as f64 / last).min(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probability_rises_over_its_share_of_the_training() {
        let half = RegulariserSettings { p: 0.4, ramp: 0.5, ..RegulariserSettings::default() };
        // Ten steps, the first five are the ramp: 0, 0.1, ... 0.4.
        let seen: Vec<f64> = (0..10).map(|step| half.probability(step, 10)).collect();
        for (step, p) in seen.iter().enumerate() {
            let want = 0.4 * (step as f64 / 4.0).min(1.0);
            assert!((p - want).abs() < 1e-12, "{seen:?}");
        }
        let at_once = RegulariserSettings { ramp: 0.0, ..half.clone() };
        assert_eq!(at_once.probability(0, 10), 0.4);
        let whole = RegulariserSettings { ramp: 1.0, ..half };
        assert_eq!((whole.probability(0, 10), whole.probability(9, 10)), (0.0, 0.4));
    }
}
