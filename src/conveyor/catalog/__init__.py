"""All SQL of the store and nothing else: one function is one statement, or one unit that must stay together.

In this room: the tables, the connection and its transaction, and per noun the statements on it. Not here:
decisions (``domain``), the order of steps and the extent of transactions (``operations``), bytes (``blobs``).
"""
