//! Times as numbers: Unix seconds, or ISO 8601.

/// A time as whole number: digits as they are, decimals rounded down, and
/// `2009-04-01`, `2009-04-01T12:30`, `2009-04-01 12:30:59.5Z`, `…+02:00` as Unix seconds (UTC unless
/// an offset is given).
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<i64>() {
        return Some(time);
    }
    parse_iso(text).or_else(|| {
        let time = text.parse::<f64>().ok()?.floor();
        (time.abs() < 9e18).then_some(time as i64)
    })
}

fn parse_iso(text: &str) -> Option<i64> {
    let (year, month, day) = (
        digits(text.get(0..4)?)?,
        digits(text.get(5..7)?)?,
        digits(text.get(8..10)?)?,
    );
    if text.get(4..5) != Some("-") || text.get(7..8) != Some("-") {
        return None;
    }
    let seconds = days(year, month, day)? * 86_400;
    let Some(rest) = text.get(10..).filter(|rest| !rest.is_empty()) else {
        return Some(seconds);
    };
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let end = rest.find(['Z', 'z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(end);
    Some(seconds + parse_clock(clock.trim_end())? - parse_zone(zone)?)
}

fn parse_clock(clock: &str) -> Option<i64> {
    let mut parts = clock.split(':');
    let hours = digits(parts.next()?)?;
    let minutes = digits(parts.next()?)?;
    let seconds = match parts.next() {
        Some(part) => {
            let (whole, fraction) = part.split_once('.').unwrap_or((part, "0"));
            digits(fraction.get(..9).unwrap_or(fraction))?;
            digits(whole)?
        }
        None => 0,
    };
    let valid = parts.next().is_none() && hours < 24 && minutes < 60 && seconds < 61;
    valid.then_some(hours * 3600 + minutes * 60 + seconds)
}

fn parse_zone(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let offset = zone.get(1..)?;
    let minutes = match offset.len() {
        2 => digits(offset)? * 60,
        4 => digits(offset.get(..2)?)? * 60 + digits(offset.get(2..)?)?,
        5 if offset.get(2..3) == Some(":") => {
            digits(offset.get(..2)?)? * 60 + digits(offset.get(3..)?)?
        }
        _ => return None,
    };
    Some(sign * minutes * 60)
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Days since 1970-01-01 in the Gregorian calendar (Howard Hinnant's `days_from_civil`).
pub(crate) fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    };
    if !(0..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
        return None;
    }
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_times() {
        // date -u -d '2009-04-01T12:30:59Z' +%s
        for (text, expected) in [
            ("881250949", 881_250_949),
            ("-5", -5),
            ("1.9e3", 1900),
            ("8.8125e8", 881_250_000),
            ("1970-01-01", 0),
            ("1969-12-31", -86_400),
            ("2009-04-01T12:30:59Z", 1_238_589_059),
            ("2009-04-01 12:30:59.75", 1_238_589_059),
            ("2009-04-01T12:30+02:00", 1_238_581_800),
            ("2009-04-01T12:30:59-0130", 1_238_594_459),
            ("2000-02-29", 951_782_400),
        ] {
            assert_eq!(parse_time(text), Some(expected), "{text}");
        }
        for text in [
            "",
            "noon",
            "2009-13-01",
            "2009-02-29",
            "2009-04-01T25:00",
            "2009-04-01x",
            "NaN",
            "inf",
            "1e300",
            "2009-04-01T12:30+2",
            "2009/04/01",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[0-9T:. +Z-]{0,30}|.{0,20}") {
            let _ = parse_time(&text);
        }

        #[test]
        fn days_follow_each_other(day in -700_000i64..2_900_000) {
            // The inverse, from the same paper.
            let z = day + 719_468;
            let era = z.div_euclid(146_097);
            let doe = z - era * 146_097;
            let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
            let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
            let mp = (5 * doy + 2) / 153;
            let (d, m) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
            prop_assert_eq!(days(yoe + era * 400 + i64::from(m <= 2), m, d), Some(day));
        }
    }
}
