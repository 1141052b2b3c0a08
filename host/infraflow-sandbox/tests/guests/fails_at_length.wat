;; Fails with a message of 100,000 bytes.
(func $body (result i32)
  (drop (memory.grow (i32.const 4)))
  (memory.fill (i32.const 131072) (i32.const 120) (i32.const 100000))
  (call $fail (i32.const 131072) (i32.const 100000)))
