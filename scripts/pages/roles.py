"""The docstrings' references (``:func:`name```) as code, for a reference that is Markdown."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:class|func|mod):(?=`)")


class Roles(griffe.Extension):
    """Removes the role in front of the name."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of an object before it is parsed."""
        if obj.docstring:
            obj.docstring.value = ROLE.sub("", obj.docstring.value)
