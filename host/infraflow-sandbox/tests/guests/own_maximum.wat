;; Grows over its own declared maximum, which is none of the host's business.
(memory (export "memory") 2 4)
(func $body (result i32)
  (if (result i32) (i32.eq (memory.grow (i32.const 3)) (i32.const -1))
    (then (call $ok_text))
    (else unreachable)))
