"""Shell completion: the scripts for bash, zsh and fish, where they are installed, and the answers they get.

Typer's own scripts do not know words with a colon in bash, which splits them (``timm:res`` is three words there), nor
``--attack=pg`` in zsh and fish. A script here calls the program with the line up to the cursor, and gets one candidate
a line: its kind (``plain``; ``open``: no space follows; ``files``: the shell's own completion of files), the candidate
and a text about it, between tabs.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stein_bench.cli.completion import FILES, UNFINISHED, Candidate
from stein_bench.errors import UsageError, one_line
from stein_bench.files import write_text

VARIABLE = "_STEIN_BENCH_COMPLETE"
"""Environment variable in which a script asks: ``complete_bash``, ``complete_zsh`` or ``complete_fish``."""
LINE, BREAKS = "_STEIN_BENCH_LINE", "_STEIN_BENCH_BREAKS"
"""The line up to the cursor; the characters at which bash splits words."""
SHELLS = ("bash", "zsh", "fish")
NAMES_A_FILE = re.compile(r"\b(PATH|FILE|FOLDER|REPORT|BASE|DIR|DOCUMENT)\b")

SCRIPTS = {
    "bash": r"""_stein_bench_completion() {
    local kind value text file
    COMPREPLY=()
    while IFS=$'\t' read -r kind value text; do
        case $kind in
            files)
                compopt -o filenames 2>/dev/null
                while IFS= read -r file; do COMPREPLY+=("$file"); done < <(compgen -f -- "$2") ;;
            open) compopt -o nospace 2>/dev/null; COMPREPLY+=("$value") ;;
            *) COMPREPLY+=("$value") ;;
        esac
    done < <(_STEIN_BENCH_COMPLETE=complete_bash _STEIN_BENCH_LINE="${COMP_LINE:0:COMP_POINT}" \
        _STEIN_BENCH_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
}
complete -F _stein_bench_completion stein-bench
""",
    "zsh": r"""#compdef stein-bench
_stein_bench_completion() {
    local kind value text files=0
    local -a plain open
    while IFS=$'\t' read -r kind value text; do
        value="${value//:/\\:}${text:+:$text}"
        case $kind in
            files) files=1 ;;
            open) open+=("$value") ;;
            *) plain+=("$value") ;;
        esac
    done < <(_STEIN_BENCH_COMPLETE=complete_zsh _STEIN_BENCH_LINE="${words[1,$CURRENT]}" ${~words[1]} 2>/dev/null)
    (( $#plain )) && _describe -t values value plain
    (( $#open )) && _describe -t unfinished value open -S ''
    (( files )) && { compset -P '--*='; _files }
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _stein_bench_completion "$@"
else
    compdef _stein_bench_completion stein-bench
fi
""",
    "fish": r"""function _stein_bench_completion
    set -l line (commandline -cp | string collect)
    env _STEIN_BENCH_COMPLETE=complete_fish _STEIN_BENCH_LINE="$line" stein-bench 2>/dev/null \
        | while read -d \t -l kind value text
        if test $kind = files
            __fish_complete_path (commandline -ct)
        else
            printf '%s\t%s\n' $value $text
        end
    end
end
complete --command stein-bench --no-files --keep-order --arguments '(_stein_bench_completion)'
""",
}


def answer(group: Any, environment: Mapping[str, str]) -> str:
    """Return the candidates for the line in the `environment`, as the scripts read them; "" for a script unknown here.

    Args:
        group: the program's command with all others.
    """
    shell = environment[VARIABLE].removeprefix("complete_")
    if shell not in SHELLS:
        return ""
    line = environment.get(LINE, "")
    words, incomplete = _split(line)
    cut = ""
    if shell == "bash" and not _in_quotes(line):
        cut = _cut(incomplete, environment.get(BREAKS, ""))
    lines = []
    for value, text in dict.fromkeys(_candidates(group, words[1:], incomplete)):
        if text == FILES:
            lines.append(f"files\t{incomplete}\t")
            continue
        shown = value.removeprefix(cut)
        shown = re.sub(r"([\s'\"$&|;<>()\\`*?\[\]!#])", r"\\\1", shown) if shell == "bash" else shown
        kind = "open" if value.endswith(UNFINISHED) else "plain"
        lines.append(f"{kind}\t{one_line(shown)}\t{one_line(text)}")
    return "".join(f"{line}\n" for line in lines)


def install(shell: str) -> Path:
    """Write the script of a shell where it finds it, and return the file.

    Raises:
        OSError: a file cannot be written.
    """
    file, start, line = _places(shell)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(str(file), SCRIPTS[shell])
    if start is not None:
        before = start.read_text(encoding="utf-8") if start.exists() else ""
        if line not in before:
            with start.open("a", encoding="utf-8") as stream:
                stream.write(f"{'' if before.endswith(chr(10)) or not before else chr(10)}{line}\n")
    return file


def installed() -> dict[str, str]:
    """Return the shells that have a script of completion, and whether it is this version's: ``current`` or ``old``."""
    found = {}
    for shell in SHELLS:
        file = _places(shell)[0]
        if file.is_file():
            same = file.read_text(encoding="utf-8", errors="replace") == SCRIPTS[shell]
            found[shell] = "current" if same else "old"
    return found


def current_shell() -> str:
    """Return the shell that has started this program.

    Raises:
        UsageError: it is none that is known here.
    """
    try:
        from shellingham import detect_shell  # type: ignore[import-untyped,unused-ignore]

        name = str(detect_shell()[0])
    except Exception:  # noqa: BLE001  (it has errors of its own, and reads what the system says of processes)
        name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(f"completion is for bash, zsh and fish; this shell is {name or 'unknown'}.")
    return name


def _places(shell: str) -> tuple[Path, Path | None, str]:
    """Return the file of a script, and the file with the line that loads it, if it needs one."""
    home = Path.home()
    if shell == "bash":
        file = home / ".bash_completions" / "stein-bench.sh"
        return file, home / ".bashrc", f"source '{file}'"
    if shell == "zsh":
        start = Path(os.environ.get("ZDOTDIR") or home) / ".zshrc"
        return home / ".zfunc" / "_stein-bench", start, "fpath+=~/.zfunc; autoload -Uz compinit; compinit"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    return config / "fish" / "completions" / "stein-bench.fish", None, ""


def _split(line: str) -> tuple[list[str], str]:
    """Return the finished words of a line, and the last one as far as it is typed, without quotes."""
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split, reader.commenters = True, ""
    words = []
    try:
        words += list(iter(reader.get_token, None))
    except ValueError:  # a quote is open, or the line ends with a backslash
        return [*_finished(line)], str(reader.token).removeprefix("'").removeprefix('"')
    return (words, "") if not words or line[-1:].isspace() else (words[:-1], words[-1])


def _finished(line: str) -> Iterator[str]:
    """Yield the words before the one whose quote is open."""
    reader = shlex.shlex(line, posix=True)
    reader.whitespace_split, reader.commenters = True, ""
    try:
        while (word := reader.get_token()) is not None:
            yield word
    except ValueError:
        return


def _in_quotes(line: str) -> bool:
    try:
        shlex.split(line)
    except ValueError:
        return True
    return False


def _cut(word: str, breaks: str) -> str:
    """Return the part of a word that bash takes for words of their own."""
    last = max((word.rfind(sign) for sign in breaks if not sign.isspace() and sign not in "'\""), default=-1)
    return word[: last + 1]


def _candidates(group: Any, words: list[str], incomplete: str) -> Iterator[Candidate]:
    """Yield what may stand at the place of the incomplete word."""
    ctx = group.make_context("stein-bench", [], resilient_parsing=True)
    command, option, arguments, options_end = group, None, 0, False
    for word in words:
        if option is not None:
            option = None
        elif word == "--":
            options_end = True
        elif word.startswith("-") and not options_end:
            name, equals, _ = word.partition("=")
            found = _option(command, name)
            option = None if found is None or found.is_flag or equals else found
        elif not hasattr(command, "list_commands"):
            arguments += 1
        elif (command := command.get_command(ctx, word)) is None:
            return
    if option is not None:
        yield from _values(option, ctx, incomplete)
    elif incomplete.startswith("-") and not options_end:
        yield from _options(command, ctx, incomplete)
    elif hasattr(command, "list_commands"):
        for name in command.list_commands(ctx):
            if name.startswith(incomplete):
                yield name, command.get_command(ctx, name).get_short_help_str(limit=100)
    else:
        positional = [param for param in command.params if param.param_type_name == "argument"]
        several = positional and positional[-1].nargs == -1
        if arguments < len(positional) or several:
            yield from _values(positional[min(arguments, len(positional) - 1)], ctx, incomplete)


def _options(command: Any, ctx: Any, incomplete: str) -> Iterator[Candidate]:
    name, equals, value = incomplete.partition("=")
    if equals:
        option = _option(command, name)
        if option is not None and not option.is_flag:
            yield from ((f"{name}={one}", text) for one, text in _values(option, ctx, value))
        return
    for param in command.get_params(ctx):
        for one in [*param.opts, *param.secondary_opts]:
            if one.startswith("-" if incomplete == "-" else incomplete) and one.startswith("--"):
                yield one, (param.help or "").partition(". ")[0]


def _option(command: Any, name: str) -> Any:
    return next((one for one in command.params if name in (*one.opts, *one.secondary_opts)), None)


def _values(param: Any, ctx: Any, incomplete: str) -> Iterator[Candidate]:
    found = [(item.value, item.help or "") for item in param.shell_complete(ctx, incomplete)]
    yield from found
    if not found and NAMES_A_FILE.search(param.metavar or ""):
        yield incomplete, FILES
