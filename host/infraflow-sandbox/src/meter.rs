//! What one attempt has used of its limits.
//!
//! Time is counted in ticks that fall while the guest computes. A tick that
//! falls into a host call is free: a guest that waits half an hour for a
//! playbook has computed nothing. The wall clock is not looked at here.

use std::sync::Arc;

use infraflow_core::limits::GUEST_TABLE_ELEMENTS;
use infraflow_core::ports::PluginLimits;
use infraflow_core::tool::{CallError, Unit};
use wasmtime::ResourceLimiter;

use crate::limits::{INSTANCES, MEMORIES, TABLES, TICK};
use crate::ticker::Clock;

/// A limit that was hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its value.
    pub(crate) value: u64,
    /// The unit of the value.
    pub(crate) unit: Unit,
}

impl Exceeded {
    /// A limit in bytes.
    pub(crate) fn bytes(name: &'static str, value: u64) -> Self {
        let unit = Unit::Bytes;
        Self { name, value, unit }
    }
}

impl From<Exceeded> for CallError {
    fn from(limit: Exceeded) -> Self {
        Self::LimitExceeded {
            name: limit.name,
            value: limit.value,
            unit: limit.unit,
        }
    }
}

/// What ends a guest from within; why is in the meter or the state.
#[derive(Debug, thiserror::Error)]
#[error("the guest was ended")]
pub(crate) struct Ended;

/// Counts what an attempt uses.
#[derive(Debug)]
pub(crate) struct Meter {
    clock: Arc<Clock>,
    /// Up to which tick time has been accounted for.
    accounted: u64,
    cpu_ticks: u64,
    cpu_ticks_max: u64,
    calls: u64,
    memory_bytes: u64,
    table_elements: usize,
    limits: PluginLimits,
    exceeded: Option<Exceeded>,
}

impl Meter {
    /// A meter at zero.
    pub(crate) fn new(clock: &Arc<Clock>, limits: PluginLimits) -> Self {
        let ticks = limits.cpu.as_nanos().div_ceil(TICK.as_nanos());
        Self {
            clock: Arc::clone(clock),
            accounted: clock.now(),
            cpu_ticks: 0,
            cpu_ticks_max: u64::try_from(ticks).unwrap_or(u64::MAX),
            calls: 0,
            memory_bytes: 0,
            table_elements: 0,
            limits,
            exceeded: None,
        }
    }

    /// The clock that it counts by.
    pub(crate) fn clock(&self) -> &Arc<Clock> {
        &self.clock
    }

    /// The limits that it holds.
    pub(crate) fn limits(&self) -> &PluginLimits {
        &self.limits
    }

    /// The limit that ended the guest, when one did.
    pub(crate) fn exceeded(&self) -> Option<Exceeded> {
        self.exceeded
    }

    /// Counts a tick that fell since the last look, while the guest computed.
    ///
    /// However many fell it is one: a guest that waited for its turn on a busy
    /// host has not computed meanwhile, and one that computes is looked at on
    /// every tick.
    ///
    /// # Errors
    /// [`Exceeded`] when the time is used up.
    pub(crate) fn account(&mut self) -> Result<(), Exceeded> {
        let now = self.clock.now();
        if now > self.accounted {
            self.accounted = now;
            self.cpu_ticks += 1;
        }
        if self.cpu_ticks > self.cpu_ticks_max {
            let millis = u64::try_from(self.limits.cpu.as_millis()).unwrap_or(u64::MAX);
            return Err(self.note(Exceeded {
                name: "cpu_ms",
                value: millis,
                unit: Unit::Millis,
            }));
        }
        Ok(())
    }

    /// Takes the ticks since the last look as those of a host call.
    pub(crate) fn forgive(&mut self) {
        self.accounted = self.clock.now();
    }

    /// Counts a host call.
    ///
    /// # Errors
    /// [`Exceeded`] when it is one too many.
    pub(crate) fn count_call(&mut self) -> Result<(), Exceeded> {
        self.calls += 1;
        if self.calls > self.limits.calls {
            return Err(self.note(Exceeded {
                name: "calls",
                value: self.limits.calls,
                unit: Unit::Calls,
            }));
        }
        Ok(())
    }

    fn note(&mut self, limit: Exceeded) -> Exceeded {
        self.exceeded = Some(limit);
        limit
    }

    fn end(&mut self, limit: Exceeded) -> wasmtime::Error {
        self.note(limit);
        wasmtime::Error::new(Ended)
    }
}

/// Memory and tables. A guest that grows over its limit is ended instead of
/// being told no: what a guest does after a refused growth is most often a trap
/// that says nothing.
impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            // Its own declared maximum: its own affair.
            return Ok(false);
        }
        let grown = u64::try_from(desired.saturating_sub(current)).unwrap_or(u64::MAX);
        let total = self.memory_bytes.saturating_add(grown);
        if total > self.limits.memory_bytes {
            let limit = Exceeded::bytes("memory_bytes", self.limits.memory_bytes);
            return Err(self.end(limit));
        }
        self.memory_bytes = total;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|own| desired > own && own < GUEST_TABLE_ELEMENTS) {
            return Ok(false);
        }
        let total = self
            .table_elements
            .saturating_add(desired.saturating_sub(current));
        if total > GUEST_TABLE_ELEMENTS {
            return Err(self.end(Exceeded {
                name: "table_elements",
                value: u64::try_from(GUEST_TABLE_ELEMENTS).unwrap_or(u64::MAX),
                unit: Unit::Items,
            }));
        }
        self.table_elements = total;
        Ok(true)
    }

    fn instances(&self) -> usize {
        to_usize(INSTANCES)
    }

    fn tables(&self) -> usize {
        to_usize(TABLES)
    }

    fn memories(&self) -> usize {
        to_usize(MEMORIES)
    }
}

fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn meter(limits: PluginLimits) -> (Arc<Clock>, Meter) {
        let clock = Arc::new(Clock::default());
        let meter = Meter::new(&clock, limits);
        (clock, meter)
    }

    #[test]
    fn ticks_count_while_the_guest_computes_and_not_in_calls() {
        let cpu = TICK * 3;
        let (clock, mut meter) = meter(PluginLimits {
            cpu,
            ..PluginLimits::default()
        });
        for _ in 0..1_000 {
            clock.tick();
            meter.forgive();
            meter.account().unwrap();
        }
        for _ in 0..3 {
            clock.tick();
            meter.account().unwrap();
            meter.account().unwrap();
        }
        clock.tick();
        let limit = meter.account().unwrap_err();
        assert_eq!(
            CallError::from(limit).to_string(),
            "limit `cpu_ms` of 30 ms exceeded"
        );
        assert_eq!(meter.exceeded(), Some(limit));
    }

    #[test]
    fn waiting_for_a_turn_costs_one_tick() {
        let (clock, mut meter) = meter(PluginLimits {
            cpu: TICK,
            ..PluginLimits::default()
        });
        for _ in 0..50 {
            clock.tick();
        }
        meter.account().unwrap();
        clock.tick();
        assert!(meter.account().is_err());
    }

    #[test]
    fn a_part_of_a_tick_is_a_tick() {
        let (clock, mut meter) = meter(PluginLimits {
            cpu: Duration::from_millis(1),
            ..PluginLimits::default()
        });
        clock.tick();
        meter.account().unwrap();
        clock.tick();
        assert!(meter.account().is_err());
    }

    #[test]
    fn calls_at_the_limit_and_one_past_it() {
        let (_, mut meter) = meter(PluginLimits {
            calls: 2,
            ..PluginLimits::default()
        });
        meter.count_call().unwrap();
        meter.count_call().unwrap();
        let limit = meter.count_call().unwrap_err();
        assert_eq!((limit.name, limit.value), ("calls", 2));
    }

    #[test]
    fn memory_is_summed_over_memories() {
        let page = 65_536;
        let (_, mut meter) = meter(PluginLimits {
            memory_bytes: 3 * 65_536,
            ..PluginLimits::default()
        });
        assert!(meter.memory_growing(0, 2 * page, None).unwrap());
        assert!(!meter.memory_growing(0, 2 * page, Some(page)).unwrap());
        assert!(meter.memory_growing(0, page, None).unwrap());
        assert!(meter.memory_growing(page, 2 * page, None).is_err());
        let limit = meter.exceeded().unwrap();
        assert_eq!((limit.name, limit.value), ("memory_bytes", 3 * 65_536));
    }

    #[test]
    fn table_elements_at_the_limit_and_one_past_it() {
        let (_, mut meter) = meter(PluginLimits::default());
        assert!(meter.table_growing(0, GUEST_TABLE_ELEMENTS, None).unwrap());
        assert!(meter.table_growing(0, 1, None).is_err());
        assert_eq!(meter.exceeded().unwrap().name, "table_elements");
    }
}
