//! A house for tests that need both worlds: the simulator and the library.
