"""Build the Linux products of the present commit.

    python3 installer/build_linux.py [--out DIR] [--work DIR] [--no-self-test] [--torch-index URL]

    fednnunet_VERSION_amd64.deb               Debian 12, Ubuntu 22.04 or newer
    fednnunet-VERSION-linux-x86_64.run        any Linux with glibc 2.35 or newer, without root
    fednnunet-VERSION-linux-x86_64.json       size, start time, hashes of every file
    SHA256SUMS

Ends with the self-test of the bundle. Signed when FEDNNUNET_GPG_KEY names a key.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from installer import environment, product
from installer.freezing import STRIPPED
from installer.machine import SetupProblem, say
from installer.manifest import digest_of, manifest_of
from installer.product import COMMAND, ROOT, Shell, Source
from installer.signing import GpgSigner

HERE: Final = Path(__file__).resolve().parent
LOCK: Final = ROOT / "installer" / "locks" / "linux-cpu.txt"
PACKAGING_LOCK: Final = ROOT / "installer" / "locks" / "packaging.txt"
TOOLS: Final = {
    "dpkg-deb": "dpkg",
    "makeself": "makeself",
    "strip": "binutils",
    "xvfb-run": "xvfb",
}
LARGEST_BUNDLE: Final = 1_300_000_000
"""Bytes that a CPU bundle may take installed."""
SLOWEST_WINDOW: Final = 3.0
"""How many times as long as an empty window of Qt ours may take."""

# Libraries of Debian that the bundle does not carry: graphics drivers belong to the machine.
DEPENDS: Final = (
    "libc6 (>= 2.35)",
    "libstdc++6",
    "libgcc-s1",
    "libexpat1",
    "libegl1",
    "libgl1",
    "libopengl0",
    "libfontconfig1",
    "libfreetype6",
    "libdbus-1-3",
    "libglib2.0-0 | libglib2.0-0t64",
    "libx11-6",
    "libx11-xcb1",
    "libxcb1",
    "libxcb-cursor0",
    "libxcb-glx0",
    "libxcb-icccm4",
    "libxcb-image0",
    "libxcb-keysyms1",
    "libxcb-randr0",
    "libxcb-render0",
    "libxcb-render-util0",
    "libxcb-shape0",
    "libxcb-shm0",
    "libxcb-sync1",
    "libxcb-util1",
    "libxcb-xfixes0",
    "libxcb-xkb1",
    "libxkbcommon0",
    "libxkbcommon-x11-0",
    "fonts-dejavu-core | fonts-liberation | fonts-noto-core",
    "shared-mime-info",
    "desktop-file-utils",
    "xdg-utils",
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """Where the products of one build lie."""

    out: Path
    version: str

    @property
    def package(self) -> Path:
        return self.out / f"{COMMAND}_{self.version}_amd64.deb"

    @property
    def portable(self) -> Path:
        return self.out / f"{COMMAND}-{self.version}-linux-x86_64.run"

    @property
    def record(self) -> Path:
        return self.out / f"{COMMAND}-{self.version}-linux-x86_64.json"

    @property
    def sums(self) -> Path:
        return self.out / "SHA256SUMS"


def filled(template: Path, values: Mapping[str, str]) -> str:
    """Return a template with its @NAMES@ replaced.

    Raises:
        SetupProblem: a name in the template has no value.
    """
    text = template.read_text(encoding="utf-8")
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    if "@" in text.replace("@fednnunet.invalid", ""):
        raise SetupProblem(f"{template.name} has a name without a value", "complete the builder")
    return text


# --- the bundle ----------------------------------------------------------------------------------


def make_environment(work: Path, torch_index: str | None) -> Path:
    """Fill the build environment from its locks and return its Python."""
    folder = work / "environment"
    installer = environment.ProcessInstaller()
    recipe = environment.Recipe(
        folder=folder, lock=LOCK, pyproject=ROOT / "pyproject.toml", torch_index=torch_index
    )
    environment.set_up(recipe, installer)
    arguments = ["install", "--quiet", "--no-deps", "-r", str(PACKAGING_LOCK)]
    environment.persistently(installer, folder, [arguments])
    return environment.python_of(folder)


def freeze(python: Path, work: Path, shell: Shell) -> Path:
    """Run PyInstaller and return the folder of the bundle."""
    target = work / "frozen"
    shutil.rmtree(target, ignore_errors=True)
    shell.run(
        python, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN",
        "--distpath", target, "--workpath", work / "pyinstaller", HERE / "fednnunet.spec",
    )  # fmt: skip
    return target / COMMAND


def finish_bundle(
    bundle: Path, python: Path, source: Source, shell: Shell, *, signed_by: str
) -> None:
    """Strip, add the build's record, the bill of materials and the licence texts; set every date."""
    inside = bundle / "_internal"
    for path in sorted(path for pattern in STRIPPED for path in inside.glob(pattern)):
        shell.run("strip", "--strip-unneeded", path)
    resources = inside / "resources"
    record = product.build_record(source, kind="linux", signed_by=signed_by)
    (resources / product.BUILD_FILE).write_bytes(record)
    libraries = "\n".join(debian_packages(bundle, shell))
    shell.feed(
        libraries, python, "-m", "installer.sbom", resources, source.version, source.date, cwd=ROOT
    )
    product.set_dates(bundle, source.made)


def debian_packages(bundle: Path, shell: Shell) -> list[str]:
    """Return `name version` of the Debian packages whose libraries PyInstaller took along."""
    names = sorted({path.name for path in (bundle / "_internal").glob("lib*.so*")})
    found = set()
    for name in names:
        owners = shell.ask("dpkg-query", "--search", f"*/{name}")
        for line in owners.splitlines():
            package, _, path = line.partition(": ")
            if path.endswith(f"/{name}") and package:
                version = shell.ask("dpkg-query", "--show", "-f", "${Version}", package)
                found.add(f"{package.partition(':')[0]} {version}")
    return sorted(found)


# --- the packages --------------------------------------------------------------------------------


def make_package(
    bundle: Path,
    work: Path,
    products: Products,
    source: Source,
    shell: Shell,
    *,
    to_be_signed: bool = False,
) -> None:
    """Make the .deb: the bundle in /opt, and what a desktop needs to know in /usr/share.

    Debian 12's debsigs overlooks members compressed with zstd and would sign next to nothing, so a
    package `to_be_signed` is compressed with xz, which takes minutes longer.
    """
    tree = work / "deb"
    shutil.rmtree(tree, ignore_errors=True)
    share = tree / "usr" / "share"
    icons = share / "icons" / "hicolor" / "scalable"
    control = tree / "DEBIAN"
    for folder in (
        control,
        tree / "opt",
        tree / "usr" / "bin",
        share / "applications",
        share / "mime" / "packages",
        share / "metainfo",
        share / "doc" / COMMAND,
        icons / "apps",
        icons / "mimetypes",
    ):
        folder.mkdir(parents=True)
    # Hard links: the bundle is more than a gigabyte and nothing of it is changed here.
    shutil.copytree(bundle, tree / "opt" / COMMAND, symlinks=True, copy_function=os.link)
    (tree / "usr" / "bin" / COMMAND).symlink_to(f"/opt/{COMMAND}/{COMMAND}")
    desktop_values = {"COMMAND": COMMAND}
    texts = {
        share / "applications" / "fednnunet.desktop": filled(
            HERE / "fednnunet.desktop", desktop_values
        ),
        share / "mime" / "packages" / "fednnunet.xml": filled(HERE / "fednnunet.xml", {}),
        share / "metainfo" / "org.fednnunet.Desktop.metainfo.xml": filled(
            HERE / "org.fednnunet.Desktop.metainfo.xml",
            {"VERSION": source.version, "DATE": source.date[:10]},
        ),
        share / "doc" / COMMAND / "copyright": copyright_text(),
        control / "control": filled(
            HERE / "control",
            {
                "VERSION": source.version,
                "KIBIBYTES": str(product.size_of(bundle) // 1024),
                "DEPENDS": ", ".join(DEPENDS),
            },
        ),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
    shutil.copyfile(ROOT / "resources/icons/application.svg", icons / "apps" / "fednnunet.svg")
    shutil.copyfile(
        HERE / "invitation.svg", icons / "mimetypes" / "application-x-fednnunet-invitation.svg"
    )
    for script in ("prerm", "postinst", "postrm"):
        shutil.copyfile(HERE / script, control / script)
        (control / script).chmod(0o755)
    set_modes(tree)
    product.set_dates(tree, source.made)
    packing = ("-Zxz", "-z2") if to_be_signed else ("-Zzstd", "-z10")
    shell.run("dpkg-deb", *packing, "--root-owner-group", "--build", tree, products.package)
    shutil.rmtree(tree)


def copyright_text() -> str:
    licence = (ROOT / "LICENSE").read_text(encoding="utf-8")
    return (
        f"{product.NAME}, copyright {product.PUBLISHER}.\n"
        f"The licences of everything inside lie in /opt/{COMMAND}/_internal/resources/LICENSES,\n"
        f"the bill of materials beside them in sbom.cdx.json.\n\n{licence}"
    )


def set_modes(tree: Path) -> None:
    """Give files 0644 or 0755 and folders 0755, whatever the builder's umask is."""
    for path in tree.rglob("*"):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if executable else 0o644)


def make_portable(
    bundle: Path, work: Path, products: Products, source: Source, shell: Shell
) -> None:
    """Make the self-extracting file, which installs for one user without root."""
    tree = work / "portable"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    shutil.copytree(bundle, tree / COMMAND, symlinks=True, copy_function=os.link)
    for name in ("install.sh", "uninstall.sh", "fednnunet.desktop", "fednnunet.xml"):
        shutil.copyfile(HERE / name, tree / name)
    shutil.copyfile(HERE / "invitation.svg", tree / "invitation.svg")
    shutil.copyfile(ROOT / "resources/icons/application.svg", tree / "fednnunet.svg")
    for name in ("install.sh", "uninstall.sh"):
        (tree / name).chmod(0o755)
    product.set_dates(tree, source.made)
    # "6n" reaches gzip as -c6n: without -n it writes the present time into its header.
    shell.run(
        "makeself", "--gzip", "--complevel", "6n", "--sha256", "--nox11", "--tar-quietly",
        "--tar-format", "gnu",
        "--tar-extra", f"--sort=name --owner=0 --group=0 --numeric-owner --mtime=@{source.made}",
        "--packaging-date", source.date,
        tree.name, products.portable.name, f"{product.NAME} {source.version}", "./install.sh",
        cwd=work,
    )  # fmt: skip
    # Made under a relative name, because the file holds the command line that made it.
    shutil.move(work / products.portable.name, products.portable)
    shutil.rmtree(tree)


# --- the whole -----------------------------------------------------------------------------------


def self_test(
    program: Path, report: Path, shell: Shell, *, screen: Sequence[str] = ("xvfb-run", "-a")
) -> dict[str, object]:
    """Run the self-test of the product and return its report; `screen` gives it a virtual one.

    Raises:
        SetupProblem: a step failed, or the window is too slow.
    """
    shell.run(*screen, program, "self-test", "--json", report, "--device", "cpu")
    found: dict[str, object] = json.loads(report.read_text(encoding="utf-8"))
    frame = window_of(found)
    if frame["ratio"] > SLOWEST_WINDOW:
        raise SetupProblem(
            f"the window takes {frame['ratio']} times as long as an empty one",
            f"find what is imported before it; {SLOWEST_WINDOW:.0f} times is the limit",
        )
    return found


def window_of(report: Mapping[str, object]) -> dict[str, float]:
    """Return the window's figures out of a report of the self-test."""
    steps = report["steps"]
    assert isinstance(steps, list)  # noqa: S101 - as our own self-test writes it
    (facts,) = [step["facts"] for step in steps if step["step"] == "window"]
    return {name: float(facts[name]) for name in ("seconds", "bare_seconds", "ratio")}


def check_size(bundle: Path) -> int:
    """Return the bytes of the bundle.

    Raises:
        SetupProblem: it is larger than the limit.
    """
    size = product.size_of(bundle)
    if size > LARGEST_BUNDLE:
        raise SetupProblem(
            f"the bundle takes {size / 1e9:.2f} GB installed",
            f"drop what is never opened (installer/freezing.py); {LARGEST_BUNDLE / 1e9} GB is the limit",
        )
    return size


def build(options: argparse.Namespace) -> int:
    """Build everything; see the top of this file."""
    source = Source.of()
    shell = Shell(environment={**source.environment(os.environ), "FEDNNUNET_SOURCE": str(ROOT)})
    product.need_tools(TOOLS, shutil.which)
    signer = GpgSigner.of(os.environ)
    work, products = (
        options.work.resolve(),
        Products(out=options.out.resolve(), version=source.version),
    )
    work.mkdir(parents=True, exist_ok=True)
    products.out.mkdir(parents=True, exist_ok=True)
    say(f"building {source.version} of commit {source.commit[:12]} ({source.date})")
    if not source.clean:
        say("the checkout holds changes that no commit holds; the product will say so")
    python = make_environment(work, options.torch_index)
    bundle = freeze(python, work, shell)
    finish_bundle(bundle, python, source, shell, signed_by=signer.name if signer else "")
    size = check_size(bundle)
    signed = signer is not None
    make_package(bundle, work, products, source, shell, to_be_signed=signed)
    make_portable(bundle, work, products, source, shell)
    if signer is not None:
        signer.sign_package(products.package, shell)
        signer.sign_beside(products.portable, shell)
    made = (products.package, products.portable)
    sums = {path.name: digest_of(path) for path in made}
    report = None
    if not options.no_self_test:
        report = self_test(bundle / COMMAND, work / "self-test.json", shell)
    record = {
        "version": source.version,
        "commit": source.commit,
        "signed_by": signer.name if signer else "",
        "installed_bytes": size,
        "package_bytes": products.package.stat().st_size,
        "portable_bytes": products.portable.stat().st_size,
        "window": window_of(report) if report else None,
        "format": 1,
        "files": manifest_of(bundle),
        "products": sums,
    }
    products.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    products.sums.write_text(
        "".join(f"{digest}  {name}\n" for name, digest in sums.items()), encoding="utf-8"
    )
    if signer is not None:
        signer.sign_beside(products.sums, shell)
    say("")
    for path in made:
        say(f"{path}  {path.stat().st_size / 1e6:.0f} MB")
    say(f"installed size {size / 1e9:.2f} GB")
    if report:
        frame = window_of(report)
        say(
            f"window visible after {frame['seconds']:.2f} s, "
            f"{frame['ratio']:.2f} times an empty window of Qt"
        )
    say(f"signed by {signer.name}" if signer else "NOT SIGNED: FEDNNUNET_GPG_KEY names no key")
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="build_linux.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "linux")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "linux")
    parser.add_argument("--no-self-test", action="store_true")
    parser.add_argument(
        "--torch-index", metavar="URL", help="where PyTorch's CPU build for Linux is published"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    if sys.platform != "linux":
        print("the Linux products are built on Linux", file=sys.stderr)
        return 1
    options = parse(arguments)
    return product.run_main(lambda _: build(options), arguments)
