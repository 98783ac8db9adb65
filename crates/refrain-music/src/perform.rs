//! The tune as it is played: repeats and endings written out, ties joined, every note with its time.

use crate::fraction::Fraction;
use crate::resolve::Resolved;
use crate::tune::{Element, Field, Tempo, Tune};

/// Most elements a performance may visit; a longer one is cut there.
const MOST: usize = 400_000;

/// A note that sounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sounding {
    /// Whole notes from the beginning.
    pub start: Fraction,
    /// Whole notes it lasts; tied notes are one.
    pub duration: Fraction,
    /// MIDI key.
    pub pitch: u8,
    /// Where in the body it is written (its first part, if tied).
    pub element: usize,
    /// True if it begins a bar.
    pub accent: bool,
}

/// A played tune.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Performance {
    /// The notes by time of start.
    pub notes: Vec<Sounding>,
    /// Grace notes: the time they lead to, and their MIDI key, in order.
    pub graces: Vec<(Fraction, u8)>,
    /// Tempo changes on the way, the first at time zero.
    pub tempos: Vec<(Fraction, Tempo)>,
    /// Whole notes in all.
    pub duration: Fraction,
}

impl Performance {
    /// Seconds from the beginning at a time in whole notes.
    pub fn seconds(&self, time: Fraction) -> f64 {
        let mut seconds = 0.0;
        for (i, (from, tempo)) in self.tempos.iter().enumerate() {
            if *from >= time {
                break;
            }
            let to = self.tempos.get(i + 1).map_or(time, |(t, _)| (*t).min(time));
            seconds += (to - *from).to_f64() * tempo.seconds_per_whole();
        }
        seconds
    }
}

impl Tune {
    /// Plays the tune: repeats, first and second endings and ties are carried out.
    ///
    /// A repeat without a start sign goes back to the last double bar, repeat sign or the beginning.
    /// A dash between different pitches (a slur in older books) ties nothing. Jumps in words
    /// (`D.C.`) are not followed.
    ///
    /// ```
    /// use refrain_music::Tune;
    /// let tune = Tune::parse("X:1\nM:C\nL:1/4\nK:C\n|:C D E F|1 G4:|2 c4|]\n")?;
    /// let keys: Vec<u8> = tune.perform().notes.iter().map(|n| n.pitch).collect();
    /// assert_eq!(keys, [60, 62, 64, 65, 67, 60, 62, 64, 65, 72]);
    /// # Ok::<(), refrain_music::Error>(())
    /// ```
    pub fn perform(&self) -> Performance {
        self.perform_order(&self.play_order())
    }

    /// The tune as written from beginning to end, each bar once.
    pub fn perform_once(&self) -> Performance {
        let all: Vec<usize> = (0..self.body.len()).collect();
        self.perform_order(&all)
    }

    fn perform_order(&self, order: &[usize]) -> Performance {
        let resolved = self.resolve();
        let mut now = Fraction::ZERO;
        let mut notes: Vec<Sounding> = Vec::new();
        let mut graces = Vec::new();
        let mut tempos = vec![(Fraction::ZERO, self.playing_tempo())];
        // Sounding notes that wait for their other half.
        let mut tied: Vec<usize> = Vec::new();
        let mut accent = true;
        for &i in order {
            let (Some(element), Some(r)) = (self.body.get(i), resolved.get(i)) else {
                continue;
            };
            let Resolved {
                duration, pitches, ..
            } = r;
            let tie = match element {
                Element::Bar(_) => {
                    accent = true;
                    continue;
                }
                Element::Grace(_) => {
                    graces.extend(pitches.iter().map(|p| (now, *p)));
                    continue;
                }
                Element::Field(Field::Tempo(tempo)) => {
                    tempos.push((now, *tempo));
                    continue;
                }
                Element::Note(n) => n.tie,
                Element::Chord(c) => c.tie,
                Element::Rest(_) => false,
                _ => continue,
            };
            let mut holding = Vec::new();
            for &pitch in pitches {
                let held = tied.iter().copied().find(|&k| {
                    notes
                        .get(k)
                        .is_some_and(|n| n.pitch == pitch && n.start + n.duration == now)
                });
                if let Some(k) = held {
                    notes[k].duration += *duration;
                    holding.push(k);
                } else {
                    holding.push(notes.len());
                    notes.push(Sounding {
                        start: now,
                        duration: *duration,
                        pitch,
                        element: i,
                        accent,
                    });
                }
            }
            tied = if tie { holding } else { Vec::new() };
            accent = false;
            now += *duration;
        }
        Performance {
            notes,
            graces,
            tempos,
            duration: now,
        }
    }

    /// The order in which the elements of the body are played.
    pub fn play_order(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.body.len() * 2);
        // Where a repeat goes back to, whether a start sign was seen, and the pass, from 1.
        let (mut start, mut explicit, mut pass) = (0, false, 1u8);
        // The passes of the ending being played.
        let mut ending: Option<&[u8]> = None;
        let mut i = 0;
        while let Some(element) = self.body.get(i) {
            if order.len() >= MOST {
                break;
            }
            order.push(i);
            match element {
                Element::Ending(e) => {
                    let next_pass =
                        ending.is_some_and(|p| p.contains(&pass)) && e.passes.contains(&(pass + 1));
                    if e.passes.contains(&pass) {
                        ending = Some(&e.passes);
                    } else if next_pass {
                        // A first ending that runs into the second without its repeat sign.
                        pass += 1;
                        ending = None;
                        i = start;
                        continue;
                    } else {
                        i = self.after_ending(i, pass);
                        continue;
                    }
                }
                Element::Bar(bar) => {
                    if bar.repeat_end > 0 {
                        let more = ending.is_some() && self.ending_follows(i, pass + 1);
                        if pass <= bar.repeat_end && pass < 9 || more {
                            pass += 1;
                            ending = None;
                            i = start;
                            continue;
                        }
                        (start, explicit, pass, ending) = (i + 1, false, 1, None);
                    }
                    if bar.repeat_start > 0 {
                        (start, explicit, pass, ending) = (i + 1, true, 1, None);
                    } else if bar.is_boundary() && (!explicit || ending.is_some() && pass > 1) {
                        // The end of a section, or of its last ending.
                        if ending.is_none_or(|_| pass > 1) {
                            (start, explicit, pass, ending) = (i + 1, false, 1, None);
                        }
                    }
                }
                _ => {}
            }
            i += 1;
        }
        order
    }

    /// Where to go on when the ending at `i` is not for this pass.
    fn after_ending(&self, i: usize, pass: u8) -> usize {
        let mut j = i + 1;
        while let Some(element) = self.body.get(j) {
            match element {
                Element::Ending(e) if e.passes.contains(&pass) => return j,
                Element::Bar(b) if b.repeat_end > 0 => return j + 1,
                _ => {}
            }
            j += 1;
        }
        j
    }

    /// True if the next thing after `i` that matters is an ending for `pass`.
    fn ending_follows(&self, i: usize, pass: u8) -> bool {
        for element in self.body.iter().skip(i + 1) {
            match element {
                Element::Ending(e) => return e.passes.contains(&pass),
                Element::Bar(_) | Element::Text(_) | Element::Decoration(_) => {}
                _ => return false,
            }
        }
        false
    }
}
