;; Tries to use the host while it describes itself.
(import "infraflow:step/workspace@0.1.0" "list" (func $list (param i32 i32 i32)))
(import "infraflow:step/log@0.1.0" "write" (func $log (param i32 i32 i32)))
(func (export "describe") (result i32)
  (call $log (i32.const 1) (i32.const 16384) (i32.const 1))
  (call $list (i32.const 16384) (i32.const 1) (i32.const 8192))
  ;; The answer must be an error, and the error `not-granted`.
  (if (i32.ne (i32.load8_u (i32.const 8192)) (i32.const 1)) (then unreachable))
  (if (i32.load8_u (i32.const 8200)) (then unreachable))
  (i32.const 16640))
(func $body (result i32) (call $ok_text))
(data (i32.const 16384) "x")
(data (i32.const 16640)
  "\50\41\00\00\05\00\00\00" "\60\41\00\00\05\00\00\00" "\70\41\00\00\07\00\00\00"
  "\80\41\00\00\04\00\00\00" "\80\41\00\00\04\00\00\00" "\00\00\00\00\00\00\00\00"
  "\00\00")
(data (i32.const 16720) "guest")
(data (i32.const 16736) "1.0.0")
(data (i32.const 16752) "A guest")
(data (i32.const 16768) "true")
