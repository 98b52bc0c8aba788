"""What the store tells others: receivers, and the messages that events become."""
