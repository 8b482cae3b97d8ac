"""``python -m cachefiles``."""

from cachefiles.admin.command import main

if __name__ == "__main__":
    main()
