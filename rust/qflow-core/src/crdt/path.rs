//! Paths: JSON Pointers (RFC 6901) whose parts obey stricter rules.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, is_nfc, is_nfc_quick};

/// Parts of one path.
pub const PARTS_MAX: usize = 64;
/// Bytes (UTF-8) of all parts of one path together.
pub const PATH_BYTES_MAX: usize = 1024;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("a path is empty or begins with \"/\"")]
    NoSlash,
    #[error("\"~\" in a path is written \"~0\", and \"/\" within a part \"~1\"")]
    Escape,
    #[error("an empty part of a path")]
    Empty,
    #[error("\".\" and \"..\" are no parts of a path")]
    Dots,
    #[error("a part of a path begins with \"/\" or \"$\", which are reserved")]
    Reserved,
    #[error("a control character in a part of a path")]
    Control,
    #[error("a part of a path is not in Unicode normal form C")]
    NotNormal,
    #[error("a path of more than {PARTS_MAX} parts")]
    TooDeep,
    #[error("a path of more than {PATH_BYTES_MAX} bytes")]
    TooLong,
}

/// Whether a part may stand in a path.
///
/// One name has one spelling (normal form C), none can be mistaken for a place in a file system
/// or for a reserved word, and none can hide in a terminal.
pub fn check_part(part: &str) -> Result<(), PathError> {
    let bytes = part.as_bytes();
    match bytes {
        [] => return Err(PathError::Empty),
        b"." | b".." => return Err(PathError::Dots),
        [b'/' | b'$', ..] => return Err(PathError::Reserved),
        _ if bytes.len() > PATH_BYTES_MAX => return Err(PathError::TooLong),
        _ => {}
    }
    let plain = bytes
        .iter()
        .fold(true, |plain, byte| plain & (0x20..0x7f).contains(byte));
    if plain { Ok(()) } else { check_unusual(part) }
}

#[cold]
fn check_unusual(part: &str) -> Result<(), PathError> {
    if part.chars().any(char::is_control) {
        return Err(PathError::Control);
    }
    let normal = match is_nfc_quick(part.chars()) {
        IsNormalized::Yes => true,
        IsNormalized::No => false,
        IsNormalized::Maybe => is_nfc(part),
    };
    if normal {
        Ok(())
    } else {
        Err(PathError::NotNormal)
    }
}

/// The parts of a pointer, checked; none for the root (`""`).
pub fn parse_pointer(pointer: &str) -> Result<Vec<Cow<'_, str>>, PathError> {
    let mut parts = Vec::new();
    if pointer.is_empty() {
        return Ok(parts);
    }
    let inner = pointer.strip_prefix('/').ok_or(PathError::NoSlash)?;
    let mut bounds = Bounds::default();
    for escaped in inner.split('/') {
        let part = unescape(escaped)?;
        bounds.enter(&part)?;
        parts.push(part);
    }
    Ok(parts)
}

/// What a path has used of its limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    parts: u8,
    bytes: u16,
}

impl Bounds {
    /// Go one part deeper: the part is checked, and the path as a whole.
    #[inline]
    pub fn enter(&mut self, part: &str) -> Result<(), PathError> {
        check_part(part)?;
        if usize::from(self.parts) >= PARTS_MAX {
            return Err(PathError::TooDeep);
        }
        if usize::from(self.bytes) + part.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        self.parts += 1;
        self.bytes += part.len() as u16;
        Ok(())
    }
}

fn unescape(escaped: &str) -> Result<Cow<'_, str>, PathError> {
    let Some((before, _)) = escaped.split_once('~') else {
        return Ok(Cow::Borrowed(escaped));
    };
    let mut part = String::with_capacity(escaped.len());
    part.push_str(before);
    for piece in escaped[before.len() + 1..].split('~') {
        let (escape, rest) = piece.split_at_checked(1).ok_or(PathError::Escape)?;
        part.push(match escape {
            "0" => '~',
            "1" => '/',
            _ => return Err(PathError::Escape),
        });
        part.push_str(rest);
    }
    Ok(Cow::Owned(part))
}

/// The pointer of these parts; `""` of none.
pub fn write_pointer<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut pointer = String::new();
    for part in parts {
        pointer.push('/');
        for piece in part.split_inclusive(['~', '/']) {
            match piece.as_bytes().last() {
                Some(b'~') => push_escaped(&mut pointer, piece, "~0"),
                Some(b'/') => push_escaped(&mut pointer, piece, "~1"),
                _ => pointer.push_str(piece),
            }
        }
    }
    pointer
}

fn push_escaped(pointer: &mut String, piece: &str, escape: &str) {
    pointer.push_str(&piece[..piece.len() - 1]);
    pointer.push_str(escape);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_c8_unfit_parts_are_refused() {
        for (part, why) in [
            ("", PathError::Empty),
            (".", PathError::Dots),
            ("..", PathError::Dots),
            ("/etc", PathError::Reserved),
            ("$where", PathError::Reserved),
            ("a\u{0}b", PathError::Control),
            ("a\u{7f}", PathError::Control),
            ("a\u{85}", PathError::Control),
            ("e\u{301}", PathError::NotNormal),
            ("\u{212b}", PathError::NotNormal),
        ] {
            assert_eq!(check_part(part), Err(why), "{part:?}");
        }
        for part in ["a", "...", "é", "a$", "a/b", "~", "日本", "\u{1f980}", "가"] {
            assert_eq!(check_part(part), Ok(()), "{part:?}");
        }
    }

    #[test]
    fn pointers_are_read_and_written() {
        for (pointer, parts) in [
            ("", vec![]),
            ("/a/b", vec!["a", "b"]),
            ("/a~1b/m~0n", vec!["a/b", "m~n"]),
            ("/~01", vec!["~1"]),
        ] {
            assert_eq!(parse_pointer(pointer).unwrap(), parts);
            assert_eq!(write_pointer(parts), pointer);
        }
        for (pointer, why) in [
            ("a", PathError::NoSlash),
            ("/", PathError::Empty),
            ("/a//b", PathError::Empty),
            ("/a/", PathError::Empty),
            ("/~", PathError::Escape),
            ("/a~2", PathError::Escape),
            ("/~é", PathError::Escape),
            ("/~1a", PathError::Reserved),
        ] {
            assert_eq!(parse_pointer(pointer), Err(why), "{pointer:?}");
        }
    }

    #[test]
    fn holds_c15_paths_are_bounded() {
        let deep = "/a".repeat(PARTS_MAX);
        assert!(parse_pointer(&deep).is_ok());
        assert_eq!(parse_pointer(&(deep + "/a")), Err(PathError::TooDeep));
        let long = format!("/{}/{}", "a".repeat(1000), "b".repeat(24));
        assert!(parse_pointer(&long).is_ok());
        assert_eq!(parse_pointer(&(long + "b")), Err(PathError::TooLong));
    }
}
