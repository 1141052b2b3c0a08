;; Writes a file, then traps.
(import "infraflow:step/workspace@0.1.0" "write" (func $write (param i32 i32 i32 i32 i32)))
(func $body (result i32)
  (call $write (i32.const 16384) (i32.const 1) (i32.const 16384) (i32.const 1) (i32.const 8192))
  unreachable)
(data (i32.const 16384) "x")
