;; Writes one message that is larger than the arguments of a call may be.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $body (result i32)
  (drop (memory.grow (i32.const 200)))
  (call $log (i32.const 1) (i32.const 131072) (i32.const 8388609))
  (call $ok_text))
