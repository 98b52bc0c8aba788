"""Pure decisions: values in, values out. No clock, no randomness, no async; nothing is opened here.

What a rule needs to know (the time, a file's stream, a policy) is handed in as an argument.
"""
