"""How this overpaint was installed, and so what to type for more of it.

pip writes down where a package came from unless that was an index: direct_url.json, as PyPA's
"Recording the Direct URL Origin of installed distributions" has it.
"""

from __future__ import annotations

import shlex
from typing import Any


def install_command(*extras: str) -> str:
    """The line that brings `extras`, from where this overpaint came and in the way it came."""
    return f"pip install {_argument(*extras)}"


def upgrade_command() -> str:
    """The line that brings a newer overpaint. A checkout is only as new as its sources."""
    pull = f"git -C {shlex.quote(requirement())} pull && " if "dir_info" in _origin() else ""
    return f"{pull}pip install --upgrade {_argument()}"


def requirement(*extras: str) -> str:
    """This overpaint with `extras`, as pip is asked for it; not quoted for a shell."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    bracketed = f"[{','.join(extras)}]" if extras else ""
    origin = _origin()
    if not origin:
        return f"overpaint{bracketed}"
    url = origin["url"]
    if vcs := origin.get("vcs_info"):
        revision = vcs.get("requested_revision")
        return f"overpaint{bracketed} @ {vcs['vcs']}+{url}{f'@{revision}' if revision else ''}"
    if url.startswith("file:"):
        return url2pathname(urlsplit(url).path) + bracketed
    return f"overpaint{bracketed} @ {url}"


def _argument(*extras: str) -> str:
    editable = bool(_origin().get("dir_info", {}).get("editable"))
    return "--editable " * editable + shlex.quote(requirement(*extras))


def _origin() -> dict[str, Any]:
    """What direct_url.json says; empty where an index served the package."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        text = distribution("overpaint").read_text("direct_url.json")
    except PackageNotFoundError:  # on the path, and never installed
        return {}
    return dict(json.loads(text)) if text else {}
