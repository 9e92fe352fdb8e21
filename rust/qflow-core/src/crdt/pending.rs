//! Changes that came before what they name.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Cid;

/// Changes of one document that may wait.
pub const WAITING_MAX: usize = 4_096;
/// Their bytes together.
pub const WAITING_BYTES_MAX: usize = 16 << 20;

/// There is no room to wait in: the change is to be sent again after what it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many changes wait for others: send this one again after those it names")]
pub struct Busy;

#[derive(Clone, Debug)]
struct Waiting<T> {
    change: T,
    cid: Cid,
    bytes: usize,
    /// All that was not there when it came.
    named: Box<[Cid]>,
    /// How many of those are not there yet.
    missing: usize,
}

/// Changes that wait, by what they wait for. None leaves but by [`Pending::arrived`] and
/// [`Pending::refused`], so none is lost in silence.
#[derive(Clone, Debug)]
pub struct Pending<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
    cids: BTreeSet<Cid>,
    by_missing: BTreeMap<Cid, BTreeSet<u64>>,
    bytes: usize,
    next: u64,
}

impl<T> Default for Pending<T> {
    fn default() -> Self {
        let (waiting, cids, by_missing) = Default::default();
        Self {
            waiting,
            cids,
            by_missing,
            bytes: 0,
            next: 0,
        }
    }
}

impl<T> Pending<T> {
    /// Keeps a change until all that is missing has arrived; false if it waits already.
    ///
    /// # Errors
    ///
    /// [`Busy`] at the bound; nothing is kept then.
    pub fn wait(
        &mut self,
        cid: Cid,
        bytes: usize,
        change: T,
        missing: &[Cid],
    ) -> Result<bool, Busy> {
        if self.cids.contains(&cid) {
            return Ok(false);
        }
        if self.waiting.len() >= WAITING_MAX || self.bytes + bytes > WAITING_BYTES_MAX {
            return Err(Busy);
        }
        let number = self.next;
        self.next += 1;
        let mut named = missing.to_vec();
        named.sort_unstable();
        named.dedup();
        for cid in &named {
            self.by_missing.entry(*cid).or_default().insert(number);
        }
        self.waiting.insert(
            number,
            Waiting {
                change,
                cid,
                bytes,
                missing: named.len(),
                named: named.into(),
            },
        );
        self.cids.insert(cid);
        self.bytes += bytes;
        Ok(true)
    }

    /// Something was added: gives up those that waited for nothing else, in the order in which
    /// they came.
    pub fn arrived(&mut self, cid: &Cid) -> Vec<T> {
        let numbers = self.by_missing.remove(cid).unwrap_or_default();
        let mut free = Vec::new();
        for number in numbers {
            let Some(waiting) = self.waiting.get_mut(&number) else {
                continue;
            };
            waiting.missing -= 1;
            if waiting.missing == 0 {
                free.extend(self.take(number).map(|waiting| waiting.change));
            }
        }
        free
    }

    /// Something was refused for good: gives up all that waited for it, directly or through each
    /// other, for their senders to be told.
    pub fn refused(&mut self, cid: &Cid) -> Vec<T> {
        let mut open = vec![*cid];
        let mut lost = Vec::new();
        while let Some(cid) = open.pop() {
            for number in self.by_missing.remove(&cid).unwrap_or_default() {
                let Some(waiting) = self.take(number) else {
                    continue;
                };
                for named in &waiting.named {
                    self.forget(named, number);
                }
                open.push(waiting.cid);
                lost.push(waiting.change);
            }
        }
        lost
    }

    /// One change does not wait for another any more.
    fn forget(&mut self, missing: &Cid, number: u64) {
        if let Entry::Occupied(mut waiters) = self.by_missing.entry(*missing) {
            waiters.get_mut().remove(&number);
            if waiters.get().is_empty() {
                waiters.remove();
            }
        }
    }

    fn take(&mut self, number: u64) -> Option<Waiting<T>> {
        let waiting = self.waiting.remove(&number)?;
        self.cids.remove(&waiting.cid);
        self.bytes -= waiting.bytes;
        Some(waiting)
    }

    /// What has to arrive before anything here can go on, sorted; changes that wait here too are
    /// not among it.
    pub fn missing(&self) -> impl Iterator<Item = &Cid> {
        self.by_missing
            .keys()
            .filter(|cid| !self.cids.contains(*cid))
    }

    #[must_use]
    pub fn contains(&self, cid: &Cid) -> bool {
        self.cids.contains(cid)
    }

    /// The changes that wait, in the order in which they came.
    pub fn changes(&self) -> impl Iterator<Item = &T> {
        self.waiting.values().map(|waiting| &waiting.change)
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cid(number: u8) -> Cid {
        [number; 32]
    }

    #[test]
    fn a_change_is_free_when_the_last_of_what_it_names_arrived() {
        let mut pending = Pending::default();
        assert_eq!(pending.wait(cid(3), 10, 'c', &[cid(1), cid(2)]), Ok(true));
        assert_eq!(pending.wait(cid(3), 10, 'c', &[cid(1), cid(2)]), Ok(false));
        assert_eq!(pending.wait(cid(4), 10, 'd', &[cid(3)]), Ok(true));
        assert_eq!(pending.missing().collect::<Vec<_>>(), [&cid(1), &cid(2)]);
        assert!(pending.arrived(&cid(1)).is_empty());
        assert_eq!(pending.arrived(&cid(2)), ['c']);
        assert_eq!(pending.arrived(&cid(3)), ['d']);
        assert_eq!((pending.len(), pending.bytes()), (0, 0));
    }

    #[test]
    fn what_waits_for_a_refused_change_is_given_up_with_it() {
        let mut pending = Pending::default();
        pending
            .wait(cid(3), 10, 'c', &[cid(1), cid(2)])
            .expect("there is room");
        pending
            .wait(cid(4), 10, 'd', &[cid(3)])
            .expect("there is room");
        pending
            .wait(cid(5), 10, 'e', &[cid(2)])
            .expect("there is room");
        assert_eq!(pending.refused(&cid(1)), ['c', 'd']);
        assert_eq!(pending.arrived(&cid(2)), ['e']);
        assert!(pending.is_empty() && pending.missing().next().is_none());
    }

    #[test]
    fn a_refused_change_costs_no_look_at_what_does_not_wait_for_it() {
        let mut pending = Pending::default();
        let wait = |pending: &mut Pending<char>, number, change, missing: &[Cid]| {
            pending.wait(cid(number), 10, change, missing)
        };
        assert_eq!(wait(&mut pending, 4, 'd', &[cid(1), cid(2)]), Ok(true));
        assert_eq!(wait(&mut pending, 5, 'e', &[cid(2), cid(3)]), Ok(true));
        // Whoever looks at this entry sees that nothing waits any more, and takes it away.
        pending.by_missing.entry(cid(9)).or_default();
        assert!(pending.refused(&cid(7)).is_empty());
        assert_eq!(pending.refused(&cid(1)), ['d']);
        assert_eq!(
            pending.missing().collect::<Vec<_>>(),
            [&cid(2), &cid(3), &cid(9)]
        );
        assert_eq!(pending.refused(&cid(3)), ['e']);
        assert_eq!(pending.missing().collect::<Vec<_>>(), [&cid(9)]);
    }

    #[test]
    fn holds_c15_a_flood_of_unknown_dependencies_is_bounded_and_told() {
        let mut pending = Pending::default();
        for number in 0..WAITING_MAX as u64 {
            let mut cid = [0; 32];
            cid[..8].copy_from_slice(&number.to_le_bytes());
            assert_eq!(pending.wait(cid, 100, number, &[[255; 32]]), Ok(true));
        }
        assert_eq!(pending.wait(cid(9), 100, 0, &[cid(1)]), Err(Busy));
        assert_eq!(pending.arrived(&[255; 32]).len(), WAITING_MAX);
        assert_eq!(
            pending.wait(cid(9), WAITING_BYTES_MAX + 1, 0, &[cid(1)]),
            Err(Busy)
        );
        assert_eq!(
            pending.wait(cid(9), WAITING_BYTES_MAX, 0, &[cid(1)]),
            Ok(true)
        );
        assert_eq!(pending.wait(cid(8), 1, 0, &[cid(1)]), Err(Busy));
    }
}
