"""Messages on their way to receivers: posted, mailed, tried again."""
