"""Every function that needs nothing but its arguments, by lower-case name."""

from __future__ import annotations

from collections.abc import Mapping

from idplane.templates.builtin import Builtin
from idplane.templates.collection_functions import COLLECTION_FUNCTIONS
from idplane.templates.date_functions import DATE_FUNCTIONS
from idplane.templates.network_functions import NETWORK_FUNCTIONS
from idplane.templates.number_functions import NUMBER_FUNCTIONS
from idplane.templates.text_functions import TEXT_FUNCTIONS

__all__ = ["LIBRARY"]

LIBRARY: Mapping[str, Builtin] = {
    **COLLECTION_FUNCTIONS,
    **DATE_FUNCTIONS,
    **NETWORK_FUNCTIONS,
    **NUMBER_FUNCTIONS,
    **TEXT_FUNCTIONS,
}
