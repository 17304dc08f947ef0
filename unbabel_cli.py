"""The command `unbabel_cli` from a checkout: `python unbabel_cli.py --input_file …`."""

from pipeline.__main__ import main

if __name__ == "__main__":
    main()
