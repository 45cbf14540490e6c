"""How is a run drawn in a terminal? A tree, bars on one time axis, durations, results in words and in colour.

Keeps: a line is never wider than the terminal; what the picture says is said without colour too; no control character of a name
or a message reaches the terminal.
Must not know: where the facts came from.
"""
