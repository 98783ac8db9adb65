use super::*;

fn memory() -> Memory {
    let log = Interactions::from_events([("a", "x", 1.0), ("b", "x", 2.0), ("b", "y", 3.0)]);
    Memory::new(&log.unwrap())
}

#[test]
fn histories_are_sorted_and_merged() {
    let memory = memory();
    assert_eq!(memory.history(1), (&[0, 1][..], &[2.0, 3.0][..]));
    assert_eq!(memory.history(7), (&[][..], &[][..]));
    let tidy = memory.tidy(&[(1, 1.0), (0, 2.0), (1, 0.5)]).unwrap();
    assert_eq!(tidy, (vec![0, 1], vec![2.0, 1.5]));
    assert!(matches!(
        memory.tidy(&[(0, f32::MAX), (0, f32::MAX)]),
        Err(Error::Weight { .. })
    ));
}

#[test]
fn the_last_rating_counts() {
    let memory = memory();
    let tidy = memory.tidy_ratings(&[(1, 1.0), (0, 2.0), (1, 0.5)]);
    assert_eq!(tidy.unwrap(), (vec![0, 1], vec![2.0, 0.5]));
    let gone = memory.tidy_ratings(&[(0, f32::NAN), (0, 1.0)]);
    assert!(matches!(gone, Err(Error::Weight { .. })));
    let again = [("b", "y", 0.5), ("b", "z", 4.0), ("c", "x", 5.0)];
    let again = Interactions::from_events(again).unwrap();
    let memory = memory.rated_again(&again).unwrap();
    assert_eq!(memory.history(0), (&[0][..], &[1.0][..]));
    assert_eq!(memory.history(1), (&[0, 1, 2][..], &[2.0, 0.5, 4.0][..]));
    assert_eq!(memory.history(2), (&[0][..], &[5.0][..]));
}

#[test]
fn events_and_ids_come_and_go() {
    let memory = memory();
    let more = [("b", "z", 4.0), ("c", "x", 5.0), ("b", "y", 0.5)];
    let more = memory
        .extended(&Interactions::from_events(more).unwrap())
        .unwrap();
    assert_eq!((more.n_users(), more.n_items(), more.n_events()), (3, 3, 5));
    assert_eq!(more.history(1), (&[0, 1, 2][..], &[2.0, 3.5, 4.0][..]));
    let fewer = more.without_user(1).unwrap();
    assert_eq!(fewer.users().iter().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(fewer.history(1), (&[0][..], &[5.0][..]));
    let fewer = more.without_item(0).unwrap();
    assert_eq!(fewer.items().iter().collect::<Vec<_>>(), ["y", "z"]);
    assert_eq!(fewer.history(1), (&[0, 1][..], &[3.5, 4.0][..]));
    assert_eq!(fewer.history(2), (&[][..], &[][..]));
    assert_eq!(Memory::new(&more.to_log().unwrap()), more);
    assert!(more.without_user(3).is_err() && more.without_item(3).is_err());
}

#[test]
fn files_that_do_not_fit_together_are_refused() {
    let memory = memory();
    let write = |ends: &[u64], items: &[u32], weights: &[f32]| {
        let writer = ModelWriter::new("test", 1)
            .ids("users", memory.users())
            .and_then(|w| w.ids("items", memory.items()))
            .and_then(|w| w.u64("history.ends", &[ends.len()], ends.to_vec()))
            .and_then(|w| w.u32("history.items", &[items.len()], items.to_vec()))
            .and_then(|w| w.f32("history.weights", &[weights.len()], weights.to_vec()));
        Memory::read(&ModelFile::from_bytes(writer.unwrap().to_bytes().unwrap()).unwrap())
    };
    assert_eq!(
        write(&[1, 3], &[0, 0, 1], &[1.0, 2.0, 3.0]).unwrap(),
        memory
    );
    for (ends, items, weights) in [
        (&[3][..], &[0, 0, 1][..], &[1.0; 3][..]), // a user is missing
        (&[1, 3], &[0, 0, 1], &[1.0; 2]),          // a weight is missing
        (&[1, 2], &[0, 0, 1], &[1.0; 3]),          // an event belongs to nobody
        (&[4, 3], &[0, 0, 1], &[1.0; 3]),          // ends go down
        (&[1, 3], &[0, 1, 0], &[1.0; 3]),          // items go down
        (&[1, 3], &[0, 0, 2], &[1.0; 3]),          // an unknown item
        (&[1, 3], &[0, 0, 1], &[1.0, f32::NAN, 1.0]), // a weight that is none
    ] {
        assert!(
            write(ends, items, weights).is_err(),
            "{ends:?} {items:?} {weights:?}"
        );
    }
}

#[test]
fn users_are_as_similar_as_their_histories() {
    let memory = memory();
    let mut cosines = [f32::NAN; 2];
    memory.user_similarity(0, &mut cosines).unwrap();
    // (1, 0) and (2, 3).
    assert!((cosines[0] - 1.0).abs() < 1e-6);
    assert!((cosines[1] - 2.0 / 13.0f32.sqrt()).abs() < 1e-6);
    let (alone, _) = memory.without_item(0).map(|left| (left, ())).unwrap();
    alone.user_similarity(0, &mut cosines).unwrap();
    assert_eq!(cosines, [0.0, 0.0], "the first has nothing left");
}
