import ast
from pathlib import Path

from app.domain import fingerprint


def test_the_wire_room_never_names_the_local_fingerprint():
    """Import contracts guard modules; this guards the class names as text, too."""
    names = [name for name in dir(fingerprint) if name.endswith(("Fingerprint", "Statistics"))]
    wire = Path(fingerprint.__file__).parents[1] / "wire"
    for path in wire.glob("*.py"):
        used = {
            node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)
        }
        assert not used & set(names), path.name
