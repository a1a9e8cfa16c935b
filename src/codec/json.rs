//! Records as JSON, read in one pass without a tree: each name is looked up once, and what plays no part is skipped.
//!
//! JSON has no NaN, so historians write it in other ways. In a channel, `null` is NaN, the texts `"NaN"`, `"Infinity"`
//! and `"-Infinity"` (also `"inf"`, in any case) are what they say, `true` is 1 and `false` 0. Any other text is
//! refused, numbers in quotes too: a producer that changes its types must show.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::channels::{ChannelValues, Channels};
use super::error::{DecodeError, quoted};
use super::settings::{InputSettings, SeriesFrom, Shape};
use super::time::TimeError;
use super::{Decoded, series_of_key};
use crate::domain::record::{EventTime, Reading, Record, SeriesKey};

/// What a field at the top of a record is for.
#[derive(Clone, Copy, Debug)]
enum Role {
    Time,
    /// Which of the series' parts.
    Series(usize),
    /// The object of channel values.
    Channels,
    /// A channel's value, by its index.
    Channel(usize),
    ChannelName,
    Value,
}

/// The names that matter at the top of a record.
#[derive(Debug)]
pub(super) struct Roles(HashMap<String, Role>);

impl Roles {
    pub fn new(settings: &InputSettings, channels: &Channels) -> Self {
        let mut roles = HashMap::new();
        match (settings.shape, &settings.channels_field) {
            (Shape::Wide, Some(field)) => {
                roles.insert(field.clone(), Role::Channels);
            }
            (Shape::Wide, None) => {
                roles.extend(channels.names().iter().cloned().enumerate().map(|(i, name)| (name, Role::Channel(i))));
            }
            (Shape::Narrow, _) => {
                roles.insert(settings.channel_field.clone(), Role::ChannelName);
                roles.insert(settings.value_field.clone(), Role::Value);
            }
        }
        // A channel that is called like the series' or the time's field gives way.
        if let SeriesFrom::Fields(fields) = &settings.series {
            roles.extend(fields.iter().cloned().enumerate().map(|(i, field)| (field, Role::Series(i))));
        }
        roles.insert(settings.time_field.clone(), Role::Time);
        Self(roles)
    }
}

/// Reads one record.
pub(super) fn decode(
    settings: &InputSettings,
    channels: &Channels,
    roles: &Roles,
    record: &Record,
    bytes: &[u8],
) -> Result<Decoded, DecodeError> {
    let mut top = Top::new(settings, channels, roles);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let found = ValueOf(&mut top).deserialize(&mut deserializer).map_err(|error| not_json(&error))?;
    deserializer.end().map_err(|error| not_json(&error))?;
    if !matches!(found, Value::Object) {
        return Err(DecodeError::NotAnObject { found: found.to_string() });
    }
    let series = top.series(record)?;
    let time = top.time()?;
    let (values, unknown_channels) = top.values()?;
    Ok(Decoded { reading: Reading { series, time, values }, unknown_channels })
}

fn not_json(error: &serde_json::Error) -> DecodeError {
    let (line, column) = (error.line(), error.column());
    let what = error.to_string();
    let what = what.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&what).to_owned();
    DecodeError::NotJson { what, line, column }
}

/// A JSON value, as far as it matters.
#[derive(Debug)]
enum Value<'de> {
    Null,
    Bool(bool),
    Integer(i64),
    /// Above `i64::MAX`.
    Huge(u64),
    Float(f64),
    Text(Cow<'de, str>),
    Array,
    Object,
}

impl Value<'_> {
    /// As a channel's value.
    #[expect(clippy::cast_precision_loss, reason = "a JSON number is a double to most producers anyway")]
    fn number(&self) -> Option<f64> {
        Some(match self {
            Self::Null => f64::NAN,
            Self::Bool(value) => f64::from(u8::from(*value)),
            Self::Integer(value) => *value as f64,
            Self::Huge(value) => *value as f64,
            Self::Float(value) => *value,
            Self::Text(text) => {
                let is = |word: &str| text.eq_ignore_ascii_case(word);
                match () {
                    () if is("nan") => f64::NAN,
                    () if is("infinity") || is("inf") || is("+infinity") || is("+inf") => f64::INFINITY,
                    () if is("-infinity") || is("-inf") => f64::NEG_INFINITY,
                    () => return None,
                }
            }
            Self::Array | Self::Object => return None,
        })
    }

    /// As a name: a text, or a whole number.
    fn name(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Integer(number) => Some(Cow::Owned(number.to_string())),
            Self::Huge(number) => Some(Cow::Owned(number.to_string())),
            _ => None,
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Integer(number) => write!(f, "the number {number}"),
            Self::Huge(number) => write!(f, "the number {number}"),
            Self::Float(number) => write!(f, "the number {number}"),
            Self::Text(text) => write!(f, "the text {}", quoted(text)),
            Self::Array => f.write_str("an array"),
            Self::Object => f.write_str("an object"),
        }
    }
}

/// What to do with the fields of an object.
trait Fields<'de> {
    /// Takes one field; `map` is about to give its value, which must be taken.
    fn field<A: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut A) -> Result<(), A::Error>;
}

/// Skips them.
struct Skip;

impl<'de> Fields<'de> for Skip {
    fn field<A: MapAccess<'de>>(&mut self, _name: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        map.next_value::<IgnoredAny>().map(|_| ())
    }
}

/// Reads any value, and hands the fields over if it is an object.
struct ValueOf<'a, F>(&'a mut F);

/// A field's name, borrowed from the record unless it holds escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, F: Fields<'de>> DeserializeSeed<'de> for ValueOf<'_, F> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fields<'de>> Visitor<'de> for ValueOf<'_, F> {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value<'de>, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value<'de>, E> {
        Ok(Value::Integer(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value<'de>, E> {
        Ok(i64::try_from(value).map_or(Value::Huge(value), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value<'de>, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.0.field(name, &mut map)?;
        }
        Ok(Value::Object)
    }
}

/// The channels of a record, with the first value that is none.
struct Values<'a, 'de> {
    read: ChannelValues<'a, 'de>,
    fault: Option<DecodeError>,
    setting: &'static str,
}

impl<'de> Values<'_, 'de> {
    fn channel<A: MapAccess<'de>>(&mut self, index: usize, name: &str, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value_seed(ValueOf(&mut Skip))?;
        self.push(index, name, &value);
        Ok(())
    }

    fn push(&mut self, index: usize, name: &str, value: &Value<'_>) {
        match value.number() {
            Some(number) => self.read.push(index, number),
            None => {
                let wanted = "a number (or true, false, null, \"NaN\", \"Infinity\", \"-Infinity\")";
                self.fault.get_or_insert_with(|| wrong_type(name, value, wanted, self.setting));
            }
        }
    }
}

impl<'de> Fields<'de> for Values<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        if let Some(index) = self.read.channels.index_of(&name) {
            self.channel(index, &name, map)
        } else {
            self.read.note_unknown(name);
            map.next_value::<IgnoredAny>().map(|_| ())
        }
    }
}

/// A record's top: what has been found of what matters.
struct Top<'a, 'de> {
    settings: &'a InputSettings,
    roles: &'a Roles,
    series: Vec<Option<Value<'de>>>,
    time: Option<Value<'de>>,
    channels: Option<Value<'de>>,
    channel_name: Option<Value<'de>>,
    value: Option<Value<'de>>,
    values: Values<'a, 'de>,
}

impl<'de> Fields<'de> for Top<'_, 'de> {
    fn field<A: MapAccess<'de>>(&mut self, name: Cow<'de, str>, map: &mut A) -> Result<(), A::Error> {
        let Some(role) = self.roles.0.get(&*name) else {
            return map.next_value::<IgnoredAny>().map(|_| ());
        };
        let slot = match *role {
            Role::Channel(index) => return self.values.channel(index, &name, map),
            Role::Channels => {
                self.channels = Some(map.next_value_seed(ValueOf(&mut self.values))?);
                return Ok(());
            }
            Role::Time => &mut self.time,
            Role::Series(part) => &mut self.series[part],
            Role::ChannelName => &mut self.channel_name,
            Role::Value => &mut self.value,
        };
        *slot = Some(map.next_value_seed(ValueOf(&mut Skip))?);
        Ok(())
    }
}

impl<'a, 'de> Top<'a, 'de> {
    fn new(settings: &'a InputSettings, channels: &'a Channels, roles: &'a Roles) -> Self {
        let parts = if let SeriesFrom::Fields(fields) = &settings.series { fields.len() } else { 0 };
        let setting = match (settings.shape, &settings.channels_field) {
            (Shape::Narrow, _) => "input.value_field",
            (Shape::Wide, _) => "input.channels_field",
        };
        Self {
            settings,
            roles,
            series: (0..parts).map(|_| None).collect(),
            time: None,
            channels: None,
            channel_name: None,
            value: None,
            values: Values { read: ChannelValues::new(channels), fault: None, setting },
        }
    }

    fn series(&self, record: &Record) -> Result<SeriesKey, DecodeError> {
        let SeriesFrom::Fields(fields) = &self.settings.series else {
            return series_of_key(record);
        };
        let mut parts = Vec::with_capacity(fields.len());
        for (field, value) in fields.iter().zip(&self.series) {
            let part = name(field, value.as_ref(), "input.series")?;
            if part.is_empty() {
                return Err(DecodeError::EmptySeries { origin: format!("field {field:?}") });
            }
            parts.push(part);
        }
        Ok(match &parts[..] {
            [part] => SeriesKey::new(part),
            parts => SeriesKey::new(&parts.join("/")),
        })
    }

    fn time(&self) -> Result<EventTime, DecodeError> {
        let (field, format) = (&self.settings.time_field, &self.settings.time_format);
        let value = self.time.as_ref().ok_or_else(|| missing(field, "input.time_field"))?;
        let read = match value {
            Value::Text(text) => format.read_text(text),
            Value::Integer(number) => format.read_integer(*number),
            Value::Float(number) => format.read_float(*number),
            Value::Huge(number) => Err(TimeError { found: format!("the number {number}"), format: format.to_string() }),
            Value::Null | Value::Bool(_) | Value::Array | Value::Object => {
                return Err(wrong_type(field, value, "a time as text or number", "input.time_field"));
            }
        };
        read.map_err(|TimeError { found, format }| DecodeError::BadTime { field: field.clone(), found, format })
    }

    /// The values, and how many unknown channels were left out.
    fn values(mut self) -> Result<(Vec<(usize, f64)>, u32), DecodeError> {
        let unknown_channels = self.settings.unknown_channels;
        match (self.settings.shape, &self.settings.channels_field) {
            (Shape::Wide, None) => {}
            (Shape::Wide, Some(field)) => match self.channels {
                Some(Value::Object) => {}
                Some(value) => {
                    return Err(wrong_type(field, &value, "an object of channel values", "input.channels_field"));
                }
                None => return Err(missing(field, "input.channels_field")),
            },
            (Shape::Narrow, _) => {
                let (channel_field, value_field) = (&self.settings.channel_field, &self.settings.value_field);
                let channel = name(channel_field, self.channel_name.as_ref(), "input.channel_field")?;
                let value = self.value.as_ref().ok_or_else(|| missing(value_field, "input.value_field"))?;
                match self.values.read.channels.index_of(&channel) {
                    Some(index) => self.values.push(index, value_field, value),
                    None => self.values.read.note_unknown(Cow::Owned(channel.into_owned())),
                }
            }
        }
        match (self.values.fault, self.settings.shape) {
            (Some(fault), _) => Err(fault),
            (None, Shape::Wide) => self.values.read.finish_wide(unknown_channels),
            (None, Shape::Narrow) => self.values.read.finish(unknown_channels),
        }
    }
}

/// What a field names.
fn name<'v>(field: &str, value: Option<&'v Value<'_>>, setting: &'static str) -> Result<Cow<'v, str>, DecodeError> {
    let value = value.ok_or_else(|| missing(field, setting))?;
    value.name().ok_or_else(|| wrong_type(field, value, "a text or a whole number", setting))
}

fn missing(field: &str, setting: &'static str) -> DecodeError {
    DecodeError::MissingField { field: field.to_owned(), setting }
}

fn wrong_type(field: &str, value: &Value<'_>, wanted: &'static str, setting: &'static str) -> DecodeError {
    DecodeError::WrongType { field: field.to_owned(), found: value.to_string(), wanted, setting }
}
