//! A configuration's tables as they are edited: whatever form a person has given them, with the
//! comments beside them.

use toml_edit::{Item, Table, TableLike, Value};

use crate::cli::exit::{self, Failure};

/// A text as a value.
pub fn text(text: &str) -> Item {
    Value::from(text).into()
}

/// Sets a value; the comment beside it stays.
pub fn set(table: &mut dyn TableLike, key: &str, value: Item) {
    match (table.get_mut(key).and_then(Item::as_value_mut), value) {
        (Some(old), Item::Value(mut new)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (_, value) => drop(table.insert(key, value)),
    }
}

/// A table of a table; made if it is not there, without a line of its own where it holds only
/// tables.
pub fn section<'a>(parent: &'a mut dyn TableLike, name: &str) -> Result<&'a mut dyn TableLike, Failure> {
    let mut new = Table::new();
    new.set_implicit(true);
    like(parent.entry(name).or_insert(Item::Table(new)), name)
}

pub fn like<'a>(item: &'a mut Item, name: &str) -> Result<&'a mut dyn TableLike, Failure> {
    item.as_table_like_mut().ok_or_else(|| strange(name))
}

/// The tables of `[[name]]`, or of `name = [{ … }]`.
pub fn rows(item: &mut Item) -> Vec<&mut dyn TableLike> {
    match item {
        Item::ArrayOfTables(tables) => tables.iter_mut().map(|table| table as &mut dyn TableLike).collect(),
        Item::Value(Value::Array(values)) => values
            .iter_mut()
            .filter_map(|value| Some(value.as_inline_table_mut()? as &mut dyn TableLike))
            .collect(),
        _ => Vec::new(),
    }
}

pub fn push(item: &mut Item, table: Table) -> Result<(), Failure> {
    match item {
        Item::ArrayOfTables(tables) => tables.push(table),
        Item::Value(Value::Array(values)) => values.push(table.into_inline_table()),
        _ => return Err(strange("this list of tables")),
    }
    Ok(())
}

/// A configuration that is right has none of these.
fn strange(name: &str) -> Failure {
    Failure::new(exit::CONFIG, anyhow::anyhow!("the configuration's {name} has an unexpected form"))
}
