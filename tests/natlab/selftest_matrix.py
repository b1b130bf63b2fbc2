"""The part of the self-test about the matrix: its arithmetic, its picture, and runs with simple clients."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shlex
import sys
import tempfile
import unittest
from pathlib import Path
from xml.etree import ElementTree

import matrix
from matrix_report import DIRECT, FAILED, RELAYED, Result, Run, milliseconds, percentile, summary, svg, table
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

    def draw(self, results: list[Result]) -> ElementTree.Element:
        """The parsed picture."""
        text = svg(results, 'NATs <&"> others', "20 runs & more")
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
                                "{my-tool} {options} {address}:{port},{address2}", Path(directory), ["--a", "b c"])
            self.assertEqual(commands.client_argv("[::1]", "s 1", "a"),
                             [str(program), "-t", "4750", "[::1]:5000", "s 1 x"])
            self.assertEqual(commands.server_argv(("1.2.3.4", "1.2.3.5")),
                             [str(program), "--a", "b c", "1.2.3.4:5000,1.2.3.5"])
            with self.assertRaisesRegex(ValueError, "no program .*other"):
                Commands("{other}", "", Path(directory)).client_argv("1.2.3.4", "s", "a")


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

    def run_matrix(self, client: str, *options: str) -> tuple[int, list[dict[str, object]]]:
        """Exit status and results of one pair, run twice."""
        with tempfile.TemporaryDirectory() as directory:
            report, picture = Path(directory, "report.json"), Path(directory, "picture.svg")
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                status = matrix.main(["--kinds", "open", "--input", "drop", "--runs", "2", "--timeout", "2", "--client",
                                      client, "--server-command", self._SERVER, "--json", str(report), "--svg",
                                      str(picture), "--require", "100", *options])
            ElementTree.parse(picture)
            return status, json.loads(report.read_text())["results"]

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

    def test_a_command_that_cannot_run_ends_it_all(self) -> None:
        for client in ("no-such-program", "{no-such-program}", "sh -c 'exit 2'"):
            with self.subTest(client), self.assertRaises(SystemExit) as raised:
                self.run_matrix(client)
            self.assertEqual(raised.exception.code, 2)
