"""`python -m wxgptd --config FILE`: see `wxgptd.process.main`."""

from wxgptd.process.main import main

if __name__ == "__main__":
    main()
