"""Print pip constraints: the oldest version of each dependency that pyproject.toml admits."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for line in project["dependencies"]:
    found = re.fullmatch(r"([\w-]+)(\[[\w,]+\])?>=([\w.]+)", line)
    if found is None:
        sys.exit(f"pyproject.toml: {line!r} names no oldest version; write it like numpy>=2.0")
    print(f"{found[1]}=={found[3]}")
    if found[1] == "fsspec":
        # Its S3 part has its number, and takes boto's of 2025; pip would try a hundred others.
        print(f"s3fs=={found[3]}\nboto3==1.41.5")
