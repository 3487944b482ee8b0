"""Facts and rules of the product: frozen values and pure functions; standard library and msgspec only."""
