//! The bundled tunes: at least 97 % are sound, and nothing panics on any of them.

use refrain_data::bundled::{TuneRecord, tunes};
use refrain_music::{
    Detail, Midi, Playback, Rhythm, RunIndex, Score, Tokenizer, Tune, longest_shared_run, steps,
};

fn catalogue() -> Vec<(TuneRecord, Tune)> {
    let records = tunes().unwrap();
    records
        .into_iter()
        .map(|r| {
            let tune = Tune::parse(&r.abc()).unwrap_or_else(|e| panic!("{}: {e}", r.id));
            (r, tune)
        })
        .collect()
}

#[test]
fn parses_validates_and_survives_tokens() {
    let catalogue = catalogue();
    let tokenizer = Tokenizer::default();
    let survives = |tune: &Tune| {
        tokenizer
            .encode(tune)
            .and_then(|ids| tokenizer.decode(&ids))
            .is_ok_and(|back| back == tokenizer.image(tune) && back.melody().body == back.body)
    };
    let sound = catalogue
        .iter()
        .filter(|(_, t)| t.validate().is_valid() && survives(t))
        .count();
    let share = sound as f64 / catalogue.len() as f64;
    assert!(share >= 0.97, "{sound} of {} are sound", catalogue.len());
}

#[test]
fn text_survives_exactly() {
    for (record, tune) in catalogue() {
        assert_eq!(Tune::parse(&tune.to_abc()).unwrap(), tune, "{}", record.id);
    }
}

#[test]
fn ornaments_survive_tokens() {
    let tokenizer = Tokenizer {
        detail: Detail::Ornaments,
    };
    let mut said = 0;
    let catalogue = catalogue();
    for (record, tune) in &catalogue {
        if let Ok(ids) = tokenizer.encode(tune) {
            assert_eq!(
                tokenizer.decode(&ids).unwrap(),
                tokenizer.image(tune),
                "{}",
                record.id
            );
            said += 1;
        }
    }
    assert!(said as f64 >= 0.97 * catalogue.len() as f64, "{said}");
}

#[test]
fn every_tune_can_be_described_played_and_moved() {
    for (i, (record, tune)) in catalogue().iter().enumerate() {
        let f = tune.features();
        assert_eq!(f32::from(f.range), record.range, "{}", record.id);
        assert_eq!(f.mode.name(), record.mode);
        assert!((0.0..=1.0).contains(&f.difficulty));
        let rhythm: Rhythm = record.rhythm.parse().unwrap();
        assert_eq!(f.rhythm, rhythm);
        assert!(tune.perform().notes.len() >= f.notes / 2);
        let moved = tune.transpose(-2).and_then(|t| t.transpose(2)).unwrap();
        let pitches = |t: &Tune| {
            t.perform()
                .notes
                .iter()
                .map(|n| n.pitch)
                .collect::<Vec<_>>()
        };
        assert_eq!(pitches(&moved), pitches(tune), "{}", record.id);
        // Drawing and sound are slower: a sample.
        if i % 40 == 0 {
            let svg = Score::default().to_svg(tune).unwrap();
            assert!(
                !svg.contains("NaN") && !svg.contains("inf"),
                "{}",
                record.id
            );
            assert!(!Playback::default().notes(tune).unwrap().is_empty());
            assert!(Midi::default().to_bytes(tune).unwrap().len() > 50);
        }
    }
}

#[test]
fn a_tune_is_found_among_all_of_them() {
    let catalogue: Vec<Tune> = catalogue().into_iter().map(|(_, t)| t).collect();
    let probe = catalogue[1234].transpose(3).unwrap();
    let run = longest_shared_run(&probe, &catalogue);
    assert_eq!(run.notes, steps(&probe).len() + 1);
    let index = RunIndex::new(&probe);
    let others = catalogue.iter().enumerate().filter(|(i, _)| *i != 1234);
    let longest = others
        .map(|(_, t)| index.longest(&steps(t)).notes)
        .max()
        .unwrap();
    assert!(longest <= run.notes);
}
