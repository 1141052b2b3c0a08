;; Writes a masked value.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $body (result i32)
  (call $log (i32.const 1) (i32.const 16384) (i32.const 23))
  (call $ok_text))
(data (i32.const 16384) "a masked-secret-value b")
