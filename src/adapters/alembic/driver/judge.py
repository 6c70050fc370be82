"""Whether a migration may lose data, as far as its source tells, without running it.

A statement is known to lose nothing, or it is a risk: there is no third answer. The source is read as a syntax
tree; names are looked up in the imported module, so that `op` is alembic's `op` and not merely called so.
"""
import ast
import builtins
import importlib
import types

import alembic.op
from sqlalchemy.sql import expression, functions
from sqlalchemy.schema import MetaData
from sqlalchemy.sql.base import SchemaEventTarget
from sqlalchemy.types import TypeEngine

LONGEST = 160

#: Operations that add, rename, or drop what holds no rows; same names on `batch_op`.
LOSELESS = {
    "add_column", "batch_alter_table", "bulk_insert", "create_check_constraint", "create_exclude_constraint",
    "create_foreign_key", "create_index", "create_primary_key", "create_table", "create_table_comment",
    "create_unique_constraint", "drop_constraint", "drop_index", "drop_table_comment", "f", "inline_literal",
    "rename_table",
}
#: What `alter_column` may change without touching a value.
ALTERATIONS = {"nullable", "server_default", "new_column_name", "comment", "schema"}

PURE_BUILTINS = {
    getattr(builtins, name)
    for name in "abs all any bool dict enumerate float frozenset int isinstance len list max min print range repr "
    "reversed set sorted str sum tuple zip".split()
}
PURE_MODULES = ("datetime", "decimal", "textwrap", "uuid")
#: Where sqlalchemy's functions only build expressions.
PURE_SQLALCHEMY = ("sqlalchemy.sql.", "sqlalchemy.dialects.", "sqlalchemy.types", "sqlalchemy.schema")
EFFECTFUL_METHODS = {"create", "create_all", "drop", "drop_all", "execute", "reflect", "scalar", "scalars"}
#: Arguments of built-in functions that are called, or written to, in turn.
CALLED_BACK = {"key", "file"}


def judge(module, source, revision, file):
    """Both bodies of a migration file, as `{upgrade, downgrade}` of MigrationBody."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # compiled, without a source
        tree = None
    text = source.decode("utf-8", "replace") if tree is not None else ""
    return {
        name: Body(module, tree, text, name).judged(revision, file)
        for name in ("upgrade", "downgrade")
    }


class Body:
    """One function of a migration file."""

    def __init__(self, module, tree, source, name):
        self._module = module
        self._source = source
        self._name = name
        self._tree = tree
        self._risks = []
        self._batches = set()
        self._local = set()
        self._imported = {}

    def judged(self, revision, file):
        function = self._definition()
        if getattr(self._module, self._name, None) is None:
            shape = "missing"
        elif function is None:
            shape = "code"
            self._risks.append((1, "%s() is not defined in plain sight" % self._name))
        else:
            shape = self._shape(function)
            if shape == "code":
                self._function(function)
        return {
            "shape": shape,
            "risks": [{"revision": revision, "file": file, "line": line, "what": what} for line, what in sorted(set(self._risks))],
        }

    def _definition(self):
        """The function, if the module's is that one and nothing was put around it or in its place."""
        found = getattr(self._module, self._name, None)
        for node in self._tree.body if self._tree is not None else ():
            plain = isinstance(node, ast.FunctionDef) and node.name == self._name and not node.decorator_list
            if plain and isinstance(found, types.FunctionType) and found.__code__.co_firstlineno == node.lineno:
                if found.__module__ == self._module.__name__ and found.__code__.co_name == self._name:
                    return node
        return None

    @staticmethod
    def _shape(function):
        body = [s for s in function.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        does_nothing = lambda s: isinstance(s, ast.Pass) or isinstance(s, ast.Return) and (s.value is None or isinstance(s.value, ast.Constant))
        if all(does_nothing(s) for s in body):
            return "pass"
        return "raises" if isinstance(body[0], ast.Raise) else "code"

    # --------------------------------------------------------------------------------------------- statements

    def _function(self, function):
        if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in ast.walk(function)):
            return self._risk(function, "a generator, which alembic would not run")
        arguments = function.args
        for argument in arguments.args + arguments.kwonlyargs + getattr(arguments, "posonlyargs", []) + [arguments.vararg, arguments.kwarg]:
            if argument is not None:
                self._local.add(argument.arg)
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                self._local.add(node.id)
            elif isinstance(node, ast.ExceptHandler) and node.name:
                self._local.add(node.name)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node is not function:
                self._local.add(node.name)
            elif isinstance(node, (ast.Import, ast.ImportFrom)) and not self._import(node):
                self._local.update((alias.asname or alias.name).split(".")[0] for alias in node.names)
        self._block(function.body)

    def _block(self, statements):
        for statement in statements:
            self._statement(statement)

    def _statement(self, node):
        if isinstance(node, (ast.Pass, ast.Break, ast.Continue)):
            return
        if isinstance(node, ast.Expr):
            self._expression(node.value)
        elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
            self._assignment(node)
        elif isinstance(node, (ast.Return, ast.Assert, ast.Raise)):
            self._parts(node)
        elif isinstance(node, (ast.If, ast.While)):
            self._expression(node.test)
            self._block(node.body)
            self._block(node.orelse)
        elif isinstance(node, ast.For):
            self._expression(node.iter)
            self._target(node.target)
            self._block(node.body)
            self._block(node.orelse)
        elif isinstance(node, ast.With):
            self._with(node)
        elif isinstance(node, ast.Try):
            self._block(node.body)
            for handler in node.handlers:
                if handler.type is not None:
                    self._expression(handler.type)
                self._block(handler.body)
            self._block(node.orelse)
            self._block(node.finalbody)
        elif isinstance(node, ast.FunctionDef):
            # Its body runs only where it is called, and that call is a risk.
            for decorator in node.decorator_list:
                self._risk(decorator, "a decorator that is not judged")
            self._parts(node.args)
        elif not (isinstance(node, ast.ImportFrom) and self._import(node)):
            self._risk(node, "%s: not judged" % self._excerpt(node))

    def _import(self, node):
        """Whether it is an import of what only makes values; its names are then known."""
        if not isinstance(node, ast.ImportFrom) or node.level or node.module.split(".")[0] not in ("sqlalchemy",) + PURE_MODULES:
            return False
        for alias in node.names:
            try:
                self._imported[alias.asname or alias.name] = getattr(importlib.import_module(node.module), alias.name)
            except (ImportError, AttributeError):
                return False
        return True

    def _assignment(self, node):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            self._target(target)
        if node.value is not None:
            self._expression(node.value)

    def _target(self, target):
        """Local names may be bound; an attribute of something else may be a setting of anything."""
        if isinstance(target, (ast.Tuple, ast.List)):
            for element in target.elts:
                self._target(element)
        elif isinstance(target, ast.Starred):
            self._target(target.value)
        elif isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            self._expression(target.slice)
        elif not isinstance(target, ast.Name):
            self._risk(target, "%s = …: not judged" % self._excerpt(target))

    def _with(self, node):
        for item in node.items:
            call = item.context_expr
            if self._operation(call) == "batch_alter_table" and isinstance(item.optional_vars, ast.Name):
                # `recreate` copies the table, and what it does not copy is gone.
                if any(k.arg in (None, "recreate") for k in call.keywords):
                    self._risk(call, self._excerpt(call))
                self._parts(call, but=call.func)
                if self._stores(item.optional_vars.id) == 1:
                    self._batches.add(item.optional_vars.id)
            elif not self._is_autocommit_block(call):
                self._risk(call, "with %s: not judged" % self._excerpt(call))
        self._block(node.body)

    def _stores(self, name):
        """How often a name is bound otherwise than as the batch of a `with`."""
        function = self._definition()
        batches = [i.optional_vars for w in ast.walk(function) if isinstance(w, ast.With) for i in w.items
                   if self._operation(i.context_expr) == "batch_alter_table"]
        others = [n for n in ast.walk(function) if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)
                  and n.id == name and not any(n is batch for batch in batches)]
        return 1 + len(others)

    def _is_autocommit_block(self, call):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "autocommit_block"):
            return False
        return not call.args and not call.keywords and self._operation(call.func.value) == "get_context"

    # -------------------------------------------------------------------------------------------- expressions

    def _expression(self, node):
        if isinstance(node, ast.Call):
            self._call(node)
        elif isinstance(node, ast.Lambda):
            self._parts(node.args)  # Only a call would run the rest, and calls of unknown names are risks.
        elif isinstance(node, (ast.Await, ast.Yield, ast.YieldFrom)):
            self._risk(node, "%s: not judged" % self._excerpt(node))
        else:
            self._parts(node)

    def _parts(self, node, but=None):
        for child in ast.iter_child_nodes(node):
            if child is but:
                continue
            if isinstance(child, ast.expr):
                self._expression(child)
            elif isinstance(child, (ast.keyword, ast.comprehension, ast.Slice)) or type(child).__name__ == "Index":
                self._parts(child)

    def _call(self, call):
        operation = self._operation(call)
        if operation is not None:
            self._judge_operation(call, operation)
        elif isinstance(call.func, ast.Attribute) and self._is_value(call.func.value):
            # A method of a literal, or of an expression that is being built.
            if call.func.attr in EFFECTFUL_METHODS or call.func.attr.startswith("__") or self._calls_back(call):
                self._risk(call, "%s: a call that is not judged" % self._excerpt(call))
            else:
                self._parts(call)
        elif self._is_pure(self._look_up(call.func)) and not self._calls_back(call):
            self._parts(call, but=call.func)
        else:
            self._risk(call, "%s: a call that is not judged" % self._excerpt(call))
            self._parts(call, but=call.func)

    @staticmethod
    def _calls_back(call):
        return any(k.arg in CALLED_BACK for k in call.keywords)

    def _judge_operation(self, call, operation):
        if operation == "execute":
            self._risk(call, "%s: SQL that is not judged" % self._excerpt(call))
        elif operation == "alter_column":
            changed = {k.arg for k in call.keywords if k.arg is None or not k.arg.startswith("existing_")}
            if len(call.args) > 2 or not changed <= ALTERATIONS:
                self._risk(call, self._excerpt(call))
            self._parts(call, but=call.func)
        elif operation in LOSELESS:
            self._parts(call, but=call.func)
        else:
            self._risk(call, self._excerpt(call))

    def _operation(self, call):
        """The name of alembic's operation that is called, on `op` or on a batch; None if it is none."""
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
            return None
        owner = call.func.value
        if isinstance(owner, ast.Name) and owner.id in self._batches:
            return call.func.attr
        return call.func.attr if self._look_up(owner) is alembic.op else None

    def _is_value(self, node):
        """A literal, or a call that builds a value: its methods change nothing else."""
        if isinstance(node, (ast.Constant, ast.JoinedStr, ast.List, ast.Tuple, ast.Dict, ast.Set)):
            return True
        if isinstance(node, ast.Attribute):
            return self._is_value(node.value)
        if not isinstance(node, ast.Call) or self._operation(node) is not None:
            return False
        if isinstance(node.func, ast.Attribute) and self._is_value(node.func.value):
            return True
        return self._is_pure(self._look_up(node.func))

    def _look_up(self, node):
        """The object that a dotted name means, through modules and `sa.func` only; None where that is not certain."""
        if isinstance(node, ast.Name):
            if node.id in self._local:
                return None
            if node.id in self._imported:
                return self._imported[node.id]
            return vars(self._module).get(node.id, getattr(builtins, node.id, None))
        if isinstance(node, ast.Attribute):
            owner = self._look_up(node.value)
            if isinstance(owner, types.ModuleType):
                return getattr(owner, node.attr, None)
            if isinstance(owner, functions._FunctionGenerator):
                return owner
            if isinstance(owner, type) and owner.__module__.split(".")[0] in PURE_MODULES:
                return getattr(owner, node.attr, None)
        return None

    @staticmethod
    def _is_pure(found):
        """Whether calling it only makes a value."""
        if found is None:
            return False
        if isinstance(found, functions._FunctionGenerator):
            return True
        if isinstance(found, type):
            if issubclass(found, (TypeEngine, SchemaEventTarget, MetaData, expression.ClauseElement)):
                return True
            if issubclass(found, BaseException) and found.__module__ == "builtins":
                return True
            return found in PURE_BUILTINS or found.__module__.split(".")[0] in PURE_MODULES
        home = getattr(found, "__module__", None) or type(getattr(found, "__self__", None)).__module__
        if isinstance(found, (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.MethodDescriptorType)):
            if home.startswith(PURE_SQLALCHEMY):
                return True
            owner = getattr(found, "__self__", None)
            owner_home = owner.__module__ if isinstance(owner, type) else home
            return owner_home.split(".")[0] in PURE_MODULES or (home == "builtins" and found in PURE_BUILTINS)
        return False

    # ------------------------------------------------------------------------------------------------- saying

    def _risk(self, node, what):
        self._risks.append((node.lineno, what))

    def _excerpt(self, node):
        text = " ".join((ast.get_source_segment(self._source, node) or type(node).__name__).split())
        for prefix in ("op.",):
            if isinstance(node, ast.Call) and self._operation(node) not in (None, "execute") and text.startswith(prefix):
                text = text[len(prefix):]
        return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
