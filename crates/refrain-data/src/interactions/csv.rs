//! Interactions from CSV, TSV and their relatives, and back.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use refrain_core::Monitor;

use super::{Columns, Event, Interactions};
use crate::table::{self, Field, Header, Place, Row, Rows};
use crate::{Error, Result};

/// Rows between two signs of life.
const STEP: u64 = 1 << 16;

impl Interactions {
    /// A log from a table of events in a file, which may be gzipped.
    ///
    /// # Errors
    /// Each names the file, and the line where there is one: a file that cannot be read, columns
    /// that are not there, fields that are missing or no numbers, no events at all.
    pub fn from_csv(path: impl AsRef<Path>, columns: &Columns) -> Result<Self> {
        Self::from_csv_with(path, columns, &Monitor::silent())
    }

    /// As [`from_csv`](Self::from_csv), with progress and cancellation.
    ///
    /// # Errors
    /// As [`from_csv`](Self::from_csv), and when cancelled.
    pub fn from_csv_with(
        path: impl AsRef<Path>,
        columns: &Columns,
        monitor: &Monitor,
    ) -> Result<Self> {
        let path = path.as_ref();
        read(
            table::open(path)?,
            &path.display().to_string(),
            columns,
            monitor,
        )
    }

    /// As [`from_csv`](Self::from_csv), from anything that can be read; `origin` is its name in
    /// messages. Not decompressed.
    ///
    /// # Errors
    /// As [`from_csv`](Self::from_csv).
    pub fn from_csv_reader(
        reader: impl BufRead,
        origin: impl Into<String>,
        columns: &Columns,
    ) -> Result<Self> {
        read(reader, &origin.into(), columns, &Monitor::silent())
    }

    /// Writes the events as CSV with the header `user,item,weight` and, if there are times, `time`.
    /// [`from_csv`](Self::from_csv) reads it back; ids without events are not in it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn to_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let file = File::create(path).map_err(|e| Error::io(path, e))?;
        let mut out = BufWriter::new(file);
        self.write_csv(&mut out)
            .and_then(|()| out.flush())
            .map_err(|e| Error::io(path, e))
    }

    /// As [`to_csv`](Self::to_csv), into anything that can be written.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_csv(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "user,item,weight{}",
            if self.has_times() { ",time" } else { "" }
        )?;
        for event in self.iter() {
            table::write_field(out, self.users().name(event.user).unwrap_or_default())?;
            out.write_all(b",")?;
            table::write_field(out, self.items().name(event.item).unwrap_or_default())?;
            write!(out, ",{}", event.weight)?;
            match event.time {
                Some(time) => writeln!(out, ",{time}")?,
                None => out.write_all(b"\n")?,
            }
        }
        Ok(())
    }
}

fn read(
    reader: impl BufRead,
    origin: &str,
    columns: &Columns,
    monitor: &Monitor,
) -> Result<Interactions> {
    let empty = || Error::Empty {
        origin: origin.to_owned(),
    };
    let mut rows = Rows::new(reader, origin, &columns.format())?;
    let first = rows
        .next()?
        .map(Header::read)
        .transpose()?
        .ok_or_else(empty)?;
    let header = columns.has_header(&first).then_some(&first);
    if header.is_none() {
        rows.again();
    }
    let places = columns.places(header, first.names.len(), origin)?;
    if let Some((_, bad)) = columns
        .event_weights
        .iter()
        .find(|(_, weight)| !weight.is_finite())
    {
        let value = bad.to_string();
        return Err(Error::Config {
            field: "event_weights",
            value,
            must: "finite",
        });
    }
    let mut builder = Interactions::builder().duplicates(columns.duplicates);
    let stage = monitor.start(format!("read {origin}"), None);
    // Logs are often in order of users: the number of the last one saves looking it up again.
    let mut last = (String::new(), None);
    while let Some(row) = rows.next()? {
        let user = row.text(needed(&row, &places.user)?)?;
        let item = row.text(needed(&row, &places.item)?)?;
        let weight = match &places.weight {
            None => 1.0,
            Some(place) if columns.event_weights.is_empty() => weight(&row, place)?,
            Some(place) => {
                let kind = row.text(needed(&row, place)?)?;
                match columns.event_weights.iter().find(|(name, _)| *name == kind) {
                    Some(&(_, weight)) => weight,
                    None => continue,
                }
            }
        };
        let time = places
            .time
            .as_ref()
            .map(|place| time(&row, place))
            .transpose()?;
        let user = match last {
            (ref name, Some(number)) if *name == user => number,
            _ => {
                let number = builder.user(&*user)?;
                last = (user.into_owned(), Some(number));
                number
            }
        };
        let item = builder.item(&*item)?;
        builder.push_event(Event {
            user,
            item,
            weight,
            time,
        })?;
        if builder.len().is_multiple_of(STEP) {
            stage.advance(STEP, "")?;
        }
    }
    if builder.is_empty() {
        return Err(empty());
    }
    stage.advance(builder.len() % STEP, "")?;
    builder.build()
}

fn needed<'a>(row: &Row<'a>, place: &Place) -> Result<Field<'a>> {
    match row.get(place.index) {
        Some(field) if !field.is_missing() => Ok(field),
        Some(_) => Err(row.error(format!("{} is missing", place.name))),
        None => Err(row.error(format!(
            "{} fields, but {} is field {}",
            row.len(),
            place.name,
            place.index + 1
        ))),
    }
}

fn weight(row: &Row<'_>, place: &Place) -> Result<f32> {
    let text = row.text(needed(row, place)?)?;
    match text.parse::<f32>() {
        Ok(weight) if weight.is_finite() => Ok(weight),
        Ok(weight) if weight.is_nan() => Err(row.error(format!("{} is NaN", place.name))),
        Ok(_) => Err(row.error(format!("{} is {text}, which is not finite", place.name))),
        Err(_) => Err(row.error(format!(
            "{} is {:?}, which is no number",
            place.name,
            short(&text)
        ))),
    }
}

fn time(row: &Row<'_>, place: &Place) -> Result<i64> {
    let text = row.text(needed(row, place)?)?;
    table::parse_time(&text).ok_or_else(|| {
        row.error(format!(
            "{} is {:?}, which is neither a number nor a time like 2009-04-01T12:30:00Z",
            place.name,
            short(&text)
        ))
    })
}

/// Enough of a field to recognise it.
fn short(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Duplicates;
    use super::*;
    use crate::table::{Column, Encoding};

    fn load(text: &str) -> Result<Interactions> {
        Interactions::from_csv_reader(text.as_bytes(), "ratings.csv", &Columns::default())
    }

    fn message(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn usual_files_need_no_settings() {
        let movielens = load("userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n").unwrap();
        assert_eq!(movielens.items().name(0), Some("31"));
        assert_eq!(movielens.user_times(0), Some(&[1_260_759_144][..]));
        let lastfm = load("userID\tartistID\tweight\n2\t51\t13883\n").unwrap();
        assert_eq!(lastfm.user_items(0).1, [13883.0]);
        let recbole = load("user_id:token\titem_id:token\trating:float\n196\t242\t3\n").unwrap();
        assert_eq!(recbole.user_items(0).1, [3.0]);
        let bare = load("196\t242\t3\t881250949\n").unwrap();
        assert!(bare.has_times());
        let double = load("1::1193::5::978300760\n").unwrap();
        assert_eq!(double.items().name(0), Some("1193"));
        let pairs = load("# two columns\na,x\na,x\nb,y\n").unwrap();
        assert_eq!(pairs.user_items(0).1, [2.0]);
        assert!(!pairs.has_times());
    }

    #[test]
    fn columns_by_place_and_absence() {
        let columns = Columns {
            user: 2.into(),
            item: 0.into(),
            weight: Column::Absent,
            time: Column::Absent,
            ..Columns::default()
        };
        let log = Interactions::from_csv_reader(&b"x|9|a\ny|8|a\n"[..], "t", &columns).unwrap();
        assert_eq!((log.n_users(), log.n_items()), (1, 2));
        assert_eq!(log.user_items(0).1, [1.0, 1.0]);
    }

    #[test]
    fn errors_name_the_place() {
        assert_eq!(
            message("user,item,rating\na,x,1\n\nb,y,NaN\n"),
            "ratings.csv, line 4: rating is NaN"
        );
        assert_eq!(
            message("user,item,rating\na,x,inf\n"),
            "ratings.csv, line 2: rating is inf, which is not finite"
        );
        assert_eq!(
            message("a,x,good\n"),
            "ratings.csv, line 1: weight is \"good\", which is no number"
        );
        assert_eq!(
            message("user,item,rating\na,x,\n"),
            "ratings.csv, line 2: rating is missing"
        );
        assert_eq!(
            message("user,item\n,x\n"),
            "ratings.csv, line 2: user is missing"
        );
        assert_eq!(
            message("user,item,rating\na,x\n"),
            "ratings.csv, line 2: 2 fields, but rating is field 3"
        );
        assert_eq!(
            message("user,item,time\na,x,noon\n"),
            "ratings.csv, line 2: time is \"noon\", which is neither a number nor a time like 2009-04-01T12:30:00Z"
        );
        assert_eq!(message(""), "ratings.csv: there are no events");
        assert_eq!(message("user,item\n"), "ratings.csv: there are no events");
        assert_eq!(
            message("user,colour\na,red\n"),
            "ratings.csv: no column for the item (looked for item, itemid, iid, movie and the like); it has \"user\", \"colour\""
        );
        let columns = Columns {
            weight: "stars".into(),
            ..Columns::default()
        };
        let error =
            Interactions::from_csv_reader(&b"user,item\na,x\n"[..], "t", &columns).unwrap_err();
        assert_eq!(
            error.to_string(),
            "t: no column \"stars\" for the weight; it has \"user\", \"item\""
        );
        let error = Interactions::from_csv("no/such.csv", &Columns::default()).unwrap_err();
        assert!(error.to_string().starts_with("no/such.csv: "), "{error}");
    }

    #[test]
    fn gzip_is_recognised_and_damage_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"user,item\na,x\nb,y\n").unwrap();
        let bytes = gzip.finish().unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(
            Interactions::from_csv(&path, &Columns::default())
                .unwrap()
                .len(),
            2
        );
        std::fs::write(&path, &bytes[..bytes.len() - 9]).unwrap();
        assert!(Interactions::from_csv(&path, &Columns::default()).is_err());
        let error = Interactions::from_csv(folder.path(), &Columns::default()).unwrap_err();
        assert!(
            error.to_string().ends_with("is a folder; expected a file"),
            "{error}"
        );
    }

    #[test]
    fn reading_can_be_cancelled() {
        let monitor = Monitor::silent();
        monitor.cancel_token().cancel();
        let error = read(&b"a,x\n"[..], "t", &Columns::default(), &monitor).unwrap_err();
        assert_eq!(error.to_string(), "cancelled during read t");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            text in "[a,\"\n#:;\t0-9.]{0,80}",
        ) {
            let _ = Interactions::from_csv_reader(&bytes[..], "t", &Columns::default());
            let _ = Interactions::from_csv_reader(text.as_bytes(), "t", &Columns::default());
            let columns = Columns { encoding: Encoding::Latin1, quote: None, header: Some(false), ..Columns::default() };
            let _ = Interactions::from_csv_reader(&bytes[..], "t", &columns);
        }

        #[test]
        fn what_is_written_is_read_back(
            events in proptest::collection::vec(("[ab\",#\n é]{0,3}", "[ab\",#\r\t]{0,3}", -9i16..9, any::<i64>()), 1..30),
            timed in any::<bool>(),
        ) {
            let mut builder = Interactions::builder().duplicates(Duplicates::Last);
            for (user, item, weight, time) in &events {
                builder.push(user, item, f32::from(*weight) / 3.0, timed.then_some(*time)).unwrap();
            }
            let log = builder.build().unwrap();
            let mut text = Vec::new();
            log.write_csv(&mut text).unwrap();
            let again = Interactions::from_csv_reader(&text[..], "t", &Columns::default()).unwrap();
            let named = |log: &Interactions| {
                let mut all: Vec<_> = log.iter().map(|e| (
                    log.users().name(e.user).unwrap().to_owned(),
                    log.items().name(e.item).unwrap().to_owned(), e.weight.to_bits(), e.time,
                )).collect();
                all.sort();
                all
            };
            prop_assert_eq!(named(&log), named(&again));
        }
    }
}
