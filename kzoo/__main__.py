"""`python -m kzoo`."""

if __name__ == "__main__":
    from kzoo.cli import main

    main()
