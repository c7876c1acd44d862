"""What the Python benchmarks have in common: interleaved rounds, the table, and the JSON in `target/bench/`."""
