"""`python -I hub_files.py ID REVISION PATTERN...`: what the hub has of a model, as JSON.

`hf download` ends with success where it could not ask the hub and some of the files are there. So
the hub is asked here, with the same client, and what was downloaded is compared with its answer.
"""

import json
import sys
from fnmatch import fnmatch
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.hf_api import RepoSibling

TIMEOUT_S = 30  # without a byte; of its own the client would wait for ever


def listing(model: str, revision: str, patterns: list[str]) -> dict[str, Any]:
    """The commit that a revision is, and those of its files whose names fit a pattern."""
    info = HfApi().model_info(model, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
    files = [
        described(file)
        for file in info.siblings or []
        if any(fnmatch(file.rfilename, pattern) for pattern in patterns)  # as `hf download` does
    ]
    return {"commit": info.sha, "files": files}


def described(file: RepoSibling) -> dict[str, Any]:
    """Its name, size and digest; a mirror of the hub may leave out the last two."""
    return {
        "name": file.rfilename,
        "bytes": file.size,
        "sha256": file.lfs.sha256 if file.lfs else None,
        "blob": None if file.lfs else file.blob_id,  # as git has it: of its kind, size and content
    }


if __name__ == "__main__":
    model, revision, *patterns = sys.argv[1:]
    print(json.dumps(listing(model, revision, patterns)))
