//! Measured latency: what each block of a chain takes on one device, as `kiln latency` measures it and writes it down.
//!
//! A table is a TOML file. Times are milliseconds for one forward pass of one batch:
//!
//! ```toml
//! format = 1
//! space = "mobile-xs"
//! device = "cpu"               # cpu, or cuda:0 and so on
//! machine = "cpu (2 cores)"    # what that was
//! threads = 1                  # of libtorch; matters on the CPU only
//! batch = 1                    # images in a pass
//! input = [1, 8, 8]            # channels, height, width
//! classes = 10
//! stem = 0.021
//! head = 0.014
//!
//! [reference]                  # a check on the sums: one whole network
//! arch = "k3e3-k3e3-…"
//! sum = 0.52                   # of its blocks' times
//! whole = 0.50                 # as measured in one piece
//! macs = 123456                # of one image; tells whether the space has changed since
//!
//! [slots."stage1.1"]
//! k3e1 = 0.034
//! skip = 0.0
//! ```
//!
//! Budgets compare integers, so all sums here are nanoseconds.

use std::collections::BTreeMap;
use std::path::Path;

use kiln_spec::SpaceSettings;
use serde::{Deserialize, Serialize};

use crate::chain::Chain;
use crate::plan::Shape;
use crate::space::{Arch, ArchError, Space};

/// Form of the file.
const FORMAT: u32 = 1;

/// What the blocks of a chain take on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatencyTable {
    pub format: u32,
    /// The space's name.
    pub space: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// The device in words.
    pub machine: String,
    /// Intra-op threads.
    pub threads: u32,
    /// Images in a pass.
    pub batch: u32,
    /// Channels, height, width.
    pub input: [u32; 3],
    pub classes: u32,
    /// Milliseconds of what comes before the searched slots.
    pub stem: f64,
    /// Milliseconds of what comes after them.
    pub head: f64,
    pub reference: WholeNetwork,
    /// Milliseconds by slot and choice.
    pub slots: BTreeMap<String, BTreeMap<String, f64>>,
}

/// What is to be measured: what `kiln latency` asks the worker for, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LatencyRequest {
    pub space: SpaceSettings,
    /// Channels, height, width.
    pub input: [u32; 3],
    pub classes: u32,
    /// Images in a pass.
    pub batch: u32,
    /// Intra-op threads.
    pub threads: u32,
    /// Samples of each block; the median counts.
    pub rounds: u32,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
}

impl LatencyRequest {
    /// The input as networks see it.
    pub fn shape(&self) -> Shape {
        let [c, h, w] = self.input;
        Shape::Image(c, h, w)
    }

    /// The space and its blocks.
    ///
    /// # Errors
    /// An unknown space, one that is no chain, an input that does not fit.
    pub fn chain(&self) -> Result<(Space, Chain), ArchError> {
        let space = Space::of(&self.space).map_err(|(_, e)| e)?;
        let chain = space.chain(self.shape(), self.classes)?.ok_or_else(|| {
            ArchError(format!(
                "space `{}` is no chain of blocks with one decision each, so its blocks have no times of their own; spaces such as `mobile-m` have",
                space.name
            ))
        })?;
        Ok((space, chain))
    }
}

/// One network measured as a whole, beside the sum of its blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WholeNetwork {
    pub arch: String,
    /// Milliseconds: sum of stem, blocks and head.
    pub sum: f64,
    /// Milliseconds measured in one piece.
    pub whole: f64,
    /// Multiply-accumulates of one image.
    pub macs: u64,
}

/// A chain's times as integers, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// Stem and head.
    pub fixed: u64,
    /// By slot and choice, as the chain has them.
    pub slots: Vec<Vec<u64>>,
}

impl Latencies {
    /// Nanoseconds of the network with these choices, one a slot. Indices out of range cost nothing.
    pub fn of(&self, choices: &[usize]) -> u64 {
        let chosen = self.slots.iter().zip(choices).filter_map(|(slot, &choice)| slot.get(choice));
        self.fixed + chosen.sum::<u64>()
    }
}

impl LatencyTable {
    /// An empty table for these settings; times are added by name.
    pub fn new(space: &str, input: [u32; 3], classes: u32, batch: u32) -> LatencyTable {
        LatencyTable {
            format: FORMAT,
            space: space.to_owned(),
            device: String::new(),
            machine: String::new(),
            threads: 1,
            batch,
            input,
            classes,
            stem: 0.0,
            head: 0.0,
            reference: WholeNetwork { arch: String::new(), sum: 0.0, whole: 0.0, macs: 0 },
            slots: BTreeMap::new(),
        }
    }

    /// Reads a table from a file.
    ///
    /// # Errors
    /// A file that cannot be read, and as [`LatencyTable::from_toml`].
    pub fn read(file: &Path) -> Result<LatencyTable, ArchError> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            ArchError(format!("the latency table {} cannot be read: {e}; `kiln latency` writes one", file.display()))
        })?;
        LatencyTable::from_toml(&file.display().to_string(), &text)
    }

    /// Reads a table; `name` stands for the file in messages.
    ///
    /// # Errors
    /// Text that is no such table, or of a newer form; a time that is negative or no number.
    pub fn from_toml(name: &str, text: &str) -> Result<LatencyTable, ArchError> {
        let table: LatencyTable = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            let said = e.message().lines().next().unwrap_or("unreadable").to_owned();
            ArchError(format!("{name}:{line}: no latency table as `kiln latency` writes it: {said}"))
        })?;
        if table.format != FORMAT {
            return Err(ArchError(format!(
                "{name}: the latency table has form {}, this Kiln reads form {FORMAT}; measure again with `kiln latency {}`",
                table.format, table.space
            )));
        }
        let slots = table.slots.iter().flat_map(|(slot, times)| times.iter().map(move |(gene, ms)| (slot, gene, *ms)));
        for (slot, gene, ms) in slots {
            if !ms.is_finite() || ms < 0.0 {
                return Err(ArchError(format!("{name}: `{gene}` of `{slot}` takes {ms} ms; expected a number from 0")));
            }
        }
        match [table.stem, table.head].iter().all(|ms| ms.is_finite() && *ms >= 0.0) {
            true => Ok(table),
            false => Err(ArchError(format!(
                "{name}: stem and head take {} and {} ms; expected numbers from 0",
                table.stem, table.head
            ))),
        }
    }

    /// The table as TOML.
    ///
    /// # Errors
    /// A sentence, if a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String, ArchError> {
        toml::to_string(self).map_err(|e| ArchError(format!("the latency table cannot be written as TOML: {e}")))
    }

    /// Times of every choice of `chain`, which must be that of `space` for `input` and `classes`.
    ///
    /// # Errors
    /// A table of another space, input or number of classes, of an earlier state of the space, or one that lacks a block: the
    /// sentence names it and how to measure anew.
    pub fn of(&self, space: &Space, chain: &Chain, input: Shape, classes: u32) -> Result<Latencies, ArchError> {
        let [c, h, w] = self.input;
        let again = format!("measure again with `kiln latency {}`", space.name);
        let wrong = |said: String| Err(ArchError(format!("the latency table {said}; {again}")));
        if self.space != space.name {
            return wrong(format!("is of the space `{}`, not of `{}`", self.space, space.name));
        }
        if (Shape::Image(c, h, w), self.classes) != (input, classes) {
            let here = Shape::Image(c, h, w);
            return wrong(format!(
                "was measured for {here} and {} classes, not for {input} and {classes}",
                self.classes
            ));
        }
        // Of a narrowed space the reference may be another one; then there is nothing to compare.
        if let Ok(arch) = space.parse(&self.reference.arch) {
            let macs = space.plan(&arch, input, classes)?.cost().macs;
            if macs != self.reference.macs {
                return wrong(format!(
                    "was measured before the space changed: `{arch}` had {} MACs",
                    self.reference.macs
                ));
            }
        }
        let mut slots = Vec::with_capacity(chain.slots.len());
        for slot in &chain.slots {
            let times = self.slots.get(&slot.name);
            let mut of_slot = Vec::with_capacity(slot.choices.len());
            for choice in &slot.choices {
                match (times.and_then(|times| times.get(&choice.gene)), &choice.block) {
                    (Some(ms), _) => of_slot.push(nanoseconds(*ms)),
                    (None, None) => of_slot.push(0),
                    (None, Some(_)) => return wrong(format!("lacks `{}` of the block `{}`", choice.gene, slot.name)),
                }
            }
            slots.push(of_slot);
        }
        Ok(Latencies { fixed: nanoseconds(self.stem) + nanoseconds(self.head), slots })
    }

    /// Nanoseconds of one architecture: stem, head and the chosen blocks.
    ///
    /// # Errors
    /// A block that the table lacks.
    pub fn cost(&self, space: &Space, arch: &Arch) -> Result<u64, ArchError> {
        space.validate(arch)?;
        let mut sum = nanoseconds(self.stem) + nanoseconds(self.head);
        for (decision, gene) in space.decisions.iter().zip(&arch.genes) {
            let ms = self.slots.get(&decision.name).and_then(|times| times.get(gene)).ok_or_else(|| {
                ArchError(format!(
                    "the latency table lacks `{gene}` of the block `{}`; measure again with `kiln latency {}`",
                    decision.name, space.name
                ))
            })?;
            sum += nanoseconds(*ms);
        }
        Ok(sum)
    }
}

/// Milliseconds to whole nanoseconds.
pub fn nanoseconds(ms: f64) -> u64 {
    (ms * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: Shape = Shape::Image(1, 8, 8);

    fn table(space: &Space) -> LatencyTable {
        let chain = space.chain(INPUT, 10).unwrap().unwrap();
        let mut table = LatencyTable::new(&space.name, [1, 8, 8], 10, 1);
        (table.device, table.machine, table.stem, table.head) = ("cpu".into(), "a machine".into(), 0.25, 0.5);
        for slot in &chain.slots {
            // A made-up time that grows with the cost.
            let times = slot.choices.iter().map(|c| (c.gene.clone(), c.cost.macs as f64 * 1e-6));
            table.slots.insert(slot.name.clone(), times.collect());
        }
        let reference = space.reference();
        table.reference.macs = space.plan(&reference, INPUT, 10).unwrap().cost().macs;
        table.reference.arch = reference.to_string();
        table
    }

    #[test]
    fn a_table_reads_back_equal_and_sums_in_nanoseconds() {
        let space = Space::named("mobile-xs").unwrap();
        let chain = space.chain(INPUT, 10).unwrap().unwrap();
        let table = table(&space);
        let table = LatencyTable::from_toml("t.toml", &table.to_toml().unwrap()).unwrap();
        let latencies = table.of(&space, &chain, INPUT, 10).unwrap();
        let arch = space.parse("skip-skip-k3e1-k5e3-skip-skip-k3e3-skip-skip").unwrap();
        let choices: Vec<usize> = chain.slots.iter().zip(&arch.genes).map(|(s, g)| s.index(g).unwrap()).collect();
        let macs: u64 = chain.slots.iter().zip(&choices).map(|(s, &c)| s.choices[c].cost.macs).sum();
        assert_eq!(latencies.of(&choices), 750_000 + macs);
        assert_eq!(table.cost(&space, &arch).unwrap(), 750_000 + macs);
    }

    #[test]
    fn a_table_that_does_not_fit_says_why_and_what_to_do() {
        let space = Space::named("mobile-xs").unwrap();
        let chain = space.chain(INPUT, 10).unwrap().unwrap();
        let said = |change: &dyn Fn(&mut LatencyTable)| {
            let mut table = table(&space);
            change(&mut table);
            table.of(&space, &chain, INPUT, 10).unwrap_err().to_string()
        };
        assert_eq!(
            said(&|t| assert!(t.slots.get_mut("stage1.2").unwrap().remove("k3e3").is_some())),
            "the latency table lacks `k3e3` of the block `stage1.2`; measure again with `kiln latency mobile-xs`"
        );
        assert!(said(&|t| t.space = "mobile-m".into()).contains("of the space `mobile-m`, not of `mobile-xs`"));
        assert!(said(&|t| t.classes = 100).contains("for 1 channels of 8x8 and 100 classes"));
        assert!(said(&|t| t.reference.macs += 1).contains("before the space changed"));
        let text = table(&space).to_toml().unwrap();
        let read = |text: String| LatencyTable::from_toml("t.toml", &text).unwrap_err().to_string();
        assert!(read(text.replace("format = 1", "format = 2")).contains("form 2"));
        assert!(
            read(text.replace("batch = 1", "batch = \"x\"")).starts_with("t.toml:6: no latency table"),
            "{}",
            read(text.replace("batch = 1", "batch = \"x\""))
        );
        assert!(read(text.replace("skip = 0.0", "skip = -1.0")).contains("expected a number from 0"));
        let missing = LatencyTable::read(Path::new("/nowhere/t.toml")).unwrap_err().to_string();
        assert!(missing.contains("cannot be read") && missing.contains("kiln latency"), "{missing}");
    }
}
