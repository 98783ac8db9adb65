//! Stages 2 and 3: recommenders, their reasons, and neighbours.

use std::sync::Arc;
use std::time::Instant;

use refrain::data::{Interactions, split};
use refrain::embeddings::Word2Vec;
use refrain::recommenders::{
    Als, Blend, BlendModel, ContentBased, ItemKnn, Leaderboard, Mix, Popularity, Reason,
    Recommender, UserKnn,
};

use crate::listen::{self, Data};
use crate::{Result, Tour};

/// How many items are shown.
const SHOWN: usize = 10;

/// What was recommended to the listener, best first.
pub struct Recommended {
    pub items: Vec<String>,
}

pub fn run(tour: &mut Tour, data: &Data) -> Result<Recommended> {
    let (train, test) = (&data.train, &data.test);
    let mut board = Leaderboard::new(train, test)?;
    let mut members: Vec<(&str, Arc<dyn Recommender>)> = Vec::new();
    members.push((
        "popularity",
        Arc::new(board.run("popularity", || Popularity::default().fit(train))?),
    ));
    members.push((
        "user-kNN",
        Arc::new(board.run("user-kNN", || UserKnn::default().fit(train))?),
    ));
    members.push((
        "item-kNN",
        Arc::new(board.run("item-kNN", || ItemKnn::default().fit(train))?),
    ));
    let als = Als {
        seed: tour.options.seed,
        ..Als::default()
    };
    let fitted = board.run("ALS", || als.fit_with(train, &tour.monitor))?;
    members.push(("ALS", Arc::new(fitted)));
    if let Some(features) = &data.features {
        let fitted = board.run("content", || {
            ContentBased::default().fit_with(train, features, &tour.monitor)
        })?;
        members.push(("content", Arc::new(fitted)));
    }

    // The blends' weights come from the last tenth of the training part, never from the test.
    let began = Instant::now();
    let mut blend = Blend {
        seed: tour.options.seed,
        ..Blend::default()
    }
    .member("popularity", |log: &Interactions| {
        Popularity::default().fit(log)
    })
    .member("user-kNN", |log: &Interactions| UserKnn::default().fit(log))
    .member("item-kNN", |log: &Interactions| ItemKnn::default().fit(log))
    .member("ALS", |log: &Interactions| als.fit(log));
    if let Some(features) = &data.features {
        blend = blend.member("content", |log: &Interactions| {
            ContentBased::default().fit(log, features)
        });
    }
    let (earlier, later) = match train.has_times() {
        true => split::temporal(train, 0.1)?,
        false => split::random(train, 0.1, tour.options.seed)?,
    };
    let tuning = blend.tune_on(&earlier, &later, &tour.monitor)?;
    let seconds = began.elapsed().as_secs_f64();
    let mut blends = Vec::new();
    for (name, mix) in [
        ("blend of scores", Mix::Scores),
        ("blend of ranks", Mix::ranks()),
    ] {
        let weights = tuning.weights(mix)?;
        let weighted = members.iter().zip(weights);
        let model = BlendModel::named(
            mix,
            weighted.map(|((name, model), weight)| (name.to_string(), model.clone(), weight)),
        )?;
        board.enter(name, &model, seconds)?;
        blends.push(model);
    }
    println!("{}", indented(&board.to_string()));

    tour.page
        .section("Recommenders, compared on what was played next");
    let head: Vec<String> = ["model".to_string()]
        .into_iter()
        .chain(
            board
                .rows()
                .first()
                .into_iter()
                .flat_map(|r| &r.report.values)
                .map(|v| v.0.to_string()),
        )
        .collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let rows: Vec<Vec<String>> = board
        .rows()
        .iter()
        .map(|row| {
            let values = row.report.values.iter().map(|v| format!("{:.4}", v.1));
            std::iter::once(row.name.clone()).chain(values).collect()
        })
        .collect();
    tour.page.table(&head, &rows);
    let bars: Vec<_> = board
        .rows()
        .iter()
        .map(|row| {
            let ndcg = row.report.values.first().map_or(0.0, |v| v.1);
            (row.name.clone(), ndcg, format!("{ndcg:.4}"))
        })
        .collect();
    tour.page.bars(&bars);
    tour.page.note(
        "NDCG@10: whether what was really played next stands near the top of ten. Each model ranks \
         the whole catalogue without what the listener already knows.",
    );
    let Some(model) = blends.into_iter().next() else {
        return Err("there is no blend".into());
    };
    let weights: Vec<String> = model
        .weights()
        .iter()
        .map(|(name, weight)| format!("{name} {weight:.2}"))
        .collect();
    println!("   weights of the blend: {}", weights.join(", "));
    tour.page.note(format_args!(
        "Weights of the blend of scores, fitted on the last tenth of the training part: {}.",
        weights.join(", ")
    ));
    model.save(&tour.path("recommender.refrain"))?;
    recommend(tour, data, &model)
}

fn recommend(tour: &mut Tour, data: &Data, model: &BlendModel) -> Result<Recommended> {
    let list = model.recommend(&data.listener, SHOWN)?;
    let mut rows = Vec::new();
    println!("   for {}:", data.listener);
    for r in &list {
        let why: Vec<String> = model
            .explain(&data.listener, &r.item)?
            .because(3)
            .iter()
            .map(|part| reason(data, &part.reason))
            .collect();
        let why = why.join(", ");
        let found = data
            .tune(&r.item)
            .map_or(String::new(), |t| format!("{}, {}", t.rhythm, t.key));
        let kind = if found.is_empty() {
            String::new()
        } else {
            format!(" ({found})")
        };
        println!("   {:5.2}  {}{kind}: {why}", r.score, data.title(&r.item));
        rows.push(vec![
            data.title(&r.item).to_string(),
            found,
            format!("{:.2}", r.score),
            why,
        ]);
    }
    tour.page
        .section(&format!("For {}, with the reasons", data.listener));
    tour.page
        .table(&["recommended", "kind", "score", "because of"], &rows);
    tour.page.note(
        "The reasons are the largest parts of the score; all parts together add up to it exactly.",
    );
    Ok(Recommended {
        items: list.into_iter().map(|r| r.item).collect(),
    })
}

/// A reason with titles instead of ids.
fn reason(data: &Data, reason: &Reason) -> String {
    match reason {
        Reason::Item(id) => format!("“{}”", data.title(id)),
        Reason::User(id) => format!("{id}, who likes the same"),
        Reason::Feature(name) => name.clone(),
        Reason::Popularity { users } => format!("{users} others"),
        other => other.to_string(),
    }
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| format!("   {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// item2vec: what is played in one session lies close together.
pub fn neighbours(tour: &mut Tour, data: &Data) -> Result<()> {
    tour.page.section("Neighbours");
    let corpus = listen::corpus(data)?;
    let config = Word2Vec {
        dim: 48,
        window: 6,
        epochs: if tour.options.quick { 2 } else { 15 },
        min_count: if tour.options.quick { 2 } else { 5 },
        subsample: 0.0,
        seed: tour.options.seed,
        ..Word2Vec::default()
    };
    let vectors = match config.fit_on(&corpus, &tour.device, &tour.monitor) {
        Ok(vectors) => vectors,
        // A small log of one's own may hold nothing that occurs often enough.
        Err(refrain::embeddings::Error::EmptyVocabulary { .. }) => {
            println!(
                "   no item occurs {} times: no neighbours",
                config.min_count
            );
            tour.page
                .text("No item occurs often enough in the log to find its neighbours.");
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    vectors.save(tour.path("neighbours.refrain"))?;
    println!(
        "   {} items have a vector of {} numbers",
        vectors.len(),
        vectors.dim()
    );
    let mut rows = Vec::new();
    for (id, _) in data
        .favourites()
        .into_iter()
        .filter(|f| vectors.vector(f.0).is_some())
        .take(5)
    {
        let near = vectors.neighbours(id, 4)?;
        let names: Vec<String> = near
            .iter()
            .map(|n| format!("{} {:.2}", data.title(n.word), n.similarity))
            .collect();
        println!("   {}: {}", data.title(id), names.join(", "));
        rows.push(vec![data.title(id).to_string(), names.join(", ")]);
    }
    tour.page
        .table(&["a favourite", "lies near, with cosine"], &rows);
    if data.about_tunes {
        let (near, any) = alike(data, &vectors)?;
        println!("   nearest neighbours of the same rhythm: {near:.0} %, by chance {any:.0} %");
        tour.page.note(format_args!(
            "Vectors of {} numbers, learned only from which tunes are played in one session. Of the \
             nearest neighbours {near:.0} % have the same rhythm; by chance it would be {any:.0} %.",
            vectors.dim()
        ));
    }
    Ok(())
}

/// Per cent of tunes whose nearest neighbour has their rhythm, and what chance would give.
fn alike(data: &Data, vectors: &refrain::embeddings::Embeddings) -> Result<(f64, f64)> {
    let rhythm: std::collections::HashMap<&str, &str> = data
        .tunes
        .iter()
        .map(|t| (t.id.as_str(), t.rhythm.as_str()))
        .collect();
    let known: Vec<(&str, &str)> = vectors
        .iter()
        .filter_map(|(id, _)| Some((id, *rhythm.get(id)?)))
        .collect();
    let mut same = 0usize;
    for (id, own) in &known {
        let near = vectors.neighbours(id, 1)?;
        same += usize::from(near.first().and_then(|n| rhythm.get(n.word)) == Some(own));
    }
    let mut counts = std::collections::HashMap::new();
    for (_, own) in &known {
        *counts.entry(*own).or_insert(0.0) += 1.0;
    }
    let n = known.len().max(1) as f64;
    let chance: f64 = counts.values().map(|c: &f64| (c / n) * (c / n)).sum();
    Ok((100.0 * same as f64 / n, 100.0 * chance))
}
