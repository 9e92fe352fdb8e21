//! The words of a record: what a search for text finds.

use qflow_core::chain::RecordView;
use qflow_core::encoding::{Item, Reader};

/// Of a word in the index; a longer one is found by its beginning and then compared whole.
pub const WORD_CHARS_MAX: usize = 64;

/// Each word of a text: a run of letters and digits, in lower case.
pub fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut lower = String::new();
    for word in text.split(|letter: char| !letter.is_alphanumeric()) {
        if word.is_empty() {
            continue;
        }
        if word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            take(word);
        } else {
            lower.clear();
            lower.extend(word.chars().flat_map(char::to_lowercase));
            take(&lower);
        }
    }
}

/// What the index has of a word.
#[must_use]
pub fn indexed(word: &str) -> &str {
    match word.char_indices().nth(WORD_CHARS_MAX) {
        Some((end, _)) => &word[..end],
        None => word,
    }
}

/// Each text of a record that is searched: names, the step, and the texts in its meta at any depth.
pub fn each_text<'a>(record: &RecordView<'a>, mut take: impl FnMut(&'a str)) {
    take(record.flow);
    take(record.kind);
    take(record.actor);
    take(record.node);
    if let Some(step) = record.step {
        take(step);
    }
    each_text_of_meta(record.meta, take);
}

/// Each text that is a value in a canonical map, not a key.
pub fn each_text_of_meta<'a>(meta: &'a [u8], mut take: impl FnMut(&'a str)) {
    let mut reader = Reader::new(meta);
    // Lists and maps are flat here: only how many items are left, and whether they have keys.
    let mut open: Vec<(usize, bool)> = vec![(1, false)];
    while let Some((left, keyed)) = open.last_mut() {
        if *left == 0 {
            open.pop();
            continue;
        }
        *left -= 1;
        if *keyed && reader.item().is_err() {
            return;
        }
        match reader.item() {
            Ok(Item::Text(text)) => take(text),
            Ok(Item::Array(len)) => open.push((len, false)),
            Ok(Item::Map(len)) => open.push((len, true)),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{each_text_of_meta, each_word, indexed};
    use qflow_core::encoding::Writer;

    fn words(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        each_word(text, |word| found.push(word.to_owned()));
        found
    }

    #[test]
    fn a_word_is_a_run_of_letters_and_digits_in_lower_case() {
        assert_eq!(
            words("/do/3/charge-Card_4"),
            ["do", "3", "charge", "card", "4"]
        );
        assert_eq!(words("Straße ÉTÉ 東京"), ["straße", "été", "東京"]);
        assert!(words("-- / ..").is_empty());
    }

    #[test]
    fn a_long_word_is_cut_between_characters() {
        let long = "é".repeat(100);
        assert_eq!(indexed(&long).chars().count(), 64);
        assert_eq!(indexed("short"), "short");
    }

    #[test]
    fn texts_are_found_at_any_depth_and_keys_are_not_texts() {
        let mut out = Writer::default();
        out.map(2);
        out.text("a");
        out.array(2);
        out.text("one");
        out.map(1);
        out.text("k");
        out.text("two");
        out.text("b");
        out.text("three");
        let mut found = Vec::new();
        each_text_of_meta(out.as_slice(), |text| found.push(text));
        assert_eq!(found, ["one", "two", "three"]);
    }
}
