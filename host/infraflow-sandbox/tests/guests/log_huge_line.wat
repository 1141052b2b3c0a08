;; Writes one line of 5 MB, without a line break at its end.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $body (result i32)
  (drop (memory.grow (i32.const 100)))
  (memory.fill (i32.const 131072) (i32.const 120) (i32.const 5000000))
  (call $log (i32.const 1) (i32.const 131072) (i32.const 5000000))
  (call $ok_text))
