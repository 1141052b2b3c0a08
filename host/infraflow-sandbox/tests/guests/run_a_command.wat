;; Runs a command and fails whatever comes of it.
(import "infraflow:step/command@0.1.0" "run"
  (func $run (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(func $body (result i32)
  (call $run
    (i32.const 16384) (i32.const 1) ;; name
    (i32.const 0) (i32.const 0) ;; args
    (i32.const 0) (i32.const 0) ;; dir
    (i32.const 0) (i32.const 0) ;; env
    (i32.const 0) (i32.const 0) ;; secret-env
    (i32.const 0) (i32.const 0) (i32.const 0) ;; stdin
    (i32.const 8192))
  (call $fail (i32.const 16384) (i32.const 1)))
(data (i32.const 16384) "x")
