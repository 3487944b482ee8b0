"""One file a subject. Importing this package makes the pages known to NiceGUI."""

from dispatcher.console import lab
from dispatcher.console.pages import (
    deliveries,
    delivery,
    find,
    overview,
    phone_lab,
    providers,
    sign_in,
    strategies,
    strategy,
    user,
    users,
)

PAGES = (lab, deliveries, delivery, find, overview, phone_lab, providers, sign_in, strategies, strategy, user, users)
