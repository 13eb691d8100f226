"""Entry points of a folder with a ``hubconf.py``: ``hub:OWNER/REPO[:BRANCH]:ENTRY[,key=value]``, ``hub:FOLDER:ENTRY``.

A repository is found where torch.hub keeps it, as ``torch.hub.get_dir()/OWNER_REPO_BRANCH`` with each ``/`` in a
branch's name replaced by ``_`` (`torch.hub._get_cache_or_reload`). Code is never downloaded.
"""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from stein_bench.errors import UsageError, suggestion
from stein_bench.models.callables import find_in_code
from stein_bench.models.interface import ModelSource
from stein_bench.parts.arguments import CALL, parse_call
from stein_bench.parts.user_code import callable_names, is_importable, load_file

HUBCONF = "hubconf.py"
_REPOSITORY = re.compile(r"(?P<owner>[\w.-]+)/(?P<repo>[\w.-]+)(?::(?P<branch>[^:]+))?")


def find_torch_hub_model(text: str) -> ModelSource:
    """Return the source of ``OWNER/REPO[:BRANCH]:ENTRY[,…]`` or ``FOLDER:ENTRY[,…]``; `hubconf.py` is imported.

    Raises `UsageError` if there is no such folder or entry point, or packages that it needs are not installed.
    """
    spec = f"hub:{text}"
    places = [(text[: at.start()], text[at.end() :]) for at in re.finditer(":", text)]
    where, call = next(((where, call) for where, call in places if where and CALL.fullmatch(call)), ("", ""))
    if not where:
        raise UsageError(f"{spec!r} does not name an entry point: write hub:OWNER/REPO:ENTRY or hub:FOLDER:ENTRY.")
    folder, where, short = _located(where)
    file = folder / HUBCONF
    _check_dependencies(file, spec)
    code = load_file(file, str(file))
    entry, _ = parse_call(call, spec)
    if not hasattr(code.module, entry):
        known = callable_names(code.module)
        near = suggestion(entry, known) or f" Its entry points: {', '.join(known) or 'none'}."
        raise UsageError(f"hub:{where} has no entry point {entry!r}.{near}")
    return find_in_code(code, call, f"hub:{where}", str(file), short)


def _located(where: str) -> tuple[Path, str, str]:
    """Return the folder that a path or ``OWNER/REPO[:BRANCH]`` names, how to write it (with a branch), and its name."""
    folder = Path(os.path.expanduser(where)).absolute()
    if (folder / HUBCONF).is_file():
        return folder, os.path.normpath(where), folder.name
    repository = _REPOSITORY.fullmatch(where)
    if folder.is_dir() or repository is None:
        problem = f"has no {HUBCONF}" if folder.is_dir() else "does not exist"
        raise UsageError(f"hub:{where}: the folder {where} {problem}.")
    return *_in_cache(repository["owner"], repository["repo"], repository["branch"]), repository["repo"]


def _in_cache(owner: str, repo: str, branch: str | None) -> tuple[Path, str]:
    import torch.hub

    cache, start = Path(torch.hub.get_dir()), f"{owner}_{repo}_"
    folders = sorted(cache.glob(f"*/{HUBCONF}")) if cache.is_dir() else []
    branches = [file.parent.name.removeprefix(start) for file in folders if file.parent.name.startswith(start)]
    if branch is not None:
        # a folder's name does not tell whether an underscore belongs to the repository or to the branch
        if branch.replace("/", "_") in branches:
            return cache / f"{start}{branch.replace('/', '_')}", f"{owner}/{repo}:{branch}"
        found = f" It has {', '.join(branches)} of {owner}/{repo}." if branches else ""
        raise UsageError(f"{cache} has no folder {start}{branch.replace('/', '_')} with a {HUBCONF}.{found}")
    if len(branches) == 1 and "_" not in branches[0]:
        return cache / f"{start}{branches[0]}", f"{owner}/{repo}:{branches[0]}"
    if branches:
        raise UsageError(
            f"{cache} has more than one possible folder of {owner}/{repo}: name the branch, "
            f"{' or '.join(f'hub:{owner}/{repo}:{name}:ENTRY' for name in branches)}."
            if len(branches) > 1
            else f"{cache} has only {start}{branches[0]} of {owner}/{repo}: if that is the right folder, "
            f"write hub:{owner}/{repo}:{branches[0]}:ENTRY."
        )
    raise UsageError(
        f"{cache} has no folder {start}BRANCH with a {HUBCONF}, and code is not downloaded: run "
        f"torch.hub.list('{owner}/{repo}') once, or name a clone, hub:FOLDER:ENTRY."
    )


def _check_dependencies(file: Path, spec: str) -> None:
    """Refuse an entry point if packages in the list ``dependencies`` of its ``hubconf.py`` are not installed."""
    try:
        tree = ast.parse(file.read_bytes())
        lists = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == "dependencies" for target in node.targets)
        ]
    except (SyntaxError, ValueError):  # importing says what is wrong with it
        return
    needed = [name for names in lists if isinstance(names, list | tuple) for name in names if isinstance(name, str)]
    missing = [name for name in needed if not is_importable(name.partition(".")[0], file.parent)]
    if missing:
        raise UsageError(f"{spec} needs {', '.join(missing)}, not installed here: {HUBCONF} lists it as a dependency.")
