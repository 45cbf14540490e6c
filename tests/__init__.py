"""The tests follow the rooms of the package; recordings of a real cluster are their ground truth."""
