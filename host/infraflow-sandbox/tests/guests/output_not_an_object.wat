;; Returns JSON that is no object.
(func $body (result i32) (call $ok (i32.const 16384) (i32.const 3)))
(data (i32.const 16384) "[1]")
