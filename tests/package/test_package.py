"""What would be published: sdist and wheel are whole, say the right things of themselves, and work."""

import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import otelkafka

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "tests", "testbroker", "docs", "examples", "benchmarks")
PAPERS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "SECURITY.md",
    "LICENSE",
    "tox.ini",
    "hatch_build.py",
)
HIDDEN = (".ci", ".github", ".gitignore")
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
QUICK = (
    "tests/test_headers.py",
    "tests/project/test_layers.py",
    "tests/test_options.py",
    "tests/testing/test_fakes.py",
)


def run(*command, **options):
    """Run a command, and show what it said where it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="session")
def dist(tmp_path_factory):
    """The sdist, and the wheel that is built of it."""
    return build(tmp_path_factory.mktemp("dist"))


def build(directory, **repository):
    """Build both, as in a checkout of a repository on GitHub where one is given."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
    run(sys.executable, "-m", "build", "--outdir", str(directory), str(ROOT), env={**environment, **repository})
    return directory


@pytest.fixture(scope="session")
def unpacked(dist, tmp_path_factory):
    """What lies in the sdist."""
    (sdist,) = dist.glob("*.tar.gz")
    directory = tmp_path_factory.mktemp("sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(directory, filter="data")
    (root,) = directory.iterdir()
    return root


@pytest.fixture(scope="session")
def wheel(dist, tmp_path_factory):
    """What the wheel installs."""
    return unpack(dist, tmp_path_factory.mktemp("wheel"))


def unpack(dist, directory):
    """Unpack the wheel."""
    (built,) = dist.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(directory)
    return directory


def files_of(root, *directories):
    """The files below directories that are somebody's work."""
    found = {path.relative_to(root) for each in directories for path in (root / each).rglob("*") if path.is_file()}
    return {path for path in found if not any(part.startswith((".", "__pycache__", "_build")) for part in path.parts)}


def metadata(wheel):
    (file,) = wheel.glob("*.dist-info/METADATA")
    return email.message_from_string(file.read_text())


def test_sdist_is_complete(unpacked):
    """All that it takes to test and document it is there, and nothing else."""
    assert files_of(unpacked, *SOURCES) == files_of(ROOT, *SOURCES)
    assert set(PAPERS) <= {path.name for path in unpacked.iterdir()}
    assert {path.name for path in unpacked.iterdir()} <= {*SOURCES, *PAPERS, "PKG-INFO", "pyproject.toml", *HIDDEN}


def test_wheel_has_the_package_and_nothing_else(wheel):
    """The package of `src`, with its mark that it is typed, license and entry points; no tests."""
    assert files_of(wheel, "otelkafka") == files_of(ROOT / "src", "otelkafka")
    assert (wheel / "otelkafka" / "py.typed").exists()
    (info,) = wheel.glob("*.dist-info")
    assert {path.name for path in wheel.iterdir()} == {"otelkafka", info.name}
    assert (info / "licenses" / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    shown = (info / "entry_points.txt").read_text()
    assert "[opentelemetry_instrumentor]\notelkafka = otelkafka.instrumentor:KafkaInstrumentor" in shown
    assert "[console_scripts]\notelkafka = otelkafka._cli.command:main" in shown


def test_metadata_says_what_is_tested(wheel):
    """The Pythons are those of the lanes, the license is an expression, and the summary is the README."""
    shown = metadata(wheel)
    claimed = [
        each.rpartition(" :: ")[2] for each in shown.get_all("Classifier") if re.search(r"Python :: 3\.\d+$", each)
    ]
    assert tuple(claimed) == PYTHONS
    assert shown["Requires-Python"] == f">={PYTHONS[0]}"
    assert (shown["License-Expression"], shown["Name"]) == ("Apache-2.0", "otelkafka")
    assert {*shown.get_all("Classifier")} >= {"Typing :: Typed", "Framework :: OpenTelemetry"}
    assert {*shown.get_all("Provides-Extra")} == {"aiokafka", "auto", "confluent", "demo", "inspect", "sdk"}
    assert shown.get_payload() == (ROOT / "README.md").read_text()


def test_links_lead_into_the_repository_where_the_release_is_made(tmp_path):
    """A package index has no files beside the README: all of its links are absolute, pages at the tag and pictures raw."""
    made = build(tmp_path, GITHUB_REPOSITORY="them/it", GITHUB_SERVER_URL="https://example.org", GITHUB_REF_NAME="v9")
    shown = metadata(unpack(made, tmp_path / "wheel"))
    text, home = shown.get_payload(), "https://example.org/them/it"
    links = re.findall(r"(?:\]\(|srcset=\"|src=\")([^)\"]+)", text)
    assert [link for link in links if not link.startswith("https://")] == []
    for link in (
        f"{home}/blob/v9/docs/quickstart.md",
        f"{home}/raw/v9/docs/pictures/ask-trace.png",
        f"{home}/actions/workflows/ci.yml/badge.svg",
        f"{home}/blob/v9/CONTRIBUTING.md#run-tests",
    ):
        assert link in links
    assert f"Homepage, {home}" in shown.get_all("Project-URL")
    assert {each.partition(",")[0] for each in shown.get_all("Project-URL")} == {
        "Homepage",
        "Documentation",
        "Changelog",
        "Issues",
    }


def test_version_stands_in_one_place(wheel):
    """`__version__` is the distribution's; the changelog knows it, or what will be it."""
    assert metadata(wheel)["Version"] == otelkafka.__version__
    newest = re.search(r"^## \[?(.+?)\]?( - \d{4}-\d\d-\d\d)?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest[1] in {"Unreleased", otelkafka.__version__}


def test_changelog_is_kept():
    """Newest first, each release with the kinds of changes of Keep a Changelog, in its order."""
    releases = re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)[1:]
    assert releases[0].startswith(("Unreleased\n", "[Unreleased]\n", otelkafka.__version__))
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    for release in releases:
        shown = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert shown == [kind for kind in kinds if kind in shown], release[:40]


def test_index_takes_it(dist):
    """Metadata and the rendered README are what a package index demands."""
    files = [str(path) for path in dist.iterdir()]
    assert run(sys.executable, "-m", "twine", "check", "--strict", *files).count("PASSED") == 2


def test_tests_of_the_sdist_pass_with_its_wheel(unpacked, wheel):
    """Who unpacks the one and installs the other has what works."""
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    seen = run(sys.executable, "-c", "import otelkafka; print(otelkafka.__file__)", cwd=unpacked, env=environment)
    assert Path(seen.strip()) == wheel / "otelkafka" / "__init__.py"
    run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *QUICK, cwd=unpacked, env=environment)
