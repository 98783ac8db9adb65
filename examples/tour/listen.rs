//! Stage 1: the log and the catalogue, bundled or the user's own.

use std::collections::HashMap;
use std::path::Path;

use refrain::data::bundled::{self, SimulatedLog, TuneRecord};
use refrain::data::{Columns, Features, Interactions, ItemFeatures, Schema, split};
use refrain::embeddings::Corpus;

use crate::{Options, Result, Tour};

/// Everything the stages learn from.
pub struct Data {
    pub train: Interactions,
    pub test: Interactions,
    /// What is known of the items, where something is.
    pub features: Option<ItemFeatures>,
    /// Tunes in ABC: the catalogue's, or the bundled ones where the catalogue has none.
    pub tunes: Vec<TuneRecord>,
    /// Whether the log is about these tunes.
    pub about_tunes: bool,
    /// Whom to recommend to and compose for.
    pub listener: String,
    pub simulated: bool,
    /// Whether the tunes are the bundled ones.
    pub bundled_tunes: bool,
    titles: HashMap<String, String>,
    /// Items of one session each, for item2vec.
    pub sessions: Vec<Vec<String>>,
    source: String,
}

impl Data {
    /// How to call an item: its title, where it has one.
    pub fn title<'a>(&'a self, id: &'a str) -> &'a str {
        self.titles.get(id).map_or(id, String::as_str)
    }

    /// The tune with this id, if the log is about tunes.
    pub fn tune(&self, id: &str) -> Option<&TuneRecord> {
        match self.about_tunes {
            true => self.tunes.iter().find(|t| t.id == id),
            false => None,
        }
    }

    /// The listener's items and how much each counts, the most first.
    pub fn favourites(&self) -> Vec<(&str, f32)> {
        let user = self.train.users().get(&self.listener).unwrap_or(u32::MAX);
        let (items, weights) = self.train.user_items(user);
        let mut list: Vec<(&str, f32)> = items
            .iter()
            .zip(weights)
            .filter_map(|(&i, &w)| Some((self.train.items().name(i)?, w)))
            .collect();
        list.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
        list
    }

    /// A tally of the listener's favourites by a property of tunes, as shares, the largest first.
    pub fn taste(&self, property: impl Fn(&TuneRecord) -> &str) -> Vec<(String, f64)> {
        let mut shares: HashMap<String, f64> = HashMap::new();
        let mut total = 0.0;
        for (id, weight) in self.favourites() {
            if let Some(tune) = self.tune(id) {
                *shares.entry(property(tune).to_string()).or_default() += f64::from(weight);
                total += f64::from(weight);
            }
        }
        let mut shares: Vec<(String, f64)> = shares
            .into_iter()
            .map(|(name, sum)| (name, sum / total))
            .collect();
        shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        shares
    }
}

pub fn load(options: &Options) -> Result<Data> {
    let (tunes, features, own_tunes) = catalogue(options)?;
    let data = match &options.interactions {
        None => {
            if options.catalogue.is_some() && !own_tunes {
                return Err(
                    "--catalogue without tunes needs --interactions about its items".into(),
                );
            }
            simulated(options, tunes, !own_tunes)?
        }
        Some(path) => own_log(path, (tunes, !own_tunes), features, options)?,
    };
    choose_listener(data, options)
}

/// The tunes; the catalogue's features where it holds something else; whether the tunes are its own.
fn catalogue(options: &Options) -> Result<(Vec<TuneRecord>, Option<ItemFeatures>, bool)> {
    let Some(path) = &options.catalogue else {
        return Ok((bundled::tunes()?, None, false));
    };
    match TuneRecord::from_csv(path) {
        Ok(tunes) => Ok((tunes, None, true)),
        // A catalogue of something else than tunes is welcome too.
        Err(refrain::data::Error::NoColumn { column, .. })
            if column == "key" || column == "body" =>
        {
            let features = Features::from_csv(path, &Schema::default())?;
            Ok((bundled::tunes()?, Some(features), false))
        }
        Err(error) => Err(error.into()),
    }
}

fn simulated(options: &Options, tunes: Vec<TuneRecord>, bundled_tunes: bool) -> Result<Data> {
    let config = match options.quick {
        true => SimulatedLog {
            listeners: 300,
            plays: 20_000,
            ..SimulatedLog::default()
        },
        false => SimulatedLog::default(),
    };
    let log = SimulatedLog {
        seed: options.seed,
        ..config
    }
    .generate(&tunes)?;
    let (train, test) = log.split(0.1)?;
    // Only what was played before the test begins may shape the neighbours.
    let before = log.plays.len() - log.plays.len() / 10;
    let mut sessions: Vec<Vec<String>> = vec![Vec::new(); log.sessions];
    for play in log.plays.iter().take(before) {
        if let (Some(session), Some(tune)) = (
            sessions.get_mut(play.session as usize),
            tunes.get(play.tune as usize),
        ) {
            session.push(tune.id.clone());
        }
    }
    let source = format!(
        "{} plays of {} tunes by {} listeners over {} days, simulated with seed {}",
        log.plays.len(),
        tunes.len(),
        log.listeners.len(),
        config.days,
        options.seed
    );
    Ok(Data {
        features: Some(bundled::tune_features(&tunes)?),
        titles: titles(&tunes),
        train,
        test,
        tunes,
        about_tunes: true,
        listener: String::new(),
        simulated: true,
        bundled_tunes,
        sessions,
        source,
    })
}

fn own_log(
    path: &Path,
    (tunes, bundled_tunes): (Vec<TuneRecord>, bool),
    features: Option<ItemFeatures>,
    options: &Options,
) -> Result<Data> {
    let log = Interactions::from_csv(path, &Columns::default())?;
    let (train, test) = match log.has_times() {
        true => split::temporal(&log, 0.1)?,
        false => split::random(&log, 0.1, options.seed)?,
    };
    let known = tunes
        .iter()
        .filter(|t| log.items().get(&t.id).is_some())
        .count();
    let about_tunes = features.is_none() && 2 * known >= log.n_items();
    let features = match (features, about_tunes) {
        (Some(features), _) => Some(features),
        (None, true) => Some(bundled::tune_features(&tunes)?),
        (None, false) => None,
    };
    let features = match features {
        None => None,
        Some(features) => {
            let (joined, report) = features.join(&log.shared_items())?;
            println!("   catalogue: {report}");
            Some(joined)
        }
    };
    let split = if log.has_times() {
        "by time"
    } else {
        "at random: it has no times"
    };
    let source = format!(
        "{}: {} pairs of {} users and {} items, split {split}",
        path.display(),
        log.len(),
        log.n_users(),
        log.n_items()
    );
    Ok(Data {
        titles: if about_tunes {
            titles(&tunes)
        } else {
            HashMap::new()
        },
        sessions: sessions_of(&train),
        train,
        test,
        features,
        tunes,
        about_tunes,
        listener: String::new(),
        simulated: false,
        bundled_tunes,
        source,
    })
}

fn titles(tunes: &[TuneRecord]) -> HashMap<String, String> {
    tunes
        .iter()
        .map(|t| (t.id.clone(), t.title.clone()))
        .collect()
}

/// Each user's items in the order of their times; a pause of half an hour ends a session.
fn sessions_of(log: &Interactions) -> Vec<Vec<String>> {
    let mut sessions = Vec::new();
    for user in 0..log.n_users() as u32 {
        let mut events: Vec<(i64, u32)> = match log.user_times(user) {
            Some(times) => times
                .iter()
                .copied()
                .zip(log.user_items(user).0.iter().copied())
                .collect(),
            None => log.user_items(user).0.iter().map(|&i| (0, i)).collect(),
        };
        events.sort_unstable();
        for part in events.chunk_by(|a, b| b.0 - a.0 <= 1800) {
            let names = part
                .iter()
                .filter_map(|e| log.items().name(e.1))
                .map(String::from);
            sessions.push(names.collect());
        }
    }
    sessions
}

/// The one asked for, or someone with a clear taste: enough history, one rhythm well ahead.
fn choose_listener(mut data: Data, options: &Options) -> Result<Data> {
    if let Some(id) = &options.listener {
        if data.train.users().get(id).is_none() {
            return Err(format!("--listener: the log has no user {id:?}").into());
        }
        data.listener.clone_from(id);
        return Ok(data);
    }
    let mut best: Option<(f64, String)> = None;
    for user in 0..data.train.n_users() as u32 {
        let size = data.train.user_items(user).0.len();
        let Some(name) = data.train.users().name(user).map(String::from) else {
            continue;
        };
        if size == 0 {
            continue;
        }
        data.listener.clone_from(&name);
        let clear = data.taste(|t| &t.rhythm).first().map_or(0.0, |t| t.1);
        // Forty to a hundred and fifty tunes tell a taste; outside of that, the nearer the better.
        let fit = match size {
            40..=150 => 1.0 + clear,
            _ => 1.0 / (1.0 + (size as f64 / 60.0).ln().abs()),
        };
        if best.as_ref().is_none_or(|b| fit > b.0) {
            best = Some((fit, name));
        }
    }
    let (_, name) = best.ok_or("the log has no user with a history before the test begins")?;
    data.listener = name;
    Ok(data)
}

pub fn corpus(data: &Data) -> Result<Corpus<'static>> {
    Ok(Corpus::from_sentences(&data.sessions)?)
}

pub fn describe(tour: &mut Tour, data: &Data) {
    println!("   {}", data.source);
    println!(
        "   train {} pairs, test {} pairs",
        data.train.len(),
        data.test.len()
    );
    let page = &mut tour.page;
    page.section("The log");
    page.text(format_args!(
        "{}. Models learn from {} pairs and are judged on {} pairs they have not seen.",
        data.source,
        data.train.len(),
        data.test.len()
    ));
    let favourites = data.favourites();
    println!("   {} knows {} items", data.listener, favourites.len());
    page.text(format_args!(
        "This page follows {}, who has {} items in the training part.",
        data.listener,
        favourites.len()
    ));
    let rhythms = data.taste(|t| &t.rhythm);
    if !rhythms.is_empty() {
        let percent = |(name, share): &(String, f64)| {
            (name.clone(), *share, format!("{:.0} %", share * 100.0))
        };
        let mut rows: Vec<_> = rhythms.iter().take(5).map(percent).collect();
        let modes = data.taste(|t| &t.mode);
        rows.extend(modes.iter().take(3).map(percent));
        page.bars(&rows);
        page.note("What the listener plays: rhythms, then modes, as shares of plays.");
        let says = |list: &[(String, f64)]| {
            let names = list
                .iter()
                .take(3)
                .map(|(n, s)| format!("{n} {:.0} %", s * 100.0));
            names.collect::<Vec<_>>().join(", ")
        };
        println!("   likes {}; {}", says(&rhythms), says(&modes));
    }
}
