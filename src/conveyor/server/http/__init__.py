"""What every handler needs: who asks, under which conditions, and how answers and problems are sent."""
