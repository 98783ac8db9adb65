//! Arbitrary text and arbitrary tokens never panic; made tunes survive writing.

use proptest::prelude::*;
use refrain_music::{
    Accidental, BarLine, BarStyle, Chord, Decoration, Element, Ending, Field, Fraction, Grace, Key,
    Letter, Metre, Mode, Note, Pitch, Rest, Rhythm, Score, Tempo, Tokenizer, Tonic, Tune, Tuplet,
};

fn pitch() -> impl Strategy<Value = Pitch> {
    let sign = prop::option::weighted(0.3, prop::sample::select(Accidental::ALL.to_vec()));
    (prop::sample::select(Letter::ALL.to_vec()), -2i8..=3, sign).prop_map(
        |(letter, octave, accidental)| Pitch {
            letter,
            octave,
            accidental,
        },
    )
}

fn length() -> impl Strategy<Value = Fraction> {
    let list = [
        (1, 1),
        (2, 1),
        (3, 1),
        (1, 2),
        (3, 2),
        (1, 4),
        (3, 4),
        (7, 4),
        (6, 1),
        (2, 3),
    ];
    prop::sample::select(list.to_vec()).prop_map(|(n, d)| Fraction::new(n, d))
}

fn key() -> impl Strategy<Value = Key> {
    (-4i32..=5, prop::sample::select(Mode::ALL.to_vec()))
        .prop_filter_map("tonic", |(f, m)| Some(Key::new(Tonic::from_fifths(f)?, m)))
}

fn metre() -> impl Strategy<Value = Metre> {
    prop_oneof![
        Just(Metre::Free),
        Just(Metre::Common),
        Just(Metre::Cut),
        Just(Metre::Time(6, 8)),
        Just(Metre::Time(2, 4)),
        Just(Metre::Time(9, 8)),
    ]
}

fn element() -> impl Strategy<Value = Element> {
    let note = || (pitch(), length(), any::<bool>());
    let bar = prop::sample::select(vec![
        BarLine::default(),
        BarLine::default(),
        BarLine::new(BarStyle::Double),
        BarLine::new(BarStyle::Final),
        BarLine::new(BarStyle::Start),
        BarLine::new(BarStyle::Dotted),
        BarLine::new(BarStyle::Invisible),
        BarLine::repeat_start(),
        BarLine::repeat_end(),
        BarLine {
            repeat_end: 1,
            repeat_start: 1,
            ..BarLine::default()
        },
        BarLine {
            repeat_end: 2,
            ..BarLine::default()
        },
    ]);
    let decoration = prop_oneof![
        prop::sample::select(".~HTuvLMk".chars().collect::<Vec<_>>()).prop_map(Decoration::Short),
        "[a-z]{1,8}".prop_map(Decoration::Named),
    ];
    prop_oneof![
        8 => note().prop_map(|(pitch, length, tie)| Element::Note(Note { pitch, length, tie })),
        1 => (length(), any::<bool>())
            .prop_map(|(length, visible)| Element::Rest(Rest { length, visible })),
        1 => (prop::collection::vec(pitch(), 1..4), length(), any::<bool>())
            .prop_map(|(pitches, length, tie)| Element::Chord(Chord { pitches, length, tie })),
        1 => (any::<bool>(), prop::collection::vec((pitch(), length()), 1..4))
            .prop_map(|(slashed, notes)| Element::Grace(Grace { slashed, notes })),
        1 => (2u8..=9, 1u8..=9, 1u8..=9).prop_map(|(p, q, r)| Element::Tuplet(Tuplet { p, q, r })),
        3 => bar.prop_map(Element::Bar),
        1 => prop::sample::subsequence(vec![1u8, 2, 3, 4], 1..3)
            .prop_map(|passes| Element::Ending(Ending { passes })),
        1 => Just(Element::SlurStart),
        1 => Just(Element::SlurEnd),
        1 => decoration.prop_map(Element::Decoration),
        1 => "[A-Za-z0-9^ %#]{0,10}".prop_map(Element::Text),
        1 => key().prop_map(|k| Element::Field(Field::Key(k))),
        1 => metre().prop_map(|m| Element::Field(Field::Metre(m))),
        1 => prop::sample::select(vec![4, 8, 16])
            .prop_map(|d| Element::Field(Field::Unit(Fraction::new(1, d)))),
    ]
}

fn tune() -> impl Strategy<Value = Tune> {
    let head = (
        0u32..5000,
        prop::collection::vec("[A-Za-z][A-Za-z '%]{0,20}[a-z]", 0..3),
        prop::option::of(prop::sample::select(Rhythm::ALL.to_vec())),
        metre(),
        prop::sample::select(vec![4i64, 8, 16]),
        prop::option::of(40u32..300),
        key(),
    );
    (head, prop::collection::vec(element(), 1..80)).prop_map(|(head, mut body)| {
        let (number, titles, rhythm, metre, unit, bpm, key) = head;
        // Every tune has a note, so that it is one.
        let first = Note {
            pitch: Pitch::natural(Letter::C, 0),
            length: Fraction::ONE,
            tie: false,
        };
        body.insert(0, Element::Note(first));
        Tune {
            number,
            titles,
            rhythm,
            metre,
            unit: Fraction::new(1, unit),
            tempo: bpm.map(|bpm| Tempo {
                beat: Fraction::new(1, 4),
                bpm,
            }),
            key,
            fields: vec![('B', "A book, 50% made".into()), ('Z', "Nobody".into())],
            body,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn written_tunes_read_back_equal(tune in tune()) {
        let text = tune.to_abc();
        let back = Tune::parse(&text);
        prop_assert_eq!(back.as_ref().ok(), Some(&tune), "{}\n{:?}", text, back);
    }

    #[test]
    fn odd_tunes_go_through_everything(tune in tune()) {
        let _ = tune.validate();
        let _ = tune.features();
        let _ = tune.perform();
        let _ = tune.transpose(5);
        let svg = Score::default().to_svg(&tune).unwrap();
        prop_assert!(!svg.contains("NaN"));
        let tokenizer = Tokenizer::default();
        if let Ok(ids) = tokenizer.encode(&tune) {
            prop_assert_eq!(tokenizer.decode(&ids).unwrap(), tokenizer.image(&tune));
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = Tune::parse(&text);
        let _ = Tune::parse(&format!("X:1\nK:C\n{text}"));
    }

    #[test]
    fn text_of_abc_characters_is_read_or_refused(
        text in "[A-Ga-gzxZ0-9/|:\\[\\](){}<>\\-\\^_=,'\"!+.~ KLMQTVXy&%\\\\\n]{0,160}",
    ) {
        let whole = format!("X:1\nM:6/8\nK:C\n{text}\n");
        if let Ok(tune) = Tune::parse(&whole) {
            let again = Tune::parse(&tune.to_abc());
            prop_assert_eq!(again.as_ref().ok(), Some(&tune), "{}\n{}", whole, tune.to_abc());
            let _ = (tune.validate(), tune.perform(), tune.features(), tune.transpose(1));
            let _ = Score::default().to_svg(&tune);
        }
        let _ = Tune::parse_book(&whole);
    }

    #[test]
    fn any_tokens_are_repaired_or_refused(ids in prop::collection::vec(0u32..230, 0..200)) {
        let tokenizer = Tokenizer::default();
        let _ = tokenizer.decode(&ids);
        if let Ok((tune, _)) = tokenizer.repair(&ids) {
            // What comes out is a tune that can be written and said again.
            prop_assert_eq!(Tune::parse(&tune.to_abc()).unwrap().body, tune.body.clone());
            let ids = Tokenizer { detail: refrain_music::Detail::Ornaments }.encode(&tune);
            prop_assert!(ids.is_ok() || tune.key.changes.iter().any(Option::is_some));
        }
    }
}
