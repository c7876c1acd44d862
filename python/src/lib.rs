//! `ironcliw._native`: the Python face of Ironcliw.
