"""The jobs: packaging, testing, promotion, and what they share."""
