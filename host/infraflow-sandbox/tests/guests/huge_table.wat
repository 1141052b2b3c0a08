;; Declares a larger table than it may have.
(table $table 2000000 funcref)
(func $body (result i32) (call $ok_text))
