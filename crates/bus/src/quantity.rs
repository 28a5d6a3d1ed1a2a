//! Durations and sizes as definitions write them: `30s`, `72h`, `64KiB`.

use std::time::Duration;

/// Reads `500ms`, `30s`, `10m`, `72h` or `7d`: a whole number and one unit.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(ms).map(Duration::from_millis)
}

/// As it could have been written, in the largest unit up to hours that says it whole.
pub(crate) fn text(duration: Duration) -> String {
    let ms = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let whole = units.into_iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    let (unit, name) = whole.unwrap_or((1, "ms"));
    format!("{}{name}", ms / unit)
}

/// Reads `512B`, `64KiB` or `1MiB`.
pub(crate) fn bytes(text: &str) -> Option<usize> {
    let (number, unit) = split(text)?;
    let unit = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(unit).and_then(|n| usize::try_from(n).ok())
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let ms = |text| duration(text).map(|d| d.as_millis());
        let good = ["500ms", "30s", "10m", "72h", "7d", "0s"].map(ms);
        for text in ["500ms", "90s", "10m", "72h", "0ms"] {
            assert_eq!(super::text(duration(text).unwrap()), text);
        }
        assert_eq!(good, [500, 30_000, 600_000, 259_200_000, 604_800_000, 0].map(Some));
        for bad in
            ["", "30", "s", "-1s", "1.5s", "30 s", "30S", "1h30m", "99999999999999999999s", "999999999999999999d"]
        {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_a_number_and_a_unit() {
        assert_eq!(["512B", "64KiB", "1MiB"].map(bytes), [512, 65_536, 1_048_576].map(Some));
        for bad in ["", "64", "64KB", "64k", "1 MiB", "18446744073709551615MiB"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}
