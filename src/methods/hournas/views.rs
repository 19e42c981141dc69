//! What a person sees of the search: the map of blocks, the heat map of the logits, the table of networks, the stages.

use std::fmt::Write as _;

use kiln_arch::Chain;
use kiln_protocol::View;
use kiln_protocol::run::Table;
use kiln_protocol::view::{BlockCell, BlockImportance, Candidate, Candidates, Column, Gauge, GlyphBar};

use super::proposal::Tilted;
use super::record::Stage;
use super::search::{FOUND, Hournas};
use crate::error::Result;
use crate::text::{maybe, thousands};

/// All operations of a chain's slots, in order of first appearance.
pub fn ops(chain: &Chain) -> Vec<String> {
    let mut ops: Vec<String> = Vec::new();
    for choice in chain.slots.iter().flat_map(|slot| &slot.choices) {
        if !ops.contains(&choice.gene) {
            ops.push(choice.gene.clone());
        }
    }
    ops
}

/// The blocks of a chain with these choices, without weights.
pub fn cells(chain: &Chain, choices: &[Option<usize>]) -> Vec<BlockCell> {
    let cell = |(slot, choice): (&kiln_arch::Slot, &Option<usize>)| {
        let chosen = choice.and_then(|o| slot.choices.get(o));
        BlockCell {
            name: slot.name.clone(),
            vital: slot.vital(),
            chosen: chosen.map(|choice| choice.gene.clone()),
            params: chosen.map_or(0, |choice| choice.cost.params),
            macs: chosen.map_or(0, |choice| choice.cost.macs),
            ..BlockCell::default()
        }
    };
    chain.slots.iter().zip(choices).map(cell).collect()
}

/// The best network so far: of the logits, or of the random ones.
fn present(method: &Hournas) -> Result<Vec<Option<usize>>> {
    if method.state.stage == Stage::Random {
        let best = method.state.proxies.iter().flatten().filter_map(|p| Some((p.eval?.accuracy, &p.choices)));
        let best = best.reduce(|best, p| if p.0 > best.0 { p } else { best });
        return Ok(best.map_or_else(|| method.state.locked.clone(), |(_, choices)| choices.clone()));
    }
    method.derived()
}

pub fn blocks(method: &Hournas) -> Result<View> {
    let state = &method.state;
    let choices = present(method)?;
    let ops = ops(&method.chain);
    let weights = method.weights()?;
    let mut blocks = cells(&method.chain, &choices);
    for (index, (cell, slot)) in blocks.iter_mut().zip(&method.chain.slots).enumerate() {
        cell.locked = state.locked[index].is_some() || state.found.is_some();
        if let Some(p) = weights.get(index) {
            cell.weights = ops.iter().map(|op| slot.index(op).and_then(|o| p.get(o)).copied()).collect();
        }
    }
    let running = match (&method.trainer, method.groups.get(state.phase)) {
        (Some(trainer), Some(group)) => Some((trainer, group)),
        _ => None,
    };
    let expected = match running {
        Some((trainer, group)) => {
            let alpha = trainer.net().logits().map_err(crate::error::MethodError::failed)?;
            let tilted = Tilted { budget: &method.budget, group: &group.slots, beta: &state.beta };
            let others: Vec<Option<usize>> = method
                .base()
                .iter()
                .enumerate()
                .map(|(slot, pick)| if group.slots.contains(&slot) { None } else { pick.choice() })
                .collect();
            let fixed = method.budget.cost(&others);
            Some(tilted.expected(&alpha).iter().zip(fixed).map(|(e, fixed)| e + fixed as f64).collect::<Vec<f64>>())
        }
        None => None,
    };
    let tally = if state.tally.sampled > 0 { &state.tally } else { &state.last_tally };
    let gauge = |(r, limit): (usize, &super::budget::Limit)| {
        // Latencies are kept in nanoseconds and shown in milliseconds.
        let scale = if limit.resource == super::budget::Resource::Latency { 1e-6 } else { 1.0 };
        Gauge {
            name: limit.resource.name().into(),
            unit: if scale == 1.0 { String::new() } else { "ms".into() },
            limit: limit.most as f64 * scale,
            chosen: Some(limit.cost(&choices) as f64 * scale),
            expected: expected.as_ref().map(|e| e[r] * scale),
            sampled: tally.costs.get(r).map(|c| c.map(|v| v * scale)),
        }
    };
    let note = match (running, state.records.last()) {
        (Some((trainer, group)), Some(record)) => format!(
            "stage {} of {}: {} blocks · epoch {:.1} of {} · tau {:.2} · {} steps/s · {} networks sampled",
            state.phase + 1,
            method.groups.len(),
            group.name,
            trainer.position(),
            state.planned,
            trainer.tau(),
            maybe(record.speed(), 0),
            thousands((record.sampled + state.tally.sampled) as f64)
        ),
        _ => match state.stage {
            Stage::Random => format!("{} random networks", state.proxies.iter().flatten().count()),
            Stage::Search | Stage::Retrain => "found; trained from scratch".into(),
            Stage::Close | Stage::Done => {
                let accuracy = state.trained[FOUND].as_ref().and_then(|t| t.valid).map(|e| e.accuracy);
                format!("found; validation accuracy {}", maybe(accuracy, 4))
            }
        },
    };
    let title = format!("blocks of {}", method.space.name);
    let gauges = method.budget.limits.iter().enumerate().map(gauge).collect();
    Ok(View::BlockImportance(BlockImportance { title, ops, blocks, gauges, note }))
}

/// Rows from `since` on, and what was found once it is trained.
pub fn candidates(method: &Hournas, since: usize) -> View {
    let state = &method.state;
    let column = |name: &str, decimals: u8, higher: Option<bool>| Column {
        name: name.to_owned(),
        decimals,
        higher_is_better: higher,
    };
    let row = |id: u32, choices: &[Option<usize>], accuracy: [Option<f64>; 2], winner: bool, status: String| {
        let arch = method.arch(choices);
        let cost: kiln_arch::Cost = method.chain.fixed_cost()
            + method.chain.slots.iter().zip(choices).filter_map(|(s, c)| Some(s.choices.get((*c)?)?.cost)).sum();
        Candidate {
            id,
            glyph: method.space.glyph(&arch).into_iter().map(|(height, class)| GlyphBar { height, class }).collect(),
            arch: arch.to_string(),
            cells: vec![Some(cost.params as f64), Some(cost.macs as f64), accuracy[0], accuracy[1]],
            cluster: None,
            winner,
            status,
        }
    };
    let known = state.rows.iter().skip(since.saturating_sub(1));
    let mut rows: Vec<Candidate> =
        known.map(|r| row(r.id, &r.choices, [r.accuracy, None], false, r.status.clone())).collect();
    let next = state.rows.len() as u32;
    let trained = |id: usize| state.trained[id].as_ref().and_then(|t| t.valid).map(|e| e.accuracy);
    if let Some(found) = &state.found {
        let status = if state.trained[FOUND].is_some() { "done" } else { "training" };
        rows.push(row(next, found, [state.shared.map(|e| e.accuracy), trained(FOUND)], true, status.into()));
        if method.settings.compare && *found != method.yardstick {
            let status = if state.trained[1].is_some() { "yardstick" } else { "training" };
            rows.push(row(next + 1, &method.yardstick, [None, trained(1)], false, status.into()));
        }
    }
    View::Candidates(Candidates {
        columns: vec![
            column("params", 0, Some(false)),
            column("MACs", 0, Some(false)),
            column("acc shared", 4, Some(true)),
            column("acc", 4, Some(true)),
        ],
        rows,
    })
}

/// What each stage took and did.
pub fn stages(method: &Hournas) -> View {
    View::Table(stage_table(method))
}

pub fn stage_table(method: &Hournas) -> Table {
    let state = &method.state;
    let mut rows: Vec<Vec<String>> = state
        .records
        .iter()
        .map(|r| {
            vec![
                r.name.clone(),
                r.epochs.to_string(),
                format!("{:.1} s", r.seconds),
                thousands((r.steps + r.arch_steps) as f64),
                format!("{} /s", maybe(r.speed(), 1)),
                thousands(r.sampled as f64),
                maybe((r.tries > 0).then(|| (r.sampled - r.repaired) as f64 / r.tries as f64), 3),
                r.repaired.to_string(),
                r.memory.map_or("-".into(), |bytes| format!("{:.0} MiB", bytes as f64 / 1_048_576.0)),
            ]
        })
        .collect();
    if !state.proxies.is_empty() {
        let done = state.proxies.iter().flatten().count();
        let seconds = format!("{:.1} s", state.proxy_seconds);
        let dash = || "-".to_owned();
        let epochs = done * method.settings.proxy_epochs as usize;
        rows.push(vec![
            "random".into(),
            epochs.to_string(),
            seconds,
            dash(),
            dash(),
            done.to_string(),
            dash(),
            dash(),
            dash(),
        ]);
    }
    Table {
        title: "Stages of the search".into(),
        columns: ["stage", "epochs", "time", "steps", "speed", "sampled", "accepted", "repaired", "memory"]
            .map(String::from)
            .into(),
        rows,
    }
}

/// The found network block by block, for other programs.
pub fn blocks_csv(method: &Hournas, found: &[Option<usize>]) -> String {
    let ops = ops(&method.chain);
    let mut text = format!(
        "block,vital,op,params,macs,{}\n",
        ops.iter().map(|op| format!("p_{op}")).collect::<Vec<_>>().join(",")
    );
    for (index, (cell, slot)) in cells(&method.chain, found).iter().zip(&method.chain.slots).enumerate() {
        let p = method.state.weights.get(index);
        let weights = ops.iter().map(|op| {
            let value = slot.index(op).and_then(|o| p?.get(o));
            value.map_or(String::new(), |v| format!("{v:.6}"))
        });
        let _ = writeln!(
            text,
            "{},{},{},{},{},{}",
            cell.name,
            cell.vital,
            cell.chosen.as_deref().unwrap_or("skip"),
            cell.params,
            cell.macs,
            weights.collect::<Vec<_>>().join(",")
        );
    }
    text
}
