"""`python -m kzoo`."""

from kzoo.cli import main

if __name__ == "__main__":
    main()
