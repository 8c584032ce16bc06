"""`python -m tandem`, which also works from a plain checkout."""

from .cli import main

if __name__ == "__main__":
    main()
