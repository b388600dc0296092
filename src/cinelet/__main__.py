"""`python -m cinelet` is the command `cinelet`."""

from cinelet.cli import main

main()
