;; Grows a table until it gets no more, and goes on when it is refused.
(table $table 1 funcref)
(func $body (result i32)
  (loop $again
    (drop (table.grow $table (ref.null func) (i32.const 1000)))
    (br $again))
  unreachable)
