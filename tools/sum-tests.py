"""sum-tests.py DIR: adds up what tools/test.sh left in DIR (NAME.exit, NAME.json in CTRF, NAME.log; the same under vm/).

Prints failures in full and skips with their reasons; the last line is "N passed, N failed, N skipped".
A test executable that crashed, hung or wrote no result counts as a failure of its own.
"""
import json
import os
import sys


def load(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)["results"]
    except (OSError, ValueError, KeyError):
        return None


def tail(path, lines):
    """The end of a log; a longer one with its beginning too, where a crash says what it was. No endless lines."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = [line if len(line) < 240 else line[:240] + " …\n" for line in file]
    except OSError:
        return ""
    return "".join(text if len(text) <= 2 * lines else text[:lines] + ["…\n"] + text[-lines:])


def indent(text):
    return "\n".join("    " + line for line in text.rstrip().splitlines())


class Sum:
    def __init__(self):
        self.passed, self.failures, self.skips = 0, [], []

    def add(self, label, base):
        """One test executable."""
        with open(base + ".exit", encoding="ascii") as file:
            code = int(file.read() or 1)
        results = load(base + ".json")
        if results is None:
            why = "ran too long" if code in (124, 137) else f"exit code {code}"
            self.failures.append((f"{label}: no result ({why})", tail(base + ".log", 20)))
            return
        failed = 0
        for test in results["tests"]:
            name = f"{label}: {test['name']}"
            if test["status"] == "passed":
                self.passed += 1
            elif test["status"] in ("skipped", "pending"):
                self.skips.append((name, (test.get("extra") or {}).get("reason") or "no reason given"))
            else:
                failed += 1
                parts = [test.get("message"), test.get("trace"), (test.get("extra") or {}).get("output")]
                self.failures.append((name, "\n".join(part for part in parts if part)))
        errors = [error for suite in (results.get("extra") or {}).get("suites", []) for error in suite.get("errors") or []]
        if errors or (code != 0 and failed == 0):
            self.failures.append((f"{label}: exit code {code}", json.dumps(errors, indent=1) + "\n" + tail(base + ".log", 20)))

    def add_machine(self, directory):
        """The virtual machine as a whole, and the executables that ran in it."""
        with open(os.path.join(directory, "Vm.exit"), encoding="ascii") as file:
            code = int(file.read() or 1)
        inside = os.path.join(directory, "vm")
        if code == 77:
            self.skips.append(("Vm", tail(os.path.join(directory, "Vm.log"), 1).strip() or "no virtual machine"))
            return
        if code != 0:
            self.failures.append((f"Vm: exit code {code}", tail(os.path.join(directory, "Vm.log"), 20)))
        ran = [file[:-5] for file in sorted(os.listdir(inside) if os.path.isdir(inside) else []) if file.endswith(".exit")]
        for name in ran:
            self.add("vm " + name, os.path.join(inside, name))
        if code == 0 and not ran:
            self.failures.append(("Vm: it ran no tests", tail(os.path.join(directory, "Vm.log"), 20)))


def main(directory):
    total = Sum()
    for file in sorted(os.listdir(directory)):
        if file == "Vm.exit":
            total.add_machine(directory)
        elif file.endswith(".exit"):
            total.add(file[:-5], os.path.join(directory, file[:-5]))
    reasons = {}
    for name, reason in total.skips:
        reasons.setdefault(" ".join(reason.split()), []).append(name)
    for reason, names in reasons.items():
        print(f"skipped: {reason}")
        print(indent("\n".join(names)))
    for name, text in total.failures:
        print(f"FAILED {name}")
        print(indent(text))
    print(f"{total.passed} passed, {len(total.failures)} failed, {len(total.skips)} skipped")
    return 0 if total.passed > 0 and not total.failures else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
