"""What is done to a system on a running loop, a file a subject. Each returns the values of its rows."""
