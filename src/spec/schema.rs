//! JSON Schema of one method's presets, and the flat list of fields that forms and the reference are made from.

use std::path::Path;
use std::sync::LazyLock;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use crate::check;
use crate::settings::{MethodName, SpaceDefinition, Spec};
use crate::tree::{self, Node, Value};

/// JSON Schema (draft 2020-12) of presets of one method, for editors.
pub fn json_schema(method: MethodName) -> Json {
    let mut schema = whole().clone();
    schema["title"] = json!(format!("Kiln preset for {method}"));
    if let Some(properties) = schema.get_mut("properties").and_then(Json::as_object_mut) {
        properties.retain(|table, _| belongs(table, method));
        properties.insert("method".into(), json!({ "const": method.as_str(), "description": "The method to run." }));
        properties.insert(
            "extends".into(),
            json!({ "type": "string", "description": "Another preset that this one is laid upon, relative to this file." }),
        );
    }
    // Of the tables, those that nothing refers to any more would only be clutter.
    let text = schema.to_string();
    if let Some(defs) = schema.get_mut("$defs").and_then(Json::as_object_mut) {
        defs.retain(|name, _| text.contains(&format!("#/$defs/{name}\"")));
    }
    // A preset that extends another need not repeat what that one says.
    if let Some(root) = schema.as_object_mut() {
        root.insert("required".into(), json!([]));
    }
    schema
}

/// Whether presets of a method may have this table.
fn belongs(table: &str, method: MethodName) -> bool {
    let owners = MethodName::owners(table);
    owners.is_empty() || owners.contains(&method)
}

/// One setting, for a form or a reference table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Field {
    /// Dotted key, such as `optim.lr`.
    pub key: String,
    /// What it means, from the doc comment.
    pub help: String,
    pub kind: Kind,
    /// Whether a preset must say it.
    pub required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What a choice may be, with help; empty for other kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<Choice>,
    /// Whether it can be changed while a run goes on.
    pub live: bool,
}

impl Field {
    /// Whether the setting may be what somebody has typed, as [`crate::Preset::read`] would find; what else it depends on is
    /// not looked at.
    ///
    /// # Errors
    /// What is wrong, as a sentence without the key: `expected a whole number from 1 to 64, found 0`.
    pub fn check(&self, typed: &str) -> Result<(), String> {
        let found = tree::parse_override(&format!("{}={typed}", self.key), Path::new(""));
        let mut table = found.map_err(|problem| problem.message)?;
        let mut parts = self.key.split('.').peekable();
        while let Some(part) = parts.next() {
            let Some(node) = table.remove(part) else { break };
            match (parts.peek(), node.value) {
                (Some(_), Value::Table(inner)) => table = inner,
                (_, value) => {
                    let wrong = check::one(&self.key, &Node { value, ..node });
                    return wrong.into_iter().next().map_or(Ok(()), |problem| Err(problem.message));
                }
            }
        }
        Ok(())
    }
}

/// What a setting holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Integer,
    Number,
    Switch,
    Text,
    Choice,
    /// A list of values.
    List,
    /// A table with keys of the user's choice.
    Map,
}

/// One option of a choice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub value: String,
    pub help: String,
}

/// All settings of presets of one method, in the order of the structs.
pub fn fields(method: MethodName) -> Vec<Field> {
    let root = whole();
    let mut out = Vec::new();
    for (table, properties) in tables(root) {
        if !belongs(&table, method) {
            continue;
        }
        let required = required(root, &table);
        for (name, raw) in properties {
            let schema = resolve(root, raw);
            if schema.get("properties").is_some() {
                continue;
            }
            let key = if table.is_empty() { name.clone() } else { format!("{table}.{name}") };
            let mut field = field(key, raw, schema, required.contains(name));
            field.live &= method.live().contains(&field.key.as_str());
            out.push(field);
        }
    }
    out
}

/// The settings of a sweep itself.
pub(crate) fn sweep_fields() -> Vec<Field> {
    let root = whole();
    let found = tables(root).into_iter().filter(|(table, _)| table == "sweep").flat_map(|(_, properties)| properties);
    found.map(|(name, raw)| field(format!("sweep.{name}"), raw, resolve(root, raw), false)).collect()
}

fn field(key: String, raw: &Json, schema: &Json, required: bool) -> Field {
    let say = |name: &str| raw.get(name).or_else(|| schema.get(name));
    let options = options(schema);
    let kind = match kind(schema) {
        _ if !options.is_empty() => Kind::Choice,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Switch,
        "array" => Kind::List,
        "object" => Kind::Map,
        _ => Kind::Text,
    };
    Field {
        key,
        help: say("description").and_then(Json::as_str).map(unwrapped).unwrap_or_default(),
        kind,
        required,
        default: say("default").map(|default| match default {
            // As the options are.
            Json::Bool(on) if kind == Kind::Choice => Json::from(on.to_string()),
            other => other.clone(),
        }),
        min: say("minimum").and_then(Json::as_f64),
        max: limits(schema).1,
        unit: say("x-unit").and_then(Json::as_str).map(str::to_owned),
        options,
        live: say("x-live").and_then(Json::as_bool).unwrap_or(false),
    }
}

/// Schema of the whole `Spec`, tables of all methods included.
pub(crate) fn whole() -> &'static Json {
    // Made once: a list of presets checks each of them against it.
    static WHOLE: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(Spec).to_value());
    &WHOLE
}

/// Schema of a space's file.
pub(crate) fn space() -> &'static Json {
    static SPACE: LazyLock<Json> = LazyLock::new(|| schemars::schema_for!(SpaceDefinition).to_value());
    &SPACE
}

/// JSON Schema (draft 2020-12) of files of search spaces, for editors.
pub fn space_schema() -> Json {
    let mut schema = space().clone();
    schema["title"] = json!("Kiln search space");
    schema
}

/// The two sides of "a list, or one value" (see [`crate::Choices`]).
pub(crate) fn one_or_many(schema: &Json) -> Option<(&Json, &Json)> {
    match schema.get("anyOf").and_then(Json::as_array)?.as_slice() {
        [many, one] if kind(many) == "array" && kind(one) != "null" => Some((many, one)),
        _ => None,
    }
}

/// Follows `$ref`, and takes the other side of "or null".
pub(crate) fn resolve<'a>(root: &'a Json, schema: &'a Json) -> &'a Json {
    let direct =
        schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix('#')).and_then(|p| root.pointer(p));
    let inner = direct.or_else(|| {
        let any = schema.get("anyOf").and_then(Json::as_array)?;
        any.iter().find(|s| s.get("type").and_then(Json::as_str) != Some("null"))
    });
    match inner {
        Some(inner) => resolve(root, inner),
        None => schema,
    }
}

/// The tables of a preset with their settings, by dotted name; the top level has the empty name and comes first.
pub(crate) fn tables(root: &Json) -> Vec<(String, &Map<String, Json>)> {
    let Some(top) = root.get("properties").and_then(Json::as_object) else { return Vec::new() };
    let inner = top.iter().filter_map(|(name, schema)| {
        Some((name.clone(), resolve(root, schema).get("properties").and_then(Json::as_object)?))
    });
    std::iter::once((String::new(), top)).chain(inner).collect()
}

fn required(root: &Json, table: &str) -> Vec<String> {
    let schema = match root.pointer(&format!("/properties/{table}")) {
        Some(schema) if !table.is_empty() => resolve(root, schema),
        _ => root,
    };
    let names = schema.get("required").and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    names.iter().filter_map(Json::as_str).map(str::to_owned).collect()
}

/// The JSON type, `null` left aside.
pub(crate) fn kind(schema: &Json) -> &str {
    match schema.get("type") {
        Some(Json::String(kind)) => kind,
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).find(|k| *k != "null").unwrap_or(""),
        _ => "",
    }
}

/// What an enumeration may be.
pub(crate) fn options(schema: &Json) -> Vec<Choice> {
    let help = |s: &Json| s.get("description").and_then(Json::as_str).map(unwrapped).unwrap_or_default();
    let documented = schema.get("oneOf").and_then(Json::as_array).into_iter().flatten();
    let name = |s: &Json| match s.get("const")? {
        Json::String(word) => Some(word.clone()),
        Json::Bool(on) => Some(on.to_string()),
        _ => None,
    };
    let documented = documented.filter_map(|s| Some(Choice { value: name(s)?, help: help(s) }));
    let plain = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    let plain = plain.filter_map(|v| Some(Choice { value: v.as_str()?.to_owned(), help: String::new() }));
    documented.chain(plain).collect()
}

/// Least and greatest value, where there are such.
fn limits(schema: &Json) -> (Option<f64>, Option<f64>) {
    let bound = |name: &str| schema.get(name).and_then(Json::as_f64);
    let widest = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => Some(f64::from(u8::MAX)),
        Some("uint16") => Some(f64::from(u16::MAX)),
        Some("uint32") => Some(f64::from(u32::MAX)),
        _ => None,
    };
    (bound("minimum"), bound("maximum").or(widest))
}

pub(crate) fn in_range(schema: &Json, x: f64) -> bool {
    let (min, max) = limits(schema);
    min.is_none_or(|min| x >= min) && max.is_none_or(|max| x <= max)
}

/// What a schema asks for, in words: `a whole number from 1 to 64`.
pub(crate) fn expectation(schema: &Json) -> String {
    if let Some(words) = schema.get("x-expected").and_then(Json::as_str) {
        return words.to_owned();
    }
    let options = options(schema);
    if !options.is_empty() {
        return one_of(options.iter().map(|o| o.value.as_str()));
    }
    let what = match kind(schema) {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => return "true or false".into(),
        "array" => return "a list, such as [\"a\", \"b\"]".into(),
        "object" => return "a table".into(),
        _ => return "text in quotation marks".into(),
    };
    let range = match limits(schema) {
        (Some(min), Some(max)) => format!(" from {} to {}", figure(min), figure(max)),
        (Some(min), _) => format!(", at least {}", figure(min)),
        (None, Some(max)) => format!(", at most {}", figure(max)),
        (None, None) => String::new(),
    };
    let unit = schema.get("x-unit").and_then(Json::as_str).map(|u| format!(" ({u})")).unwrap_or_default();
    format!("{what}{range}{unit}")
}

/// Limits as people write them: `1e-8` rather than `0.00000001`.
fn figure(x: f64) -> String {
    if x != 0.0 && x.abs() < 1e-4 { format!("{x:e}") } else { x.to_string() }
}

/// `` `a`, `b` or `c` ``.
pub(crate) fn one_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    match names.as_slice() {
        [] => "nothing".into(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// Doc comments are wrapped where the source is; help is not.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
