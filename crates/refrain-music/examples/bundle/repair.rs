//! Bar lines and metres put right where the notes leave no doubt.
//!
//! 1. *Metre.* If the `M:` line fits less than a fifth of the bars and another common metre fits
//!    four fifths, that one is meant.
//! 2. *Missing bar line.* A bar that holds twice the metre and has a note beginning at its middle
//!    gets a bar line there.
//! 3. *Pickup run together.* A bar before a repeat sign or double bar that holds a bar and a pickup
//!    gets the bar line between them, if bar and pickup then fit what is played around them.
//! 4. *Surplus bar line.* Two neighbouring bars inside a section that are both short and make one
//!    bar together lose the line between them.
//! 5. *Tuplet.* A bar with one tuplet of five notes or more, written without the number of notes it
//!    stands for, gets the one number that makes the bar full.
//! 6. *Overlong rest.* A bar that is too long and holds one rest, longer than the surplus, gets the
//!    rest cut to fit: some transcribers filled up with `z8`.
//! 7. *Twin bar.* A bar whose pitches stand, in the same order, in another bar of the tune that adds
//!    up gets that bar's lengths.

use refrain_music::{BarLine, Element, Fraction, Issue, Metre, Tune, Tuplet};

/// Repairs a tune; says what was done, once for each kind.
pub(crate) fn repair(tune: &mut Tune) -> Vec<&'static str> {
    let mut done = Vec::new();
    if tune.validate().is_valid() {
        return done;
    }
    let original = tune.clone();
    if metre(tune) {
        done.push("metre");
    }
    for (name, rule) in [
        ("missing bar line", missing_line as fn(&mut Tune) -> bool),
        ("pickup run together", pickup_line),
        ("surplus bar line", surplus_line),
        ("tuplet", tuplet),
        ("overlong rest", overlong_rest),
        ("twin bar", twin_bar),
    ] {
        let mut used = false;
        while rule(tune) {
            used = true;
        }
        if used {
            done.push(name);
        }
    }
    if !tune.validate().is_valid() {
        // Half a repair is none.
        *tune = original;
        done.clear();
    }
    done
}

fn metre(tune: &mut Tune) -> bool {
    let measures = tune.measures();
    let share = |metre: Metre| {
        let fits = measures
            .iter()
            .filter(|m| Some(m.duration) == metre.bar())
            .count();
        fits as f64 / measures.len().max(1) as f64
    };
    if share(tune.metre) >= 0.2 {
        return false;
    }
    let common = [
        (2, 4),
        (3, 4),
        (4, 4),
        (6, 8),
        (9, 8),
        (12, 8),
        (3, 8),
        (6, 4),
    ];
    // 6/8 and 3/4 are equally long: jigs outnumber waltzes where the notes were in 9/8 or 3/8.
    let found = common
        .into_iter()
        .map(|(n, d)| Metre::Time(n, d))
        .find(|m| share(*m) >= 0.75);
    if let Some(metre) = found {
        tune.metre = metre;
    }
    found.is_some()
}

fn missing_line(tune: &mut Tune) -> bool {
    let resolved = tune.resolve();
    for m in tune.measures() {
        let Some(bar) = m.expected else { continue };
        if m.duration != bar + bar {
            continue;
        }
        let mut time = Fraction::ZERO;
        for i in m.elements.clone() {
            if time == bar && !resolved[i].duration.is_zero() {
                // Marks stand before their note: go back to the end of the note before.
                let mut at = i;
                while at > m.elements.start
                    && tune.body[at - 1].length().is_none()
                    && !matches!(tune.body[at - 1], Element::SlurEnd)
                {
                    at -= 1;
                }
                tune.body.insert(at, Element::Bar(BarLine::default()));
                return true;
            }
            time += resolved[i].duration;
        }
    }
    false
}

fn pickup_line(tune: &mut Tune) -> bool {
    let loose = |tune: &Tune| {
        tune.validate()
            .issues
            .iter()
            .filter(|i| matches!(i, Issue::Pickup { .. }))
            .count()
    };
    let before = loose(tune);
    let resolved = tune.resolve();
    for m in tune.measures() {
        let Some(bar) = m.expected else { continue };
        if !m.before_boundary || m.duration <= bar || m.duration >= bar + bar {
            continue;
        }
        let mut time = Fraction::ZERO;
        for i in m.elements.clone() {
            if time == bar && !resolved[i].duration.is_zero() {
                let mut fixed = tune.clone();
                fixed.body.insert(i, Element::Bar(BarLine::default()));
                if loose(&fixed) <= before {
                    *tune = fixed;
                    return true;
                }
            }
            time += resolved[i].duration;
        }
    }
    false
}

fn surplus_line(tune: &mut Tune) -> bool {
    let measures = tune.measures();
    for pair in measures.windows(2) {
        let (a, b) = (&pair[0], &pair[1]);
        let inside = !a.before_boundary && !b.after_boundary;
        let whole = |x: bool, y: bool| !x && !y;
        // Each must be wrong where it stands, or the pair would be a pickup and its neighbour.
        let wrong = whole(a.after_boundary, a.before_boundary)
            || whole(b.after_boundary, b.before_boundary);
        if inside
            && wrong
            && !a.is_full()
            && !b.is_full()
            && Some(a.duration + b.duration) == a.expected
        {
            let at = a.elements.end;
            if tune.body.get(at) == Some(&Element::Bar(BarLine::default())) {
                tune.body.remove(at);
                return true;
            }
        }
    }
    false
}

fn tuplet(tune: &mut Tune) -> bool {
    for (k, m) in tune.measures().iter().enumerate() {
        let inside: Vec<usize> = m
            .elements
            .clone()
            .filter(|i| matches!(tune.body[*i], Element::Tuplet(_)))
            .collect();
        let ([at], false) = (inside.as_slice(), m.is_full()) else {
            continue;
        };
        let Element::Tuplet(t) = tune.body[*at] else {
            continue;
        };
        if t.p < 5 || t.r != t.p {
            continue;
        }
        let fits: Vec<Tune> = [2, 3, 4, 6, 8]
            .into_iter()
            .filter(|q| *q != t.q)
            .map(|q| {
                let mut fixed = tune.clone();
                fixed.body[*at] = Element::Tuplet(Tuplet { q, ..t });
                fixed
            })
            .filter(|fixed| fixed.measures().get(k).is_some_and(|m| m.is_full()))
            .collect();
        if let [fixed] = fits.as_slice() {
            *tune = fixed.clone();
            return true;
        }
    }
    false
}

fn overlong_rest(tune: &mut Tune) -> bool {
    let resolved = tune.resolve();
    for m in tune.measures() {
        let Some(bar) = m.expected.filter(|e| m.duration > *e) else {
            continue;
        };
        let surplus = m.duration - bar;
        let rests: Vec<usize> = m
            .elements
            .clone()
            .filter(|i| matches!(tune.body[*i], Element::Rest(_)))
            .collect();
        let [at] = rests.as_slice() else { continue };
        let held = resolved[*at].duration;
        if let (true, Element::Rest(rest)) = (held > surplus, &mut tune.body[*at]) {
            rest.length = rest.length * ((held - surplus) / held);
            return true;
        }
    }
    false
}

fn twin_bar(tune: &mut Tune) -> bool {
    let resolved = tune.resolve();
    let measures = tune.measures();
    let wrong = |m: &refrain_music::Measure| {
        m.expected.is_some_and(|e| {
            m.duration > e || (m.duration < e && !m.after_boundary && !m.before_boundary)
        })
    };
    let timed = |m: &refrain_music::Measure| -> Vec<usize> {
        m.elements
            .clone()
            .filter(|i| !resolved[*i].duration.is_zero())
            .collect()
    };
    let plain = |m: &refrain_music::Measure| {
        m.elements
            .clone()
            .all(|i| !matches!(tune.body[i], Element::Tuplet(_) | Element::Field(_)))
    };
    for m in measures.iter().filter(|m| wrong(m) && plain(m)) {
        let mine = timed(m);
        for twin in measures
            .iter()
            .filter(|t| t.is_full() && plain(t) && t.expected == m.expected)
        {
            let theirs = timed(twin);
            let same = mine.len() == theirs.len()
                && mine.len() > 2
                && mine
                    .iter()
                    .zip(&theirs)
                    .all(|(a, b)| resolved[*a].pitches == resolved[*b].pitches);
            if same {
                for (a, b) in mine.iter().zip(&theirs) {
                    let length = tune.body[*b].length();
                    match (&mut tune.body[*a], length) {
                        (Element::Note(n), Some(l)) => n.length = l,
                        (Element::Rest(r), Some(l)) => r.length = l,
                        (Element::Chord(c), Some(l)) => c.length = l,
                        _ => {}
                    }
                }
                return true;
            }
        }
    }
    false
}
