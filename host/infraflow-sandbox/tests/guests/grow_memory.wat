;; Takes memory until it gets no more, and goes on when it is refused.
(func $body (result i32)
  (loop $again
    (drop (memory.grow (i32.const 16)))
    (br $again))
  unreachable)
