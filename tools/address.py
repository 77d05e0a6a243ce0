"""Give the repository its address: `make address URL=https://github.com/OWNER/REPO`.

The address stands in `_config.yml`; this rewrites it there and in every copy: README, package and citation
metadata, pages, and the cell that installs clkit on Colab. The placeholder means "not decided".
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACEHOLDER = "https://github.com/OWNER/REPO"
FORM = re.compile(r"https://(github\.com|gitlab\.com|bitbucket\.org)/[\w-][\w.-]*/[\w-][\w.-]*")
LINE = re.compile(r"^  url: (\S+)", re.M)
BLOCK = re.compile(r"(?<=<!-- address -->\n).*?(?=<!-- end of address -->)", re.S)
UNSET = (
    "The repository's address is not decided yet, so the pages have no Colab button.\n"
    "`make address URL=https://github.com/...` writes it everywhere and brings the button.\n"
)
SET = "Every page with code has a button that opens it on Colab.\n"


def current() -> str:
    """The address in `_config.yml`."""
    found = LINE.search((ROOT / "_config.yml").read_text(encoding="utf-8"))
    if not found:
        raise SystemExit("_config.yml has no line '  url: ...' under 'repository:'")
    return found[1]


def copies() -> list[Path]:
    """The files that may hold the address; `_config.yml`, which decides, comes last."""
    names = ["README.md", "CONTRIBUTING.md", "pyproject.toml", "CITATION.cff"]
    pages = [page for folder in ("book", "exercises") for page in sorted((ROOT / folder).rglob("*.*"))]
    pages = [page for page in pages if page.suffix in (".ipynb", ".md") and "vendor" not in page.parts]
    return [*(ROOT / name for name in names), *pages, ROOT / "_config.yml"]


def rewritten(text: str, old: str, new: str) -> str:
    text = re.sub(re.escape(old) + r"(?![\w-])", new, text)
    return BLOCK.sub(UNSET if new == PLACEHOLDER else SET, text)


def clean(url: str) -> str:
    """The address without a closing slash or `.git`, or an error that says which form it must have."""
    address = url.strip().removesuffix("/").removesuffix(".git")
    if not FORM.fullmatch(address):
        raise SystemExit(
            f"{url or 'an empty URL'} is not a repository's address. Give its https address on GitHub, "
            "GitLab or Bitbucket:\n  make address URL=https://github.com/OWNER/REPO"
        )
    return address


def write(new: str) -> int:
    """Rewrite the copies, each by a temporary file, and return how many changed."""
    old, changed = current(), 0
    for path in copies():
        text = path.read_text(encoding="utf-8")
        if (after := rewritten(text, old, new)) != text:
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text(after, encoding="utf-8")
            os.replace(temporary, path)
            changed += 1
    return changed


if __name__ == "__main__":
    address = clean(sys.argv[1] if len(sys.argv) == 2 else "")
    print(f"{address}: {write(address)} files rewritten. `make book` brings it into the pages.")
