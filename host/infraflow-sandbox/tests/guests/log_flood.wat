;; Writes 100,000 lines as fast as it can.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func $body (result i32)
  (local $count i32)
  (local.set $count (i32.const 100000))
  (loop $again
    (call $log (i32.const 1) (i32.const 16384) (i32.const 4))
    (local.set $count (i32.sub (local.get $count) (i32.const 1)))
    (br_if $again (local.get $count)))
  (call $ok_text))
(data (i32.const 16384) "line")
