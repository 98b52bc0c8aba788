"""What the store tells others: who is told of what, and the messages."""
