//! A TCP proxy that breaks connections as it is told.
