;; Lists a folder; fails when the answer is an error.
(import "infraflow:step/workspace@0.1.0" "list" (func $list (param i32 i32 i32)))
(func $body (result i32)
  (call $list (i32.const 16384) (i32.const 1) (i32.const 8192))
  (if (result i32) (i32.load8_u (i32.const 8192))
    (then (call $fail (i32.const 16384) (i32.const 1)))
    (else (call $ok_text))))
(data (i32.const 16384) "x")
