"""The store as one value, and the parts that every operation needs: changes, facts, signatures."""
