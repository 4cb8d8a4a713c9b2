"""What the metrics themselves are worth, one question a file."""
