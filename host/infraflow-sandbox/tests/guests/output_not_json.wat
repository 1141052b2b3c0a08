;; Returns a text that is no JSON.
(func $body (result i32) (call $ok (i32.const 16384) (i32.const 5)))
(data (i32.const 16384) "hello")
