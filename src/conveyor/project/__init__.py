"""A checkout on a laptop or in a packaging job: its declarations, its git history, training and building.

Nothing here knows a server or a database. The pipeline calls the same functions as the command line, so that
a wheel is built in the same way at a desk and by a worker.
"""
