;; Asks for two things, ignores the answers and succeeds.
(import "infraflow:step/workspace@0.1.0" "list" (func $list (param i32 i32 i32)))
(import "infraflow:step/secrets@0.1.0" "get" (func $get (param i32 i32 i32)))
(func $body (result i32)
  (call $list (i32.const 16384) (i32.const 1) (i32.const 8192))
  (call $get (i32.const 16384) (i32.const 1) (i32.const 8192))
  (call $get (i32.const 16384) (i32.const 1) (i32.const 8192))
  (call $ok_text))
(data (i32.const 16384) "x")
