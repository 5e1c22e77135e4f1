#!/usr/bin/env python3
"""Bundles the page with esbuild and writes its files, and the description of the API, as one C source;
run by Meson during the build.

    embed.py FILE DEPFILE   writes the C source, and the files that it is made of as a rule of make
    embed.py --check        fails if a library is missing

The names of bundled files hold a digest of their content, so browsers keep them for ever. Each file is
stored as it is and, where that is smaller, compressed: a home network has no https, and without it
browsers accept nothing but gzip. theme.js has to run before the first paint; it becomes a part of the
document, which the Content-Security-Policy allows by its digest.
"""

import base64
import gzip
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

WEB = Path(__file__).resolve().parent
SOURCES = {".js", ".css", ".json", ".html", ".svg", ".png"}

# name in imports: (apt package, its file, the file of the npm package of the same name)
LIBRARIES = {
    "marked": ("libjs-marked", "/usr/share/javascript/marked/marked.umd.min.js", "marked.min.js"),
    "dompurify": (
        "node-dompurify", "/usr/share/nodejs/dompurify/dist/purify.min.js", "dist/purify.min.js"
    ),
    "highlight.js": (
        "libjs-highlight.js", "/usr/share/javascript/highlight.js/highlight.min.js", "lib/highlight.js"
    ),
    "katex": ("libjs-katex", "/usr/share/javascript/katex/katex.mjs", "dist/katex.mjs"),
}  # fmt: skip
# npm's packages, where there is no apt; installed by start.sh
NPM = WEB.parent / "build" / "page" / "node_modules"
PLAIN = ("favicon.svg", "maskable.svg", "manifest.webmanifest", "openapi.json")  # under their own names
# of the SVG files (tools/draw-icons). iOS asks for the first name by itself.
ICONS = ("apple-touch-icon.png", "icon-192.png", "icon-512.png", "maskable-512.png")

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8",
}

# Debian's highlight.js holds 185 languages; these are the ones people ask a small model about.
LANGUAGES = """bash cpp cs css diff dockerfile go ini java javascript json kotlin lua makefile
    markdown nginx php plaintext powershell python ruby rust shell sql swift typescript xml
    yaml""".split()

# Debian 12's security update of DOMPurify (2.4.1, deb12u1) reads a variable of another function before
# it starts, and so fails on all input. The check is for tampering that no parsed string can cause;
# with this variable it finds nothing. The guards on each node are unchanged.
DOMPURIFY_REPAIR = "const shadowNode = Object.freeze({});\n"

# Text of a model is untrusted: even if markup got past the sanitizer, no inline script or style may
# run, nothing may be loaded from or sent to another host, and no other page may frame this one.
POLICY = (
    "default-src 'none'; script-src 'self' '{theme}'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; font-src 'self'; manifest-src 'self'; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def select_languages(source):
    """Returns highlight.js with LANGUAGES only. The file has its core, then a statement each."""
    core, *statements = re.split(r'(?=hljs\.registerLanguage\(")', source)
    by_name = {re.match(r'hljs\.registerLanguage\("([^"]+)"', s).group(1): s for s in statements}
    missing = [name for name in LANGUAGES if name not in by_name]
    if missing:
        raise SystemExit(f"embed.py: highlight.js has no language named {', '.join(missing)}")
    return core + "".join(by_name[name] for name in LANGUAGES)


def import_languages():
    """Returns npm's highlight.js with LANGUAGES only: a module that registers them."""
    place = NPM / "highlight.js" / "lib"
    lines = [f'import hljs from "{place}/highlight.js";']
    lines += [f'import {name} from "{place}/languages/{name}.js";' for name in LANGUAGES]
    lines += [f'hljs.registerLanguage("{name}", {name});' for name in LANGUAGES]
    return "\n".join([*lines, "export default hljs;\n"])


def find_esbuild():
    """Returns the program; None if there is none."""
    return shutil.which("esbuild") or shutil.which("esbuild", path=NPM / ".bin")


def esbuild(*arguments, **options):
    """Runs esbuild; returns its standard output."""
    result = subprocess.run(
        [find_esbuild(), "--log-level=warning", "--charset=utf8", "--target=es2022", *arguments],
        stdout=subprocess.PIPE, encoding="utf-8", check=False, **options
    )  # fmt: skip
    if result.returncode != 0:
        raise SystemExit("embed.py: esbuild failed, see above")
    return result.stdout


def find_library(name):
    """Returns its file, and the one with its licence: Debian's, or else npm's."""
    package, file, npm_file = LIBRARIES[name]
    found = Path(file), Path("/usr/share/doc") / package / "copyright"
    if not all(path.is_file() for path in found):
        found = NPM / name / npm_file, next((NPM / name).glob("LICENSE*"), NPM / name / "LICENSE")
    if not all(path.is_file() for path in found):
        raise SystemExit(
            f'the page needs {file}: install it with "apt-get install {package}"; where there is no '
            "apt, ./start.sh installs it with npm"
        )
    return found


def is_npm(file):
    return file.is_relative_to(NPM)


def inputs():
    """Returns all files that the page is made of."""
    if find_esbuild() is None:
        raise SystemExit(
            'the page needs esbuild: install it with "apt-get install esbuild"; where there is no apt, '
            "./start.sh installs it with npm"
        )
    files = [path for path in sorted(WEB.rglob("*")) if path.suffix in SOURCES]
    for name in LIBRARIES:
        files += find_library(name)
    return files


def as_module(source, exported):
    """Returns a script for CommonJS as an ES module. esbuild could do it, but with a helper that
    becomes a file of its own, which the page would have to wait for."""
    head = "const module = { exports: {} };\nconst exports = module.exports;\n"
    return f"{head}{source}\nexport default {exported};\n"


def write_libraries(directory):
    """Writes the libraries as ES modules; returns {name in imports: file}."""
    files = {}
    for name in LIBRARIES:
        file, _ = find_library(name)
        source = file.read_text("utf-8")
        if name == "marked":
            source = as_module(source, "exports.marked")
        elif name == "dompurify":
            source = as_module(DOMPURIFY_REPAIR + source, "module.exports")
        elif name == "highlight.js":
            npm = is_npm(file)
            source = import_languages() if npm else as_module(select_languages(source), "hljs")
        files[name] = directory / f"{name.removesuffix('.js')}.js"
        files[name].write_text(source, "utf-8")
    return files


def bundle(entries, output):
    """Bundles entries (relative to web/, or absolute) into a directory, each under its own name. The
    names of other files depend on paths, so all lies in one place: packages are the same everywhere."""
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        shutil.copytree(WEB, place / "web")
        (place / "libraries").mkdir()
        libraries = write_libraries(place / "libraries")
        esbuild(
            *entries, "--bundle", "--splitting", "--format=esm", "--minify",
            "--legal-comments=none", f"--outdir={output}", "--chunk-names=[name]-[hash]",
            *(f"--alias:{name}={file}" for name, file in libraries.items()),
            cwd=place / "web",
        )  # fmt: skip


def named_by_content(path):
    """Returns "/app-0123456789abcdef.js" for a file app.js."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return f"/{path.stem}-{digest}{path.suffix}"


def data_address(svg):
    """Returns an address that holds the picture, which so needs no request."""
    return "data:image/svg+xml," + quote(re.sub(r">\s+<", "><", svg.strip()), safe=" =:/<>'")


def read_page(script, style):
    """Returns the document, and the source of its policy for the script in it."""
    theme = esbuild("--minify", "theme.js", cwd=WEB).strip()
    digest = base64.b64encode(hashlib.sha256(theme.encode()).digest()).decode()
    icon = data_address((WEB / "favicon.svg").read_text("utf-8"))
    page = (WEB / "index.html").read_text("utf-8")
    for old, new in (
        ('<script src="theme.js"></script>', f"<script>{theme}</script>"),
        ('href="style.css"', f'href="{style[1:]}"'),
        ('src="app.js"', f'src="{script[1:]}"'),
    ):
        if page.count(old) != 1:
            raise SystemExit(f"embed.py: index.html has to have {old} once")
        page = page.replace(old, new)
    page = page.replace('"favicon.svg"', f'"{icon}"')
    return re.sub(r"\n\s+", "\n", page), f"sha256-{digest}"


def c_string(data):
    """Returns C string literals, one for every 64 bytes."""
    def escape(byte):
        char = chr(byte)
        if char in '"\\?':
            return "\\" + char
        return char if 32 <= byte < 127 else f"\\{byte:03o}"
    pieces = [data[i:i + 64] for i in range(0, len(data), 64)] or [b""]
    return "\n".join('    "' + "".join(map(escape, piece)) + '"' for piece in pieces)


def write_c(output, assets, policy):
    """assets: {path: (data, whether its name holds a digest)}."""
    arrays, rows = [], []
    for i, (path, (data, is_immutable)) in enumerate(sorted(assets.items())):
        content_type = CONTENT_TYPES[Path(path).suffix or ".html"]
        etag = hashlib.sha256(data).hexdigest()[:16]
        small = gzip.compress(data, 9, mtime=0)
        arrays.append(f"static const unsigned char data_{i}[] =\n{c_string(data)};\n")
        packed = "NULL, 0"
        if len(small) < 0.9 * len(data):  # pictures are compressed already
            arrays.append(f"static const unsigned char gzip_{i}[] =\n{c_string(small)};\n")
            packed = f"gzip_{i}, {len(small)}"
        rows.append(f'    {{"{path}", "{content_type}", "{etag}", {str(is_immutable).lower()}, '
                    f"data_{i}, {len(data)}, {packed}}},\n")
    with open(output, "w", encoding="ascii") as out:
        out.write('/* Written by web/embed.py; do not edit. */\n#include "web/assets.h"\n\n')
        out.write(f'const char kl_page_policy[] = "{policy}";\n\n')
        out.write("\n".join(arrays))
        out.write("\nconst struct kl_asset kl_assets[] = {\n" + "".join(rows) + "};\n")
        out.write("const size_t kl_n_assets = sizeof kl_assets / sizeof kl_assets[0];\n")


def main():
    if sys.argv[1:] == ["--check"]:
        inputs()
        return
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)

    assets = {}
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory)
        bundle(["app.js", "style.css"], made)
        entries = {name: named_by_content(made / name) for name in ("app.js", "style.css")}
        for path in made.iterdir():
            assets[entries.get(path.name, f"/{path.name}")] = (path.read_bytes(), True)
    page, theme = read_page(entries["app.js"], entries["style.css"])
    assets["/"] = (page.encode(), False)
    for worker in ("service_worker.js", "stream_worker.js"):
        assets[f"/{worker}"] = (esbuild("--bundle", "--minify", worker, cwd=WEB).encode(), False)
    for name in PLAIN:
        assets[f"/{name}"] = ((WEB / name).read_bytes(), False)
    for name in ICONS:
        assets[f"/{name}"] = ((WEB / "icons" / name).read_bytes(), False)
    licences = [find_library(name)[1].read_text("utf-8") for name in LIBRARIES]
    assets["/licenses.txt"] = (("\n\n" + "-" * 80 + "\n\n").join(licences).encode(), False)
    write_c(sys.argv[1], assets, POLICY.format(theme=theme))
    rule = " ".join(str(path).replace(" ", "\\ ") for path in inputs())
    Path(sys.argv[2]).write_text(f"{sys.argv[1]}: {rule}\n", "utf-8")


if __name__ == "__main__":
    main()
