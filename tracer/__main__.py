"""Run the command line with `python -m tracer`."""

from tracer.cli import main

main()
