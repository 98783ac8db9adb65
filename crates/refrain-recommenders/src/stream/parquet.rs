use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use ::parquet::basic::Compression;
use ::parquet::file::properties::WriterProperties;
use arrow::array::{Float32Builder, RecordBatch, StringBuilder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Schema};
use refrain_core::Monitor;

use super::recommend_stream;
use crate::{Error, Query, Recommender, Result};

/// Rows of a batch, and of a row group of the file.
const ROWS: usize = 64 * 1024;

/// Writes the lists of many users to a Parquet file with the columns `user` and `item` (text), `rank`
/// (from 1) and `score` (feature `parquet`).
///
/// # Errors
/// As [`recommend_stream`], and [`Error::Core`] naming the path when it cannot be written.
pub fn recommend_to_parquet<'u>(
    model: &dyn Recommender,
    users: impl IntoIterator<Item = &'u str>,
    query: &Query,
    path: impl AsRef<Path>,
    monitor: &Monitor,
) -> Result<u64> {
    let path = path.as_ref();
    let io = |error| Error::Core(refrain_core::Error::io(path, error));
    let broken = |error: ::parquet::errors::ParquetError| io(std::io::Error::other(error));
    let schema = Arc::new(Schema::new(vec![
        Field::new("user", DataType::Utf8, false),
        Field::new("item", DataType::Utf8, false),
        Field::new("rank", DataType::UInt32, false),
        Field::new("score", DataType::Float32, false),
    ]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .build();
    let file = File::create(path).map_err(io)?;
    let mut writer =
        ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties)).map_err(broken)?;
    let mut rows = Rows::default();
    let done = recommend_stream(model, users, query, monitor, |user, list| {
        for (rank, r) in (1u32..).zip(list) {
            rows.user.append_value(user);
            rows.item.append_value(&r.item);
            rows.rank.append_value(rank);
            rows.score.append_value(r.score);
            rows.count += 1;
        }
        if rows.count >= ROWS {
            let batch = rows
                .take(&schema)
                .map_err(|e| io(std::io::Error::other(e)))?;
            writer.write(&batch).map_err(broken)?;
            // A row group ends here, so that memory does not grow with the file.
            writer.flush().map_err(broken)?;
        }
        Ok::<(), Error>(())
    })?;
    let batch = rows
        .take(&schema)
        .map_err(|e| io(std::io::Error::other(e)))?;
    writer.write(&batch).map_err(broken)?;
    writer.close().map_err(broken)?;
    Ok(done)
}

#[derive(Default)]
struct Rows {
    user: StringBuilder,
    item: StringBuilder,
    rank: UInt32Builder,
    score: Float32Builder,
    count: usize,
}

impl Rows {
    fn take(&mut self, schema: &Arc<Schema>) -> Result<RecordBatch, arrow::error::ArrowError> {
        self.count = 0;
        RecordBatch::try_new(
            Arc::clone(schema),
            vec![
                Arc::new(self.user.finish()),
                Arc::new(self.item.finish()),
                Arc::new(self.rank.finish()),
                Arc::new(self.score.finish()),
            ],
        )
    }
}

#[cfg(test)]
mod tests {
    use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use arrow::array::AsArray;
    use arrow::datatypes::{Float32Type, UInt32Type};
    use refrain_data::Interactions;

    use super::*;
    use crate::ItemKnn;

    #[test]
    fn what_is_written_is_what_was_recommended() {
        let events =
            (0..9000usize).flat_map(|u| (0..3).map(move |n| (u, (u * 7 + n * n * 5) % 50, 1.0)));
        let log = Interactions::from_events(events).unwrap();
        let model = ItemKnn::default().fit(&log).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lists.parquet");
        let (query, silent) = (Query::top(10), Monitor::silent());
        let everyone = model.users().iter();
        let done = recommend_to_parquet(&model, everyone, &query, &path, &silent).unwrap();
        assert_eq!(done, 9000);
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        assert!(reader.metadata().num_row_groups() > 1);
        let mut rows = Vec::new();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let (users, items) = (
                batch.column(0).as_string::<i32>(),
                batch.column(1).as_string::<i32>(),
            );
            let ranks = batch.column(2).as_primitive::<UInt32Type>();
            let scores = batch.column(3).as_primitive::<Float32Type>();
            for at in 0..batch.num_rows() {
                rows.push((
                    users.value(at).to_string(),
                    items.value(at).to_string(),
                    ranks.value(at),
                    scores.value(at),
                ));
            }
        }
        assert_eq!(rows.len(), 90_000);
        for user in [0, 4711, 8999] {
            let id = user.to_string();
            let list = model.recommend(&id, 10).unwrap();
            for (rank, r) in (1..).zip(list) {
                let row = &rows[user * 10 + rank as usize - 1];
                assert_eq!(*row, (id.clone(), r.item, rank, r.score));
            }
        }
    }
}
