"""The foundations of a job: durable steps, isolation, and the worker's identity."""
