"""A day's faults in ten minutes, in real time."""
