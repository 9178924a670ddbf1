"""What a source file touches of TensorRT and CUDA, found by walking its syntax tree.

A name `trt` is the module; a name annotated `trt.X` is an X; what a call gives is what NVIDIA's
docstrings say that it gives (`-> tensorrt_bindings.tensorrt.X`), and so on from there. Each thing
that is touched on the way is looked up in the real module: whatever is not there, or does not take
so many arguments, is a finding. `cudart` is walked in the same way.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

LISTED = "list of "


@dataclass
class Surface:
    """The real module, what was touched of it, and what is not there."""

    module: ModuleType
    name: str  # what our source calls the module
    touched: set[str] = field(default_factory=set)
    findings: list[str] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)  # our attributes and methods -> class

    def walk(self, sources: dict[str, str]) -> Surface:
        """Walk files (name -> text): first for what our attributes and methods hold, then all."""
        trees = {name: ast.parse(text) for name, text in sources.items()}
        for _ in range(2):  # what one file's attributes hold, another file's may come from
            self.touched, self.findings = set(), []
            for name, tree in trees.items():
                _Walker(self, name).visit(tree)
        return self

    def look_up(self, owner: Any, attribute: str, where: str) -> Any:
        """The real thing, or None and a finding."""
        label = f"{_name(owner, self.name)}.{attribute}"
        self.touched.add(label)
        if hasattr(owner, attribute):
            return getattr(owner, attribute)
        self.findings.append(f"{where}: there is no {label}")
        return None

    def class_named(self, annotation: str) -> Any:
        found = re.search(r"(\w+)$", annotation)
        value = getattr(self.module, found[1], None) if found else None
        return value if isinstance(value, type) else None


@dataclass(frozen=True)
class Instance:
    """An object of a real class."""

    kind: type


class _Walker(ast.NodeVisitor):
    def __init__(self, surface: Surface, file: str) -> None:
        self.surface, self.file = surface, file
        self.scopes: list[dict[str, Any]] = [{}]

    # What things are

    def value(self, node: ast.AST | None) -> Any:
        """The module, a real class or function, an Instance, a list of one, or None: unknown."""
        if isinstance(node, ast.Name):
            if node.id == self.surface.name:
                return self.surface.module
            return next((s[node.id] for s in reversed(self.scopes) if node.id in s), None)
        if isinstance(node, ast.Attribute):
            return self.attribute(node)
        if isinstance(node, ast.Call):
            return self.called(node)
        if isinstance(node, ast.ListComp):
            self.bind_generators(node.generators)
            return (LISTED, self.value(node.elt))
        return None

    def attribute(self, node: ast.Attribute) -> Any:
        owner = self.value(node.value)
        where = f"{self.file}:{node.lineno}"
        if node.attr == f"_{self.surface.name}":  # self._cudart
            return self.surface.module
        if owner is None:
            return self.surface.attributes.get(node.attr)
        if isinstance(owner, Instance):
            if node.attr == "__class__":
                return None
            found = self.surface.look_up(owner.kind, node.attr, where)
            if isinstance(found, property):
                return self.instance(found.fget.__doc__ or "")
            return found
        if isinstance(owner, ModuleType | type):
            found = self.surface.look_up(owner, node.attr, where)
            # An enumeration's member, or a class's own.
            return found if callable(found) or found is None else Instance(type(found))
        return None

    def called(self, node: ast.Call) -> Any:
        function = self.value(node.func)
        if isinstance(function, type):
            self.check_arguments(node, function.__init__.__doc__ or "", skip_self=True)
            return Instance(function)
        if callable(function):
            documented = function.__doc__ or ""
            through_class = isinstance(node.func, ast.Attribute) and isinstance(
                self.value(node.func.value), type
            )
            skip_self = _is_method(documented) and not through_class
            self.check_arguments(node, documented, skip_self=skip_self)
            return self.instance(documented)
        if isinstance(function, Instance):  # one of our own methods, by its annotation
            return function
        return None

    def instance(self, documented: str) -> Any:
        """What a docstring says is returned, where it is a class of the module."""
        kinds = {self.surface.class_named(m) for m in re.findall(r"-> ([\w.]+)", documented)}
        kinds.discard(None)
        return Instance(kinds.pop()) if len(kinds) == 1 else None

    def check_arguments(self, node: ast.Call, documented: str, *, skip_self: bool) -> None:
        if any(isinstance(one, ast.Starred) for one in node.args):
            return
        signatures = list(parameters(documented, skip_self=skip_self))
        given, named = len(node.args), {word.arg for word in node.keywords}
        if signatures and not any(
            given + len(named) <= len(names)
            and named <= set(names[given:])
            and set(names[given:]) - named <= optional
            for names, optional in signatures
        ):
            self.surface.findings.append(
                f"{self.file}:{node.lineno}: {ast.unparse(node)} takes {signatures}"
            )

    # Where they come from

    def annotated(self, annotation: ast.AST | None) -> Any:
        text = ast.unparse(annotation) if annotation is not None else ""
        name = self.surface.name
        if match := re.fullmatch(rf"(list\[)?{name}\.(\w+)(\]| \| None)?", text):
            where = f"{self.file}:{getattr(annotation, 'lineno', 0)}"
            found = self.surface.look_up(self.surface.module, match[2], where)
            kind = Instance(found) if isinstance(found, type) else None
            return (LISTED, kind) if match[1] and kind else kind
        return None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        scope = {}
        for one in (*node.args.args, *node.args.kwonlyargs):
            scope[one.arg] = self.annotated(one.annotation)
        if returned := self.annotated(node.returns):
            self.surface.attributes[node.name] = returned
        self.scopes.append(scope)
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for base in map(self.value, node.bases):
            if isinstance(base, type):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef):
                        self.surface.look_up(base, method.name, f"{self.file}:{method.lineno}")
        for statement in node.body:
            self.visit(statement)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        kind = self.annotated(node.annotation)
        if isinstance(kind, Instance) and isinstance(node.target, ast.Name):
            self.surface.attributes[node.target.id] = kind
        if node.value is not None:
            self.assign(node.target, kind or self.value(node.value))
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=True):
                    self.assign(one, self.value(value))
            elif isinstance(target, ast.Attribute) and target.attr == "__class__":
                kind = self.value(node.value)
                if isinstance(kind, type):
                    self.assign(target.value, Instance(kind))
            else:
                self.assign(target, self.value(node.value))
        self.generic_visit(node)

    def assign(self, target: ast.AST, value: Any) -> None:
        if isinstance(target, ast.Name) and target.id != self.surface.name:
            self.scopes[-1][target.id] = value
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value)
            if isinstance(owner, Instance):
                found = getattr(owner.kind, target.attr, None)
                if not isinstance(found, property) or found.fset is None:
                    label = f"{owner.kind.__name__}.{target.attr}"
                    self.surface.findings.append(f"{self.file}: {label} cannot be set")
                self.surface.look_up(owner.kind, target.attr, f"{self.file}:{target.lineno}")
            elif isinstance(value, Instance):
                self.surface.attributes[target.attr] = value

    def bind_generators(self, generators: list[ast.comprehension]) -> None:
        for one in generators:
            source = self.value(one.iter)
            if isinstance(source, tuple) and source[0] == LISTED:
                self.assign(one.target, source[1])

    def visit_ListComp(self, node: ast.ListComp) -> None:
        self.bind_generators(node.generators)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.attribute(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.called(node)
        self.generic_visit(node)


def parameters(documented: str, *, skip_self: bool) -> Iterator[tuple[list[str], set[str]]]:
    """Each signature in a docstring, as its parameters' names and those that have defaults."""
    for text in re.findall(r"^(?:\d+\. )?\w+\((.*?)\)(?: ->.*)?$", documented, re.MULTILINE):
        if "*args" in text:
            continue
        names, optional = [], set()
        for one in _split(text):
            name = re.match(r"(?:[\w\s]*\s)?\**(\w+)", one.partition(":")[0].partition("=")[0])
            if name is not None:
                names.append(name[1])
                if "=" in one:
                    optional.add(name[1])
        yield (names[1:] if skip_self else names), optional


def _split(text: str) -> Iterator[str]:
    """At commas that are in no bracket."""
    depth, start = 0, 0
    for at, letter in enumerate(text):
        depth += letter in "([{<"
        depth -= letter in ")]}>"
        if letter == "," and not depth:
            yield text[start:at].strip()
            start = at + 1
    if text[start:].strip():
        yield text[start:].strip()


def _is_method(documented: str) -> bool:
    return bool(re.search(r"\(self: ", documented))


def _name(owner: Any, module: str) -> str:
    return module if isinstance(owner, ModuleType) else f"{module}.{owner.__name__}"
