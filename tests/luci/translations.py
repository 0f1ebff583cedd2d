#!/usr/bin/env python3
"""The texts of luci-app-natf and their translations: every text of the views, menus and rights is in the template and
in each language, translated, with the same placeholders, and nothing else is.

    translations.py            says what is missing, superfluous or wrong; exit status 1 where something is
    translations.py --write    writes the template anew and adds what languages lack, untranslated
"""

import json
import re
import sys
from pathlib import Path

APP = Path(__file__).resolve().parents[2] / "luci-app-natf"
PLACE = Path("po/templates/natf.pot")
HEADER = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8"\n'
CALL = re.compile(r"\b_\(\s*'((?:[^'\\\n]|\\.)*)'\s*\)")
# What the pattern above does not read, a template or a sum of strings, could not be translated.
ANY_CALL = re.compile(r"\b_\(")
ENTRY = re.compile(r'^msgid ((?:"(?:[^"\\\n]|\\.)*"\n)+)msgstr ((?:"(?:[^"\\\n]|\\.)*"\n?)+)', re.MULTILINE)
PLACEHOLDER = re.compile(r"%(?:[0-9.]*[a-zA-Z])")


def texts():
    """All texts with the files that they stand in, in the order of files and lines."""
    found = {}
    wrong = []
    for path in sorted(APP.glob("htdocs/**/*.js")):
        source = path.read_text()
        # The translating function's name is also a word of regular expressions and comments; calls only.
        calls = list(CALL.finditer(source))
        if len(calls) != len(ANY_CALL.findall(source)):
            wrong.append(f"{path.relative_to(APP)}: a call of _() takes something else than one plain string")
        for call in calls:
            found.setdefault(re.sub(r"\\(.)", r"\1", call[1]), []).append(path)
    for path in sorted(APP.glob("root/usr/share/luci/menu.d/*.json")):
        for entry in json.loads(path.read_text()).values():
            found.setdefault(entry["title"], []).append(path)
    for path in sorted(APP.glob("root/usr/share/rpcd/acl.d/*.json")):
        for group in json.loads(path.read_text()).values():
            found.setdefault(group["description"], []).append(path)
    return {text: dict.fromkeys(path.relative_to(APP) for path in paths) for text, paths in found.items()}, wrong


def quoted(text):
    return json.dumps(text, ensure_ascii=False)


def entries(path):
    """The texts of a .po file with their translations."""
    def joined(lines):
        return "".join(json.loads(line) for line in lines.splitlines())

    return {joined(entry[1]): joined(entry[2]) for entry in ENTRY.finditer(path.read_text())} if path.exists() else {}


def write(path, found, translations, header):
    blocks = [header]
    for text, files in found.items():
        places = "".join(f"#: {place}\n" for place in files)
        blocks.append(f"{places}msgid {quoted(text)}\nmsgstr {quoted(translations.get(text, ''))}\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(blocks))


def languages():
    return sorted(path for path in APP.glob("po/*/natf.po"))


def problems(found):
    template = entries(APP / PLACE)
    template.pop("", None)
    for text in found.keys() - template.keys():
        yield f"{PLACE}: lacks {quoted(text)}"
    for text in template.keys() - found.keys():
        yield f"{PLACE}: {quoted(text)} stands in no view"
    if not languages():
        yield "po: there is no language"
    for path in languages():
        place = path.relative_to(APP)
        translations = entries(path)
        translations.pop("", None)
        for text in found.keys() - {text for text, done in translations.items() if done}:
            yield f"{place}: does not translate {quoted(text)}"
        for text in translations.keys() - found.keys():
            yield f"{place}: {quoted(text)} stands in no view"
        for text, done in translations.items():
            if done and PLACEHOLDER.findall(text) != PLACEHOLDER.findall(done):
                yield f"{place}: {quoted(text)}: other placeholders, or in another order: {quoted(done)}"


def main():
    found, wrong = texts()
    if sys.argv[1:] == ["--write"]:
        write(APP / PLACE, found, {}, HEADER)
        for path in languages():
            first = path.read_text().split("\n\n", 1)[0] + "\n"
            write(path, found, entries(path), first)
    elif sys.argv[1:]:
        sys.exit(__doc__)
    wrong += problems(found)
    for problem in wrong:
        print(problem)
    print(f"{len(found)} texts, {len(languages())} languages: {len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
