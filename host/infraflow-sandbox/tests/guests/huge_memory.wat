;; Declares more memory than it may have: 512 MiB.
(memory (export "memory") 8192)
(func $body (result i32) (call $ok_text))
