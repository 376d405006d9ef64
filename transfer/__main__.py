"""``python -m transfer`` is the ``transfer`` command."""

from transfer.cli import main

if __name__ == "__main__":
    main()
