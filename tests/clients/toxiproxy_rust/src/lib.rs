//! Nothing: the tests are the client's own.
