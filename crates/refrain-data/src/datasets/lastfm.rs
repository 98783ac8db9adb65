//! HetRec 2011 Last.fm 2K: who listened to which artist how often, who tagged them how, and who is
//! whose friend (Cantador, Brusilovsky and Kuflik, 2011, <https://doi.org/10.1145/2043932.2044016>).

use std::collections::HashMap;
use std::path::Path;

use super::{Source, Table, text};
use crate::table::Encoding;
use crate::{Columns, Features, Interactions, ItemFeatures, Result};

/// Plays of artists, with tags and friends.
///
/// ```no_run
/// use refrain_data::datasets::LastFm;
/// let lastfm = LastFm::load("data/hetrec2011-lastfm-2k")?;
/// println!("{}", lastfm.plays.len()); // 92834
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct LastFm {
    /// How often each user played each artist, by their numbers in the files. Without times.
    pub plays: Interactions,
    /// `name` (text), and `tags`: each counts as many times as users gave it to the artist. Without
    /// tags when their files are not there.
    pub artists: ItemFeatures,
    /// Pairs of users who are friends, by their numbers in `plays`, each pair once, the lower number
    /// first. Empty when the file is not there.
    pub friends: Vec<(u32, u32)>,
}

const SOURCE: Source = Source {
    name: "HetRec 2011 Last.fm 2K",
    url: "https://grouplens.org/datasets/hetrec-2011/",
    terms: "non-commercial research, with a citation of Last.fm and of HetRec 2011",
};

impl LastFm {
    /// Loads the data set from the folder with `user_artists.dat` and `artists.dat`.
    ///
    /// # Errors
    /// [`Error::DataSet`](crate::Error::DataSet) when one of the two is missing; lines that are not
    /// as the data set has them.
    pub fn load(folder: impl AsRef<Path>) -> Result<Self> {
        let folder = folder.as_ref();
        let columns = Columns {
            user: "userID".into(),
            item: "artistID".into(),
            weight: "weight".into(),
            separator: Some("\t".into()),
            ..Columns::default()
        };
        let plays = Interactions::from_csv(SOURCE.file(folder, "user_artists.dat")?, &columns)?;
        let artists = artists(folder)?;
        let mut friends = Vec::new();
        let path = folder.join("user_friends.dat");
        if path.is_file() {
            table(Encoding::Utf8, 2).read(&path, |row| {
                let (a, b) = (text(row, 0)?, text(row, 1)?);
                if let (Some(a), Some(b)) = (plays.users().get(a), plays.users().get(b)) {
                    friends.push((a.min(b), a.max(b)));
                }
                Ok(())
            })?;
            friends.sort_unstable();
            friends.dedup();
        }
        Ok(Self {
            plays,
            artists,
            friends,
        })
    }
}

fn table(encoding: Encoding, fields: usize) -> Table<'static> {
    Table {
        separator: "\t",
        encoding,
        skip: 1,
        fields,
    }
}

fn artists(folder: &Path) -> Result<Features> {
    let mut names = Vec::new();
    table(Encoding::Utf8, 2).read(&SOURCE.file(folder, "artists.dat")?, |row| {
        names.push((text(row, 0)?, text(row, 1)?));
        Ok(())
    })?;
    let builder = Features::builder().text("name", names)?;
    let (tags, given) = (
        folder.join("tags.dat"),
        folder.join("user_taggedartists.dat"),
    );
    if !tags.is_file() || !given.is_file() {
        return builder.build();
    }
    let mut tag_names = HashMap::new();
    table(Encoding::Latin1, 2).read(&tags, |row| {
        tag_names.insert(text(row, 0)?, text(row, 1)?);
        Ok(())
    })?;
    let mut pairs = Vec::new();
    table(Encoding::Utf8, 3).read(&given, |row| {
        let tag = text(row, 2)?;
        let name = tag_names
            .get(&tag)
            .ok_or_else(|| row.error(format!("tag {tag:?} is unknown")))?;
        pairs.push((text(row, 1)?, name.clone()));
        Ok(())
    })?;
    builder.tags("tags", pairs)?.build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureValue;

    #[test]
    fn files_are_put_together() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        let error = LastFm::load(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("hetrec-2011") && error.contains("non-commercial"),
            "{error}"
        );
        write(
            "user_artists.dat",
            b"userID\tartistID\tweight\r\n2\t51\t13883\r\n3\t52\t11690\r\n",
        );
        let error = LastFm::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("artists.dat: not found"), "{error}");
        write(
            "artists.dat",
            "id\tname\turl\tpictureURL\n51\tDuran \"D\"\thttp\t\n52\tBjörk\n".as_bytes(),
        );
        let lastfm = LastFm::load(folder.path()).unwrap();
        assert_eq!(lastfm.artists.columns().count(), 1);
        write("tags.dat", b"tagID\ttagValue\r\n1\tm\xe9tal\r\n2\tslow\r\n");
        write("user_taggedartists.dat", b"userID\tartistID\ttagID\tday\tmonth\tyear\n2\t52\t1\t1\t4\t2009\n3\t52\t1\t1\t4\t2009\n");
        write("user_friends.dat", b"userID\tfriendID\n2\t3\n3\t2\n2\t99\n");
        let lastfm = LastFm::load(folder.path()).unwrap();
        assert_eq!(lastfm.plays.user_items(0).1, [13883.0]);
        assert_eq!(
            lastfm.artists.value(0, "name"),
            Some(FeatureValue::Text("Duran \"D\""))
        );
        assert_eq!(
            lastfm.artists.value(1, "tags"),
            Some(FeatureValue::Tags(vec![("métal", 2.0)]))
        );
        assert_eq!(lastfm.friends, [(0, 1)]);
        write(
            "user_taggedartists.dat",
            b"userID\tartistID\ttagID\n2\t52\t7\n",
        );
        let error = LastFm::load(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("line 2: tag \"7\" is unknown"), "{error}");
    }
}
