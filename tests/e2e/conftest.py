"""The running installation of the fault tests, for what comes in through its doors."""

from tests.faults.conftest import connect as connect
from tests.faults.conftest import up as up
