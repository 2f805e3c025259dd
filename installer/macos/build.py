"""Build the macOS product of the present commit, on a Mac with Apple silicon.

    python3 installer/build_macos.py [--out DIR] [--work DIR] [--no-self-test]

    FednnU-Net-Desktop-VERSION-macos-arm64.dmg     macOS 14 or newer
    SHA256SUMS.macos

Ends with the self-test of the application. Signed and notarised when FEDNNUNET_MAC_IDENTITY names a
Developer ID in the keychain and FEDNNUNET_MAC_PROFILE a profile that `xcrun notarytool
store-credentials` has made; unsigned builds say so, and Gatekeeper will refuse them.

NOT CHECKED, because no Mac was at hand: that PyInstaller's recipe gives a working application, that
Apple accepts signature and notarisation, that a double-click on a .fedjoin file reaches the window,
and everything about graphics. Checked elsewhere: the property lists parse and declare the file type,
the recipe compiles, every step below is called in its order with its arguments, and the window takes
the event by which macOS hands a file over.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from installer import environment, product
from installer.linux.build import PACKAGING_LOCK, filled, self_test
from installer.machine import SetupProblem, say
from installer.manifest import digest_of
from installer.product import ROOT, Shell, Source

HERE: Final = Path(__file__).resolve().parent
LOCK: Final = ROOT / "installer" / "locks" / "macos.txt"
APPLICATION: Final = "FednnU-Net Desktop.app"
IDENTITY: Final = "FEDNNUNET_MAC_IDENTITY"
PROFILE: Final = "FEDNNUNET_MAC_PROFILE"
TOOLS: Final = ("codesign", "hdiutil", "iconutil", "sips", "xcrun", "ditto")
# What an .iconset folder holds: points and scale.
ICON_SIZES: Final = (
    (16, 1),
    (16, 2),
    (32, 1),
    (32, 2),
    (128, 1),
    (128, 2),
    (256, 1),
    (256, 2),
    (512, 1),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Notary:
    """Who signs, and the keychain profile by which Apple is asked to notarise."""

    identity: str
    profile: str

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> Notary | None:
        """Return what the environment names, None for an unsigned build.

        Raises:
            SetupProblem: only one of the two is named.
        """
        identity, profile = variables.get(IDENTITY, ""), variables.get(PROFILE, "")
        if bool(identity) != bool(profile):
            raise SetupProblem(f"one of {IDENTITY} and {PROFILE} is not set", "set both or neither")
        return cls(identity=identity, profile=profile) if identity else None


def make_icon(work: Path, python: Path, shell: Shell) -> Path:
    """Draw the icon in every size and return the .icns file."""
    folder = work / "icon.iconset"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for points, scale in ICON_SIZES:
        name = f"icon_{points}x{points}{'@2x' if scale == 2 else ''}.png"
        shell.run(
            python, "-m", "installer.drawing", ROOT / "resources/icons/application.svg",
            folder / name, str(points * scale), cwd=ROOT,
        )  # fmt: skip
    shell.run("iconutil", "--convert", "icns", "--output", work / "icon.icns", folder)
    return work / "icon.icns"


def freeze(python: Path, work: Path, source: Source, icon: Path, shell: Shell) -> Path:
    """Run PyInstaller and return the application."""
    plist = work / "Info.plist"
    plist.write_text(filled(HERE / "Info.plist", {"VERSION": source.version}), encoding="utf-8")
    named = {"FEDNNUNET_ICON": str(icon), "FEDNNUNET_PLIST": str(plist)}
    target = work / "frozen"
    shutil.rmtree(target, ignore_errors=True)
    dataclasses.replace(shell, environment={**shell.environment, **named}).run(
        python, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN",
        "--distpath", target, "--workpath", work / "pyinstaller", HERE / "fednnunet.spec",
    )  # fmt: skip
    return target / APPLICATION


def resources_of(application: Path) -> Path:
    return application / "Contents" / "Resources" / "resources"


def sign(application: Path, notary: Notary, shell: Shell) -> None:
    """Sign every compiled file from the inside out, then the application, and verify it."""
    entitlements = HERE / "entitlements.plist"
    options = ("--force", "--timestamp", "--options", "runtime", "--entitlements", entitlements)
    inside = sorted(
        (path for path in application.rglob("*") if is_code(path)),
        key=lambda path: (-len(path.parts), str(path)),
    )
    for path in inside:
        shell.run("codesign", *options, "--sign", notary.identity, path)
    shell.run("codesign", *options, "--sign", notary.identity, application)
    shell.run("codesign", "--verify", "--deep", "--strict", "--verbose=2", application)


def is_code(path: Path) -> bool:
    """Tell whether a file is Mach-O, by its first bytes (thin 64-bit or universal)."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) in (b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")


def notarise(file: Path, notary: Notary, shell: Shell) -> None:
    """Let Apple look at a file, and wait for the answer."""
    shell.run("xcrun", "notarytool", "submit", file, "--keychain-profile", notary.profile, "--wait")


def make_image(application: Path, work: Path, image: Path, shell: Shell) -> None:
    """Make the disk image: the application beside a link to /Applications."""
    folder = work / "image"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shell.run("ditto", application, folder / APPLICATION)
    (folder / "Applications").symlink_to("/Applications")
    shell.run(
        "hdiutil", "create", "-volname", product.NAME, "-srcfolder", folder,
        "-fs", "HFS+", "-format", "UDZO", "-ov", image,
    )  # fmt: skip


def package(
    application: Path, work: Path, image: Path, notary: Notary | None, shell: Shell
) -> None:
    """Sign, notarise and staple the application, then do the same with the image around it."""
    if notary is not None:
        sign(application, notary, shell)
        archive = work / "application.zip"
        shell.run("ditto", "-c", "-k", "--keepParent", application, archive)
        notarise(archive, notary, shell)
        shell.run("xcrun", "stapler", "staple", application)
    make_image(application, work, image, shell)
    if notary is not None:
        shell.run("codesign", "--force", "--timestamp", "--sign", notary.identity, image)
        notarise(image, notary, shell)
        shell.run("xcrun", "stapler", "staple", image)
        shell.run(
            "spctl", "--assess", "--type", "open", "--context", "context:primary-signature", image
        )


def build(options: argparse.Namespace) -> int:
    """Build everything; see the top of this file."""
    source = Source.of()
    shell = Shell(environment={**source.environment(os.environ), "FEDNNUNET_SOURCE": str(ROOT)})
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise SetupProblem(f"missing: {', '.join(missing)}", "run: xcode-select --install")
    notary = Notary.of(os.environ)
    work, out = options.work.resolve(), options.out.resolve()
    for folder in (work, out):
        folder.mkdir(parents=True, exist_ok=True)
    installer = environment.ProcessInstaller()
    recipe = environment.Recipe(
        folder=work / "environment", lock=LOCK, pyproject=ROOT / "pyproject.toml"
    )
    environment.set_up(recipe, installer)
    arguments = ["install", "--quiet", "--no-deps", "-r", str(PACKAGING_LOCK)]
    environment.persistently(installer, recipe.folder, [arguments])
    python = environment.python_of(recipe.folder)
    application = freeze(python, work, source, make_icon(work, python, shell), shell)
    resources = resources_of(application)
    signed_by = notary.identity if notary else ""
    record = product.build_record(source, kind="macos", signed_by=signed_by)
    (resources / product.BUILD_FILE).write_bytes(record)
    shell.feed("", python, "-m", "installer.sbom", resources, source.version, source.date, cwd=ROOT)
    image = out / f"FednnU-Net-Desktop-{source.version}-macos-arm64.dmg"
    package(application, work, image, notary, shell)
    if not options.no_self_test:
        program = application / "Contents" / "MacOS" / product.COMMAND
        self_test(program, work / "self-test.json", shell, screen=())
    (out / "SHA256SUMS.macos").write_text(f"{digest_of(image)}  {image.name}\n", encoding="utf-8")
    say(f"{image}  {image.stat().st_size / 1e6:.0f} MB")
    say(f"installed size {product.size_of(application) / 1e9:.2f} GB")
    say(f"signed by {signed_by}" if signed_by else f"NOT SIGNED: {IDENTITY} names no identity")
    return 0


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="build_macos.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "macos")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "macos")
    parser.add_argument("--no-self-test", action="store_true")
    options = parser.parse_args(arguments)
    if platform.system() != "Darwin":
        print("the macOS product is built on a Mac", file=sys.stderr)
        return 1
    return product.run_main(lambda _: build(options), arguments)
