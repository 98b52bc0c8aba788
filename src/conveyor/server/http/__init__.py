"""Parts that every handler needs: authentication, conditions of requests, answers and problems."""
