//! The whole product, from outside: the real program, a real NATS server, real
//! tools. Each test has a host of its own in a folder of its own.
