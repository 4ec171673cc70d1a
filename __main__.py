"""`python -m tipl_bench`."""

from .cli import main

main()
