"""A checkout on a laptop or in a packaging job: what it declares, its git history, training and building.

Nothing here knows a server or a database. The pipeline calls the same functions as the command line, so
that a wheel built at a desk and one built by a worker come about in the same way.
"""
