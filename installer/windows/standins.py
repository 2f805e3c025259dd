"""Stand-ins for what Wine 10 lacks of Windows 10. For tests under Wine only; never shipped.

    python -m installer.windows.standins UCRTBASE TARGET     run in a build environment

numpy, Qt and PyTorch abort in a plain Wine: some forty functions of the C runtime that they use are
stubs there, and two libraries that Qt loads are missing or incomplete. Three small ones are made:

    ucrtbase.dll   what is a stub, by mingw's own mathematics; everything else is forwarded to a copy
                   of Wine's (ucrtorig.dll)
    icuuc.dll      character converters: "not available"
    mscms.dll      colour profiles: "not available"
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from installer.product import Shell
from installer.windows.tree import MINGW

# long double is double for Microsoft's compilers, 80 bits for mingw's: these need a cast.
_REAL_OF_COMPLEX: Final = {"cabsl": "cabs", "cargl": "carg", "cimagl": "cimag", "creall": "creal"}
_HEAD: Final = """\
#include <complex.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
int __stdcall DllMain(void *self, unsigned reason, void *reserved) {
    (void)self, (void)reason, (void)reserved;
    return 1;
}
"""
_WRITTEN_OUT: Final = {
    "_aligned_recalloc": """\
void *own__aligned_recalloc(void *old, size_t count, size_t size, size_t alignment) {
    void *block = _aligned_realloc(old, count * size, alignment);
    if (block && !old) memset(block, 0, count * size);
    return block;
}
""",
    "_invoke_watson": """\
void own__invoke_watson(const void *a, const void *b, const void *c, unsigned d, size_t e) {
    (void)a, (void)b, (void)c, (void)d, (void)e;
    abort();
}
""",
    "cpowl": """\
double _Complex own_cpowl(double _Complex a, double _Complex b) { return cpow(a, b); }
""",
}
_COMPLEX: Final = (
    "cabs", "cacos", "cacosh", "carg", "casin", "casinh", "catan", "catanh", "ccos", "ccosh", "cexp",
    "cimag", "clog", "conj", "cproj", "creal", "csin", "csinh", "csqrt", "ctan", "ctanh",
)  # fmt: skip
SERVED: Final = frozenset(
    {"cpow", "cpowf", *_WRITTEN_OUT, *(name + kind for name in _COMPLEX for kind in ("", "f", "l"))}
)
"""What can stand in for a stub."""

# What Qt6Core and Qt's Windows platform import from the two libraries (read with objdump).
ICUUC: Final = (
    "UCNV_FROM_U_CALLBACK_SUBSTITUTE", "UCNV_TO_U_CALLBACK_SUBSTITUTE", "ucnv_cbFromUWriteUChars",
    "ucnv_cbToUWriteUChars", "ucnv_close", "ucnv_countAvailable", "ucnv_fromUCountPending",
    "ucnv_fromUnicode", "ucnv_getAvailableName", "ucnv_getFromUCallBack", "ucnv_getMaxCharSize",
    "ucnv_getName", "ucnv_getStandardName", "ucnv_getToUCallBack", "ucnv_open", "ucnv_reset",
    "ucnv_setFromUCallBack", "ucnv_setToUCallBack", "ucnv_toUCountPending", "ucnv_toUnicode",
)  # fmt: skip
MSCMS: Final = (
    "CloseColorProfile", "GetColorDirectoryW", "GetColorProfileFromHandle", "OpenColorProfileW",
    "WcsCreateIccProfile", "WcsGetDefaultColorProfile", "WcsGetDefaultColorProfileSize",
    "WcsGetUsePerUserProfiles", "WcsOpenColorProfileW",
)  # fmt: skip
# The marks by which a converter says U_FILE_ACCESS_ERROR (4 in ICU's utypes.h).
_ICU: Final = {
    "ucnv_open": "void *ucnv_open(const char *name, int *error) { (void)name; *error = 4; return 0; }",
    "ucnv_getMaxCharSize": "signed char ucnv_getMaxCharSize(void *c) { (void)c; return 1; }",
}


def exports_and_stubs(library: Path) -> tuple[set[str], set[str]]:
    """Return what one of Wine's libraries exports, and which of it is not implemented.

    A stub loads two addresses and calls one common function; `crealf` is known to be one.
    """
    import pefile

    image: Any = pefile.PE(str(library))
    addresses = {
        one.name.decode(): one.address for one in image.DIRECTORY_ENTRY_EXPORT.symbols if one.name
    }

    def called_by(address: int) -> int | None:
        code: bytes = image.get_data(address, 24)
        is_stub = (
            code[:4] == b"\x48\x83\xec\x28"
            and code[4:7] == b"\x48\x8d\x0d"
            and code[11:14] == b"\x48\x8d\x15"
            and code[18] == 0xE8
        )
        if not is_stub:
            return None
        return address + 23 + int.from_bytes(code[19:23], "little", signed=True)

    common = called_by(addresses["crealf"])
    if common is None:
        return set(addresses), set()
    return set(addresses), {name for name, at in addresses.items() if called_by(at) == common}


def runtime_source(stubs: Iterable[str]) -> tuple[str, dict[str, str]]:
    """Return C code for the stubs, and name -> the function of that code or of mingw that serves."""
    text, served = _HEAD, {}
    for name in sorted(stubs):
        if name in _WRITTEN_OUT:
            text += _WRITTEN_OUT[name]
            served[name] = f"own_{name}"
        elif name in _REAL_OF_COMPLEX:
            of = _REAL_OF_COMPLEX[name]
            text += f"double own_{name}(double _Complex z) {{ return {of}(z); }}\n"
            served[name] = f"own_{name}"
        elif name.startswith("c") and name.endswith("l"):
            text += f"double _Complex own_{name}(double _Complex z) {{ return {name[:-1]}(z); }}\n"
            served[name] = f"own_{name}"
        else:
            served[name] = name
    return text, served


def definition(exported: Iterable[str], served: Mapping[str, str]) -> str:
    """Return the module definition: our functions, everything else forwarded to Wine's own."""
    lines = ["LIBRARY ucrtbase.dll", "EXPORTS"]
    for name in sorted(exported):
        if name in served:
            lines.append(f"  {name}" if served[name] == name else f"  {name} = {served[name]}")
        elif not any(mark in name for mark in "?@$"):
            lines.append(f"  {name} = ucrtorig.{name}")
    return "\n".join(lines) + "\n"


def answering_nothing(names: Iterable[str], special: Mapping[str, str]) -> str:
    """Return C code of functions that all answer 0, but for the special ones."""
    functions = [
        special.get(name, f"long long {name}(void) {{ return 0; }}") for name in sorted(names)
    ]
    exported = [f"__declspec(dllexport) {function}" for function in functions]
    return "\n".join(exported) + "\n"


def without_mark(library: bytes) -> bytes:
    """Return one of Wine's libraries without its mark, so that Wine loads it as a foreign one."""
    return library[:64] + bytes(32) + library[96:]


def make(ucrtbase: Path, target: Path, shell: Shell) -> None:
    """Make the stand-ins beside Wine's `ucrtbase`."""
    target.mkdir(parents=True, exist_ok=True)
    exported, stubs = exports_and_stubs(ucrtbase)
    text, served = runtime_source(stubs & SERVED)
    (target / "ucrtorig.dll").write_bytes(without_mark(ucrtbase.read_bytes()))
    (target / "ucrtbase.c").write_text(text, encoding="utf-8")
    (target / "ucrtbase.def").write_text(definition(exported, served), encoding="utf-8")
    (target / "icuuc.c").write_text(answering_nothing(ICUUC, _ICU))
    (target / "mscms.c").write_text(answering_nothing(MSCMS, {}))
    compiler = (f"{MINGW}-gcc", "-shared", "-O2", "-static", "-w", "-fno-builtin")
    shell.run(
        *compiler, "-o", target / "ucrtbase.dll", target / "ucrtbase.c", target / "ucrtbase.def"
    )
    for name in ("icuuc", "mscms"):
        shell.run(*compiler, "-o", target / f"{name}.dll", target / f"{name}.c")
    print(f"{len(stubs & SERVED)} functions stand in for stubs of Wine")


def main(arguments: Sequence[str]) -> int:
    import os

    ucrtbase, target = (Path(word) for word in arguments)
    make(ucrtbase, target, Shell(environment=os.environ))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
