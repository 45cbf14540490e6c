"""Judgement: what is true of a run, and what changed. Pure: facts in, values out, no clock."""
