"""The command line as a person meets it: what it prints, where, and its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import HERE, RECORDINGS, SCENARIOS, pipeline_run, replay, succeeded
from tracer.cli.files import write_whole
from tracer.demo.player import packaged_recordings
from tracer.telemetry import otlp

TIMEOUT = str(HERE / "recordings" / "task-timeout")
TWO_RUNS = str(HERE / "scenarios" / "generate-name")


def tracer(*arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "tracer", *arguments],
        input=stdin,
        env={"PYTHONPATH": str(HERE.parent), "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_explain_tells_the_truth_where_tekton_does_not() -> None:
    """On `task-timeout`: the first step passed, the second was cut off by the time-out, the third never ran."""
    done = tracer("explain", "-f", TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[2]: line for line in done.stdout.splitlines() if len(line.split()) > 2 and line.split()[0] in "├└"}
    assert "success" in lines["prepare"]
    assert "timeout, exit 255" in lines["soak"]
    assert "never ran" in lines["publish"]
    assert 'TaskRun "run-slow" failed to finish within "6s"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["replay", "--dry-run", "/no/such/file"], "/no/such/file does not exist"),
        (["replay", "--dry-run", "EMPTY"], "is empty"),
        (["replay", "--dry-run", "TEXT"], "neither JSON nor YAML"),
        (["replay", "--dry-run", "CONFIGMAPS"], "holds ConfigMap"),
        (["replay", "--dry-run", "FOLDER"], "neither watch.jsonl nor objects.json"),
        (["replay"], "Missing argument 'PATH...'"),
        (["replay", "--dry-run", "--ouput", "json", TIMEOUT], "No such option"),
        (["replay", "--dry-run", "-o", "xml", TIMEOUT], "'xml' is not one of"),
        (["explain", "-f", TIMEOUT, "-n", "ci"], "-f PATH reads a recording"),
        (["explain", "-f", TIMEOUT, "ru"], "no run ru; the nearest is PipelineRun/run.\n"),
        (["explain", "-f", TIMEOUT, "TaskRun/run"], "no run TaskRun/run; the nearest is PipelineRun/run.\n"),
        (["explain", "-f", TWO_RUNS, "build"], "of no run build; there are TaskRun/clock, PipelineRun/"),
        (["explain", "-f", TWO_RUNS], "tells of 2 runs; name one of"),
        (["explain", "-f", TIMEOUT, "run", "--last"], "exclude each other"),
        (["explain", "-f", TIMEOUT, "--html", "run.html", "-o", "json"], "--html FILE and -o exclude each other"),
        (["demo", "failing-stp"], "did you mean failing-step?"),
        (["demo", "--speed", "0"], "--speed"),
        (["explane"], "No such command 'explane' (Did you mean"),
    ],
)
def test_bad_input_gives_one_sentence(tmp_path: Path, arguments: list[str], said: str) -> None:
    """Each mistake gives one sentence on standard error, nothing on standard output, and exit code 2."""
    (tmp_path / "EMPTY").touch()
    (tmp_path / "TEXT").write_text("hello")
    (tmp_path / "CONFIGMAPS").write_text('{"kind":"List","apiVersion":"v1","items":[{"kind":"ConfigMap","apiVersion":"v1"}]}')
    (tmp_path / "FOLDER").mkdir()
    done = tracer(*(str(tmp_path / one) if one.isupper() else one for one in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("tracer: ")


def test_the_menu_says_each_command_whole() -> None:
    """On a terminal of 80 columns no command's sentence is cut."""
    done = tracer("--help")
    assert [line for line in done.stdout.partition("Commands:")[2].splitlines() if line.endswith("...")] == []


def test_half_a_last_line_is_a_warning(tmp_path: Path) -> None:
    """Half a line at the end of a recording is left out with a warning, and the rest is told."""
    whole = (HERE / "recordings" / "task-timeout" / "watch.jsonl").read_text()
    (tmp_path / "watch.jsonl").write_text(whole + whole.splitlines()[0][:100])
    done = tracer("replay", "--dry-run", "-o", "otlp", str(tmp_path))
    assert done.returncode == 0
    assert "is cut off" in done.stderr
    assert json.loads(done.stdout) == json.loads(tracer("replay", "--dry-run", "-o", "otlp", TIMEOUT).stdout)


def test_malformed_objects_are_counted(tmp_path: Path) -> None:
    """A malformed object is told with its kind and the path that failed, and costs nothing else."""
    bad = json.dumps({"at": 1, "type": "ADDED", "object": {"kind": "Pod", "apiVersion": "v1", "metadata": {"uid": 3}}})
    (tmp_path / "watch.jsonl").write_text(bad + "\n" + (Path(TIMEOUT) / "watch.jsonl").read_text() + bad + "\n")
    done = tracer("replay", "--dry-run", "-o", "otlp", str(tmp_path))
    assert (done.returncode, done.stderr) == (
        0,
        "tracer: 2 malformed Pod left out, at $.metadata.uid: Expected `str`, got `int`.\n",
    )


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in [*RECORDINGS[:3], *SCENARIOS[:2]]])
def test_otlp_is_one_request_with_every_span(path: Path) -> None:
    """`-o otlp` prints the very spans that would be sent."""
    done = tracer("replay", "--dry-run", "-o", "otlp", str(path))
    assert json.loads(done.stdout) == otlp.to_json(otlp.export_request(replay(path / "watch.jsonl")))


def test_json_is_one_object_a_run() -> None:
    """`-o json` prints a line a run; `explain -o json` prints the same one."""
    (line,) = tracer("replay", "--dry-run", "-o", "json", TIMEOUT).stdout.splitlines()
    said = json.loads(line)
    assert (said["result"], said["finished"], said["durationS"]) == ("failure", True, 6.5)
    assert [leg["path"][-1] for leg in said["criticalPath"]] == ["schedule", "start containers", "prepare", "soak"]
    assert json.loads(tracer("explain", "-o", "json", "-f", TIMEOUT).stdout) == said


@pytest.mark.parametrize("run", ["run", "PipelineRun/run", "pipelinerun/run", "ca7c57a8-0000", None])
def test_runs_are_found(run: str | None) -> None:
    """A run is found by its name, by kind and name, by its UID, or because it is the only one."""
    uid = json.loads(tracer("explain", "-o", "json", "-f", TIMEOUT).stdout)["uid"]
    arguments = [] if run is None else [uid if run.startswith("ca7c") else run]
    assert json.loads(tracer("explain", "-o", "json", "-f", TIMEOUT, *arguments).stdout)["uid"] == uid


def test_the_newest_run() -> None:
    """`--last` takes the run that began last."""
    assert json.loads(tracer("explain", "-o", "json", "-f", TWO_RUNS, "--last").stdout)["name"] == "clock"


def test_standard_input() -> None:
    """A recording may come from a pipe."""
    text = (Path(TIMEOUT) / "watch.jsonl").read_text()
    done = tracer("replay", "--dry-run", "-o", "otlp", "-", stdin=text)
    assert json.loads(done.stdout) == json.loads(tracer("replay", "--dry-run", "-o", "otlp", TIMEOUT).stdout)
    assert tracer("explain", "-f", "-", stdin="").stderr == (
        "tracer: Standard input is empty; give watch events, or what `kubectl get -o json` prints.\n"
    )


def test_a_run_that_goes_on_is_drawn() -> None:
    """What is unfinished is shown as far as it is known."""
    lines = (Path(TIMEOUT) / "watch.jsonl").read_text().splitlines()
    until = next(index for index, line in enumerate(lines) if '"deletionTimestamp"' in line)
    done = tracer("explain", "-f", "-", stdin="\n".join(lines[:until]) + "\n")
    assert done.returncode == 0
    assert "running, last heard of 4.49 s after it began" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
    assert any("prepare" in row and "running" in row for row in rows)
    assert any("publish" in row and "waiting" in row for row in rows)


def test_nothing_known_of_a_run(tmp_path: Path) -> None:
    """A recording with Pods alone tells of no run, and says so."""
    events = [line for line in (Path(TIMEOUT) / "watch.jsonl").read_text().splitlines() if '"kind":"Pod"' in line]
    (tmp_path / "watch.jsonl").write_text("\n".join(events))
    done = tracer("explain", "-f", str(tmp_path))
    assert done.returncode == 2
    assert "tells of no run" in done.stderr


def test_demo_plays() -> None:
    """The demo names each step as it ends, then draws the run."""
    done = tracer("demo", "--speed", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    played, _, drawn = done.stdout.partition("PipelineRun ")
    assert [line.split()[3] for line in played.splitlines() if " s  " in line] == ["fetch", "setup", "unit", "report"]
    assert "Why it failed" in drawn


def test_demo_names_what_is_packaged() -> None:
    """The help of the demo lists the packaged recordings."""
    assert ", ".join(packaged_recordings()) in " ".join(tracer("demo", "--help").stdout.split())


def test_version() -> None:
    """The version names the span model and the libraries."""
    said = tracer("version").stdout
    assert "span model 1" in said
    assert "msgspec" in said


@pytest.mark.parametrize("arguments", [["explain", "-f", TIMEOUT], ["replay", "--dry-run", "-o", "otlp", TIMEOUT], ["version"]])
def test_a_full_disk_and_a_reader_that_leaves(arguments: list[str]) -> None:
    """What cannot be written is one sentence and exit code 2; a reader that has gone, as `head` does, is no error."""
    command = f"{sys.executable} -m tracer {' '.join(arguments)}"
    for shell, code, said in (
        (f"{command} > /dev/full", 2, "No space left on device"),
        (f"{command} | true; exit ${{PIPESTATUS[0]}}", 0, ""),
    ):
        done = in_shell(shell)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert said in done.stderr


def in_shell(command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash."""
    environment = {"PYTHONPATH": str(HERE.parent), "PATH": "/usr/bin:/bin"}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)  # noqa: S607


def test_a_pipe_is_a_file() -> None:
    """A recording may come through a named pipe, as a shell's process substitution gives one."""
    done = in_shell(f"{sys.executable} -m tracer explain -o json -f <(cat {TIMEOUT}/watch.jsonl)")
    assert json.loads(done.stdout)["name"] == "run"


def test_children_that_are_missing_are_named() -> None:
    """A PipelineRun alone is drawn, and what it lacks is said."""
    lines = (Path(TIMEOUT) / "watch.jsonl").read_text().splitlines()
    alone = [line for line in lines if json.loads(line)["object"]["kind"] == "PipelineRun"]
    done = tracer("explain", "-f", "-", stdin="\n".join(alone) + "\n")
    assert done.returncode == 0
    assert "1 children that a run names were not in the input" in done.stderr


def test_a_page_is_a_file(tmp_path: Path) -> None:
    """`--html` writes the page whole, says where it is, and draws nothing; on standard output it is the same bytes."""
    page = tmp_path / "run.html"
    page.write_text("what was there before")
    done = tracer("explain", "-f", TIMEOUT, "--html", str(page), PYTHONHASHSEED="1")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"tracer: the page is in {page}; open it with a browser.\n"
    assert [one.name for one in tmp_path.iterdir()] == ["run.html"]
    again = tracer("explain", "-f", TIMEOUT, "--html", "-", PYTHONHASHSEED="2", PYTHONIOENCODING="ascii")
    assert (again.returncode, again.stderr, again.stdout) == (0, "", page.read_text())


def test_a_page_through_a_link(tmp_path: Path) -> None:
    """A link goes on to lead where it leads, and what it leads to is written in place, for the kernel says whether it may be."""
    link, page = tmp_path / "link", tmp_path / "page"
    link.symlink_to(page)
    assert tracer("explain", "-f", TIMEOUT, "--html", str(link)).returncode == 0
    assert (link.is_symlink(), page.read_text().startswith("<!doctype html>")) == (True, True)
    page.write_text("what was there before")
    known = page.stat().st_ino
    assert tracer("explain", "-f", TIMEOUT, "--html", str(link)).returncode == 0
    assert (page.stat().st_ino, page.read_text().startswith("<!doctype html>")) == (known, True)


def test_a_page_is_read_by_whom_the_file_before_it_was_read_by(tmp_path: Path) -> None:
    """A file keeps its mode, so that what was private stays private; a new one has what the shell's umask leaves."""
    private, usual, new = (tmp_path / name for name in ("private", "usual", "new"))
    private.touch(mode=0o600)
    usual.touch()
    for page, before in ((private, private), (new, usual)):
        mode = before.stat().st_mode
        assert tracer("explain", "-f", TIMEOUT, "--html", str(page)).returncode == 0
        assert (page.stat().st_mode, page.stat().st_size > 0) == (mode, True), page.name


def test_a_page_leaves_other_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another process of the same number is writing in the folder, or left there, is neither in the way nor taken away."""
    theirs, page = tmp_path / f".{os.getpid()}.half", tmp_path / "page"
    theirs.write_text("theirs")
    write_whole("--html", str(page), "whole")
    assert (theirs.read_text(), page.read_text()) == ("theirs", "whole")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole("--html", str(page), "another")
    assert {one.name for one in tmp_path.iterdir()} == {theirs.name, "page"}
    assert page.read_text() == "whole"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("FOLDER", "--html names the folder FOLDER; name a file in it, such as FOLDER/run.html."),
        ("FOLDER/none/run.html", "there is no folder FOLDER/none; make it, or name another file."),
        ("FOLDER/" + "n" * 300, "cannot be written: File name too long; let --html name a file"),
        ("/proc/run.html", "/proc/run.html cannot be written: No such file or directory; let --html name a file"),
        ("/dev/full", "/dev/full cannot be written: No space left on device; let --html name a file"),
    ],
)
def test_a_page_that_cannot_be_written(tmp_path: Path, target: str, said: str) -> None:
    """It is one sentence that says what, where and what to do, and exit code 2."""
    done = tracer("explain", "-f", TIMEOUT, "--html", target.replace("FOLDER", str(tmp_path)))
    assert (done.returncode, done.stdout) == (2, "")
    assert said.replace("FOLDER", str(tmp_path)) in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_a_page_needs_what_draws_pages() -> None:
    """A command that draws no page does not load the library of templates."""
    check = "import sys; from tracer.cli import cli; sys.argv = ['tracer', 'explain', '-f', sys.argv[1]]; "
    check += "cli.main(standalone_mode=False); assert 'jinja2' not in sys.modules"
    subprocess.run([sys.executable, "-c", check, TIMEOUT], cwd=HERE.parent, stdout=subprocess.DEVNULL, check=True)


def test_a_run_that_its_caller_did_not_sample_is_drawn_all_the_same() -> None:
    """`explain` is for people; only sending honours the flag."""
    path = str(HERE / "scenarios" / "not-sampled")
    assert tracer("explain", "-f", path).stdout.startswith("✓ PipelineRun")
    assert "asked for no trace" in tracer("replay", "--dry-run", path).stderr


@pytest.mark.row("S8")
def test_hostile_names_are_harmless() -> None:
    """Control characters and markup of a name reach neither the terminal nor the layout, nor a sentence about an error."""
    run = pipeline_run({"startTime": "2026-08-20T10:00:00Z", "completionTime": "2026-08-20T10:00:09Z"}, labels={})
    run["metadata"]["name"] = "evil\x1b[2J\x07[bold]\u202ename"
    run["metadata"]["generateName"] = "x\ny-"
    run["status"]["conditions"] = succeeded("False", "Failed", "\x1b]0;title\x07 [red]")
    done = tracer("explain", "-f", "-", stdin=json.dumps(run))
    assert done.returncode == 0
    assert not set(done.stdout) & {"\x1b", "\x07", "\u202e"}
    assert "[bold]" in done.stdout
    assert "y" not in {line[:1] for line in done.stdout.splitlines()}
    unknown = tracer("explain", "-f", "-", "nobody", stdin=json.dumps(run))
    assert unknown.returncode == 2
    assert not set(unknown.stderr) & {"\x1b", "\x07", "\u202e"}
