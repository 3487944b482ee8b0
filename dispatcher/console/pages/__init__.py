"""One file a subject. Importing this package makes the pages known to NiceGUI."""

from dispatcher.console.pages import deliveries, delivery, overview, sign_in, strategies, strategy

PAGES = (deliveries, delivery, overview, sign_in, strategies, strategy)
