"""``python -m netfsfuse``: the same as the ``netfsfuse`` command."""

from netfsfuse.cli.main import main

if __name__ == "__main__":
    main()
