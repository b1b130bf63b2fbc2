"""The part of the self-test about the matrix: its arithmetic, its picture, and runs with simple clients."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matrix
from matrix_picture import svg
from matrix_report import DIRECT, FAILED, RELAYED, Result, Run, milliseconds, percentile, short, summary, table
from matrix_run import Commands, Side, judge
from natlab import NAT_KINDS
from probes import LabTestCase

_SVG = "{http://www.w3.org/2000/svg}"


def _result(*outcomes: str, first: str = "home", second: str = "adm", policies: str = "drop/drop") -> Result:
    runs = [Run(outcome, 10.0 * (number + 1), ("reflexive",) if outcome == DIRECT else (),
                "a: no <luck> & \"none\"" if outcome == FAILED else "") for number, outcome in enumerate(outcomes)]
    return Result(first, second, policies, runs)


class MatrixNumbers(unittest.TestCase):
    """Statistics and text."""

    def test_percentile_is_the_nearest_rank(self) -> None:
        numbers = [float(number) for number in range(1, 11)]
        self.assertEqual([percentile(numbers, percent) for percent in (0, 10, 11, 50, 90, 91, 100)],
                         [1, 1, 2, 5, 9, 10, 10])
        self.assertEqual(percentile([7.0], 90), 7)

    def test_times_are_those_of_the_runs_that_connected(self) -> None:
        result = _result(DIRECT, FAILED, RELAYED, DIRECT)
        self.assertEqual((result.rate, result.connected, result.count(RELAYED)), (75, 3, 1))
        self.assertEqual((result.times, result.median_ms, result.p90_ms), ([10, 30, 40], 30, 40))
        self.assertEqual(result.remark, "reflexive")

    def test_where_none_connected_it_says_when_they_gave_up_and_why(self) -> None:
        result = _result(FAILED, FAILED)
        self.assertEqual((result.rate, result.median_ms), (0, 15))
        self.assertEqual(result.remark, "after 15 ms a: no <luck> & \"none\"")
        self.assertEqual((Result("a").median_ms, Result("a").rate, Result("a").remark), (None, 0, ""))

    def test_times_are_written_for_people(self) -> None:
        self.assertEqual([milliseconds(ms) for ms in (None, 0.4, 52.5, 999.4, 999.6, 4750)],
                         ["-", "0 ms", "52 ms", "999 ms", "1.0 s", "4.8 s"])

    def test_table_and_summary_count_every_result(self) -> None:
        results = [_result(DIRECT, DIRECT), _result(RELAYED, FAILED, second="open"), _result(FAILED, FAILED)]
        lines = table(results).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[2].split()[:11],
                         ["home", "open", "drop/drop", "50", "%", "0", "1", "10", "ms", "10", "ms"])
        self.assertEqual(summary(results), "1 of 3 pairs connected every time, 2 at least once; 3 of 6 runs, "
                                           "1 of them relayed")

    def test_all_of_it_in_a_few_words(self) -> None:
        for outcomes, words in (((DIRECT, DIRECT), "2/2 direct p50 15 ms"), ((DIRECT, FAILED), "1/2 direct p50 10 ms"),
                                ((RELAYED,), "1/1 relayed p50 10 ms"),
                                ((RELAYED, DIRECT, DIRECT), "3/3 (1 relayed) p50 20 ms"),
                                ((FAILED,), "0/1 after 10 ms a: no <luck> & \"none\""), ((), "0/0")):
            self.assertEqual(_result(*outcomes).brief, words)

    def test_another_client_is_told_beside_the_first(self) -> None:
        always, partly, never, absent = (_result(RELAYED) for _ in range(4))
        always.beside, partly.beside, never.beside = _result(DIRECT), _result(FAILED, DIRECT), _result(FAILED)
        results = [always, partly, never, absent]
        self.assertEqual(short("theirs (a stand-in)"), "theirs")
        head, *lines = (line.split("  ") for line in table(results, "theirs (a stand-in)").splitlines())
        rows = [[word.strip() for word in line if word] for line in lines]
        self.assertIn("theirs", head)
        self.assertEqual([row[8:11] for row in rows], [["100 %", "10 ms", "10 ms"], ["50 %", "20 ms", "20 ms"],
                                                      ["0 %", "-", "-"], ["-", "-", "-"]])
        self.assertEqual([row[11:] for row in rows], [
            [], ['| theirs: a: no <luck> & "none"'], ['| theirs: after 10 ms a: no <luck> & "none"'], []])
        told = [result.as_json() for result in results]
        self.assertEqual([(one["relayed"], one.get("beside", {}).get("direct")) for one in told],
                         [(1, 1), (1, 1), (1, 0), (1, None)])
        self.assertNotIn("first", told[0]["beside"])
        self.assertEqual(matrix.below(results, 100), [], "what is required is required of the first")

    def test_json_holds_the_numbers(self) -> None:
        told = json.loads(json.dumps([_result(DIRECT, FAILED).as_json(), Result("nested", expected=False).as_json()]))
        self.assertEqual(told[0]["median_ms"], 10)
        expected = {"first": "home", "second": "adm", "input": "drop/drop", "runs": 2, "direct": 1, "failed": 1,
                    "rate": 50}
        self.assertEqual({key: told[0][key] for key in expected}, expected)
        self.assertEqual((told[1]["scenario"], told[1]["expected"], told[1]["median_ms"]), ("nested", False, None))

    def test_requirements_concern_what_is_meant_to_connect(self) -> None:
        hopeless = Result("blocked", runs=[Run(FAILED)], expected=False)
        half, whole = _result(DIRECT, FAILED), _result(DIRECT)
        self.assertEqual(matrix.below([hopeless, half, whole], 51), [half])
        self.assertEqual(matrix.below([hopeless, half, whole], 50), [])


class MatrixPicture(unittest.TestCase):
    """The heatmap is an SVG that stands for itself."""

    def draw(self, results: list[Result], names: tuple[str, str] = ("", "")) -> ElementTree.Element:
        """The parsed picture."""
        text = svg(results, 'NATs <&"> others', ["20 runs & more", "below: another"], names)
        for foreign in ("href", "url(", "@import", "<script", "<image"):
            self.assertNotIn(foreign, text)
        picture = ElementTree.fromstring(text)
        self.assertEqual(picture.tag, f"{_SVG}svg")
        self.assertEqual(picture.findtext(f"{_SVG}title"), 'NATs <&"> others')
        return picture

    def assert_inside(self, picture: ElementTree.Element) -> None:
        """Nothing lies outside of the picture."""
        width, height = (float(picture.attrib[name]) for name in ("width", "height"))
        for element in picture.iter():
            if "x" in element.attrib:
                right = float(element.attrib["x"]) + float(element.get("width", 0))
                lower = float(element.attrib["y"]) + float(element.get("height", 0))
                self.assertTrue(0 <= right <= width and 0 <= lower <= height, element.attrib)

    def test_every_pair_has_a_cell_with_rate_time_and_mark(self) -> None:
        work = matrix.cells(matrix.KINDS, ["drop/drop", "drop/accept", "accept/drop"])
        for result, _ in work:
            result.runs += _result(*[RELAYED, DIRECT] if result.first == "adm" else [DIRECT, FAILED]).runs
        picture = self.draw([result for result, _ in work])
        self.assert_inside(picture)
        groups = picture.findall(f"{_SVG}g")
        self.assertEqual(len(groups), 3 * 49)
        self.assertEqual(sum(group.find(f"{_SVG}path") is not None for group in groups), 3 * 7)
        self.assertEqual({tuple(text.text for text in group.findall(f"{_SVG}text")) for group in groups},
                         {("100%", "15 ms"), ("50%", "10 ms")})
        rectangles = {(group[1].attrib["x"], group[1].attrib["y"]) for group in groups}
        self.assertEqual(len(rectangles), len(groups))
        self.assertIn("adm with home: 2 of 2 connected, 1 relayed", str(ElementTree.tostring(picture)))

    def test_another_client_has_its_line_in_every_cell(self) -> None:
        work = matrix.cells(matrix.KINDS, ["drop/drop", "drop/accept"]) + matrix.extras()
        for result, _ in work:
            result.runs += _result(DIRECT).runs
            result.beside = _result(DIRECT) if result.first == "home" else _result(RELAYED, FAILED)
        picture = self.draw([result for result, _ in work], ("ours (C)", "<theirs> (a stand-in)"))
        self.assert_inside(picture)
        groups = picture.findall(f"{_SVG}g")
        self.assertEqual(len(groups), len(work))
        texts = [tuple(text.text for text in group.findall(f"{_SVG}text")) for group in groups]
        self.assertEqual(set(texts[:98]), {("100%", "10 ms", "10 ms"), ("100%", "10 ms", "50%")})
        self.assertEqual(set(texts[98:]), {("100%", "10 ms", "50%", "10 ms")})
        boxes = [tuple(float(box.attrib[name]) for name in ("x", "y", "width", "height"))
                 for group in groups for box in group.findall(f"{_SVG}rect")]
        self.assertEqual(len(boxes), 2 * len(work))
        for number, (x, y, width, height) in enumerate(boxes):
            for other_x, other_y, *_ in boxes[:number] + boxes[number + 1:]:
                self.assertFalse(x <= other_x < x + width and y <= other_y < y + height, "one lies on another")
        words = [text.text for text in picture.findall(f"{_SVG}text")]
        for line in ("ours: 49 of 49 pairs connect, 49 every time", "<theirs>: 49 of 49 pairs connect, 7 every time",
                     "Other networks; left ours, right <theirs>"):
            self.assertIn(line, words)
        self.assertIn("| &lt;theirs&gt;: 1/1 direct p50 10 ms", ElementTree.tostring(picture, "unicode"))

    def test_scenarios_alone_and_subsets_can_be_drawn(self) -> None:
        for results in ([_result(FAILED)], [result for result, _ in matrix.extras()],
                        [_result(DIRECT), Result("other", runs=[Run(FAILED, None, (), "why " * 100)])]):
            picture = self.draw(results)
            self.assert_inside(picture)
            self.assertEqual(len(picture.findall(f"{_SVG}g")), len(results))


class MatrixSelection(unittest.TestCase):
    """Which pairs are run, and with what command lines."""

    def test_every_ordered_pair_under_every_pair_of_policies(self) -> None:
        work = matrix.cells(matrix.KINDS, matrix.selected_policies("drop,accept,mixed"))
        self.assertEqual(len({(result.first, result.second, result.policies) for result, _ in work}), 4 * 49)
        result, scenario = work[2 * 49 + 1]
        self.assertEqual((result.first, result.second, result.policies), ("open", "full-cone", "drop/accept"))
        self.assertEqual([(site.nat, site.input_policy) for site in scenario.sites.values()],
                         [("open", "drop"), ("full-cone", "accept")])
        self.assertTrue(set(matrix.KINDS) <= set(NAT_KINDS))

    def test_kinds_and_policies_are_read_and_refused(self) -> None:
        self.assertEqual(matrix.selected_kinds("home,adm,home"), ["home", "adm"])
        self.assertEqual(matrix.selected_kinds("none"), [])
        self.assertEqual(matrix.selected_policies("mixed,drop,reject/drop,drop/accept"),
                         ["drop/accept", "accept/drop", "drop/drop", "reject/drop"])
        for read, text in ((matrix.selected_kinds, "cone"), (matrix.selected_policies, "deny"),
                           (matrix.selected_policies, "drop/deny"), (matrix.selected_policies, "drop/drop/drop")):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                read(text)

    def test_command_lines_are_filled_in(self) -> None:
        with tempfile.TemporaryDirectory() as directory:
            program = Path(directory).resolve() / "my-tool"
            program.touch()
            commands = Commands("{my-tool} -t {timeout_ms} {server} '{session} x'",
                                "{my-tool} {options} {address}:{port},{address2}",
                                [Path(directory, "none"), Path(directory)], ["--a", "b c"])
            self.assertEqual(commands.client_argv("[::1]", "s 1", "a"),
                             [str(program), "-t", "4750", "[::1]:5000", "s 1 x"])
            self.assertEqual(commands.server_argv(("1.2.3.4", "1.2.3.5")),
                             [str(program), "--a", "b c", "1.2.3.4:5000,1.2.3.5"])
            with self.assertRaisesRegex(ValueError, "no program .*other"):
                Commands("{other}", "", [Path(directory)]).client_argv("1.2.3.4", "s", "a")

    def test_another_client_has_a_name_and_a_command(self) -> None:
        self.assertEqual(matrix.named_command("theirs (a stand-in)= x -a=b"), ("theirs (a stand-in)", "x -a=b"))
        for text in ("x", "=x", "name="):
            with self.subTest(text), self.assertRaises(argparse.ArgumentTypeError):
                matrix.named_command(text)

    def test_make_natlab_tries_the_go_stand_in_where_it_can(self) -> None:
        script = Path(__file__).resolve().parents[2] / "scripts" / "natlab.sh"
        with tempfile.TemporaryDirectory() as directory:
            # A system without Go, in which Python only says what it was to run.
            fake = Path(directory, "python3")
            fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
            fake.chmod(0o755)
            for name in ("bash", "dirname"):
                Path(directory, name).symlink_to(next(
                    path for path in (Path(place, name) for place in os.environ["PATH"].split(os.pathsep))
                    if path.is_file()))
            environment = {"PATH": directory}
            without = subprocess.run([script, "--runs", "7"], env=environment, text=True, capture_output=True,
                                     check=True)
            self.assertEqual(without.stdout.splitlines()[1:], ["--runs", "7"])
            self.assertIn("no Go", without.stderr)
            Path(directory, "standin-client").touch()
            with_it = subprocess.run([script, "--runs", "7"], env={**environment, "HP_TOOLS": directory}, text=True,
                                     capture_output=True, check=True)
            words = with_it.stdout.splitlines()
            self.assertEqual((words[-2:], with_it.stderr), (["--runs", "7"], ""))
            name, command = matrix.named_command(words[words.index("--beside") + 1])
            self.assertEqual(name, "Go stand-in (same wire behaviour as the existing Go client)")
            self.assertIn("{standin-client} ", command)
            self.assertIn("{standin-server} ", words[words.index("--beside-server") + 1])


class MatrixReading(unittest.TestCase):
    """What clients print, and what is made of it."""

    def side(self, *pieces: str, errors: str = "", ended: float | None = None, name: str = "a") -> Side:
        """A client that has printed this, in these pieces, one after each millisecond."""
        side = Side(name, Commands.connected)
        for number, piece in enumerate(pieces):
            side.take(piece.encode(), False, number + 1)
        side.take(errors.encode(), True, 0)
        side.ended_ms = ended
        return side

    def test_chat_timed_connect_and_clients_without_a_path_are_understood(self) -> None:
        for pieces, own_ms, paths in (
                (("peer 0 1.2.3.4:5 reflex", "ive 1.2\nconnected 1 52\n"), 52, ["reflexive"]),
                (("ready\ncall 1000000\n", "return 4500000 HP_STATUS_OK\npeer 0 [::1]:5 relayed -\n"), 3.5,
                 ["relayed"]),
                (("peer 0 1.2.3.4:5\n", "peer 1 1.2.3.4:6 12.5\n", "connected 2\n"), 3, ["?", "?"])):
            with self.subTest(pieces):
                side = self.side(*pieces)
                self.assertTrue(side.settled)
                self.assertEqual((side.own_ms, side.paths), (own_ms, paths))
        self.assertFalse(self.side("ready\n", "connected 1 5").settled, "the line has not ended")
        self.assertFalse(self.side("return 4500000 HP_STATUS_TIMED_OUT_PUNCHING\n").settled)

    def test_runs_are_judged_by_both_sides(self) -> None:
        direct, relayed = "peer 0 x host 1\nconnected 1 30\n", "peer 0 x relayed 1\nconnected 1 50\n"
        self.assertEqual(judge([self.side(direct), self.side(direct)]), Run(DIRECT, 30, ("host", "host")))
        self.assertEqual(judge([self.side(direct), self.side(relayed)]), Run(RELAYED, 50, ("host", "relayed")))
        self.assertEqual(judge([self.side(relayed), self.side(direct)], stagger_ms=30).ms, 30)
        self.assertEqual(judge([self.side(direct), self.side(direct)], unheard="a has not heard b").outcome, FAILED)
        failed = judge([self.side(direct), self.side(errors="log\nno luck\n\n", ended=700, name="b")])
        self.assertEqual(failed, Run(FAILED, 700, ("host",), "b: no luck"))
        failed = judge([self.side(errors="no luck\n", ended=800), self.side(errors="no luck\n", ended=700, name="b")])
        self.assertEqual((failed.ms, failed.reason), (700, "a and b: no luck"))
        failed = judge([self.side(), self.side(ended=700, name="b")])
        self.assertEqual((failed.ms, failed.reason), (700, "a: still trying; b: ended without a word"))


class MatrixRun(LabTestCase):
    """The whole program, with clients and a server that only pretend."""

    _SERVER = f"{shlex.quote(sys.executable)} -S -c 'import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); " \
              "s.bind((sys.argv[1], int(sys.argv[2]))); s.recv(1)' {address} {port}"

    def run_matrix(self, client: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        """Exit status and results of one pair, run twice; what it said, too, is left in `said` and `report`."""
        with tempfile.TemporaryDirectory() as directory:
            report, picture = Path(directory, "report.json"), Path(directory, "picture.svg")
            self.said = io.StringIO()
            with contextlib.redirect_stdout(self.said), contextlib.redirect_stderr(self.said):
                status = matrix.main(["--kinds", "open", "--input", "drop", "--runs", "2", "--timeout", "2", "--client",
                                      client, "--server-command", self._SERVER, "--json", str(report), "--svg",
                                      str(picture), "--require", "100", *options])
            ElementTree.parse(picture)
            self.report = json.loads(report.read_text())
            return status, self.report["results"]

    def test_a_client_that_is_content_connects_every_time(self) -> None:
        status, [result] = self.run_matrix("sh -c 'echo ready; read gate; echo peer 0 {server} relayed 1; "
                                           "echo connected 1 5; cat'")
        self.assertEqual((status, result["relayed"], result["median_ms"]), (0, 2, 5))

    def test_a_client_that_gives_up_is_quoted(self) -> None:
        status, [result] = self.run_matrix("sh -c 'echo {side} sorry >&2; exit 1'")
        self.assertEqual((status, result["failed"], result["reasons"]), (1, 2, {"a: a sorry; b: b sorry": 2}))

    def test_a_connection_that_carries_nothing_does_not_count_when_they_have_to_talk(self) -> None:
        status, [result] = self.run_matrix("sh -c 'echo connected 1 5; sleep 9'", "--talk", "--timeout", "0.4")
        self.assertEqual((status, result["reasons"]), (1, {"a has not heard b, b has not heard a": 2}))

    def test_another_client_runs_beside_the_first(self) -> None:
        first = "sh -c 'echo peer 0 {server} host 1; echo connected 1 5; cat'"
        # Were its sessions those of the first, it would end the whole matrix.
        other = "sh -c 'echo in {timeout_s} s >&2; echo {session} | grep -q -- -0-.$ && exit 2; " \
                "[ {side} = a ] && exec cat; exit 1'"
        status, [result] = self.run_matrix(
            first, "--name", "mine", "--beside", f"theirs (pretended)={other}", "--beside-server",
            self._SERVER.replace("recv(1)", "recv(2)"), "--beside-runs", "3", "--beside-timeout", "0.5")
        self.assertEqual((status, result["direct"], result["runs"]), (0, 2, 2))
        beside = result["beside"]
        self.assertEqual((beside["runs"], beside["failed"]), (3, 3))
        self.assertEqual(beside["reasons"], {"a: still trying; b: in 0.25 s": 3})
        self.assertRegex(self.said.getvalue(), r"open with open, drop/drop: mine 2/2 direct p50 5 ms \| theirs 0/3 ")
        self.assertIn("theirs (pretended): 0 of 1 pairs connected every time", self.said.getvalue())
        told = self.report["options"]["beside"]
        self.assertEqual((self.report["options"]["name"], told["name"], told["runs"], told["timeout_s"]),
                         ("mine", "theirs (pretended)", 3, 0.5))

    def test_each_client_has_a_server_of_its_own(self) -> None:
        first = "sh -c 'echo connected 1 5'"
        with self.assertRaises(SystemExit) as raised:
            self.run_matrix(first, "--beside", f"theirs={first}", "--beside-server", "sh -c 'echo broken; exit 1'")
        self.assertEqual(raised.exception.code, 2)
        self.assertIn("does not listen on UDP port 5000: broken", self.said.getvalue())
        with self.assertRaises(SystemExit):
            self.run_matrix(first, "--beside-timeout", "1")
        self.assertIn("go with --beside", self.said.getvalue())

    def test_a_command_that_cannot_run_ends_it_all(self) -> None:
        for client in ("no-such-program", "{no-such-program}", "sh -c 'exit 2'"):
            with self.subTest(client), self.assertRaises(SystemExit) as raised:
                self.run_matrix(client)
            self.assertEqual(raised.exception.code, 2)
