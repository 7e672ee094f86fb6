"""Prints the licence of each package of a lock, as its authors state it."""

import json
import subprocess
import sys
from collections import defaultdict
from typing import Any


def licence(about: dict[str, Any]) -> str:
    """Return the licence that a package's metadata state."""
    classified = [line.rpartition(" :: ")[2] for line in about.get("classifier", []) if line.startswith("License")]
    first_line = about.get("license", "").strip().partition("\n")[0]
    return about.get("license_expression") or " / ".join(classified) or first_line or "not stated"


def main() -> None:
    """Ask pip for the metadata of every package, and print a table in Markdown."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"]
    command += ["--require-hashes", "--requirement", sys.argv[1], "--report", "-"]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = defaultdict(list)
    for found in report["install"]:
        packages[licence(found["metadata"])].append(found["metadata"]["name"].lower().replace("_", "-"))
    print("| licence, as the package states it | packages |\n| --- | --- |")
    for name, those in sorted(packages.items()):
        print(f"| {name} | {', '.join(sorted(those))} |")


if __name__ == "__main__":
    main()
