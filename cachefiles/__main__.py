"""``python -m cachefiles``."""

from cachefiles.command import main

if __name__ == "__main__":
    main()
