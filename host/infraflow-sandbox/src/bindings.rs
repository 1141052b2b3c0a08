//! What wasmtime makes of the contract. Nothing of it leaves this crate.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "step",
    imports: {
        // Never waits, so it needs no future.
        "infraflow:step/log": trappable,
        default: async | trappable,
    },
    exports: { default: async },
    trappable_error_type: {
        "infraflow:step/types.error" => crate::host::Failure,
    },
    ownership: Borrowing { duplicate_if_necessary: false },
    with: {
        "infraflow:step/http.response": crate::host::http::Response,
        "infraflow:step/artifacts.writer": crate::host::artifacts::Writer,
    },
});
