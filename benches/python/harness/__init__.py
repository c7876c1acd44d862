"""What the Python benchmarks have in common: interleaved rounds, the table, and its JSON."""
