"""A pipeline to which deliveries come one by one or together."""

import pytest

from tests.support.pipeline import Pipeline


@pytest.fixture(params=["one by one", "in stretches"])
async def pipeline(request):
    return Pipeline(in_stretches=request.param == "in stretches")
