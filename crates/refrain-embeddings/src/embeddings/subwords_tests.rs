use super::*;

fn list(word: &str, least: usize, most: usize) -> Vec<u32> {
    let mut found = Vec::new();
    rows(word, least, most, 2_000_000, |row| found.push(row));
    found
}

/// `model.get_subwords(word)` less the number of words, of PyPI fasttext-wheel 0.9.2 trained with
/// `minn=3, maxn=6, bucket=2000000`; and published values of FNV-1a for bytes below 128.
#[test]
fn rows_are_those_of_fasttext() {
    assert_eq!((fnv(b"a"), fnv(b"foobar")), (0xe40c_292c, 0xbf9c_f968));
    let where_ = [
        167652, 989715, 1526707, 1071586, 420941, 312621, 969176, 121234, 1473420, 1540811, 114991,
        1529033, 1568469, 867498,
    ];
    assert_eq!(list("where", 3, 6), where_);
    assert_eq!(list("猫", 3, 6), [1757861]);
    let cafe = [
        916747, 1991831, 794639, 17187, 369661, 454601, 761685, 960362, 1966012, 1609697,
    ];
    assert_eq!(list("café", 3, 6), cafe);
}

#[test]
fn ngrams_are_all_those_of_the_lengths() {
    let hash = |text: &str| fnv(text.as_bytes()) % 2_000_000;
    assert_eq!(
        list("where", 3, 4),
        [
            "<wh", "<whe", "whe", "wher", "her", "here", "ere", "ere>", "re>"
        ]
        .map(hash)
    );
    assert_eq!(list("猫", 2, 3), ["<猫", "<猫>", "猫>"].map(hash));
    assert_eq!(list("ab", 1, 1), ["a", "b"].map(hash));
    assert_eq!(list("", 3, 6), [0u32; 0]);
    assert_eq!(list("", 1, 2), ["<>"].map(hash));
    assert_eq!(list("</s>", 3, 6), [0u32; 0]);
}

#[test]
fn what_cannot_be_is_refused() {
    assert!(Subwords::new(0..=3, 1, vec![1.0]).is_err());
    #[allow(clippy::reversed_empty_ranges)]
    let reversed = 4..=3;
    assert!(Subwords::new(reversed, 1, vec![1.0]).is_err());
    assert!(Subwords::new(3..=6, 2, vec![1.0; 3]).is_err());
    assert!(Subwords::new(3..=6, 2, Vec::new()).is_err());
    assert!(Subwords::new(3..=6, 0, vec![1.0]).is_err());
    assert!(Subwords::new(3..=6, 1, vec![f32::NAN]).is_err());
    let pruned = |kept| Subwords::pruned(3..=6, 1, vec![1.0, 2.0], 10, kept);
    assert!(pruned(vec![3, 9]).is_ok());
    for kept in [vec![3, 3], vec![3, 10], vec![9, 3], vec![1], vec![]] {
        assert!(pruned(kept).is_err());
    }
}

#[test]
fn left_out_rows_are_no_part_of_a_word() {
    let whole = Subwords::new(3..=4, 1, (0..10).map(|i| i as f32).collect()).unwrap();
    let kept = vec![1, 4, 8];
    let pruned = Subwords::pruned(3..=4, 1, vec![1.0, 4.0, 8.0], 10, kept.clone()).unwrap();
    for word in ["where", "whale", "them", "a", "苔の生すまで"] {
        let (mut rows, mut found) = (Vec::new(), Vec::new());
        whole.rows(word, |row| rows.extend(kept.contains(&row).then_some(row)));
        pruned.rows(word, |row| found.push(kept[row as usize]));
        assert_eq!(found, rows);
        let sum: u32 = rows.iter().sum();
        let mean = (!rows.is_empty()).then(|| sum as f32 / rows.len() as f32);
        let embedded = pruned.embed(word).map(|vector| vector[0]);
        assert_eq!(
            embedded.map(|v| (v * 1e4).round()),
            mean.map(|v| (v * 1e4).round())
        );
    }
}
