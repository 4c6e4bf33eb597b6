"""The command line is public: this test freezes its commands, arguments and options."""

from __future__ import annotations

import subprocess
import sys

import typer

from acetate import mounted

FROZEN = {
    "synth": {"OUT", "--count", "--seed", "--profile"},
    "demo": {"--out", "--count", "--seed", "--executor", "--workers"},
    "build": {
        "CONFIG",
        "--manifest",
        "--source",
        "--out",
        "--executor",
        "--workers",
        "--retry-failed",
        "--code",
        "--max-failed",
        "--set",
    },
    "inspect": {"FILE", "--out"},
    "validate": {"DATASET"},
    "report": {"DATASET"},
    "gc": {"DATASET", "--work"},
    "train": {"CONFIG", "--set", "--workers", "--ray"},
    "train-codec": {"CONFIG", "--set"},
    "evaluate": {"CONFIG", "--set"},
    "estimate": {"--train", "--set"},
}


def test_commands_and_options_are_the_public_ones() -> None:
    group = typer.main.get_command(mounted())
    found = {}
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        words = set()
        for parameter in command.params:
            argument = parameter.param_type_name == "argument"
            words.add((parameter.metavar or parameter.name).upper() if argument else parameter.opts[0])
        found[name] = words - {"--help"}
    assert found == FROZEN


def test_help_costs_no_heavy_import() -> None:
    script = (
        "import sys\n"
        "sys.argv = ['acetate', '--help']\n"
        "import acetate\n"
        "try:\n    acetate.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'ray', 'psd_tools', 'great_expectations', 'numpy', 'pyarrow', 'torch'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "build" in done.stdout
