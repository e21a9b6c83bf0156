"""The launch scripts: what they would do, what they do with clouds that are programs of ours."""

import json
import os
import shlex
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "launch").glob("*.sh"))
PROGRAMS = [path for path in SCRIPTS if path.stat().st_mode & stat.S_IXUSR]
TRAIN = ["--", "--config=configs/ap_bwe.py", "--workdir=/w/a b", "--config.data.gain_db=(-3,0)"]

# Notes its arguments and its input, then answers what the test wrote for it, a line for each call.
FAKE = """#!{python}
import json, os, sys
name = os.path.basename(sys.argv[0])
folder = os.path.dirname(sys.argv[0])
given = sys.stdin.read() if name in ("sbatch", "kubectl") and "logs" not in sys.argv else ""
with open(os.path.join(folder, "calls"), "a") as calls:
    calls.write(json.dumps([name, *sys.argv[1:], given]) + "\\n")
for place, answers in json.load(open(os.path.join(folder, "answers"))).items():
    if place in sys.argv and answers:
        rest = json.load(open(os.path.join(folder, "answers")))
        text, status = rest[place].pop(0)
        json.dump(rest, open(os.path.join(folder, "answers"), "w"))
        print(text)
        sys.exit(status)
"""


class Cloud:
    """Programs of a cloud on the PATH, and what they were called with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        for name in ("gcloud", "sbatch", "kubectl", "codecbwe", "scontrol"):
            path = folder / name
            path.write_text(FAKE.format(python=shutil.which("python3")))
            path.chmod(0o755)
        self.answers({})

    def answers(self, answers: dict[str, list[tuple[str, int]]]) -> None:
        """What calls that hold a word print, one after another, and the status they end with."""
        (self.folder / "answers").write_text(json.dumps(answers))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(ROOT / "launch" / script), *arguments],
            env={**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )

    @property
    def calls(self) -> list[list[str]]:
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path / "cloud")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_shellcheck_finds_nothing(path: Path) -> None:
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed (apt-get install shellcheck)")
    result = subprocess.run(
        ["shellcheck", "-x", "-P", "launch", path], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    "path", [p for p in PROGRAMS if p.stem not in ("demo", "test")], ids=lambda p: p.name
)
def test_help_and_mistakes_take_a_line(path: Path, cloud: Cloud) -> None:
    helped = cloud.run(path.name, "--help")
    assert helped.returncode == 0
    assert f"./launch/{path.name}" in helped.stdout
    assert "--dry-run" in helped.stdout
    assert "#!" not in helped.stdout
    action = {"tpu_pod.sh": ["create"], "gke.sh": ["apply"]}.get(path.name, [])
    wrong = cloud.run(path.name, *action, "--nmae=x")
    assert wrong.returncode == 2
    assert wrong.stderr.strip() == f"{path.name}: unknown argument --nmae=x; see --help"
    bare = cloud.run(path.name, *action, "--retries" if path.stem != "slurm" else "--nodes")
    assert bare.returncode == 2
    assert bare.stderr.strip().endswith(" needs a value; see --help")
    assert not cloud.calls


SLURM = ["slurm.sh", "--nodes", "2", "--gpus", "8", "--partition", "gpu", "--account", "us"]
POD = ["--name", "pod", "--zone", "us-east5-a"]
CREATE = [*POD, "--type", "v5litepod-16", "--spot"]
GKE = ["gke.sh", "apply", "--name", "run", "--image", "IMAGE", "--hosts", "2"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["local.sh", *TRAIN],
        [*SLURM, *TRAIN],
        ["tpu_pod.sh", "train", *CREATE, *TRAIN],
        ["tpu_pod.sh", "collect", *POD, "--from", "runs/a", "--to", "."],
        [*GKE, "--gpu", "nvidia-h100-80gb", *TRAIN],
        ["gke.sh", "delete", "--name", "run"],
    ],
    ids=lambda a: " ".join(a[:2]),
)
def test_a_dry_run_prints_what_a_run_does(arguments: list[str], cloud: Cloud) -> None:
    where = arguments.index("--") if "--" in arguments else len(arguments)
    dry = cloud.run(*arguments[:where], "--dry-run", *arguments[where:])
    assert dry.returncode == 0, dry.stderr
    assert not cloud.calls
    cloud.answers({"describe": [("", 1), ("ACTIVE", 0)]})
    done = cloud.run(
        *arguments[:where], *(["--poll", "0"] * ("train" in arguments)), *arguments[where:]
    )
    assert done.returncode == 0, done.stderr
    shown = [shlex.split(line) for line in _commands(dry.stdout)]
    made = [call[:-1] for call in cloud.calls if "describe" not in call]
    assert [_plain(call) for call in shown if call[0] != "git"] == [_plain(call) for call in made]


def _commands(text: str) -> list[str]:
    starts = ("gcloud ", "sbatch ", "kubectl ", "codecbwe ", "git ")
    return [line for line in text.splitlines() if line.startswith(starts)]


def _plain(call: Sequence[str]) -> list[str]:
    """Without the names of temporary files."""
    return [
        "ARCHIVE.tar.gz" if word.endswith(".tar.gz") and ":" not in word else word for word in call
    ]


def test_slurm_gets_a_job_that_runs_what_was_asked_for(cloud: Cloud) -> None:
    result = cloud.run(*SLURM, "--time", "01:00:00", *TRAIN)
    assert result.returncode == 0, result.stderr
    ((program, *options, job),) = cloud.calls
    assert program == "sbatch"
    assert {"--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--requeue"} < set(options)
    assert {"--partition=gpu", "--account=us", "--time=01:00:00", "--signal=TERM@120"} < set(
        options
    )
    assert "codecbwe train --config=configs/ap_bwe.py '/w" not in job
    line = next(line for line in job.splitlines() if line.startswith("srun"))
    assert shlex.split(line.removesuffix(" &"))[2:] == ["codecbwe", "train", *TRAIN[1:]]


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (143, True), (2, False)])
def test_a_job_that_was_told_to_leave_is_queued_again(
    status: int, requeued: bool, cloud: Cloud, tmp_path: Path
) -> None:
    """The job itself, run by bash, with an srun that ends as a run would."""
    cloud.run(*SLURM, *TRAIN)
    job = cloud.calls[0][-1]
    srun = cloud.folder / "srun"
    srun.write_text(f"#!/bin/sh\nexit {status}\n")
    srun.chmod(0o755)
    result = subprocess.run(
        ["bash"],
        input=job,
        env={**os.environ, "PATH": f"{cloud.folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"},
        text=True,
        capture_output=True,
        timeout=60,
    )
    # its environment comes back to the front of the PATH, if it has one here
    assert result.returncode == status, result.stderr
    assert (["scontrol", "requeue", "7", ""] in cloud.calls) == requeued


def test_a_pod_that_is_taken_away_is_asked_for_again(cloud: Cloud) -> None:
    ready = [("copied", 0), ("installed", 0)]
    first, waiting, there = [("", 1)], [("PROVISIONING", 0), ("ACTIVE", 0)], [("ACTIVE", 0)]
    cloud.answers(
        {
            "describe": [*first, *waiting, *there, ("SUSPENDED", 0), *there],
            "--worker=all": [*ready, ("lost", 255), ("left", 143), *ready, ("done", 0)],
        }
    )
    result = cloud.run("tpu_pod.sh", "train", *CREATE, "--poll", "0", *TRAIN)
    assert result.returncode == 0, result.stderr
    verbs = [next(w for w in call if w in VERBS) for call in cloud.calls if "describe" not in call]
    assert verbs == [
        *("create", "scp", "ssh", "ssh"),  # lost, but still there
        *("ssh",),  # taken away
        *("delete", "create", "scp", "ssh", "ssh"),
        "delete",
    ]
    assert "trying again (2 of 10)" in result.stdout
    command = cloud.calls[-2][cloud.calls[-2].index("--command") + 1]
    assert shlex.split(command)[3:] == [".venv/bin/codecbwe", "train", *TRAIN[1:]]


VERBS = ("create", "scp", "ssh", "delete")


def test_a_slice_that_fails_before_it_is_there_is_asked_for_again(cloud: Cloud) -> None:
    cloud.answers(
        {"describe": [("", 1), ("PROVISIONING", 0), ("FAILED", 0), ("FAILED", 0), ("ACTIVE", 0)]}
    )
    result = cloud.run("tpu_pod.sh", "train", *CREATE, "--poll", "0", *TRAIN)
    assert result.returncode == 0, result.stderr
    verbs = [next(w for w in call if w in VERBS) for call in cloud.calls if "describe" not in call]
    assert verbs == ["create", "delete", "create", "scp", "ssh", "ssh", "delete"]
    assert "pod is FAILED" in result.stderr


def test_a_slice_in_the_queue_keeps_its_place(cloud: Cloud) -> None:
    """As when the script was stopped while it waited."""
    cloud.answers({"describe": [("WAITING_FOR_RESOURCES", 0), ("ACTIVE", 0)]})
    result = cloud.run("tpu_pod.sh", "train", *CREATE, "--poll", "0", *TRAIN)
    assert result.returncode == 0, result.stderr
    verbs = [next(w for w in call if w in VERBS) for call in cloud.calls if "describe" not in call]
    assert verbs == ["scp", "ssh", "ssh", "delete"]


IN_BUCKETS = ["--", "--workdir=gs://my.bucket/runs/a b", "--config.data.path=gs://other/x"]


def test_buckets_are_mounted_on_every_host_of_a_pod(cloud: Cloud, tmp_path: Path) -> None:
    """The command that the hosts get, run by bash with programs that say what they were asked."""
    cloud.run("tpu_pod.sh", "run", *POD, *IN_BUCKETS)
    command = cloud.calls[0][cloud.calls[0].index("--command") + 1]
    for name in ("sudo", "mountpoint", "gcsfuse", "codecbwe"):
        program = tmp_path / "codecbwe_jax" / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        fails = "false" if name == "mountpoint" else "true"
        program.write_text(
            f'#!/bin/sh\nprintf "%s|" {name} "$@" >> {tmp_path}/told\n'
            f"echo >> {tmp_path}/told\n{fails}\n"
        )
        program.chmod(0o755)
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "USER": "me"}
    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
    told = [line.split("|")[:-1] for line in (tmp_path / "told").read_text().splitlines()]
    limit = "--rename-dir-limit=200000"
    assert told == [
        *(
            call
            for bucket in ("my.bucket", "other")
            for call in (
                ["sudo", "install", "--directory", "--owner=me", f"/mnt/gs/{bucket}"],
                ["mountpoint", "--quiet", f"/mnt/gs/{bucket}"],
                ["gcsfuse", "--implicit-dirs", limit, bucket, f"/mnt/gs/{bucket}"],
            )
        ),
        [
            "codecbwe",
            "train",
            "--workdir=/mnt/gs/my.bucket/runs/a b",
            "--config.data.path=/mnt/gs/other/x",
        ],
    ]
    cloud.run("tpu_pod.sh", "collect", *POD, "--from", "gs://my.bucket/runs", "--to", "here")
    assert cloud.calls[-1][:-1] == [
        "gcloud",
        "storage",
        "cp",
        "--recursive",
        "gs://my.bucket/runs",
        "here",
    ]


def test_buckets_are_volumes_of_a_manifest(cloud: Cloud, load_yaml: Callable[[str], dict]) -> None:
    shown = cloud.run(*GKE, "--gpu", "g", "--account", "me", *IN_BUCKETS)
    assert shown.returncode == 0, shown.stderr
    template = load_yaml(cloud.calls[0][-1])["spec"]["replicatedJobs"][0]["template"]["spec"][
        "template"
    ]
    assert template["metadata"]["annotations"] == {"gke-gcsfuse/volumes": "true"}
    pod = template["spec"]
    assert pod["serviceAccountName"] == "me"
    (container,) = pod["containers"]
    places = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    mounted = {places[v["name"]]: v["csi"] for v in pod["volumes"] if "csi" in v}
    assert {place: csi["volumeAttributes"]["bucketName"] for place, csi in mounted.items()} == {
        "/mnt/gs/my.bucket": "my.bucket",
        "/mnt/gs/other": "other",
    }
    assert shlex.split(container["command"][2])[3:5] == [
        "--workdir=/mnt/gs/my.bucket/runs/a b",
        "--config.data.path=/mnt/gs/other/x",
    ]


def test_a_mistake_in_the_command_is_not_tried_again(cloud: Cloud) -> None:
    cloud.answers({"describe": [("ACTIVE", 0)], "ssh": [("codecbwe: no such file", 2)]})
    result = cloud.run("tpu_pod.sh", "train", *CREATE, *TRAIN)
    assert result.returncode == 2
    assert [call for call in cloud.calls if "delete" in call] == []
    assert "pod is still there" in result.stderr


@pytest.mark.parametrize(
    ("pool", "resource"),
    [
        (["--tpu", "tpu-v5-lite-podslice", "--topology", "4x4"], "google.com/tpu"),
        (["--gpu", "nvidia-h100-80gb", "--chips", "8", "--claim", "disk"], "nvidia.com/gpu"),
    ],
)
def test_a_manifest_is_one_that_kubernetes_reads(
    pool: list[str], resource: str, cloud: Cloud, load_yaml: Callable[[str], dict]
) -> None:
    result = cloud.run(*GKE, *pool, *TRAIN)
    assert result.returncode == 0, result.stderr
    ((program, *arguments, text),) = cloud.calls
    assert [program, *arguments] == ["kubectl", "apply", "--filename", "-"]
    manifest = load_yaml(text)
    job = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]
    assert job["parallelism"] == job["completions"] == 2
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {resource: 8 if "--chips" in pool else 4}
    words = shlex.split(container["command"][2])
    assert words[:6] == ["exec", "codecbwe", "train", *TRAIN[1:]]
    joined = [w for w in words if w.startswith(("--coordinator", "--process"))]
    assert joined == (
        ["--coordinator=run-hosts-0-0.run:8476", "--processes=2", "--process=$JOB_COMPLETION_INDEX"]
        if resource == "nvidia.com/gpu"
        else []
    )
    assert {v["name"] for v in pod["volumes"]} == {"memory", *(["data"] * ("--claim" in pool))}


@pytest.fixture
def load_yaml() -> Callable[[str], dict]:
    import yaml  # what ml-collections reads with

    return yaml.safe_load


def test_a_run_that_was_told_to_leave_starts_again_here(cloud: Cloud) -> None:
    cloud.answers({"train": [("saved", 143), ("saved", 143), ("done", 0)]})
    result = cloud.run("local.sh", "--retries", "3", *TRAIN)
    assert result.returncode == 0
    assert len(cloud.calls) == 3
    cloud.answers({"train": [("saved", 143), ("saved", 143)]})
    assert cloud.run("local.sh", "--retries", "1", *TRAIN).returncode == 143
    cloud.answers({"train": [("mistake", 2)]})
    assert cloud.run("local.sh", "--retries", "3", *TRAIN).returncode == 2


@pytest.mark.parametrize("processes", [1, 2])
def test_a_signal_to_the_script_reaches_the_run(processes: int, cloud: Cloud) -> None:
    """Each process saves, here for a moment, and none is left or started again."""
    program = cloud.folder / "codecbwe"
    program.write_text(
        "#!/usr/bin/env bash\n"
        "trap 'sleep 0.2; echo saved >> saved; exit 143' TERM\n"
        "echo begun >> begun\nwhile :; do sleep 0.05; done\n"
    )
    script = subprocess.Popen(
        ["bash", ROOT / "launch/local.sh", "--processes", str(processes), "--retries", "3", *TRAIN],
        env={**os.environ, "PATH": f"{cloud.folder}:{os.environ['PATH']}"},
        cwd=cloud.folder,
    )
    begun, saved = cloud.folder / "begun", cloud.folder / "saved"
    while not begun.exists() or begun.read_text().count("begun") < processes:
        time.sleep(0.02)
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=60) == 143
    assert begun.read_text().count("begun") == processes
    assert saved.read_text().count("saved") == processes


def test_processes_here_find_each_other(cloud: Cloud) -> None:
    assert cloud.run("local.sh", "--processes", "3", *TRAIN).returncode == 0
    places = sorted(call[-4:-1] for call in cloud.calls)
    assert len({place[0] for place in places}) == 1
    assert [place[1:] for place in places] == [
        ["--processes=3", f"--process={i}"] for i in range(3)
    ]


def test_the_quick_tests_are_there_and_are_all_that_runs(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("python", "ruff", "mypy"):
        shutil.copy(cloud.folder / "codecbwe", cloud.folder / name)
    monkeypatch.setenv("VIRTUAL_ENV", str(cloud.folder))
    assert cloud.run("test.sh", "--quick", "-x").returncode == 0
    checks, pytest_call = cloud.calls[-4:-1], cloud.calls[-1]
    assert [" ".join(call[:2]).strip() for call in checks] == ["ruff check", "ruff format", "mypy"]
    assert pytest_call[:3] == ["python", "-m", "pytest"]
    chosen = [word for word in pytest_call if word.startswith("tests/")]
    assert "tests/test_project.py" in chosen
    for path, _, name in (word.partition("::") for word in chosen):
        assert f"def {name}" in (ROOT / path).read_text()
    assert pytest_call[-2] == "-x"


@pytest.mark.parametrize("path", sorted((ROOT / "launch").rglob("*")), ids=lambda p: p.name)
def test_no_secrets_and_no_addresses(path: Path) -> None:
    if path.is_file():
        text = path.read_text().lower()
        assert not any(word in text for word in ("password", "token=", "secret", "api_key"))
