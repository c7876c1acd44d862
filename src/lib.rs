//! Supervised actors on pinned threads.
