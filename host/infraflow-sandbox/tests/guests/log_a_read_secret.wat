;; Reads a secret and writes it to the log.
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(import "infraflow:step/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))
(func $body (result i32)
  (call $get (i32.const 16384) (i32.const 5) (i32.const 8192))
  (if (i32.load8_u (i32.const 8192)) (then unreachable))
  (call $log (i32.const 1) (i32.load (i32.const 8200)) (i32.load (i32.const 8204)))
  (call $ok_text))
(data (i32.const 16384) "token")
