//! A clock on the wire: the heads of a document, as canonical DAG-CBOR.

use super::change::{parse_change_cid, write_link};
use super::graph::{Head, LINES_MAX};
use crate::encoding::{DecodeError, Item, Reader, Writer};

/// The bytes of sorted heads: a list of [replica, operations seen, CID of the last change].
#[must_use]
pub fn write_heads(heads: &[Head]) -> Vec<u8> {
    let mut out = Writer::with_capacity(9 + heads.len() * 82);
    out.array(heads.len());
    for head in heads {
        out.array(3);
        out.bytes(&head.replica);
        out.unsigned(u64::from(head.seq));
        write_link(&mut out, &head.cid);
    }
    out.into_bytes()
}

/// The heads that bytes from outside name: at most as many as a document may have lines, sorted,
/// each once. Whether any of them is true they do not say.
pub fn read_heads(data: &[u8]) -> Result<Vec<Head>, DecodeError> {
    let mut reader = Reader::new(data);
    let Item::Array(count) = reader.item()? else {
        return Err(reader.refuse("not a list"));
    };
    if count > LINES_MAX {
        return Err(reader.refuse("a clock of too many lines"));
    }
    let mut heads = Vec::with_capacity(count.min(data.len() / 76));
    for _ in 0..count {
        heads.push(read_head(&mut reader)?);
    }
    reader.finish()?;
    if !heads.is_sorted_by(|left, right| left < right) {
        return Err(reader.refuse("heads out of order, or one twice"));
    }
    Ok(heads)
}

fn read_head(reader: &mut Reader<'_>) -> Result<Head, DecodeError> {
    let fields = (
        reader.item()?,
        reader.item()?,
        reader.item()?,
        reader.item()?,
    );
    let (Item::Array(3), Item::Bytes(replica), Item::Unsigned(seq), Item::Link(cid)) = fields
    else {
        return Err(reader.refuse("a head is [replica, operations, CID]"));
    };
    let replica = replica.try_into().ok();
    match (replica, u32::try_from(seq), parse_change_cid(cid)) {
        (Some(replica), Ok(seq), Some(cid)) => Ok(Head { replica, seq, cid }),
        _ => Err(reader.refuse("a head of another form")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(replica: u8, seq: u32) -> Head {
        Head {
            replica: [replica; 32],
            seq,
            cid: [replica ^ 0xff; 32],
        }
    }

    #[test]
    fn heads_are_read_as_they_were_written() {
        let heads = [head(1, 0), head(1, 7), head(9, u32::MAX)];
        assert_eq!(read_heads(&write_heads(&heads)).unwrap(), heads);
        assert_eq!(read_heads(&write_heads(&[])).unwrap(), []);
    }

    #[test]
    fn holds_c15_clocks_that_are_none_are_refused() {
        let twice = write_heads(&[head(1, 7), head(1, 7)]);
        let unsorted = write_heads(&[head(2, 1), head(1, 7)]);
        let mut longer = write_heads(&[head(1, 7)]);
        longer.push(0);
        let giant = [&[0x9a, 0, 1, 0, 1], vec![0xf6; 65_537].as_slice()].concat();
        let boundless = vec![0x9a, 0xff, 0xff, 0xff, 0xff];
        for bad in [
            twice,
            unsorted,
            longer,
            giant,
            boundless,
            vec![0x81, 0x80],
            vec![],
        ] {
            assert!(read_heads(&bad).is_err());
        }
    }
}
