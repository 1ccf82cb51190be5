#!/usr/bin/env python3
"""Check the English of docstrings, comments, proto comments and Markdown, part by part, against limits.

    prose_check.py                     check every part; list the worst sentences of a part above its limits
    prose_check.py FILE... [--most N]  list the worst sentences of these files
    prose_check.py --lower             lower the ceilings to the present figures (never below the target)

Words and targets are in prose.toml, the ceilings in prose_limits.toml.
"""

import argparse
import ast
import io
import math
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORDS_FILE = Path(__file__).with_name("prose.toml")
LIMITS_FILE = Path(__file__).with_name("prose_limits.toml")
SUFFIXES = (".py", ".proto", ".md", ".go", ".ts", ".java")

# Shorter sentences, such as "Default: 5", are not counted.
MIN_WORDS = 3
# Below this burden, a sentence is not listed among the worst.
MIN_BURDEN = 3
# Words per referent that a sentence may have free of burden.
WORDS_PER_REFERENT = 15

NOT_PROSE = re.compile(r"#\s*(noqa|type:|pragma|!)")
LINTER_NOTE = re.compile(r"#\s?(noqa|type:).*")


@dataclass(frozen=True)
class Sentence:
    """A sentence with the place where it begins."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Figures:
    """Referents and set phrases per 1000 words, and the percentage of riddle starts."""

    referents: float
    set_phrases: float
    riddle_starts: float

    def exceeds(self, limit: "Figures") -> bool:
        """Return whether any of the figures is above its limit."""
        return any(have > allowed for have, allowed in zip(astuple(self), astuple(limit), strict=True))


class Words:
    """The word lists of prose.toml, and the figures of texts by them."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.parts: dict[str, list[str]] = data["parts"]
        self.excluded: list[str] = data["excluded"]["patterns"]
        self.target = Figures(**data["target"])
        self.plain: dict[str, str] = data["set_phrases"]
        self._referent = _any_of(data["referents"], r"\b({})\b", re.IGNORECASE)
        self._phrase = _any_of(self.plain, r"\b({})\b", re.IGNORECASE)
        self._riddle = _any_of(data["riddle_starts"], r"^({})\b")

    def figures(self, sentences: Iterable[Sentence]) -> tuple[int, Figures]:
        """Return the number of words, and the figures."""
        texts = [sentence.text for sentence in sentences]
        words = sum(len(re.findall(r"[A-Za-z']+", text)) for text in texts) or 1
        referents, phrases = (
            1000 * sum(len(kind.findall(text)) for text in texts) / words for kind in (self._referent, self._phrase)
        )
        riddles = sum(bool(self._riddle.match(text)) for text in texts)
        return words, Figures(referents, phrases, 100 * riddles / max(1, len(texts)))

    def burden(self, text: str) -> float:
        """Return how hard a sentence is to read: set phrases weigh most."""
        referents = len(self._referent.findall(text)) - len(text.split()) / WORDS_PER_REFERENT
        return 3 * len(self._phrase.findall(text)) + 2 * bool(self._riddle.match(text)) + max(0.0, referents)

    def worst(self, sentences: Iterable[Sentence], most: int) -> Iterator[str]:
        """Yield a line for each of the worst sentences, and the plain words for its set phrases."""
        ranked = sorted(sentences, key=lambda each: self.burden(each.text), reverse=True)
        for sentence in ranked[:most]:
            if self.burden(sentence.text) < MIN_BURDEN:
                return
            yield f"{sentence.path}:{sentence.line}: {sentence.text[:220]}"
            for phrase in dict.fromkeys(found.lower() for found in self._phrase.findall(sentence.text)):
                yield f"    {phrase} -> {self.plain[phrase]}"


def _any_of(words: Iterable[str], pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    # The longest first, since the first alternative that matches wins.
    return re.compile(pattern.format("|".join(sorted(map(re.escape, words), key=len, reverse=True))), flags)


def sentences_of(path: str, source: str) -> list[Sentence]:
    """Return the sentences of a file, by its suffix. Code between backticks counts as one word."""
    reader = {".py": _python_texts, ".md": _markdown_texts}.get(Path(path).suffix, _slash_texts)
    return [Sentence(path, line, text) for block in reader(source) for line, text in _sentences(*block)]


def _sentences(first_line: int, text: str) -> Iterator[tuple[int, str]]:
    # Code becomes an X and as many fillers as keep every position: \0 for a character, \1 for a line's end.
    masked = re.sub(r"`[^`]*`", lambda code: "X" + re.sub(r"[^\n]", "\0", code[0][1:]).replace("\n", "\1"), text)
    begin = 0
    for gap in re.finditer(r"(?<=[.!?:;])\s+|\s*\Z", masked):
        plain = " ".join(re.sub("[\0\1]", "", masked[begin : gap.start()]).split())
        if len(plain.split()) >= MIN_WORDS:
            yield first_line + len(re.findall("[\n\1]", masked[:begin])), plain
        begin = gap.end()


def _python_texts(source: str) -> Iterator[tuple[int, str]]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, kinds) and ast.get_docstring(node):
            statement = node.body[0]
            yield statement.lineno, ast.get_docstring(node, clean=False) or ""
    block: list[str] = []
    last = first = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or NOT_PROSE.match(token.string):
            continue
        line = token.start[0]
        if block and line != last + 1:
            yield first, "\n".join(block)
            block = []
        first = first if block else line
        block.append(LINTER_NOTE.sub("", token.string.lstrip("#").strip()))
        last = line
    if block:
        yield first, "\n".join(block)


def _slash_texts(source: str) -> Iterator[tuple[int, str]]:
    for run in re.finditer(r"(?:^[ \t]*//.*\n)+", source, re.MULTILINE):
        lines = [line.strip().lstrip("/").strip() for line in run[0].splitlines()]
        yield source.count("\n", 0, run.start()) + 1, "\n".join(lines)


def _markdown_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs without code, tables and headings."""
    source = re.sub(r"```.*?```", lambda code: "\n" * code[0].count("\n"), source, flags=re.DOTALL)
    source = re.sub(r"^    .*$", "", source, flags=re.MULTILINE)
    line = 1
    for part in re.split(r"(\n\s*\n)", source):
        if part.strip() and not part.strip().startswith(("|", "#")):
            yield line + part[: len(part) - len(part.lstrip())].count("\n"), part.strip()
        line += part.count("\n")


def tracked_files(words: Words) -> list[str]:
    """Return the tracked files that are measured."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607
    files = [path for path in listed.stdout.splitlines() if path.endswith(SUFFIXES) and (ROOT / path).exists()]
    return [path for path in files if not any(fnmatchcase(path, pattern) for pattern in words.excluded)]


def sentences_by_part(words: Words) -> dict[str, list[Sentence]]:
    """Return the sentences of each part of the project."""
    files = tracked_files(words)
    return {
        part: [
            sentence
            for path in files
            if any(fnmatchcase(path, pattern) for pattern in patterns)
            for sentence in sentences_of(path, (ROOT / path).read_text())
        ]
        for part, patterns in words.parts.items()
    }


def lowered(limit: Figures, now: Figures, target: Figures) -> Figures:
    """Return the next ceilings: the present figures rounded up, never above the old ceilings nor below the target."""
    figures = zip(astuple(limit), astuple(now), astuple(target), (1, 10, 10), strict=True)
    return Figures(*(max(goal, min(old, math.ceil(have * scale) / scale)) for old, have, goal, scale in figures))


def written(limits: dict[str, Figures]) -> str:
    """Return the text of prose_limits.toml."""
    head = "# Ceilings of scripts/prose_check.py. They only go down: run it with --lower after an improvement.\n"
    rows = (
        f"{part} = {{ referents = {each.referents:g}, set_phrases = {each.set_phrases:g}, "
        f"riddle_starts = {each.riddle_starts:g} }}\n"
        for part, each in limits.items()
    )
    return head + "".join(rows)


def check(words: Words, limits: dict[str, Figures], parts: dict[str, list[Sentence]], most: int) -> bool:
    """Print a line for each part, with the worst sentences of a part above its limits; return whether all pass."""
    print(f"{'part':<10}{'words':>7}{'referents':>17}{'set phrases':>17}{'riddle starts':>18}")
    passed = True
    for part, sentences in parts.items():
        count, figures = words.figures(sentences)
        limit = limits.get(part, words.target)
        fields = zip(astuple(figures), astuple(limit), strict=True)
        cells = "".join(f"{f'{have:.1f} of {allowed:g}':>17}" for have, allowed in fields)
        print(f"{part:<10}{count:>7}{cells} %")
        if figures.exceeds(limit):
            passed = False
            print(f"  {part} is above its limits; its worst sentences:")
            print("\n".join(f"  {line}" for line in words.worst(sentences, most)))
    return passed


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*")
    parser.add_argument("--most", type=int, default=15, help="sentences to list (15)")
    parser.add_argument("--lower", action="store_true", help="lower the ceilings to the present figures")
    options = parser.parse_args()
    words = Words(tomllib.loads(WORDS_FILE.read_text()))
    if options.files:
        sentences = [each for path in options.files for each in sentences_of(path, Path(path).read_text())]
        print("\n".join(words.worst(sentences, options.most)))
        return 0
    limits = {part: Figures(**each) for part, each in tomllib.loads(LIMITS_FILE.read_text()).items()}
    parts = sentences_by_part(words)
    if options.lower:
        now = {part: words.figures(sentences)[1] for part, sentences in parts.items()}
        limits = {
            part: lowered(limits.get(part, Figures(*[math.inf] * 3)), each, words.target) for part, each in now.items()
        }
        LIMITS_FILE.write_text(written(limits))
    return 0 if check(words, limits, parts, options.most) else 1


if __name__ == "__main__":
    sys.exit(main())
