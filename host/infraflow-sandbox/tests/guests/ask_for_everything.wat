;; Asks for a thousand secrets of different names.
(import "infraflow:step/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))
(func $body (result i32)
  (local $count i32)
  (loop $again
    (i32.store8 (i32.const 16385)
      (i32.add (i32.const 97) (i32.rem_u (local.get $count) (i32.const 26))))
    (i32.store8 (i32.const 16386)
      (i32.add (i32.const 97) (i32.div_u (local.get $count) (i32.const 40))))
    (call $get (i32.const 16384) (i32.const 3) (i32.const 8192))
    (local.set $count (i32.add (local.get $count) (i32.const 1)))
    (br_if $again (i32.lt_u (local.get $count) (i32.const 1000))))
  (call $ok_text))
(data (i32.const 16384) "xyz")
