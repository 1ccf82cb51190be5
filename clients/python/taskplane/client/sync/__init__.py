"""The synchronous client, generated from `taskplane.client.aio` except `transport`: run `make sync-client`."""
