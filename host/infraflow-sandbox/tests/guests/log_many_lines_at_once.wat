;; Writes one message of a million line breaks.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $body (result i32)
  (drop (memory.grow (i32.const 16)))
  (memory.fill (i32.const 131072) (i32.const 10) (i32.const 1000000))
  (call $log (i32.const 3) (i32.const 131072) (i32.const 1000000))
  (call $ok_text))
