"""The store as one value, and what every operation needs: changes, facts, signatures."""
