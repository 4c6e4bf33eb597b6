"""``acetate inspect FILE [--out DIR]``: one design's tree, its stack, and how well they agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from pipelines.errors import Rejected
from pipelines.examine import Branch, Findings, examine, outline
from pipelines.flatten import FlattenConfig
from pipelines.formats import Fetched, ReadLimits, fetch
from pipelines.sandbox import ChildError, Limits, Sandbox
from pipelines.scratch import working_directory
from schemas.ledger import Code

T = TypeVar("T")

_NAME_LENGTH = 60
_COLUMNS = ("layer", "name", "kind", "box", "overflow", "lowering", "reusable", "notes")


def inspect(
    uri: str,
    out: Path | None,
    console: Console,
    config: FlattenConfig | None = None,
    limits: ReadLimits | None = None,
    options: Mapping[str, Any] | None = None,
    cost: Limits | None = None,
) -> int:
    """Print the tree and the stack of one design; with ``out`` write its layers, pictures and layout there.

    The file is read in a child process that may ``cost`` no more than one of a build. All that can be shown is shown
    before the checks speak. Returns the exit status: 0, or 1 for a design that cannot become a sample, with the reason
    as the last line.

    Raises:
        UsageError: ``out`` cannot be written to.
    """
    try:
        with working_directory() as scratch, closing(Sandbox(cost or Limits())) as sandbox:
            inspector = _Inspector(console, sandbox, config or FlattenConfig(), limits or ReadLimits())
            inspector.show(uri, inspector.fetched(uri, scratch, options or {}), out)
    except Rejected as rejected:
        console.print(Text(_plain(str(rejected)), style="red"))
        return 1
    console.print(Text("ok: the stack shows what the document shows", style="green"))
    return 0


@dataclass(frozen=True)
class _Inspector:
    console: Console
    sandbox: Sandbox
    config: FlattenConfig
    limits: ReadLimits

    def fetched(self, uri: str, scratch: Path, options: Mapping[str, Any]) -> Fetched:
        if uri.startswith("memory://"):  # seen by this process alone
            return fetch(uri, scratch, self.limits, options)
        return self._run(fetch, uri, scratch, self.limits, options)

    def show(self, uri: str, fetched: Fetched, out: Path | None) -> None:
        """Raises Rejected where the design cannot become a sample, after all that can be shown."""
        title = f"{_plain(uri)}  ({fetched.format}, design {fetched.sha256[:32]})"
        name = uri.rstrip("/").rpartition("/")[2]
        try:
            found = self._run(examine, fetched, name, self.config, self.limits, out)
        except Rejected:  # a tree may be had where a stack is too much
            self.console.print(tree_of(self._run(outline, fetched, self.limits).tree, title))
            raise
        self.console.print(tree_of(found.tree, title))
        if found.rows:
            self.console.print(table_of(found))
            self.console.print(Text(found.summary))
            if out is not None:
                self.console.print(Text(f"written to {out}"))
        if found.verdict is not None:
            raise found.verdict

    def _run(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return self.sandbox.run(function, *arguments)
        except ChildError as error:  # a file that no reader foresaw
            raise Rejected(Code.UNREADABLE, str(error)) from None


def tree_of(branch: Branch, title: str) -> Tree:
    """The document's tree, top layer first, as layered editors list it."""
    tree = Tree(Text(f"{title}\n{_plain(branch.facts)}"))
    _grow(tree, branch.children)
    return tree


def _grow(tree: Tree, branches: tuple[Branch, ...]) -> None:
    for branch in reversed(branches):
        line = Text(_short(branch.name), style="" if branch.visible else "dim")
        line.append(f"  {_plain(branch.facts)}", style="dim")
        if branch.place:
            line.append(f"  → {branch.place}", style="green")
        _grow(tree.add(line), branch.children)


def table_of(found: Findings) -> Table:
    """The stack's layers, top first."""
    table = Table(title="stack", title_justify="left", show_lines=False)
    for name in _COLUMNS:
        table.add_column(name, overflow="fold")
    for number, name, *rest in reversed(found.rows):
        table.add_row(number, Text(_short(name)), *(Text(_plain(words)) for words in rest))
    return table


def _plain(words: str) -> str:
    """What came from a file as one line of printable text."""
    return "".join(letter if letter.isprintable() else " " for letter in words)


def _short(name: str) -> str:
    line = _plain(name)
    return line if len(line) <= _NAME_LENGTH else line[: _NAME_LENGTH - 1] + "…"
