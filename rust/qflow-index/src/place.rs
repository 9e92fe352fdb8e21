//! Where the records of a chain, and those of a stretch of the log, are.

use crate::packed::{Packer, Unpacker};

/// Where one record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// In the log.
    pub index: u64,
    pub address: u64,
    /// The address of its payload, when that is known.
    pub payload: Option<u64>,
}

/// Consecutive records of one chain as one row.
#[must_use]
pub fn pack_run(chain: &[u8; 16], first_seq: u64, places: &[Place]) -> Vec<u8> {
    let mut out = Packer::new(&[chain, &first_seq.to_le_bytes()]);
    let (mut index, mut address) = (0u64, 0u64);
    out.number(places.len() as u64);
    for place in places {
        out.number(place.index.wrapping_sub(index));
        out.number(place.address.wrapping_sub(address));
        let payload = place
            .payload
            .map(|payload| payload.wrapping_sub(place.address));
        out.number(u64::from(payload.is_some()));
        if let Some(away) = payload {
            out.signed(away as i64);
        }
        (index, address) = (place.index, place.address);
    }
    out.finish()
}

/// The places of a run. None: it is not what was packed.
#[must_use]
pub fn unpack_run(chain: &[u8; 16], first_seq: u64, row: &[u8]) -> Option<Vec<Place>> {
    let mut row = Unpacker::new(&[chain, &first_seq.to_le_bytes()], row)?;
    let count = row.count()?;
    let (mut index, mut address) = (0u64, 0u64);
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        index = index.wrapping_add(row.number()?);
        address = address.wrapping_add(row.number()?);
        let payload = match row.number()? {
            0 => None,
            _ => Some(address.wrapping_add(row.signed()? as u64)),
        };
        places.push(Place {
            index,
            address,
            payload,
        });
    }
    row.finish().map(|()| places)
}

/// The addresses of consecutive records of the log from index `first` on.
#[must_use]
pub fn pack_addresses(number: u64, first: u64, addresses: &[u64]) -> Vec<u8> {
    let mut out = Packer::new(&[&number.to_le_bytes()]);
    out.number(first);
    out.number(addresses.len() as u64);
    let mut before = 0u64;
    for address in addresses {
        out.number(address.wrapping_sub(before));
        before = *address;
    }
    out.finish()
}

/// The first index, and the addresses. None: it is not what was packed.
#[must_use]
pub fn unpack_addresses(number: u64, row: &[u8]) -> Option<(u64, Vec<u64>)> {
    let mut row = Unpacker::new(&[&number.to_le_bytes()], row)?;
    let (first, count) = (row.number()?, row.count()?);
    let (mut address, mut addresses) = (0u64, Vec::with_capacity(count));
    for _ in 0..count {
        address = address.wrapping_add(row.number()?);
        addresses.push(address);
    }
    row.finish().map(|()| (first, addresses))
}

/// From when to when (UTC milliseconds) the records of consecutive chunks are, as one row.
#[must_use]
pub fn pack_span(number: u64, first: u64, times: &[(u64, u64)]) -> Vec<u8> {
    let mut out = Packer::new(&[&number.to_le_bytes()]);
    out.number(first);
    out.number(times.len() as u64);
    let mut before = 0u64;
    for (least, most) in times {
        out.signed(least.wrapping_sub(before) as i64);
        out.number(most.wrapping_sub(*least));
        before = *least;
    }
    out.finish()
}

/// The number of the first chunk, and the times of each. None: it is not what was packed.
#[must_use]
pub fn unpack_span(number: u64, row: &[u8]) -> Option<(u64, Vec<(u64, u64)>)> {
    let mut row = Unpacker::new(&[&number.to_le_bytes()], row)?;
    let (first, count) = (row.number()?, row.count()?);
    let (mut least, mut times) = (0u64, Vec::with_capacity(count));
    for _ in 0..count {
        least = least.wrapping_add(row.signed()? as u64);
        times.push((least, least.wrapping_add(row.number()?)));
    }
    row.finish().map(|()| (first, times))
}

/// Chunks of one span.
pub const SPAN_CHUNKS: u64 = 256;

/// A span with some more chunks, the first of which is `chunk`. None: the row is not what was
/// packed, or does not end before that chunk.
#[must_use]
pub fn extend_span(
    number: u64,
    row: Option<&[u8]>,
    chunk: u64,
    times: &[(u64, u64)],
) -> Option<Vec<u8>> {
    let (first, mut all) = match row {
        Some(row) => unpack_span(number, row)?,
        None => (chunk, Vec::new()),
    };
    all.extend_from_slice(times);
    let fits = first + (all.len() - times.len()) as u64 == chunk;
    fits.then(|| pack_span(number, first, &all))
}

/// The chunks from `first` to before `end` that may hold a record from `since` to before `until`.
/// None: a row is not what was packed, or a chunk is missing.
pub fn select_chunks<'a>(
    rows: impl IntoIterator<Item = (u64, &'a [u8])>,
    first: u64,
    end: u64,
    since: Option<u64>,
    until: Option<u64>,
) -> Option<Vec<u64>> {
    let (mut next, mut found) = (first, Vec::new());
    for (number, row) in rows {
        let (chunk, times) = unpack_span(number, row)?;
        if chunk != next {
            return None;
        }
        for (least, most) in times {
            if since.is_none_or(|since| most >= since) && until.is_none_or(|until| least < until) {
                found.push(next);
            }
            next += 1;
        }
    }
    (next == end).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::{
        Place, pack_addresses, pack_run, pack_span, unpack_addresses, unpack_run, unpack_span,
    };
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_hold_what_was_packed(
            seq in any::<u64>(), number in any::<u64>(),
            places in prop::collection::vec(any::<(u64, u64, Option<u64>)>(), 0..20),
            times in prop::collection::vec((any::<u64>(), any::<u64>()), 0..20),
        ) {
            let places: Vec<Place> = places
                .into_iter()
                .map(|(index, address, payload)| Place { index, address, payload })
                .collect();
            let addresses: Vec<u64> = places.iter().map(|place| place.address).collect();
            let row = pack_run(&[7; 16], seq, &places);
            prop_assert_eq!(unpack_run(&[7; 16], seq, &row), Some(places));
            prop_assert_eq!(unpack_run(&[8; 16], seq, &row), None);
            let row = pack_addresses(number, seq, &addresses);
            prop_assert_eq!(unpack_addresses(number, &row), Some((seq, addresses)));
            let row = pack_span(number, seq, &times);
            prop_assert_eq!(unpack_span(number, &row), Some((seq, times)));
        }
    }
}
