"""The web page: for people with a browser; programs have the API."""
