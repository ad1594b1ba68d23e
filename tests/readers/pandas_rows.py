"""Run in the readers' environment: a csv as pandas' default reader has it, as lines of JSON.

    python pandas_rows.py FILE

The first line has the columns' types, each further one a row; numbers are written by repr.
"""

import json
import sys

import pandas as pd


def main() -> None:
    """Print the rows."""
    frame = pd.read_csv(sys.argv[1])
    print(json.dumps({name: str(kind) for name, kind in frame.dtypes.items()}))
    for row in frame.itertuples(index=False):
        print(json.dumps([None if pd.isna(one) else repr(getattr(one, "item", lambda o=one: o)())
                          for one in row]))  # fmt: skip


main()
