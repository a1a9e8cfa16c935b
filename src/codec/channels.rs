//! The model's channels by name, and what a record says of them.

use std::borrow::Cow;
use std::collections::HashMap;

use super::error::DecodeError;
use super::settings::UnknownChannels;

/// How many channels a message names.
const SHOWN: usize = 8;

/// The model's channels.
#[derive(Debug)]
pub(super) struct Channels {
    names: Vec<String>,
    index_of: HashMap<String, usize>,
}

impl Channels {
    /// From names in model order.
    pub fn new(names: Vec<String>) -> Self {
        let index_of = names.iter().enumerate().map(|(index, name)| (name.clone(), index)).collect();
        Self { names, index_of }
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.index_of.get(name).copied()
    }

    /// The first few, for a message.
    fn some(&self) -> String {
        let some: Vec<_> = self.names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
        let rest = self.names.len().saturating_sub(SHOWN);
        let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
        some.join(", ") + &more
    }
}

/// The channels of one record.
pub(super) struct ChannelValues<'a, 'de> {
    pub channels: &'a Channels,
    /// (channel index, value), as they came.
    pub values: Vec<(usize, f64)>,
    first_unknown: Option<Cow<'de, str>>,
    unknown: u32,
}

impl<'a, 'de> ChannelValues<'a, 'de> {
    pub fn new(channels: &'a Channels) -> Self {
        Self { channels, values: Vec::new(), first_unknown: None, unknown: 0 }
    }

    /// Takes a value of a known channel. Room for all channels is made at the first.
    pub fn push(&mut self, index: usize, value: f64) {
        if self.values.is_empty() {
            self.values.reserve_exact(self.channels.names.len());
        }
        self.values.push((index, value));
    }

    /// Notes a channel that the model does not know.
    pub fn note_unknown(&mut self, name: Cow<'de, str>) {
        self.unknown = self.unknown.saturating_add(1);
        self.first_unknown.get_or_insert(name);
    }

    /// The values, and how many channels were left out.
    pub fn finish(self, unknown_channels: UnknownChannels) -> Result<(Vec<(usize, f64)>, u32), DecodeError> {
        match (self.first_unknown, unknown_channels) {
            (Some(channel), UnknownChannels::DeadLetter) => {
                Err(DecodeError::UnknownChannel { channel: channel.into_owned(), known: self.channels.some() })
            }
            _ => Ok((self.values, self.unknown)),
        }
    }

    /// The same for a wide record, which must have a channel that is known.
    pub fn finish_wide(self, unknown_channels: UnknownChannels) -> Result<(Vec<(usize, f64)>, u32), DecodeError> {
        let channels = self.channels;
        let (values, unknown) = self.finish(unknown_channels)?;
        if values.is_empty() {
            return Err(DecodeError::NoKnownChannel { known: channels.some() });
        }
        Ok((values, unknown))
    }
}
