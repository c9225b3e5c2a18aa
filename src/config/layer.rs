//! One layer of `[maildrop]` settings on disk: what it names replaces what is below it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::error::ConfigError;
use super::maildrop::{Lock, Maildrop, OnDelete, OnRetrieve, Share, Size, UniqueIdScheme, folder_name};
use super::source::Source;

/// `[maildrop]`, `[upstream.NAME.maildrop]` or an account's `maildrop`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaildropForm {
    #[serde(deserialize_with = "folders")]
    folders: Option<Spanned<Vec<String>>>,
    #[serde(deserialize_with = "separator")]
    folder_separator: Option<String>,
    on_retrieve: Option<OnRetrieve>,
    on_delete: Option<Spanned<OnDelete>>,
    #[serde(deserialize_with = "folder")]
    trash_folder: Option<Spanned<String>>,
    #[serde(deserialize_with = "folder")]
    archive_folder: Option<Spanned<String>>,
    only_unseen: Option<bool>,
    newest: Option<u32>,
    #[serde(deserialize_with = "duration_or_zero")]
    max_age: Option<Duration>,
    max_deletions: Option<u32>,
    #[serde(deserialize_with = "share_over_zero")]
    max_deletions_share: Option<Share>,
    #[serde(deserialize_with = "duration_or_zero")]
    delete_grace: Option<Duration>,
    unique_id: Option<UniqueIdScheme>,
    #[serde(deserialize_with = "share")]
    max_new_share: Option<Share>,
    lock: Option<Lock>,
    #[serde(deserialize_with = "size")]
    read_ahead: Option<Size>,
}

impl MaildropForm {
    /// This layer over `base`. What the two contradict each other in is this layer's mistake,
    /// since `base` was checked before.
    pub fn over(self, base: &Maildrop, source: &Source<'_>) -> Result<Maildrop, ConfigError> {
        let places = [
            self.trash_folder.as_ref().map(Spanned::span),
            self.archive_folder.as_ref().map(Spanned::span),
            self.folders.as_ref().map(Spanned::span),
            self.on_delete.as_ref().map(Spanned::span),
        ];
        let base = base.clone();
        let layered = Maildrop {
            folders: self.folders.map_or(base.folders, Spanned::into_inner),
            folder_separator: self.folder_separator.unwrap_or(base.folder_separator),
            on_retrieve: self.on_retrieve.unwrap_or(base.on_retrieve),
            on_delete: self.on_delete.map_or(base.on_delete, Spanned::into_inner),
            trash_folder: self.trash_folder.map(Spanned::into_inner).or(base.trash_folder),
            archive_folder: self.archive_folder.map(Spanned::into_inner).or(base.archive_folder),
            only_unseen: self.only_unseen.unwrap_or(base.only_unseen),
            newest: self.newest.unwrap_or(base.newest),
            max_age: self.max_age.unwrap_or(base.max_age),
            max_deletions: self.max_deletions.unwrap_or(base.max_deletions),
            max_deletions_share: self.max_deletions_share.unwrap_or(base.max_deletions_share),
            delete_grace: self.delete_grace.unwrap_or(base.delete_grace),
            unique_id: self.unique_id.unwrap_or(base.unique_id),
            max_new_share: self.max_new_share.unwrap_or(base.max_new_share),
            lock: self.lock.unwrap_or(base.lock),
            read_ahead: self.read_ahead.unwrap_or(base.read_ahead),
        };
        let [trash, archive, folders, on_delete] = places;
        let (key, target, place) = match layered.on_delete {
            OnDelete::Trash => ("trash_folder", &layered.trash_folder, trash),
            OnDelete::Archive => ("archive_folder", &layered.archive_folder, archive),
            OnDelete::Hide | OnDelete::Flag | OnDelete::Expunge => return Ok(layered),
        };
        match target {
            Some(target) if layered.folders.contains(target) => Err(source.at(
                &place.or(folders).or(on_delete).unwrap_or_default(),
                format!(
                    "{key} = \"{target}\" is one of the folders of this maildrop, so what is deleted would \
                     stay in it: take \"{target}\" out of folders, or name another {key}"
                ),
            )),
            _ => Ok(layered),
        }
    }
}

/// A layer is a table: a derived reader would take a list of values in the order of the keys as well.
pub fn layer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<MaildropForm, D::Error> {
    struct Table;

    impl<'de> Visitor<'de> for Table {
        type Value = MaildropForm;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one table, as in maildrop = { on_delete = \"hide\" }")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MaildropForm, A::Error> {
            MaildropForm::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Table)
}

/// A value that is read by hand, with its place.
fn spanned<'de, D, T>(
    deserializer: D,
    read: impl FnOnce(Value) -> Result<T, D::Error>,
) -> Result<Option<Spanned<T>>, D::Error>
where
    D: Deserializer<'de>,
{
    let value = Spanned::<Value>::deserialize(deserializer)?;
    let span = value.span();
    read(value.into_inner()).map(|read| Some(Spanned::new(span, read)))
}

fn one_folder<E: Error>(value: &Value) -> Result<String, E> {
    value.as_str().and_then(folder_name).ok_or_else(|| {
        E::custom(format!("{value} is no folder's name: at least one character, and no control characters"))
    })
}

fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<String>>, D::Error> {
    spanned(deserializer, |value| one_folder(&value))
}

fn folders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<Vec<String>>>, D::Error> {
    spanned(deserializer, |value| {
        let Value::Array(values) = &value else {
            return Err(D::Error::custom(format!("{value} is no list of folders, like [\"INBOX\"]")));
        };
        let folders: Vec<String> = values.iter().map(one_folder).collect::<Result<_, _>>()?;
        if folders.is_empty() {
            return Err(D::Error::custom("a maildrop has at least one folder, like [\"INBOX\"]"));
        }
        if folders.len() > Maildrop::MAX_FOLDERS {
            let (many, most) = (folders.len(), Maildrop::MAX_FOLDERS);
            return Err(D::Error::custom(format!(
                "{many} folders are too many for a maildrop: at most {most}"
            )));
        }
        let mut seen = BTreeSet::new();
        match folders.iter().find(|folder| !seen.insert(*folder)) {
            Some(twice) => Err(D::Error::custom(format!("the folder \"{twice}\" is named twice"))),
            None => Ok(folders),
        }
    })
}

/// Empty, or something that stands in no domain: the domain's end would look like a folder.
fn separator<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let in_domains = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    let useless = text.contains(|c: char| c.is_control() || c == '@') || text.chars().all(in_domains);
    if useless && !text.is_empty() {
        return Err(D::Error::custom(format!(
            "{} cannot part a folder from a login, because it stands in logins themselves; \
             use \"+\" or \"/\", or \"\" for none",
            Value::String(text)
        )));
    }
    Ok(Some(text))
}

/// A duration with its unit, as `"30d"`; `"0d"` is none.
pub fn duration_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    // humantime takes a bare "0"; here every duration has its unit.
    let text = value.as_str().filter(|text| *text != "0");
    match text.and_then(|text| humantime::parse_duration(text).ok()) {
        Some(duration) => Ok(Some(duration)),
        None => Err(D::Error::custom(format!(
            "{value} is no duration with its unit, like \"30d\"; \"0d\" is none"
        ))),
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Size>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let size = value.as_str().unwrap_or_default().parse();
    size.map(Some).map_err(|error| D::Error::custom(format!("{value} is {error}")))
}

fn share<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Share>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let share = value.as_str().unwrap_or_default().parse();
    share.map(Some).map_err(|error| D::Error::custom(format!("{value} is {error}")))
}

fn share_over_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Share>, D::Error> {
    match share(deserializer)? {
        Some(share) if share.is_zero() => Err(D::Error::custom(
            "\"0%\" would let nothing be deleted; \"1%\" at least, \"100%\" is no brake",
        )),
        share => Ok(share),
    }
}
