"""`python -m kamerton` is the `kamerton` command."""

from kamerton.cli import main

if __name__ == "__main__":
    main()
