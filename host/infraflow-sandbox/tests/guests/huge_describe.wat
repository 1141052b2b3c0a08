;; Describes itself with a name of 300,000 bytes.
(func (export "describe") (result i32)
  (drop (memory.grow (i32.const 8)))
  (i32.store (i32.const 8192) (i32.const 131072))
  (i32.store (i32.const 8196) (i32.const 300000))
  (i32.const 8192))
(func $body (result i32) (call $ok_text))
