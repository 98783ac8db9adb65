//! MovieLens: ratings of films (Harper and Konstan, 2015, <https://doi.org/10.1145/2827872>).
//!
//! The editions differ in everything but their contents: `u.data` and `u.item` (100K; the latter in
//! Latin-1 with `|`), `ratings.dat` and `movies.dat` (1M, 10M; `::`, Latin-1), `ratings.csv` and
//! `movies.csv` (20M and later), `ml-100k.inter` and `.item` (RecBole's copy of 100K).

use std::path::Path;

use refrain_core::Monitor;

use super::{Source, Table, number, text};
use crate::table::Encoding;
use crate::{
    Columns, Duplicates, FeatureKind, Features, Interactions, ItemFeatures, Result, Schema,
    UserFeatures,
};

/// The form in which MovieLens is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// `u.data`: 100,000 ratings of 1998.
    Ml100k,
    /// `ml-100k.inter`: the same ratings as RecBole ships them.
    RecBole100k,
    /// `ratings.dat`: 1 million ratings of 2003, or 10 million of 2009.
    Ml1m,
    /// `ratings.csv`: latest, latest-small, 20M, 25M, 32M.
    Latest,
}

/// Ratings of films, and what is known of the films and the people.
///
/// ```no_run
/// use refrain_data::datasets::MovieLens;
/// let movielens = MovieLens::load("data/ml-1m")?;
/// let liked = movielens.ratings.at_least(4.0)?;
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct MovieLens {
    /// Which files were found.
    pub edition: Edition,
    /// The ratings, with their times. A film rated again counts with its last rating.
    pub ratings: Interactions,
    /// `title` (text), `year` (numeric), `genres` (tags), if the file of films is there.
    pub movies: Option<ItemFeatures>,
    /// `age` (numeric; in 1M the lower end of a bracket), `gender` and `occupation` (categories), if
    /// the edition has them and the file is there. Postal codes are left where they are.
    pub users: Option<UserFeatures>,
}

const OLD: Source = Source {
    name: "MovieLens 100K/1M/10M",
    url: "https://grouplens.org/datasets/movielens/",
    terms: "research use with acknowledgement; no redistribution and no commercial use without \
            GroupLens' permission",
};
const NEW: Source = Source {
    name: "MovieLens (20M and later, latest)",
    url: "https://grouplens.org/datasets/movielens/",
    terms: "research use with acknowledgement; redistribution only under the same terms, no \
            commercial use without GroupLens' permission",
};
const ANY: Source = Source {
    name: "MovieLens (u.data, ratings.dat, ratings.csv or ml-100k.inter)",
    url: "https://grouplens.org/datasets/movielens/",
    terms: "research use with acknowledgement; 100K, 1M and 10M may not be redistributed; no \
            commercial use without GroupLens' permission",
};

const GENRES_100K: [&str; 19] = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];
const OCCUPATIONS_1M: [&str; 21] = [
    "other",
    "academic/educator",
    "artist",
    "clerical/admin",
    "college/grad student",
    "customer service",
    "doctor/health care",
    "executive/managerial",
    "farmer",
    "homemaker",
    "K-12 student",
    "lawyer",
    "programmer",
    "retired",
    "sales/marketing",
    "scientist",
    "self-employed",
    "technician/engineer",
    "tradesman/craftsman",
    "unemployed",
    "writer",
];

impl MovieLens {
    /// Loads the edition whose ratings are in `folder`.
    ///
    /// # Errors
    /// [`Error::DataSet`](crate::Error::DataSet) when there are none; lines that are not as the
    /// edition has them.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        Self::load_with(folder, &Monitor::silent())
    }

    /// As [`load`](Self::load), with progress and cancellation.
    ///
    /// # Errors
    /// As [`load`](Self::load), and when cancelled.
    pub fn load_with(folder: impl AsRef<Path>, monitor: &Monitor) -> Result<Self> {
        let folder = folder.as_ref();
        let editions = [
            ("u.data", Edition::Ml100k),
            ("ratings.dat", Edition::Ml1m),
            ("ratings.csv", Edition::Latest),
            ("ml-100k.inter", Edition::RecBole100k),
        ];
        match editions
            .into_iter()
            .find(|(file, _)| folder.join(file).is_file())
        {
            Some((_, edition)) => Self::load_edition(folder, edition, monitor),
            None => ANY
                .file(folder, "")
                .and_then(|_| Self::load_edition(folder, Edition::Ml100k, monitor)),
        }
    }

    /// Loads one edition from `folder`.
    ///
    /// # Errors
    /// As [`load_with`](Self::load_with).
    pub fn load_edition(folder: &Path, edition: Edition, monitor: &Monitor) -> Result<Self> {
        let (source, file, separator, header) = match edition {
            Edition::Ml100k => (OLD, "u.data", "\t", false),
            Edition::RecBole100k => (OLD, "ml-100k.inter", "\t", true),
            Edition::Ml1m => (OLD, "ratings.dat", "::", false),
            Edition::Latest => (NEW, "ratings.csv", ",", true),
        };
        let columns = Columns {
            user: 0.into(),
            item: 1.into(),
            weight: 2.into(),
            time: 3.into(),
            separator: Some(separator.into()),
            header: Some(header),
            duplicates: Duplicates::Last,
            ..Columns::default()
        };
        let ratings = Interactions::from_csv_with(source.file(folder, file)?, &columns, monitor)?;
        let (movies, users) = match edition {
            Edition::Ml100k => (
                optional(folder, "u.item", movies_100k)?,
                optional(folder, "u.user", users_100k)?,
            ),
            Edition::RecBole100k => (
                optional(folder, "ml-100k.item", movies_recbole)?,
                optional(folder, "ml-100k.user", users_recbole)?,
            ),
            Edition::Ml1m => (
                optional(folder, "movies.dat", movies_1m)?,
                optional(folder, "users.dat", users_1m)?,
            ),
            Edition::Latest => (optional(folder, "movies.csv", movies_latest)?, None),
        };
        Ok(Self {
            edition,
            ratings,
            movies,
            users,
        })
    }
}

fn optional(
    folder: &Path,
    file: &str,
    read: impl FnOnce(&Path) -> Result<Features>,
) -> Result<Option<Features>> {
    let path = folder.join(file);
    path.is_file().then(|| read(&path)).transpose()
}

/// What the files of films say.
#[derive(Default)]
struct Movies {
    titles: Vec<(String, String)>,
    years: Vec<(String, f32)>,
    genres: Vec<(String, String)>,
}

impl Movies {
    /// Adds a film whose title ends in its year, as in `Heat (1995)`.
    fn add<'a>(&mut self, id: String, title: &str, genres: impl Iterator<Item = &'a str>) {
        let (title, year) = split_year(title);
        self.genres
            .extend(genres.map(|genre| (id.clone(), genre.to_owned())));
        self.years.extend(year.map(|year| (id.clone(), year)));
        self.titles.push((id, title.to_owned()));
    }

    fn build(self) -> Result<Features> {
        Features::builder()
            .text("title", self.titles)?
            .numeric("year", self.years)?
            .tags("genres", self.genres)?
            .build()
    }
}

fn split_year(title: &str) -> (&str, Option<f32>) {
    let title = title.trim();
    let year = |title: &str| {
        let (before, year) = title.strip_suffix(')')?.rsplit_once('(')?;
        let digits = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Some((before.trim_end().len(), year.parse().ok()?)))?
    };
    match year(title) {
        Some((end, year)) => (title.get(..end).unwrap_or(title), Some(year)),
        None => (title, None),
    }
}

fn movies_100k(path: &Path) -> Result<Features> {
    let mut movies = Movies::default();
    let table = Table {
        separator: "|",
        encoding: Encoding::Latin1,
        skip: 0,
        fields: 24,
    };
    table.read(path, |row| {
        let mut genres = Vec::new();
        for (i, genre) in GENRES_100K.into_iter().enumerate() {
            if text(row, i + 5)? == "1" && genre != "unknown" {
                genres.push(genre);
            }
        }
        movies.add(text(row, 0)?, &text(row, 1)?, genres.into_iter());
        Ok(())
    })?;
    movies.build()
}

fn movies_1m(path: &Path) -> Result<Features> {
    let mut movies = Movies::default();
    // 1M is in Latin-1 and 10M in UTF-8.
    let mut read = |encoding| {
        movies = Movies::default();
        Table {
            separator: "::",
            encoding,
            skip: 0,
            fields: 3,
        }
        .read(path, |row| {
            let genres = text(row, 2)?;
            movies.add(text(row, 0)?, &text(row, 1)?, known_genres(&genres));
            Ok(())
        })
    };
    if read(Encoding::Utf8).is_err() {
        read(Encoding::Latin1)?;
    }
    movies.build()
}

fn known_genres(genres: &str) -> impl Iterator<Item = &str> {
    genres
        .split('|')
        .map(str::trim)
        .filter(|g| !g.is_empty() && *g != "(no genres listed)")
}

fn movies_latest(path: &Path) -> Result<Features> {
    let schema = Schema {
        columns: vec![
            ("title".into(), FeatureKind::Text),
            ("genres".into(), FeatureKind::Text),
        ],
        separator: Some(",".into()),
        comment: None,
        ..Schema::default()
    };
    let raw = Features::from_csv(path, &schema)?;
    let mut movies = Movies::default();
    for (row, id) in raw.ids().iter().enumerate() {
        let of = |column| match raw.value(row as u32, column) {
            Some(crate::FeatureValue::Text(text)) => text,
            _ => "",
        };
        movies.add(id.to_owned(), of("title"), known_genres(of("genres")));
    }
    movies.build()
}

fn movies_recbole(path: &Path) -> Result<Features> {
    let mut movies = Movies::default();
    let table = Table {
        separator: "\t",
        encoding: Encoding::Utf8,
        skip: 1,
        fields: 4,
    };
    table.read(path, |row| {
        let (id, genres) = (text(row, 0)?, text(row, 3)?);
        // Two films have `V` and `unkonwn` for a year.
        movies.years.extend(
            text(row, 2)?
                .parse()
                .ok()
                .map(|year: f32| (id.clone(), year)),
        );
        let genres = genres
            .split_whitespace()
            .filter(|genre| *genre != "unknown");
        movies
            .genres
            .extend(genres.map(|genre| (id.clone(), genre.to_owned())));
        movies.titles.push((id, text(row, 1)?));
        Ok(())
    })?;
    movies.build()
}

/// What the files of people say.
#[derive(Default)]
struct Users {
    ages: Vec<(String, f32)>,
    genders: Vec<(String, String)>,
    occupations: Vec<(String, String)>,
}

impl Users {
    fn build(self) -> Result<Features> {
        Features::builder()
            .numeric("age", self.ages)?
            .category("gender", self.genders)?
            .category("occupation", self.occupations)?
            .build()
    }
}

fn read_users(path: &Path, table: &Table<'_>, places: [usize; 3]) -> Result<Users> {
    let mut users = Users::default();
    let [age, gender, occupation] = places;
    table.read(path, |row| {
        let id = text(row, 0)?;
        users
            .ages
            .extend(number(row, age, "age")?.map(|age| (id.clone(), age)));
        users.genders.push((id.clone(), text(row, gender)?));
        users.occupations.push((id, text(row, occupation)?));
        Ok(())
    })?;
    Ok(users)
}

fn users_100k(path: &Path) -> Result<Features> {
    let table = Table {
        separator: "|",
        encoding: Encoding::Latin1,
        skip: 0,
        fields: 4,
    };
    read_users(path, &table, [1, 2, 3])?.build()
}

fn users_recbole(path: &Path) -> Result<Features> {
    let table = Table {
        separator: "\t",
        encoding: Encoding::Utf8,
        skip: 1,
        fields: 4,
    };
    read_users(path, &table, [1, 2, 3])?.build()
}

fn users_1m(path: &Path) -> Result<Features> {
    let table = Table {
        separator: "::",
        encoding: Encoding::Latin1,
        skip: 0,
        fields: 4,
    };
    let mut users = read_users(path, &table, [2, 1, 3])?;
    for (_, occupation) in &mut users.occupations {
        let name = occupation
            .parse::<usize>()
            .ok()
            .and_then(|i| OCCUPATIONS_1M.get(i));
        if let Some(name) = name {
            *occupation = (*name).to_owned();
        }
    }
    users.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, FeatureValue};

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    fn check(movielens: &MovieLens, edition: Edition, title: &str) {
        assert_eq!(movielens.edition, edition);
        assert_eq!(movielens.ratings.len(), 2);
        assert!(movielens.ratings.has_times());
        let movies = movielens.movies.as_ref().unwrap();
        let row = movies.ids().get("543").unwrap();
        assert_eq!(movies.value(row, "title"), Some(FeatureValue::Text(title)));
        assert_eq!(
            movies.value(row, "year"),
            Some(FeatureValue::Numeric(1995.0))
        );
        let genres = Some(FeatureValue::Tags(vec![("Drama", 1.0), ("Musical", 1.0)]));
        assert_eq!(movies.value(row, "genres"), genres);
        if let Some(users) = &movielens.users {
            assert_eq!(users.value(0, "age"), Some(FeatureValue::Numeric(24.0)));
            assert_eq!(
                users.value(0, "occupation"),
                Some(FeatureValue::Category("technician"))
            );
        }
    }

    #[test]
    fn every_edition_is_recognised() {
        let ratings = b"1\t543\t3\t881250949\n1\t2\t5\t881250950\n";
        let item = b"543|Mis\xe9rables, Les (1995)|01-Jan-1995||http://x|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n";
        let files = folder(&[
            ("u.data", ratings),
            ("u.item", item),
            ("u.user", b"1|24|M|technician|85711\n"),
        ]);
        check(
            &MovieLens::load(files.path()).unwrap(),
            Edition::Ml100k,
            "Misérables, Les",
        );

        let files = folder(&[
            ("ratings.dat", b"1::543::3::881250949\n1::2::5::881250950\n"),
            (
                "movies.dat",
                b"543::Mis\xe9rables: Les (1995)::Drama|Musical\n",
            ),
            ("users.dat", b"1::F::24::17::48067\n"),
        ]);
        let movielens = MovieLens::load(files.path()).unwrap();
        let users = movielens.users.clone().unwrap();
        assert_eq!(
            users.value(0, "occupation"),
            Some(FeatureValue::Category("technician/engineer"))
        );
        check(
            &MovieLens {
                users: None,
                ..movielens
            },
            Edition::Ml1m,
            "Misérables: Les",
        );

        let files = folder(&[
            ("ratings.csv", b"userId,movieId,rating,timestamp\n1,543,3.0,881250949\n1,2,4.5,881250950\n"),
            ("movies.csv", "movieId,title,genres\n543,\"Misérables, Les (1995)\",Drama|Musical\n2,Odd,(no genres listed)\n".as_bytes()),
        ]);
        let movielens = MovieLens::load(files.path()).unwrap();
        assert_eq!(movielens.movies.as_ref().unwrap().value(1, "genres"), None);
        check(&movielens, Edition::Latest, "Misérables, Les");

        let files = folder(&[
            ("ml-100k.inter", b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t543\t3\t881250949\n1\t2\t3\t881250950\n"),
            ("ml-100k.item", "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n543\tMisérables, Les\t1995\tDrama Musical\n2\tx\tunkonwn\tunknown\n".as_bytes()),
            ("ml-100k.user", b"user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\ttechnician\t85711\n"),
        ]);
        check(
            &MovieLens::load(files.path()).unwrap(),
            Edition::RecBole100k,
            "Misérables, Les",
        );
    }

    #[test]
    fn a_missing_file_says_where_it_comes_from() {
        let empty = folder(&[]);
        let error = MovieLens::load(empty.path()).unwrap_err();
        assert!(matches!(error, Error::DataSet { .. }));
        let message = error.to_string();
        for part in [
            "not found",
            "https://grouplens.org/datasets/movielens/",
            "may not be redistributed",
        ] {
            assert!(message.contains(part), "{message}");
        }
        let bad = folder(&[("u.data", b"1\t2\t3\t4\n"), ("u.item", b"1|x|y\n")]);
        let error = MovieLens::load(bad.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("u.item, line 1: 3 fields; expected 24"),
            "{error}"
        );
    }

    #[test]
    fn years_are_taken_from_titles() {
        assert_eq!(split_year("Heat (1995)"), ("Heat", Some(1995.0)));
        assert_eq!(
            split_year("Cité (City, The) (1995) "),
            ("Cité (City, The)", Some(1995.0))
        );
        assert_eq!(split_year("Odd (V)"), ("Odd (V)", None));
        assert_eq!(split_year(""), ("", None));
    }
}
