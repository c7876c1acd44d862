"""What is measured in this process."""
