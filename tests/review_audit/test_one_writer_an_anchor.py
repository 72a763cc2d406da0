"""The access list lets nobody write the anchor of somebody else's audit log."""

from __future__ import annotations

import pytest

from tests.enrichment.builders import plant
from uns.errors import ConfigurationError
from uns.namespace.acl import Bridge, access_grants


def test_a_bridge_that_is_called_as_a_gateway_gets_no_access():
    tree = plant()
    gateway = str(tree.edge_node(next(iter(tree.gateways()))))
    with pytest.raises(ConfigurationError, match="anchor of another component"):
        access_grants(tree, bridges=[Bridge(gateway)])


def test_each_anchor_has_one_writer():
    tree = plant()
    source = next(iter(tree.context))
    grants = access_grants(tree, host_ids=("h1", "h2"), bridges=[Bridge("history"), Bridge("mes", source)])
    written = [topic for grant in grants for topic in grant.write if "/_audit/" in topic]
    assert len(written) == len(set(written)) == 2 + 2 + len(tree.gateways())
    assert not any("+" in topic or "#" in topic for topic in written)
