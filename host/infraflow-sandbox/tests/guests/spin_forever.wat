;; Computes for ever.
(func $body (result i32)
  (loop $again (br $again))
  unreachable)
