//! Lays a user's file, environment variables and flags over the default file.

use toml::{Table, Value};

use super::{DEFAULTS, Origins};

/// The one table whose keys are free.
const FREE: &str = "kafka.properties";

/// The merged table. What is refused is left at its default, and told in `faults`.
pub(super) fn merge(origins: &Origins, faults: &mut Vec<String>) -> Table {
    let mut merged: Table = toml::from_str(DEFAULTS).expect("the default file is checked by a test");
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
    let mut variables: Vec<_> = origins.environment.iter().filter(|(name, _)| name.starts_with("JAMAIS__")).collect();
    variables.sort();
    for (name, text) in variables {
        let key = name["JAMAIS__".len()..].to_lowercase().replace("__", ".");
        set(&mut merged, &key, text, name, faults);
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

/// Lays `over` over `base`, which has every known key.
fn lay(base: &mut Table, over: Table, prefix: &str, place: &str, faults: &mut Vec<String>) {
    for (name, value) in over {
        let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if prefix == FREE {
            base.insert(name, Value::String(plain(&value)));
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
