//! What the search found, as a verdict, figures and tables.

use kiln_protocol::run::{Figure, Outcome, Table};
use kiln_protocol::spec::SearchOrder;

use super::search::{FOUND, Hournas, YARDSTICK};
use super::views::stage_table;
use crate::text::{maybe, thousands};

pub struct Report<'a> {
    pub method: &'a Hournas,
}

impl Report<'_> {
    pub fn outcome(&self) -> Outcome {
        Outcome {
            flaws: Vec::new(),
            headline: vec![
                Figure::new("test_accuracy", true),
                Figure::new("valid_accuracy", true),
                Figure::new("search_seconds", false),
                Figure::new("cost_share", false),
            ],
            verdict: self.verdict(),
            figures: self.figures().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            tables: vec![self.networks(), stage_table(self.method), self.blocks()],
        }
    }

    fn accuracy(&self, id: usize) -> (Option<f64>, Option<f64>) {
        let trained = self.method.state.trained[id].as_ref();
        (trained.and_then(|t| t.valid).map(|e| e.accuracy), trained.and_then(|t| t.test).map(|e| e.accuracy))
    }

    fn search_seconds(&self) -> f64 {
        let state = &self.method.state;
        state.records.iter().map(|r| r.seconds).sum::<f64>() + state.proxy_seconds
    }

    fn found(&self) -> Vec<Option<usize>> {
        self.method.state.found.clone().unwrap_or_else(|| self.method.state.locked.clone())
    }

    fn verdict(&self) -> String {
        let (method, found) = (self.method, self.found());
        let how = match method.settings.order {
            SearchOrder::VitalFirst => "HourNAS, vital blocks first,",
            SearchOrder::NonVitalFirst => "The search of non-vital blocks first",
            SearchOrder::Joint => "The joint search",
            SearchOrder::Random => "The random search",
        };
        let costs: Vec<String> = (method.budget.limits.iter())
            .map(|limit| {
                let cost = limit.cost(&found);
                let share = 100.0 * cost as f64 / limit.most.max(1) as f64;
                format!("{} ({share:.1} % of the limit)", limit.resource.words(cost))
            })
            .collect();
        let (valid, test) = self.accuracy(FOUND);
        let percent = |v: Option<f64>| v.map_or("no finite loss".into(), |v| format!("{:.2} %", 100.0 * v));
        let mut text = format!(
            "{how} found {} in {:.1} s of search: {}; trained from scratch it reaches {} on validation images",
            method.arch(&found),
            self.search_seconds(),
            costs.join(", "),
            percent(valid)
        );
        if let Some(test) = test {
            text += &format!(" and {} on test images", percent(Some(test)));
        }
        if let (Some(own), (Some(other), _)) = (valid, self.accuracy(YARDSTICK)) {
            let word = if own > other {
                "more than"
            } else if own < other {
                "less than"
            } else {
                "as much as"
            };
            text += &format!(", {word} the yardstick's {}", percent(Some(other)));
        }
        if !method.budget.affords(&found) {
            text += ". It breaks the limit, which a penalty does not prevent";
        }
        text + "."
    }

    fn figures(&self) -> Vec<(&'static str, Option<f64>)> {
        let (method, found) = (self.method, self.found());
        let state = &method.state;
        let cost = method.chain.fixed_cost()
            + method.chain.slots.iter().zip(&found).filter_map(|(s, c)| Some(s.choices.get((*c)?)?.cost)).sum();
        let (valid, test) = self.accuracy(FOUND);
        let (other, other_test) = self.accuracy(YARDSTICK);
        let phase = |name: &str| state.records.iter().find(|r| r.name == name);
        let seconds = |name| phase(name).map(|r| r.seconds);
        let speed = |name| phase(name).and_then(super::record::PhaseRecord::speed);
        let sampled: u64 = state.records.iter().map(|r| r.sampled).sum();
        let tries: u64 = state.records.iter().map(|r| r.tries).sum();
        let repaired: u64 = state.records.iter().map(|r| r.repaired).sum();
        let random = state.proxies.iter().flatten().count() as u64;
        vec![
            ("valid_accuracy", valid),
            ("test_accuracy", test),
            ("valid_loss", state.trained[FOUND].as_ref().and_then(|t| t.valid).map(|e| e.loss)),
            ("yardstick_valid_accuracy", other),
            ("yardstick_test_accuracy", other_test),
            ("shared_accuracy", state.shared.map(|e| e.accuracy)),
            ("params", Some(cost.params as f64)),
            ("macs", Some(cost.macs as f64)),
            (
                "cost_share",
                (method.budget.limits.iter())
                    .map(|limit| limit.cost(&found) as f64 / limit.most.max(1) as f64)
                    .reduce(f64::max),
            ),
            ("cost_error", Some(method.budget.distance(&found))),
            ("over_budget", Some(f64::from(u8::from(!method.budget.affords(&found))))),
            ("sampled", Some((sampled + random) as f64)),
            ("acceptance", (tries > 0).then(|| (sampled - repaired) as f64 / tries as f64)),
            ("repaired", Some(repaired as f64)),
            ("seconds", Some(self.search_seconds() + state.trained.iter().flatten().map(|t| t.seconds).sum::<f64>())),
            ("search_seconds", Some(self.search_seconds())),
            ("vital_seconds", seconds("vital")),
            ("non_vital_seconds", seconds("non-vital")),
            ("joint_seconds", seconds("all")),
            ("vital_steps_per_second", speed("vital")),
            ("non_vital_steps_per_second", speed("non-vital")),
            ("joint_steps_per_second", speed("all")),
        ]
    }

    fn networks(&self) -> Table {
        let (method, found) = (self.method, self.found());
        let mut columns: Vec<String> = ["network", "architecture"].map(String::from).into();
        columns.extend(method.budget.limits.iter().map(|limit| format!("{} (limit)", limit.resource.name())));
        columns.extend(["validation", "test", "search", "training"].map(String::from));
        let row = |name: &str, choices: &[Option<usize>], id: usize, search: Option<f64>| {
            let mut row = vec![name.to_owned(), method.arch(choices).to_string()];
            row.extend((method.budget.limits.iter()).map(|limit| {
                let most = limit.most.max(1) as f64;
                let cost = limit.cost(choices);
                let bare = limit.resource.words(cost);
                format!("{} ({:.1} %)", bare.split(' ').next().unwrap_or_default(), 100.0 * cost as f64 / most)
            }));
            let (valid, test) = self.accuracy(id);
            row.extend([maybe(valid, 4), maybe(test, 4)]);
            let seconds = |s: Option<f64>| s.map_or("-".into(), |s| format!("{s:.1} s"));
            row.push(seconds(search));
            row.push(seconds(method.state.trained[id].as_ref().map(|t| t.seconds)));
            row
        };
        let mut rows = vec![row("found", &found, FOUND, Some(self.search_seconds()))];
        if method.settings.compare && found != method.yardstick {
            rows.push(row(&format!("yardstick ({})", method.settings.yardstick), &method.yardstick, YARDSTICK, None));
        }
        Table { title: "Networks".into(), columns, rows }
    }

    fn blocks(&self) -> Table {
        let (method, found) = (self.method, self.found());
        let total = method.chain.fixed_cost()
            + method.chain.slots.iter().zip(&found).filter_map(|(s, c)| Some(s.choices.get((*c)?)?.cost)).sum();
        let share = |part: u64, whole: u64| format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64);
        let rows = super::views::cells(&method.chain, &found).into_iter().map(|cell| {
            vec![
                cell.name,
                if cell.vital { "vital".into() } else { String::new() },
                cell.chosen.unwrap_or_else(|| "skip".into()),
                thousands(cell.params as f64),
                thousands(cell.macs as f64),
                share(cell.macs, total.macs),
            ]
        });
        Table {
            title: "Blocks of the found network".into(),
            columns: ["block", "", "operation", "parameters", "MACs", "of all MACs"].map(String::from).into(),
            rows: rows.collect(),
        }
    }
}
