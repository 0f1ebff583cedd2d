#!/usr/bin/env python3
"""Tests of po2lmo.py; the expected bytes are those of LuCI's own po2lmo (modules/luci-base/src, 2026-06)."""

import struct
import unittest

import po2lmo

PO = r'''
# A comment.
msgid ""
msgstr ""
"Project-Id-Version: natf\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Plural-Forms: nplurals=2; plural=n != 1;\n"
"Language: xx\n"

#: a.js:1
msgid "Hosts"
msgstr "ホスト"

msgctxt "verb"
msgid "Allow"
msgstr "許可する"

msgid "Same"
msgstr "Same"

msgid "Untranslated"
msgstr ""

msgid ""
"One \"quoted\" \\ back\nslash "
"and a long one"
msgstr ""
"Ein \"zitierter\" \\ Rück\nstrich "
"und ein langer"

msgid "%d flow"
msgid_plural "%d flows"
msgstr[0] "%d Fluss"
msgstr[1] "%d Flüsse"

msgctxt "c"
msgid "%d host"
msgid_plural "%d hosts"
msgstr[0] "%d Rechner"
msgstr[1] "%d Rechner alle"

#, fuzzy
#~ msgid "old"
#~ msgstr "alt"
'''

LMO = bytes.fromhex(
    "6e706c7572616c733d323b20706c7572616c3d6e20213d20313b0000e3839be382b9e38388000000e8a8b1e58fafe38199e3828b45696e20"
    "227a697469657274657222205c2052c3bc636b5c6e73747269636820756e642065696e206c616e6765720000256420466c75737325642046"
    "6cc3bc7373650000256420526563686e65720000256420526563686e657220616c6c65000000000000000000000000000000001a09d36d15"
    "000000020000006c0000000a1414d0b6000000010000001c000000092543495100000001000000280000000c32278cc20000000200000078"
    "0000000acaed0583000000020000006400000008e11886d000000001000000340000002ef5d9e62200000002000000840000000f00000094"
)

# From its sfh_hash: each remainder of 4, and bytes that are negative as C has them.
HASHES = {
    "a": 0x115ea782,
    "ab": 0x516b8b44,
    "abc": 0xd2be198a,
    "abcd": 0xdad8b8db,
    "abcde": 0x51ed072e,
    "ü": 0x787e0cc7,
    "日本語": 0xaa84dbd6,
    "%d peers, äöü!": 0x85ff1678,
}


def convert(text):
    return po2lmo.archive(po2lmo.entries(po2lmo.messages(text, "test.po")), "test.po")


def translation(data, key):
    """Looks a message up as LuCI does: by its hash alone."""
    (start,) = struct.unpack(">I", data[-4:])
    for number, _, offset, length in struct.iter_unpack(">IIII", data[start:-4]):
        if number == po2lmo.super_fast_hash(key.encode()):
            return data[offset : offset + length].decode()
    return None


class Po2Lmo(unittest.TestCase):
    def test_gives_the_bytes_of_lucis_own_tool(self):
        self.assertEqual(convert(PO), LMO)

    def test_finds_messages_by_their_hash(self):
        self.assertEqual(translation(LMO, "Hosts"), "ホスト")
        self.assertEqual(translation(LMO, "verb\x01Allow"), "許可する")
        self.assertEqual(translation(LMO, "%d flow\x021"), "%d Flüsse")
        self.assertIsNone(translation(LMO, "Untranslated"))
        self.assertIsNone(translation(LMO, "Same"))

    def test_hashes_every_length_and_negative_bytes(self):
        self.assertEqual(po2lmo.super_fast_hash(b""), 0)
        for text, expected in HASHES.items():
            self.assertEqual(po2lmo.super_fast_hash(text.encode()), expected, text)

    def test_writes_nothing_when_nothing_is_translated(self):
        self.assertEqual(convert('msgid "Hosts"\nmsgstr ""\n'), b"")

    def test_refuses_a_message_that_is_there_twice(self):
        with self.assertRaisesRegex(po2lmo.Wrong, "'zwei' belongs to a message that is there twice"):
            convert('msgid "a"\nmsgstr "eins"\n\nmsgid "a"\nmsgstr "zwei"\n')

    def test_names_the_line_that_is_no_part_of_a_message(self):
        with self.assertRaisesRegex(po2lmo.Wrong, "test.po:2: 'msgstr oops'"):
            convert('msgid "a"\nmsgstr oops\n')


if __name__ == "__main__":
    unittest.main()
