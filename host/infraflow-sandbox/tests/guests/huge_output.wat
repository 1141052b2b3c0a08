;; Returns a megabyte.
(func $body (result i32)
  (drop (memory.grow (i32.const 20)))
  (memory.fill (i32.const 131072) (i32.const 32) (i32.const 1000000))
  (call $ok (i32.const 131072) (i32.const 1000000)))
