"""What carries a job: durable steps, isolation, and who the worker is."""
