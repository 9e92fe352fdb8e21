//! The small spellings that the text formats share: ids, hashes, CIDs, times.

use qflow_core::encoding::{parse_cid as read_cid, parse_cid_text};

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const RFC4648: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const HEX: &[u8; 16] = b"0123456789abcdef";

const DAY_MS: u64 = 86_400_000;
/// 9999-12-31T23:59:59.999Z: beyond it RFC 3339 has no spelling.
const ISO_MS_MAX: u64 = 253_402_300_799_999;
/// Letters of an id.
pub const ID_CHARS: usize = 26;

/// The id of an execution, as the command line shows it (`qflow.model.id_text`).
pub fn id_text(id: &[u8; 16]) -> [u8; ID_CHARS] {
    let number = u128::from_be_bytes(*id);
    let mut text = [0; ID_CHARS];
    for (place, letter) in text.iter_mut().enumerate() {
        *letter = CROCKFORD[(number >> (125 - 5 * place)) as usize & 31];
    }
    text
}

/// The inverse of `id_text`.
pub fn parse_id(text: &[u8]) -> Option<[u8; 16]> {
    let text: &[u8; ID_CHARS] = text.try_into().ok()?;
    let mut number = 0u128;
    for letter in text {
        let digit = CROCKFORD.iter().position(|known| known == letter)?;
        number = number << 5 | digit as u128;
    }
    // 130 bits: the first letter has three.
    (text[0] <= b'7').then_some(number.to_be_bytes())
}

/// Lower case hexadecimal digits.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8; 32]) {
    let mut text = [0; 64];
    for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
    }
    out.extend_from_slice(&text);
}

/// The inverse of `push_hex`.
pub fn parse_hex(text: &[u8]) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.try_into().ok()?;
    let digit = |letter: u8| HEX.iter().position(|known| *known == letter);
    let mut bytes = [0; 32];
    for (byte, [high, low]) in bytes.iter_mut().zip(text.as_chunks::<2>().0) {
        *byte = (digit(*high)? << 4 | digit(*low)?) as u8;
    }
    Some(bytes)
}

/// The text of a CID: its bytes in base 32, with the letter that says so; of one of version 0,
/// which begins with its hash function, in base 58.
pub fn push_cid(out: &mut Vec<u8>, cid: &[u8]) {
    if cid.starts_with(&[0x12])
        && let Some(cid) = read_cid(cid)
    {
        return out.extend_from_slice(cid.to_string().as_bytes());
    }
    out.push(b'b');
    let (groups, rest) = cid.as_chunks::<5>();
    for group in groups {
        out.extend_from_slice(&base32(group));
    }
    if !rest.is_empty() {
        let mut group = [0; 5];
        group[..rest.len()].copy_from_slice(rest);
        let letters = (rest.len() * 8).div_ceil(5);
        out.extend_from_slice(&base32(&group)[..letters]);
    }
}

fn base32(group: &[u8; 5]) -> [u8; 8] {
    let mut bits = [0; 8];
    bits[3..].copy_from_slice(group);
    let bits = u64::from_be_bytes(bits);
    let mut letters = [0; 8];
    for (place, letter) in letters.iter_mut().enumerate() {
        *letter = RFC4648[(bits >> (35 - 5 * place)) as usize & 31];
    }
    letters
}

/// The inverse of `push_cid`, for CIDs only.
pub fn parse_cid(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    parse_cid_text(text).map(|cid| cid.to_bytes())
}

/// A number in decimal.
pub fn push_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The inverse of `push_number`: no sign, no leading zero, at most 2^63 - 1.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !plain || (text.len() > 1 && text[0] == b'0') {
        return None;
    }
    let number = std::str::from_utf8(text).ok()?.parse().ok()?;
    i64::try_from(number).is_ok().then_some(number)
}

/// Writes times, and remembers the day: most records are of the day of the one before.
#[derive(Default)]
pub struct Times {
    day: Option<u64>,
    date: [u8; 10],
}

impl Times {
    /// RFC 3339 with milliseconds; the bare milliseconds after the year 9999.
    pub fn push(&mut self, out: &mut Vec<u8>, at: u64) {
        if at > ISO_MS_MAX {
            return push_number(out, at);
        }
        let (day, rest) = (at / DAY_MS, at % DAY_MS);
        if self.day != Some(day) {
            self.day = Some(day);
            self.date = date(day);
        }
        let mut time = *b"T00:00:00.000Z";
        put(&mut time[1..3], rest / 3_600_000);
        put(&mut time[4..6], rest / 60_000 % 60);
        put(&mut time[7..9], rest / 1000 % 60);
        put(&mut time[10..13], rest % 1000);
        out.extend_from_slice(&self.date);
        out.extend_from_slice(&time);
    }

    /// The inverse of `push`: that spelling and no other.
    pub fn parse(&mut self, text: &[u8]) -> Option<u64> {
        let at = match parse_number(text) {
            Some(at) => at,
            None => parse_iso(text)?,
        };
        let mut again = Vec::with_capacity(32);
        self.push(&mut again, at);
        (again == text).then_some(at)
    }
}

fn put(out: &mut [u8], mut number: u64) {
    for digit in out.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The Gregorian date of a day since 1970-01-01, counted in eras of 400 years from March.
fn date(day: u64) -> [u8; 10] {
    let days = day + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let mut text = *b"0000-00-00";
    put(&mut text[..4], year + era * 400 + u64::from(month <= 2));
    put(&mut text[5..7], month);
    put(&mut text[8..], of_year - (153 * shifted + 2) / 5 + 1);
    text
}

/// Milliseconds of a time that may be misspelled: who asks spells it again and compares.
fn parse_iso(text: &[u8]) -> Option<u64> {
    let text: &[u8; 24] = text.try_into().ok()?;
    let number = |from: usize, to: usize| {
        let digits = &text[from..to];
        let value = |value: u64, digit: &u8| value * 10 + u64::from(digit - b'0');
        let plain = digits.iter().all(u8::is_ascii_digit);
        plain.then(|| digits.iter().fold(0, value))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let (hour, minute) = (number(11, 13)?, number(14, 16)?);
    let (second, milli) = (number(17, 19)?, number(20, 23)?);
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + milli)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let known = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (1_700_000_000_000, "2023-11-14T22:13:20.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (ISO_MS_MAX, "9999-12-31T23:59:59.999Z"),
            (ISO_MS_MAX + 1, "253402300800000"),
            (i64::MAX as u64, "9223372036854775807"),
        ];
        for (at, text) in known {
            let mut out = Vec::new();
            Times::default().push(&mut out, at);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "",
            "01",
            "+1",
            "-1",
            " 1",
            "9223372036854775808",
            "1.0",
            "1e3",
        ] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text}");
        }
        for text in [
            "2023-02-30T00:00:00.000Z",
            "2023-01-01t00:00:00.000Z",
            "2023-01-01T24:00:00.000Z",
            "1969-12-31T23:59:59.999Z",
            "1700000000000",
        ] {
            assert_eq!(Times::default().parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse_id(&[b'8'; 26]), None);
        assert_eq!(parse_hex(&[b'A'; 64]), None);
    }

    proptest! {
        #[test]
        fn every_spelling_is_read_back(
            id: [u8; 16], hash: [u8; 32], at in 0..=i64::MAX as u64, day in 0..ISO_MS_MAX,
        ) {
            prop_assert_eq!(parse_id(&id_text(&id)), Some(id));
            let mut out = Vec::new();
            push_hex(&mut out, &hash);
            prop_assert_eq!(parse_hex(&out), Some(hash));
            let cid = [&[1, 0x71, 0x12, 0x20][..], &hash].concat();
            out.clear();
            push_cid(&mut out, &cid);
            prop_assert_eq!(parse_cid(&out), Some(cid));
            let cid = [&[0x12, 0x20][..], &hash].concat();
            out.clear();
            push_cid(&mut out, &cid);
            prop_assert!(out.starts_with(b"Qm"));
            prop_assert_eq!(parse_cid(&out), Some(cid));
            for at in [at, day] {
                out.clear();
                Times::default().push(&mut out, at);
                prop_assert_eq!(Times::default().parse(&out), Some(at));
            }
        }
    }
}
