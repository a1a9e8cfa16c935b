//! Lays a user's file, environment variables and flags over the default file.

use std::ffi::OsStr;

use toml::{Table, Value};

use super::{DEFAULTS, Origins};

/// What a variable's name begins with.
const VARIABLES: &str = "JAMAIS__";

/// The one table whose keys are free.
const FREE: &str = "kafka.properties";

/// Every key with its default.
pub(super) fn defaults() -> Table {
    toml::from_str(DEFAULTS).expect("the default file is checked by a test")
}

/// The merged table. What is refused is left at its default, and told in `faults`.
pub(super) fn merge(origins: &Origins, faults: &mut Vec<String>) -> Table {
    let mut merged = defaults();
    if let Some(path) = &origins.file {
        let place = path.display().to_string();
        match std::fs::read_to_string(path) {
            Err(error) => faults.push(format!("cannot read {place}: {error}")),
            Ok(text) => match text.parse::<Table>() {
                Err(error) => faults.push(format!("{place} is not TOML: {error}")),
                Ok(table) => lay(&mut merged, table, "", &place, faults),
            },
        }
    }
    // Other programs' variables may hold anything.
    let mut variables: Vec<(&str, &OsStr)> =
        origins.environment.iter().filter_map(|(name, value)| ours(name, value)).collect();
    variables.sort();
    for (name, value) in variables {
        let (key, place) = (name.to_lowercase().replace("__", "."), format!("{VARIABLES}{name}"));
        match value.to_str() {
            Some(text) => set(&mut merged, &key, text, &place, faults),
            None => faults.push(format!("{place} is not UTF-8")),
        }
    }
    for text in &origins.overrides {
        match text.split_once('=') {
            Some((key, value)) => set(&mut merged, key.trim(), value.trim(), "--set", faults),
            None => faults
                .push(format!("--set {text}: write section.key=value, for instance --set kafka.brokers=host:9092")),
        }
    }
    merged
}

/// A variable of ours: what its name says, and its value.
fn ours<'a>(name: &'a OsStr, value: &'a OsStr) -> Option<(&'a str, &'a OsStr)> {
    Some((name.to_str()?.strip_prefix(VARIABLES)?, value))
}

/// Lays `over` over `base`, which has every known key.
fn lay(base: &mut Table, over: Table, prefix: &str, place: &str, faults: &mut Vec<String>) {
    for (name, value) in over {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if prefix == FREE {
            lay_free(base, name, value);
            continue;
        }
        let known = base.keys().cloned().collect::<Vec<_>>();
        match (base.get_mut(&name), value) {
            (None, _) => faults.push(format!("{place}: unknown key {key}; known here: {}", known.join(", "))),
            (Some(Value::Table(base)), Value::Table(over)) => lay(base, over, &key, place, faults),
            (Some(slot), value) => match coerce(slot, value) {
                Ok(value) => *slot = value,
                Err(found) => faults.push(format!("{place}: {key} is {found}, it must be {}", article(slot))),
            },
        }
    }
}

/// Takes a free key; TOML reads an unquoted `linger.ms = 5` as a table, which is the key `linger.ms` again.
fn lay_free(base: &mut Table, name: String, value: Value) {
    match value {
        Value::Table(over) => {
            over.into_iter().for_each(|(rest, value)| lay_free(base, format!("{name}.{rest}"), value))
        }
        value => {
            base.insert(name, Value::String(plain(&value)));
        }
    }
}

/// Sets one key from text.
fn set(merged: &mut Table, key: &str, text: &str, place: &str, faults: &mut Vec<String>) {
    if let Some(property) = key.strip_prefix(FREE).and_then(|rest| rest.strip_prefix('.')) {
        let properties = merged.get_mut("kafka").and_then(|kafka| kafka.get_mut("properties"));
        if let Some(table) = properties.and_then(Value::as_table_mut) {
            // Variables cannot hold dots: SECURITY__PROTOCOL has become security.protocol already.
            table.insert(property.to_owned(), Value::String(text.to_owned()));
        }
        return;
    }
    let slot = key.split_once('.').and_then(|(section, name)| merged.get_mut(section)?.get_mut(name));
    let Some(slot) = slot.filter(|slot| !slot.is_table()) else {
        faults.push(format!("{place}: unknown key {key}; `jamais config show` lists every key"));
        return;
    };
    let value = match slot {
        Value::String(_) => Ok(Value::String(text.to_owned())),
        _ => format!("value = {text}")
            .parse::<Table>()
            .map_err(|_| format!("{text:?}"))
            .and_then(|mut table| coerce(slot, table.remove("value").unwrap_or(Value::String(text.to_owned())))),
    };
    match value {
        Ok(value) => *slot = value,
        Err(found) => faults.push(format!("{place}: {key} is {found}, it must be {}", article(slot))),
    }
}

/// A value of the same type as `slot`'s, or what it is instead.
fn coerce(slot: &Value, value: Value) -> Result<Value, String> {
    match (slot, value) {
        #[expect(clippy::cast_precision_loss, reason = "a whole number where a fraction may stand")]
        (Value::Float(_), Value::Integer(value)) => Ok(Value::Float(value as f64)),
        (Value::Array(_), Value::Array(items)) if !items.iter().all(Value::is_str) => {
            Err("a list with other things than texts".to_owned())
        }
        (slot, value) if slot.same_type(&value) => Ok(value),
        (_, value) => Err(format!("{value}")),
    }
}

fn article(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        Value::Datetime(_) => "a time",
        Value::Table(_) => "a table",
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
