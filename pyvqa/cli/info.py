"""Say which versions, devices and kernels are there, and why others are not."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

EXAMPLES = """examples:
  pyvqa info
  pyvqa info --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--json", action="store_true", help="the same for programs to read")


def main(args: Namespace) -> int:
    """Print the report."""
    import json

    from pyvqa.cli.common import print_table
    from pyvqa.inventory import inventory

    found = inventory()
    if args.json:
        print(json.dumps(found, indent=2))
        return 0
    print(
        "versions  " + ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    )
    print(f"build     {found['compiler']}, beside torch {found['built_beside_torch']}")
    bfloat16 = "fast bfloat16" if found["fast_bfloat16"] else "no fast bfloat16"
    print(f"CPU       {found['isa']} kernels, {found['threads']} threads, {bfloat16}")
    if found["cuda_missing"]:
        print(f"CUDA      no kernels: {found['cuda_missing']}")
    else:
        print(f"CUDA      kernels for {found['cuda_architectures']}")
    print("devices   " + ", ".join(found["devices"]))
    print("models    " + (", ".join(found["models"]) or "none"))
    print()
    marks = {True: "yes", False: "-"}
    rows = [
        (name, *(marks[there] for there in where.values()))
        for name, where in found["kernels"].items()
    ]
    print_table(rows, ("kernel", "CPU", "CUDA"))
    return 0
