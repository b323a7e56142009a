"""The locations that clients are shown. Locations mean nothing to idplane beyond being compared; any well-formed one is accepted."""

from __future__ import annotations

from idplane.model.ids import normalize_location
from idplane.model.values import JsonObject

__all__ = ["LOCATION_NAMES", "locations_of"]

_GEOGRAPHIES = (
    ("US", ("Central US", "East US", "East US 2", "North Central US", "South Central US", "West US", "West US 2", "West US 3")),
    ("Canada", ("Canada Central", "Canada East")),
    ("South America", ("Brazil South",)),
    (
        "Europe",
        (
            "France Central",
            "Germany West Central",
            "Italy North",
            "North Europe",
            "Norway East",
            "Poland Central",
            "Spain Central",
            "Sweden Central",
            "Switzerland North",
            "UK South",
            "UK West",
            "West Europe",
        ),
    ),
    ("Middle East", ("Israel Central", "Qatar Central", "UAE North")),
    ("Africa", ("South Africa North",)),
    (
        "Asia Pacific",
        (
            "Australia East",
            "Australia Southeast",
            "Central India",
            "East Asia",
            "Japan East",
            "Japan West",
            "Korea Central",
            "Southeast Asia",
        ),
    ),
)

LOCATION_NAMES = tuple(name for _, names in _GEOGRAPHIES for name in names)
"""Display names, as provider metadata lists them."""


def locations_of(subscription_id: str) -> list[JsonObject]:
    """The entries of GET `/subscriptions/{id}/locations`."""
    return [
        {
            "id": f"/subscriptions/{subscription_id}/locations/{normalize_location(name)}",
            "name": normalize_location(name),
            "type": "Region",
            "displayName": name,
            "regionalDisplayName": f"({group}) {name}",
            "metadata": {"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": group},
        }
        for group, names in _GEOGRAPHIES
        for name in names
    ]
