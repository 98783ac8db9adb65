//! Interactions from Parquet files and Arrow record batches (feature `parquet`).

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float32Type, Int64Type, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::columns::Places;
use super::{Columns, Interactions, InteractionsBuilder};
use crate::table::{self, Header, Place};
use crate::{Error, Result};

impl Interactions {
    /// A log from a Parquet file. Of `columns` only what concerns columns, kinds of events and
    /// duplicates is used; columns are found by name or position as in a table with a header. Ids may
    /// be text or integers; weights any number; times integers, timestamps and dates (which become
    /// Unix seconds), or text. Only the columns that are needed are read.
    ///
    /// # Errors
    /// Each names the file, and the row where there is one.
    pub fn from_parquet(path: impl AsRef<Path>, columns: &Columns) -> Result<Self> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let broken = |e: String| Error::File {
            origin: origin.clone(),
            reason: e,
        };
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)
            .map_err(|e| broken(format!("not a Parquet file that can be read: {e}")))?;
        let header = header(builder.schema().fields());
        let places = columns.places(Some(&header), header.names.len(), &origin)?;
        let wanted = [
            Some(&places.user),
            Some(&places.item),
            places.weight.as_ref(),
            places.time.as_ref(),
        ];
        // By name from here on: leaving columns out moves the others.
        let roots: Vec<usize> = wanted.iter().flatten().map(|place| place.index).collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder
            .with_projection(mask)
            .build()
            .map_err(|e| broken(e.to_string()))?;
        let mut events = Events::new(columns, &origin);
        for batch in reader {
            let batch = batch.map_err(|e| broken(e.to_string()))?;
            events.add(&batch, &places)?;
        }
        events.build()
    }

    /// As [`from_parquet`](Self::from_parquet), from record batches of one schema; `origin` is their
    /// name in messages.
    ///
    /// # Errors
    /// As [`from_parquet`](Self::from_parquet).
    pub fn from_record_batches<'a>(
        batches: impl IntoIterator<Item = &'a RecordBatch>,
        origin: &str,
        columns: &Columns,
    ) -> Result<Self> {
        let mut events = Events::new(columns, origin);
        for batch in batches {
            let header = header(batch.schema().fields());
            let places = columns.places(Some(&header), header.names.len(), origin)?;
            events.add(batch, &places)?;
        }
        events.build()
    }
}

fn header(fields: &arrow::datatypes::Fields) -> Header {
    Header {
        names: fields.iter().map(|field| field.name().clone()).collect(),
    }
}

struct Events<'a> {
    columns: &'a Columns,
    origin: &'a str,
    builder: InteractionsBuilder,
    /// Rows before the current batch.
    rows: u64,
}

impl<'a> Events<'a> {
    fn new(columns: &'a Columns, origin: &'a str) -> Self {
        let builder = Interactions::builder().duplicates(columns.duplicates);
        Self {
            columns,
            origin,
            builder,
            rows: 0,
        }
    }

    fn build(self) -> Result<Interactions> {
        match self.builder.is_empty() {
            true => Err(Error::Empty {
                origin: self.origin.to_owned(),
            }),
            false => self.builder.build(),
        }
    }

    fn error(&self, row: usize, reason: impl std::fmt::Display) -> Error {
        let reason = format!("row {}: {reason}", self.rows + row as u64 + 1);
        Error::File {
            origin: self.origin.to_owned(),
            reason,
        }
    }

    fn add(&mut self, batch: &RecordBatch, places: &Places) -> Result<()> {
        let users = self.cast(batch, &places.user, &DataType::Utf8)?;
        let items = self.cast(batch, &places.item, &DataType::Utf8)?;
        let kinds = !self.columns.event_weights.is_empty();
        let weight_type = if kinds {
            DataType::Utf8
        } else {
            DataType::Float32
        };
        let weight = |place| self.cast(batch, place, &weight_type);
        let weights = places.weight.as_ref().map(weight).transpose()?;
        let times = places
            .time
            .as_ref()
            .map(|place| self.times(batch, place))
            .transpose()?;
        for row in 0..batch.num_rows() {
            let missing = |place: &Place| self.error(row, format!("{} is missing", place.name));
            let user =
                value(users.as_string_opt::<i32>(), row).ok_or_else(|| missing(&places.user))?;
            let item =
                value(items.as_string_opt::<i32>(), row).ok_or_else(|| missing(&places.item))?;
            let weight = match (&weights, &places.weight) {
                (Some(weights), Some(place)) if kinds => {
                    let kind =
                        value(weights.as_string_opt::<i32>(), row).ok_or_else(|| missing(place))?;
                    match self
                        .columns
                        .event_weights
                        .iter()
                        .find(|(name, _)| name == kind)
                    {
                        Some(&(_, weight)) => weight,
                        None => continue,
                    }
                }
                (Some(weights), Some(place)) => {
                    let weights = weights.as_primitive_opt::<Float32Type>();
                    let weight = weights.filter(|w| !w.is_null(row)).map(|w| w.value(row));
                    let weight = weight.ok_or_else(|| missing(place))?;
                    if !weight.is_finite() {
                        return Err(self.error(row, format!("{} is {weight}", place.name)));
                    }
                    weight
                }
                _ => 1.0,
            };
            let time = match (&times, &places.time) {
                (Some(times), Some(place)) => Some(
                    times
                        .get(row)
                        .copied()
                        .flatten()
                        .ok_or_else(|| missing(place))?,
                ),
                _ => None,
            };
            self.builder.push(user, item, weight, time)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The column by its name, since a projection moves positions, as another type.
    fn cast(&self, batch: &RecordBatch, place: &Place, to: &DataType) -> Result<ArrayRef> {
        let column = batch
            .column_by_name(&place.name)
            .ok_or_else(|| Error::NoColumn {
                origin: self.origin.to_owned(),
                column: format!("{:?}", place.name),
                known: header(batch.schema().fields()).to_string(),
            })?;
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(column, to, &options).map_err(|e| Error::File {
            origin: self.origin.to_owned(),
            reason: format!("column {:?}: {e}", place.name),
        })
    }

    fn times(&self, batch: &RecordBatch, place: &Place) -> Result<Vec<Option<i64>>> {
        let kind = batch
            .column_by_name(&place.name)
            .map(|column| column.data_type().clone());
        if let Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) = kind {
            let texts = self.cast(batch, place, &DataType::Utf8)?;
            let time = |row| {
                let Some(text) = value(texts.as_string_opt::<i32>(), row) else {
                    return Ok(None);
                };
                let time = table::parse_time(text);
                let problem =
                    || self.error(row, format!("{} is {text:?}, which is no time", place.name));
                time.map(Some).ok_or_else(problem)
            };
            return (0..batch.num_rows()).map(time).collect();
        }
        let mut column = batch.clone();
        if let Some(DataType::Timestamp(..) | DataType::Date32 | DataType::Date64) = kind {
            let seconds = self.cast(batch, place, &DataType::Timestamp(TimeUnit::Second, None))?;
            column = RecordBatch::try_from_iter([(place.name.as_str(), seconds)]).map_err(|e| {
                Error::File {
                    origin: self.origin.to_owned(),
                    reason: e.to_string(),
                }
            })?;
        }
        let numbers = self.cast(&column, place, &DataType::Int64)?;
        let numbers = numbers.as_primitive_opt::<Int64Type>();
        Ok(numbers
            .map(|numbers| numbers.iter().collect())
            .unwrap_or_default())
    }
}

fn value(column: Option<&arrow::array::StringArray>, row: usize) -> Option<&str> {
    column
        .filter(|column| !column.is_null(row))
        .map(|column| column.value(row))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Float64Array, Int64Array, StringArray, StringDictionaryBuilder, TimestampMillisecondArray,
        UInt32Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn write(batch: &RecordBatch) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer =
            parquet::arrow::ArrowWriter::try_new(file.reopen().unwrap(), batch.schema(), None)
                .unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        file
    }

    #[test]
    fn every_type_of_column_is_read() {
        let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
        ["x", "y", "x"]
            .iter()
            .for_each(|item| dictionary.append_value(item));
        let batch = batch(vec![
            ("noise", Arc::new(Int64Array::from(vec![7, 7, 7]))),
            (
                "timestamp",
                Arc::new(TimestampMillisecondArray::from(vec![5_999, 6_000, 7_000])),
            ),
            ("rating", Arc::new(Float64Array::from(vec![1.0, 2.5, 3.0]))),
            ("item_id", Arc::new(dictionary.finish())),
            ("user_id", Arc::new(UInt32Array::from(vec![10, 10, 20]))),
        ]);
        let file = write(&batch);
        let log = Interactions::from_parquet(file.path(), &Columns::default()).unwrap();
        assert_eq!(log.users().iter().collect::<Vec<_>>(), ["10", "20"]);
        assert_eq!(log.user_items(0), (&[0, 1][..], &[1.0, 2.5][..]));
        assert_eq!(log.user_times(0), Some(&[5, 6][..]));
        let again =
            Interactions::from_record_batches([&batch], "memory", &Columns::default()).unwrap();
        assert_eq!(again, log);
    }

    #[test]
    fn kinds_of_events_and_times_as_text() {
        let batch = batch(vec![
            ("user", Arc::new(StringArray::from(vec!["a", "a", "b"]))),
            ("item", Arc::new(StringArray::from(vec!["x", "x", "x"]))),
            (
                "event",
                Arc::new(StringArray::from(vec!["view", "buy", "other"])),
            ),
            (
                "time",
                Arc::new(StringArray::from(vec!["1970-01-01", "1970-01-02", "5"])),
            ),
        ]);
        let columns = Columns {
            weight: "event".into(),
            event_weights: vec![("view".into(), 1.0), ("buy".into(), 5.0)],
            ..Columns::default()
        };
        let log = Interactions::from_record_batches([&batch], "memory", &columns).unwrap();
        assert_eq!((log.len(), log.user_items(0).1), (1, &[6.0][..]));
        assert_eq!(log.user_times(0), Some(&[86_400][..]));
    }

    #[test]
    fn errors_name_the_row() {
        let message = |columns| {
            let file = write(&batch(columns));
            Interactions::from_parquet(file.path(), &Columns::default())
                .unwrap_err()
                .to_string()
        };
        let text = |values: Vec<Option<&str>>| Arc::new(StringArray::from(values)) as ArrayRef;
        let users = || ("user", text(vec![Some("a"), Some("b")]));
        let items = || ("item", text(vec![Some("x"), None]));
        assert!(message(vec![users(), items()]).ends_with(": row 2: item is missing"));
        let weights = || {
            (
                "rating",
                Arc::new(Float64Array::from(vec![1.0, f64::NAN])) as ArrayRef,
            )
        };
        let items = || ("item", text(vec![Some("x"), Some("y")]));
        assert!(message(vec![users(), items(), weights()]).ends_with(": row 2: rating is NaN"));
        assert!(message(vec![users()]).contains("no column for the item"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"PAR1 not really PAR1").unwrap();
        let error = Interactions::from_parquet(file.path(), &Columns::default()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("not a Parquet file that can be read"),
            "{error}"
        );
    }
}
