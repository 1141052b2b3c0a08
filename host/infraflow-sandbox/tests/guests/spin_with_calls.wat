;; Computes for ever, and makes a host call now and then: a call does not give
;; time back.
(import "infraflow:step/workspace@0.1.0" "list" (func $list (param i32 i32 i32)))
(func $body (result i32)
  (local $count i32)
  (loop $again
    (local.set $count (i32.const 2000000))
    (loop $work
      (local.set $count (i32.sub (local.get $count) (i32.const 1)))
      (br_if $work (local.get $count)))
    (call $list (i32.const 16384) (i32.const 1) (i32.const 8192))
    (br $again))
  unreachable)
(data (i32.const 16384) "x")
