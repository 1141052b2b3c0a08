;; The smallest component that does what a step does: takes a text, makes three
;; host calls with it, returns a text. `bare.wasm` is its binary form.
(component
  (import "host" (instance $host
    (export "call" (func (param "text" string)))))
  (alias export $host "call" (func $call))
  (core module $Memory
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024)))
  (core instance $memory (instantiate $Memory))
  (core func $lowered (canon lower (func $call) (memory (core memory $memory "memory"))))
  (core module $Main
    (import "memory" "memory" (memory 1))
    (import "host" "call" (func $call (param i32 i32)))
    (func (export "run") (param $at i32) (param $length i32) (result i32)
      (call $call (local.get $at) (local.get $length))
      (call $call (local.get $at) (local.get $length))
      (call $call (local.get $at) (local.get $length))
      (i32.store (i32.const 16) (local.get $at))
      (i32.store (i32.const 20) (local.get $length))
      (i32.const 16)))
  (core instance $main (instantiate $Main
    (with "memory" (instance $memory))
    (with "host" (instance (export "call" (func $lowered))))))
  (func (export "run") (param "text" string) (result string)
    (canon lift (core func $main "run")
      (memory (core memory $memory "memory")) (realloc (core func $memory "realloc")))))
