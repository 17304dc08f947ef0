"""The least that a compressed input costs: zlib over the whole file, the result thrown away."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

if __name__ == "__main__":
    decompressor = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    with Path(sys.argv[1]).open("rb") as file:
        while data := file.read(2**16):
            decompressor.decompress(data)
