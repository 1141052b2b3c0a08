;; Fails with an empty message, and with outputs that are no JSON.
(func $body (result i32)
  (drop (call $fail (i32.const 16384) (i32.const 0)))
  (i32.store8 (i32.const 536) (i32.const 1))
  (i32.store (i32.const 540) (i32.const 16384))
  (i32.store (i32.const 544) (i32.const 3))
  (i32.const 512))
(data (i32.const 16384) "x y")
