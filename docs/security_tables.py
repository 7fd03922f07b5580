"""Writes the table of docs/security.md, who may come in where: `python -m docs.security_tables`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pages.shared.board.routes import FILE_ROUTES
from pages.shared.operation.routes import OPERATION_ROUTES
from pages.shared.person import Role
from pages.shared.viewer.routes import ROUTES

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/security.md"
ROLES = [role.name.lower() for role in Role]
# By method and path; a route that is not here is an error, so that nobody forgets to say who may use it.
ROUTE_NEEDS = {
    "GET /api/images/{name}": "reader",
    "GET /api/crops/{digest}/{name}": "reader",
    "POST /api/ops": "reviewer",
    "POST /api/files": "reviewer",
}
_HOW = {
    "GET /api/images/{name}": "a signed address, as pages give it",
    "GET /api/crops/{digest}/{name}": "a signed address, as pages give it",
    "POST /api/ops": "a token for one field and one reader",
    "POST /api/files": "a token for sending files in one user's name",
}
# For monitoring, which has no role.
OPERATION_NEEDS = {
    "GET /api/health": "outsiders only see whether the server is healthy",
    "GET /api/metrics": "asked from this computer itself, or with the operator's token",
}
# A page that asks to log in is made of them too; without a log-in only this computer gets them.
_STREAMLIT = "refused by a proxy; OpenID Connect needs them for its log-in page | in | in | in | they show no page"
_HEADING = "# Security\n\n## Who may come in where\n\n<!-- table:access -->\n<!-- /table:access -->\n"


def page_needs() -> dict[str, str]:
    """Every page and the role it needs, as its `open_page` says."""
    return {path.stem: _needs(path) for path in sorted((ROOT / "pages").glob("*.py")) if path.stem != "__init__"}


def _needs(path: Path) -> str:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open_page":
            given = {word.arg: word.value for word in node.keywords}.get("needs", ast.Constant("reader"))
            return str(ast.literal_eval(given))
    raise ValueError(f"{path.name} does not begin with open_page")


def route_needs() -> dict[str, str]:
    """Every route of our own and the role it needs. Raises KeyError for one that nobody has thought about."""
    names = [
        f"{method} {one.path}"
        for one in (*ROUTES, *FILE_ROUTES)
        for method in sorted((one.methods or set()) - {"HEAD"})
    ]
    return {name: ROUTE_NEEDS[name] for name in names}


def access_table() -> str:
    """One row per page and route: an outsider (who has not logged in) and each role refused or let in."""
    shown = ["outsider", *ROLES[1:]]
    rows = [f"| page or route | {' | '.join(shown)} | besides |", "|---" * (len(shown) + 2) + "|"]
    for name, needs in {**{f"/{page}": needs for page, needs in page_needs().items()}, **route_needs()}.items():
        lets_in = ["in" if number >= ROLES.index(needs) else "refused" for number in range(len(ROLES))]
        rows.append(f"| `{name}` | {' | '.join(lets_in)} | {_HOW.get(name, '')} |")
    for one in OPERATION_ROUTES:
        rows.append(f"| `GET {one.path}` {'| in ' * len(shown)}| {OPERATION_NEEDS[f'GET {one.path}']} |")
    rows.append(f"| what Streamlit serves: the connection of a page, uploads, its files | {_STREAMLIT} |")
    return "\n".join(rows)


def write_tables(text: str) -> str:
    """The page with the table written anew."""
    marks = re.compile(r"(<!-- table:access -->\n).*?(<!-- /table:access -->)", re.DOTALL)
    return marks.sub(lambda found: f"{found[1]}{access_table()}\n{found[2]}", text)


if __name__ == "__main__":
    PAGE.write_text(write_tables(PAGE.read_text(encoding="utf-8") if PAGE.exists() else _HEADING), encoding="utf-8")
