#!/usr/bin/env python3
"""Checks that every file includes only what src/ROOMS lets its room include, and the other rules of the
rooms (docs/decisions/0003-rooms.md).

    tools/check_rooms.py [ROOT]

Prints each violation as file:line: message and exits 1 when there is one. Stands on text alone: needs no
build and no compiler.
"""
import os
import re
import sys
from pathlib import Path

OUTSIDE = ("apps", "python", "bench", "fuzz")  # beside src; one room, `apps`, unless the table names them
SUFFIXES = {".h", ".cc", ".cu", ".cuh"}

# ops_kernels: the second target of an op's folder.
KERNEL_FILE = re.compile(r"(_cpu\.cc|_cuda\.(?:cc|cu)|_kernel\.h|\.cuh)$")
TEST_FILE = re.compile(r"(_test\.(cc|cu)|_for_test\.h)$")
CUDA_HEADER = re.compile(r"^(cuda|cublas|nvrtc|nccl)")
CUDA_HOME = re.compile(r"^src/(device/cuda/|kernel/cuda/|comm/nccl|ops/.*_cuda\.cu$)")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"\n]+)[>"]', re.MULTILINE)
PRINTS = re.compile(
    r"std::(?P<stream>cout|cerr|clog)\b"
    r"|(?<![\w.>:])(?:std::|::)?(?P<call>v?printf|puts|putchar|perror|exit|_exit|_Exit|quick_exit)\s*\("
    r"|\b(?P<format>(?:std|fmt)::print(?:ln)?)\s*\("
    r"|\bv?fprintf\s*\(\s*(?P<file>stdout|stderr)\b")
DEVICE_WORD = re.compile(r"cuda|cpu|gpu", re.IGNORECASE)
LAUNCH = re.compile(r"<<<")

TOKEN = re.compile(
    r'R"([^()\s\\]{0,16})\(.*?\)\1"'                       # raw string
    r'|"(?:[^"\\\n]|\\.)*"'                                # string
    r"|(?<![0-9A-Za-z_])(?:u8|[uUL])?'(?:[^'\\\n]|\\.)+'"  # character; not the ' within 1'000
    r"|//(?:[^\\\n]|\\.)*"
    r"|/\*.*?\*/", re.DOTALL)


def strip(text, keep_strings):
    """`text` without comments, and without what stands in strings; line numbers stay."""
    def blank(match):
        token = match.group()
        if token[0] != "/" and keep_strings:
            return token
        return " " + "\n" * token.count("\n")
    return TOKEN.sub(blank, text)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


class Table:
    """src/ROOMS: room -> rooms that it may include, with the line that says so."""

    def __init__(self, path, report):
        self.may, self.line = {}, {}
        for number, text in enumerate(path.read_text().splitlines(), 1):
            text = text.split("#")[0].strip()
            if not text:
                continue
            name, colon, rest = text.partition(":")
            if not colon or not re.fullmatch(r"[a-z_]+", name):
                report(path, number, f"expected 'room: rooms that it may include', found '{text}'")
            elif name in self.may:
                report(path, number, f"room '{name}' stands in line {self.line[name]} already")
            else:
                self.may[name], self.line[name] = rest.split(), number
        for name, deps in self.may.items():
            for dep in deps:
                if dep not in self.may:
                    report(path, self.line[name], f"room '{name}' may include '{dep}', which has no line")
        self.acyclic = self._report_cycle(path, report)
        self.floor = {name: self._floor(name) for name in self.may} if self.acyclic else {}

    def _report_cycle(self, path, report):
        done, trail = set(), []

        def visit(name):
            if name in trail:
                circle = trail[trail.index(name):] + [name]
                report(path, self.line[name], "rooms include each other in a circle: " + " -> ".join(circle))
                return False
            if name in done or name not in self.may:
                return True
            trail.append(name)
            fine = all([visit(dep) for dep in self.may[name]])
            trail.pop()
            done.add(name)
            return fine

        return all([visit(name) for name in self.may])

    def _floor(self, name):
        return 1 + max((self._floor(dep) for dep in self.may.get(name, [])), default=-1)

    def allows(self, room, target):
        return room == target or target in self.may[room]

    def test_allows(self, room, target):
        """A test may use its own room, what that room may include, `testing` and every floor below that."""
        return (self.allows(room, target) or target == "testing"
                or self.floor[target] < self.floor.get("testing", 0))


class Checker:
    def __init__(self, root):
        self.root = Path(root)
        self.violations = []
        self.launches = []  # (path, line) of every <<<
        self.table = Table(self.root / "src/ROOMS", self.report)

    def report(self, path, line, message):
        name = Path(path).relative_to(self.root).as_posix()
        if (name, line, message) not in self.violations:
            self.violations.append((name, line, message))

    def run(self):
        self.check_folders()
        if self.table.acyclic:
            for path in self.files():
                self.check_file(path)
            self.check_launches()
        return sorted(self.violations)

    def files(self):
        for top in ("src",) + OUTSIDE:
            for folder, folders, names in os.walk(self.root / top):
                folders.sort()
                yield from (Path(folder) / name for name in sorted(names) if Path(name).suffix in SUFFIXES)

    def check_folders(self):
        folders = [folder.name for folder in sorted((self.root / "src").iterdir()) if folder.is_dir()]
        wanted = {name: f"folder src/{name}" for name in folders}
        if "ops" in folders:
            wanted["ops_kernels"] = "the kernels of src/ops"
        for top in OUTSIDE:
            if (self.root / top).is_dir() and top not in self.table.may:
                wanted["apps"] = f"folder {top}"
        for room, what in wanted.items():
            if room not in self.table.may:
                self.report(self.root / "src/ROOMS", 1, f"no line for room '{room}': {what}")

    def room_of(self, name):
        """The room of a path written from the root of the repository, or None when the table has none."""
        parts = name.split("/")
        room = None
        if parts[0] in OUTSIDE:
            room = parts[0] if parts[0] in self.table.may else "apps"
        elif parts[0] == "src" and len(parts) > 2:
            room = "ops_kernels" if parts[1] == "ops" and KERNEL_FILE.search(name) else parts[1]
        return room if room in self.table.may else None

    def check_file(self, path):
        name = path.relative_to(self.root).as_posix()
        room = self.room_of(name)
        is_test = bool(TEST_FILE.search(name))
        text = path.read_text(encoding="utf-8", errors="replace")
        if room is None:  # a folder without a line is reported once, by check_folders
            if name.count("/") == 1:
                self.report(path, 1, "a source file of src must lie in a room's folder")
            return
        for line, quote, target in includes(text):
            self.check_include(path, name, room, is_test, line, quote, target)
        code = strip(text, keep_strings=False)
        if name.startswith("src/") and not is_test:
            for match in PRINTS.finditer(code):
                word = next(group for group in match.groups() if group)
                self.report(path, line_of(code, match.start()),
                            f"room '{room}' must not print or exit: '{word}' belongs to apps")
        if room == "nn" and not is_test:
            for match in DEVICE_WORD.finditer(text):
                self.report(path, line_of(text, match.start()),
                            f"room 'nn' names no device: '{match.group()}'")
        for match in LAUNCH.finditer(code):
            self.launches.append((path, line_of(code, match.start())))

    def check_include(self, path, name, room, is_test, line, quote, target):
        first = target.split("/")[0]
        if quote == "<":
            if CUDA_HEADER.search(first) and not CUDA_HOME.search(name):
                self.report(path, line, f"CUDA header <{target}> outside device/cuda, kernel/cuda, "
                                        f"comm/nccl* "
                                        "and ops/*_cuda.cu")
            if "/" in target and (self.root / "src" / target).is_file():
                self.report(path, line, f"header of a room included with <>: write \"{target}\"")
            return
        if CUDA_HEADER.search(target):
            self.check_include(path, name, room, is_test, line, "<", target)
            return
        if not name.startswith("src/") and self.is_neighbour(path, name, target):
            return
        target_name = "src/" + target
        target_room = self.room_of(target_name)
        if target_room is None:
            self.report(path, line, f"\"{target}\" lies in no room; rooms' headers are written from src, "
                                    "those of libraries with <>")
            return
        if not (self.root / target_name).is_file():
            self.report(path, line, f"there is no src/{target}")
            return
        if "/internal/" in target:
            owner = target_name[:target_name.index("/internal/") + 1]
            if not name.startswith(owner):
                self.report(path, line, f"\"{target}\" is private to {owner}")
        self.check_op_folder(path, name, target, line)
        if is_test:
            allowed = self.table.test_allows(room, target_room)
        elif room == "ops" and target_room == "ops_kernels":
            self.check_plain_kernel(path, line, target)
            return
        else:
            allowed = self.table.allows(room, target_room)
        if not allowed:
            self.report(path, line, f"room '{room}' may not include '{target_room}' (\"{target}\")")

    def is_neighbour(self, path, name, target):
        """A header of apps, python, bench or fuzz: beside the file, or written from the root."""
        top = name.split("/")[0]
        return (path.parent / target).is_file() or (
            target.startswith(top + "/") and (self.root / target).is_file())

    def check_op_folder(self, path, name, target, line):
        """What two ops' kernels share moves down to `kernel`."""
        parts = target.split("/")
        if parts[0] != "ops" or len(parts) < 3 or not KERNEL_FILE.search(target):
            return
        if name.startswith("src/ops/") and not name.startswith(f"src/ops/{parts[1]}/"):
            self.report(path, line, f"kernel of another op, \"{target}\": what two ops share moves to "
                                    f"'kernel'")

    def check_plain_kernel(self, path, line, target):
        """An op's definition may read a kernel header that stands on nothing above tensor."""
        seen, todo = set(), [target]
        while todo:
            header = todo.pop()
            if header in seen:
                continue
            seen.add(header)
            for _, quote, inner in includes((self.root / "src" / header).read_text()):
                if quote == "<":
                    continue
                inner_room = self.room_of("src/" + inner)
                if inner_room == "ops_kernels" and (self.root / "src" / inner).is_file():
                    todo.append(inner)
                elif inner_room is None or not self.table.allows("tensor", inner_room):
                    self.report(path, line, f"an op's definition may include \"{target}\" only if that "
                                            f"stands on "
                                            f"nothing above tensor, but \"{header}\" includes \"{inner}\"")

    def check_launches(self):
        homes = sorted({path for path, _ in self.launches})
        if len(homes) < 2:
            return
        for path, line in self.launches:
            others = ", ".join(home.relative_to(self.root).as_posix() for home in homes if home != path)
            self.report(path, line, f"'<<<' may stand in one file only; it is also in {others}")


def includes(text):
    """(line, quote, target) of every #include that is not commented out."""
    text = strip(text, keep_strings=True)
    return [(line_of(text, match.start(1)), match[1], match[2]) for match in INCLUDE.finditer(text)]


def main(arguments):
    root = arguments[0] if arguments else Path(__file__).resolve().parent.parent
    violations = Checker(root).run()
    for name, line, message in violations:
        print(f"{name}:{line}: {message}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
