"""Reads pages with requests and writes them as JSON lines, in one thread or in several.

    python requests_client.py URL PAGES.json OUT.jsonl THREADS

PAGES.json lists [path, parameters]; a line of OUT.jsonl is {"path", "filtered", "body"}. In eight threads this is the
limit: nothing is checked, retried, deduplicated, compared or recorded.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

local = threading.local()


def fetch(url: str, path: str, parameters: dict[str, str]) -> bytes:
    if not hasattr(local, "session"):
        local.session = requests.Session()
    answer = local.session.get(f"{url}/{path}", params={**parameters, "key": "sample-key"}, timeout=60)
    answer.raise_for_status()
    filtered = bool({"dates", "updated"} & parameters.keys())
    head = json.dumps({"path": path, "filtered": filtered})[:-1].encode()
    return b"".join([head, b', "body": ', answer.content, b"}\n"])


def main(url: str, pages: str, out: str, threads: str) -> None:
    wanted = json.loads(Path(pages).read_text())
    with Path(out).open("wb") as file, ThreadPoolExecutor(int(threads)) as pool:
        file.writelines(pool.map(lambda page: fetch(url, *page), wanted))


main(*sys.argv[1:])
