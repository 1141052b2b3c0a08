//! The WebAssembly engine: how guests are compiled, and where they live.

use infraflow_core::limits::GUEST_TABLE_ELEMENTS;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig};

use crate::error::SandboxError;
use crate::limits::{DESCRIBING, INSTANCES, KEPT_RESIDENT, MEMORIES, STACK, TABLES};

/// How much address space a place takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Places {
    /// 4 GiB a memory: every address that a guest can form is inside, so its
    /// loads and stores need no check.
    Wide,
    /// 256 MiB a memory, with a check at every load and store: for machines
    /// with small addresses or a limit on them.
    Compact,
}

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

impl Places {
    fn memory_reservation(self) -> u64 {
        match self {
            Self::Wide => 4 * GIB,
            Self::Compact => 256 * MIB,
        }
    }

    fn memory_guard(self) -> u64 {
        match self {
            Self::Wide => 32 * MIB,
            Self::Compact => 64 * 1024,
        }
    }
}

/// Makes an engine with places for so many plugins at the same time. Falls back
/// to compact places when the address space is too small for wide ones.
///
/// # Errors
/// When the processor or the kernel lacks something.
pub(crate) fn new_engine(places: u32) -> Result<Engine, SandboxError> {
    let engine = |shape| Engine::new(&config(shape, places));
    engine(Places::Wide)
        .or_else(|wide| {
            tracing::warn!(
                error = %wide.root_cause(),
                "address space is too small for wide places, plugins run slower"
            );
            engine(Places::Compact)
        })
        .map_err(|source| SandboxError::Engine { places, source })
}

fn config(shape: Places, places: u32) -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .cranelift_opt_level(OptLevel::Speed)
        .max_wasm_stack(STACK.to_usize())
        .memory_reservation(shape.memory_reservation())
        .memory_guard_size(shape.memory_guard())
        // A trap is reported by its kind: nothing maps machine code back.
        .generate_address_map(false)
        .native_unwind_info(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(shape, places)));
    config
}

fn pool(shape: Places, places: u32) -> PoolingAllocationConfig {
    let places = places.saturating_add(DESCRIBING);
    let all = |each: u32| places.saturating_mul(each);
    let memory_bytes = usize::try_from(shape.memory_reservation()).unwrap_or(usize::MAX);
    let mut pool = PoolingAllocationConfig::new();
    // Nearly every component has one memory, and one table beside those of the
    // encoder's glue; twice that leaves room for the others.
    pool.total_component_instances(places)
        .total_core_instances(all(INSTANCES))
        .total_memories(all(2))
        .total_tables(all(4))
        .total_stacks(places)
        .max_core_instances_per_component(INSTANCES)
        .max_memories_per_component(MEMORIES)
        .max_memories_per_module(2)
        .max_tables_per_component(TABLES)
        .max_tables_per_module(8)
        .table_elements(GUEST_TABLE_ELEMENTS)
        .max_memory_size(memory_bytes)
        .linear_memory_keep_resident(KEPT_RESIDENT.to_usize())
        .table_keep_resident(KEPT_RESIDENT.to_usize());
    pool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_make_an_engine() {
        for shape in [Places::Wide, Places::Compact] {
            Engine::new(&config(shape, 8)).unwrap();
        }
    }

    #[test]
    fn more_places_than_any_machine_has_room_for_is_an_error() {
        let error = new_engine(u32::MAX).unwrap_err();
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
