//! Standard MIDI files.

use std::path::Path;

use midly::num::{u4, u7, u15, u24, u28};
use midly::{Format, Header, MetaMessage, MidiMessage, Smf, Timing, TrackEvent, TrackEventKind};

use crate::error::{Error, Result};
use crate::playback::{Playback, PlayedNote};
use crate::tune::Tune;

/// Ticks a quarter note is divided into.
const TICKS: u16 = 480;

/// Writes tunes as MIDI files of one track.
///
/// ```
/// use refrain_music::{Midi, Tune};
/// let tune = Tune::parse("X:1\nR:reel\nM:C|\nL:1/8\nK:G\nGABc dedB|]\n")?;
/// let bytes = Midi::default().to_bytes(&tune)?;
/// assert_eq!(&bytes[..4], b"MThd");
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Midi {
    /// How to play.
    pub playback: Playback,
    /// General MIDI program, from 0: 40 is a violin, 73 a flute, 46 a harp.
    pub program: u8,
}

impl Default for Midi {
    /// A flute at the usual tempo.
    fn default() -> Self {
        Self {
            playback: Playback::default(),
            program: 73,
        }
    }
}

impl Midi {
    /// The file's bytes.
    ///
    /// # Errors
    /// [`Error::Setting`] for a program above 127 or a bad [`Playback`].
    pub fn to_bytes(&self, tune: &Tune) -> Result<Vec<u8>> {
        let notes = self.playback.notes(tune)?;
        let tempo = self.playback.tempo.unwrap_or_else(|| tune.playing_tempo());
        let mut signatures = Vec::new();
        if let Some((beats, unit)) = tune.metre.fraction() {
            let unit = unit.trailing_zeros() as u8;
            signatures.push(MetaMessage::TimeSignature(beats, unit, 24, 8));
        }
        let fifths = tune.key.fifths().clamp(-7, 7) as i8;
        signatures.push(MetaMessage::KeySignature(fifths, tune.key.is_minor()));
        // One tempo for the file; changes on the way are already in the notes' seconds.
        let quarter = tempo.seconds_per_whole() / 4.0;
        self.file(&notes, quarter, tune.title(), &signatures)
    }

    /// The bytes of a file with notes of any origin, chords among them; a quarter lasts so many
    /// seconds.
    ///
    /// ```
    /// use refrain_music::{Midi, PlayedNote};
    /// let note = |start: f64, pitch: u8| PlayedNote {
    ///     start, duration: 1.0, pitch, velocity: 0.7, element: None,
    /// };
    /// let bytes = Midi::default().notes_to_bytes(&[note(0.0, 60), note(0.0, 64)], 0.5, "Third")?;
    /// assert_eq!(&bytes[..4], b"MThd");
    /// # Ok::<(), refrain_music::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Setting`] for a program above 127, or a quarter that lasts no time.
    pub fn notes_to_bytes(
        &self,
        notes: &[PlayedNote],
        quarter: f64,
        title: &str,
    ) -> Result<Vec<u8>> {
        if !(quarter > 0.0 && quarter.is_finite()) {
            let reason = format!("{quarter} seconds is not a positive time");
            return Err(Error::Setting {
                name: "quarter",
                reason,
            });
        }
        self.file(notes, quarter, title, &[])
    }

    fn file(
        &self,
        notes: &[PlayedNote],
        quarter: f64,
        title: &str,
        signatures: &[MetaMessage<'_>],
    ) -> Result<Vec<u8>> {
        if self.program > 127 {
            let reason = format!("{} is above 127", self.program);
            return Err(Error::Setting {
                name: "program",
                reason,
            });
        }
        let ticks = |seconds: f64| (seconds / quarter * f64::from(TICKS)).round().max(0.0) as u32;
        let channel = u4::new(0);
        // Time, whether it begins a note (ends come first), event.
        let mut events: Vec<(u32, bool, TrackEventKind<'_>)> = Vec::new();
        for n in notes {
            let key = u7::new(n.pitch.min(127));
            let vel = u7::new((n.velocity * 110.0).clamp(1.0, 127.0) as u8);
            let (start, end) = (ticks(n.start), ticks(n.start + n.duration));
            let on = TrackEventKind::Midi {
                channel,
                message: MidiMessage::NoteOn { key, vel },
            };
            let off = MidiMessage::NoteOff {
                key,
                vel: u7::new(0),
            };
            events.push((start, true, on));
            events.push((
                end.max(start.saturating_add(1)),
                false,
                TrackEventKind::Midi {
                    channel,
                    message: off,
                },
            ));
        }
        events.sort_by_key(|(time, on, _)| (*time, *on));

        let micros = (quarter * 1e6).clamp(1.0, 16_777_215.0) as u32;
        let mut track: Vec<TrackEvent<'_>> = Vec::with_capacity(events.len() + 6);
        let named = [
            MetaMessage::TrackName(title.as_bytes()),
            MetaMessage::Tempo(u24::new(micros)),
        ];
        for &message in named.iter().chain(signatures) {
            track.push(TrackEvent {
                delta: u28::new(0),
                kind: TrackEventKind::Meta(message),
            });
        }
        let message = MidiMessage::ProgramChange {
            program: u7::new(self.program),
        };
        track.push(TrackEvent {
            delta: u28::new(0),
            kind: TrackEventKind::Midi { channel, message },
        });
        let mut now = 0;
        for (time, _, kind) in events {
            let delta = u28::new((time - now).min(u32::from(u28::max_value())));
            track.push(TrackEvent { delta, kind });
            now = time;
        }
        track.push(TrackEvent {
            delta: u28::new(0),
            kind: TrackEventKind::Meta(MetaMessage::EndOfTrack),
        });
        let header = Header::new(Format::SingleTrack, Timing::Metrical(u15::new(TICKS)));
        let mut out = Vec::new();
        Smf {
            header,
            tracks: vec![track],
        }
        .write_std(&mut out)
        .map_err(|source| Error::Io {
            path: "memory".into(),
            source,
        })?;
        Ok(out)
    }

    /// Writes a `.mid` file.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`to_bytes`](Self::to_bytes).
    pub fn write(&self, tune: &Tune, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        std::fs::write(path, self.to_bytes(tune)?).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back() {
        let tune = Tune::parse("X:1\nT:A Test\nR:jig\nM:6/8\nL:1/8\nK:D\n|:{e}d2f afd|e3 e2z:|\n")
            .unwrap();
        let bytes = Midi::default().to_bytes(&tune).unwrap();
        let smf = Smf::parse(&bytes).unwrap();
        let track = &smf.tracks[0];
        let on = |e: &&TrackEvent<'_>| {
            matches!(
                e.kind,
                TrackEventKind::Midi {
                    message: MidiMessage::NoteOn { .. },
                    ..
                }
            )
        };
        // Seven notes and a grace note, twice.
        assert_eq!(track.iter().filter(on).count(), 2 * 8);
        let off = track.iter().filter(|e| {
            matches!(
                e.kind,
                TrackEventKind::Midi {
                    message: MidiMessage::NoteOff { .. },
                    ..
                }
            )
        });
        assert_eq!(off.count(), 2 * 8);
        let length: u32 = track.iter().map(|e| e.delta.as_int()).sum();
        // Four bars of 6/8 are 12 quarters, less the last rest and the gap after the last note.
        assert!(
            (12 * 480 - 400..12 * 480).contains(&(length as i32)),
            "{length}"
        );
        assert!(
            track
                .iter()
                .any(|e| e.kind == TrackEventKind::Meta(MetaMessage::TimeSignature(6, 3, 24, 8)))
        );
    }

    #[test]
    fn bad_program() {
        let tune = Tune::parse("X:1\nK:C\nC|]\n").unwrap();
        assert!(
            Midi {
                program: 200,
                ..Midi::default()
            }
            .to_bytes(&tune)
            .is_err()
        );
    }
}
