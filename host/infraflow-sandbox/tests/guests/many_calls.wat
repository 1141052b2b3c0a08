;; Makes one call after the other.
(import "infraflow:step/workspace@0.1.0" "list" (func $list (param i32 i32 i32)))
(func $body (result i32)
  (loop $again
    (call $list (i32.const 16384) (i32.const 1) (i32.const 8192))
    (br $again))
  unreachable)
(data (i32.const 16384) "x")
