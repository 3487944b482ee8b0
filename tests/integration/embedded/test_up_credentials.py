"""What `up` puts into its app's credentials at a start, and what it leaves alone."""

import json
from pathlib import Path as FilePath

from dispatcher.bootstrap import open_stores
from dispatcher.cli.up import APP_ID, _seed
from dispatcher.domain.paths import Path
from dispatcher.settings_source import load_settings

_PORTS = {"api": 1, "apns": 2, "fcm": 3, "sms": 4}


async def test_an_operators_own_credentials_outlive_a_start_and_the_simulators_follow_their_ports(
    ledger_url: str, hot_store_url: str, tmp_path: FilePath
) -> None:
    settings = load_settings(
        None,
        {
            "PUSHPATH_LEDGER_URL": ledger_url,
            "PUSHPATH_HOT_STORE_URL": hot_store_url,
            "PUSHPATH_SECRET_KEY": "integration-tests-have-a-key-of-their-own",
        },
    )
    kept: dict[str, str] = {}
    await _seed(settings, tmp_path, _PORTS, kept)
    stores = await open_stores(settings)
    try:

        async def stored(path: Path) -> dict[str, object]:
            sealed = await stores.apps.credentials(APP_ID, path)
            assert sealed is not None
            document: dict[str, object] = json.loads(stores.sealer.open(sealed))
            return document

        simulated = await stored(Path.APNS)
        own = {"account_sid": "AC1", "auth_token": "of the operator", "from_number": "+15550100"}
        await stores.apps.set_credentials(APP_ID, Path.SMS, stores.sealer.seal(json.dumps(own).encode()), 1)
        await _seed(settings, tmp_path, {**_PORTS, "apns": 22, "fcm": 33}, kept)
        assert await stored(Path.SMS) == own
        assert (await stored(Path.FCM))["endpoint"] == "http://127.0.0.1:33"
        again = await stored(Path.APNS)
        assert (again["key_pem"], again["endpoint"]) == (simulated["key_pem"], "https://127.0.0.1:22")
    finally:
        await stores.close()
