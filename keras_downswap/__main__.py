"""`python -m keras_downswap`."""

from keras_downswap.cli.main import main

if __name__ == "__main__":
    main()
