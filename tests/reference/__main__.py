"""Writes every page that is made from the code."""

import sys

from tests.reference.pages import PAGES

if __name__ == "__main__":
    for path, page in PAGES.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(page())
        sys.stdout.write(f"{path} is written.\n")
