;; Gives a list of 100,000 texts that are all the same mebibyte: 100 GB, if
;; somebody copied it.
(import "infraflow:step/ansible@0.1.0" "ping" (func $ping (param i32 i32)))
(func $body (result i32)
  (local $at i32)
  (drop (memory.grow (i32.const 64)))
  (local.set $at (i32.const 131072))
  (loop $again
    (i32.store (local.get $at) (i32.const 2097152))
    (i32.store offset=4 (local.get $at) (i32.const 1048576))
    (local.set $at (i32.add (local.get $at) (i32.const 8)))
    (br_if $again (i32.lt_u (local.get $at) (i32.const 931072))))
  (i32.store (i32.const 8192) (i32.const 131072))
  (i32.store (i32.const 8196) (i32.const 100000))
  (call $ping (i32.const 8192) (i32.const 12288))
  (call $ok_text))
