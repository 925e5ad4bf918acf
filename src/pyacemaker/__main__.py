"""`python -m pyacemaker`: the command line without its script."""

from pyacemaker.cli.main import main

if __name__ == "__main__":
    main()
