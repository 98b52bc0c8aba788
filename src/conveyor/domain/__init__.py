"""Pure decisions: values in, values out. No clock, no randomness, no async; nothing is opened here.

Everything a rule needs (the time, a file's stream, a policy) is passed in as an argument. Threads are used in
one place, to read the members of a large wheel (``wheels``): they share nothing but its stream, and have
ended when the rule returns.
"""
