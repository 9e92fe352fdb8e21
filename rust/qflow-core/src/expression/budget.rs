//! What one evaluation may use up. Counted, never timed, so that a replay agrees on any machine.
//!
//! jaq asks its context for the program before each step that it runs, and asks our `Value` for
//! every operation on data: both charge here. Overrunning unwinds past jq's `try`, to `metered`.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::{ALLOCATED_BYTES_MAX, FUEL_MAX, LIVE_CONTEXTS_MAX, NESTING_MAX, STACK_BYTES_MAX};

/// The bound that an evaluation went over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Overrun {
    #[error("it takes more than {FUEL_MAX} steps")]
    Fuel,
    #[error("it takes more than {} MiB of memory", ALLOCATED_BYTES_MAX >> 20)]
    Memory,
    #[error("it calls itself too deeply")]
    Nesting,
    #[error("it keeps more than {LIVE_CONTEXTS_MAX} unfinished parts open")]
    Live,
    #[error(
        "a value is nested more than {} levels deep",
        crate::encoding::DEPTH_MAX
    )]
    Depth,
    #[error("its evaluation failed within the jq engine")]
    Engine,
}

#[derive(Clone, Copy)]
struct Meter {
    fuel: u64,
    bytes: u64,
    live: u32,
    stack: usize,
}

/// Outside of an evaluation nothing is bounded: values are also compared and built by their owner.
const UNBOUNDED: Meter = Meter {
    fuel: u64::MAX,
    bytes: u64::MAX,
    live: 0,
    stack: 0,
};

thread_local! {
    static METER: Cell<Meter> = const { Cell::new(UNBOUNDED) };
}

/// Run one evaluation with a full budget, and catch it when it overruns.
pub fn metered<T>(run: impl FnOnce() -> T) -> Result<T, Overrun> {
    let before = METER.get();
    METER.set(Meter {
        fuel: FUEL_MAX,
        bytes: ALLOCATED_BYTES_MAX,
        live: 0,
        stack: stack_address(),
    });
    let result = catch_unwind(AssertUnwindSafe(run));
    METER.set(before);
    result.map_err(|cause| cause.downcast_ref().copied().unwrap_or(Overrun::Engine))
}

/// End the evaluation. Nothing in jq can catch this.
pub fn overrun(bound: Overrun) -> ! {
    resume_unwind(Box::new(bound))
}

/// Take fuel: one unit a step, a comparison, an element.
#[inline]
pub fn charge(units: usize) {
    let mut meter = METER.get();
    match meter.fuel.checked_sub(units as u64) {
        Some(fuel) => meter.fuel = fuel,
        None => overrun(Overrun::Fuel),
    }
    METER.set(meter);
}

/// Take fuel for looking at that many bytes.
#[inline]
pub fn charge_read(bytes: usize) {
    charge(1 + bytes / 64);
}

/// Take memory, and fuel for filling it. What is freed is not given back: then the answer would
/// depend on when jaq lets go of a value.
#[inline]
pub fn charge_bytes(bytes: usize) {
    let mut meter = METER.get();
    match meter.bytes.checked_sub(bytes as u64) {
        Some(left) => meter.bytes = left,
        None => overrun(Overrun::Memory),
    }
    METER.set(meter);
    charge_read(bytes);
}

#[inline]
fn stack_address() -> usize {
    let here = 0_u8;
    std::hint::black_box(&raw const here) as usize
}

/// The place of one running context: how deep it is nested. Cloned with its context.
///
/// `nesting` counts the steps from the start down to here, so it is at least the number of native
/// stack frames below; loops and tail calls branch off the same context and do not add up.
pub struct Place {
    nesting: Cell<u32>,
}

impl Place {
    pub fn start() -> Self {
        Self::at(0)
    }

    fn at(nesting: u32) -> Self {
        let mut meter = METER.get();
        meter.live += 1;
        METER.set(meter);
        if meter.live > LIVE_CONTEXTS_MAX {
            // The new place is dropped while unwinding, which evens out the count.
            let _counted = Self {
                nesting: Cell::new(nesting),
            };
            overrun(Overrun::Live);
        }
        Self {
            nesting: Cell::new(nesting),
        }
    }

    /// One step of the program in this place.
    #[inline]
    pub fn step(&self) {
        charge(1);
        let nesting = self.nesting.get() + 1;
        self.nesting.set(nesting);
        // The stack depends on the build. It stops only what nests without steps in between: an
        // update through a path with a thousand parts.
        if nesting > NESTING_MAX || METER.get().stack.abs_diff(stack_address()) > STACK_BYTES_MAX {
            overrun(Overrun::Nesting);
        }
    }
}

impl Clone for Place {
    fn clone(&self) -> Self {
        Self::at(self.nesting.get())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut meter = METER.get();
        meter.live = meter.live.saturating_sub(1);
        METER.set(meter);
    }
}
