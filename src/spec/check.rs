//! Walks a preset along the JSON Schema of the settings structs, so that the structs are the only place that says what
//! is allowed.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::problem::{Place, Problem, nearest};
use crate::settings::MethodName;
use crate::tree::{Node, Table, Value};
use crate::{experiment, schema};

/// How messages about absent keys begin.
pub(crate) const MISSING: &str = "is missing";

/// What the walk found.
pub(crate) struct Checked {
    /// The settings as JSON, without what was wrong.
    pub value: Json,
    pub problems: Vec<Problem>,
    /// Where each key was written.
    pub places: BTreeMap<String, Place>,
}

impl Checked {
    /// A mistake at the place of `key`, else of its table, else of the file.
    pub fn at(&self, key: &str, file: &Place, message: String) -> Problem {
        let place = std::iter::successors(Some(key), |k| k.rsplit_once('.').map(|(table, _)| table))
            .find_map(|k| self.places.get(k))
            .unwrap_or(file);
        Problem::at(place, key, message)
    }
}

/// Checks a whole preset. It may have tables of its own method and of those in `also`.
pub(crate) fn spec(table: &Table, file: &Place, also: &[MethodName]) -> Checked {
    let schema = schema::whole();
    let method = experiment::method(table);
    let mut walk = Walk { root: schema, problems: Vec::new(), places: BTreeMap::new() };
    let mut rest = table.clone();
    for other in MethodName::ALL {
        let Some(method) = method.filter(|m| m != other && !also.contains(other)) else { continue };
        if let Some(node) = rest.remove(other.as_str()) {
            walk.problems.push(Problem::at(
                &node.place,
                other.as_str(),
                format!(
                    "is the table of the method `{other}`, but this preset runs `{method}`; take the table away or set method = \"{other}\""
                ),
            ));
        }
    }
    if let Some(method) = method.filter(|m| !MethodName::SEARCHES.iter().any(|s| s == m || also.contains(s)))
        && let Some(node) = rest.remove("search")
    {
        walk.problems.push(Problem::at(
            &node.place,
            "search",
            format!(
                "is the table of the searches random, evolution and asha, but this preset runs `{method}`; take it away"
            ),
        ));
    }
    let has_space = method.is_none_or(MethodName::has_space);
    match (rest.get("space"), method) {
        (None, _) if has_space => {
            walk.wrong(file, "space", format!("{MISSING}: a preset needs the table `[space]`"));
        }
        (Some(node), Some(method)) if !has_space && !also.iter().any(|m| m.has_space()) => {
            let message = format!(
                "is the search space of methods that take their networks from one; `{method}` names its networks itself, in the \
                 table `{method}`. Take the table away"
            );
            walk.problems.push(Problem::at(&node.place, "space", message));
            rest.remove("space");
        }
        _ => {}
    }
    let value = walk.table(schema, &rest, "", file);
    Checked { value, problems: walk.problems, places: walk.places }
}

/// Checks the value of one setting, whatever else the preset says.
pub(crate) fn one(key: &str, node: &Node) -> Vec<Problem> {
    let root = schema::whole();
    let mut walk = Walk { root, problems: Vec::new(), places: BTreeMap::new() };
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let tables = schema::tables(root);
    match tables.iter().find(|(t, _)| t == table).and_then(|(_, properties)| properties.get(name)) {
        Some(schema) => drop(walk.node(schema, node, key)),
        None => drop(walk.wrong(&node.place, key, "is not a setting".into())),
    }
    walk.problems
}

/// Checks a space's file.
pub(crate) fn space(table: &Table, file: &Place) -> Checked {
    let schema = schema::space();
    let mut walk = Walk { root: schema, problems: Vec::new(), places: BTreeMap::new() };
    let value = walk.table(schema, table, "", file);
    Checked { value, problems: walk.problems, places: walk.places }
}

struct Walk<'a> {
    root: &'a Json,
    problems: Vec<Problem>,
    places: BTreeMap<String, Place>,
}

impl<'a> Walk<'a> {
    fn wrong(&mut self, place: &Place, key: &str, message: String) -> Json {
        self.problems.push(Problem::at(place, key, message));
        Json::Null
    }

    fn node(&mut self, schema: &'a Json, node: &Node, key: &str) -> Json {
        let one = schema::one_or_many(schema).map(|(many, one)| match &node.value {
            Value::List(_) => many,
            _ => one,
        });
        let (extra, schema) = (schema, schema::resolve(self.root, one.unwrap_or(schema)));
        self.places.insert(key.to_owned(), node.place.clone());
        let options = schema::options(schema);
        if !options.is_empty() {
            return self.choice(&options, node, key);
        }
        match (schema::kind(schema), &node.value) {
            ("object", Value::Table(table)) => self.table(schema, table, key, &node.place),
            ("array", Value::List(items)) => {
                let inner = schema.get("items").unwrap_or(&Json::Null);
                items.iter().enumerate().map(|(i, item)| self.node(inner, item, &format!("{key}[{i}]"))).collect()
            }
            ("string", Value::Text(text)) => self.text(schema, extra, text, node, key),
            ("string", _) if node.typed.is_some() => {
                self.text(schema, extra, node.typed.as_deref().unwrap_or_default(), node, key)
            }
            ("boolean", Value::Bool(b)) => Json::from(*b),
            ("integer", Value::Integer(i)) => match i64::try_from(*i) {
                Ok(i) if schema::in_range(schema, i as f64) => Json::from(i),
                _ => self.expected(schema, node, key),
            },
            ("number", Value::Integer(i)) if schema::in_range(schema, *i as f64) => Json::from(*i as f64),
            ("number", Value::Float(x)) if x.is_finite() && schema::in_range(schema, *x) => Json::from(*x),
            ("integer" | "number", _) if let Some(value) = short(node) => {
                self.node(schema, &Node { value, ..node.clone() }, key)
            }
            _ => self.expected(schema, node, key),
        }
    }

    fn expected(&mut self, schema: &Json, node: &Node, key: &str) -> Json {
        let mut message = format!("expected {}, found {}", schema::expectation(schema), found(&node.value));
        if let Value::Text(text) = &node.value {
            let bare = match schema::kind(schema) {
                "integer" => text.parse::<i64>().is_ok(),
                "number" => text.parse::<f64>().is_ok(),
                "boolean" => matches!(text.as_str(), "true" | "false"),
                _ => false,
            };
            if bare {
                message += "; take the quotation marks away";
            }
        }
        self.wrong(&node.place, key, message)
    }

    fn text(&mut self, schema: &Json, extra: &Json, text: &str, node: &Node, key: &str) -> Json {
        let pattern = [schema, extra].into_iter().find_map(|s| s.get("pattern")).and_then(Json::as_str);
        let fits = pattern.is_none_or(|p| regex_lite::Regex::new(p).is_ok_and(|r| r.is_match(text)));
        if fits {
            return Json::from(text);
        }
        self.wrong(&node.place, key, format!("expected {}, found `{text}`", schema::expectation(schema)))
    }

    fn choice(&mut self, options: &[schema::Choice], node: &Node, key: &str) -> Json {
        let names = || options.iter().map(|o| o.value.as_str());
        let list = schema::one_of(names());
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Bool(on) if names().any(|name| name == on.to_string()) => return Json::from(*on),
            other => return self.wrong(&node.place, key, format!("expected {list}, found {}", found(other))),
        };
        if names().any(|name| name == text) {
            // `true` and `false` among the options of a choice are no words; forms write them as such.
            return text.parse::<bool>().map_or_else(|_| Json::from(text.as_str()), Json::from);
        }
        let hint = nearest(text, names()).map(|n| format!("; did you mean `{n}`?")).unwrap_or_default();
        self.wrong(&node.place, key, format!("expected {list}, found `{text}`{hint}"))
    }

    fn table(&mut self, schema: &'a Json, table: &Table, key: &str, place: &Place) -> Json {
        let join = |name: &str| if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") };
        let mut out = serde_json::Map::new();
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
            // A table with keys of the user's choice.
            let inner = schema.get("additionalProperties").unwrap_or(&Json::Null);
            for (name, node) in table {
                out.insert(name.clone(), self.node(inner, node, &join(name)));
            }
            return Json::Object(out);
        };
        for (name, node) in table {
            match properties.get(name) {
                Some(inner) => {
                    let value = self.node(inner, node, &join(name));
                    out.insert(name.clone(), value);
                }
                None => {
                    let hint = self.instead(properties, name, key);
                    self.wrong(&node.place, &join(name), format!("is not a setting{hint}"));
                }
            }
        }
        let required = schema.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        for name in required.iter().filter_map(Json::as_str).filter(|name| !table.contains_key(*name)) {
            let own = properties.get(name).unwrap_or(&Json::Null);
            let one = schema::one_or_many(own).map(|(_, one)| one);
            let inner = schema::resolve(self.root, one.unwrap_or(own));
            let message = match schema::kind(inner) {
                "object" => format!("{MISSING}: a preset needs the table `[{}]`", join(name)),
                _ if one.is_some() => {
                    format!("{MISSING}: expected {}, or a list of such", schema::expectation(inner))
                }
                _ => format!("{MISSING}: expected {}", schema::expectation(inner)),
            };
            self.wrong(place, &join(name), message);
        }
        Json::Object(out)
    }

    /// What an unknown name may have been meant as: a neighbour, or a setting of another table.
    fn instead(&self, properties: &serde_json::Map<String, Json>, name: &str, table: &str) -> String {
        let known = properties.iter().find(|(_, schema)| {
            schema.get("x-aliases").and_then(Json::as_array).is_some_and(|a| a.iter().any(|alias| alias == name))
        });
        if let Some(near) =
            known.map(|(k, _)| k.as_str()).or_else(|| nearest(name, properties.keys().map(String::as_str)))
        {
            return format!("; did you mean `{near}`?");
        }
        let elsewhere =
            schema::tables(self.root).into_iter().filter(|(t, _)| t != table).find_map(|(t, properties)| {
                let named = properties.iter().find(|(k, schema)| {
                    k.as_str() == name
                        || schema
                            .get("x-aliases")
                            .and_then(Json::as_array)
                            .is_some_and(|a| a.iter().any(|alias| alias == name))
                });
                named.map(|(k, _)| if t.is_empty() { k.clone() } else { format!("{t}.{k}") })
            });
        match elsewhere {
            Some(full) => format!("; did you mean `{full}`?"),
            None => format!("; expected {}", schema::one_of(properties.keys().map(String::as_str))),
        }
    }
}

/// A number as people write it in arguments, in full: `40M`, `1.5k`, and `4e7` of a count. `None` for anything else.
fn short(node: &Node) -> Option<Value> {
    node.typed.as_ref()?;
    let x = match &node.value {
        Value::Text(text) => {
            let units = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)];
            let (digits, by) = units.into_iter().find_map(|(unit, by)| Some((text.strip_suffix(unit)?, by)))?;
            digits.parse::<f64>().ok()? * by
        }
        Value::Float(x) => *x,
        _ => return None,
    };
    let whole = x.round();
    // 1.1 M is no whole number by its last bit.
    let is_whole = whole.abs() < 1e15 && (x - whole).abs() <= whole.abs() * 1e-12;
    match node.value {
        _ if is_whole => Some(Value::Integer(whole as i128)),
        Value::Text(_) if x.is_finite() => Some(Value::Float(x)),
        _ => None,
    }
}

/// What stands in the file, in words.
pub(crate) fn found(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("the text \"{text}\""),
        Value::Integer(i) => i.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Date(d) => format!("the date {d}"),
        Value::List(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}
