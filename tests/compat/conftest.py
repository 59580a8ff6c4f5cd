"""The official clients against the gateway."""

import pytest

pytest.register_assert_rewrite("tests.compat.house")
